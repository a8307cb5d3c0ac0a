package bench

import (
	"math/bits"
	"time"
)

// subBits is the resolution of times: 2^subBits steps in each octave, so a percentile is within 1.6 %.
const subBits = 6

// times counts durations in buckets of logarithmic width. It is for one goroutine; merge joins those of several.
type times struct {
	counts [64 << subBits]uint64
	n      uint64
}

// add counts d; a negative one counts as none.
func (t *times) add(d time.Duration) {
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

func (t *times) merge(o *times) {
	for i, c := range o.counts {
		t.counts[i] += c
	}
	t.n += o.n
}

// at returns the quantile q in milliseconds, 0 where nothing was counted.
func (t *times) at(q float64) float64 {
	rank := uint64(q * float64(t.n))
	seen := uint64(0)
	for b, c := range t.counts {
		if seen += c; seen > rank || c > 0 && seen == t.n {
			return float64(middleOf(b)) / 1e6
		}
	}
	return 0
}

func (t *times) p50() float64 { return t.at(0.5) }
func (t *times) p99() float64 { return t.at(0.99) }

// figure names what t holds, done within elapsed.
func (t *times) figure(name string, elapsed time.Duration) Figure {
	return Figure{Name: name, P50: t.p50(), P99: t.p99(), Rate: float64(t.n) / elapsed.Seconds()}
}
