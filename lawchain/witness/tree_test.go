package witness_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/test/keys"
)

// tree is a small log in memory whose leaves are named, so that a second tree can fork from it anywhere.
type tree struct {
	t      testing.TB
	signer note.Signer
	vkey   string
	verify note.Verifier

	mu     sync.Mutex
	leaves [][]byte
}

func newTree(t testing.TB, origin, key string) *tree {
	k := keys.Named(origin + key).Note(origin)
	return &tree{t: t, vkey: k.Text, signer: k, verify: k.Verifier}
}

func (x *tree) grow(n int, branch string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for range n {
		x.leaves = append(x.leaves, rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "%s %d", branch, len(x.leaves))))
	}
}

func (x *tree) size() uint64 { x.mu.Lock(); defer x.mu.Unlock(); return uint64(len(x.leaves)) }

func (x *tree) node(id compact.NodeID) []byte {
	if id.Level == 0 {
		return bytes.Clone(x.leaves[id.Index])
	}
	return rfc6962.DefaultHasher.HashChildren(x.node(compact.NodeID{Level: id.Level - 1, Index: 2 * id.Index}), x.node(compact.NodeID{Level: id.Level - 1, Index: 2*id.Index + 1}))
}

// RootAt, Consistency and Head make it a witness.Source.
func (x *tree) RootAt(size uint64) (vaultmesh.Digest, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if size == 0 {
		return vaultmesh.Digest(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	if size > uint64(len(x.leaves)) {
		return vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.NotFound, "test", "", "too large")
	}
	r := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, l := range x.leaves[:size] {
		if err := r.Append(l, nil); err != nil {
			return vaultmesh.Digest{}, err
		}
	}
	h, err := r.GetRootHash(nil)
	return vaultmesh.Digest(h), err
}

func (x *tree) Consistency(old, size uint64) ([][]byte, error) {
	n, err := proof.Consistency(old, size)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var hashes [][]byte
	for _, id := range n.IDs {
		hashes = append(hashes, x.node(id))
	}
	return n.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

func (x *tree) Head() (witness.Head, bool) {
	size := x.size()
	return x.at(size), size > 0
}

// at signs the head of a size.
func (x *tree) at(size uint64) witness.Head {
	x.t.Helper()
	root, err := x.RootAt(size)
	if err != nil {
		x.t.Fatal(err)
	}
	return witness.Head{Size: size, Root: root, Note: x.sign(log.Checkpoint{Origin: x.signer.Name(), Size: size, Hash: root[:]})}
}

func (x *tree) sign(c log.Checkpoint, more ...note.Signer) []byte {
	x.t.Helper()
	b, err := note.Sign(&note.Note{Text: string(c.Marshal())}, append([]note.Signer{x.signer}, more...)...)
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}

// request asks for a head with the proof from old.
func (x *tree) request(old, size uint64) witness.Request {
	x.t.Helper()
	r := witness.Request{Old: old, Checkpoint: x.at(size).Note}
	if old > 0 && old < size {
		var err error
		if r.Proof, err = x.Consistency(old, size); err != nil {
			x.t.Fatal(err)
		}
	}
	return r
}
