package e2e

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/lawchain/anchor/tsa"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

// cli runs the program as the credential and returns its exit status and what it wrote.
func (s *site) cli(as string, args ...string) (code int, out, errOut string) {
	s.t.Helper()
	cmd := exec.CommandContext(bounded(s.t), program, args...)
	cmd.Env = append(os.Environ(), "VAULTMESH_AS="+node.CredentialPath(s.cfg.Data, as))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// The command line anchors, waits, tells honestly what is not anchored, and ends with a status that a script can use.
func TestAnchorCommands(t *testing.T) {
	t.Parallel()
	a, err := tsa.NewAuthority(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	defer server.Close()
	s := newSite(t)
	roots := filepath.Join(s.dir, "roots.pem")
	if err := os.WriteFile(roots, a.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cfg.Anchors.RFC3161 = []node.AuthorityConfig{{Name: "one", URL: server.URL, Roots: roots}, {Name: "away", URL: "http://127.0.0.1:1", Roots: roots}}
	s.write()
	p := s.start()
	defer func() { s.stop(p) }()
	expect := func(what string, code, want int, text string, words ...string) {
		t.Helper()
		if code != want {
			t.Errorf("%s: status %d, want %d:\n%s", what, code, want, text)
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is missing in:\n%s", what, w, text)
			}
		}
	}

	code, out, errOut := s.cli(node.DevAgent, "anchor", "now")
	expect("without the right", code, 1, out+errOut, "does not allow to anchor", "action anchor")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "now", "--target", "moon")
	expect("no such target", code, 2, out+errOut, "rfc3161/one, rfc3161/away")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "now", "--target", "rfc3161/one", "--wait", "final", "--json")
	expect("one", code, 0, out+errOut, "FINAL: anchored")
	var list httpapi.AnchorList
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Jobs) != 1 || list.Jobs[0].State != anchor.Final {
		t.Fatalf("%s %v", out, err)
	}
	id := list.Jobs[0].ID
	code, out, errOut = s.cli(node.DevOperator, "anchor", "now", "--target", "rfc3161/away", "--wait", "confirmed", "--within", "1s")
	expect("an authority that is away", code, 1, out+errOut, "queued, not yet anchored", "does not answer")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "now")
	expect("without waiting", code, 0, out+errOut, "not yet anchored", "vaultmesh anchor now --wait confirmed --key ", "vaultmesh anchor list")
	_, key, _ := strings.Cut(out, "--key ")
	key, _, _ = strings.Cut(key, "\n")
	code, again, errOut := s.cli(node.DevOperator, "anchor", "now", "--wait", "confirmed", "--within", "1s", "--key", key)
	expect("the line that it says", code, 1, again+errOut, "rfc3161/away@")
	if first, _, _ := strings.Cut(out[strings.Index(out, "rfc3161/away@"):], " "); !strings.Contains(again, first+" ") {
		t.Errorf("it follows another anchor than %s:\n%s", first, again)
	}

	code, out, errOut = s.cli(node.DevOperator, "state", "prove", "no-such-twin", "--at", "99999999", "-o", filepath.Join(s.dir, "beyond.json"))
	expect("a size beyond the log", code, 1, out+errOut, "the log has size ", "99999999")
	if _, err := os.Stat(filepath.Join(s.dir, "beyond.json")); err == nil {
		t.Error("a file was written of a size beyond the log")
	}

	proof := filepath.Join(s.dir, "anchor.tsr")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "show", id, "--proof", proof)
	expect("show", code, 0, out+errOut, id, "development TSA", "asked by")
	raw, err := os.ReadFile(proof)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.VerifyTimestamp(raw, list.Jobs[0].Digest, a.Roots()); err != nil {
		t.Error(err)
	}
	code, out, errOut = s.cli(node.DevOperator, "anchor", "show", id, "--proof", proof)
	expect("over a file that is there", code, 2, out+errOut, "cannot create")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "show", "rfc3161/one@999999")
	expect("show what is not there", code, 1, out+errOut, "no such job")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "list", "--state", "final")
	expect("list", code, 0, out+errOut, id, "rfc3161/away", "on demand")
	code, out, errOut = s.cli(node.DevOperator, "status")
	expect("status", code, 0, out+errOut, "rfc3161/one", "% of the log")

	// What was asked is there after a kill, and goes on.
	p.Kill()
	p = s.start()
	code, out, errOut = s.cli(node.DevOperator, "anchor", "list", "--state", "queued")
	expect("after a kill", code, 0, out+errOut, "rfc3161/away@")
	code, out, errOut = s.cli(node.DevOperator, "anchor", "show", id)
	expect("after a kill", code, 0, out+errOut, "FINAL")
}
