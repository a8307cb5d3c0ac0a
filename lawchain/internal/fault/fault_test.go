package fault

import (
	"errors"
	"testing"
	"time"
)

// Since is when the first attempt of those failed that no success came after.
func TestFault(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var f Fault
	if since, err := f.Last(); err != nil || !since.IsZero() {
		t.Fatal(since, err)
	}
	one, two := errors.New("one"), errors.New("two")
	for i, err := range []error{nil, one, two, nil, two} {
		f.Note(start.Add(time.Duration(i)*time.Minute), err)
		wantSince := []time.Time{{}, start.Add(time.Minute), start.Add(time.Minute), {}, start.Add(4 * time.Minute)}[i]
		if since, got := f.Last(); got != err || !since.Equal(wantSince) {
			t.Errorf("attempt %d: %s %v", i, since, got)
		}
	}
}
