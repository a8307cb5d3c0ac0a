package anchor

import (
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// follows are the kinds of receipts that only follow from others: those about anchors, and the roots of the state, which
// change with the former. A log that grew by nothing else is not anchored again, or it would never come to rest.
var follows = map[string]bool{receipt.AnchorRequested: true, receipt.AnchorVerified: true, receipt.AnchorFailed: true, receipt.AnchorLost: true, receipt.StateRoot: true}

// maxFollowing bounds the receipts that one search reads; the next goes on from there.
const maxFollowing = 2048

// growth finds the first receipt from a size on that does not only follow from others, and remembers how far it looked.
// It is safe for concurrent use.
type growth struct {
	mu         sync.Mutex // guards what follows
	base, next uint64     // nothing in [base, next) counts
	found      bool       // the receipt at next does
	time       time.Time  // of that receipt
}

// since looks for the first receipt at base or above, below the log's size. ok is false where there is none yet.
func (g *growth) since(e *Engine, base, size uint64) (at time.Time, ok bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if base < g.base || base > g.next {
		g.base, g.next, g.found = base, base, false
	}
	for n := 0; !g.found && g.next < size && n < maxFollowing; n++ {
		raw, err := e.o.Log.Receipt(vaultmesh.LogIndex(g.next))
		if err != nil {
			return time.Time{}, false, err
		}
		r, err := receipt.Open(raw)
		if err != nil {
			return time.Time{}, false, err
		}
		if g.found = !follows[r.Kind]; g.found {
			g.time = r.Time
		} else {
			g.next++
		}
	}
	return g.time, g.found && g.next < size, nil
}
