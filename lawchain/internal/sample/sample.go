// Package sample makes logs for tests: real ones in a real journal, with keys that are the same in every run. It is on
// floor 2 and is used by tests only.
package sample

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// Domain and Origin of every log made here.
const (
	Domain = "test"
	Origin = "vaultmesh.test/log"
)

// Start is the time of receipt 0; each next one is a second later.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Signer signs receipts.
type Signer ed25519.PrivateKey

// Sign implements [receipt.Signer].
func (s Signer) Sign(m []byte) ([]byte, error) { return ed25519.Sign(ed25519.PrivateKey(s), m), nil }

// KeyID implements [receipt.Signer].
func (s Signer) KeyID() string { return receipt.KeyID(s.Public()) }

// Public is the key that verifies.
func (s Signer) Public() ed25519.PublicKey {
	return ed25519.PrivateKey(s).Public().(ed25519.PublicKey)
}

// Receipts is the key of receipts.
var Receipts = Signer(ed25519.NewKeyFromSeed(make([]byte, 32)))

// LogKey returns the keys of checkpoints.
func LogKey() (s note.Signer, v note.Verifier, text string) {
	sk, text, err := note.GenerateKey(strings.NewReader(strings.Repeat("deterministic", 10)), Origin)
	if err == nil {
		s, err = note.NewSigner(sk)
	}
	if err == nil {
		v, err = note.NewVerifier(text)
	}
	if err != nil {
		panic(err)
	}
	return s, v, text
}

// Trust pins both keys.
func Trust() *receipt.Trust {
	_, _, text := LogKey()
	return &receipt.Trust{Domain: Domain, Log: receipt.TrustedLog{Origin: Origin, Key: text},
		ReceiptKeys: []receipt.TrustedKey{{ID: Receipts.KeyID(), Public: Receipts.Public()}}}
}

// Log is a journal with a log on it.
type Log struct {
	J *journal.Journal
	*lawchain.Log
	n int
}

// Open opens or makes a log in dir.
func Open(t testing.TB, dir string) *Log {
	t.Helper()
	f, err := Reopen(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Reopen is Open for a process that is not a test itself.
func Reopen(dir string) (*Log, error) {
	s, v, _ := LogKey()
	l := lawchain.New(lawchain.Options{Domain: Domain, Signer: s, Verifier: v, Receipts: Receipts,
		Unsigned: func(kind string) bool { return !receipt.MustSign(kind) }})
	j, err := journal.Open(dir, journal.Options{Ballast: -1, Seal: l.Seal, OnDurable: l.Durable})
	if err != nil {
		return nil, err
	}
	if err := l.Load(j); err != nil {
		_ = j.Close()
		return nil, err
	}
	f := &Log{J: j, Log: l}
	if cp := l.Checkpoint(); cp != nil {
		f.n = int(cp.Size)
	}
	return f, nil
}

// Draft is the i-th receipt: signed ones of seven subjects, and unsigned ones of one.
func Draft(i int) receipt.Draft {
	d := receipt.Draft{Kind: receipt.HaltSet, Subject: fmt.Sprintf("halt/%d", i%7), Actor: "operator:ada", Time: Start.Add(time.Duration(i) * time.Second), Body: []byte(`{"reason":"test"}`)}
	if i%5 == 4 {
		d.Kind, d.Subject, d.Body = receipt.TelemetryBatch, receipt.TelemetrySubject(Domain), []byte(`{}`)
	}
	return d
}

// Grow appends the next n drafts in one commit.
func (f *Log) Grow(t testing.TB, n int) {
	t.Helper()
	drafts := make([]receipt.Draft, n)
	for i := range drafts {
		drafts[i] = Draft(f.n + i)
	}
	f.Put(t, drafts...)
}

// Put appends drafts in one commit.
func (f *Log) Put(t testing.TB, drafts ...receipt.Draft) {
	t.Helper()
	err := f.J.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for _, d := range drafts {
			if _, _, err := f.Append(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.n += len(drafts)
}

// Close closes the journal.
func (f *Log) Close(t testing.TB) {
	t.Helper()
	if err := f.J.Close(); err != nil {
		t.Fatal(err)
	}
}

// Note signs a checkpoint with the log's key, whatever it says.
func Note(t testing.TB, size uint64, root vaultmesh.Digest) []byte {
	t.Helper()
	s, _, _ := LogKey()
	signed, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: Origin, Size: size, Hash: root[:]}.Marshal())}, s)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
