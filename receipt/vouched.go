package receipt

import (
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

// vouch is a time for which a root vouches for a key without a gap.
type vouch struct {
	from  uint64    // index of the statement with which it begins
	last  uint64    // index of the newest statement, which renewed it
	until time.Time // end of what is vouched for
}

// vouch takes up that a root vouches at an index and a time for what follows until another. Delegations that meet become
// one, so that there is one for each time that the root was away for too long, however often it renewed.
func (k *Key) vouch(index uint64, at, until time.Time) {
	if until.After(k.Expires) {
		k.Expires = until
	}
	n := len(k.vouched)
	if n == 0 || at.After(k.vouched[n-1].until) {
		k.vouched = append(slices.Clip(k.vouched), vouch{index, index, until})
		return
	}
	k.vouched = slices.Clone(k.vouched) // histories that were made before share it
	v := &k.vouched[n-1]
	if v.last = index; until.After(v.until) {
		v.until = until
	}
}

// Ended reports whether what roots had said by an index of the log, that receipt among it, was over at a time that a
// receipt there claims, and when it ended. A key for which no root vouched by then has no end.
func (k *Key) Ended(index vaultmesh.LogIndex, at time.Time) (end time.Time, ended bool) {
	for _, v := range k.vouched {
		if v.from <= uint64(index) && v.until.After(end) {
			end = v.until
		}
	}
	return end, !end.IsZero() && at.After(end)
}

// Vouched returns the index of the newest statement of a root that vouches for the key.
func (k *Key) Vouched() (index vaultmesh.LogIndex, ok bool) {
	if n := len(k.vouched); n > 0 {
		return vaultmesh.LogIndex(k.vouched[n-1].last), true
	}
	return 0, false
}
