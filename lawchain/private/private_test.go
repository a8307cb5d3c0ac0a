package private

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/journal/durable"
	"vaultmesh.org/vaultmesh/receipt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openAll(t testing.TB, dir string) (*Store, *journal.Journal) {
	t.Helper()
	s, err := Open(filepath.Join(dir, "private"), rand.Reader)
	must(t, err)
	j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{Ballast: -1})
	must(t, err)
	return s, j
}

func keep(t testing.TB, s *Store, j *journal.Journal, p vaultmesh.Principal, text string) (vaultmesh.Digest, Sealed) {
	t.Helper()
	o, err := s.NewOpening(text)
	must(t, err)
	x, err := s.Seal(p, o)
	must(t, err)
	must(t, j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error { return Put(tx, x) }))
	return o.Commitment(), x
}

func TestKeepAndErase(t *testing.T) {
	dir := t.TempDir()
	s, j := openAll(t, dir)
	const text = "because my colleague Quentin Zaphod was ill"
	a, _ := keep(t, s, j, "operator:ada", text)
	b, _ := keep(t, s, j, "operator:grace", "another reason")
	if again, _ := keep(t, s, j, "operator:ada", text); again == a {
		t.Error("the same text has the same commitment twice")
	}
	o, err := s.Open(j, a)
	if err != nil || o.Text != text || o.Commitment() != a {
		t.Fatalf("%+v %v", o, err)
	}
	key, ok, err := s.read("operator:ada")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	info, err := os.Stat(s.path("operator:ada"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v", info.Mode())
	}
	must(t, j.Close())
	if !holds(t, dir, key) {
		t.Fatal("the key is nowhere: the search for it proves nothing")
	}
	if holds(t, dir, []byte(text)) {
		t.Fatal("the text is on the disk in the clear")
	}

	s, j = openAll(t, dir)
	if all, readable, err := s.Kept(j, "operator:ada"); err != nil || all != 2 || readable != 2 {
		t.Errorf("%d texts, %d readable: %v", all, readable, err)
	}
	destroyed, err := s.Erase("operator:ada")
	if err != nil || !destroyed {
		t.Fatal(destroyed, err)
	}
	if destroyed, err := s.Erase("operator:ada"); err != nil || destroyed {
		t.Errorf("once more: %v %v", destroyed, err)
	}
	if _, err := s.Open(j, a); vaultmesh.KindOf(err) != vaultmesh.Expired {
		t.Errorf("after the erasure: %v", err)
	}
	if all, readable, err := s.Kept(j, "operator:ada"); err != nil || all != 2 || readable != 0 {
		t.Errorf("after the erasure: %d texts, %d readable: %v", all, readable, err)
	}
	if o, err := s.Open(j, b); err != nil || o.Text != "another reason" {
		t.Errorf("the text of another: %+v %v", o, err)
	}
	// Who goes on to write gets a new key; the old texts stay erased.
	c, _ := keep(t, s, j, "operator:ada", "new")
	if o, err := s.Open(j, c); err != nil || o.Text != "new" {
		t.Errorf("a new text: %+v %v", o, err)
	}
	if _, err := s.Open(j, a); vaultmesh.KindOf(err) != vaultmesh.Expired {
		t.Errorf("under the new key: %v", err)
	}
	if _, err := s.Open(j, vaultmesh.Sum(nil)); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("what was never kept: %v", err)
	}
	must(t, j.Close())
	if holds(t, dir, key) || holds(t, dir, []byte(hex.EncodeToString(key))) || holds(t, dir, []byte(text)) || holds(t, dir, []byte("Zaphod")) {
		t.Error("the key or the text is still on the disk")
	}
}

// holds reports whether any file below dir holds the bytes.
func holds(t testing.TB, dir string, what []byte) (found bool) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, what)
		return err
	}))
	return found
}

// The bytes of the file itself are overwritten before it is unlinked: who holds it open sees it.
func TestTheFileIsOverwritten(t *testing.T) {
	s, j := openAll(t, t.TempDir())
	defer func() { must(t, j.Close()) }()
	keep(t, s, j, "operator:ada", "x")
	f, err := os.Open(s.path("operator:ada"))
	must(t, err)
	defer func() { _ = f.Close() }()
	if _, err := s.Erase("operator:ada"); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("the unlinked file still has %d bytes: %v", info.Size(), err)
	}
}

// A ciphertext is bound to its commitment and its principal.
func TestNoTextForAnother(t *testing.T) {
	s, j := openAll(t, t.TempDir())
	defer func() { must(t, j.Close()) }()
	_, x := keep(t, s, j, "operator:ada", "x")
	_, y := keep(t, s, j, "operator:ada", "y")
	for name, bad := range map[string]Sealed{
		"another commitment": {x.Principal, y.Commitment, x.Key, x.Nonce, x.Ciphertext},
		"changed":            {x.Principal, x.Commitment, x.Key, x.Nonce, append([]byte{x.Ciphertext[0] ^ 1}, x.Ciphertext[1:]...)},
		"nonce":              {x.Principal, x.Commitment, x.Key, y.Nonce, x.Ciphertext},
		"short nonce":        {x.Principal, x.Commitment, x.Key, x.Nonce[:5], x.Ciphertext},
		"empty":              {x.Principal, x.Commitment, x.Key, x.Nonce, nil},
	} {
		must(t, j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
			tx.Delete(keyText(bad.Commitment)) // as no node does
			return Put(tx, bad)
		}))
		if _, err := s.Open(j, bad.Commitment); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A text that was kept stays its author's, also once it is erased.
func TestNoTextTwice(t *testing.T) {
	s, j := openAll(t, t.TempDir())
	defer func() { must(t, j.Close()) }()
	d, _ := keep(t, s, j, "operator:ada", "x")
	o, err := s.Open(j, d)
	must(t, err)
	again := func() error {
		x, err := s.Seal("agent:mallory", o)
		must(t, err)
		return j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error { return Put(tx, x) })
	}
	if err := again(); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("another's text: %v", err)
	}
	if all, _, err := s.Kept(j, "agent:mallory"); err != nil || all != 0 {
		t.Errorf("%d texts: %v", all, err)
	}
	if _, err := s.Erase("operator:ada"); err != nil {
		t.Fatal(err)
	}
	if err := again(); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("another's erased text: %v", err)
	}
	if _, err := s.Open(j, d); vaultmesh.KindOf(err) != vaultmesh.Expired {
		t.Errorf("after the erasure: %v", err)
	}
}

// What a killed process left half made is destroyed, and a key file of another length is never used.
func TestHalfMade(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "new-123")
	must(t, os.WriteFile(left, bytes.Repeat([]byte{7}, 32), 0o600))
	s, err := Open(dir, rand.Reader)
	must(t, err)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	must(t, os.WriteFile(s.path("operator:ada"), []byte("short"), 0o600))
	o := receipt.Opening{Text: "x"}
	if _, err := s.Seal("operator:ada", o); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("a short key: %v", err)
	}
	if destroyed, err := s.Erase("operator:ada"); err != nil || !destroyed {
		t.Errorf("a short key is erased too: %v %v", destroyed, err)
	}
	if _, err := s.Seal("a b", o); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no principal: %v", err)
	}
	if _, err := s.NewOpening(string(make([]byte, receipt.MaxPrivate+1))); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("too long: %v", err)
	}
}

// A key that is found is not relied on before its name is durable: an earlier process may have been killed before it was.
func TestFoundKeyIsDurable(t *testing.T) {
	dir := t.TempDir()
	seal := func() {
		t.Helper()
		s, err := Open(dir, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.NewOpening("words")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		defer durable.Watch(func(d string) {
			if d == dir {
				entries, _ := os.ReadDir(d)
				for _, e := range entries {
					names = append(names, e.Name())
				}
			}
		})()
		if _, err := s.Seal("operator:ada", o); err != nil {
			t.Fatal(err)
		}
		if len(names) != 1 || !strings.HasSuffix(names[0], ".key") {
			t.Errorf("the folder was synced with %v", names)
		}
	}
	seal()
	seal()
}
