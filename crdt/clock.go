package crdt

import (
	"math"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Clock makes the stamps of one node. Its stamps grow strictly, even if the wall clock is set back, and they are greater
// than every stamp that it has observed. It never runs more than its drift limit ahead of the wall clock because of
// others. It is safe for concurrent use.
type Clock struct {
	node     string        // fixed at creation
	maxDrift time.Duration // fixed at creation

	mu   sync.Mutex
	last Stamp // guarded by mu
}

// NewClock returns the clock of node. Stamps of others that are more than maxDrift ahead are refused. After a restart last
// is the newest stamp known to have been made or observed before (zero if none), so that no stamp is made twice.
func NewClock(node string, maxDrift time.Duration, last Stamp) (*Clock, error) {
	if err := vaultmesh.CheckID("clock", node); err != nil {
		return nil, err
	}
	if maxDrift <= 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "clock", node, "the drift limit is %s", maxDrift).WithFix("give a positive duration, for example 5s")
	}
	if last.IsZero() {
		last.Wall = math.MinInt64
	}
	return &Clock{node: node, maxDrift: maxDrift, last: last}, nil
}

// Now returns the stamp of an event that happens at now.
func (c *Clock) Now(now time.Time) Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch wall := now.UnixMicro(); {
	case wall > c.last.Wall:
		c.last = Stamp{Wall: wall}
	case c.last.Counter < math.MaxUint16:
		c.last.Counter++
	default: // 65,536 events within one microsecond, or since the wall clock was set back: borrow from the next one
		c.last = Stamp{Wall: c.last.Wall + 1}
	}
	c.last.Node = c.node
	return c.last
}

// Observe takes note of a stamp of another clock that was received at now. A stamp more than the drift limit in the future
// is refused with a [*DriftError] and leaves the clock as it was.
func (c *Clock) Observe(s Stamp, now time.Time) error {
	if s.IsZero() {
		return vaultmesh.Errorf(vaultmesh.Invalid, "clock", c.node, "the observed stamp names no clock")
	}
	if err := CheckDrift(s.Wall, now, c.maxDrift); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Wall > c.last.Wall || s.Wall == c.last.Wall && s.Counter > c.last.Counter {
		c.last = s
	}
	return nil
}
