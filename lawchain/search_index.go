package lawchain

import (
	"bytes"
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// The search index in the journal: for each tile of 256 receipts, and each way in which some of them are found, one block
// with their places. It is derived from the receipts alone, is no evidence, and can be built again at any time. A block is
// written in the commit that completes its tile; the receipts of the last tile are found through the tail. The places of
// a block lie in one bucket of time, so that a scan over the blocks finds the newest first, however the times of the
// receipts run: what is not in order is within one bucket, which is read as a whole.
//
//	l/f/k/<kind>\0<^bucket><^tile>    by kind; a search by time alone merges those of all kinds
//	l/f/a/<actor>\0<^bucket><^tile>   by actor; not those of busy kinds
//	l/f/t/<twin>\0<^bucket><^tile>    by twin: its definitions, and the commands to it
//	l/f/s                             what is indexed of a log that is older than the index: see indexState
//
// Numbers are eight bytes big-endian; those with ^ are inverted. A bucket is the time that the receipts claim in
// microseconds, without its last bucketBits bits. The subject's own chain (l/i/) serves searches by command and by any
// other subject.
const (
	searchKind  = "l/f/k/"
	searchActor = "l/f/a/"
	searchTwin  = "l/f/t/"
)

var keyIndexState = []byte("l/f/s")

// singlesPrefix is where earlier development versions kept a record for every receipt; IndexOlder deletes them.
var singlesPrefix = []byte("l/q/")

// bucketBits is the width of a bucket: 0.26 s. A wider one makes fewer blocks where receipts are few, and more to read
// for one page where they are many.
const bucketBits = 18

// busy reports whether receipts of a kind are most of the log: they are found by kind, time and subject alone, since their
// actor selects nothing.
func busy(kind string) bool { return kind == receipt.TelemetryBatch }

// placeSize is the length of a place in a cursor.
const placeSize = 16

// place is where a receipt stands in the order of all searches: newest first by the time it claims, then by index.
type place struct {
	time  int64 // microseconds
	index uint64
}

func (p place) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, ^uint64(p.time))
	return binary.BigEndian.AppendUint64(b, ^p.index)
}

func decodePlace(b []byte) place {
	return place{int64(^binary.BigEndian.Uint64(b)), ^binary.BigEndian.Uint64(b[8:])}
}

// before reports whether p comes before q in the order of searches.
func (p place) before(q place) bool {
	if p.time != q.time {
		return p.time > q.time
	}
	return p.index > q.index
}

func searchPrefix(class, name string) []byte {
	b := make([]byte, 0, len(class)+len(name)+1+blockKeySize)
	return append(append(append(b, class...), name...), 0)
}

func appendBucket(b []byte, bucket int64) []byte {
	return binary.BigEndian.AppendUint64(b, ^uint64(bucket))
}

// blockKeySize is the length of what follows a prefix.
const blockKeySize = 16

// putter takes what is written.
type putter interface{ Put(key, value []byte) }

// putBlocks writes the blocks of a complete tile. The same tile gives the same blocks, whenever they are written.
func putBlocks(tx putter, tile uint64, rows []row) {
	type group struct {
		class, name string
		bucket      int64
	}
	var (
		groups []group
		places [][]place
		of     = make(map[group]int, 16)
		last   = -1
	)
	add := func(g group, p place) {
		n := last
		if n < 0 || groups[n] != g {
			have := false
			if n, have = of[g]; !have {
				n = len(groups)
				of[g], groups, places = n, append(groups, g), append(places, nil)
			}
			last = n
		}
		places[n] = append(places[n], p)
	}
	for i := len(rows) - 1; i >= 0; i-- { // the newest first, as they mostly are
		r := &rows[i]
		p, bucket := place{r.time, tile*tileWidth + uint64(i)}, r.time>>bucketBits
		add(group{searchKind, r.kind, bucket}, p)
		if busy(r.kind) {
			continue
		}
		add(group{searchActor, r.actor, bucket}, p)
		if r.twin != "" {
			add(group{searchTwin, r.twin, bucket}, p)
		}
	}
	for n, g := range groups {
		key := appendBucket(searchPrefix(g.class, g.name), g.bucket)
		tx.Put(binary.BigEndian.AppendUint64(key, ^tile), encodeBlock(g.bucket, places[n]))
	}
}

// encodeBlock returns the stored form of a block: how long before the end of the bucket its oldest place is, and then of
// each place, the newest first, how long it is before the one before it (the first: before the end of the bucket), as
// varints of microseconds, and the number within the tile (1).
func encodeBlock(bucket int64, places []place) []byte {
	sortPlaces(places)
	end := (bucket+1)<<bucketBits - 1
	b := make([]byte, 0, 3+3*len(places))
	b = binary.AppendUvarint(b, uint64(end-places[len(places)-1].time))
	for _, p := range places {
		b = append(binary.AppendUvarint(b, uint64(end-p.time)), byte(p.index))
		end = p.time
	}
	return b
}

// block is a stored block.
type block struct {
	bucket int64
	tile   uint64
	last   int64  // time of its oldest place
	rest   []byte // places
}

func damagedBlock() error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "receipts.search", "", "a record of the search index is damaged").WithFix("check the data folder with `vaultmesh fsck`")
}

// decodeBlockKey reads what follows the prefix of a block's key, and the head of its value.
func decodeBlockKey(k, v []byte) (block, error) {
	if len(k) != blockKeySize {
		return block{}, damagedBlock()
	}
	b := block{bucket: int64(^binary.BigEndian.Uint64(k)), tile: ^binary.BigEndian.Uint64(k[8:])}
	back, rest, err := crdt.DecodeUvarint(v)
	if err != nil || back >= 1<<bucketBits || b.bucket < 0 || b.bucket > 1<<(63-bucketBits)-1 || b.tile > (1<<64-1)/tileWidth {
		return block{}, damagedBlock()
	}
	b.last, b.rest = b.end()-int64(back), rest
	return b, nil
}

// end is the last microsecond of the bucket.
func (b *block) end() int64 { return b.bucket<<bucketBits | (1<<bucketBits - 1) }

// oldest returns the time of the oldest place.
func (b *block) oldest() int64 { return b.last }

// places calls fn for the places, the newest first, until fn returns false.
func (b *block) places(fn func(p place) bool) error {
	rest := b.rest
	at := place{time: b.end() + 1} // behind every place: no first one is refused
	for from := b.end(); len(rest) > 0; from = at.time {
		back, after, err := crdt.DecodeUvarint(rest)
		if err != nil || len(after) == 0 || int64(back) > from-b.last || back >= 1<<bucketBits {
			return damagedBlock()
		}
		p := place{from - int64(back), b.tile*tileWidth + uint64(after[0])}
		if !at.before(p) {
			return damagedBlock()
		}
		if !fn(p) {
			return nil
		}
		at, rest = p, after[1:]
	}
	if at.time != b.last {
		return damagedBlock()
	}
	return nil
}

// indexState says which receipts of an older log still lack their records: those from next to end.
type indexState struct{ next, end uint64 }

func (s indexState) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.next), s.end)
}

// loadIndex finds out what a log lacks that was written before there was an index of this form.
func (l *Log) loadIndex(r journal.Reader, size uint64) error {
	v, ok, err := r.Get(keyIndexState)
	if err != nil {
		return err
	}
	s := indexState{end: size - size%tileWidth}
	if ok {
		if len(v) != 16 {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.load", "", "the state of the search index is damaged")
		}
		s = indexState{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}
	}
	l.indexed.Store(&s)
	return nil
}

// deleteMany is how many records of the earlier form one operation deletes.
const deleteMany = 2048

// IndexOlder writes the blocks of one tile of receipts that are older than the index, inside an operation of the journal,
// and reports whether more is left. The envelopes are read and opened by IndexOlder itself, outside of the operation; op is
// nil where nothing is left to do. Records of the form that earlier development versions used are deleted first.
func (l *Log) IndexOlder() (op journal.Op, more bool, err error) {
	s := *l.indexed.Load()
	_, started, err := l.reader().Get(keyIndexState)
	if err != nil || started && s.next >= s.end {
		return nil, false, err
	}
	var old [][]byte
	err = l.reader().Scan(singlesPrefix, after(singlesPrefix), func(k, _ []byte) (bool, error) {
		old = append(old, bytes.Clone(k))
		return len(old) < deleteMany, nil
	})
	if err != nil {
		return nil, false, err
	}
	if len(old) > 0 {
		return func(tx journal.Tx) error {
			for _, k := range old {
				tx.Delete(k)
			}
			return nil
		}, true, nil
	}
	var rows []row
	first := s.next
	if s.next < s.end {
		s.next += tileWidth
		if rows, err = readTile(l.Stored(), first); err != nil {
			return nil, false, err
		}
	}
	return func(tx journal.Tx) error {
		if len(rows) > 0 {
			putBlocks(tx, first/tileWidth, rows)
		}
		tx.Put(keyIndexState, s.encode())
		tx.OnApplied(func() { l.indexed.Store(&s) })
		return nil
	}, s.next < s.end, nil
}

// readTile makes the rows of a complete tile from its receipts.
func readTile(s Stored, first uint64) ([]row, error) {
	rows := make([]row, 0, tileWidth)
	err := s.Entries(first, first+tileWidth, func(i uint64, envelope []byte) (bool, error) {
		r, err := receipt.Open(envelope)
		if err != nil || i != first+uint64(len(rows)) {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.index", "", "receipt %d cannot be read", first+uint64(len(rows))).Because(err)
		}
		rows = append(rows, rowOf(&r.Draft, r.Seq, r.Leaf))
		return true, nil
	})
	if err == nil && len(rows) != tileWidth {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.index", "", "receipt %d is missing", first+uint64(len(rows)))
	}
	return rows, err
}

// Searchable is what the search index keeps of a receipt.
type Searchable struct{ row row }

// SearchableOf returns what the search index keeps of a receipt.
func SearchableOf(r *receipt.Receipt) Searchable { return Searchable{rowOf(&r.Draft, r.Seq, r.Leaf)} }

// Unindexed returns the receipts of a log older than its search index that are not in it yet: those from from to below to.
// made is false where the index was never begun, or is as old as the log and the node has never run.
func (s Stored) Unindexed() (from, to uint64, made bool, err error) {
	v, ok, err := s.r.Get(keyIndexState)
	if err != nil || !ok {
		return 0, 0, false, err
	}
	if len(v) != 16 {
		return 0, 0, false, damagedBlock()
	}
	return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), true, nil
}

// BlocksOf calls fn for the records that the search index has about a complete tile with these receipts.
func BlocksOf(tile uint64, receipts []Searchable, fn func(key, value []byte)) {
	rows := make([]row, len(receipts))
	for i := range receipts {
		rows[i] = receipts[i].row
	}
	putBlocks(putFunc(fn), tile, rows)
}

type putFunc func(key, value []byte)

func (f putFunc) Put(key, value []byte) { f(key, value) }

// Blocks calls fn for all records of the search index, with the tile that each is about.
func (s Stored) Blocks(fn func(tile uint64, key, value []byte) (bool, error)) error {
	more := true
	for _, prefix := range []string{searchKind, searchActor, searchTwin} {
		err := s.r.Scan([]byte(prefix), after([]byte(prefix)), func(k, v []byte) (_ bool, err error) {
			if len(k) < len(prefix)+1+blockKeySize {
				return false, damagedBlock()
			}
			more, err = fn(^binary.BigEndian.Uint64(k[len(k)-8:]), k, v)
			return more, err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
