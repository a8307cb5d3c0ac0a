package statetree

import (
	"encoding/binary"
	"math/bits"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/proof/state"
)

// child is one of the sixteen subtrees of a page.
type child struct {
	kind    byte // noChild, aLeaf or aPage
	version uint64
	leaf    state.Leaf       // of a leaf; its document is under its path and version
	hash    vaultmesh.Digest // of a page: of the binary subtree below it
}

const (
	noChild = iota
	aLeaf
	aPage
)

// page is four levels of the binary tree.
type page [16]child

// node is a subtree as its parent needs it: its hash, and whether it is empty or one leaf, which ends the branch.
type node struct {
	hash vaultmesh.Digest
	only *child // the one leaf
	none bool
}

func (c *child) node() node {
	switch c.kind {
	case aLeaf:
		return node{hash: c.leaf.Hash(), only: c}
	case aPage:
		return node{hash: c.hash}
	default:
		return node{hash: state.Empty(), none: true}
	}
}

// fold returns the binary subtree over some neighbouring children, a power of two of them.
func fold(children []child) node {
	if len(children) == 1 {
		return children[0].node()
	}
	left, right := fold(children[:len(children)/2]), fold(children[len(children)/2:])
	switch {
	case left.none && (right.none || right.only != nil):
		return right
	case right.none && left.only != nil:
		return left
	}
	return node{hash: state.HashInner(left.hash, right.hash)}
}

// branch appends the siblings on the way from the top of the page to child n and returns how the branch ends within the
// page: at a leaf, at nothing, or at a page (with done false) where it goes on.
func (p *page) branch(siblings []vaultmesh.Digest, n int) (_ []vaultmesh.Digest, end *child, done bool) {
	children := p[:]
	for {
		top := fold(children)
		if top.none {
			return siblings, nil, true
		}
		if top.only != nil {
			return siblings, top.only, true
		}
		if len(children) == 1 {
			return siblings, &children[0], false
		}
		half := len(children) / 2
		mine, other := children[:half], children[half:]
		if n >= half {
			mine, other = other, mine
			n -= half
		}
		siblings = append(siblings, fold(other).hash)
		children = mine
	}
}

// pageFormat is the first byte of a stored page.
const pageFormat = 1

// encode returns the stored form: format (1), which children there are (2, the first in the lowest bit), and of each its
// kind (1), its version (varint), and of a leaf path and value (32 each), of a page its hash (32).
func (p *page) encode() []byte {
	size := 3
	for i := range p {
		if p[i].kind != noChild {
			size += 1 + 10 + 64
		}
	}
	b := make([]byte, 3, size)
	b[0] = pageFormat
	var have uint16
	for i := range p {
		c := &p[i]
		if c.kind == noChild {
			continue
		}
		have |= 1 << i
		b = binary.AppendUvarint(append(b, c.kind), c.version)
		if c.kind == aLeaf {
			b = append(append(b, c.leaf.Path[:]...), c.leaf.Value[:]...)
		} else {
			b = append(b, c.hash[:]...)
		}
	}
	binary.BigEndian.PutUint16(b[1:], have)
	return b
}

// decodePage undoes encode, strictly. Errors are of kind Corrupt.
func decodePage(b []byte) (*page, error) {
	bad := func(what string) (*page, error) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "state.page", "", "%s", what)
	}
	if len(b) < 3 || b[0] != pageFormat {
		return bad("unknown format")
	}
	have := binary.BigEndian.Uint16(b[1:])
	b = b[3:]
	p := &page{}
	for ; have != 0; have &= have - 1 {
		c := &p[bits.TrailingZeros16(have)]
		if len(b) == 0 || b[0] != aLeaf && b[0] != aPage {
			return bad("bad kind")
		}
		c.kind = b[0]
		var err error
		if c.version, b, err = crdt.DecodeUvarint(b[1:]); err != nil {
			return bad("bad version")
		}
		size := 32
		if c.kind == aLeaf {
			size = 64
		}
		if len(b) < size {
			return bad("cut short")
		}
		if c.kind == aLeaf {
			copy(c.leaf.Path[:], b)
			copy(c.leaf.Value[:], b[32:])
		} else {
			copy(c.hash[:], b)
		}
		b = b[size:]
	}
	if len(b) > 0 {
		return bad("bytes after the end")
	}
	return p, nil
}
