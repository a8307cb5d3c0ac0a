package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/test/sample"
)

// What cannot be exported is said, with the exit statuses of every command; a receipt of another log is refused.
func TestExportStatus(t *testing.T) {
	bundle, trust := smallestBundle(t)
	dir := t.TempDir()
	file := func(name string, data []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log, other := sample.NewKey("log").Note(sample.Origin), sample.NewKey("another log").Note(sample.Origin)
	b, tr := file("bundle.json", bundle, 0o644), file("trust.json", trust, 0o644)
	bad := bytes.Clone(bundle)
	bad[len(bad)/2] ^= 1
	out := filepath.Join(dir, "out")
	for name, x := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a log of one entry":        {[]string{"export", "cose", b, "--trust", tr, "--log-key", file("log.key", []byte(log.Secret+"\n"+log.Text+"\n"), 0o600), "--out", out}, 2, "single entry"},
		"another log's key":         {[]string{"export", "cose", b, "--trust", tr, "--log-key", file("other.key", []byte(other.Secret+"\n"), 0o600), "--out", out}, 1, "has not signed"},
		"a key that all may read":   {[]string{"export", "cose", b, "--trust", tr, "--log-key", file("open.key", []byte(log.Secret), 0o644), "--out", out}, 1, "chmod 600"},
		"no key":                    {[]string{"export", "cose", b, "--trust", tr, "--log-key", file("no.key", []byte(log.Text), 0o600), "--out", out}, 2, "not the signer key"},
		"a bundle without commands": {[]string{"export", "prov", b, "--trust", tr}, 1, "no command"},
		"a bundle that is refused":  {[]string{"export", "prov", file("bad.json", bad, 0o644), "--trust", tr}, 1, "refused"},
		"no COSE":                   {[]string{"export", "check", b, b, "--trust", tr}, 2, ""},
		"CBOR that is no receipt":   {[]string{"export", "check", file("x.cose", []byte{0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40}, 0o644), b, "--trust", tr}, 2, ""},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(x.args, &stdout, &stderr); code != x.code || !strings.Contains(stderr.String(), x.says) {
			t.Errorf("%s: status %d, want %d: %s%s", name, code, x.code, stdout.String(), stderr.String())
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
	if !json.Valid(bundle) {
		t.Error("the fixture is no bundle")
	}
}
