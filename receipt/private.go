package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// MaxPrivate is the longest private text, in bytes.
const MaxPrivate = 4096

// privatePrefix begins what stands in a receipt in the place of a private text: the prefix and the text form of the
// commitment.
const privatePrefix = "private:"

// privateTag separates commitments from every other hash.
const privateTag = "vaultmesh.org/private/v1\x00"

// Opening is a private text with the salt of its commitment. Its text form is RFC 8785 JSON with the members salt (64
// hexadecimal digits) and text. Without the salt a commitment says nothing about the text, however short that is.
type Opening struct {
	Salt [32]byte // random, used once
	Text string   // UTF-8, at most MaxPrivate bytes
}

// Commitment is what a receipt may hold of a private text: SHA-256 of "vaultmesh.org/private/v1", 0x00, the salt and the
// text.
func (o *Opening) Commitment() vaultmesh.Digest {
	b := make([]byte, 0, len(privateTag)+len(o.Salt)+len(o.Text))
	b = append(append(b, privateTag...), o.Salt[:]...)
	return sha256.Sum256(append(b, o.Text...))
}

// Encode returns the text form.
func (o *Opening) Encode() []byte {
	b := append([]byte(`{"salt":"`), hex.EncodeToString(o.Salt[:])...)
	return append(appendString(append(b, `","text":`...), o.Text), '}')
}

// DecodeOpening reads the text form of an opening and accepts no other form of it.
func DecodeOpening(doc []byte) (Opening, error) {
	const op = "private.opening"
	if len(doc) > 6*MaxPrivate+256 {
		return Opening{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes", len(doc))
	}
	var o Opening
	r := reader{data: doc}
	r.literal(`{"salt":"`)
	salt := r.until('"')
	if len(salt) != 2*len(o.Salt) {
		return Opening{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the salt has not 64 digits")
	}
	if _, err := hex.Decode(o.Salt[:], salt); err != nil {
		return Opening{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the salt is not hexadecimal")
	}
	r.literal(`,"text":`)
	o.Text = r.text()
	r.literal(`}`)
	r.end()
	if r.err != nil {
		return Opening{}, vaultmesh.Wrap(r.err, op, "")
	}
	if len(o.Text) > MaxPrivate || !utf8.ValidString(o.Text) || !bytes.Equal(o.Encode(), doc) {
		return Opening{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "it is not in the one form in which it may be written, or too long")
	}
	return o, nil
}

// PrivateRef returns what stands in a receipt in the place of the text that was committed to.
func PrivateRef(commitment vaultmesh.Digest) string { return privatePrefix + commitment.String() }

// ParsePrivateRef is the inverse of [PrivateRef]. ok is false for every other text.
func ParsePrivateRef(text string) (commitment vaultmesh.Digest, ok bool) {
	rest, ok := strings.CutPrefix(text, privatePrefix)
	if !ok || commitment.UnmarshalText([]byte(rest)) != nil || commitment.IsZero() {
		return vaultmesh.Digest{}, false
	}
	return commitment, true
}

// IsPrivateRef reports whether a text would be taken for a reference, well-formed or not; nobody may write such a text.
func IsPrivateRef(text string) bool { return strings.HasPrefix(text, privatePrefix) }

// PrivateIn returns the commitments in the body of a receipt, in order.
func PrivateIn(body []byte) (list []vaultmesh.Digest) {
	const size = len("sha256:") + 2*sha256.Size
	for {
		i := bytes.Index(body, []byte(`"`+privatePrefix))
		if i < 0 {
			return list
		}
		body = body[i+1:]
		if len(body) > len(privatePrefix)+size && body[len(privatePrefix)+size] == '"' {
			if d, ok := ParsePrivateRef(string(body[:len(privatePrefix)+size])); ok {
				list = append(list, d)
			}
		}
	}
}
