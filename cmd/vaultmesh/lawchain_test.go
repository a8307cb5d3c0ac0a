package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/lawchain/governance"
)

// TestLawchainImport judges a folder that is clean, and one with a simulated anchor and a file name that would paint the
// terminal.
func TestLawchainImport(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	spec := sha256.Sum256([]byte("name: twin\n"))
	signed := fmt.Sprintf(`{"attestors":[],"merkle_root":"%s","payload":{"note":null,"specPath":"specs/twin.yaml"},"timestamp":"2025-01-01T00:00:00.000Z","type":"charter"`, hex.EncodeToString(spec[:]))
	pemText, err := json.Marshal(string(public))
	if err != nil {
		t.Fatal(err)
	}
	put("specs/twin.yaml", "name: twin\n")
	put("governance/lawchain/charter.json", fmt.Sprintf(`%s,"signature":"%s","publicKeyPem":%s}`, signed, base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(signed+"}"))), pemText))
	pin := put("pin.pem", string(public))
	raw := put("pin.txt", base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))+"\n")

	command := func(want int, args ...string) (string, string) {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(append([]string{"lawchain", "import"}, args...), &out, &errOut); code != want {
			t.Fatalf("%v: status %d, want %d\n%s%s", args, code, want, out.String(), errOut.String())
		}
		return out.String(), errOut.String()
	}
	if out, _ := command(0, dir, "--key", pin); !strings.Contains(out, "clean") || !strings.Contains(out, "What no such folder can prove") {
		t.Error(out)
	}
	command(0, dir, "--key", raw)
	stray := put("governance/2025-charter.json", "{}")
	put("governance/lawchain/notes.md", "seen\n")
	if out, _ := command(0, dir, "--key", pin); !strings.Contains(out, "2 files: governance/2025-charter.json, governance/lawchain/notes.md\n") || !strings.Contains(out, "; 2 files not looked at") {
		t.Error(out)
	}
	if err := os.Remove(filepath.Join(dir, "governance/lawchain/notes.md")); err != nil {
		t.Fatal(err)
	}
	if out, _ := command(1, filepath.Join(dir, "governance"), "--json", "--key", pin); !strings.Contains(out, `"not_read":1,"not_read_names":["2025-charter.json"]`) {
		t.Error(out)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	if out, _ := command(0, dir, "--key", pin); strings.Contains(out, "looked at") {
		t.Error(out)
	}
	misplaced := t.TempDir()
	if err := os.Mkdir(filepath.Join(misplaced, "governance"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(misplaced, "governance", "charter.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut := command(2, misplaced); !strings.Contains(errOut, "governance/charter.json") || !strings.Contains(errOut, "governance/lawchain") {
		t.Error(errOut)
	}
	if out, _ := command(1, dir); !strings.Contains(out, "NOT PINNED") || !strings.Contains(out, governance.KeyUnpinned) {
		t.Error(out)
	}
	put("governance/anchor-receipts/\x1b[31m.json", `{"merkle_root":"`+hex.EncodeToString(spec[:])+`","dry_run":true,"anchors":{"btc":{"status":"simulated"}}}`)
	put("specs/twin.yaml", "name: evil\n")
	out, _ := command(1, dir, "--key", pin)
	for _, want := range []string{"1 simulated", "DRIFTED", governance.AnchorSimulated, governance.CharterDrift, "2 findings"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a file's name reaches the terminal as it is")
	}
	out, _ = command(1, dir, "--key", pin, "--json")
	var r governance.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Clean || len(r.Findings) != 2 || len(r.Limits) == 0 {
		t.Errorf("%v: %s", err, out)
	}
	if _, errOut := command(2, filepath.Join(dir, "none")); !strings.Contains(errOut, "cannot open the folder") {
		t.Error(errOut)
	}
	command(2, filepath.Join(dir, "specs"), "--json")
	command(2, dir, "--key", filepath.Join(dir, "specs/twin.yaml"))
}
