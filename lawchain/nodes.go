package lawchain

import (
	"bytes"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
)

// tileHeight is how many levels of the tree one C2SP tile spans, tileWidth how many hashes are at its bottom.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// keptTiles bounds the tiles of the cache; each has 16 KiB.
const keptTiles = 256

// tileID names a tile: level 0 is over the leaves.
type tileID struct {
	level uint
	n     uint64
}

// pyramid holds the hashes of a tile by level, the bottom first: all of a complete tile, and of one that grows those that
// are complete. It is never changed.
type pyramid [tileHeight + 1][][]byte

// nodes reads hashes of complete nodes. The journal keeps those at the bottom of tiles only; those between are computed,
// once for each tile as long as it is in the cache, and of one that grows those that came since.
type nodes struct{ tiles *lru.Cache[tileID, *pyramid] }

func newNodes() nodes {
	c, err := lru.New[tileID, *pyramid](keptTiles)
	if err != nil {
		panic(err) // the size is positive
	}
	return nodes{c}
}

// node returns the hash of a complete node. The caller must not change it.
func (l *Log) node(id compact.NodeID) ([]byte, error) {
	up := id.Level % tileHeight
	level, first, width := id.Level-up, id.Index<<up, uint64(1)<<up
	t := tileID{level / tileHeight, first / tileWidth}
	at := (first % tileWidth) >> up
	p, ok := l.nodes.tiles.Get(t)
	if !ok {
		p = &pyramid{}
	}
	if at < uint64(len(p[up])) {
		return p[up][at], nil
	}
	count := first%tileWidth + width
	if cp := l.Checkpoint(); cp != nil && cp.Size>>level > t.n*tileWidth {
		count = max(count, min(tileWidth, cp.Size>>level-t.n*tileWidth))
	}
	have := uint64(len(p[0]))
	more, err := l.bottom(level, t.n*tileWidth+have, count-have)
	if err != nil {
		return nil, err
	}
	p = p.grow(more)
	l.nodes.tiles.Add(t, p)
	return p[up][at], nil
}

// grow returns the pyramid with further hashes at its bottom.
func (p *pyramid) grow(more [][]byte) *pyramid {
	next := &pyramid{append(slices.Clip(p[0]), more...)}
	for i := range tileHeight {
		below, have := next[i], len(p[i+1])
		next[i+1] = append(slices.Clip(p[i+1]), parents(below[2*have:])...)
	}
	return next
}

// bottom reads hashes at the bottom of a tile.
func (l *Log) bottom(level uint, first, width uint64) ([][]byte, error) {
	hashes := make([][]byte, 0, width)
	err := l.Stored().Nodes(level, first, first+width, func(i uint64, h []byte) (bool, error) {
		if i != first+uint64(len(hashes)) || len(h) != rfc6962.DefaultHasher.Size() {
			return false, nil
		}
		hashes = append(hashes, bytes.Clone(h))
		return true, nil
	})
	if err == nil && uint64(len(hashes)) != width {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.node", "", "node %d/%d of the tree is missing or damaged", level, first+uint64(len(hashes)))
	}
	return hashes, err
}

// parents returns the hashes one level up; a last one without a neighbour has none.
func parents(hashes [][]byte) [][]byte {
	up := make([][]byte, len(hashes)/2)
	for i := range up {
		up[i] = rfc6962.DefaultHasher.HashChildren(hashes[2*i], hashes[2*i+1])
	}
	return up
}
