// Package logtest makes a real log in a real journal for the tests of the packages around it. It is on floor 2 and is
// used by tests only.
package logtest

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

type signer ed25519.PrivateKey

func (s signer) Sign(m []byte) ([]byte, error) { return ed25519.Sign(ed25519.PrivateKey(s), m), nil }
func (s signer) KeyID() string {
	return receipt.KeyID(ed25519.PrivateKey(s).Public().(ed25519.PublicKey))
}

// Open opens or makes the journal in dir and loads the log on it, with keys that are the same in every run. failpoint is
// called at the points of a commit; nil means none.
func Open(dir string, failpoint func(point string)) (*journal.Journal, *lawchain.Log, error) {
	sk, vk, err := note.GenerateKey(strings.NewReader(strings.Repeat("deterministic", 10)), "vaultmesh.test/log")
	if err != nil {
		return nil, nil, err
	}
	s, err := note.NewSigner(sk)
	if err != nil {
		return nil, nil, err
	}
	v, err := note.NewVerifier(vk)
	if err != nil {
		return nil, nil, err
	}
	l := lawchain.New(lawchain.Options{Domain: "test", Signer: s, Verifier: v, Receipts: signer(ed25519.NewKeyFromSeed(make([]byte, 32))),
		Unsigned: func(kind string) bool { return kind == receipt.TelemetryBatch }})
	j, err := journal.Open(dir, journal.Options{Ballast: -1, Seal: l.Seal, OnDurable: l.Durable, Failpoint: failpoint})
	if err != nil {
		return nil, nil, err
	}
	if err := l.Load(j); err != nil {
		_ = j.Close()
		return nil, nil, err
	}
	return j, l, nil
}

// Grow appends n receipts of one subject in one commit.
func Grow(j *journal.Journal, l *lawchain.Log, at time.Time, n int) error {
	return j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for i := range n {
			d := receipt.Draft{Kind: receipt.HaltSet, Subject: receipt.HaltSubject("test"), Actor: "operator:ada", Time: at.UTC(), Body: fmt.Appendf(nil, `{"reason":"test %d"}`, i)}
			if _, _, err := l.Append(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
}
