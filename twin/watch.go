package twin

import (
	"context"
	"errors"
	"slices"
	"sync"

	"vaultmesh.org/vaultmesh"
)

// ErrClosed is returned by [Watcher.Next] after the watcher or the store was closed.
var ErrClosed = errors.New("the watcher is closed")

// Change is one step of a change feed.
type Change struct {
	Twin    Twin   // its latest state
	Skipped uint64 // earlier states of this twin that the reader was too slow for
	Lost    uint64 // twins whose change was dropped since the last step because the buffer was full: read a Snapshot again
}

// Watcher is a change feed of all twins. It holds at most one pending change for each twin, the latest; a slow reader gets
// fewer, never older, states. It never delays a commit and needs no goroutine.
type Watcher struct {
	store  *Store
	buffer int           // fixed at creation
	ready  chan struct{} // holds one token while something is pending
	done   chan struct{} // closed at the end

	mu      sync.Mutex
	queue   []vaultmesh.TwinID           // guarded by mu: in order of first change
	waiting map[vaultmesh.TwinID]*waiter // guarded by mu
	lost    uint64                       // guarded by mu
	ended   bool                         // guarded by mu
}

type waiter struct {
	state   *state
	skipped uint64
}

// Watch returns a feed of the changes from now on, in order of the commits. At most buffer different twins wait
// (1..1,048,576; values outside are moved to the nearest); if more change, the one that waits longest is dropped and
// counted. Take a [Store.Snapshot] after Watch to miss nothing. The caller closes the watcher.
func (s *Store) Watch(buffer int) *Watcher {
	w := &Watcher{
		store: s, buffer: min(max(buffer, 1), 1<<20),
		ready: make(chan struct{}, 1), done: make(chan struct{}), waiting: map[vaultmesh.TwinID]*waiter{},
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.watchers = append(s.watchers, w)
	}
	s.mu.Unlock()
	if closed {
		w.end()
	}
	return w
}

// Next waits for the next change. It returns the error of ctx, or [ErrClosed]. One goroutine at a time may call it.
func (w *Watcher) Next(ctx context.Context) (Change, error) {
	for {
		if c, ok := w.take(); ok {
			return c, nil
		}
		select {
		case <-w.ready:
		case <-w.done:
			return Change{}, ErrClosed
		case <-ctx.Done():
			return Change{}, ctx.Err()
		}
	}
}

func (w *Watcher) take() (Change, bool) {
	w.mu.Lock()
	if len(w.queue) == 0 {
		w.mu.Unlock()
		return Change{}, false
	}
	id := w.queue[0]
	w.queue = w.queue[1:]
	next := w.waiting[id]
	delete(w.waiting, id)
	lost := w.lost
	w.lost = 0
	w.mu.Unlock()
	return Change{Twin: next.state.twin(), Skipped: next.skipped, Lost: lost}, true
}

// offer notes the latest state of a twin. It runs within a commit and does not block.
func (w *Watcher) offer(st *state) {
	id := st.def.ID
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if have, ok := w.waiting[id]; ok {
		have.state = st
		have.skipped++
		return
	}
	if len(w.queue) == w.buffer {
		delete(w.waiting, w.queue[0])
		w.queue = w.queue[1:]
		w.lost++
	}
	w.queue = append(w.queue, id)
	w.waiting[id] = &waiter{state: st}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Close ends the feed; a waiting Next returns [ErrClosed]. It may be called more than once.
func (w *Watcher) Close() {
	w.store.mu.Lock()
	w.store.watchers = slices.DeleteFunc(w.store.watchers, func(x *Watcher) bool { return x == w })
	w.store.mu.Unlock()
	w.end()
}

func (w *Watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.ended = true
	w.queue, w.waiting = nil, nil
	close(w.done)
}
