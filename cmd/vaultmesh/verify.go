package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

type verifyCmd struct {
	Bundle  string `arg:"" help:"Bundle file; - reads standard input." type:"path"`
	Trust   string `help:"Trust file: the keys that you pin." required:"" type:"path"`
	JSON    bool   `help:"Print one JSON object."`
	All     bool   `help:"Print every check and every command, not only families of checks."`
	Extract string `help:"Also write the parts to this folder, for other tools." type:"path"`
}

// Run judges a bundle: status 0 accepted, 1 rejected, 2 the files cannot be used.
func (c *verifyCmd) Run(a *app) error {
	trust, bundle, err := c.load(a)
	if err != nil {
		if c.JSON {
			if err := printUnusable(a.out, err); err != nil {
				return err
			}
		}
		return err
	}
	r := receipt.Verify(bundle, trust)
	if c.JSON {
		if _, err := fmt.Fprintf(a.out, "%s\n", r.JSON()); err != nil {
			return err
		}
	} else if err := r.Tree(a.out, c.All, columns(a.out)); err != nil {
		return err
	}
	if c.Extract != "" {
		b, err := receipt.DecodeBundle(bundle)
		if err != nil { // the report says so: the status is that of a rejected bundle
			fmt.Fprintln(a.errOut, "vaultmesh: nothing is extracted: the parts cannot be told apart")
			return status(exitNo)
		}
		if err := extract(b, c.Extract); err != nil {
			return err
		}
	}
	if !r.OK {
		return status(exitNo)
	}
	return nil
}

// load reads both files. Every error means that there is nothing to judge, or nothing to judge it by.
func (c *verifyCmd) load(a *app) (*receipt.Trust, []byte, error) {
	text, err := readBounded(c.Trust, receipt.MaxTrust)
	if err != nil {
		return nil, nil, err
	}
	trust, err := receipt.LoadTrust(text)
	if err != nil {
		return nil, nil, vaultmesh.Errorf(vaultmesh.Invalid, "verify", c.Trust, "the trust file cannot be used").Because(err)
	}
	var bundle []byte
	if c.Bundle == "-" || c.Bundle == "/dev/stdin" {
		bundle, err = readInput(a.ctx, os.Stdin, receipt.MaxBundle)
	} else {
		bundle, err = readBounded(c.Bundle, receipt.MaxBundle)
	}
	if err != nil {
		return nil, nil, err
	}
	// A bundle whose very first byte was changed is a bundle still, and is judged.
	if start := bytes.TrimLeft(bundle, " \t\r\n"); len(start) == 0 || start[0] != '{' && !bytes.Contains(start, []byte(`"format":"vaultmesh-bundle/v1"`)) {
		what := "it does not begin as a JSON object does"
		if len(start) == 0 {
			what = "it is empty"
		}
		return nil, nil, vaultmesh.Errorf(vaultmesh.Invalid, "verify", c.Bundle, "not a bundle: %s", what).
			WithFix("name the file that `vaultmesh bundle` wrote, or - for standard input")
	}
	return trust, bundle, nil
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

// extract writes the parts as files. Names of a decoded bundle are local paths.
func extract(b *receipt.Bundle, dir string) error {
	for _, p := range b.Parts {
		if !filepath.IsLocal(p.Name) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "verify", p.Name, "not a local name")
		}
		path := filepath.Join(dir, filepath.FromSlash(p.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "verify", path, "cannot create the folder").Because(err)
		}
		if err := os.WriteFile(path, p.Data, 0o644); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "verify", path, "cannot write").Because(err)
		}
	}
	return nil
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
