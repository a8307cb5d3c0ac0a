package fsck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
)

var journalChecks = []string{checkCheckpoint, checkEntries, checkTree, checkChains, checkTimes, checkSignatures, checkJournal}

// Journal checks the log in a journal that no node runs on, every record of the tree and of the subjects' chains, and
// that the store can read all that it holds.
func Journal(ctx context.Context, r journal.Reader, place string, o Options) (*Report, error) {
	o.defaults()
	began := time.Now()
	keys, err := newKeyring(o.Pins)
	if err != nil {
		return nil, err
	}
	s := &stored{r: r, s: lawchain.NewStored(r), o: o, keys: keys}
	tree := tiles.NewBuilder(func(tiles.Tile, []byte) error { return nil })
	tree.Visit = s.node
	s.j = newJudge(o, keys, &s.found, tree)
	defer s.j.close()
	report := &Report{Place: place, Kind: "journal"}
	failure := ended(s.check(ctx, report), &s.found)
	return report.finish(&s.found, failure, began, journalChecks...), nil
}

// Unreadable is the report of a journal whose files are too damaged to be opened.
func Unreadable(place string, err error) *Report {
	r, f := &Report{Place: place, Kind: "journal"}, findings{}
	f.damage(checkJournal, "store", "%v", err)
	return r.finish(&f, nil, time.Now(), checkJournal)
}

// stored is one check of a journal.
type stored struct {
	r     journal.Reader
	s     lawchain.Stored
	o     Options
	keys  *keyring
	found findings
	j     *judge
	nodes []run // by level: nodes of the tree that were computed and not yet compared
	sum   multiset
	index searchIndex
}

// searchIndex is what was found out about the blocks that searches read.
type searchIndex struct {
	from, to uint64 // receipts that are older than the index, and not in it yet
	made     bool   // the journal says which those are
	want     multiset
}

// run is a number of nodes of one level in a row.
type run struct {
	first  uint64
	hashes []byte
}

func (s *stored) check(ctx context.Context, r *Report) error {
	raw, ok, err := s.s.Checkpoint()
	if err != nil {
		return s.broken("checkpoint", err)
	}
	if !ok {
		return s.empty()
	}
	head, origin, err := ReadHead(raw, "checkpoint")
	if err != nil {
		s.found.damage(checkCheckpoint, "checkpoint", "%v", err)
		return nil
	}
	r.Origin, r.Size, r.Root = origin, head.Size, head.Root
	if s.index.from, s.index.to, s.index.made, err = s.s.Unindexed(); err != nil {
		return s.broken("search index", err)
	}
	err = ordered(ctx, s.o.Workers, (head.Size+tiles.Width-1)/tiles.Width,
		func(_ context.Context, n uint64) bundle { return s.read(n, head.Size) },
		func(n uint64, v bundle) error { return s.use(n, head.Size, v) })
	if err == nil {
		err = s.flush()
	}
	if err == nil || ended(err, &s.found) == nil {
		s.j.checkpoint(raw, "checkpoint")
	}
	s.j.end(r, head.Size, head.Root, err == nil)
	if err == nil {
		err = s.records(ctx, r)
	}
	return err
}

// empty judges a journal without a checkpoint.
func (s *stored) empty() error {
	err := s.beyond(0)
	if err == nil && s.found.count() == 0 {
		return vaultmesh.Errorf(vaultmesh.NotFound, "fsck", "", "the journal holds no log yet")
	}
	return err
}

// broken reports what the store cannot read. Only damage is damage: a disk that does not answer is none.
func (s *stored) broken(where string, err error) error {
	if vaultmesh.KindOf(err) == vaultmesh.Corrupt {
		s.found.damage(checkJournal, where, "%v", err)
		return nil
	}
	return err
}

// read reads the receipts of one tile's width. It runs on any worker.
func (s *stored) read(n, size uint64) (v bundle) {
	first := n * tiles.Width
	width := min(tiles.Width, size-first)
	next := first
	v.facts = make([]fact, 0, width)
	err := s.s.Entries(first, first+width, func(i uint64, e []byte) (bool, error) {
		if i != next {
			return false, nil
		}
		next++
		v.facts = append(v.facts, s.keys.open(bytes.Clone(e)))
		return true, nil
	})
	if err == nil && next == first+width {
		return v
	}
	if v.err = s.broken("receipts", err); v.err != nil {
		return v
	}
	v.facts = nil
	s.found.receipt(checkJournal, next, "journal", "it is missing")
	// Its hash may be there, so that the receipts behind it can be judged.
	err = s.s.Nodes(0, first, first+width, func(_ uint64, h []byte) (bool, error) {
		if len(h) == 32 {
			v.leaves = append(v.leaves, vaultmesh.Digest(h))
		}
		return true, nil
	})
	v.err = s.broken("tree", err)
	return v
}

func (s *stored) use(n, size uint64, v bundle) error {
	if v.err != nil {
		return v.err
	}
	width := min(tiles.Width, size-n*tiles.Width)
	if v.facts == nil {
		return s.j.missing(v.leaves, width)
	}
	complete := width == tiles.Width
	if complete {
		s.blocks(n, v.facts)
	}
	for _, f := range v.facts {
		if f.err == nil && complete {
			s.sum.add(f.r.Subject, position(f.r.Seq, s.j.tree.Size()))
		}
		if err := s.j.receipt(f); err != nil {
			return err
		}
	}
	s.o.Progress(n*tiles.Width+width, size)
	return s.compare(nodeRun)
}

// blocks adds what the search index should hold about a complete tile.
func (s *stored) blocks(n uint64, facts []fact) {
	receipts := make([]lawchain.Searchable, len(facts))
	for i := range facts {
		receipts[i] = facts[i].found
	}
	if !s.index.lacks(n) {
		lawchain.BlocksOf(n, receipts, func(k, v []byte) { s.index.want.add(string(k), v) })
	}
}

// lacks reports whether the search index is not made yet for a tile.
func (x *searchIndex) lacks(tile uint64) bool {
	return tile >= x.from/tiles.Width && tile < x.to/tiles.Width
}

// searchable compares the search index with the receipts of complete tiles: as sets, in constant memory.
func (s *stored) searchable(r *Report) error {
	var have multiset
	err := s.s.Blocks(func(tile uint64, k, v []byte) (bool, error) {
		if !s.index.lacks(tile) {
			have.add(string(k), v)
		}
		return true, nil
	})
	switch {
	case err != nil:
		return s.broken("search index", err)
	case have.count == 0 && !s.index.made && s.index.want.count > 0:
		r.Notes = append(r.Notes, "there is no search index: the node makes it when it runs")
	case have != s.index.want:
		s.found.damage(checkJournal, "search index", "the search index (%d records) does not lead to the receipts (%d)", have.count, s.index.want.count)
	case s.index.from < s.index.to:
		r.Notes = append(r.Notes, "the search index lacks older receipts: the node makes it while it runs")
	}
	return nil
}

// nodeRun is the number of nodes that are compared at a time.
const nodeRun = 4096

// node keeps a node of the tree until it is compared. The journal holds those at the bottom of tiles.
func (s *stored) node(level uint, index uint64, hash []byte) {
	if level%8 != 0 {
		return
	}
	for int(level) >= len(s.nodes) {
		s.nodes = append(s.nodes, run{})
	}
	n := &s.nodes[level]
	if len(n.hashes) == 0 {
		n.first = index
	}
	n.hashes = append(n.hashes, hash...)
}

// compare compares the levels that have at least so many nodes with the journal's.
func (s *stored) compare(least int) error {
	for level := range s.nodes {
		n := &s.nodes[level]
		count := len(n.hashes) / 32
		if count == 0 || count < least {
			continue
		}
		next := n.first
		err := s.s.Nodes(uint(level), n.first, n.first+uint64(count), func(i uint64, h []byte) (bool, error) {
			at := 32 * (i - n.first)
			if i != next || !bytes.Equal(h, n.hashes[at:at+32]) {
				s.found.damage(checkJournal, "tree", "node %d of level %d is missing or not the hash of what is below it", next, level)
			}
			next = i + 1
			return true, nil
		})
		if err := s.broken("tree", err); err != nil {
			return err
		}
		if err == nil && next != n.first+uint64(count) {
			s.found.damage(checkJournal, "tree", "nodes from %d of level %d are missing", next, level)
		}
		n.hashes = n.hashes[:0]
	}
	return nil
}

func (s *stored) flush() error { return s.compare(1) }

// records compares what else the journal keeps of the log with the receipts, and reads every record of the store.
func (s *stored) records(ctx context.Context, r *Report) error {
	for _, step := range []func() error{
		func() error { return s.beyond(r.Size) }, s.heads, func() error { return s.positions(r.Size) }, func() error { return s.searchable(r) }, func() error { return s.everything(ctx) },
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// beyond finds receipts that no checkpoint covers: both are written in one commit.
func (s *stored) beyond(size uint64) error {
	err := s.s.Entries(size, ^uint64(0), func(i uint64, _ []byte) (bool, error) {
		s.found.receipt(checkJournal, i, "journal", "it is behind the %d receipts that the checkpoint covers: the checkpoint was changed, or put back", size)
		return false, nil
	})
	return s.broken("receipts", err)
}

func (s *stored) heads() error {
	n := 0
	err := s.s.Heads(func(subject string, count uint64, last vaultmesh.LogIndex, leaf vaultmesh.Digest) (bool, error) {
		n++
		d := sha256.Sum256([]byte(subject))
		end, ok, err := s.j.chains.get(about(d[:16]))
		if err != nil {
			return false, err
		}
		if !ok || end.count != count || end.last != last || end.leaf != [16]byte(leaf[:16]) {
			s.found.damage(checkJournal, subject, "the journal says that its history ends with number %d at index %d, the receipts say otherwise", count, last)
		}
		return true, nil
	})
	if err == nil && n != s.j.chains.count {
		s.found.damage(checkJournal, "subjects", "the journal knows %d subjects, the receipts %d", n, s.j.chains.count)
	}
	return s.broken("subjects", err)
}

// positions compares the index of subjects with the receipts of complete tiles: as sets, in constant memory.
func (s *stored) positions(size uint64) error {
	var have multiset
	err := s.s.Positions(func(subject string, seq uint64, index vaultmesh.LogIndex) (bool, error) {
		if uint64(index) >= size-size%tiles.Width {
			return true, nil // of the last tile: an earlier development version wrote them one by one
		}
		have.add(subject, position(seq, uint64(index)))
		return true, nil
	})
	if err == nil && have != s.sum {
		s.found.damage(checkJournal, "index", "the index of subjects (%d records) does not lead to the receipts (%d)", have.count, s.sum.count)
	}
	return s.broken("index", err)
}

// everything reads the whole store, so that no block of it goes unchecked.
func (s *stored) everything(ctx context.Context) error {
	n := 0
	err := s.r.Scan([]byte{0}, bytes.Repeat([]byte{0xff}, 16), func(_, _ []byte) (bool, error) {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		return true, nil
	})
	return s.broken("store", err)
}

// position is what a set holds of a receipt in its subject's chain.
func position(seq, index uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seq), index)
}

// multiset is a digest of a set of records that does not depend on their order.
type multiset struct {
	count uint64
	sum   [4]uint64
}

func (m *multiset) add(name string, rest []byte) {
	b := make([]byte, 0, len(name)+1+len(rest))
	b = append(append(append(b, name...), 0), rest...)
	d := sha256.Sum256(b)
	m.count++
	for i := range m.sum {
		m.sum[i] += binary.BigEndian.Uint64(d[8*i:])
	}
}
