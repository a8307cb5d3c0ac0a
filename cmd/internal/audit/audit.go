// Package audit is the command line of the offline verifier, shared by vaultmesh and the small vaultmesh-verify: it reads
// the bundle and the trust file, has the one judged by the other, prints the report, and takes a bundle apart for foreign
// tools. It is on floor 7 and must not import anything that serves or stores.
package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Exit statuses of both programs: done or accepted; rejected or failed; the input cannot be used.
const (
	Accepted = 0
	Rejected = 1
	Unusable = 2
)

// Audit is one verification.
type Audit struct {
	Bundle string // path of the bundle, "-" for standard input
	Trust  string // path of the trust file
	JSON   bool
	All    bool // every check and every command

	Complete bool
	Subjects []string // that must be shown completely
	Size     uint64   // of a head that the auditor knows, with Root
	Root     string
	Head     string   // path of a signed checkpoint
	Require  []string // kinds of proofs of time, or possession
	NoClock  bool     // do not refuse what claims to be later than this machine's clock
	Extract  string   // folder for the parts

	Stdin io.Reader
	Out   io.Writer
	Width int // columns of the human form, 0 for the default
}

// Run verifies, prints the report and returns the status. An error is about files that cannot be used or written; what
// is wrong with the bundle is in the report.
func (a Audit) Run(ctx context.Context) (status int, err error) {
	trust, bundle, demand, err := a.load(ctx)
	if err == nil && a.Extract != "" {
		err = CheckEmpty(a.Extract)
	}
	if err != nil {
		if a.JSON {
			err = errors.Join(err, printUnusable(a.Out, err))
		}
		return Unusable, err
	}
	r := demand.Verify(bundle, trust)
	if a.JSON {
		_, err = fmt.Fprintf(a.Out, "%s\n", r.JSON())
	} else {
		err = r.Tree(a.Out, a.All, a.Width)
	}
	if err != nil {
		return Rejected, err
	}
	if a.Extract != "" {
		b, err := receipt.DecodeBundle(bundle)
		if err != nil { // the report says so
			return Rejected, vaultmesh.Errorf(vaultmesh.Corrupt, "extract", a.Bundle, "nothing is extracted: the parts cannot be told apart")
		}
		if err := Extract(b, trust, a.Extract); err != nil {
			return Rejected, err
		}
	}
	if !r.OK {
		return Rejected, nil
	}
	return Accepted, nil
}

// load reads the files. Every error means that there is nothing to judge, or nothing to judge it by.
func (a Audit) load(ctx context.Context) (*receipt.Trust, []byte, receipt.Demand, error) {
	d, err := a.demand()
	if err != nil {
		return nil, nil, d, err
	}
	trust, err := ReadTrust(a.Trust)
	if err != nil {
		return nil, nil, d, err
	}
	bundle, err := ReadBundle(ctx, a.Bundle, a.Stdin)
	return trust, bundle, d, err
}

var kinds = []string{receipt.AnchorRFC3161, receipt.AnchorBitcoin, receipt.AnchorEthereum, receipt.AnchorWitness}

// possession is the word for the signatures of capabilities' holders among the kinds of proofs that may be required.
const possession = "possession"

// demand makes the flags into what the verifier is asked.
func (a Audit) demand() (d receipt.Demand, err error) {
	d = receipt.Demand{Complete: a.Complete, Subjects: a.Subjects, Size: a.Size}
	bad := func(what, fix string) error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "verify", "flags", "%s", what).WithFix("%s", fix)
	}
	if (a.Size == 0) != (a.Root == "") {
		return d, bad("--expect-size and --expect-root belong together", "give both, or --head with a checkpoint's file")
	}
	if a.Root != "" {
		if err := d.Root.UnmarshalText([]byte(a.Root)); err != nil {
			return d, bad("--expect-root is not a digest", "write it as sha256: and 64 hexadecimal digits")
		}
	}
	for _, kind := range a.Require {
		switch {
		case kind == possession:
			d.Possession = true
		case slices.Contains(kinds, kind):
			d.Anchors = append(d.Anchors, kind)
		default:
			return d, bad(fmt.Sprintf("--require %.40q is no kind of proof", kind), "use "+strings.Join(append(slices.Clone(kinds), possession), ", "))
		}
	}
	if a.Head != "" {
		if d.Head, err = readBounded(a.Head, 64<<10); err != nil {
			return d, err
		}
	}
	if !a.NoClock {
		d.Now = time.Now()
	}
	return d, nil
}

// ReadTrust reads a trust file.
func ReadTrust(path string) (*receipt.Trust, error) {
	text, err := readBounded(path, receipt.MaxTrust)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "verify", path, "there is no trust file to read").Because(err).
			WithFix("name the file with the keys that you pin; a node writes its own as trust.json into its data folder")
	}
	trust, err := receipt.LoadTrust(text)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "verify", path, "the trust file cannot be used").Because(err)
	}
	return trust, nil
}

// ReadBundle reads a bundle's bytes, from stdin where path is "-". What was a bundle and is damaged is still one.
func ReadBundle(ctx context.Context, path string, stdin io.Reader) (bundle []byte, err error) {
	if path == "-" || path == "/dev/stdin" {
		bundle, err = readInput(ctx, stdin, receipt.MaxBundle)
	} else {
		bundle, err = readBounded(path, receipt.MaxBundle)
	}
	if err != nil {
		return nil, err
	}
	// A bundle whose very first byte was changed is a bundle still, and is judged.
	if start := bytes.TrimLeft(bundle, " \t\r\n"); len(start) == 0 || start[0] != '{' && !bytes.Contains(start, []byte(`"format":"`+receipt.BundleFormat+`"`)) {
		what := "it does not begin as a JSON object does"
		if len(start) == 0 {
			what = "it is empty"
		}
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "verify", path, "not a bundle: %s", what).
			WithFix("name the file that `vaultmesh bundle` wrote, or - for standard input")
	}
	return bundle, nil
}

// printUnusable writes a report without checks, so that a program that asked for JSON always gets it.
func printUnusable(out io.Writer, cause error) error {
	line, err := json.Marshal(struct {
		OK     bool            `json:"ok"`
		Checks []receipt.Check `json:"checks"`
		Error  string          `json:"error"`
	}{Checks: []receipt.Check{}, Error: cause.Error()})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", line)
	return err
}

// readBounded reads a regular file of at most limit bytes; anything else is unusable input.
func readBounded(path string, limit int64) ([]byte, error) {
	unusable := func(format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "read", path, format, args...)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, unusable("cannot open").Because(err)
	}
	if st.Mode()&fs.ModeType != 0 {
		return nil, unusable("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unusable("cannot open").Because(err)
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// readInput reads a stream as readBounded reads a file, until ctx ends.
func readInput(ctx context.Context, in io.Reader, limit int64) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() { // a read of standard input cannot be interrupted: it is left behind only where the process ends anyway
		data, err := readAll(in, "standard input", limit)
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", "standard input", "interrupted").Because(ctx.Err())
	}
}

func readAll(in io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", name, "cannot read").Because(err)
	}
	if int64(len(b)) > limit {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "read", name, "more than %d bytes", limit)
	}
	return b, nil
}

// Tell writes an error for a person, with what to do about it.
func Tell(w io.Writer, program string, err error) {
	var e *vaultmesh.Error
	if !errors.As(err, &e) {
		fmt.Fprintf(w, "%s: %v\n", program, err)
		return
	}
	text := *e
	fix := text.Fix
	text.Fix = ""
	fmt.Fprintf(w, "%s: %s\n", program, text.Error())
	for cause := error(e); fix == "" && cause != nil; cause = errors.Unwrap(cause) {
		if x, ok := cause.(*vaultmesh.Error); ok {
			fix = x.Fix
		}
	}
	if fix != "" {
		fmt.Fprintln(w, "  what to do:", fix)
	}
}
