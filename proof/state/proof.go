package state

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"vaultmesh.org/vaultmesh"
)

// Bounds of a proof.
const (
	MaxKey      = 512     // bytes of a key
	MaxDocument = 4 << 20 // bytes of a document
	MaxProof    = 6 << 20 // bytes of a proof's text form
)

// Proof shows what a state tree holds under one key. It is presence where Value is set, absence where it is not. Its text
// form is RFC 8785 JSON with the members
//
//	document  base64 of the document's exact bytes; left out where the proof carries its digest alone, or of absence
//	key       the key
//	other     of absence only: {"path":…,"value":…} of the leaf that is where the key would be; left out where nothing is
//	receipt   log index of the state.root receipt whose root the proof is about, in decimal digits as a string
//	siblings  digests of the siblings from the root downward, "" for an empty one
//	value     of presence only: SHA-256 digest of the document
type Proof struct {
	Receipt  vaultmesh.LogIndex
	Key      string
	Document []byte
	Value    vaultmesh.Digest
	Other    *Leaf
	Siblings []vaultmesh.Digest // Empty() for an empty one
}

// Present reports whether the proof claims that the key exists.
func (p *Proof) Present() bool { return !p.Value.IsZero() }

// Root returns the root of the tree that the proof is about, or why there is no such tree. Errors are of kind Invalid for
// what no proof may hold and Corrupt where its parts do not fit each other.
func (p *Proof) Root() (vaultmesh.Digest, error) {
	const op = "state.proof"
	none := vaultmesh.Digest{}
	if err := CheckKey(p.Key); err != nil {
		return none, err
	}
	if len(p.Siblings) > MaxDepth {
		return none, vaultmesh.Errorf(vaultmesh.Invalid, op, p.Key, "%d siblings, a branch has at most %d", len(p.Siblings), MaxDepth)
	}
	path, node := Path(p.Key), Empty()
	switch {
	case p.Present() && p.Other != nil:
		return none, vaultmesh.Errorf(vaultmesh.Invalid, op, p.Key, "it claims presence and absence at once")
	case p.Present():
		if p.Document != nil && vaultmesh.Sum(p.Document) != p.Value {
			return none, vaultmesh.Errorf(vaultmesh.Corrupt, op, p.Key, "the document does not have the digest %s", p.Value)
		}
		node = HashLeaf(path, p.Value)
	case p.Document != nil:
		return none, vaultmesh.Errorf(vaultmesh.Invalid, op, p.Key, "a document without its digest")
	case p.Other != nil:
		if p.Other.Path == path {
			return none, vaultmesh.Errorf(vaultmesh.Corrupt, op, p.Key, "it claims absence by the key's own leaf")
		}
		for n := range p.Siblings {
			if Bit(&path, n) != Bit(&p.Other.Path, n) {
				return none, vaultmesh.Errorf(vaultmesh.Corrupt, op, p.Key, "the other leaf's path leaves the key's at bit %d, before the end of the branch at %d", n, len(p.Siblings))
			}
		}
		node = p.Other.Hash()
	}
	for n := len(p.Siblings) - 1; n >= 0; n-- {
		if Bit(&path, n) == 0 {
			node = HashInner(node, p.Siblings[n])
		} else {
			node = HashInner(p.Siblings[n], node)
		}
	}
	return node, nil
}

// Verify reports whether p proves by root what the tree holds under key: present says whether the key exists, and
// document is what is under it, nil where the proof carries the digest p.Value alone. root comes from a verified state.root
// receipt, key from whoever asks: neither is taken from the proof.
func Verify(root vaultmesh.Digest, key string, p *Proof) (document []byte, present bool, err error) {
	const op = "state.verify"
	if p.Key != key {
		return nil, false, vaultmesh.Errorf(vaultmesh.Invalid, op, clip(key), "the proof is about %q", clip(p.Key))
	}
	got, err := p.Root()
	if err != nil {
		return nil, false, err
	}
	if got != root {
		return nil, false, vaultmesh.Errorf(vaultmesh.Corrupt, op, key, "the proof leads to the root %s, not to %s", got, root)
	}
	return p.Document, p.Present(), nil
}

// Encode returns the text form of the proof.
func (p *Proof) Encode() []byte {
	b := make([]byte, 0, 128+len(p.Key)+base64.StdEncoding.EncodedLen(len(p.Document))+80*len(p.Siblings))
	b = append(b, '{')
	if p.Document != nil {
		b = base64.StdEncoding.AppendEncode(append(b, `"document":"`...), p.Document)
		b = append(b, `",`...)
	}
	b = appendText(append(b, `"key":`...), p.Key)
	if p.Other != nil {
		b = appendDigest(append(b, `,"other":{"path":`...), p.Other.Path)
		b = appendDigest(append(b, `,"value":`...), p.Other.Value)
		b = append(b, '}')
	}
	b = strconv.AppendUint(append(b, `,"receipt":"`...), uint64(p.Receipt), 10)
	b = append(b, `","siblings":[`...)
	for i, d := range p.Siblings {
		if i > 0 {
			b = append(b, ',')
		}
		if d == empty {
			d = vaultmesh.Digest{}
		}
		b = appendDigest(b, d)
	}
	b = append(b, ']')
	if p.Present() {
		b = appendDigest(append(b, `,"value":`...), p.Value)
	}
	return append(b, '}')
}

// Open reads the text form of a proof and accepts no other form of it. It verifies nothing.
func Open(text []byte) (Proof, error) {
	const op = "state.proof"
	if len(text) > MaxProof {
		return Proof{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(text), MaxProof)
	}
	var in struct {
		Document []byte `json:"document"`
		Key      string `json:"key"`
		Other    *struct {
			Path  vaultmesh.Digest `json:"path"`
			Value vaultmesh.Digest `json:"value"`
		} `json:"other"`
		Receipt  uint64             `json:"receipt,string"`
		Siblings []vaultmesh.Digest `json:"siblings"`
		Value    vaultmesh.Digest   `json:"value"`
	}
	if err := decode(text, &in); err != nil {
		return Proof{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it cannot be read").Because(err)
	}
	p := Proof{Receipt: vaultmesh.LogIndex(in.Receipt), Key: in.Key, Document: in.Document, Value: in.Value, Siblings: in.Siblings}
	for i := range p.Siblings {
		if p.Siblings[i].IsZero() {
			p.Siblings[i] = empty
		}
	}
	if in.Other != nil {
		p.Other = &Leaf{in.Other.Path, in.Other.Value}
	}
	if len(p.Document) > MaxDocument {
		return Proof{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, clip(p.Key), "a document of %d bytes, the limit is %d", len(p.Document), MaxDocument)
	}
	if _, err := p.Root(); err != nil {
		return Proof{}, err
	}
	if !bytes.Equal(p.Encode(), text) {
		return Proof{}, vaultmesh.Errorf(vaultmesh.Invalid, op, clip(p.Key), "it is not in the one form in which it may be written")
	}
	return p, nil
}

// decode reads exactly one JSON value without unknown members.
func decode(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.InputOffset() != int64(len(text)) {
		return vaultmesh.Errorf(vaultmesh.Invalid, "json", "", "data after the end of the document")
	}
	return nil
}

func appendDigest(b []byte, d vaultmesh.Digest) []byte {
	if d.IsZero() {
		return append(b, `""`...)
	}
	return append(append(append(b, '"'), d.String()...), '"')
}

// appendText appends s as a JSON string in RFC 8785 form. s is valid UTF-8: other bytes become U+FFFD.
func appendText(b []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s); i++ {
		plain = plain && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\b':
			b = append(b, '\\', 'b')
		case r == '\t':
			b = append(b, '\\', 't')
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\f':
			b = append(b, '\\', 'f')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

// clip shortens what others wrote for the text of an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
