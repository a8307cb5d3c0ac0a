package capability

import (
	"crypto/ed25519"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
)

// ReplayCache remembers the nonces of accepted proofs for as long as their proofs could be accepted again. It is bounded
// in total and for each owner, so that one owner cannot lock the others out, and refuses when full: it never forgets a
// nonce early. It is safe for concurrent use. It does not outlive the process: a request that must not act twice needs
// an idempotency key as well.
type ReplayCache struct {
	capacity, perOwner int
	keep               time.Duration

	mu     sync.Mutex // guards all below
	seen   map[vaultmesh.Digest]struct{}
	counts map[string]int // by owner's key
	order  []seenNonce    // by time of use; order[head:] are live
	head   int
}

type seenNonce struct {
	id    vaultmesh.Digest
	owner string
	until time.Time
}

// NewReplayCache makes a cache of at most capacity nonces, perOwner of them for one owner, each kept for keep: at least
// twice the skew that [VerifyProof] was given. An entry takes about 200 bytes.
func NewReplayCache(capacity, perOwner int, keep time.Duration) *ReplayCache {
	return &ReplayCache{
		capacity: max(capacity, 1), perOwner: max(perOwner, 1), keep: keep,
		seen: map[vaultmesh.Digest]struct{}{}, counts: map[string]int{},
	}
}

// Use records the nonce of a verified proof by holder. owner is the first holder of the token, whom the root named: all
// keys to which it was attenuated, which costs nothing, have one share together. Errors: Denied where holder used the
// nonce before, RateLimited where the cache or the owner's share of it is full.
func (c *ReplayCache) Use(owner, holder ed25519.PublicKey, nonce string, now time.Time) error {
	o := string(owner)
	id := vaultmesh.Sum([]byte(string(holder) + nonce)) // the key has a fixed length
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(now)
	if _, twice := c.seen[id]; twice {
		return vaultmesh.Errorf(vaultmesh.Denied, "capability.proof", "nonce", "the proof was used before").
			WithFix("make a new proof with a new nonce for each request")
	}
	if len(c.seen) >= c.capacity || c.counts[o] >= c.perOwner {
		return vaultmesh.Errorf(vaultmesh.RateLimited, "capability.proof", "", "too many requests within %s", c.keep)
	}
	c.seen[id] = struct{}{}
	c.counts[o]++
	c.order = append(c.order, seenNonce{id: id, owner: o, until: now.Add(c.keep)})
	return nil
}

// forget drops what is out of its time. A clock that was set back only keeps entries longer.
func (c *ReplayCache) forget(now time.Time) {
	for c.head < len(c.order) && now.After(c.order[c.head].until) {
		e := c.order[c.head]
		delete(c.seen, e.id)
		if c.counts[e.owner]--; c.counts[e.owner] == 0 {
			delete(c.counts, e.owner)
		}
		c.head++
	}
	if c.head > len(c.order)/2 {
		c.order = append(c.order[:0], c.order[c.head:]...)
		c.head = 0
	}
}
