package httpapi

import (
	"sync"

	"vaultmesh.org/vaultmesh"
)

// Feed takes the changes of the node to the WebSocket clients. The node calls its methods after a change can be
// read; they never block, do no I/O and cost one short lock for each connected client, so that they may be called
// from journal.Tx.OnApplied or by the reader of a twin watcher. A client is told the newest state of a twin or
// command, read when it is its turn; it is told every receipt, in order, read from the log itself.
//
// The zero value is not usable; see [NewFeed].
type Feed struct {
	mu   sync.RWMutex
	subs map[*subscription]struct{} // guarded by mu
}

// NewFeed returns a feed without clients.
func NewFeed() *Feed { return &Feed{subs: map[*subscription]struct{}{}} }

// Twin says that the twin changed.
func (f *Feed) Twin(id vaultmesh.TwinID) {
	f.each(func(s *subscription) { s.touch(change{twin: id}) })
}

// Command says that the command changed its state.
func (f *Feed) Command(id vaultmesh.CommandID) {
	f.each(func(s *subscription) { s.touch(change{command: id}) })
}

// Halt says that the halt switch was set or cleared.
func (f *Feed) Halt() { f.each(func(s *subscription) { s.touch(change{halt: true}) }) }

// Receipts says that the log grew; [Evidence.Size] tells how far.
func (f *Feed) Receipts() { f.each((*subscription).grew) }

func (f *Feed) each(fn func(*subscription)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for s := range f.subs {
		fn(s)
	}
}

// change names one thing that changed; exactly one field is set. It is the key by which changes coalesce.
type change struct {
	twin    vaultmesh.TwinID
	command vaultmesh.CommandID
	halt    bool
}

// subscription holds what one client has not been told yet.
type subscription struct {
	feed   *Feed
	limit  int                 // distinct changes that may wait
	wants  func(change) bool   // by kind and filter; fixed at creation, must not block
	wake   chan struct{}       // buffer 1: something waits
	mu     sync.Mutex          // guards what follows
	queue  []change            // in order of the first change not told yet
	queued map[change]struct{} // the members of queue
	// skipped counts the changes that fell together with one that already waited, since the client last took one.
	skipped  uint64
	overflow bool
}

func (f *Feed) subscribe(limit int, wants func(change) bool) *subscription {
	s := &subscription{feed: f, limit: limit, wants: wants, wake: make(chan struct{}, 1), queued: map[change]struct{}{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[s] = struct{}{}
	return s
}

func (s *subscription) close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subs, s)
}

func (s *subscription) touch(c change) {
	if !s.wants(c) {
		return
	}
	s.mu.Lock()
	_, waits := s.queued[c]
	switch {
	case waits:
		s.skipped++
	case len(s.queue) >= s.limit:
		s.overflow = true
	default:
		s.queue = append(s.queue, c)
		s.queued[c] = struct{}{}
	}
	s.mu.Unlock()
	s.grew()
}

// grew wakes the client's writer.
func (s *subscription) grew() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already and will look again
	}
}

// next takes the change that waits longest. ok is false where none waits; overflow says that more waited than the
// client may leave waiting, after which nothing it is told can be complete.
func (s *subscription) next() (c change, skipped uint64, ok, overflow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overflow || len(s.queue) == 0 {
		return change{}, 0, false, s.overflow
	}
	c, skipped = s.queue[0], s.skipped
	s.queue, s.skipped = s.queue[1:], 0
	if len(s.queue) == 0 {
		s.queue = nil // let go of the array that a burst has grown
	}
	delete(s.queued, c)
	return c, skipped, true, false
}
