package lawchain

import (
	"strconv"
	"strings"
	"sync"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// maxTouched bounds the subjects that are remembered between two roots of the state tree.
const maxTouched = 1 << 16

// touched remembers which subjects of the state tree got receipts. It is fed by Append, also for receipts that are
// dropped: who reads it looks at the journal for what a subject's head is.
type touched struct {
	mu       sync.Mutex
	subjects map[string]uint64 // guarded by mu: index of the latest receipt
	lost     bool              // guarded by mu: there were more
	lostAt   uint64            // guarded by mu: index of the receipt at which those before were forgotten
	solid    uint64            // guarded by mu: one above the latest receipt that is a reason for a new root
}

// reason reports whether a receipt of this kind is a reason for a new root by itself. Roots and anchors are not: each
// would cause the other, for ever.
func reason(kind string) bool {
	return kind != receipt.StateRoot && !strings.HasPrefix(kind, "anchor.")
}

func (t *touched) note(index uint64, kind, subject string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if reason(kind) {
		t.solid = index + 1
	}
	if !state.InStateTree(subject) {
		return
	}
	if t.subjects == nil {
		t.subjects = map[string]uint64{}
	}
	if _, ok := t.subjects[subject]; !ok && len(t.subjects) >= maxTouched {
		t.lost, t.lostAt = true, index
		clear(t.subjects)
	}
	t.subjects[subject] = index
}

// TakeTouched returns the subjects of the state tree that got receipts with indexes below size since the last call, and
// may name others. ok is false where they were too many to remember: then all heads must be looked at. A subject of a later
// receipt is named again. It has one caller.
func (l *Log) TakeTouched(size uint64) (subjects []string, ok bool) {
	t := &l.touched
	t.mu.Lock()
	defer t.mu.Unlock()
	ok = !t.lost
	t.lost = t.lost && t.lostAt >= size
	for s, last := range t.subjects {
		subjects = append(subjects, s)
		if last < size {
			delete(t.subjects, s)
		}
	}
	return subjects, ok
}

// Solid returns one more than the index of the latest receipt that is neither a state root nor about an anchor; 0 where
// there is none since the start of the node.
func (l *Log) Solid() uint64 {
	l.touched.mu.Lock()
	defer l.touched.mu.Unlock()
	return l.touched.solid
}

// Size returns the size of the tree under the stored checkpoint, without a look at its signature; 0 for an empty log.
func (s Stored) Size() (uint64, error) {
	raw, ok, err := s.Checkpoint()
	if err != nil || !ok {
		return 0, err
	}
	lines := strings.SplitN(string(raw), "\n", 3)
	if len(lines) == 3 {
		if size, err := strconv.ParseUint(lines[1], 10, 64); err == nil {
			return size, nil
		}
	}
	return 0, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.read", "", "the stored checkpoint has no size")
}

// Head returns the end of one subject's chain; ok is false where the subject has no receipt.
func (s Stored) Head(subject string) (count uint64, last vaultmesh.LogIndex, leaf vaultmesh.Digest, ok bool, err error) {
	v, ok, err := s.r.Get(keyHead(subject))
	if err != nil || !ok {
		return 0, 0, vaultmesh.Digest{}, false, err
	}
	h, ok := decodeHead(v)
	if !ok {
		return 0, 0, vaultmesh.Digest{}, false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.read", subject, "the head of the subject's chain is damaged")
	}
	return h.count, h.index, h.leaf, true, nil
}
