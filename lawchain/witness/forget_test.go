package witness_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
)

// A record that is gone is not a new log: whatever single file is removed, damaged or put back to the beginning, the witness
// does not cosign another tree.
func TestForgottenRecord(t *testing.T) {
	x, other := newTree(t, "example.com/log", "1"), newTree(t, "example.com/other", "1")
	x.grow(20, "main")
	other.grow(3, "main")
	fork := newTree(t, "example.com/log", "1")
	fork.grow(5, "fork")
	signer, _ := key(t, "witness.example/w1")
	open := func(dir string) (*witness.Server, error) {
		return witness.NewServer(witness.ServerOptions{Dir: dir, Signer: signer, Logs: []note.Verifier{x.verify, other.verify}, Log: quiet()})
	}
	dir := t.TempDir()
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.AddCheckpoint(other.request(0, 3).Marshal()); a.Status != 200 {
		t.Fatal(a.Status)
	}
	early := filepath.Join(t.TempDir(), "early")
	if err := os.CopyFS(early, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if a := s.AddCheckpoint(x.request(0, 20).Marshal()); a.Status != 200 {
		t.Fatal(a.Status)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join("logs", nameOf("example.com/log"))
	write := func(path string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	remove := func(path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func(dir string){
		"the record is removed": func(dir string) { remove(filepath.Join(dir, record)) },
		"the list is removed":   func(dir string) { remove(filepath.Join(dir, "origins")) },
		"the list is empty":     func(dir string) { write(filepath.Join(dir, "origins"), nil) },
		"a line of the list is removed": func(dir string) {
			b := read(filepath.Join(dir, "origins"))
			write(filepath.Join(dir, "origins"), bytes.Replace(b, []byte(nameOf("example.com/log")+"\n"), nil, 1))
		},
		"key and record are removed": func(dir string) { remove(filepath.Join(dir, record)); remove(filepath.Join(dir, "key")) },
	} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.CopyFS(bad, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		harm(bad)
		s, err := open(bad)
		if vaultmesh.KindOf(err) != vaultmesh.Corrupt || !strings.Contains(err.Error(), "retire this witness") {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				t.Errorf("and a fork: %d", s.AddCheckpoint(fork.request(0, 5).Marshal()).Status)
				_ = s.Close()
			}
		}
	}
	// The record of a log is there, and it is not in the list: killed between the two, before anything was cosigned.
	write(filepath.Join(early, record), read(filepath.Join(dir, record)))
	if s, err = open(early); err != nil {
		t.Fatal(err)
	}
	if a := s.AddCheckpoint(fork.request(0, 5).Marshal()); a.Status != 409 || string(a.Body) != "20\n" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remove(filepath.Join(early, record))
	if _, err = open(early); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("the list was not completed: %v", err)
	}
}

// The list is durable before the first cosignature is made.
func TestRecordedBeforeCosigned(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(5, "main")
	dir := t.TempDir()
	called := false
	s := serve(t, witness.ServerOptions{Dir: dir, Logs: []note.Verifier{x.verify}, Failpoint: func(string) {
		called = true
		b, err := os.ReadFile(filepath.Join(dir, "origins"))
		if err != nil || !bytes.Contains(b, []byte(nameOf("example.com/log"))) {
			t.Errorf("%q %v", b, err)
		}
	}})
	if a := s.AddCheckpoint(x.request(0, 5).Marshal()); a.Status != 200 || !called {
		t.Fatal(a.Status)
	}
}

// A key that is given twice would make every request ambiguous; a log's two keys during a rotation do not.
func TestKeyGivenTwice(t *testing.T) {
	x, next := newTree(t, "example.com/log", "1"), newTree(t, "example.com/log", "2")
	x.grow(5, "main")
	signer, _ := key(t, "witness.example/w1")
	_, err := witness.NewServer(witness.ServerOptions{Dir: t.TempDir(), Signer: signer, Logs: []note.Verifier{x.verify, next.verify, x.verify}, Log: quiet()})
	if vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), "twice") {
		t.Fatalf("%v", err)
	}
	s := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify, next.verify}})
	if a := s.AddCheckpoint(x.request(0, 5).Marshal()); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}
