package twin

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
)

// Result of a merge.
type Result struct {
	Changed   bool // at least one register took a value; the version grew by one
	Duplicate bool // the same message was merged before; nothing was written
}

// Merge brings m into the state and the history of its twin, in the commit of tx. m should have passed [Store.Check]; a
// value that the model does not know (any more) is kept in the history only. Each register takes the value with the
// greatest (time, sequence number, device), so a late message changes only what is older, in whatever order messages
// arrive. A message with the same time, sequence number and raw bytes as an earlier one is a duplicate as long as the
// earlier one is in the history (see [Store.Prune]). batch and pos say which receipt proves m and its place therein.
//
// An error leaves tx and the store as they were, so that one bad message does not spoil a batch: NotFound where the twin
// is gone, Denied where the device may not speak for it (any more), Invalid for a bad pos, or what the journal returns.
// The bytes of m are copied.
func (s *Store) Merge(tx journal.Tx, m *Message, batch vaultmesh.LogIndex, pos int) (Result, error) {
	const op = "twin.merge"
	e := s.entry(m.Twin)
	if e == nil {
		return Result{}, notFound(op, m.Twin)
	}
	head := e.head
	if err := speaksFor(op, head.def, m.Device); err != nil {
		return Result{}, err
	}
	if pos < 0 || pos > math.MaxUint32 {
		return Result{}, vaultmesh.Errorf(vaultmesh.Invalid, op, string(m.Twin), "position %d in the batch", pos)
	}
	at := markOf(m)
	next := s.apply(head, m, at)
	out := writes{buf: make([]byte, 0, mergeBound(head, next, m))}
	key := out.cut(func(b []byte) []byte {
		return appendRecordKey(append(append(append(b, historyPrefix...), m.Twin...), 0), at, vaultmesh.Sum(m.Raw))
	})
	if !head.newest.before(at) { // the history holds nothing newer than the newest, so only late messages need to look
		_, known, err := tx.Get(key)
		if err != nil {
			return Result{}, vaultmesh.Wrap(err, op, string(m.Twin))
		}
		if known {
			return Result{Duplicate: true}, nil
		}
	}
	tx.Put(key, out.cut(func(b []byte) []byte { return appendRecord(b, batch, uint32(pos), m.Raw) }))
	if next == nil {
		return Result{}, nil
	}
	for b := range next.blocks {
		if next.owns(head, b) {
			key := out.cut(func(buf []byte) []byte { return appendBlockKey(buf, m.Twin, b) })
			tx.Put(key, out.cut(func(buf []byte) []byte { return next.encodeBlock(buf, b) }))
		}
	}
	s.change(tx, head.def.ID, e, next)
	return Result{Changed: true}, nil
}

// accepted is a value that wins against the present one.
type accepted struct {
	index int // of the slot
	q     Quality
	v     json.RawMessage
}

// apply returns the state after m, or nil if m changes nothing.
func (s *Store) apply(head *state, m *Message, at mark) *state {
	var few [blockSize]accepted
	won := head.winners(few[:0], m, m.Properties, property, at)
	won = head.winners(won, m, m.Telemetry, telemetry, at)
	if len(won) == 0 {
		return nil
	}
	size := 0
	for i := range won {
		size += 1 + len(won[i].v)
	}
	values := valueArena{size: size}
	next := head.with(append([][]crdt.Register(nil), head.blocks...))
	for i := range won {
		next.own(head, won[i].index).Merge(&crdt.Register{Stamp: head.stamp(at), Value: values.add(won[i].q, won[i].v)})
	}
	if next.newest.before(at) {
		next.newest = at
	}
	return next
}

// stamp is that of the values of a message of the twin's device.
func (st *state) stamp(at mark) crdt.Stamp {
	return crdt.Stamp{Wall: at.wall, Counter: at.seq, Node: string(st.def.Device)}
}

// winners appends the values of m that were sent as k and that win against the registers of st.
func (st *state) winners(won []accepted, m *Message, values map[string]json.RawMessage, k kind, at mark) []accepted {
	for name, v := range values {
		sl, ok := st.def.schema.index[name]
		if !ok || sl.kind != k || len(v) >= crdt.MaxValue || !json.Valid(v) {
			continue
		}
		if _, fixed := st.def.Nameplate[name]; fixed {
			continue
		}
		w := accepted{sl.index, min(m.Quality[name], Invalid), v}
		have := st.register(sl.index)
		stamp := st.stamp(at)
		if c := have.Stamp.Compare(stamp); c < 0 || c == 0 && w.compare(have.Value) > 0 {
			won = append(won, w)
		}
	}
	return won
}

// compare compares w with the value of a register, as bytes, without building the value first.
func (w *accepted) compare(value []byte) int {
	if c := cmp.Compare(byte(w.q), value[0]); c != 0 {
		return c
	}
	return bytes.Compare(w.v, value[1:])
}

// arenaLimit bounds what one small value can keep in memory: the values of a small message share one allocation, which
// lives as long as any of them.
const arenaLimit = 256

type valueArena struct {
	size int
	buf  []byte
}

func (a *valueArena) add(q Quality, v json.RawMessage) []byte {
	if a.size > arenaLimit {
		return append(append(make([]byte, 0, 1+len(v)), byte(q)), v...)
	}
	if a.buf == nil {
		a.buf = make([]byte, 0, a.size)
	}
	from := len(a.buf)
	a.buf = append(append(a.buf, byte(q)), v...)
	return a.buf[from:len(a.buf):len(a.buf)]
}

// writes hands out the keys and values of one merge from one allocation; the journal keeps them until the commit.
type writes struct{ buf []byte }

func (w *writes) cut(fill func([]byte) []byte) []byte {
	from := len(w.buf)
	w.buf = fill(w.buf)
	return w.buf[from:len(w.buf):len(w.buf)]
}

func mergeBound(head, next *state, m *Message) int {
	n := len(historyPrefix) + len(m.Twin) + 1 + recordKeySize + recordHeader + len(m.Raw)
	if next == nil {
		return n
	}
	for b := range next.blocks {
		if next.owns(head, b) {
			n += len(blockPrefix) + len(m.Twin) + 3 + next.blockBound(b)
		}
	}
	return n
}

// recordHeader is the length of what precedes the raw bytes in a history record.
const recordHeader = 8 + 4

func appendRecord(b []byte, batch vaultmesh.LogIndex, pos uint32, raw []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(batch))
	b = binary.BigEndian.AppendUint32(b, pos)
	return append(b, raw...)
}
