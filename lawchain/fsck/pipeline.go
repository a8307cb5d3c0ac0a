package fsck

import (
	"context"
	"sync"
)

// ordered runs work for the numbers from 0 to n-1 on several goroutines, and hands the results to use one after another
// in the order of the numbers. At most 2*workers results wait. The first error of use, or the end of ctx, ends it; every
// goroutine has ended when it returns, whatever happened.
func ordered[T any](ctx context.Context, workers int, n uint64, work func(ctx context.Context, i uint64) T, use func(i uint64, v T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	type job struct {
		i    uint64
		done chan T // capacity 1: a worker never waits for the reader
	}
	jobs, order := make(chan job), make(chan job, 2*workers)
	var running sync.WaitGroup
	running.Go(func() {
		defer close(jobs)
		defer close(order)
		for i := range n {
			j := job{i, make(chan T, 1)}
			select {
			case order <- j:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			for j := range jobs {
				j.done <- work(ctx, j.i)
			}
		})
	}
	defer running.Wait()
	defer cancel() // before the wait: everyone who could wait for this goroutine goes
	for j := range order {
		select {
		case v := <-j.done:
			if err := use(j.i, v); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
