package receipt

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// The body of the highest rate is written without reflection, and is the same bytes.
func TestBatchBody(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		b := BatchBody{Count: r.Uint64() >> r.IntN(64)}
		at := func() time.Time {
			x := time.Unix(r.Int64N(1<<36)-1<<34, r.Int64N(1_000_000_000))
			switch r.IntN(4) {
			case 0:
				return x.UTC().Truncate(time.Millisecond)
			case 1:
				return x.UTC()
			case 2:
				return x.In(time.FixedZone("", r.IntN(50_000)-25_000))
			}
			return time.Date(r.IntN(12_000)-500, 1, 2, 3, 4, 5, 6, time.UTC)
		}
		b.First, b.Last = at(), at()
		if r.IntN(4) > 0 {
			b.Root = vaultmesh.Sum([]byte{byte(r.IntN(256))})
		}
		fast, fastErr := Body(b)
		slow, slowErr := Body(&b)
		if (fastErr == nil) != (slowErr == nil) || !bytes.Equal(fast, slow) {
			t.Fatalf("%s %v\n%s %v", fast, fastErr, slow, slowErr)
		}
	}
}
