package pace

import (
	"context"
	"sync"
	"time"
)

// Open calls do rate times a second for d, each call in a goroutine of its own, whatever the earlier ones do, and
// returns the times from when each was due until it returned, and how many there were. The first error is returned
// after the last call has ended.
func Open(ctx context.Context, rate float64, d time.Duration, do func(i int) error) (all *Times, calls uint64, err error) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		failed error
	)
	all = &Times{}
	err = OnSchedule(ctx, rate, d, func(i int, due time.Time) {
		calls++
		wg.Go(func() {
			err := do(i)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && failed == nil {
				failed = err
			}
			all.Add(took)
		})
	})
	wg.Wait()
	if err == nil {
		err = failed
	}
	return all, calls, err
}
