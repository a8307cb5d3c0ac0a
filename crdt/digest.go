package crdt

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// Digest is the digest of a set of named registers, independent of their order: the XOR of one SHA-256 for each. Two
// replicas with equal digests hold equal registers, unless somebody wants to fool them: with chosen values a set with a
// given XOR can be computed by linear algebra. It serves to find out which parts of two honest replicas differ. It is NOT
// evidence and must never be signed, receipted or anchored as such; evidence needs a Merkle tree.
type Digest [sha256.Size]byte

// Toggle adds the register to the set, or takes it out if it is in. To replace a register, toggle the old one, then the
// new. A register that was never written counts for nothing.
func (d *Digest) Toggle(name string, r *Register) {
	if !r.IsSet() {
		return
	}
	b := make([]byte, 0, 256)
	b = append(b, "vaultmesh crdt register v1\x00"...)
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	sum := sha256.Sum256(r.Append(b))
	d.Join(sum)
}

// Join combines the digests of two disjoint sets.
func (d *Digest) Join(o Digest) { subtle.XORBytes(d[:], d[:], o[:]) }
