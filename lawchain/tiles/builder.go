package tiles

import (
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
)

// Builder computes the hash tiles and the root of a tree from its leaves, in order and in little memory: what a check
// compares with, and what a restored log is written from.
type Builder struct {
	tree   *compact.Range
	levels [][]byte // of each level the hashes of the tile that is not yet full
	counts []uint64 // full tiles of each level
	emit   func(t Tile, hashes []byte) error
	err    error

	// Visit, if set, is called for every complete node as soon as it is known.
	Visit func(level uint, index uint64, hash []byte)
}

var factory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// NewBuilder returns a builder that calls emit for every full tile as soon as it is known. The hashes are valid only
// during the call; its error is returned by Append.
func NewBuilder(emit func(t Tile, hashes []byte) error) *Builder {
	return &Builder{tree: factory.NewEmptyRange(0), emit: emit}
}

// Size returns the number of leaves.
func (b *Builder) Size() uint64 { return b.tree.End() }

// Append adds a leaf hash.
func (b *Builder) Append(leaf vaultmesh.Digest) error {
	err := b.tree.Append(leaf[:], func(id compact.NodeID, hash []byte) {
		if b.Visit != nil {
			b.Visit(id.Level, id.Index, hash)
		}
		if id.Level%8 == 0 {
			b.add(id.Level/8, hash)
		}
	})
	if err == nil {
		err = b.err
	}
	return err
}

func (b *Builder) add(level uint, hash []byte) {
	if int(level) == len(b.levels) {
		b.levels = append(b.levels, make([]byte, 0, Width*hashSize))
		b.counts = append(b.counts, 0)
	}
	b.levels[level] = append(b.levels[level], hash...)
	if len(b.levels[level]) == Width*hashSize {
		if b.err == nil {
			b.err = b.emit(Tile{Level: level, N: b.counts[level], Width: Width}, b.levels[level])
		}
		b.counts[level]++
		b.levels[level] = b.levels[level][:0]
	}
}

// Partial calls fn for the tiles that are not full at the present size.
func (b *Builder) Partial(fn func(t Tile, hashes []byte) error) error {
	for level, hashes := range b.levels {
		if len(hashes) == 0 {
			continue
		}
		if err := fn(Tile{Level: uint(level), N: b.counts[level], Width: uint64(len(hashes) / hashSize)}, hashes); err != nil {
			return err
		}
	}
	return nil
}

// Root returns the root at the present size (RFC 6962 section 2.1).
func (b *Builder) Root() vaultmesh.Digest {
	if b.tree.End() == 0 {
		return vaultmesh.Digest(rfc6962.DefaultHasher.EmptyRoot())
	}
	h, err := b.tree.GetRootHash(nil)
	if err != nil {
		return vaultmesh.Digest{} // a range that begins at 0 always has one
	}
	return vaultmesh.Digest(h)
}
