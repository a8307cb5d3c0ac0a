package lawchain

import (
	"bytes"
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Keys of cosigned checkpoints in the journal:
//
//	l/w/<size>  root, then the signed note with the witnesses' lines
//	l/wl        size of the newest of them
var (
	keyCosigned       = []byte("l/w/")
	keyCosignedLatest = []byte("l/wl")
)

func keyCosignedAt(size uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(keyCosigned), size)
}

// PutCosigned stores a checkpoint that witnesses cosigned, inside an operation of the journal. Sizes must ascend.
func PutCosigned(tx journal.Tx, cp Checkpoint) {
	tx.Put(keyCosignedAt(cp.Size), append(bytes.Clone(cp.Root[:]), cp.Note...))
	tx.Put(keyCosignedLatest, binary.BigEndian.AppendUint64(nil, cp.Size))
}

// DropCosigned forgets one, inside an operation of the journal.
func DropCosigned(tx journal.Tx, size uint64) { tx.Delete(keyCosignedAt(size)) }

// Cosigned returns the smallest kept checkpoint of at least the given size that witnesses cosigned; ok is false where
// there is none.
func (l *Log) Cosigned(size uint64) (cp Checkpoint, ok bool, err error) {
	err = l.eachCosigned(size, func(found Checkpoint) bool {
		cp, ok = found, true
		return false
	})
	return cp, ok, err
}

// LatestCosigned returns the newest checkpoint that witnesses cosigned; ok is false where there is none.
func (l *Log) LatestCosigned() (cp Checkpoint, ok bool, err error) {
	v, ok, err := l.reader().Get(keyCosignedLatest)
	if err != nil || !ok {
		return cp, false, err
	}
	if len(v) != 8 {
		return cp, false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.cosigned", "", "the size of the newest is damaged")
	}
	return l.Cosigned(binary.BigEndian.Uint64(v))
}

// OldCosigned returns the sizes of all cosigned checkpoints but the newest keep of them.
func (l *Log) OldCosigned(keep int) (sizes []uint64, err error) {
	err = l.eachCosigned(0, func(cp Checkpoint) bool {
		sizes = append(sizes, cp.Size)
		return true
	})
	return sizes[:max(len(sizes)-keep, 0)], err
}

func (l *Log) eachCosigned(from uint64, fn func(Checkpoint) bool) error {
	hi := append(bytes.Clone(keyCosigned[:len(keyCosigned)-1]), '/'+1)
	return l.reader().Scan(keyCosignedAt(from), hi, func(k, v []byte) (bool, error) {
		if len(k) != len(keyCosigned)+8 || len(v) <= 32 {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.cosigned", "", "a cosigned checkpoint is damaged")
		}
		return fn(Checkpoint{Size: binary.BigEndian.Uint64(k[len(keyCosigned):]), Root: vaultmesh.Digest(v[:32]), Note: bytes.Clone(v[32:])}), nil
	})
}

// ShowOnly makes choose decide which checkpoint is published: nil publishes nothing yet. It is given the newest durable
// one. It is called before the log is published for the first time.
func (l *Log) ShowOnly(choose func(newest *Checkpoint) *Checkpoint) { l.choose = choose }

// Published returns the checkpoint up to which the log is to be published: the newest durable one, or what [Log.ShowOnly]
// chooses; nil where there is nothing to publish. The same size may come again with more signatures.
func (l *Log) Published() *Checkpoint {
	cp := l.Checkpoint()
	if l.choose == nil || cp == nil {
		return cp
	}
	return l.choose(cp)
}

// Wake tells the publisher that Published may give something new.
func (l *Log) Wake() {
	select {
	case l.notify <- struct{}{}:
	default:
	}
}
