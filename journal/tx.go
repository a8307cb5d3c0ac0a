package journal

import (
	"bytes"
	"errors"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"vaultmesh.org/vaultmesh"
)

// write is one put or, with a nil value, one delete.
type write struct {
	key, value []byte
	del        bool
}

// tx collects the writes of a group. Reads see them through an index that is built at the first read, since the hot
// path of telemetry never reads.
type tx struct {
	j         *Journal
	writes    []write
	index     map[string]int // last write of each key; nil until the first read
	rollbacks []func()
	applied   []func()
}

type savepoint struct{ writes, rollbacks, applied int }

func (t *tx) save() savepoint {
	return savepoint{len(t.writes), len(t.rollbacks), len(t.applied)}
}

func (t *tx) rollback(s savepoint) {
	for i := len(t.rollbacks) - 1; i >= s.rollbacks; i-- {
		t.rollbacks[i]()
	}
	t.writes, t.rollbacks, t.applied = t.writes[:s.writes], t.rollbacks[:s.rollbacks], t.applied[:s.applied]
	t.index = nil
}

// batch returns the writes in the order of their keys, of each key the last one only. The order is for speed: the
// operations of a group write to the same few regions of the key space in turn, and the memtable's skip list inserts
// neighbours in about half the time of keys that jump.
func (t *tx) batch() *pebble.Batch {
	order := make([]int32, len(t.writes))
	size := 0
	for i, w := range t.writes {
		order[i] = int32(i)
		size += len(w.key) + len(w.value) + 16
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := bytes.Compare(t.writes[a].key, t.writes[b].key); c != 0 {
			return c
		}
		return int(a) - int(b)
	})
	b := t.j.db.NewBatchWithSize(size)
	for n, i := range order {
		w := &t.writes[i]
		if n+1 < len(order) && bytes.Equal(w.key, t.writes[order[n+1]].key) {
			continue // written again later
		}
		// Errors are impossible here: the batch is open and not yet applied.
		if w.del {
			_ = b.Delete(w.key, nil)
		} else {
			_ = b.Set(w.key, w.value, nil)
		}
	}
	return b
}

// Put implements [Tx]; the slices are kept until the commit and must not be changed.
func (t *tx) Put(key, value []byte) { t.add(write{key: key, value: value}) }

// Delete implements [Tx].
func (t *tx) Delete(key []byte) { t.add(write{key: key, del: true}) }

func (t *tx) add(w write) {
	if t.index != nil {
		t.index[string(w.key)] = len(t.writes)
	}
	t.writes = append(t.writes, w)
}

// OnRollback implements [Tx].
func (t *tx) OnRollback(f func()) { t.rollbacks = append(t.rollbacks, f) }

// OnApplied implements [Tx].
func (t *tx) OnApplied(f func()) { t.applied = append(t.applied, f) }

func (t *tx) lookup(key []byte) (write, bool) {
	if t.index == nil {
		t.index = make(map[string]int, len(t.writes))
		for i, w := range t.writes {
			t.index[string(w.key)] = i
		}
	}
	i, ok := t.index[string(key)]
	if !ok {
		return write{}, false
	}
	return t.writes[i], true
}

// Get implements [Reader].
func (t *tx) Get(key []byte) ([]byte, bool, error) {
	if w, ok := t.lookup(key); ok {
		if w.del {
			return nil, false, nil
		}
		return bytes.Clone(w.value), true, nil
	}
	return get(t.j.db, key)
}

// Scan implements [Reader]: the store's keys merged with the pending writes.
func (t *tx) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	t.lookup(nil) // builds the index
	var pending []write
	for _, i := range t.index {
		if w := t.writes[i]; bytes.Compare(w.key, lo) >= 0 && bytes.Compare(w.key, hi) < 0 {
			pending = append(pending, w)
		}
	}
	sort.Slice(pending, func(a, b int) bool { return bytes.Compare(pending[a].key, pending[b].key) < 0 })
	stop := errors.New("stop")
	emit := func(w write) error {
		if w.del {
			return nil
		}
		more, err := fn(w.key, w.value)
		if err == nil && !more {
			err = stop
		}
		return err
	}
	err := scan(t.j.db, lo, hi, func(k, v []byte) (bool, error) {
		for len(pending) > 0 && bytes.Compare(pending[0].key, k) < 0 {
			if err := emit(pending[0]); err != nil {
				return false, err
			}
			pending = pending[1:]
		}
		if len(pending) > 0 && bytes.Equal(pending[0].key, k) {
			w := pending[0]
			pending = pending[1:]
			return true, emit(w)
		}
		return true, emit(write{key: k, value: v})
	})
	for err == nil && len(pending) > 0 {
		err = emit(pending[0])
		pending = pending[1:]
	}
	if errors.Is(err, stop) {
		return nil
	}
	return err
}

// get reads one key from the store or a snapshot of it.
func get(r pebble.Reader, key []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, readError(err)
	}
	out := bytes.Clone(v)
	if out == nil {
		out = []byte{}
	}
	return out, true, closer.Close()
}

func scan(r pebble.Reader, lo, hi []byte, fn func(key, value []byte) (bool, error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return readError(err)
	}
	defer func() {
		if e := it.Close(); err == nil && e != nil {
			err = readError(e)
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if more, err := fn(it.Key(), v); err != nil || !more {
			return err
		}
	}
	return nil
}

func readError(err error) error {
	kind := vaultmesh.Unavailable
	if errors.Is(err, pebble.ErrCorruption) {
		kind = vaultmesh.Corrupt
	}
	return vaultmesh.Errorf(kind, "journal.read", "", "cannot read").Because(err)
}

// Get implements [Reader] over everything applied so far.
func (j *Journal) Get(key []byte) ([]byte, bool, error) { return get(j.db, key) }

// Scan implements [Reader] over everything applied when it starts.
func (j *Journal) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	return scan(j.db, lo, hi, fn)
}

// Snapshot is a consistent, immutable view of the journal as of one commit. It must be closed.
type Snapshot struct{ s *pebble.Snapshot }

// Snapshot returns a view of everything applied so far.
func (j *Journal) Snapshot() *Snapshot { return &Snapshot{j.db.NewSnapshot()} }

// Get implements [Reader].
func (s *Snapshot) Get(key []byte) ([]byte, bool, error) { return get(s.s, key) }

// Scan implements [Reader].
func (s *Snapshot) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	return scan(s.s, lo, hi, fn)
}

// Close releases the snapshot.
func (s *Snapshot) Close() error { return s.s.Close() }
