package mcpapi

import (
	"math"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
)

// maxBuckets bounds the principals that are remembered. One that is forgotten starts with a full bucket, which is why
// only full ones are, unless too many act at once.
const maxBuckets = 10_000

// buckets hold one token bucket for each principal. They are safe for concurrent use.
type buckets struct {
	rate, burst float64 // tokens a second, and at most
	now         func() time.Time

	mu   sync.Mutex // guards what follows
	each map[vaultmesh.Principal]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBuckets(rate float64, burst int, now func() time.Time) *buckets {
	return &buckets{rate: rate, burst: float64(burst), now: now, each: map[vaultmesh.Principal]bucket{}}
}

// take takes one token of the principal, or says when there is one.
func (b *buckets) take(p vaultmesh.Principal) error {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	x, known := b.each[p]
	if !known {
		if len(b.each) >= maxBuckets {
			b.forget(now)
		}
		x = bucket{b.burst, now}
	}
	x = b.filled(x, now)
	wait := (1 - x.tokens) / b.rate
	if wait <= 0 {
		x.tokens--
	}
	b.each[p] = x
	if wait > 0 {
		return vaultmesh.Errorf(vaultmesh.RateLimited, "mcp", string(p), "more than %g requests a second on average, or %g at once", b.rate, b.burst).
			WithFix("wait %d s, then send the same call again; ask for more in one call where a tool has a limit or wait_seconds", int(math.Ceil(wait)))
	}
	return nil
}

// filled adds what has flowed in since. A clock that was set back adds nothing.
func (b *buckets) filled(x bucket, now time.Time) bucket {
	if d := now.Sub(x.at); d > 0 {
		x.tokens = min(b.burst, x.tokens+d.Seconds()*b.rate)
	}
	x.at = now
	return x
}

// forget drops the full buckets, and all where none is; mu is held.
func (b *buckets) forget(now time.Time) {
	for p, x := range b.each {
		if b.filled(x, now).tokens >= b.burst {
			delete(b.each, p)
		}
	}
	if len(b.each) >= maxBuckets {
		clear(b.each)
	}
}

// slots count what one principal has at work at the same time. They are safe for concurrent use.
type slots struct {
	most int

	mu   sync.Mutex // guards what follows
	each map[vaultmesh.Principal]int
}

func newSlots(most int) *slots { return &slots{most: most, each: map[vaultmesh.Principal]int{}} }

// enter takes a slot until leave is called; ok is false where none is free.
func (s *slots) enter(p vaultmesh.Principal) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.each[p] >= s.most {
		return nil, false
	}
	s.each[p]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.each[p]--; s.each[p] <= 0 {
			delete(s.each, p)
		}
	}, true
}
