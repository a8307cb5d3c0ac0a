package pace

import (
	"context"
	"sync"
	"time"
)

// Closed calls each submitter's function in a closed loop and returns the times of the calls that ended in the d
// after warmup. The first error ends it.
func Closed(ctx context.Context, submitters int, warmup, d time.Duration, submitter func(who int) func(n uint64) error) (*Times, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	total, mu, wg := &Times{}, sync.Mutex{}, sync.WaitGroup{}
	from := time.Now().Add(warmup)
	until := from.Add(d)
	for who := range submitters {
		wg.Go(func() {
			mine, submit := &Times{}, submitter(who)
			began := time.Now()
			for n := uint64(0); began.Before(until) && ctx.Err() == nil; n++ {
				if err := submit(n); err != nil {
					cancel(err)
					return
				}
				now := time.Now()
				if now.After(from) && now.Before(until) {
					mine.Add(now.Sub(began))
				}
				began = now
			}
			mu.Lock()
			defer mu.Unlock()
			total.Merge(mine)
		})
	}
	wg.Wait()
	return total, context.Cause(ctx)
}
