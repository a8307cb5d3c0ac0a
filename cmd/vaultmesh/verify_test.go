package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// smallestBundle is a domain with one receipt and no command, and the trust file for it.
func smallestBundle(t *testing.T) (bundle, trust []byte) {
	t.Helper()
	w := sample.New(t)
	w.Genesis()
	parts, pins := w.All()
	trust, err := json.Marshal(pins)
	if err != nil {
		t.Fatal(err)
	}
	return w.Pack(parts), trust
}

// folder returns a new folder and what writes a file there and returns its path.
func folder(t *testing.T) (dir string, file func(name string, data []byte) string) {
	dir = t.TempDir()
	return dir, func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestVerifyStatus(t *testing.T) {
	bundle, trust := smallestBundle(t)
	dir, file := folder(t)
	pinned := file("trust.json", trust)
	altered := []byte(strings.Replace(string(bundle), `"name":"checkpoint"`, `"name":"checkpoinT"`, 1))
	for _, c := range []struct {
		name   string
		bundle string // a path
		input  []byte // what standard input holds
		trust  string
		status int
		says   string // in the human form, or on standard error where the input is unusable
	}{
		{"accepted", file("ok", bundle), nil, pinned, 0, "VERIFIED\n"},
		{"accepted from standard input", "-", bundle, pinned, 0, "VERIFIED\n"},
		{"accepted from its path", "/dev/stdin", bundle, pinned, 0, "VERIFIED\n"},
		{"altered", file("altered", altered), nil, pinned, exitNo, "REFUSED: 1 check failed, 26 were not judged\n"},
		{"altered, from standard input", "-", altered, pinned, exitNo, "REFUSED"},
		{"cut", file("cut", bundle[:len(bundle)/2]), nil, pinned, exitNo, "the file ends in the middle"},
		{"one byte", file("brace", []byte("{")), nil, pinned, exitNo, "the file ends in the middle"},
		{"some JSON", file("json", []byte(`{}`)), nil, pinned, exitNo, "bundle.format"},
		{"space in front", file("space", append([]byte(" \n"), bundle...)), nil, pinned, exitNo, "bundle.format"},
		{"empty", file("empty", nil), nil, pinned, exitUnusable, "it is empty"},
		{"white space", file("white", []byte(" \n\t\r")), nil, pinned, exitUnusable, "it is empty"},
		{"an array", file("array", []byte("[{}]")), nil, pinned, exitUnusable, "not a bundle"},
		{"a byte order mark", file("bom", append([]byte("\ufeff"), bundle...)), nil, pinned, exitNo, "bundle.format"},
		{"another first byte", file("first", append([]byte("["), bundle[1:]...)), nil, pinned, exitNo, "bundle.format"},
		{"nothing on standard input", "-", nil, pinned, exitUnusable, "it is empty"},
		{"no file", filepath.Join(dir, "none"), nil, pinned, exitUnusable, "cannot open"},
		{"a folder", dir, nil, pinned, exitUnusable, "not a regular file"},
		{"a bundle as trust file", file("ok", bundle), nil, file("ok", bundle), exitUnusable, "the trust file cannot be used"},
	} {
		for _, asJSON := range []bool{false, true} {
			if c.bundle == "-" || c.bundle == "/dev/stdin" {
				giveInput(t, file("input", c.input))
			}
			args := []string{"verify", c.bundle, "--trust", c.trust}
			if asJSON {
				args = append(args, "--json")
			}
			var out, errOut strings.Builder
			if got := run(args, &out, &errOut); got != c.status {
				t.Errorf("%s, JSON %v: status %d, want %d\n%s%s", c.name, asJSON, got, c.status, out.String(), errOut.String())
				continue
			}
			said := out.String()
			if c.status == exitUnusable {
				said = errOut.String()
			}
			if !asJSON {
				if !strings.Contains(said, c.says) {
					t.Errorf("%s: it does not say %q:\n%s", c.name, c.says, said)
				}
				if c.status == exitUnusable && out.Len() > 0 {
					t.Errorf("%s: a verdict where there is none: %s", c.name, out.String())
				}
				continue
			}
			var r struct {
				OK     *bool            `json:"ok"`
				Checks *[]receipt.Check `json:"checks"`
				Error  string           `json:"error"`
			}
			if err := json.Unmarshal([]byte(out.String()), &r); err != nil || r.OK == nil || r.Checks == nil {
				t.Errorf("%s: not a report (%v): %s", c.name, err, out.String())
				continue
			}
			if unusable := c.status == exitUnusable; *r.OK != (c.status == 0) || (len(*r.Checks) == 0) != unusable || (r.Error != "") != unusable {
				t.Errorf("%s: status %d with %s", c.name, c.status, out.String())
			}
		}
	}
}

// giveInput makes the file standard input until the test ends.
func giveInput(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = f
	t.Cleanup(func() {
		os.Stdin = before
		f.Close()
	})
}

func TestVerifyExtract(t *testing.T) {
	bundle, trust := smallestBundle(t)
	dir := t.TempDir()
	for name, data := range map[string][]byte{"bundle": bundle, "cut": bundle[:len(bundle)-1], "trust": trust} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, status := range map[string]int{"bundle": 0, "cut": exitNo} {
		to := filepath.Join(dir, "parts-of-"+name)
		var out, errOut strings.Builder
		if got := run([]string{"verify", filepath.Join(dir, name), "--trust", filepath.Join(dir, "trust"), "--extract", to}, &out, &errOut); got != status {
			t.Errorf("%s: status %d, want %d\n%s%s", name, got, status, out.String(), errOut.String())
		}
		if _, err := os.Stat(filepath.Join(to, "receipts", "0000000000.dsse.json")); (err == nil) != (status == 0) {
			t.Errorf("%s: %v\n%s", name, err, errOut.String())
		}
	}
	if got := say(t, 0, "bundle", "extract", filepath.Join(dir, "bundle"), filepath.Join(dir, "keyless")); !strings.Contains(got, "warning: no --trust") {
		t.Error(got)
	}
	if got := say(t, exitUnusable, "bundle", "extract", filepath.Join(dir, "bundle"), filepath.Join(dir, "keyless")); !strings.Contains(got, "not empty") || !strings.Contains(got, "new folder") {
		t.Error(got)
	}
}
