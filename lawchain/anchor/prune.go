package anchor

import (
	"bytes"
	"context"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// What is kept of the jobs that are done with, once they are older than Options.Keep:
//
//   - every anchor that is in a block: it was paid for, and trust files may pin its block;
//   - of a target without blocks (an RFC 3161 authority) the last final anchor of each UTC day, so that every receipt is for
//     ever under an anchor of the day on which it was anchored first;
//   - the newest job of each target, and all of the largest size: the next job may be of the same size;
//   - the checkpoint of each of those.
//
// All else goes: jobs that failed, and stamps that a later one of the same day covers. What the log says of them stays.
const (
	pruneEvery = 10 * time.Minute
	pruneBatch = 512 // jobs that one commit looks at
)

// pruneLoop removes what is not kept, until ctx ends.
func (e *Engine) pruneLoop(ctx context.Context) {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = e.prune(ctx); err != nil {
				e.o.Logger.Warn("cannot remove old anchor jobs; it is tried again", "error", err)
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// prune looks at the next jobs that are old enough and removes what is not kept of them, in one commit. more says that
// there are others.
func (e *Engine) prune(ctx context.Context) (more bool, err error) {
	err = e.submit(ctx, func(tx journal.Tx) error {
		p := pruning{tx: tx, before: e.o.Now().Add(-e.o.Keep)}
		more, err = p.run()
		return err
	})
	return more, err
}

// pruning is one commit of it.
type pruning struct {
	tx     journal.Tx
	before time.Time
}

// run goes on at the first job that was not looked at, and ends at one that is too young.
func (p *pruning) run() (more bool, err error) {
	next, _, err := getNumber(p.tx, keySequence)
	if err != nil || next == 0 {
		return false, err
	}
	begin, _, err := getNumber(p.tx, keyPruned)
	if err != nil {
		return false, err
	}
	newest, err := getRecord(p.tx, next-1)
	if err != nil {
		return false, err
	}
	n := begin
	for ; n < next && n-begin < pruneBatch; n++ {
		x, err := getRecord(p.tx, n)
		if err != nil {
			return false, err
		}
		if !x.Updated.Before(p.before) || !x.Created.Before(p.before) || x.Size >= newest.Size {
			break
		}
		kept, err := p.kept(x)
		if err == nil && !kept {
			err = p.remove(x)
		}
		if err != nil {
			return false, err
		}
	}
	if n > begin {
		putNumber(p.tx, keyPruned, n)
	}
	return n-begin == pruneBatch, p.keys()
}

// remove deletes a job, and its checkpoint where no other needs it.
func (p *pruning) remove(x *record) error {
	p.tx.Delete(keyJob(x.number))
	p.tx.Delete(keyID(x.ID))
	if at, ok, err := getNumber(p.tx, keyAnchored(x.Target, x.Size)); err != nil {
		return err
	} else if ok && at == x.number {
		p.tx.Delete(keyAnchored(x.Target, x.Size))
	}
	needed, err := p.needed(x.Size)
	if err == nil && !needed {
		p.tx.Delete(keyNote(x.Size))
	}
	return err
}

// needed reports whether an anchor, or a job that is still looked at, is about the checkpoint of a size.
func (p *pruning) needed(size uint64) (needed bool, err error) {
	prefix := keyStanding("")
	err = p.tx.Scan(prefix, keyStanding("\xff"), func(k, _ []byte) (bool, error) {
		_, ok, err := p.tx.Get(keyAnchored(string(k[len(prefix):]), size))
		needed = needed || ok
		return !needed, err
	})
	if err != nil || needed {
		return needed, err
	}
	err = p.tx.Scan(keyOpen, keyOpenEnd, func(k, _ []byte) (bool, error) {
		x, err := getRecord(p.tx, numberOf(k))
		needed = needed || err == nil && x.Size == size
		return !needed, err
	})
	return needed, err
}

// kept reports whether a job stays for good.
func (p *pruning) kept(x *record) (bool, error) {
	s, _, err := getJSON[standing](p.tx, keyStanding(x.Target))
	if err != nil || s.Any && s.Newest == x.number || !x.State.Done() || x.State == Final && x.Height > 0 || x.Block != "" {
		return true, err
	}
	if x.State == Failed {
		return false, nil
	}
	if _, open, err := p.tx.Get(keyOpenJob(x.number)); err != nil || open {
		return true, err
	}
	// A stamp stays where no later one of its day is final.
	kept := true
	day := x.Proved.UTC().Truncate(24 * time.Hour)
	err = p.tx.Scan(keyAnchored(x.Target, x.Size), keyAnchoredEnd(x.Target), func(_, v []byte) (bool, error) {
		if len(v) != 8 {
			return false, damaged("anchors", nil)
		}
		y, err := getRecord(p.tx, numberOf(v))
		switch {
		case err != nil:
			return false, err
		case y.number == x.number || y.State != Final:
			return true, nil
		}
		kept = !y.Proved.UTC().Truncate(24 * time.Hour).Equal(day)
		return false, nil
	})
	return kept, err
}

// keys removes the idempotency keys of which every job is gone: a few at a time, where it ended the last time.
func (p *pruning) keys() error {
	first, last := []byte("l/j/k/"), []byte("l/j/k0")
	at, _, err := p.tx.Get(keyPrunedKeys)
	if err != nil {
		return err
	}
	from := first
	if bytes.HasPrefix(at, first) {
		from = append(bytes.Clone(at), 0)
	}
	var end []byte
	seen := 0
	var gone [][]byte
	err = p.tx.Scan(from, last, func(k, _ []byte) (bool, error) {
		a, _, err := getJSON[asked](p.tx, k)
		if err != nil {
			return false, err
		}
		held := len(a.Jobs) == 0
		for _, id := range a.Jobs {
			_, ok, err := p.tx.Get(keyID(id))
			if err != nil {
				return false, err
			}
			held = held || ok
		}
		if !held {
			gone = append(gone, bytes.Clone(k))
		}
		seen, end = seen+1, bytes.Clone(k)
		return seen < pruneBatch, nil
	})
	if err != nil {
		return err
	}
	for _, k := range gone {
		p.tx.Delete(k)
	}
	if seen < pruneBatch {
		end = first[:0]
	}
	if !bytes.Equal(end, at) {
		p.tx.Put(keyPrunedKeys, end)
	}
	return nil
}

// forgotten reports whether a job that an idempotency key names was removed.
func forgotten(r journal.Reader, ids []string) (bool, error) {
	for _, id := range ids {
		if _, ok, err := r.Get(keyID(id)); err != nil || !ok {
			return !ok, vaultmesh.Wrap(err, "anchor.request", id)
		}
	}
	return false, nil
}
