package pace

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	var x Times
	for i := 1; i <= 1000; i++ {
		x.Add(time.Duration(i) * time.Millisecond)
	}
	x.Add(-1)
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990, 0: 0} {
		if got := x.At(q); got < want*0.98-1e-6 || got > want*1.02+1e-6 {
			t.Errorf("quantile %g is %g, want about %g", q, got, want)
		}
	}
	last := -1
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 1 << 20, 1<<63 - 1} {
		b := bucketOf(v)
		if b <= last || float64(middleOf(b)) < float64(v)*0.98 || float64(middleOf(b)) > float64(v)*1.02 {
			t.Errorf("%d is in bucket %d after %d, whose middle is %d", v, b, last, middleOf(b))
		}
		last = b
	}
}
