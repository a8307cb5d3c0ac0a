package node

import (
	"errors"
	"sort"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/receipt"
)

// How far from a time that was asked for its nearest proofs are looked for: twice as far each time.
const (
	nearAnchor = 2 * receipt.ClockSlack
	farAnchor  = 32 * 24 * time.Hour
)

// ofTime finds the receipts that claim a time, and widens the range to where proofs of time show that nothing outside of it
// was written then: what receipts claim does not show that.
func (b *collection) ofTime(r receipt.Range, size uint64) (receipt.Range, error) {
	l := &timeline{b: b, size: size}
	claimed := l.claimed(r)
	if l.err != nil {
		return r, l.err
	}
	wide, around := l.dated(claimed)
	if l.err != nil {
		return r, l.err
	}
	if uint64(wide.Last-wide.First) >= maxBundleRange { // then the bundle says what it does not show
		return claimed, nil
	}
	b.around = append(b.around, around...)
	return wide, nil
}

// timeline finds places of the log by the times that receipts claim. They run forward but for moments, which a search by
// halves is made safe against by looking a little further; where a clock was wrong it finds what it can.
type timeline struct {
	b    *collection
	size uint64
	err  error
}

// aroundPlace is how many receipts beside a place are looked at.
const aroundPlace = 64

func (l *timeline) at(i int) int64 {
	raw, err := l.b.n.log.Receipt(vaultmesh.LogIndex(i))
	if err == nil {
		var x receipt.Receipt
		if x, err = receipt.Open(raw); err == nil {
			return x.Time.UnixMicro()
		}
	}
	l.err = errors.Join(l.err, err)
	return 0
}

// find returns the first place from which receipts claim the time or a later one; size where none does.
func (l *timeline) find(at time.Time) int {
	t := at.UnixMicro()
	i := sort.Search(int(l.size), func(i int) bool { return l.at(i) >= t })
	for k := i - 1; k >= 0 && k > i-aroundPlace; k-- {
		if l.at(k) >= t {
			i = k
		}
	}
	return i
}

// claimed is from the last receipt more than a minute before the time to the first one a minute after it.
func (l *timeline) claimed(r receipt.Range) receipt.Range {
	until := r.Until.Add(receipt.ClockSlack)
	first, last := l.find(r.From.Add(-receipt.ClockSlack)), l.find(until)
	for k := last; k < int(l.size) && k < last+aroundPlace; k++ { // a late receipt of the time
		if l.at(k) < until.UnixMicro() {
			last = k + 1
		}
	}
	r.First, r.Last = vaultmesh.LogIndex(max(first-1, 0)), vaultmesh.LogIndex(min(last, int(l.size)-1))
	return r
}

// dated widens a range to begin where a proof of time covers all that is before it, and to hold the report of a proof that is
// later than it. around are these proofs.
func (l *timeline) dated(r receipt.Range) (wide receipt.Range, around []anchor.Anchored) {
	wide = r
	if a, ok := l.before(r); ok {
		wide.First, around = min(r.First, vaultmesh.LogIndex(a.Size)), append(around, a)
	}
	if a, report, ok := l.after(r); ok {
		wide.Last, around = max(r.Last, report), append(around, a)
	}
	return wide, around
}

// slack is how far the time of a proof may be off for an auditor, or a little more.
func slack(a anchor.Anchored) time.Duration {
	if a.Kind == receipt.AnchorBitcoin {
		return 2 * time.Hour
	}
	return 2 * receipt.ClockSlack
}

// before finds the largest anchored size, of those that are looked at, whose proof is earlier than a range's time.
func (l *timeline) before(r receipt.Range) (best anchor.Anchored, ok bool) {
	for back := nearAnchor; back <= farAnchor && r.First > 0 && !ok && l.err == nil; back *= 2 {
		i := l.find(r.From.Add(-back))
		for _, a := range l.covering(max(i-1, 0)) {
			if !a.Time.Add(slack(a)).After(r.From) && a.Size < l.size && a.Size > best.Size {
				best, ok = a, true
			}
		}
		if i == 0 {
			break
		}
	}
	return best, ok
}

// after finds the first receipt, of those that are looked at, that reports a proof later than a range's time.
func (l *timeline) after(r receipt.Range) (best anchor.Anchored, report vaultmesh.LogIndex, ok bool) {
	for ahead := time.Duration(0); ahead <= farAnchor && !ok && l.err == nil; ahead = max(nearAnchor, 2*ahead) {
		i := l.find(r.Until.Add(ahead))
		for _, a := range l.covering(min(i, int(l.size)-1)) {
			if a.Time.Add(-slack(a)).Before(r.Until) {
				continue
			}
			if k, found := l.report(a); found && (!ok || k < report) {
				best, report, ok = a, k, true
			}
		}
		if i == int(l.size) {
			break
		}
	}
	return best, report, ok
}

func (l *timeline) covering(i int) []anchor.Anchored {
	list, err := l.b.n.anchors.AnchorsCovering(vaultmesh.LogIndex(i))
	l.err = errors.Join(l.err, err)
	return list
}

// report finds the receipt that says that an anchor was verified.
func (l *timeline) report(a anchor.Anchored) (vaultmesh.LogIndex, bool) {
	indexes, err := l.b.n.log.SubjectSince(receipt.AnchorSubject(a.Target), vaultmesh.LogIndex(a.Size), aroundPlace)
	if err != nil {
		l.err = errors.Join(l.err, err)
		return 0, false
	}
	for _, i := range indexes {
		raw, err := l.b.n.log.Receipt(i)
		if err != nil {
			l.err = errors.Join(l.err, err)
			return 0, false
		}
		x, err := receipt.Open(raw)
		if err != nil || x.Kind != receipt.AnchorVerified || uint64(i) >= l.size {
			continue
		}
		if body, err := receipt.ReadBody[receipt.AnchorBody](&x); err == nil && body.Size == a.Size && body.Proof == vaultmesh.Sum(a.Proof) {
			return i, true
		}
	}
	return 0, false
}
