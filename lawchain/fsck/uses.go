package fsck

import (
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// maxUses bounds the receipts that are remembered of one key, for the report; of all others it is counted that there are.
const maxUses = 16

// uses are receipts of which it is not yet known whether the key that signed them counted: what the log says later about
// the key decides. So the verdict is that of [receipt.Verify], which is shown all statements about keys at once.
type uses struct {
	first  []use
	more   uint64    // beyond those
	from   uint64    // index of the first beyond those
	latest time.Time // that any of those beyond claims
}

type use struct {
	index   uint64
	subject string
	time    time.Time
}

func (u *uses) add(i uint64, r *receipt.Receipt) {
	if len(u.first) < maxUses {
		u.first = append(u.first, use{i, r.Subject, r.Time})
		return
	}
	if u.more++; u.more == 1 {
		u.from = i
	}
	if r.Time.After(u.latest) {
		u.latest = r.Time
	}
}

// judged decides, by what the log has said so far, about the receipts that the keys signed: that of a pinned key was not
// introduced before, or that its delegation had ended then. last says that nothing follows.
func (j *judge) judged(last bool) {
	for _, k := range j.keys.history.Keys(receipt.PurposeReceipt) {
		id := receipt.KeyID(k.Public)
		if u := j.early[id]; u != nil && k.From > 0 {
			delete(j.early, id)
			j.undo(u, "the key counts from index %d on, and signed this before", k.From)
		}
		u := j.late[id]
		if u == nil {
			continue
		}
		keep := u.first[:0]
		for _, x := range u.first {
			if _, ended := k.Ended(vaultmesh.LogIndex(x.index), x.time); ended {
				keep = append(keep, x)
			}
		}
		u.first = keep
		end, ended := k.Ended(vaultmesh.LogIndex(u.from), u.latest)
		if !ended {
			u.more = 0
		}
		if len(keep) > 0 {
			end, _ = k.Ended(vaultmesh.LogIndex(keep[0].index), keep[0].time)
		}
		if len(u.first) == 0 && u.more == 0 {
			delete(j.late, id)
		} else if last {
			delete(j.late, id)
			j.undo(u, "the delegation of the key ended at %s, before this", end.Format(time.RFC3339))
		}
	}
}

// undo reports receipts that were taken for signed by a key that counts.
func (j *judge) undo(u *uses, format string, args ...any) {
	for _, x := range u.first {
		j.found.receipt(checkSignatures, x.index, x.subject, format, args...)
	}
	j.signed -= uint64(len(u.first)) + u.more
	if u.more > 0 {
		j.found.damage(checkSignatures, "keys", "%d more receipts: "+format, append([]any{u.more}, args...)...)
	}
}

// note remembers a receipt that a pinned key signed which the log has not introduced so far, and one that claims a time
// after the end of its key's delegation: that may be prolonged later in the log.
func (j *judge) note(i uint64, r *receipt.Receipt) error {
	k, err := j.keys.history.ReceiptKey(r.KeyID, vaultmesh.LogIndex(i), r.Time)
	if err == nil && k.Pinned && k.From == 0 {
		of(j.early, r.KeyID).add(i, r)
	}
	if err == nil {
		return nil
	}
	for _, k := range j.keys.history.Keys(receipt.PurposeReceipt) {
		if receipt.KeyID(k.Public) == r.KeyID && i >= k.From && (k.Until == 0 || i < k.Until) {
			of(j.late, r.KeyID).add(i, r)
			return nil
		}
	}
	return err
}

func of(m map[string]*uses, key string) *uses {
	u := m[key]
	if u == nil {
		u = &uses{}
		m[key] = u
	}
	return u
}
