// Package pace drives load at a set pace and counts how long each piece took: closed loops, open schedules, and
// histograms. It is on floor 7 and knows nothing of what is measured, so that peers are driven by the same code.
package pace

import (
	"math/bits"
	"time"
)

// subBits is the resolution of Times: 2^subBits steps in each octave, so a percentile is within 1.6 %.
const subBits = 6

// Times counts durations in buckets of logarithmic width. It is for one goroutine; Merge joins those of several.
type Times struct {
	counts [64 << subBits]uint64
	n      uint64
}

// Add counts d; a negative one counts as none.
func (t *Times) Add(d time.Duration) {
	t.counts[bucketOf(uint64(max(d, 0)))]++
	t.n++
}

// bucketOf keeps values below 2^subBits exact and the subBits bits after the leading one of all others.
func bucketOf(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// middleOf is the middle of a bucket.
func middleOf(b int) uint64 {
	if b < 1<<subBits {
		return uint64(b)
	}
	shift := b>>subBits - 1
	low := uint64(b&(1<<subBits-1)|1<<subBits) << shift
	return low + 1<<shift/2
}

// Merge adds what o counted.
func (t *Times) Merge(o *Times) {
	for i, c := range o.counts {
		t.counts[i] += c
	}
	t.n += o.n
}

// At returns the quantile q in milliseconds, 0 where nothing was counted.
func (t *Times) At(q float64) float64 {
	rank := uint64(q * float64(t.n))
	seen := uint64(0)
	for b, c := range t.counts {
		if seen += c; seen > rank || c > 0 && seen == t.n {
			return float64(middleOf(b)) / 1e6
		}
	}
	return 0
}

// P50 is the median in milliseconds.
func (t *Times) P50() float64 { return t.At(0.5) }

// P99 is the 99th percentile in milliseconds.
func (t *Times) P99() float64 { return t.At(0.99) }

// N is how many durations were counted.
func (t *Times) N() uint64 { return t.n }

// Rate is how many a second were counted in elapsed.
func (t *Times) Rate(elapsed time.Duration) float64 { return float64(t.n) / elapsed.Seconds() }
