package export

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

type signer ed25519.PrivateKey

func newSigner(seed string) signer {
	s := sha256.Sum256([]byte(seed))
	return signer(ed25519.NewKeyFromSeed(s[:]))
}

func (k signer) pub() ed25519.PublicKey { return ed25519.PrivateKey(k).Public().(ed25519.PublicKey) }
func (k signer) KeyID() string          { return receipt.KeyID(k.pub()) }
func (k signer) Sign(m []byte) ([]byte, error) {
	return ed25519.Sign(ed25519.PrivateKey(k), m), nil
}

const origin = "vaultmesh.test/dev"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// domain is a log of receipts that a test appends to and exports.
type domain struct {
	testing.TB
	key       signer
	log       ed25519.PrivateKey
	logKey    string // private, as signed notes write it
	verifier  string
	envelopes [][]byte
	links     map[string]receipt.Link
}

func newDomain(t testing.TB) *domain {
	t.Helper()
	d := &domain{TB: t, key: newSigner("receipts"), links: map[string]receipt.Link{}}
	var err error
	if d.logKey, d.verifier, err = note.GenerateKey(strings.NewReader(strings.Repeat("seed of a log key", 8)), origin); err != nil {
		t.Fatal(err)
	}
	fields := strings.SplitN(d.logKey, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(fields[4])
	if err != nil {
		t.Fatal(err)
	}
	d.log = ed25519.NewKeyFromSeed(raw[1:])
	d.append(receipt.Draft{Kind: receipt.DomainGenesis, Subject: receipt.DomainSubject("dev"), Actor: "node:dev"}, &receipt.GenesisBody{Origin: origin, LogKey: d.verifier, ReceiptKeys: [][]byte{d.key.pub()}})
	return d
}

// append logs a receipt and returns where it is.
func (d *domain) append(draft receipt.Draft, body any, causes ...receipt.Ref) receipt.Ref {
	d.Helper()
	raw, err := receipt.Body(body)
	if err != nil {
		d.Fatal(err)
	}
	draft.Body, draft.Causes = raw, causes
	draft.Time = start.Add(time.Duration(len(d.envelopes)) * time.Second)
	link := d.links[draft.Subject]
	e, err := receipt.Encode("dev", draft, link, d.key)
	if err != nil {
		d.Fatal(err)
	}
	ref := receipt.Ref{Index: vaultmesh.LogIndex(len(d.envelopes)), Leaf: receipt.LeafHash(e)}
	d.envelopes = append(d.envelopes, e)
	d.links[draft.Subject] = receipt.Link{Seq: link.Seq + 1, Prev: &ref}
	return ref
}

// halts logs n receipts that no check asks more of.
func (d *domain) halts(n int) {
	for i := range n {
		d.append(receipt.Draft{Kind: receipt.HaltSet, Subject: "halt/dev", Actor: "operator:ada"}, &receipt.HaltBody{Reason: fmt.Sprintf("test %d", i)})
	}
}

// bundle exports the whole log.
func (d *domain) bundle() (data []byte, trust *receipt.Trust) {
	d.Helper()
	leaves := make([][]byte, len(d.envelopes))
	f := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	nodes := map[compact.NodeID][]byte{}
	r := f.NewEmptyRange(0)
	for i, e := range d.envelopes {
		h := receipt.LeafHash(e)
		leaves[i] = h[:]
		if err := r.Append(h[:], func(id compact.NodeID, h []byte) { nodes[id] = h }); err != nil {
			d.Fatal(err)
		}
	}
	root, err := r.GetRootHash(func(id compact.NodeID, h []byte) { nodes[id] = h })
	if err != nil {
		d.Fatal(err)
	}
	size := uint64(len(leaves))
	s, err := note.NewSigner(d.logKey)
	if err != nil {
		d.Fatal(err)
	}
	checkpoint, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: origin, Size: size, Hash: root}.Marshal())}, s)
	if err != nil {
		d.Fatal(err)
	}
	parts := []receipt.Part{receipt.CheckpointPart(checkpoint)}
	for i, e := range d.envelopes {
		n, err := proof.Inclusion(uint64(i), size)
		if err != nil {
			d.Fatal(err)
		}
		hashes := make([][]byte, len(n.IDs))
		for k, id := range n.IDs {
			hashes[k] = nodes[id]
		}
		if hashes, err = n.Rehash(hashes, rfc6962.DefaultHasher.HashChildren); err != nil {
			d.Fatal(err)
		}
		path := make([]vaultmesh.Digest, len(hashes))
		for k := range hashes {
			path[k] = vaultmesh.Digest(hashes[k])
		}
		parts = append(parts, receipt.ReceiptPart(vaultmesh.LogIndex(i), e), receipt.InclusionPart(vaultmesh.LogIndex(i), path, checkpoint))
	}
	if data, err = receipt.EncodeBundle("dev", parts, d.key); err != nil {
		d.Fatal(err)
	}
	return data, &receipt.Trust{Domain: "dev", Log: receipt.TrustedLog{Origin: origin, Key: d.verifier}, ReceiptKeys: []receipt.TrustedKey{{ID: d.key.KeyID(), Public: d.key.pub()}}}
}
