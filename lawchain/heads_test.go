package lawchain

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"vaultmesh.org/vaultmesh"
)

// Whatever is appended, dropped and forgotten in between: still never says yes to a head that is no longer the
// subject's, and a head that the cache gives is the right one.
func TestHeadsAreNeverStale(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newHeads()
	c.limit = 4
	stored := map[string]head{} // what the journal would hold
	type seen struct {
		subject    string
		h          head
		generation uint64
	}
	var asked []seen
	yes := 0
	for step := range 20_000 {
		subject := fmt.Sprint("s", rng.IntN(40))
		h, generation, ok := c.get(subject)
		if ok && h != stored[subject] {
			t.Fatalf("step %d: the cache gives %v for %s, the journal %v", step, h, subject, stored[subject])
		}
		asked = append(asked, seen{subject, stored[subject], generation})
		switch {
		case rng.IntN(3) == 0: // an operation that is dropped
			c.set(subject, head{count: stored[subject].count + 1})
			c.set(subject, stored[subject])
		default:
			stored[subject] = head{count: stored[subject].count + 1, index: vaultmesh.LogIndex(step)}
			c.set(subject, stored[subject])
		}
		if rng.IntN(3) == 0 {
			c.sealed()
		}
		old := asked[rng.IntN(len(asked))]
		if rng.IntN(2) == 0 {
			old = asked[max(0, len(asked)-1-rng.IntN(10))]
		}
		if c.still(old.subject, old.h, old.generation) {
			yes++
			if stored[old.subject] != old.h {
				t.Fatalf("step %d: %v is said to be still the head of %s, which is %v", step, old.h, old.subject, stored[old.subject])
			}
		}
	}
	if yes < 100 {
		t.Fatalf("still said yes %d times: the test shows nothing", yes)
	}
}
