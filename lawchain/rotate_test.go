package lawchain_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

const rotateOrigin = "vaultmesh.org/log/rotate"

// rotating is a log with keys that the test holds.
type rotating struct {
	t   *testing.T
	dir string
	j   *journal.Journal
	log *lawchain.Log
	key map[string]ed25519.PrivateKey
}

func (r *rotating) signer(name string) note.Signer {
	r.t.Helper()
	k, ok := r.key[name]
	if !ok {
		_, made, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			r.t.Fatal(err)
		}
		k, r.key[name] = made, made
	}
	return noteSigner{r.t, k}
}

// noteSigner signs notes with a plain key.
type noteSigner struct {
	t *testing.T
	k ed25519.PrivateKey
}

func (s noteSigner) Name() string { return rotateOrigin }

func (s noteSigner) KeyHash() uint32 {
	v, err := receipt.Key{Origin: rotateOrigin, Public: s.k.Public().(ed25519.PublicKey)}.Verifier()
	if err != nil {
		s.t.Fatal(err)
	}
	return v.KeyHash()
}

func (s noteSigner) Sign(m []byte) ([]byte, error) { return ed25519.Sign(s.k, m), nil }

type receiptSigner struct{ ed25519.PrivateKey }

func (s receiptSigner) Sign(m []byte) ([]byte, error) { return ed25519.Sign(s.PrivateKey, m), nil }
func (s receiptSigner) KeyID() string                 { return receipt.KeyID(s.Public().(ed25519.PublicKey)) }

func (r *rotating) public(name string) ed25519.PublicKey {
	return r.key[name].Public().(ed25519.PublicKey)
}

// open opens the log with the keys that it names and the signers with these names.
func (r *rotating) open(signers ...string) {
	r.t.Helper()
	var list []note.Signer
	for _, s := range signers {
		list = append(list, r.signer(s))
	}
	r.signer("receipts")
	r.log = lawchain.New(lawchain.Options{Domain: "rotate", Unsigned: func(kind string) bool { return kind == receipt.KeyRenewed }})
	var err error
	if r.j, err = journal.Open(r.dir, journal.Options{Seal: r.log.Seal, OnDurable: r.log.Durable}); err != nil {
		r.t.Fatal(err)
	}
	h, err := lawchain.ReadKeys(r.j, "rotate", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if h == nil {
		h, err = receipt.FollowKeys("rotate", []receipt.Key{{Purpose: receipt.PurposeLog, Public: r.public(signers[0]), Origin: rotateOrigin}}, nil, nil)
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.log.UseKeys(h, list, receiptSigner{r.key["receipts"]}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.log.Load(r.j); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotating) close() {
	r.t.Helper()
	if err := r.j.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotating) submit(f journal.Op) error {
	return r.j.Submit(context.Background(), journal.Commands, f)
}

func (r *rotating) append(kind string, body any) {
	r.t.Helper()
	b, err := receipt.Body(body)
	if err != nil {
		r.t.Fatal(err)
	}
	err = r.submit(func(tx journal.Tx) error {
		_, _, err := r.log.Append(tx, receipt.Draft{Kind: kind, Subject: receipt.DomainSubject("rotate"), Actor: "node:test", Time: time.Now(), Body: b})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotating) statement(act, key, by string) receipt.KeyBody {
	r.t.Helper()
	r.signer(key)
	sign := func(name string) func([]byte) ([]byte, error) {
		return func(m []byte) ([]byte, error) { return ed25519.Sign(r.key[name], m), nil }
	}
	possess := sign(key)
	if act == receipt.KeyRetired {
		possess = nil
	}
	b, err := receipt.SignKey(receipt.KeyStatement{Act: act, Domain: "rotate", Purpose: receipt.PurposeLog, Origin: rotateOrigin, Key: r.public(key), By: r.public(by), Time: time.Now()}, sign(by), possess)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rotating) change(b receipt.KeyBody, signers ...string) error {
	var list []note.Signer
	for _, s := range signers {
		list = append(list, r.signer(s))
	}
	return r.submit(func(tx journal.Tx) error {
		_, err := r.log.ChangeKeys(tx, "node:test", time.Now(), []receipt.KeyBody{b}, nil, list)
		return err
	})
}

func (r *rotating) signedBy(names ...string) {
	r.t.Helper()
	n, err := note.Open(r.log.Checkpoint().Note, note.VerifierList(r.verifiers(names...)...))
	if err != nil || len(n.Sigs) != len(names) || len(n.UnverifiedSigs) != 0 {
		r.t.Fatalf("the checkpoint is not signed by exactly %v: %v", names, err)
	}
}

func (r *rotating) verifiers(names ...string) (out []note.Verifier) {
	for _, name := range names {
		v, err := receipt.Key{Origin: rotateOrigin, Public: r.public(name)}.Verifier()
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// The checkpoint of the very commit that hands over is signed by both keys, that of the commit that retires by the new one
// alone; a log that is opened again knows its keys from its receipts, and a checkpoint of any time verifies.
func TestKeysOfALogChange(t *testing.T) {
	r := &rotating{t: t, dir: t.TempDir(), key: map[string]ed25519.PrivateKey{}}
	r.open("a")
	text, err := receipt.Key{Origin: rotateOrigin, Public: r.public("a")}.LogKey()
	if err != nil {
		t.Fatal(err)
	}
	r.append(receipt.DomainGenesis, receipt.GenesisBody{Origin: rotateOrigin, LogKey: text, ReceiptKeys: [][]byte{r.public("receipts")}, CapabilityKeys: [][]byte{}})
	r.signedBy("a")
	notes := [][]byte{r.log.Checkpoint().Note}

	// What nobody would follow is not logged, and the signers stay.
	r.signer("x")
	if err := r.change(r.statement(receipt.KeyRotated, "y", "x"), "a", "y"); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Fatalf("a stranger handed over: %v", err)
	}
	if err := r.change(r.statement(receipt.KeyRotated, "b", "a"), "b"); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("the old key would stop to sign in the overlap: %v", err)
	}
	bad := r.statement(receipt.KeyRotated, "b", "a")
	bad.Signature[0] ^= 1
	if err := r.change(bad, "a", "b"); err == nil {
		t.Fatal("a wrong signature was logged")
	}
	stop := errors.New("dropped")
	err = r.submit(func(tx journal.Tx) error {
		if _, err := r.log.ChangeKeys(tx, "node:test", time.Now(), []receipt.KeyBody{r.statement(receipt.KeyRotated, "b", "a")}, nil, []note.Signer{r.signer("a"), r.signer("b")}); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	r.append(receipt.CharterAdopted, receipt.CharterBody{Charter: vaultmesh.Sum([]byte("c")), Version: "1"})
	r.signedBy("a")
	if size := r.log.Checkpoint().Size; size != 2 {
		t.Fatalf("size %d: a refused change left a receipt", size)
	}
	notes = append(notes, r.log.Checkpoint().Note)

	if err := r.change(r.statement(receipt.KeyRotated, "b", "a"), "a", "b"); err != nil {
		t.Fatal(err)
	}
	r.signedBy("a", "b")
	notes = append(notes, r.log.Checkpoint().Note)
	r.close()
	r.open("a", "b")
	r.append(receipt.CharterAdopted, receipt.CharterBody{Charter: vaultmesh.Sum([]byte("d")), Version: "2"})
	r.signedBy("a", "b")
	if err := r.change(r.statement(receipt.KeyRetired, "a", "b"), "b"); err != nil {
		t.Fatal(err)
	}
	r.signedBy("b")
	notes = append(notes, r.log.Checkpoint().Note)
	r.close()

	delete(r.key, "a") // destroyed
	r.open("b")
	defer r.close()
	for i, n := range notes {
		if _, err := r.log.Open(n); err != nil {
			t.Errorf("checkpoint %d: %v", i, err)
		}
	}
	if err := r.log.UseKeys(mustKeys(t, r), []note.Signer{r.signer("z")}, nil); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("a foreign key signs: %v", err)
	}
}

func mustKeys(t *testing.T, r *rotating) *receipt.KeyHistory {
	t.Helper()
	h, err := lawchain.ReadKeys(r.j, "rotate", nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Cosigned checkpoints are found by size, the oldest are forgotten, and the newest that may be shown is what is published.
func TestCosigned(t *testing.T) {
	r := &rotating{t: t, dir: t.TempDir(), key: map[string]ed25519.PrivateKey{}}
	r.open("a")
	defer r.close()
	if _, ok, err := r.log.LatestCosigned(); ok || err != nil {
		t.Fatalf("an empty log: %v %v", ok, err)
	}
	if r.log.Published() != nil {
		t.Fatal("an empty log is published")
	}
	for i := range 5 {
		r.append(receipt.CharterAdopted, receipt.CharterBody{Charter: vaultmesh.Sum([]byte{byte(i)}), Version: "1"})
		if i%2 == 0 {
			cp := *r.log.Checkpoint()
			cp.Note = append(append([]byte(nil), cp.Note...), "cosigned"...)
			if err := r.submit(func(tx journal.Tx) error { lawchain.PutCosigned(tx, cp); return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for from, want := range map[uint64]uint64{0: 1, 1: 1, 2: 3, 4: 5, 5: 5, 6: 0} {
		cp, ok, err := r.log.Cosigned(from)
		if err != nil || ok != (want > 0) || cp.Size != want {
			t.Errorf("from %d: %d %v %v, want %d", from, cp.Size, ok, err, want)
		}
	}
	latest, ok, err := r.log.LatestCosigned()
	if err != nil || !ok || latest.Size != 5 || string(latest.Note) == string(r.log.Checkpoint().Note) {
		t.Fatalf("%+v %v", latest, err)
	}
	old, err := r.log.OldCosigned(2)
	if err != nil || len(old) != 1 || old[0] != 1 {
		t.Fatalf("%v %v", old, err)
	}
	if err := r.submit(func(tx journal.Tx) error { lawchain.DropCosigned(tx, 1); return nil }); err != nil {
		t.Fatal(err)
	}
	if cp, _, err := r.log.Cosigned(0); err != nil || cp.Size != 3 {
		t.Fatalf("%d %v", cp.Size, err)
	}
	if cp := r.log.Published(); cp != r.log.Checkpoint() {
		t.Fatal("without a choice the newest is published")
	}
	r.log.ShowOnly(func(*lawchain.Checkpoint) *lawchain.Checkpoint { return &latest })
	if cp := r.log.Published(); cp != &latest {
		t.Fatal("the choice is not published")
	}
}
