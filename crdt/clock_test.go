package crdt

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newClock(t interface{ Fatal(...any) }, node string, last Stamp) *Clock {
	c, err := NewClock(node, 5*time.Second, last)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClockIsStrictlyMonotonicAndAfterWhatItObserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock(t, "a", Stamp{})
		now := epoch
		var last Stamp
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-2_000_000, 2_000_000).Draw(t, "move")) * time.Microsecond)
			if rapid.Bool().Draw(t, "observe") {
				s := StampOf(now.Add(time.Duration(rapid.Int64Range(-9_000_000, 9_000_000).Draw(t, "ahead"))*time.Microsecond),
					rapid.Uint16().Draw(t, "counter"), "b")
				err := c.Observe(s, now)
				var drift *DriftError
				if far := s.Wall-now.UnixMicro() > 5_000_000; far != errors.As(err, &drift) {
					t.Fatalf("far %v, error %v", far, err)
				}
				if err == nil && s.Compare(last) > 0 {
					last = s
				}
				continue
			}
			s := c.Now(now)
			if s.Compare(last) <= 0 || s.Wall < now.UnixMicro() || s.Node != "a" {
				t.Fatalf("%v after %v at %v", s, last, now)
			}
			last = s
		}
	})
}

func TestClockBorrowsWhenTheCounterIsFull(t *testing.T) {
	c := newClock(t, "a", Stamp{Wall: epoch.UnixMicro(), Counter: math.MaxUint16, Node: "a"})
	got := c.Now(epoch)
	if want := (Stamp{epoch.UnixMicro() + 1, 0, "a"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestClockAfterARestart(t *testing.T) {
	last := newClock(t, "a", Stamp{}).Now(epoch)
	if got := newClock(t, "a", last).Now(epoch.Add(-time.Hour)); got.Compare(last) <= 0 {
		t.Errorf("%v is not after %v", got, last)
	}
}

func TestRefusedStampLeavesTheClock(t *testing.T) {
	c := newClock(t, "a", Stamp{})
	err := c.Observe(StampOf(epoch.Add(6*time.Second), 0, "b"), epoch)
	var drift *DriftError
	if !errors.As(err, &drift) || drift.Ahead != 6*time.Second || drift.Max != 5*time.Second {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(err.Error(), "6s") {
		t.Errorf("the text does not say by how much: %v", err)
	}
	if got := c.Now(epoch); got != (Stamp{epoch.UnixMicro(), 0, "a"}) {
		t.Errorf("the clock moved to %v", got)
	}
	if err := c.Observe(Stamp{}, epoch); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a stamp of nobody: %v", err)
	}
}

func TestDriftOfExtremeTimes(t *testing.T) {
	for _, c := range []struct {
		wall int64
		ok   bool
	}{{math.MinInt64, true}, {0, true}, {epoch.UnixMicro() + 5_000_000, true}, {epoch.UnixMicro() + 5_000_001, false}, {math.MaxInt64, false}} {
		if err := CheckDrift(c.wall, epoch, 5*time.Second); (err == nil) != c.ok {
			t.Errorf("%d: %v", c.wall, err)
		}
	}
	if err := CheckDrift(math.MaxInt64, time.UnixMicro(math.MinInt64+1), time.Hour); err == nil {
		t.Error("an overflow hides the drift")
	}
}

func TestNewClockRefuses(t *testing.T) {
	if _, err := NewClock("", time.Second, Stamp{}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no name: %v", err)
	}
	if _, err := NewClock("a", 0, Stamp{}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no drift: %v", err)
	}
}

func TestStampText(t *testing.T) {
	if got := StampOf(epoch, 7, "sub-8").String(); got != "2026-01-02T03:04:05.000000Z+7@sub-8" {
		t.Errorf("got %s", got)
	}
}
