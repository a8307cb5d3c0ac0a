package twin

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
)

// Bounds of one reading of the history.
const (
	MaxPoints  = 10_000  // points or records that one call returns
	maxScanned = 200_000 // messages that one call looks at
)

// Entry is one message in the history of a twin.
type Entry struct {
	Key   RecordKey
	Time  time.Time          // source time, UTC
	Seq   uint16             // orders messages with the same time
	Batch vaultmesh.LogIndex // the receipt that proves it
	Pos   int                // its position in that receipt's batch
	Raw   []byte             // the bytes as received
}

// History returns the values of one property or telemetry with from <= time < to, oldest first, at most limit (1..
// [MaxPoints]; 0: MaxPoints). Values of messages that came late are in their place. Messages older than the hot window may
// be gone, see [Store.Prune].
//
// Errors: NotFound for the twin or a name that its model does not have, Invalid for the range or the limit, TooLarge if
// the name is so rare in the range that too many messages would have to be read.
func (s *Store) History(r journal.Reader, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]Point, error) {
	q, err := s.historyQuery(id, name, from, to, limit)
	if err != nil {
		return nil, err
	}
	return q.points(r, q.from, q.to, q.limit)
}

// Recent is [Store.History], newest first: of the values in the range, it returns the last limit ones.
func (s *Store) Recent(r journal.Reader, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]Point, error) {
	q, err := s.historyQuery(id, name, from, to, limit)
	if err != nil {
		return nil, err
	}
	// The journal reads upwards only. Windows that double in width, from the end backwards, read at most a few times what
	// they return, however dense the data are.
	var out []Point
	width := int64(time.Second / time.Microsecond)
	for hi := q.to; hi > q.from && len(out) < q.limit; {
		lo := q.from
		if uint64(hi)-uint64(q.from) > uint64(width) {
			lo = hi - width
		}
		part, err := q.points(r, lo, hi, maxScanned)
		if err != nil {
			return nil, err
		}
		slices.Reverse(part)
		out = append(out, part[:min(len(part), q.limit-len(out))]...)
		hi, width = lo, min(2*width, 1<<61)
	}
	return out, nil
}

// Entries returns the messages of a twin with from <= time < to, oldest first, at most limit (1..[MaxPoints]; 0: MaxPoints).
func (s *Store) Entries(r journal.Reader, id vaultmesh.TwinID, from, to time.Time, limit int) ([]Entry, error) {
	q, err := s.historyQuery(id, "", from, to, limit)
	if err != nil {
		return nil, err
	}
	var out []Entry
	err = q.scan(r, q.from, q.to, func(e *Entry) (bool, error) {
		kept := *e
		kept.Raw = bytes.Clone(e.Raw)
		out = append(out, kept)
		return len(out) < q.limit, nil
	})
	return out, err
}

// Record returns the raw bytes of one message, the index of the receipt that proves it, and its position in the batch.
// Errors: Invalid for a malformed key, NotFound where the history does not hold it (any more).
func (s *Store) Record(r journal.Reader, id vaultmesh.TwinID, key RecordKey) (raw []byte, batch vaultmesh.LogIndex, pos int, err error) {
	const op = "twin.record"
	suffix, err := key.bytes()
	if err != nil {
		return nil, 0, 0, err
	}
	if err := vaultmesh.CheckID("twin", string(id)); err != nil {
		return nil, 0, 0, err
	}
	lo, _ := historyRange(id)
	v, ok, err := r.Get(append(lo, suffix...))
	if err != nil {
		return nil, 0, 0, vaultmesh.Wrap(err, op, string(id))
	}
	if !ok {
		return nil, 0, 0, vaultmesh.Errorf(vaultmesh.NotFound, op, string(id), "no message %s", key).WithFix("it may be older than the hot window: look into the archive")
	}
	if len(v) < recordHeader {
		return nil, 0, 0, vaultmesh.Errorf(vaultmesh.Corrupt, op, string(id), "message %s is cut short", key)
	}
	return v[recordHeader:], vaultmesh.LogIndex(binary.BigEndian.Uint64(v)), int(binary.BigEndian.Uint32(v[8:])), nil
}

// historyQuery is one checked reading of one twin's history.
type historyQuery struct {
	store    *Store
	id       vaultmesh.TwinID
	name     string // empty: all
	kind     kind
	from, to int64 // microseconds
	limit    int
	scanned  int
}

func (s *Store) historyQuery(id vaultmesh.TwinID, name string, from, to time.Time, limit int) (*historyQuery, error) {
	const op = "twin.history"
	st := s.published(id)
	if st == nil {
		return nil, notFound(op, id)
	}
	q := &historyQuery{store: s, id: id, name: name, from: ceilMicro(from), to: ceilMicro(to), limit: limit}
	if name != "" {
		sl, ok := st.def.schema.index[name]
		if !ok {
			return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, string(id), "the model %s has no property or telemetry %q", st.def.Model, clip(name)).WithFix("it has properties: %s; telemetry: %s", st.def.schema.names(property, nil), st.def.schema.names(telemetry, nil))
		}
		q.kind = sl.kind
	}
	if !from.Before(to) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(id), "the range from %s to %s is empty", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)).WithFix("from is included, to is not")
	}
	if limit < 0 || limit > MaxPoints {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(id), "limit %d, want 1 to %d", limit, MaxPoints)
	}
	if limit == 0 {
		q.limit = MaxPoints
	}
	return q, nil
}

// ceilMicro returns the first microsecond that is not before t.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if time.UnixMicro(us).Before(t) {
		us++
	}
	return us
}

// points reads the values of q.name with lo <= time < hi in ascending order.
func (q *historyQuery) points(r journal.Reader, lo, hi int64, limit int) ([]Point, error) {
	var out []Point
	err := q.scan(r, lo, hi, func(e *Entry) (bool, error) {
		m, err := q.store.opts.Decode(bytes.Clone(e.Raw))
		if err != nil {
			return false, vaultmesh.Wrap(err, "twin.history", string(q.id)+" "+string(e.Key))
		}
		values := m.Properties
		if q.kind == telemetry {
			values = m.Telemetry
		}
		if v, ok := values[q.name]; ok {
			out = append(out, Point{T: e.Time, V: v, Q: m.Quality[q.name], Key: e.Key})
		}
		return len(out) < limit, nil
	})
	return out, err
}

// scan calls fn for each message with lo <= time < hi. The entry and its bytes are valid only during the call.
func (q *historyQuery) scan(r journal.Reader, lo, hi int64, fn func(*Entry) (bool, error)) error {
	const op = "twin.history"
	prefix, _ := historyRange(q.id)
	err := r.Scan(historyAt(q.id, lo), historyAt(q.id, hi), func(k, v []byte) (bool, error) {
		if q.scanned++; q.scanned > maxScanned {
			return false, vaultmesh.Errorf(vaultmesh.TooLarge, op, string(q.id), "more than %d messages in the range", maxScanned).WithFix("ask for a shorter range")
		}
		if len(k) != len(prefix)+recordKeySize || len(v) < recordHeader {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, string(q.id), "a malformed record of %d bytes", len(v))
		}
		suffix := k[len(prefix):]
		return fn(&Entry{
			Key:   RecordKey(hex.EncodeToString(suffix)),
			Time:  time.UnixMicro(crdt.DecodeWall(suffix)).UTC(),
			Seq:   binary.BigEndian.Uint16(suffix[crdt.WallSize:]),
			Batch: vaultmesh.LogIndex(binary.BigEndian.Uint64(v)),
			Pos:   int(binary.BigEndian.Uint32(v[8:])),
			Raw:   v[recordHeader:],
		})
	})
	return vaultmesh.Wrap(err, op, string(q.id))
}
