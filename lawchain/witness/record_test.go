package witness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
)

// The folder is lost as a whole or put back to an older copy, and the key stays: the witness does not start, unless an
// operator says that the record beside the key is the newest; then it goes on from there and cosigns nothing else.
func TestFolderLostOrPutBack(t *testing.T) {
	x, fork := newTree(t, "example.com/log", "1"), newTree(t, "example.com/log", "1")
	x.grow(30, "main")
	fork.grow(40, "fork")
	signer, _ := key(t, "witness.example/w1")
	other, _ := key(t, "witness.example/w2")
	place := t.TempDir()
	dir, record := filepath.Join(place, "witness"), filepath.Join(place, "witness.key.record")
	o := witness.ServerOptions{Dir: dir, Record: record, Signer: signer, Logs: []note.Verifier{x.verify}, Log: quiet()}
	run := func(o witness.ServerOptions, work func(*witness.Server)) {
		t.Helper()
		s, err := witness.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		work(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add := func(want int, r witness.Request) func(*witness.Server) {
		return func(s *witness.Server) {
			t.Helper()
			if a := s.AddCheckpoint(r.Marshal()); a.Status != want {
				t.Fatalf("%d %s, want %d", a.Status, a.Body, want)
			}
		}
	}
	copied := func(from string) string {
		t.Helper()
		to := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return to
	}
	run(o, func(*witness.Server) {})
	empty := copied(dir)
	if err := os.RemoveAll(dir); err != nil { // nothing was cosigned: nothing was lost
		t.Fatal(err)
	}
	run(o, add(200, x.request(0, 10)))
	early, earlyRecord := copied(dir), copied(record)
	run(o, add(200, x.request(10, 30)))

	for name, at := range map[string]string{"lost": filepath.Join(t.TempDir(), "none"), "put back to its beginning": empty, "put back to an older head": early} {
		t.Run(name, func(t *testing.T) {
			o := o
			if o.Dir, o.Record = at, copied(record); name != "lost" {
				o.Dir = copied(at)
			}
			s, err := witness.NewServer(o)
			if vaultmesh.KindOf(err) != vaultmesh.Corrupt || !strings.Contains(err.Error(), "recover") {
				t.Errorf("%v", err)
				if err == nil {
					t.Errorf("and a fork: %d", s.AddCheckpoint(fork.request(0, 40).Marshal()).Status)
					_ = s.Close()
				}
				return
			}
			// Refused again, whatever the first refusal left behind.
			if _, err := witness.NewServer(o); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
				t.Fatalf("the second start: %v", err)
			}
			o.Recover = true
			run(o, add(409, fork.request(0, 40)))
			o.Recover = false
			run(o, add(200, x.request(30, 30)))
		})
	}
	t.Run("the record is older", func(t *testing.T) { // killed between the two, or only the keys were restored
		o := o
		o.Dir, o.Record = copied(dir), earlyRecord
		run(o, add(409, fork.request(0, 40)))
		if err := os.RemoveAll(o.Dir); err != nil {
			t.Fatal(err)
		}
		o.Recover = true
		run(o, add(200, x.request(30, 30)))
	})
	t.Run("the record is gone", func(t *testing.T) {
		o := o
		o.Dir, o.Record = copied(dir), filepath.Join(t.TempDir(), "none")
		if _, err := witness.NewServer(o); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Fatalf("%v", err)
		}
		if err := os.Remove(filepath.Join(o.Dir, "recorded")); err != nil { // and as a folder of a version without records
			t.Fatal(err)
		}
		run(o, add(200, x.request(30, 30)))
		if err := os.RemoveAll(o.Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := witness.NewServer(o); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Fatalf("the record was not made anew: %v", err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		o := o
		o.Dir, o.Record, o.Signer = t.TempDir(), copied(record), other
		if _, err := witness.NewServer(o); vaultmesh.KindOf(err) != vaultmesh.Conflict {
			t.Fatalf("%v", err)
		}
	})
}

// The record holds a head before it is cosigned.
func TestRecordedBesideTheKeyBeforeCosigned(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(5, "main")
	record, called := filepath.Join(t.TempDir(), "record"), false
	s := serve(t, witness.ServerOptions{Record: record, Logs: []note.Verifier{x.verify}, Failpoint: func(string) {
		called = true
		if b, err := os.ReadFile(filepath.Join(record, nameOf("example.com/log"))); err != nil || !strings.Contains(string(b), "\n5\n") {
			t.Errorf("%q %v", b, err)
		}
	}})
	if a := s.AddCheckpoint(x.request(0, 5).Marshal()); a.Status != 200 || !called {
		t.Fatal(a.Status)
	}
}

// A key belongs to one witness: with its record in use, a second one with a folder of its own does not start, so that no
// two histories of a log are cosigned by one key; nor does it once the first has cosigned and ended.
func TestOneKeyTwoFolders(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(30, "main")
	signer, _ := key(t, "witness.example/w1")
	place := t.TempDir()
	o := witness.ServerOptions{Record: filepath.Join(place, "witness.key.record"), Signer: signer, Logs: []note.Verifier{x.verify}, Log: quiet()}
	one, other := o, o
	one.Dir, other.Dir = filepath.Join(place, "one"), filepath.Join(place, "other")
	s, err := witness.NewServer(one)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := witness.NewServer(other); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("while the first runs: %v", err)
	}
	if a := s.AddCheckpoint(x.request(0, 30).Marshal()); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.NewServer(other); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("after the first: %v", err)
	}
	if s, err = witness.NewServer(one); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
