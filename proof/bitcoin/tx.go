package bitcoin

import (
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
)

// MaxTx bounds the transaction of a proof in bytes without witness; it is also the longest operand that OpenTimestamps
// allows. A transaction with 80 inputs fits.
const MaxTx = 4096

// maxValue is all money: 21 million bitcoin in satoshi.
const maxValue = 21_000_000 * 100_000_000

// Script opcodes of the one output that matters.
const (
	opReturn = 0x6a
	opData32 = 0x20
)

// Script returns the output script that commits to the digest: OP_RETURN and its 32 bytes, nothing else.
func Script(digest vaultmesh.Digest) []byte {
	return append([]byte{opReturn, opData32}, digest[:]...)
}

// tx is what a proof needs of a transaction: where in its bytes the scripts of its outputs are.
type tx struct {
	raw     []byte
	scripts [][2]int // begin and end
}

// cursor reads a transaction; it fails once and stays failed.
type cursor struct {
	data []byte
	pos  int
	bad  bool
}

func (c *cursor) skip(n uint64) {
	if c.bad || n > uint64(len(c.data)-c.pos) {
		c.bad = true
		return
	}
	c.pos += int(n)
}

func (c *cursor) bytes(n uint64) []byte {
	at := c.pos
	if c.skip(n); c.bad {
		return make([]byte, min(n, 8))
	}
	return c.data[at:c.pos]
}

// size reads a length (CompactSize) and refuses one that is longer than it must be.
func (c *cursor) size() uint64 {
	switch first := c.bytes(1)[0]; first {
	case 0xfd:
		n := uint64(binary.LittleEndian.Uint16(c.bytes(2)))
		c.bad = c.bad || n < 0xfd
		return n
	case 0xfe, 0xff: // longer than any transaction that is accepted
		c.bad = true
		return 0
	default:
		return uint64(first)
	}
}

// parseTx reads a transaction in the form that its identifier is the hash of: without witness. Every byte has a place.
func parseTx(raw []byte) (*tx, error) {
	if len(raw) > MaxTx {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "bitcoin.tx", "", "it has %d bytes without witness, the limit is %d", len(raw), MaxTx)
	}
	malformed := func() (*tx, error) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.tx", "", "not a transaction in the form without witness")
	}
	c := cursor{data: raw}
	t := &tx{raw: raw}
	c.skip(4) // version
	inputs := c.size()
	if inputs == 0 || inputs > uint64(len(raw))/41 {
		return malformed() // 0 inputs is also how the form with witness begins
	}
	for range inputs {
		c.skip(36) // the output that is spent
		c.skip(c.size())
		c.skip(4) // sequence
	}
	outputs := c.size()
	if c.bad || outputs == 0 || outputs > uint64(len(raw))/9 {
		return malformed()
	}
	for range outputs {
		value := binary.LittleEndian.Uint64(c.bytes(8))
		length := c.size()
		begin := c.pos
		c.skip(length)
		if c.bad || value > maxValue {
			return malformed()
		}
		t.scripts = append(t.scripts, [2]int{begin, c.pos})
	}
	c.skip(4) // lock time
	if c.bad || c.pos != len(raw) {
		return malformed()
	}
	return t, nil
}

// commitment returns the digest that the transaction commits to and where its bytes begin: it must have exactly one
// OP_RETURN output, which must be [Script] of the digest.
func (t *tx) commitment() (vaultmesh.Digest, int, error) {
	const op = "bitcoin.tx"
	at := -1
	for _, s := range t.scripts {
		if s[1] == s[0] || t.raw[s[0]] != opReturn {
			continue
		}
		if at >= 0 {
			return vaultmesh.Digest{}, 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, Sum2(t.raw).String(), "it has more than one OP_RETURN output")
		}
		if s[1]-s[0] != 34 || t.raw[s[0]+1] != opData32 {
			return vaultmesh.Digest{}, 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, Sum2(t.raw).String(), "its OP_RETURN output is not a digest of 32 bytes")
		}
		at = s[0] + 2
	}
	if at < 0 {
		return vaultmesh.Digest{}, 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, Sum2(t.raw).String(), "it has no OP_RETURN output: it commits to nothing")
	}
	return vaultmesh.Digest(t.raw[at : at+32]), at, nil
}

// Committed returns the digest that a transaction, in the form without witness, commits to.
func Committed(raw []byte) (vaultmesh.Digest, error) {
	t, err := parseTx(raw)
	if err != nil {
		return vaultmesh.Digest{}, err
	}
	digest, _, err := t.commitment()
	return digest, err
}
