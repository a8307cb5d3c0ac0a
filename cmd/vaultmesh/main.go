// Command vaultmesh is the whole product in one binary: the node, its tools for people and agents, the offline verifier,
// and the separate processes of the demo (a simulated grid, a development time-stamp authority).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/cmd/internal/audit"
	"vaultmesh.org/vaultmesh/node"
)

// Exit statuses of every command: 0 done (accepted), 1 not (rejected, refused, failed), 2 the input cannot be used.
const (
	exitNo       = 1
	exitUnusable = 2
)

// cli is the command line. Groups are in the order in which a newcomer meets them.
type cli struct {
	Version  printVersion `help:"Print the version."`
	LogLevel slog.Level   `help:"Least level of log lines: debug, info, warn, error." default:"warn"`

	Demo  demoCmd  `cmd:"" help:"Show the whole story in under a minute, and check every step of it."`
	Run   runCmd   `cmd:"" help:"Run a dev node with a simulated grid and a time-stamp authority until Ctrl-C."`
	Serve serveCmd `cmd:"" help:"Run a node from a configuration file."`

	Status   statusCmd   `cmd:"" help:"Is the node ready, is the domain halted, what waits for a person?" group:"Ask a node:"`
	Twins    twinsCmd    `cmd:"" help:"List the twins." group:"Ask a node:"`
	Twin     twinCmd     `cmd:"" help:"Show one twin." group:"Ask a node:"`
	History  historyCmd  `cmd:"" help:"Show one value over time." group:"Ask a node:"`
	Simulate simulateCmd `cmd:"" help:"Ask what a command would do." group:"Ask a node:"`
	Propose  proposeCmd  `cmd:"" help:"Propose a command." group:"Ask a node:"`
	Commands commandsCmd `cmd:"" help:"List commands." group:"Ask a node:"`
	Command  commandCmd  `cmd:"" help:"Show one command." group:"Ask a node:"`
	Approve  approveCmd  `cmd:"" help:"Sign and approve a command that waits for a person." group:"Ask a node:"`
	Reject   rejectCmd   `cmd:"" help:"Reject a command that waits for a person." group:"Ask a node:"`
	Cancel   cancelCmd   `cmd:"" help:"Withdraw a command before its dispatch." group:"Ask a node:"`
	Halt     haltCmd     `cmd:"" help:"Stop every dispatch at once." group:"Ask a node:"`
	Resume   resumeCmd   `cmd:"" help:"Clear the halt." group:"Ask a node:"`
	Devices  devicesCmd  `cmd:"" help:"List the devices, or the refused messages of one." group:"Ask a node:"`
	Bundle   bundleCmd   `cmd:"" help:"Fetch evidence into a file, or take such a file apart for other tools." group:"Ask a node:"`
	Receipts receiptsCmd `cmd:"" help:"Find receipts by twin, command, actor, kind, scroll and time." group:"Ask a node:"`
	State    stateCmd    `cmd:"" help:"Prove to others what the state of the domain was, and verify such a proof offline." group:"Ask a node:"`
	Erase    eraseCmd    `cmd:"" help:"Erase what a principal said, by destroying the key under which it is kept." group:"Ask a node:"`
	Anchor   anchorCmd   `cmd:"" help:"Have the log dated by others, and see how much of it is." group:"Ask a node:"`
	Revoke   revokeCmd   `cmd:"" help:"Revoke a block of a capability." group:"Ask a node:"`

	Verify     verifyCmd     `cmd:"" help:"Verify a bundle offline." group:"Offline:"`
	Fsck       fsckCmd       `cmd:"" help:"Check a whole log: a stopped node's, a published one, or an archive." group:"Offline:"`
	Archive    archiveCmd    `cmd:"" help:"Restore an archived log." group:"Offline:"`
	Capability capabilityCmd `cmd:"" help:"Inspect or attenuate a capability." group:"Offline:"`
	Export     exportCmd     `cmd:"" help:"Write evidence in other systems' forms: COSE receipts, W3C PROV." group:"Offline:"`
	Policy     policyCmd     `cmd:"" help:"Test a folder of policy." group:"Offline:"`
	Lawchain   lawchainCmd   `cmd:"" help:"Judge governance files of the older Node implementation." group:"Offline:"`
	DTDL       dtdlCmd       `cmd:"" name:"dtdl" help:"Check models of twins, compare versions of them, make a page of them, begin a new one." group:"Offline:"`
	Bench      benchCmd      `cmd:"" help:"Measure, beside a floor or a peer from the same run." group:"Offline:"`
	VersionCmd versionCmd    `cmd:"" name:"version" help:"Print the version." group:"Offline:"`

	Key     keyCmd     `cmd:"" help:"List, rotate and retire the domain's keys." group:"Offline:"`
	Witness witnessCmd `cmd:"" help:"Witness other logs, and see what witnesses say of this one." group:"Processes:"`

	MCP   mcpCmd   `cmd:"" name:"mcp" help:"Speak MCP on standard input and output, for AI agents." group:"Processes:"`
	Grid  gridCmd  `cmd:"" help:"Run the simulated grid: a fleet of substations that speak MQTT." group:"Processes:"`
	TSA   tsaCmd   `cmd:"" name:"tsa" help:"Run a development time-stamp authority (RFC 3161)." group:"Processes:"`
	Enrol enrolCmd `cmd:"" help:"Make device certificates from a dev node's CA." group:"Processes:"`
}

// app is what commands get beside their flags.
type app struct {
	ctx    context.Context
	out    io.Writer
	errOut io.Writer
	log    *slog.Logger
	after  []func() // closes what a command opened
}

// program is this program as it was typed, so that hints can be typed again.
var program = "vaultmesh"

func main() {
	if len(os.Args) > 0 && os.Args[0] != "" {
		program = quoted(os.Args[0])
	}
	os.Exit(run(os.Args[min(1, len(os.Args)):], os.Stdout, os.Stderr))
}

// hint is a command line of this program.
func (a *app) hint(command string) string { return program + " " + command }

// typed puts the program as it was typed in the place of its name before commands in a text.
func typed(text string) string { return strings.ReplaceAll(text, "`vaultmesh ", "`"+program+" ") }

// run executes one command line and returns the exit status.
func run(args []string, out, errOut io.Writer) int {
	var c cli
	parser, err := kong.New(&c, kong.Name(program), kong.UsageOnError(), kong.Writers(out, errOut), kong.Exit(func(code int) { panic(exitCode(code)) }),
		kong.Description("Govern critical infrastructure through a digital twin, and prove afterwards what was done.\n\nStart with: "+program+" demo"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}))
	if err != nil {
		fmt.Fprintln(errOut, "vaultmesh:", err)
		return exitUnusable
	}
	code := 0
	func() {
		defer func() {
			if p := recover(); p != nil {
				e, ok := p.(exitCode)
				if !ok {
					panic(p)
				}
				code = int(e)
			}
		}()
		k, err := parser.Parse(args)
		if err != nil {
			fmt.Fprintf(errOut, "vaultmesh: %v\nTry: %s\n", err, helpOf(err))
			code = exitUnusable
			return
		}
		ctx, stop := signal.NotifyContext(context.Background(), endings()...)
		defer stop()
		node.Tune()
		a := &app{ctx: ctx, out: out, errOut: errOut, log: slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: c.LogLevel}))}
		err = k.Run(a)
		for _, close := range a.after {
			close()
		}
		if err != nil {
			code = report(errOut, err)
		}
	}()
	return code
}

// endings are the signals that end a command in order, with the processes that it started. A terminal that is closed is
// one, but not to a program that was started to outlive it (nohup).
func endings() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}

// helpOf is the command line that explains what was meant.
func helpOf(err error) string {
	command := program
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		for _, step := range p.Context.Path {
			if step.Command != nil {
				command += " " + step.Command.Name
			}
		}
	}
	return command + " --help"
}

type exitCode int

// status is an error that only sets the exit status: what there is to say was said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// report prints an error for a person and returns the exit status.
func report(w io.Writer, err error) int {
	var s status
	if errors.As(err, &s) {
		return int(s)
	}
	explain(w, err)
	var e *vaultmesh.Error
	if !errors.As(err, &e) {
		return exitNo
	}
	if e.Kind == vaultmesh.Invalid || e.Kind == vaultmesh.TooLarge {
		return exitUnusable
	}
	return exitNo
}

// explain prints an error, with what to do as it can be typed here.
func explain(w io.Writer, err error) {
	var text strings.Builder
	audit.Tell(&text, "vaultmesh", err)
	fmt.Fprint(w, typed(text.String()))
}

// counted is a number of things in words: 1 file, 2 files.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// printVersion is the flag that prints the version, wherever it stands.
type printVersion bool

// BeforeReset prints the version and ends the run before anything else is asked of the command line.
func (printVersion) BeforeReset(k *kong.Kong) error {
	_, err := fmt.Fprintln(k.Stdout, "vaultmesh", node.Version)
	k.Exit(0)
	return err
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(a *app) error {
	_, err := fmt.Fprintln(a.out, "vaultmesh", node.Version)
	return err
}
