package lawchain

import (
	"bytes"
	"encoding/binary"
	"errors"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Stored reads the records of a log in a journal as they are, without a key and without trust in them: for publication
// and for checks. The slices that the functions are given are valid only during the call.
type Stored struct{ r journal.Reader }

// NewStored returns the log's records in r.
func NewStored(r journal.Reader) Stored { return Stored{r} }

// Stored gives access to the records of the log, those of commits that are not yet durable among them: callers stay
// below the size of a checkpoint that [Log.Checkpoint] has shown.
func (l *Log) Stored() Stored { return Stored{l.reader()} }

// Grown receives a value when a newer durable checkpoint may exist. It has one receiver: the publisher.
func (l *Log) Grown() <-chan struct{} { return l.notify }

// Checkpoint returns the latest signed note; ok is false where there is none.
func (s Stored) Checkpoint() (signed []byte, ok bool, err error) { return s.r.Get(keyCheckpoint) }

// Entries calls fn for the receipts with indexes in [from, to) in ascending order until fn returns false or an error.
// Missing ones are passed over: the caller sees it by the index.
func (s Stored) Entries(from, to uint64, fn func(index uint64, envelope []byte) (bool, error)) error {
	prefix := keyEntry(0)[:4]
	return s.numbered(prefix, from, to, fn)
}

// Nodes calls fn for the hashes of complete nodes of a level of the tree with indexes in [from, to), level 0 being the
// leaves, as Entries does. The levels are 0, 8, 16 and so on.
func (s Stored) Nodes(level uint, from, to uint64, fn func(index uint64, hash []byte) (bool, error)) error {
	if level == 0 {
		return s.leaves(from, to, fn)
	}
	prefix := keyNode(level, 0)[:5]
	return s.numbered(prefix, from, to, fn)
}

// leaves reads leaf hashes: a tile of them is one record. Those of the last, incomplete tile have none, and are made from
// the receipts.
func (s Stored) leaves(from, to uint64, fn func(index uint64, hash []byte) (bool, error)) error {
	next, more, err := s.wholeTiles(from, to, fn)
	if err != nil || !more || next >= to || next%tileWidth == 0 && next+tileWidth <= to {
		return err
	}
	_, complete, err := s.r.Get(keyEntry(next | (tileWidth - 1)))
	if err != nil {
		return err
	}
	if complete { // since just now, unless its record is damaged
		_, _, err = s.wholeTiles(next, to, fn)
		return err
	}
	return s.Entries(next, to, func(i uint64, envelope []byte) (bool, error) {
		leaf := receipt.LeafHash(envelope)
		return fn(i, leaf[:])
	})
}

// wholeTiles reads the leaf hashes of complete tiles, and returns the index behind the last that it gave.
func (s Stored) wholeTiles(from, to uint64, fn func(index uint64, hash []byte) (bool, error)) (next uint64, more bool, err error) {
	const size = len(vaultmesh.Digest{})
	next, more = from, true
	err = s.numbered(keyNode(0, 0)[:5], from-from%tileWidth, to, func(first uint64, v []byte) (bool, error) {
		if len(v)%size != 0 || len(v) > tileWidth*size {
			return true, nil // the caller sees that they are missing
		}
		for i := first; len(v) > 0 && i < to; i, v = i+1, v[size:] {
			if i < next {
				continue // before from, or by a record of an earlier development version
			}
			next = i + 1
			var err error
			if more, err = fn(i, v[:size]); err != nil || !more {
				return false, err
			}
		}
		return true, nil
	})
	return next, more, err
}

func (s Stored) numbered(prefix []byte, from, to uint64, fn func(uint64, []byte) (bool, error)) error {
	lo := binary.BigEndian.AppendUint64(bytes.Clone(prefix), from)
	hi := binary.BigEndian.AppendUint64(bytes.Clone(prefix), to)
	return s.r.Scan(lo, hi, func(k, v []byte) (bool, error) {
		if len(k) != len(prefix)+8 {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.read", "", "a key of %d bytes in the place of a number", len(k))
		}
		return fn(binary.BigEndian.Uint64(k[len(prefix):]), v)
	})
}

// Heads calls fn for the end of every subject's chain: how many receipts it has, and where and what its last one is.
func (s Stored) Heads(fn func(subject string, count uint64, last vaultmesh.LogIndex, leaf vaultmesh.Digest) (bool, error)) error {
	prefix := keyHead("")
	return s.r.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
		h, ok := decodeHead(v)
		if !ok {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.read", string(k[len(prefix):]), "the head of the subject's chain is damaged")
		}
		return fn(string(k[len(prefix):]), h.count, h.index, h.leaf)
	})
}

// Positions calls fn for every receipt of every subject: its number in the subject's chain and its index in the log; for
// those of the last, incomplete tile there is no record.
func (s Stored) Positions(fn func(subject string, seq uint64, index vaultmesh.LogIndex) (bool, error)) error {
	prefix := []byte("l/i/")
	return s.r.Scan(prefix, after(prefix), func(k, v []byte) (more bool, err error) {
		rest := k[len(prefix):]
		if len(rest) < 9 || rest[len(rest)-9] != 0 {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.read", "", "an index of a subject is damaged")
		}
		subject, failed := string(rest[:len(rest)-9]), error(nil)
		more, err = positions(subject, binary.BigEndian.Uint64(rest[len(rest)-8:]), v, func(seq, index uint64) bool {
			var more bool
			more, failed = fn(subject, seq, vaultmesh.LogIndex(index))
			return more && failed == nil
		})
		return more, errors.Join(err, failed)
	})
}

// after is the first key behind all that begin with prefix, whose last byte is a slash.
func after(prefix []byte) []byte {
	k := bytes.Clone(prefix)
	k[len(k)-1]++
	return k
}
