// Package state owns the evidence about the state of a domain at one size of its log: which keys its state tree has,
// the documents under them, how they are hashed, and proofs that a key holds a document or does not exist. It is on
// floor 1: pure functions, no I/O, no clock, no goroutines; it compiles to WebAssembly.
//
// It must not know how the tree is stored or brought up to date, nor how a log commits to its root: a receipt of kind
// state.root does, and whoever verifies takes the root from there.
//
// # The tree
//
// A key is text: "twin/" and a twin's identifier, or "subject/" and a subject of receipts. Under it is a document, see
// [Twin] and [Subject]. The path of a key is SHA-256(key), 256 bits from the most significant one of the first byte. With
// T the 22 bytes "vaultmesh.org/state/v1":
//
//	leaf(key, document) = SHA-256(0x00 ‖ T ‖ SHA-256(key) ‖ SHA-256(document))
//	inner(left, right)  = SHA-256(0x01 ‖ T ‖ left ‖ right)
//	empty               = SHA-256(0x02 ‖ T)
//
// The tree over a set of leaves at a depth is empty for none; the leaf itself for one, however deep its path would go on
// (so the tree is compressed: about log2 of the number of keys deep); and otherwise inner(tree of the leaves with bit 0 at
// this depth, tree of those with bit 1). So a set of documents has exactly one root.
//
// # Why a proof binds
//
// The three hashes differ in their first byte, so no leaf can pass for an inner node. Following the bits of a key's path
// from a root leads to exactly one node that is not an inner one, unless SHA-256 collides, even in a tree that somebody
// built wrongly on purpose: the leaf of that key, which proves its document; a leaf of another key or the empty tree,
// which prove that the key does not exist. No root has proofs of two of these for one key. The idea of ending a branch at
// its only leaf is that of the Libra/Diem sparse Merkle tree (Gao, Hu, Wu: Jellyfish Merkle Tree, 2021).
package state

import (
	"crypto/sha256"

	"vaultmesh.org/vaultmesh"
)

// MaxDepth is the number of bits of a path, and so the longest branch.
const MaxDepth = 8 * sha256.Size

// tag separates these hashes from those of every other tree.
const tag = "vaultmesh.org/state/v1"

const (
	leafPrefix  = 0
	innerPrefix = 1
	emptyPrefix = 2
)

// Path returns where a key is in the tree.
func Path(key string) vaultmesh.Digest { return sha256.Sum256([]byte(key)) }

// Bit returns bit n of a path, 0 being the most significant bit of its first byte; 0 <= n < [MaxDepth].
func Bit(path *vaultmesh.Digest, n int) byte { return path[n/8] >> (7 - n%8) & 1 }

var empty = sha256.Sum256([]byte("\x02" + tag))

// Empty returns the hash of a tree without leaves.
func Empty() vaultmesh.Digest { return empty }

// HashLeaf returns the hash of the leaf at path whose document has the digest value.
func HashLeaf(path, value vaultmesh.Digest) vaultmesh.Digest { return hash(leafPrefix, &path, &value) }

// HashInner returns the hash of an inner node.
func HashInner(left, right vaultmesh.Digest) vaultmesh.Digest {
	return hash(innerPrefix, &left, &right)
}

func hash(prefix byte, a, b *vaultmesh.Digest) vaultmesh.Digest {
	var buf [1 + len(tag) + 2*sha256.Size]byte
	buf[0] = prefix
	copy(buf[1:], tag)
	copy(buf[1+len(tag):], a[:])
	copy(buf[1+len(tag)+sha256.Size:], b[:])
	return sha256.Sum256(buf[:])
}

// Leaf is one key of a tree by its path, with the digest of its document.
type Leaf struct {
	Path  vaultmesh.Digest
	Value vaultmesh.Digest
}

// Hash returns the leaf's hash.
func (l Leaf) Hash() vaultmesh.Digest { return HashLeaf(l.Path, l.Value) }
