// Package keys makes the keys of tests: the same in every run, and worth nothing. It is on floor 7, is used by tests only,
// and knows no more of VaultMesh than how a receipt is signed.
package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/receipt"
)

// Key signs receipts, and whatever else a test has signed.
type Key struct{ ed25519.PrivateKey }

// Named returns the key of a name.
func Named(name string) Key {
	seed := sha256.Sum256([]byte(name))
	return Key{ed25519.NewKeyFromSeed(seed[:])}
}

// Pub returns the public key.
func (k Key) Pub() ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// KeyID implements [receipt.Signer].
func (k Key) KeyID() string { return receipt.KeyID(k.Pub()) }

// Sign implements [receipt.Signer].
func (k Key) Sign(message []byte) ([]byte, error) { return ed25519.Sign(k.PrivateKey, message), nil }

// Note is a key as signers of notes hold it.
type Note struct {
	note.Signer
	Verifier note.Verifier
	Secret   string // the private key as text
	Text     string // the public key as text, which trust files pin
}

// Note returns the key for notes of an origin.
func (k Key) Note(origin string) Note {
	secret, text, err := note.GenerateKey(bytes.NewReader(k.Seed()), origin)
	if err != nil {
		panic(err) // the origin is no name of a key
	}
	n := Note{Secret: secret, Text: text}
	if n.Signer, err = note.NewSigner(secret); err == nil {
		n.Verifier, err = note.NewVerifier(text)
	}
	if err != nil {
		panic(err)
	}
	return n
}
