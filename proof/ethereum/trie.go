package ethereum

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// Bounds of a proof in a trie. A branch of 17 items with inlined children has at most 17 × 33 bytes; the last node holds
// a receipt, which a block's gas limits.
const (
	maxNodes = 64
	maxNode  = 1 << 20
)

// ProveKey walks a Merkle-Patricia trie from its root to key and returns the value there. nodes are the encodings of the
// nodes on the way that have a hash of their own, root first; nodes that are shorter than 32 bytes are part of their
// parent. Every node must be used. It does not prove absence: a key that is not there is an error like any other, of
// kind Corrupt. The value shares the memory of nodes.
//
// Source: Ethereum Yellow Paper, appendices C (hex-prefix encoding) and D (modified Merkle Patricia tree).
func ProveKey(root Hash, key []byte, nodes [][]byte) ([]byte, error) {
	if len(nodes) > maxNodes {
		return nil, corruptf("a proof of %d nodes, at most %d", len(nodes), maxNodes)
	}
	w := walk{nodes: nodes, path: nibbles(key)}
	node, err := w.fetch(root[:])
	for err == nil {
		var value []byte
		if value, node, err = w.step(node); value != nil && err == nil {
			if len(w.nodes) > 0 {
				return nil, corruptf("%d nodes of the proof are not on the way to the key", len(w.nodes))
			}
			return value, nil
		}
	}
	return nil, err
}

// walk is the state of one descent.
type walk struct {
	nodes [][]byte // not yet used
	path  []byte   // nibbles not yet matched
}

func corruptf(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.trie", "", format, args...)
}

// fetch takes the next node, which must have this hash.
func (w *walk) fetch(hash []byte) (rlp.Item, error) {
	if len(w.nodes) == 0 {
		return rlp.Item{}, corruptf("the proof ends before the key does: the node %x is missing", hash)
	}
	raw := w.nodes[0]
	w.nodes = w.nodes[1:]
	if len(raw) > maxNode {
		return rlp.Item{}, corruptf("a node of %d bytes, at most %d", len(raw), maxNode)
	}
	if have := Keccak(raw); string(have[:]) != string(hash) {
		return rlp.Item{}, corruptf("a node has the hash %s, its parent says 0x%x", have, hash)
	}
	return rlp.Decode(raw)
}

// follow opens the child to which a parent refers: by hash, or by the child itself where that is shorter.
func (w *walk) follow(ref rlp.Item) (rlp.Item, error) {
	switch {
	case ref.List && len(ref.Raw) < len(Hash{}):
		return ref, nil
	case !ref.List && len(ref.Body) == len(Hash{}):
		return w.fetch(ref.Body)
	case !ref.List && len(ref.Body) == 0:
		return rlp.Item{}, corruptf("the trie has no such key")
	}
	return rlp.Item{}, corruptf("a reference to a node has %d bytes", len(ref.Raw))
}

// step matches one node: it returns the value where the way ends, and the next node otherwise.
func (w *walk) step(node rlp.Item) (value []byte, next rlp.Item, err error) {
	items, err := node.Items(17)
	if err != nil {
		return nil, next, err
	}
	switch {
	case len(items) == 17 && len(w.path) == 0:
		return finish(items[16])
	case len(items) == 17:
		child := items[w.path[0]]
		w.path = w.path[1:]
		next, err = w.follow(child)
		return nil, next, err
	case len(items) != 2:
		return nil, next, corruptf("a node has %d items, want 2 or 17", len(items))
	}
	part, leaf, err := hexPrefix(items[0])
	if err != nil {
		return nil, next, err
	}
	if len(part) > len(w.path) || string(w.path[:len(part)]) != string(part) || leaf && len(part) != len(w.path) {
		return nil, next, corruptf("the trie has no such key")
	}
	w.path = w.path[len(part):]
	if leaf {
		return finish(items[1])
	}
	if len(part) == 0 {
		return nil, next, corruptf("an extension node extends nothing")
	}
	next, err = w.follow(items[1])
	return nil, next, err
}

func finish(it rlp.Item) ([]byte, rlp.Item, error) {
	value, err := it.Bytes(-1)
	if err == nil && len(value) == 0 {
		err = corruptf("the trie has no such key")
	}
	return value, rlp.Item{}, err
}

// hexPrefix reads the part of a path that a leaf or an extension holds.
func hexPrefix(it rlp.Item) (part []byte, leaf bool, err error) {
	b, err := it.Bytes(-1)
	if err != nil {
		return nil, false, err
	}
	if len(b) == 0 || b[0] >= 0x40 || b[0]&0x10 == 0 && b[0]&0x0f != 0 {
		return nil, false, corruptf("a node's path has a bad prefix")
	}
	part = nibbles(b)
	if b[0]&0x10 != 0 {
		return part[1:], b[0]&0x20 != 0, nil
	}
	return part[2:], b[0]&0x20 != 0, nil
}

func nibbles(b []byte) []byte {
	n := make([]byte, 0, 2*len(b))
	for _, c := range b {
		n = append(n, c>>4, c&0x0f)
	}
	return n
}
