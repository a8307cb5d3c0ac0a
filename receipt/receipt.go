// Package receipt owns the evidence format of VaultMesh: the kinds of receipts and their bodies, their encoding as DSSE
// envelopes around in-toto Statements, canonical JSON, what a person signs to approve a command, proofs, the offline
// bundle, the trust file, and [Verify], which judges a bundle with nothing but pinned keys. It is on floor 1: pure
// functions, no I/O, no clock, no randomness, no goroutines.
//
// It must not know how receipts are stored or sequenced, how a decision was made, nor any profile.
//
// Sources: DSSE v1 (secure-systems-lab/dsse), in-toto Statement v1, RFC 8785 (canonical JSON), RFC 6962 section 2.1
// (Merkle trees), C2SP tlog-tiles (entry limit), tlog-checkpoint, signed-note and tlog-proof, RFC 3161 (time-stamps).
package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Fixed strings of the format.
const (
	PayloadType   = "application/vnd.in-toto+json"
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://vaultmesh.org/receipt/v1"
)

// MaxEntry is the largest envelope in bytes: an entry bundle of C2SP tlog-tiles gives the length in 16 bits.
const MaxEntry = 65535

// MaxCauses bounds the causes of one receipt.
const MaxCauses = 64

// TimeFormat is the only text form of times in receipts, challenges and bundles: RFC 3339, microseconds, UTC.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// Ref points to a receipt in the same domain's log: where it is and what it is.
type Ref struct {
	Index vaultmesh.LogIndex `json:"index,string"`
	Leaf  vaultmesh.Digest   `json:"leaf"` // RFC 6962 leaf hash of the envelope
}

// Draft is a receipt before its place in the log is known.
type Draft struct {
	Kind       string              // one of [Kinds]
	Subject    string              // whose history this belongs to; see [CommandSubject] and its neighbours
	Actor      vaultmesh.Principal // who acted
	Time       time.Time           // kept to the microsecond, years 1970 to 9999
	Capability vaultmesh.Digest    // digest of the capability's last block; zero where none was used
	Policy     vaultmesh.Digest    // digest of the policy that decided; zero where none was asked
	Decision   string              // identifier of the policy decision, at most MaxText bytes
	Outcome    string              // the result in a word or a sentence, at most MaxText bytes
	Causes     []Ref               // earlier receipts that led to this one
	Body       json.RawMessage     // a canonical JSON object, documented with the kind; empty means {}
}

// MaxText bounds Decision and Outcome, in bytes.
const MaxText = 512

// Link is the position of a receipt in its subject's own chain: Seq counts from 0, Prev is nil at 0 only.
type Link struct {
	Seq  uint64
	Prev *Ref
}

// Signer signs envelopes; an implementation holds an ed25519 key and must be safe for concurrent use. KeyID is the
// [KeyID] of its public key.
type Signer interface {
	Sign(message []byte) ([]byte, error)
	KeyID() string
}

// Receipt is an opened envelope. Its signature is not verified until [Receipt.CheckSignature] was asked.
type Receipt struct {
	Domain vaultmesh.Domain
	Draft
	Link
	Leaf      vaultmesh.Digest // leaf hash of the exact envelope bytes
	KeyID     string           // empty where only the checkpoint covers the receipt
	Signature []byte           // nil where only the checkpoint covers the receipt
	statement []byte
}

// Signed reports whether the envelope carries a signature of its own.
func (r *Receipt) Signed() bool { return r.KeyID != "" }

// LeafHash returns the RFC 6962 leaf hash of an envelope: SHA-256 of 0x00 and the envelope.
func LeafHash(envelope []byte) vaultmesh.Digest {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(envelope)
	var d vaultmesh.Digest
	h.Sum(d[:0])
	return d
}

// KeyID names a public key: "ed25519:" and the first 16 bytes of its SHA-256 digest in hexadecimal.
func KeyID(pub ed25519.PublicKey) string {
	d := sha256.Sum256(pub)
	return "ed25519:" + hex.EncodeToString(d[:16])
}
