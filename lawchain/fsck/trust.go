package fsck

import (
	"bytes"
	"context"
	"errors"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

// backing says whether a trusted key is known to stand behind what is read of a stranger, and ends the reading where none
// is after so many bytes. It is owned by one goroutine.
type backing struct {
	limit int64               // less than 0: none
	prove func() bool         // whether the keys that are known now suffice
	keys  *keyring            // prove is asked anew where it knows more
	known *receipt.KeyHistory // when prove was asked
	ok    bool
	read  int64
}

// begin asks for the first time.
func (b *backing) begin() bool {
	b.ok, b.known = b.prove(), b.keys.history
	return b.ok
}

// add takes note of bytes that were read and judged.
func (b *backing) add(n int64) error {
	if b.ok {
		return nil
	}
	if b.keys.history != b.known {
		if b.begin(); b.ok {
			return nil
		}
	}
	if b.read += n; b.limit >= 0 && b.read > b.limit {
		return vaultmesh.Errorf(vaultmesh.Denied, "fsck", "", "no pinned key signed the checkpoint, and what the first %d bytes of receipts say about keys leads to none that did: no more is read of it", b.read).
			WithFix("pin the log's newest key too (log_keys), which you got by another way; or have more read: vaultmesh fsck --unverified=BYTES, where -1 is all of it")
	}
	return nil
}

// errForeign ends a reading whose receipts are not those that were signed.
var errForeign = errors.New("so many receipts are not those that were signed: the rest was not read")

// maxForeign is how many tiles of receipts may not be those that were signed before the rest is left unread.
const maxForeign = 16

// signed tells of each full tile of receipts, as soon as it is read, whether the signed root covers it: the hashes above
// are read from the top down, each tile proved by the one above it, the last ones by the root. It is owned by one
// goroutine.
type signed struct {
	p       *published
	size    uint64
	edges   map[uint][]byte     // by level: the partial tile at the end of the tree
	cached  map[uint]cachedTile // by level: the full tile that was used last
	off     bool                // the tiles do not lead to the root: that is reported elsewhere
	foreign int
}

type cachedTile struct {
	n      uint64
	hashes []byte // nil: it is not what the one above it covers
}

// proved reads the tiles at the end of the tree and compares the root that they have with the signed one.
func (p *published) proved(ctx context.Context, size uint64, root vaultmesh.Digest) (*signed, error) {
	s := &signed{p: p, size: size, edges: map[uint][]byte{}, cached: map[uint]cachedTile{}}
	for level := uint(0); size>>(8*level) > 0; level++ {
		t, ok := tiles.Of(false, level, size>>(8*level)/tiles.Width, size)
		if !ok {
			continue // the last tile is full
		}
		b, err := fetch(ctx, p.b, t.Path(), maxTile)
		if err != nil && vaultmesh.KindOf(err).Retryable() || ctx.Err() != nil {
			return nil, firstError(err, ctx.Err())
		}
		if err != nil || uint64(len(b)) != 32*t.Width {
			s.off = true
			return s, nil
		}
		s.edges[level] = b
	}
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, size, nil) {
		level := id.Level / 8
		first, n := id.Index<<(id.Level%8)%tiles.Width, uint64(1)<<(id.Level%8)
		edge := s.edges[level]
		if uint64(len(edge)) < 32*(first+n) {
			s.off = true
			return s, nil
		}
		hashes = append(hashes, top(edge[32*first:32*(first+n)]))
	}
	tree, err := factory.NewRange(0, size, hashes)
	if err != nil {
		return nil, err
	}
	got, err := tree.GetRootHash(nil)
	s.off = err != nil || !bytes.Equal(got, root[:])
	return s, nil
}

var factory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// top returns the root over hashes, a power of two of them.
func top(hashes []byte) []byte {
	level := bytes.Clone(hashes)
	for len(level) > 32 {
		out := level[:0]
		for i := 0; i < len(level); i += 64 {
			out = append(out, rfc6962.DefaultHasher.HashChildren(level[i:i+32], level[i+32:i+64])...)
		}
		level = out
	}
	return level
}

// hash returns the node of a tile's level; nil where it is not known.
func (s *signed) hash(ctx context.Context, level uint, index uint64) ([]byte, error) {
	n, at := index/tiles.Width, 32*(index%tiles.Width)
	t, ok := tiles.Of(false, level, n, s.size)
	if !ok || t.Width <= index%tiles.Width {
		return nil, nil
	}
	if t.Width < tiles.Width {
		return s.edges[level][at : at+32], nil
	}
	if c, ok := s.cached[level]; !ok || c.n != n {
		want, err := s.hash(ctx, level+1, n)
		if err != nil {
			return nil, err
		}
		b, err := fetch(ctx, s.p.b, t.Path(), maxTile)
		if err != nil && vaultmesh.KindOf(err).Retryable() || ctx.Err() != nil {
			return nil, firstError(err, ctx.Err())
		}
		c := cachedTile{n: n}
		if err == nil && want != nil && len(b) == maxTile && bytes.Equal(top(b), want) {
			c.hashes = b
		}
		s.cached[level] = c
	}
	if b := s.cached[level].hashes; b != nil {
		return b[at : at+32], nil
	}
	return nil, nil
}

// covers compares the hash over the n-th full tile of receipts with what was signed; nil where that is not known.
func (s *signed) covers(ctx context.Context, n uint64, have []byte) error {
	if s == nil || s.off || have == nil {
		return nil
	}
	want, err := s.hash(ctx, 1, n)
	if err != nil || bytes.Equal(want, have) {
		return err
	}
	if s.foreign++; s.foreign <= maxForeign {
		return nil
	}
	s.p.found.damage(checkTree, "tree", "%d tiles of receipts up to receipt %d are not what the signed checkpoint covers", s.foreign, (n+1)*tiles.Width-1)
	return errForeign
}
