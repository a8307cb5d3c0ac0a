package node

import (
	"context"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of what makes a bundle complete as of a checkpoint that witnesses cosigned.
const (
	rootWait = 5 * time.Second // for a root of the state; after that the newest one that there is serves
	maxGap   = 4096            // receipts from the size of which the root shows the state to the end of the cosigned tree
)

// rooted has a root of the state appended, if anything changed since the newest one, before anything else is looked at:
// so every subject's receipts are read when the state that says how many there are is fixed already.
func (b *collection) rooted() error {
	if b.n.state == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(b.ctx, rootWait)
	defer cancel()
	_ = b.n.state.Fresh(ctx) // where it took too long, the newest root is an older one, and the bundle says so
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if root, ok := b.n.state.Newest(); ok {
		b.root, b.rootSize = uint64(root.Receipt)+1, root.Size
	}
	return nil
}

// witnessed returns the smallest checkpoint over all receipts of the bundle, and over the head that the auditor knows, that
// satisfies the node's policy; nil where there is none in time, or no policy. It adds the receipts that the log got
// between the state that is proved and the end of that checkpoint's tree: without them nobody could tell that no receipt
// of a subject is among them.
func (b *collection) witnessed(head uint64) (cp *lawchain.Checkpoint, err error) {
	if b.n.witness.feeder == nil {
		return nil, nil
	}
	for range 3 { // what a receipt between the two rests on may lie behind the checkpoint
		cp, err = b.n.witness.cover(b.ctx, b.n.log, max(uint64(b.last)+1, head))
		if cp == nil || err != nil || head > 0 || !b.shownWhole() {
			break
		}
		if err = b.between(b.rootSize, cp.Size); err != nil || uint64(b.last) < cp.Size {
			break
		}
	}
	if cp != nil && uint64(b.last) >= cp.Size {
		cp = nil
	}
	return cp, err
}

// between adds the receipts from one size of the log to another, as a range of the scope, where they are not too many and
// the caller may see them all; otherwise none of them.
func (b *collection) between(from, to uint64) error {
	if to <= from || to-from > maxGap || uint64(len(b.receipts))+to-from > maxBundleReceipts {
		return nil
	}
	var runs []receipt.Range
	for i := vaultmesh.LogIndex(from); uint64(i) < to; i++ {
		if slices.ContainsFunc(b.scope.Ranges, func(r receipt.Range) bool { return r.First <= i && i <= r.Last }) {
			continue
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
		raw, err := b.n.log.Receipt(i)
		if err != nil {
			return err
		}
		r, err := receipt.Open(raw)
		if err != nil {
			return err
		}
		if !b.mayShow(&r) {
			return nil
		}
		if n := len(runs); n > 0 && runs[n-1].Last+1 == i {
			runs[n-1].Last = i
		} else {
			runs = append(runs, receipt.Range{First: i, Last: i})
		}
	}
	for _, r := range runs {
		if err := b.inRange(r, to); err != nil {
			return err
		}
	}
	return nil
}

// shownWhole reports whether the bundle shows something of which a state proof says how much there is.
func (b *collection) shownWhole() bool {
	return b.rootSize > 0 && (len(b.scope.Subjects) > 0 || b.proved[state.SubjectKey(receipt.KeySubject(b.n.cfg.Domain))])
}

// mayShow reports whether a receipt that the question is not about may be in the answer: one that the caller may read, and
// those that say nothing about anybody: roots, the node's own anchors, and batches of telemetry, of which the receipt has
// only a digest.
func (b *collection) mayShow(r *receipt.Receipt) bool {
	switch r.Kind {
	case receipt.StateRoot, receipt.TelemetryBatch, receipt.AnchorVerified, receipt.AnchorFailed, receipt.AnchorLost:
		return true
	case receipt.AnchorRequested:
		if r.Actor == b.n.actor {
			return true
		}
	}
	return b.mayRead != nil && b.mayRead(r.Subject)
}

// cover returns the smallest kept checkpoint of at least the size that satisfies the policy, and asks the witnesses for one
// where there is none; nil where they give none in time.
func (w *witnessing) cover(ctx context.Context, log *lawchain.Log, size uint64) (*lawchain.Checkpoint, error) {
	cp, ok, err := log.Cosigned(size)
	if err != nil {
		return nil, err
	}
	if ok && w.policy.Satisfied(cp.Note) {
		return &cp, nil
	}
	h, ok := w.feeder.Cover(ctx, size)
	if !ok {
		return nil, ctx.Err()
	}
	return &lawchain.Checkpoint{Size: h.Size, Root: h.Root, Note: h.Note}, nil
}
