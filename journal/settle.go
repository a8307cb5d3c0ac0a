package journal

import (
	"context"
	"sync"
	"sync/atomic"
)

// settling wakes those who wait for a commit to become durable.
type settling struct {
	waiting atomic.Int64 // how many wait: the committers look here first

	mu      sync.Mutex
	waiters map[chan struct{}]uint64 // guarded by mu: the commit that each waits for
}

// advance wakes everyone who waits for a commit up to and including the given one.
func (s *settling) advance(commit uint64) {
	if s.waiting.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, want := range s.waiters {
		if want <= commit {
			close(c)
			delete(s.waiters, c)
			s.waiting.Add(-1)
		}
	}
}

// Settle returns when everything that was applied, and so could be read, before the call is durable and OnDurable knows.
// A reader that shows what it read to others calls it first: what was seen must not be undone by a crash.
func (j *Journal) Settle(ctx context.Context) error {
	commit := j.applied.Load()
	if j.told.Load() >= commit {
		return nil
	}
	s, c := &j.settled, make(chan struct{})
	s.mu.Lock()
	s.waiting.Add(1)
	if s.waiters == nil {
		s.waiters = map[chan struct{}]uint64{}
	}
	s.waiters[c] = commit
	s.mu.Unlock()
	if j.told.Load() >= commit { // it came between the look and the wait
		s.advance(j.told.Load())
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.waiters[c]; ok {
			delete(s.waiters, c)
			s.waiting.Add(-1)
		}
		return ctx.Err()
	}
}
