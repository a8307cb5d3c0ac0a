package capability

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Bounds of a token.
const (
	MaxBlocks = 5
	MaxText   = 8 << 10 // bytes of the text form
)

// The text form is the prefix, then for each block its payload and its signature, all joined by dots. A payload is
// JSON with the fields of blockBody in their order, without white space; both parts are base64url without padding.
const prefix = "vmc1"

// blockContext separates a block's signature from every other use of the key.
const blockContext = "vaultmesh.org/capability/v1\n"

var b64 = base64.RawURLEncoding.Strict()

// Token is a parsed chain, not yet verified. It is immutable; the zero Token has no block and verifies as nothing.
type Token struct {
	blocks []block
}

type block struct {
	payload []byte
	sig     []byte
	body    blockBody
	grant   Grant // body.Grant with its times
}

// blockBody is the payload. Times are microseconds since 1970; 0 is none.
type blockBody struct {
	Principal vaultmesh.Principal `json:"p,omitzero"` // in block 0 only
	Holder    []byte              `json:"k"`
	NotBefore int64               `json:"nbf,omitzero"`
	Expires   int64               `json:"exp,omitzero"`
	Grant
}

// Issue makes a token of one block: root lets the holder of the key act as principal within g. Errors are of kind
// Invalid and name the field.
func Issue(root ed25519.PrivateKey, principal vaultmesh.Principal, holder ed25519.PublicKey, g Grant) (Token, error) {
	if err := vaultmesh.CheckID("capability.issue principal", string(principal)); err != nil {
		return Token{}, err
	}
	return seal(Token{}, root, blockBody{Principal: principal, Grant: g}, holder)
}

// Attenuate appends a block that gives newHolder no more than g, signed by holder, the private key of t's last block.
// It refuses to make a block that says more than t grants, although such a block would have no effect; the error is
// of kind Denied and names the field. It does not verify t.
func Attenuate(t Token, holder ed25519.PrivateKey, newHolder ed25519.PublicKey, g Grant) (Token, error) {
	if len(t.blocks) == 0 {
		return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.attenuate", "", "the token has no block")
	}
	if len(t.blocks) == MaxBlocks {
		return Token{}, vaultmesh.Errorf(vaultmesh.TooLarge, "capability.attenuate", "", "the token has %d blocks already", MaxBlocks).
			WithFix("ask an earlier holder for a token")
	}
	if err := checkPrivate("capability.attenuate", holder); err != nil {
		return Token{}, err
	}
	last := t.blocks[len(t.blocks)-1]
	if !bytes.Equal(holder.Public().(ed25519.PublicKey), last.body.Holder) {
		return Token{}, vaultmesh.Errorf(vaultmesh.Denied, "capability.attenuate", "", "the key is not that of the token's last holder")
	}
	for i := range t.blocks {
		if err := within(g, t.blocks[i].grant, i == 0); err != nil {
			return Token{}, err
		}
	}
	return seal(t, holder, blockBody{Grant: g}, newHolder)
}

// seal signs body as the next block of t.
func seal(t Token, key ed25519.PrivateKey, body blockBody, holder ed25519.PublicKey) (Token, error) {
	if err := checkPrivate("capability.issue", key); err != nil {
		return Token{}, err
	}
	if len(holder) != ed25519.PublicKeySize {
		return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", "holder", "the public key has %d bytes, want %d", len(holder), ed25519.PublicKeySize)
	}
	body.Holder = holder
	body.NotBefore, body.Expires = micros(body.Grant.NotBefore), micros(body.Grant.Expires)
	if err := body.check(len(t.blocks) == 0); err != nil {
		return Token{}, err
	}
	payload, err := json.Marshal(body)
	if err != nil {
		return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", "", "cannot be encoded").Because(err)
	}
	decoded, err := decodeBlock(payload, len(t.blocks) == 0)
	if err != nil {
		return Token{}, err
	}
	decoded.sig = ed25519.Sign(key, message(t.digest(len(t.blocks)-1), payload))
	next := Token{blocks: append(slices.Clip(t.blocks), decoded)}
	if n := len(next.String()); n > MaxText {
		return Token{}, vaultmesh.Errorf(vaultmesh.TooLarge, "capability.issue", "", "the token has %d bytes, the limit is %d", n, MaxText).
			WithFix("use globs in place of long lists")
	}
	return next, nil
}

// check reports what is malformed in a body, wherever it came from.
func (b *blockBody) check(first bool) error {
	if first != (b.Principal != "") {
		return invalid("principal", "it stands in the first block, and only there")
	}
	if first {
		if err := vaultmesh.CheckID("capability.grant principal", string(b.Principal)); err != nil {
			return err
		}
	}
	if len(b.Holder) != ed25519.PublicKeySize {
		return invalid("holder", "the public key has %d bytes, want %d", len(b.Holder), ed25519.PublicKeySize)
	}
	return b.Grant.check(first)
}

// Parse decodes the text form. It accepts exactly what [Token.String] writes; anything else is refused with kind
// Invalid or TooLarge. The signatures are not checked: see [Verify].
func Parse(text string) (Token, error) {
	if len(text) > MaxText {
		return Token{}, vaultmesh.Errorf(vaultmesh.TooLarge, "capability.parse", "", "%d bytes, the limit is %d", len(text), MaxText)
	}
	parts := strings.SplitN(text, ".", 2+2*MaxBlocks)
	if parts[0] != prefix || len(parts)%2 == 0 || len(parts) < 3 || len(parts) > 1+2*MaxBlocks {
		return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.parse", "", "want %q and 1 to %d blocks of a payload and a signature, joined by dots", prefix, MaxBlocks)
	}
	var t Token
	for i := 1; i < len(parts); i += 2 {
		where := fmt.Sprintf("block %d", len(t.blocks))
		payload, err := b64.DecodeString(parts[i])
		if err != nil {
			return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.parse", where, "the payload is not base64url")
		}
		b, err := decodeBlock(payload, i == 1)
		if err != nil {
			return Token{}, vaultmesh.Wrap(err, "capability.parse", where)
		}
		b.sig, err = b64.DecodeString(parts[i+1])
		if err != nil || len(b.sig) != ed25519.SignatureSize {
			return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.parse", where, "the signature is not %d bytes in base64url", ed25519.SignatureSize)
		}
		t.blocks = append(t.blocks, b)
	}
	// The decoder of base64 skips line breaks; a token has one text only.
	if t.String() != text {
		return Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.parse", "", "the text is not in its canonical form")
	}
	return t, nil
}

// decodeBlock decodes a payload strictly: no unknown field, and the encoding of the result must be the payload again,
// which also refuses white space, repeated keys, other cases of a key and other spellings of a number.
func decodeBlock(payload []byte, first bool) (block, error) {
	b := block{payload: payload}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b.body); err != nil {
		return block{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.block", "", "not a block").Because(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return block{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.block", "", "data after the block")
	}
	again, err := json.Marshal(b.body)
	if err != nil || !bytes.Equal(again, payload) {
		return block{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.block", "", "not in its canonical form")
	}
	if b.body.NotBefore < 0 || b.body.Expires < 0 {
		return block{}, invalid("expires", "a time before 1970")
	}
	b.body.Grant.NotBefore, b.body.Grant.Expires = fromMicros(b.body.NotBefore), fromMicros(b.body.Expires)
	if err := b.body.check(first); err != nil {
		return block{}, err
	}
	b.grant = b.body.Grant
	return b, nil
}

// String returns the text form; it holds no secret.
func (t Token) String() string {
	var s strings.Builder
	s.WriteString(prefix)
	for i := range t.blocks {
		s.WriteByte('.')
		s.WriteString(b64.EncodeToString(t.blocks[i].payload))
		s.WriteByte('.')
		s.WriteString(b64.EncodeToString(t.blocks[i].sig))
	}
	return s.String()
}

// Block is one link of a token's chain, for people to read.
type Block struct {
	Digest vaultmesh.Digest  `json:"digest"` // what a revocation names
	Holder ed25519.PublicKey `json:"holder"`
	Grant  Grant             `json:"grant"`
}

// Blocks returns the chain from the root's block on. It verifies nothing.
func (t Token) Blocks() []Block {
	out := make([]Block, len(t.blocks))
	for i, b := range t.blocks {
		out[i] = Block{Digest: t.digest(i), Holder: b.body.Holder, Grant: b.grant}
	}
	return out
}

// Len returns the number of blocks.
func (t Token) Len() int { return len(t.blocks) }

// message is what the signer of a block signs: the context, the digest of the block before (zero for block 0), the
// payload. Its SHA-256 is the block's digest, so a digest names everything from the root to the block.
func message(before vaultmesh.Digest, payload []byte) []byte {
	m := make([]byte, 0, len(blockContext)+len(before)+len(payload))
	m = append(m, blockContext...)
	m = append(m, before[:]...)
	return append(m, payload...)
}

// digest returns the digest of block n; zero for n < 0.
func (t Token) digest(n int) vaultmesh.Digest {
	var d vaultmesh.Digest
	for i := 0; i <= n; i++ {
		d = vaultmesh.Sum(message(d, t.blocks[i].payload))
	}
	return d
}

func checkPrivate(op string, key ed25519.PrivateKey) error {
	if len(key) != ed25519.PrivateKeySize {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "key", "the private key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	return nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
