package bench

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// domain is the name of every benchmark's domain.
const domain vaultmesh.Domain = "bench"

// origin is the name of its log.
const origin = "vaultmesh.org/log/bench"

// truth is a journal with its log, wired as a node wires them.
type truth struct {
	journal  *journal.Journal
	log      *lawchain.Log
	receipts ed25519.PrivateKey
	unsigned bool   // what is measured: batches covered by the checkpoint, not signed commands
	logKey   string // the verifier key of the log as text
}

// openTruth opens both in dir with new keys. Where unsigned is set, every receipt is covered by the checkpoint alone.
func openTruth(dir string, unsigned bool, l *slog.Logger) (*truth, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	t := &truth{receipts: key, unsigned: unsigned}
	sk, vk, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bench.key", origin, "cannot make a key").Because(err)
	}
	signs, err := note.NewSigner(sk)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bench.key", origin, "cannot sign").Because(err)
	}
	verifies, err := note.NewVerifier(vk)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bench.key", origin, "cannot verify").Because(err)
	}
	t.logKey = vk
	t.log = lawchain.New(lawchain.Options{Domain: domain, Signer: signs, Verifier: verifies, Receipts: signer(key),
		Unsigned: func(kind string) bool { return unsigned || kind == receipt.TelemetryBatch }})
	t.journal, err = journal.Open(dir, journal.Options{Seal: t.log.Seal, OnDurable: t.log.Durable, Ballast: -1, Log: l})
	if err != nil {
		return nil, err
	}
	if err := t.log.Load(t.journal); err != nil {
		return nil, errors.Join(err, t.journal.Close())
	}
	return t, nil
}

// close ends the journal; what it holds is about to be removed, so an error tells nothing that matters.
func (t *truth) close() { _ = t.journal.Close() }

// signer signs receipts.
type signer ed25519.PrivateKey

func (s signer) Sign(message []byte) ([]byte, error) {
	return ed25519.Sign(ed25519.PrivateKey(s), message), nil
}

func (s signer) KeyID() string {
	return receipt.KeyID(ed25519.PrivateKey(s).Public().(ed25519.PublicKey))
}
