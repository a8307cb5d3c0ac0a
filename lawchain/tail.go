package lawchain

import (
	"encoding/binary"
	"sync"

	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// row is what is noted of one receipt beside its envelope: its leaf hash, its place in the chain of its subject, and how
// searches find it.
type row struct {
	leaf    vaultmesh.Digest
	subject string
	seq     uint64
	time    int64 // microseconds
	kind    string
	actor   string
	twin    string
}

// rowOf returns the row of a receipt.
func rowOf(d *receipt.Draft, seq uint64, leaf vaultmesh.Digest) row {
	return row{leaf: leaf, subject: d.Subject, seq: seq, time: d.Time.UnixMicro(), kind: d.Kind, actor: string(d.Actor), twin: string(receipt.TwinOf(d))}
}

// tail holds the rows of the last, incomplete tile. They are written when the tile is complete, in the commit that
// completes it: a few records for 256 receipts instead of several for each. All that is in them is in the envelopes too,
// so a start, also one after a crash, reads at most 255 envelopes to have the tail again.
//
// It is changed inside the journal's operations only, and read at any time. A reader looks at the tail first and at the
// journal after it: a complete tile stays here until its commit is applied, so nothing is missed between the two, and
// what is seen twice is the same.
type tail struct {
	mu    sync.Mutex
	tile  uint64      // guarded by mu: the number of the tile that grows
	rows  []row       // guarded by mu: of its receipts; what is below its length is never changed
	whole []wholeTile // guarded by mu: complete tiles whose commit is not applied yet, ascending
}

type wholeTile struct {
	tile uint64
	rows []row
}

// now returns the tile that grows, to come back to it.
func (t *tail) now() wholeTile {
	t.mu.Lock()
	defer t.mu.Unlock()
	return wholeTile{t.tile, t.rows}
}

// back takes back what was added after was.
func (t *tail) back(was wholeTile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tile, t.rows = was.tile, was.rows
	for n := len(t.whole); n > 0 && t.whole[n-1].tile >= was.tile; n-- {
		t.whole = t.whole[:n-1]
	}
}

// add adds the row of the next receipt. Where that completes a tile, its rows are returned, to be written in the same commit.
func (t *tail) add(r *row) (w wholeTile, complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = make([]row, 0, tileWidth)
	}
	if t.rows = append(t.rows, *r); len(t.rows) < tileWidth {
		return wholeTile{}, false
	}
	w = wholeTile{t.tile, t.rows}
	t.whole = append(t.whole, w)
	t.tile, t.rows = t.tile+1, nil
	return w, true
}

// applied forgets a tile that the journal's readers see.
func (t *tail) applied(tile uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.whole {
		if t.whole[i].tile == tile {
			t.whole = append(t.whole[:i:i], t.whole[i+1:]...)
			return
		}
	}
}

// each calls fn for the rows in the order of the log. fn must be short, and must not keep the row.
func (t *tail) each(fn func(index uint64, r *row)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	visit := func(w wholeTile) {
		for i := range w.rows {
			fn(w.tile*tileWidth+uint64(i), &w.rows[i])
		}
	}
	for _, w := range t.whole {
		visit(w)
	}
	visit(wholeTile{t.tile, t.rows})
}

// note adds a receipt to the tail, and writes the tile that it completes.
func (l *Log) note(tx journal.Tx, r *row) {
	w, complete := l.tail.add(r)
	if !complete {
		return
	}
	w.put(tx)
	putBlocks(tx, w.tile, w.rows)
	if l.singles == w.tile+1 {
		w.deleteSingles(tx)
	}
	tx.OnApplied(func() { l.tail.applied(w.tile) })
}

// put writes the leaf hashes, and where the receipts of each subject are.
func (w wholeTile) put(tx journal.Tx) {
	first := w.tile * tileWidth
	leaves := make([]byte, 0, tileWidth*rfc6962.DefaultHasher.Size())
	type chain struct {
		key, indexes []byte
	}
	var chains []chain
	of := make(map[string]int, 8)
	for i := range w.rows {
		r := &w.rows[i]
		leaves = append(leaves, r.leaf[:]...)
		n, have := of[r.subject]
		if !have {
			n = len(chains)
			of[r.subject] = n
			chains = append(chains, chain{keySubject(r.subject, r.seq), binary.BigEndian.AppendUint64(nil, first+uint64(i))})
			continue
		}
		chains[n].indexes = append(chains[n].indexes, byte(i))
	}
	tx.Put(keyNode(0, first), leaves)
	for _, c := range chains {
		tx.Put(c.key, c.indexes)
	}
}

// deleteSingles deletes the records that an earlier development version wrote for single receipts of the tile.
func (w wholeTile) deleteSingles(tx journal.Tx) {
	seen := map[string]bool{}
	for i := range w.rows {
		r := &w.rows[i]
		if i > 0 {
			tx.Delete(keyNode(0, w.tile*tileWidth+uint64(i)))
		}
		if seen[r.subject] {
			tx.Delete(keySubject(r.subject, r.seq))
		}
		seen[r.subject] = true
	}
}

// loadTail reads the envelopes of the last, incomplete tile.
func (l *Log) loadTail(r journal.Reader, size uint64) error {
	const op = "lawchain.load"
	first := size - size%tileWidth
	rows := make([]row, 0, tileWidth)
	err := NewStored(r).Entries(first, size, func(i uint64, envelope []byte) (bool, error) {
		if i != first+uint64(len(rows)) {
			return false, nil
		}
		x, err := receipt.Open(envelope)
		if err != nil {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, l.Origin(), "receipt %d cannot be read", i).Because(err).WithFix("restore the data folder from a backup or a replica")
		}
		rows = append(rows, rowOf(&x.Draft, x.Seq, x.Leaf))
		return true, nil
	})
	if err != nil {
		return err
	}
	if uint64(len(rows)) != size-first {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, l.Origin(), "receipt %d is missing from the journal", first+uint64(len(rows))).WithFix("restore the data folder from a backup or a replica")
	}
	if size > first {
		_, singles, err := r.Get(keyNode(0, first))
		if err != nil {
			return err
		}
		if singles {
			l.singles = first/tileWidth + 1
		}
	}
	l.tail.back(wholeTile{first / tileWidth, rows})
	return nil
}
