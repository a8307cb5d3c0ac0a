package twin

import (
	"bytes"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// What one Prune does at most, so that it does not hold up the lane.
const (
	pruneRecords = 4096
	pruneTwins   = 256
)

// Prune deletes the history before the given time in the commit of tx. It does a bounded part of the work, twin after
// twin, and reports whether more is left: call it again, in an operation of its own, until none is. The present state is
// not touched. Once a message is pruned, the same message sent again counts as a new, late one: it is stored in the
// history again until the next Prune and changes no register.
func (s *Store) Prune(tx journal.Tx, before time.Time) (more bool, err error) {
	ids := s.pruneTurn()
	left := pruneRecords
	for _, id := range ids {
		n, err := pruneTwin(tx, id, before.UnixMicro(), left)
		if err != nil {
			return false, err
		}
		if left -= n; left == 0 {
			s.movePrune(tx, id)
			return true, nil
		}
	}
	if len(ids) < pruneTwins {
		s.movePrune(tx, "")
		return false, nil
	}
	s.movePrune(tx, ids[len(ids)-1]+"\x00")
	return true, nil
}

// movePrune makes the next Prune go on at the twin id, unless this one is dropped.
func (s *Store) movePrune(tx journal.Tx, id vaultmesh.TwinID) {
	old := s.pruneAt
	s.pruneAt = id
	tx.OnRollback(func() { s.pruneAt = old })
}

// pruneTurn returns the next twins from where the last Prune ended.
func (s *Store) pruneTurn() []vaultmesh.TwinID {
	s.mu.RLock()
	ids, order := s.ids, s.order
	s.mu.RUnlock()
	places := order.of(ids)
	at, _ := slices.BinarySearchFunc(places, s.pruneAt, func(p uint32, id vaultmesh.TwinID) int {
		return bytes.Compare([]byte(ids[p]), []byte(id))
	})
	out := make([]vaultmesh.TwinID, 0, pruneTwins)
	for _, p := range places[at:min(at+pruneTwins, len(places))] {
		out = append(out, ids[p])
	}
	return out
}

func pruneTwin(tx journal.Tx, id vaultmesh.TwinID, before int64, limit int) (int, error) {
	lo, _ := historyRange(id)
	var keys [][]byte
	err := tx.Scan(lo, historyAt(id, before), func(k, _ []byte) (bool, error) {
		keys = append(keys, bytes.Clone(k))
		return len(keys) < limit, nil
	})
	if err != nil {
		return 0, vaultmesh.Wrap(err, "twin.prune", string(id))
	}
	for _, k := range keys {
		tx.Delete(k)
	}
	return len(keys), nil
}
