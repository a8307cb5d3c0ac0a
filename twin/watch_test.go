package twin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func next(t *testing.T, w *Watcher) Change {
	t.Helper()
	c, err := w.Next(context.Background())
	must(t, err)
	return c
}

func TestWatchCoalesces(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	w := s.Watch(10)
	defer w.Close()
	grid(t, s, data)
	for i := range 5 {
		merge(t, s, data, message(i, 0, nil, values("flow", fmt.Sprint(i))), 0, 0)
	}
	c := next(t, w)
	if c.Twin.ID != "line" || string(c.Twin.Telemetry["flow"].V) != "4" || c.Skipped != 5 || c.Lost != 0 {
		t.Errorf("change %+v", c)
	}
	if a, b := next(t, w), next(t, w); a.Twin.ID != "bus-1" || b.Twin.ID != "bus-2" || a.Skipped != 0 {
		t.Errorf("changes %s %s", a.Twin.ID, b.Twin.ID)
	}
	merge(t, s, data, message(9, 0, nil, values("flow", "9")), 0, 0)
	if c := next(t, w); c.Twin.Version != 6 || c.Skipped != 0 {
		t.Errorf("change %+v", c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing pending: %v", err)
	}
}

func TestWatchIsBounded(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	w := s.Watch(2)
	defer w.Close()
	grid(t, s, data) // line, bus-1, bus-2
	if c := next(t, w); c.Twin.ID != "bus-1" || c.Lost != 1 {
		t.Errorf("change %+v", c)
	}
	if c := next(t, w); c.Twin.ID != "bus-2" || c.Lost != 0 {
		t.Errorf("change %+v", c)
	}
}

func TestWatchEnds(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	var waiting sync.WaitGroup
	wait := func(w *Watcher) {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			if _, err := w.Next(context.Background()); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		}()
	}
	one, other := s.Watch(0), s.Watch(5)
	wait(one)
	wait(other)
	one.Close()
	one.Close()
	s.Close()
	s.Close()
	waiting.Wait()
	late := s.Watch(5)
	wait(late)
	waiting.Wait()
	grid(t, s, data) // no watcher is offered anything
	if _, err := other.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	other.Close()
}

// A reader that keeps up or does not always ends at the latest state of every twin.
func TestWatchEndsAtTheLatestState(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	w := s.Watch(10)
	const last = 500
	seen := make(chan string, 1)
	go func() {
		var version uint64
		for {
			c, err := w.Next(context.Background())
			if err != nil || c.Twin.Version <= version {
				seen <- fmt.Sprintf("%v after version %d: %d", err, version, c.Twin.Version)
				return
			}
			if skipped := c.Twin.Version - version - 1; skipped != c.Skipped {
				seen <- fmt.Sprintf("skipped %d, reported %d", skipped, c.Skipped)
				return
			}
			if version = c.Twin.Version; version == last {
				seen <- ""
				return
			}
		}
	}()
	for i := range last {
		merge(t, s, data, message(i, 0, nil, values("flow", fmt.Sprint(i))), 0, 0)
	}
	if got := <-seen; got != "" {
		t.Error(got)
	}
	w.Close()
}
