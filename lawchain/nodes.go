package lawchain

import (
	"bytes"

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

// pyramid holds all hashes of a complete tile by level, the bottom first.
type pyramid [tileHeight + 1][][]byte

// nodes reads hashes of complete nodes. The journal keeps those at the bottom of tiles only; those between are computed,
// once for each complete tile as long as it is in the cache.
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
	if cp := l.Checkpoint(); cp == nil || cp.Size>>level < (t.n+1)*tileWidth {
		hashes, err := l.bottom(level, first, width) // the tile still grows
		if err != nil {
			return nil, err
		}
		for range up {
			hashes = parents(hashes)
		}
		return hashes[0], nil
	}
	p, ok := l.nodes.tiles.Get(t)
	if !ok {
		hashes, err := l.bottom(level, t.n*tileWidth, tileWidth)
		if err != nil {
			return nil, err
		}
		p = &pyramid{hashes}
		for i := range tileHeight {
			p[i+1] = parents(p[i])
		}
		l.nodes.tiles.Add(t, p)
	}
	return p[up][(first%tileWidth)>>up], nil
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

// parents returns the hashes one level up; their number is even.
func parents(hashes [][]byte) [][]byte {
	up := make([][]byte, len(hashes)/2)
	for i := range up {
		up[i] = rfc6962.DefaultHasher.HashChildren(hashes[2*i], hashes[2*i+1])
	}
	return up
}
