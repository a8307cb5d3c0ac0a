package journal

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"vaultmesh.org/vaultmesh"
)

// maxGroup bounds the operations that share one commit.
const maxGroup = 256

// inFlight bounds the commits of one lane that wait for the disk while the next one is built.
const inFlight = 4

// request is one submitted operation. done is called exactly once, after durability or with the reason of the refusal.
type request struct {
	op   Op
	done func(error)
	err  error
}

// group is one applied commit that waits for the disk.
type group struct {
	batch   *pebble.Batch
	reqs    []request
	commit  uint64
	applied time.Time
}

// lane is a queue with a committer (builds and applies groups) and a finisher (waits for the disk, acknowledges).
type lane struct {
	j     *Journal
	id    Lane
	queue chan request
	sync  chan group

	mu     sync.RWMutex // guards closed against sends on queue
	closed bool
}

func newLane(j *Journal, id Lane) *lane {
	l := &lane{j: j, id: id, queue: make(chan request, j.o.Queue[id]), sync: make(chan group, inFlight)}
	j.workers.Add(2)
	go l.run()
	go l.finish()
	return l
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
}

// SubmitAsync queues op. done is called from the lane's own goroutine, in commit order, after the commit is durable
// (nil) or with the error of op; it must not block. An error from SubmitAsync itself means that op will not run:
// RateLimited where the lane is full, Unavailable where the journal is closed or the disk full.
func (j *Journal) SubmitAsync(lane Lane, op Op, done func(error)) error {
	l := j.lanes[lane]
	if j.full.Load() {
		j.metrics.refused(l.id)
		return vaultmesh.Errorf(vaultmesh.Unavailable, "journal.submit", "", "the disk is full").WithFix("free space on the disk of the data folder and restart the node")
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "journal.submit", "", "the journal is closed")
	}
	select {
	case l.queue <- request{op: op, done: done}:
		return nil
	default:
		j.metrics.refused(l.id)
		return vaultmesh.Errorf(vaultmesh.RateLimited, "journal.submit", "", "the queue of %d operations is full", cap(l.queue)).WithFix("retry later")
	}
}

// Submit runs op in lane and returns after its commit is durable, or with the error of op. If ctx ends first, Submit
// returns its error, and op may still commit: callers make their operations idempotent.
func (j *Journal) Submit(ctx context.Context, lane Lane, op Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ch := make(chan error, 1)
	if err := j.SubmitAsync(lane, op, func(err error) { ch <- err }); err != nil {
		return err
	}
	select {
	case err := <-ch:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run builds and applies groups until the queue is closed and empty.
func (l *lane) run() {
	defer l.j.workers.Done()
	defer close(l.sync)
	for first := range l.queue {
		reqs := append(make([]request, 0, 8), first)
		for len(reqs) < maxGroup {
			select {
			case r, ok := <-l.queue:
				if ok {
					reqs = append(reqs, r)
					continue
				}
			default:
			}
			break
		}
		l.sync <- l.apply(reqs)
	}
}

// apply runs the operations and applies their writes as one batch. It holds the order lock throughout, so that the
// order of application, of numbering and of the write-ahead log is one order over both lanes.
func (l *lane) apply(reqs []request) group {
	j := l.j
	j.order.Lock()
	defer j.order.Unlock()
	t := &tx{j: j}
	ok := 0
	for i := range reqs {
		save := t.save()
		if reqs[i].err = run(reqs[i].op, t); reqs[i].err != nil {
			t.rollback(save)
			continue
		}
		ok++
	}
	if ok == 0 {
		return group{reqs: reqs}
	}
	if j.o.Seal != nil {
		j.o.Seal(t, j.commit+1)
	}
	j.commit++
	t.Put(commitKey, binary.BigEndian.AppendUint64(nil, j.commit))
	b := t.batch()
	// Before the first reader can see the commit: whoever settles what it read must wait for this number.
	j.applied.Store(j.commit)
	j.o.Failpoint("built")
	start := time.Now()
	// An error here ends the process, see logger.Fatalf.
	if err := j.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		j.o.Log.Error("journal cannot apply a commit", "error", err)
		logger{j.o.Log}.Fatalf("apply: %v", err)
	}
	for _, f := range t.applied {
		f()
	}
	j.o.Failpoint("applied")
	return group{batch: b, reqs: reqs, commit: j.commit, applied: start}
}

// run calls op and turns a panic into an error, so that one operation cannot take the node down.
func run(op Op, t *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.j.o.Log.Error("an operation panicked; its writes are dropped", "panic", p)
			err = vaultmesh.Errorf(vaultmesh.Internal, "journal.apply", "", "the operation failed unexpectedly")
		}
	}()
	return op(t)
}

// finish waits for the disk and then tells the submitters, in commit order.
func (l *lane) finish() {
	defer l.j.workers.Done()
	j := l.j
	for g := range l.sync {
		if g.batch != nil {
			if err := g.batch.SyncWait(); err != nil {
				logger{j.o.Log}.Fatalf("sync: %v", err)
			}
			j.o.Failpoint("synced")
			j.metrics.committed(l.id, len(g.reqs), time.Since(g.applied))
			j.acknowledge(g.commit)
			_ = g.batch.Close()
			j.o.Failpoint("marked")
		}
		for _, r := range g.reqs {
			r.done(r.err)
		}
	}
}

// acknowledge moves the durable number and the mark forward, tells OnDurable, and then those who settle: they find what
// OnDurable shows. The write-ahead log is one, so a durable commit makes all earlier ones durable too, whichever lane
// they came from.
func (j *Journal) acknowledge(commit uint64) {
	raise(&j.durable, commit)
	if err := j.writeMark(); err != nil {
		j.o.Log.Warn("cannot write the mark of the last acknowledged commit", "error", err)
	}
	if j.o.OnDurable != nil {
		j.o.OnDurable(commit)
	}
	raise(&j.told, commit)
	j.settled.advance(j.told.Load())
}

// raise makes n at least v.
func raise(n *atomic.Uint64, v uint64) {
	for old := n.Load(); old < v && !n.CompareAndSwap(old, v); old = n.Load() {
	}
}
