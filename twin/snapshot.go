package twin

import (
	"time"

	"vaultmesh.org/vaultmesh"
)

// Snapshot is a consistent, immutable cut: all twins as of one commit. Taking one copies a pointer for each 128 twins;
// holding one keeps the states that it saw in memory.
type Snapshot struct {
	store *Store
	pages []*page
	ids   []vaultmesh.TwinID
	order *order
	time  time.Time
}

// Snapshot returns the state as of the last applied commit.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut == nil {
		s.cut = append(make([]*page, 0, len(s.pages)), s.pages...)
		s.epoch++
	}
	return &Snapshot{store: s, pages: s.cut, ids: s.ids[:len(s.ids):len(s.ids)], order: s.order, time: s.opts.Now()}
}

// Get returns one twin. The result is immutable.
func (v *Snapshot) Get(id vaultmesh.TwinID) (Twin, bool) {
	st := v.state(id)
	if st == nil {
		return Twin{}, false
	}
	return st.twin(), true
}

// Value returns one reported property or telemetry value without making the whole [Twin].
func (v *Snapshot) Value(id vaultmesh.TwinID, name string) (Value, bool) {
	st := v.state(id)
	if st == nil {
		return Value{}, false
	}
	return st.value(name)
}

func (v *Snapshot) state(id vaultmesh.TwinID) *state {
	v.store.mu.RLock()
	e, ok := v.store.entries[id]
	place := -1
	if ok {
		place = e.place
	}
	v.store.mu.RUnlock()
	if place < 0 || place >= len(v.ids) {
		return nil
	}
	return v.pages[place/pageSize].states[place%pageSize]
}

// Each calls fn for every twin in ascending order of its identifier until fn returns false.
func (v *Snapshot) Each(fn func(Twin) bool) {
	for _, place := range v.order.of(v.ids) {
		if !fn(v.pages[place/pageSize].states[place%pageSize].twin()) {
			return
		}
	}
}

// Reading is one twin of a snapshot, read value by value. It is for those who read a few values of very many twins that
// change all the time: no map is made.
type Reading struct{ st *state }

// EachReading calls fn for every twin in ascending order of its identifier until fn returns false.
func (v *Snapshot) EachReading(fn func(Reading) bool) {
	for _, place := range v.order.of(v.ids) {
		if !fn(Reading{v.pages[place/pageSize].states[place%pageSize]}) {
			return
		}
	}
}

// Definition of the twin; it must not be changed.
func (r Reading) Definition() *Definition { return &r.st.def.Definition }

// Seen is [Twin].Seen.
func (r Reading) Seen() time.Time { return r.st.seen() }

// Value returns one reported property or telemetry value.
func (r Reading) Value(name string) (Value, bool) { return r.st.value(name) }

// Len returns the number of twins.
func (v *Snapshot) Len() int { return len(v.ids) }

// Time is the node's time at which the cut was taken.
func (v *Snapshot) Time() time.Time { return v.time }
