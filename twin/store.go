package twin

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Options of a store.
type Options struct {
	Models ModelSet         // required
	Now    func() time.Time // the node's clock; required

	MaxDrift   time.Duration // how far in the future a message may be; default 5 s
	MaxAge     time.Duration // how old a message may be; default 30 days
	MaxMessage int           // bytes of a message and of each of its values; default 64 KiB

	// Decode returns the values of a raw message, for [Store.History]; default [DecodePayload].
	Decode func(raw []byte) (*Message, error)
}

// Store holds the state of all twins in memory and keeps it in the journal.
//
// Methods that take a [journal.Tx] run inside an operation of the journal, so never two at a time; what they change is
// seen by later operations at once, and by readers when the commit is applied, all of one commit together. All other
// methods may be called at any time by any number of goroutines.
type Store struct {
	opts    Options // fixed at creation
	schemas *schemas

	// Owned by the running operation.
	open    *pending
	pruneAt vaultmesh.TwinID // where the next Prune goes on

	mu       sync.RWMutex
	entries  map[vaultmesh.TwinID]*entry                 // guarded by mu; includes twins that are not yet published
	pages    []*page                                     // guarded by mu: the published states
	ids      []vaultmesh.TwinID                          // guarded by mu: of the published states, by place; only grows
	order    *order                                      // guarded by mu: the sorted ids
	cut      []*page                                     // guarded by mu: what the last snapshot holds; nil after a change
	epoch    uint64                                      // guarded by mu: pages of an earlier epoch belong to snapshots
	inbound  map[vaultmesh.TwinID]map[inboundEdge]uint32 // guarded by mu: who refers to a twin, how often
	watchers []*Watcher                                  // guarded by mu
	closed   bool                                        // guarded by mu
}

// entry is one twin. It is never removed once published.
type entry struct {
	head  *state // owned by the running operation: includes what is not yet committed
	place int    // guarded by Store.mu: index of the published state, -1 before
}

const pageSize = 128

// page holds the published states of 128 twins. It is changed in place while its epoch is the store's, and copied first
// when a snapshot holds it.
type page struct {
	epoch  uint64
	states [pageSize]*state
}

// NewStore returns an empty store; [Store.Load] fills it. Missing required options panic: that is a mistake in the program.
func NewStore(o Options) *Store {
	if o.Models == nil || o.Now == nil {
		panic("twin: Options.Models and Options.Now are required")
	}
	if o.MaxDrift <= 0 {
		o.MaxDrift = 5 * time.Second
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 30 * 24 * time.Hour
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 10
	}
	if o.Decode == nil {
		o.Decode = DecodePayload
	}
	return &Store{
		opts:    o,
		schemas: &schemas{models: o.Models, compiled: map[string]*schema{}},
		entries: map[vaultmesh.TwinID]*entry{},
		order:   &order{},
		inbound: map[vaultmesh.TwinID]map[inboundEdge]uint32{},
	}
}

// Get returns the twin as of the last applied commit. Reading a twin again costs little until it changes.
func (s *Store) Get(id vaultmesh.TwinID) (Twin, bool) {
	st := s.published(id)
	if st == nil {
		return Twin{}, false
	}
	return st.twin(), true
}

// Value returns one reported property or telemetry value without making the whole [Twin].
func (s *Store) Value(id vaultmesh.TwinID, name string) (Value, bool) {
	st := s.published(id)
	if st == nil {
		return Value{}, false
	}
	return st.value(name)
}

func (st *state) value(name string) (Value, bool) {
	sl, ok := st.def.schema.index[name]
	if !ok {
		return Value{}, false
	}
	r := st.register(sl.index)
	if !r.IsSet() {
		return Value{}, false
	}
	return valueOf(r), true
}

// Len returns the number of twins.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.ids)
}

// Close ends all watchers. The state stays readable.
func (s *Store) Close() {
	s.mu.Lock()
	watchers := s.watchers
	s.watchers, s.closed = nil, true
	s.mu.Unlock()
	for _, w := range watchers {
		w.end()
	}
}

func (s *Store) published(id vaultmesh.TwinID) *state {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[id]
	if !ok || e.place < 0 {
		return nil
	}
	return s.pages[e.place/pageSize].states[e.place%pageSize]
}

// entry returns the twin as the running operation sees it; nil if there is none.
func (s *Store) entry(id vaultmesh.TwinID) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[id]
}

// pending collects the changes of one commit until it is applied.
type pending struct {
	tx      journal.Tx
	changes []change
	done    atomic.Bool // applied, or dropped altogether
}

type change struct {
	id         vaultmesh.TwinID
	entry      *entry
	prev, next *state // prev is nil for a new twin
}

// change makes next the head of the twin (a nil entry: of a new one), to be published when tx is applied and undone when the operation is dropped.
// The journal may run several operations on one Tx and drop any of them, so each change is undone by itself.
func (s *Store) change(tx journal.Tx, id vaultmesh.TwinID, e *entry, next *state) {
	p := s.open
	if p == nil || p.tx != tx || p.done.Load() {
		p = &pending{tx: tx}
		s.open = p
		tx.OnApplied(func() { s.publish(p) })
	}
	if e == nil {
		e = &entry{place: -1}
		s.mu.Lock()
		s.entries[id] = e
		s.mu.Unlock()
	}
	n := len(p.changes)
	p.changes = append(p.changes, change{id, e, e.head, next})
	e.head = next
	tx.OnRollback(func() { s.undo(p, n) })
}

// undo drops change n of p, the last one that is left.
func (s *Store) undo(p *pending, n int) {
	c := p.changes[n]
	p.changes = p.changes[:n]
	c.entry.head = c.prev
	if c.prev == nil {
		s.mu.Lock()
		delete(s.entries, c.id)
		s.mu.Unlock()
	}
	if n == 0 {
		p.done.Store(true) // its OnApplied is dropped too
	}
}

// publish shows the changes of one commit to readers, all at once.
func (s *Store) publish(p *pending) {
	p.done.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range p.changes {
		s.show(&p.changes[i])
	}
	p.changes, p.tx = nil, nil
}

// show publishes one change; s.mu is held.
func (s *Store) show(c *change) {
	if c.entry.place < 0 {
		c.entry.place = len(s.ids)
		s.ids = append(s.ids, c.id)
		s.order = &order{}
		if c.entry.place%pageSize == 0 {
			s.pages = append(s.pages, &page{epoch: s.epoch})
		}
	}
	n := c.entry.place / pageSize
	if s.pages[n].epoch != s.epoch {
		copied := *s.pages[n]
		copied.epoch = s.epoch
		s.pages[n] = &copied
	}
	s.cut = nil
	s.pages[n].states[c.entry.place%pageSize] = c.next
	if c.prev == nil || c.prev.def != c.next.def {
		s.relate(c)
	}
	for _, w := range s.watchers {
		w.offer(c.next)
	}
}

// order sorts the identifiers of the published twins when first asked.
type order struct {
	once   sync.Once
	places []uint32
}

func (o *order) of(ids []vaultmesh.TwinID) []uint32 {
	o.once.Do(func() {
		o.places = make([]uint32, len(ids))
		for i := range o.places {
			o.places[i] = uint32(i)
		}
		slices.SortFunc(o.places, func(a, b uint32) int {
			if ids[a] < ids[b] {
				return -1
			}
			return 1
		})
	})
	return o.places
}
