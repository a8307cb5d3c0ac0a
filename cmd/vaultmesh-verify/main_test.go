package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// The verifier links nothing that serves, stores or decides, and no profile.
func TestLinksNoServer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		for _, forbidden := range []string{"net/http", "crypto/tls", "database/sql", "plugin", "github.com/cockroachdb", "github.com/open-policy-agent", "github.com/mochi-mqtt", "google.golang.org", "github.com/alecthomas/kong", "golang.org/x/crypto/ssh"} {
			if dep == forbidden || strings.HasPrefix(dep, forbidden+"/") {
				t.Errorf("it links %s", dep)
			}
		}
		if rest, ok := strings.CutPrefix(dep, "vaultmesh.org/vaultmesh/"); ok {
			ours[rest] = true
		}
	}
	for _, want := range []string{"receipt", "capability", "proof/bitcoin", "proof/ethereum", "proof/ethereum/rlp", "proof/state", "cmd/internal/audit", "cmd/vaultmesh-verify"} {
		if !ours[want] {
			t.Errorf("it does not link %s", want)
		}
		delete(ours, want)
	}
	if len(ours) > 0 {
		t.Errorf("it links more of ours than it needs: %v", ours)
	}
}

// files writes the sample's bundle and trust file.
func files(t *testing.T) (dir string, w *sample.World) {
	t.Helper()
	w = sample.New(t)
	bundle := w.Pack(w.Everything())
	trust, err := json.Marshal(w.Trust())
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	loose := w.Trust()
	loose.WitnessPolicy = ""
	unwitnessed, err := json.Marshal(loose)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"bundle.json": bundle, "trust.json": trust, "loose.json": unwitnessed, "bad.json": bytes.Replace(bundle, []byte("halt/sample"), []byte("halt/simple"), 1), "head": w.Checkpoint(w.Size(), 0), "cut.json": bundle[:len(bundle)/2]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := bytes.Clone(bundle)
	bad[len(bad)/2] ^= 1
	if err := os.WriteFile(filepath.Join(dir, "bad.json"), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, w
}

func TestCommandLine(t *testing.T) {
	dir, w := files(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	root := w.RootOf(w.Size()).String()
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{at("bundle.json"), "--trust", at("trust.json")}, 0, "VERIFIED\n"},
		{[]string{"--trust=" + at("trust.json"), at("bundle.json"), "-complete"}, 0, "VERIFIED\n"},
		{[]string{at("bundle.json"), "--trust", at("loose.json"), "--complete"}, 1, "completeness needs a head of the log"},
		{[]string{at("bundle.json"), "--trust", at("loose.json"), "--complete", "--head", at("head")}, 0, "the head that you named"},
		{[]string{at("bundle.json"), "--trust", at("loose.json"), "--complete", "--expect-size", "22", "--expect-root", root}, 0, "the head that you named"},
		{[]string{at("bundle.json"), "--trust", at("loose.json"), "--expect-size", "23", "--expect-root", root}, 1, "cut short or rolled back"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--require", "rfc3161,witness"}, 0, "VERIFIED"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--require", "bitcoin"}, 1, "from index 20 on"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--subject", "halt/sample"}, 0, "VERIFIED"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--subject", "twin/bus-9"}, 1, "no proof that there is none"},
		{[]string{at("bad.json"), "--trust", at("trust.json")}, 1, "REFUSED"},
		{[]string{at("cut.json"), "--trust", at("trust.json")}, 1, "the file ends in the middle"},
		{[]string{at("bundle.json"), "--trust", at("bundle.json")}, 2, "the trust file cannot be used"},
		{[]string{at("bundle.json")}, 2, "--trust"},
		{[]string{at("none"), "--trust", at("trust.json")}, 2, "cannot open"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--expect-size", "22"}, 2, "belong together"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--require", "stars"}, 2, "no kind of proof"},
		{[]string{"--nonsense"}, 2, "not defined"},
		{[]string{"--help"}, 0, "usage:"},
		{[]string{"-version"}, 0, "vaultmesh-verify " + vaultmesh.Version},
		{[]string{at("bundle.json"), "--trust", at("none")}, 2, "what to do: name the file with the keys that you pin"},
		{[]string{"extract", at("bundle.json"), at("parts"), "--trust", at("trust.json")}, 0, ""},
		{[]string{"extract", at("bundle.json"), at("parts")}, 2, "not empty"},
		{[]string{at("bundle.json"), "--trust", at("trust.json"), "--extract", at("parts")}, 2, "not empty"},
		{[]string{"extract", at("bundle.json"), at("keyless")}, 0, "warning: no --trust"},
		{[]string{"extract", at("bad.json"), at("others")}, 2, "digest"},
	} {
		var out, errOut strings.Builder
		if got := run(t.Context(), c.args, strings.NewReader(""), &out, &errOut); got != c.status || !strings.Contains(strings.Join(strings.Fields(out.String()+errOut.String()), " "), strings.TrimSpace(c.says)) {
			t.Errorf("%q: status %d, want %d with %q\n%s%s", c.args, got, c.status, c.says, out.String(), errOut.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "parts", "README.txt")); err != nil {
		t.Error(err)
	}
	input, err := os.ReadFile(at("bundle.json"))
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	if got := run(t.Context(), []string{"-", "--trust", at("trust.json"), "--json"}, bytes.NewReader(input), &out, &errOut); got != 0 {
		t.Fatalf("status %d: %s", got, errOut.String())
	}
	var r receipt.Report
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil || !r.OK || len(r.Families) == 0 || len(r.Proved) == 0 {
		t.Errorf("%v %.300s", err, out.String())
	}
}
