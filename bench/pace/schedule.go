package pace

import (
	"context"
	"runtime"
	"time"
)

// timerSlack is how late the runtime's timers may come where the process is idle: it waits in whole milliseconds.
const timerSlack = 1200 * time.Microsecond

// OnSchedule calls do rate times a second for d, never early, with the moment at which each call was due. do must not
// wait for the work: what is due is due, whether or not the work before it is done. The last stretch before each call
// is spent looking at the clock, so that the lateness of timers does not count as that of the work.
func OnSchedule(ctx context.Context, rate float64, d time.Duration, do func(i int, due time.Time)) error {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if due.Sub(start) >= d {
			return nil
		}
		timer.Reset(time.Until(due) - timerSlack)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		for time.Now().Before(due) {
			runtime.Gosched()
		}
		do(i, due)
	}
}
