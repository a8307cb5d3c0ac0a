package lawchain

import (
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// The search index in the journal: one empty record for each way in which a receipt is found. It is derived from the
// receipts alone, is no evidence, and can be built again at any time. Numbers are eight bytes big-endian; those with ^ are
// inverted, so that a scan finds the newest first. A receipt's place is ^time ^index, the time that it claims in
// microseconds.
//
//	l/q/k/<kind>\0<place>       by kind; a search by time alone merges those of all kinds
//	l/q/a/<actor>\0<place>      by actor; not those of busy kinds
//	l/q/t/<twin>\0<place>       by twin: its definitions, and the commands to it
//	l/q/s                       what is indexed of a log that is older than the index: see indexState
//
// The subject's own chain (l/i/) serves searches by command and by any other subject.
const (
	searchKind  = "l/q/k/"
	searchActor = "l/q/a/"
	searchTwin  = "l/q/t/"
)

var keyIndexState = []byte("l/q/s")

// busy reports whether receipts of a kind are most of the log: they are found by kind, time and subject alone, since their
// actor selects nothing.
func busy(kind string) bool { return kind == receipt.TelemetryBatch }

// placeSize is the length of a place.
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
	return appendPrefix(make([]byte, 0, len(class)+len(name)+2+placeSize), class, name)
}

func appendPrefix(b []byte, class, name string) []byte {
	return append(append(append(b, class...), name...), 0)
}

var none = []byte{}

// index notes a receipt for searches and for the state tree, in the commit that appends it. This is all that Append pays
// for both.
func (l *Log) index(tx journal.Tx, index uint64, d *receipt.Draft) {
	l.touched.note(index, d.Kind, d.Subject)
	putIndex(tx, index, d)
}

func putIndex(tx journal.Tx, index uint64, d *receipt.Draft) {
	const record = len(searchKind) + 1 + placeSize
	p := place{d.Time.UnixMicro(), index}
	if busy(d.Kind) {
		tx.Put(p.append(searchPrefix(searchKind, d.Kind)), none)
		return
	}
	t := receipt.TwinOf(d)
	b := make([]byte, 0, 3*record+len(d.Kind)+len(d.Actor)+len(t)) // one allocation for the keys, which live equally long
	put := func(class, name string) {
		from := len(b)
		b = p.append(appendPrefix(b, class, name))
		tx.Put(b[from:len(b):len(b)], none)
	}
	put(searchKind, d.Kind)
	put(searchActor, string(d.Actor))
	if t != "" {
		put(searchTwin, string(t))
	}
}

// indexState says which receipts of an older log still lack their records: those from next to end.
type indexState struct{ next, end uint64 }

func (s indexState) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.next), s.end)
}

// loadIndex finds out what a log lacks that was written before there was an index.
func (l *Log) loadIndex(r journal.Reader, size uint64) error {
	v, ok, err := r.Get(keyIndexState)
	if err != nil {
		return err
	}
	s := indexState{end: size}
	if ok {
		if len(v) != 16 {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.load", "", "the state of the search index is damaged")
		}
		s = indexState{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}
	}
	l.indexed.Store(&s)
	return nil
}

// indexChunk is how many receipts one operation of [Log.IndexOlder] writes records for.
const indexChunk = 256

// IndexOlder writes the records of receipts that are older than the index, a bounded part in each call inside an
// operation of the journal, and reports whether more is left. The envelopes are read and opened by the returned function,
// which is called outside: IndexOlder returns nil where nothing is left to do.
func (l *Log) IndexOlder() (op journal.Op, more bool, err error) {
	s := *l.indexed.Load()
	_, started, err := l.reader().Get(keyIndexState)
	if err != nil || started && s.next >= s.end {
		return nil, false, err
	}
	type found struct {
		index uint64
		draft receipt.Draft
	}
	var chunk []found
	next := min(s.next+indexChunk, s.end)
	err = l.Stored().Entries(s.next, next, func(i uint64, envelope []byte) (bool, error) {
		r, err := receipt.Open(envelope)
		if err != nil {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.index", "", "receipt %d cannot be read", i).Because(err)
		}
		chunk = append(chunk, found{i, r.Draft})
		return true, nil
	})
	if err != nil {
		return nil, false, err
	}
	s.next = next
	return func(tx journal.Tx) error {
		for i := range chunk {
			putIndex(tx, chunk[i].index, &chunk[i].draft)
		}
		tx.Put(keyIndexState, s.encode())
		tx.OnApplied(func() { l.indexed.Store(&s) })
		return nil
	}, s.next < s.end, nil
}
