package ethereum

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// Format names the only version of the proof there is.
const Format = "vaultmesh-ethereum/v1"

// Bounds of a proof.
const (
	MaxProof       = 4 << 20 // bytes of the text form
	MaxDescendants = 1024    // headers after the anchored block's
)

// Proof shows that a contract emitted an event in a transaction of a block. Its text form is RFC 8785 JSON with exactly
// these members; binary data is "0x" and lower-case hexadecimal.
type Proof struct {
	ChainID     uint64  `json:"chain_id,string"` // EIP-155; a statement: no header holds it, the pinned block decides
	Descendants []Bytes `json:"descendants"`     // RLP of the headers that follow, each the parent of the next; often empty
	Format      string  `json:"format"`
	Header      Bytes   `json:"header"`      // RLP of the block's header
	Log         uint32  `json:"log"`         // position of the event among those of its transaction
	Nodes       []Bytes `json:"nodes"`       // way through the trie of receipts, root first
	Transaction uint32  `json:"transaction"` // position in the block, the key of the receipt in the trie
}

// Bytes is binary data that travels as hexadecimal text.
type Bytes []byte

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) {
	return append([]byte("0x"), hex.EncodeToString(b)...), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(string(text), "0x")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.bytes", "", "want \"0x\" and hexadecimal digits, found %.40q", text)
	}
	*b = raw
	return nil
}

// Encode returns the text form.
func (p *Proof) Encode() ([]byte, error) {
	out := *p
	if out.Descendants == nil {
		out.Descendants = []Bytes{}
	}
	if out.Nodes == nil {
		out.Nodes = []Bytes{}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "ethereum.proof", "", "it cannot be encoded").Because(err)
	}
	if len(text) > MaxProof {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "ethereum.proof", "", "%d bytes, the limit is %d", len(text), MaxProof)
	}
	return text, nil
}

// Decode reads the text form and accepts nothing that Encode would have written otherwise. Nothing is verified. Errors
// are of kind Invalid or TooLarge.
func Decode(text []byte) (*Proof, error) {
	const op = "ethereum.proof"
	if len(text) > MaxProof {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(text), MaxProof)
	}
	var p Proof
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a proof of this format").Because(err)
	}
	if p.Format != Format {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the format is %.40q, want %q", p.Format, Format)
	}
	if len(p.Descendants) > MaxDescendants || len(p.Nodes) > maxNodes {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d following headers and %d nodes, at most %d and %d", len(p.Descendants), len(p.Nodes), MaxDescendants, maxNodes)
	}
	again, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it is not in the one form in which it may be written").WithFix("write it as canonical JSON (RFC 8785) with each member once")
	}
	return &p, nil
}
