// Package bitcoin owns the proof that a digest is in Bitcoin's block chain, which anybody can check offline: its one
// text form, its verification against what an auditor pins, and its export as an OpenTimestamps file. It is on floor 1:
// pure functions, no I/O, no clock; it links nothing but the standard library, so that the offline verifier stays small.
//
// It must not know what the digest is of, nor how the transaction came into a block.
//
// Sources: the Bitcoin developer reference (block headers, Merkle trees, raw transactions, compact form of targets),
// CVE-2012-2459, and S. D. Lerner, "Leaf-Node weakness in Bitcoin Merkle Tree Design" (2018), on trees without a
// distinction of leaves and nodes; the OpenTimestamps file format.
package bitcoin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"

	"vaultmesh.org/vaultmesh"
)

// Format names the only version of the proof there is.
const Format = "vaultmesh-bitcoin/v1"

// Bounds of a proof.
const (
	MaxFollowing = 2016      // headers after the one with the transaction: two weeks
	MaxProof     = 512 << 10 // bytes
)

// Proof is that a transaction is in a block, and that blocks follow it. Its text form is canonical JSON (RFC 8785, the
// members in alphabetical order, no white space); [Decode] accepts nothing else.
type Proof struct {
	// Branch leads from the transaction to the block's Merkle root, lowest sibling first.
	Branch []Hash
	// Following are the headers of the blocks after Header, in order. Each is a confirmation more.
	Following []Header
	Header    Header
	// Height of the block. Nothing in the proof binds it, except where the auditor pins the height of a block.
	Height uint64
	// Index of the transaction in its block, from 0.
	Index   uint32
	Network string // "mainnet", "testnet4", "signet", "regtest"
	// Tx is the transaction in the form without witness, whose hash is its identifier.
	Tx []byte
}

// text is the JSON form. The fields stand in the order of their names, which makes encoding/json write RFC 8785.
type text struct {
	Branch    []Hash   `json:"branch"`
	Following []Header `json:"following"`
	Format    string   `json:"format"`
	Header    Header   `json:"header"`
	Height    uint64   `json:"height"`
	Index     uint32   `json:"index"`
	Network   string   `json:"network"`
	Tx        string   `json:"tx"`
}

// Encode returns the text form. It refuses what [Decode] would refuse.
func (p *Proof) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	t := text{Branch: p.Branch, Following: p.Following, Format: Format, Header: p.Header, Height: p.Height, Index: p.Index, Network: p.Network, Tx: hex.EncodeToString(p.Tx)}
	if t.Branch == nil {
		t.Branch = []Hash{}
	}
	if t.Following == nil {
		t.Following = []Header{}
	}
	out, err := json.Marshal(&t)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bitcoin.proof", "", "it cannot be encoded").Because(err)
	}
	return out, nil
}

// Decode reads the text form. It checks form and bounds only; see [Verify].
func Decode(data []byte) (*Proof, error) {
	const op = "bitcoin.proof"
	if len(data) > MaxProof {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "it has %d bytes, the limit is %d", len(data), MaxProof)
	}
	var t text
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a Bitcoin proof").Because(err)
	}
	if t.Format != Format {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "format %.40q, want %q", t.Format, Format)
	}
	raw, err := hex.DecodeString(t.Tx)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "tx", "not hexadecimal")
	}
	p := &Proof{Branch: t.Branch, Following: t.Following, Header: t.Header, Height: t.Height, Index: t.Index, Network: t.Network, Tx: raw}
	// One proof has one text: whatever encoding/json is generous about (spelling of names, repeated or missing members,
	// white space, capitals) does not come back the same.
	again, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not in canonical form")
	}
	return p, nil
}

func (p *Proof) check() error {
	const op = "bitcoin.proof"
	if _, ok := easiest[p.Network]; !ok {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "network", "%.40q", p.Network).WithFix("the networks are %s", networkNames)
	}
	if len(p.Branch) > MaxBranch || len(p.Following) > MaxFollowing || len(p.Tx) > MaxTx {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d branch nodes, %d following headers, %d bytes of transaction; the limits are %d, %d, %d", len(p.Branch), len(p.Following), len(p.Tx), MaxBranch, MaxFollowing, MaxTx)
	}
	if p.Height > math.MaxInt32 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "height", "%d", p.Height)
	}
	return nil
}
