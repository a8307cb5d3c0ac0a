// Command vaultmesh-verify is the offline verifier alone: for auditors who want a program that is small enough to read,
// cannot serve, cannot connect, and keeps nothing. It judges as `vaultmesh verify` does, with the same flags, report and
// status: 0 accepted, 1 rejected, 2 the input cannot be used. Built with -trimpath by the same Go, its bytes are the same
// on every machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/cmd/internal/audit"
	"vaultmesh.org/vaultmesh/receipt"
)

const program = "vaultmesh-verify"

const usage = `usage: vaultmesh-verify BUNDLE --trust FILE [flags]
       vaultmesh-verify extract BUNDLE DIR [--trust FILE]

Verifies a bundle offline, with nothing but the keys that the trust file pins. BUNDLE may be - for standard input.
Status: 0 accepted, 1 rejected, 2 the input cannot be used.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the status.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	extract := len(args) > 0 && args[0] == "extract"
	if extract {
		args = args[1:]
	}
	a := audit.Audit{Stdin: in, Out: out, Width: columns()}
	flags := flags(&a, errOut)
	version := flags.Bool("version", false, "print the version")
	positional, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return audit.Accepted
	}
	if err == nil && *version {
		fmt.Fprintln(out, program, vaultmesh.Version)
		return audit.Accepted
	}
	want := 1
	if extract {
		want = 2
	}
	if err != nil || len(positional) != want || a.Trust == "" && !extract {
		if err == nil {
			fmt.Fprintf(errOut, "%s: want %d arguments and --trust\n", program, want)
		}
		fmt.Fprintf(errOut, "Try: %s --help\n", program)
		return audit.Unusable
	}
	a.Bundle = positional[0]
	if extract {
		err = takeApart(ctx, a, positional[1], errOut)
		if err == nil {
			return audit.Accepted
		}
		audit.Tell(errOut, program, err)
		return audit.Unusable
	}
	status, err := a.Run(ctx)
	if err != nil {
		audit.Tell(errOut, program, err)
	}
	return status
}

func flags(a *audit.Audit, errOut io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(program, flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Usage = func() { fmt.Fprint(errOut, usage); f.PrintDefaults() }
	list := func(to *[]string) func(string) error {
		return func(s string) error { *to = append(*to, strings.Split(s, ",")...); return nil }
	}
	f.StringVar(&a.Trust, "trust", "", "trust `file`: the keys that you pin")
	f.BoolVar(&a.JSON, "json", false, "print one JSON object")
	f.BoolVar(&a.All, "all", false, "print every check and every command")
	f.StringVar(&a.Extract, "extract", "", "also write the parts to this `folder`")
	f.BoolVar(&a.Complete, "complete", false, "ask that nothing of what the bundle is about was left out")
	f.Func("subject", "ask that this `subject` is shown completely (repeat)", func(s string) error { a.Subjects = append(a.Subjects, s); return nil })
	f.Uint64Var(&a.Size, "expect-size", 0, "`size` of the log as you know it")
	f.StringVar(&a.Root, "expect-root", "", "`root` of the log at that size: sha256:…")
	f.StringVar(&a.Head, "head", "", "`file` with a signed checkpoint that you know")
	f.Func("require", "`kinds` of proof of time that must cover every receipt: rfc3161, bitcoin, ethereum, witness; or possession: the signature of each command's holder", list(&a.Require))
	f.BoolVar(&a.NoClock, "no-clock", false, "do not refuse what claims to be later than this machine's clock")
	return f
}

// parse takes flags before, between and after the arguments.
func parse(f *flag.FlagSet, args []string) (positional []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		rest := f.Args()
		if len(rest) == 0 {
			return positional, nil
		}
		ended := slices.Contains(args[:len(args)-len(rest)], "--")
		positional = append(positional, rest[0])
		if args = rest[1:]; ended {
			return append(positional, args...), nil
		}
	}
}

func takeApart(ctx context.Context, a audit.Audit, dir string, errOut io.Writer) error {
	var trust *receipt.Trust
	if a.Trust != "" {
		var err error
		if trust, err = audit.ReadTrust(a.Trust); err != nil {
			return err
		}
	}
	data, err := audit.ReadBundle(ctx, a.Bundle, a.Stdin)
	if err != nil {
		return err
	}
	b, err := receipt.DecodeBundle(data)
	if err != nil {
		return err
	}
	if err := audit.Extract(b, trust, dir); err != nil {
		return err
	}
	if trust == nil {
		fmt.Fprintf(errOut, "%s: warning: %s\n", program, audit.NoKeys)
	}
	return nil
}

// columns is the width that the shell says it has; asking the terminal itself would need code for each system.
func columns() int {
	n, err := strconv.Atoi(os.Getenv("COLUMNS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
