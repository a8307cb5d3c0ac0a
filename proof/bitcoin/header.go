package bitcoin

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Hash is a double SHA-256, in the order in which it is hashed further. Its text form in proofs is that order in
// lower-case hexadecimal; [Hash.String] is the reversed form that nodes and block explorers show.
type Hash [32]byte

// Sum2 is Bitcoin's hash: SHA-256 of SHA-256.
func Sum2(b []byte) Hash {
	once := sha256.Sum256(b)
	return sha256.Sum256(once[:])
}

// String is the form that nodes show: bytes reversed, hexadecimal.
func (h Hash) String() string {
	for i := range len(h) / 2 {
		h[i], h[31-i] = h[31-i], h[i]
	}
	return hex.EncodeToString(h[:])
}

// ParseHash reads the form that [Hash.String] writes: 64 lower-case digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if err := unhex(h[:], s, "hash"); err != nil {
		return Hash{}, err
	}
	for i := range len(h) / 2 {
		h[i], h[31-i] = h[31-i], h[i]
	}
	return h, nil
}

// MarshalText implements [encoding.TextMarshaler]: the bytes in the order in which they are hashed.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(b []byte) error { return unhex(h[:], string(b), "hash") }

// HeaderSize is the length of a block header in bytes.
const HeaderSize = 80

// Header is a block header as it is hashed: version, previous block, Merkle root, time, bits, nonce.
type Header [HeaderSize]byte

// Hash is the hash of the block, which is the hash of its header.
func (h *Header) Hash() Hash { return Sum2(h[:]) }

// Previous is the hash of the block before.
func (h *Header) Previous() Hash { return Hash(h[4:36]) }

// Root is the Merkle root over the block's transactions.
func (h *Header) Root() Hash { return Hash(h[36:68]) }

// Time is what the miner claims, in whole seconds, UTC. The network's rules keep it within some two hours of the truth:
// see [Result].
func (h *Header) Time() time.Time {
	return time.Unix(int64(binary.LittleEndian.Uint32(h[68:72])), 0).UTC()
}

// Bits is the target of the proof of work in its compact form.
func (h *Header) Bits() uint32 { return binary.LittleEndian.Uint32(h[72:76]) }

// MarshalText implements [encoding.TextMarshaler].
func (h Header) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Header) UnmarshalText(b []byte) error { return unhex(h[:], string(b), "header") }

// target is the largest number that the hash of a block may be, most significant byte first.
type target [32]byte

// expand decodes the compact form. Negative, zero and overflowing forms, which Bitcoin refuses, are refused; so is
// everything above the limit of the regression-test network, the easiest of all.
func expand(bits uint32) (target, error) {
	var t target
	exponent, mantissa := int(bits>>24), bits&0x7fffff
	if exponent < 3 {
		mantissa >>= 8 * (3 - exponent)
		exponent = 3
	}
	if bits&0x800000 != 0 || mantissa == 0 || exponent > 32 {
		return t, vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.work", fmt.Sprintf("bits %08x", bits), "not the compact form of a target of proof of work")
	}
	at := 32 - exponent
	t[at], t[at+1], t[at+2] = byte(mantissa>>16), byte(mantissa>>8), byte(mantissa)
	return t, nil
}

// checkWork reports whether the block's hash is below the target that its bits name, and whether that target is at
// least as hard as easiest.
func (h *Header) checkWork(hash Hash, easiest target) error {
	t, err := expand(h.Bits())
	if err != nil {
		return err
	}
	if bytes.Compare(t[:], easiest[:]) > 0 {
		return vaultmesh.Errorf(vaultmesh.Denied, "bitcoin.work", hash.String(), "its proof of work (bits %08x) is easier than the least that is trusted", h.Bits()).
			WithFix("a forged block looks like this; if the network's difficulty really fell so far, pin other max_bits")
	}
	for i := range t {
		if b := hash[31-i]; b != t[i] {
			if b > t[i] {
				return vaultmesh.Errorf(vaultmesh.Corrupt, "bitcoin.work", hash.String(), "the hash is above the target that its bits %08x name: no proof of work", h.Bits())
			}
			break
		}
	}
	return nil
}

// unhex fills dst with exactly its length of lower-case hexadecimal.
func unhex(dst []byte, s, what string) error {
	if len(s) != 2*len(dst) || strings.ToLower(s) != s {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.proof", what, "want %d lower-case hexadecimal digits", 2*len(dst))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.proof", what, "not hexadecimal")
	}
	return nil
}
