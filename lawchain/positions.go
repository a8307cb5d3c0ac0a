package lawchain

import (
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Where the receipts of a subject are is written once for each tile in which it has any: under the number of the first
// of them in the subject's chain, the index of that one (8 bytes), and of each further one its place within the tile (1).

// positions calls fn for the receipts of a record, which is under number seq of the subject's chain.
func positions(subject string, seq uint64, v []byte, fn func(seq, index uint64) bool) (more bool, err error) {
	if len(v) < 8 || len(v) > 8+tileWidth-1 {
		return false, damagedPositions(subject)
	}
	index := binary.BigEndian.Uint64(v)
	if !fn(seq, index) {
		return false, nil
	}
	for i, b := range v[8:] {
		next := index - index%tileWidth + uint64(b)
		if next <= index {
			return false, damagedPositions(subject)
		}
		index = next
		if !fn(seq+uint64(i)+1, index) {
			return false, nil
		}
	}
	return true, nil
}

func damagedPositions(subject string) error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "receipt.subject", subject, "the index of the subject is damaged")
}

// chainFrom calls fn for the receipts of a subject from number from on, ascending without a gap, until fn returns false.
// Those of commits that are not yet durable are among them.
func (l *Log) chainFrom(r journal.Reader, subject string, from uint64, fn func(seq, index uint64) bool) error {
	type position struct{ seq, index uint64 }
	var newest []position
	l.tail.each(func(i uint64, r *row) {
		if r.subject == subject && r.seq >= from {
			newest = append(newest, position{r.seq, i})
		}
	})
	next, more, gap := from, true, false
	give := func(seq, index uint64) bool {
		if seq < next {
			return true // before from, or seen
		}
		if seq > next {
			more, gap = false, true
			return false
		}
		next++
		more = fn(seq, index)
		return more
	}
	lo := keySubject(subject, from-min(from, tileWidth-1))
	hi := append(keySubject(subject, 0)[:len(lo)-9], 1)
	err := r.Scan(lo, hi, func(k, v []byte) (bool, error) {
		if len(k) != len(lo) {
			return false, damagedPositions(subject)
		}
		return positions(subject, binary.BigEndian.Uint64(k[len(k)-8:]), v, give)
	})
	for i := 0; err == nil && more && i < len(newest); i++ {
		more = give(newest[i].seq, newest[i].index)
	}
	if err == nil && gap {
		err = damagedPositions(subject)
	}
	return err
}

// subjectIndex returns the log index of the receipt with a number in its subject's chain.
func (l *Log) subjectIndex(r journal.Reader, subject string, seq uint64) (index uint64, err error) {
	found := false
	err = l.chainFrom(r, subject, seq, func(_, i uint64) bool {
		index, found = i, true
		return false
	})
	if err == nil && !found {
		err = damagedPositions(subject)
	}
	return index, err
}

// seqOf returns the number of the first receipt of a subject's chain of count receipts whose log index is at least index.
func (l *Log) seqOf(r journal.Reader, subject string, count, index uint64) (uint64, error) {
	lo, hi := uint64(0), count
	for lo < hi {
		middle := lo + (hi-lo)/2
		i, err := l.subjectIndex(r, subject, middle)
		if err != nil {
			return 0, err
		}
		if i < index {
			lo = middle + 1
		} else {
			hi = middle
		}
	}
	return lo, nil
}

// Subject returns the indexes of a subject's receipts from number from on, in order, at most limit.
func (l *Log) Subject(subject string, from uint64, limit int) ([]vaultmesh.LogIndex, error) {
	var out []vaultmesh.LogIndex
	size := uint64(0)
	if cp := l.Checkpoint(); cp != nil {
		size = cp.Size
	}
	err := l.chainFrom(l.reader(), subject, from, func(_, i uint64) bool {
		if i >= size {
			return false // applied, not yet durable
		}
		out = append(out, vaultmesh.LogIndex(i))
		return len(out) < limit
	})
	return out, err
}

// SubjectSince returns the indexes of a subject's receipts that are at least index, in order, at most limit. It reads
// what it returns and little more, however long the subject's chain is.
func (l *Log) SubjectSince(subject string, index vaultmesh.LogIndex, limit int) ([]vaultmesh.LogIndex, error) {
	seq, err := l.firstSince(subject, uint64(index))
	if err != nil {
		return nil, err
	}
	return l.Subject(subject, seq, limit)
}

// SubjectUntil returns the last indexes of a subject's receipts that are at most index, in order, at most limit. It reads
// what it returns and little more, however long the subject's chain is.
func (l *Log) SubjectUntil(subject string, index vaultmesh.LogIndex, limit int) ([]vaultmesh.LogIndex, error) {
	end, err := l.firstSince(subject, uint64(index)+1)
	if err != nil || end == 0 {
		return nil, err
	}
	n := min(end, uint64(limit))
	return l.Subject(subject, end-n, int(n))
}

// firstSince returns the number in its subject's chain of the first receipt with at least the index, and how many there
// are where there is none.
func (l *Log) firstSince(subject string, index uint64) (uint64, error) {
	v, ok, err := l.reader().Get(keyHead(subject))
	if err != nil || !ok {
		return 0, err
	}
	h, ok := decodeHead(v)
	if !ok {
		return 0, vaultmesh.Errorf(vaultmesh.Corrupt, "receipt.subject", subject, "the head of the subject is damaged")
	}
	return l.seqOf(l.reader(), subject, h.count, index)
}
