// Package fault owns how long something that is tried again and again has failed. It is on floor 2 and knows nothing else.
package fault

import (
	"sync"
	"time"
)

// Fault is one such thing. The zero value has not failed. It is safe for concurrent use.
type Fault struct {
	mu    sync.Mutex
	since time.Time
	err   error
}

// Note records how an attempt ended.
func (f *Fault) Note(now time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.since = time.Time{}
	} else if f.err == nil {
		f.since = now
	}
	f.err = err
}

// Last returns the error of the last attempt, nil where it succeeded, and since when every one has failed.
func (f *Fault) Last() (since time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, f.err
}
