package anchor

import (
	"context"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

// coverTime bounds the wait for one authority.
const coverTime = 10 * time.Second

// Cover sees to it that a target which costs nothing has anchored a checkpoint that covers index, because a bundle with that
// receipt is about to be made. It asks one after the other, beside the schedule and the bounds of [Engine.Request]: at most
// one such job of a target is under way. It returns nil where there is no such target, and Unavailable where none gives an
// anchor now.
func (e *Engine) Cover(ctx context.Context, index vaultmesh.LogIndex) error {
	var free []*lane
	for _, l := range e.lanes {
		if _, pays := l.plan.Target.(Payer); !pays {
			free = append(free, l)
		}
	}
	for _, l := range free {
		if _, ok, err := covering(e.o.Journal, l.name, index); ok || err != nil {
			return err
		}
	}
	var last Job
	for _, l := range free {
		j, err := e.coverAt(ctx, l, index)
		if err != nil {
			return err
		}
		if j.State.Anchored() {
			return nil
		}
		last = j
	}
	if last.ID == "" {
		return nil
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, "anchor.cover", last.Target, "no authority gave a time-stamp: %s", last.Detail).
		WithFix("retry; the node goes on trying by itself, and anchor list shows its last error")
}

// coverAt has one target anchor, and waits for it to succeed, to fail, or to stumble once.
func (e *Engine) coverAt(ctx context.Context, l *lane, index vaultmesh.LogIndex) (Job, error) {
	e.making.Lock()
	id, tried, err := e.underWay(ctx, l, uint64(index)+1)
	e.making.Unlock()
	if err != nil {
		return Job{}, err
	}
	within, enough := context.WithTimeout(ctx, coverTime)
	defer enough()
	j, err := e.Wait(within, id, Confirmed, func(j Job) {
		if j.Attempts > tried {
			enough()
		}
	})
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return j, nil
	}
	return j, err
}

// underWay returns the job of the lane that will cover size and after how many failures it is not waited for; it makes one where there is none,
// and has one that waits after a failure tried now. making is held.
func (e *Engine) underWay(ctx context.Context, l *lane, size uint64) (id string, tried int, err error) {
	e.mu.Lock()
	i := slices.IndexFunc(l.open, func(x *record) bool { return x.Size >= size && !x.State.Anchored() })
	var x *record
	if i >= 0 {
		x = l.open[i]
	}
	e.mu.Unlock()
	if x != nil {
		if tried = x.Attempts; !e.hurry(l, x.number) && tried > 0 {
			tried-- // it is waited for where it has not failed, and not where it has just done so
		}
		return x.ID, tried, nil
	}
	cp := e.o.Log.Checkpoint()
	if cp == nil || cp.Size < size {
		return "", 0, vaultmesh.Errorf(vaultmesh.NotFound, "anchor.cover", "", "the log has no receipt %d", size-1)
	}
	made, err := e.make(ctx, cp, []*lane{l}, Request{}, nil)
	if err != nil {
		return "", 0, err
	}
	return made[l.name].ID, 0, nil
}

func (l *lane) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
