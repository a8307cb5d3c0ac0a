package lawchain

import (
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
)

// Keys of the log in the journal. Numbers are eight bytes big-endian, so that scans are in order.
//
//	l/e/<index>            receipt: the exact envelope bytes
//	l/n/<0><index>         the leaf hashes of a complete tile, 256 in a row, under the index of its first leaf
//	l/n/<level><index>     hash of a complete node of the tree, at the levels 8, 16 and so on (the bottoms of C2SP tiles)
//	l/s/<subject>          head of a subject's own chain: count, index and leaf of its last receipt
//	l/i/<subject>\0<seq>   where the receipts of the subject are that a complete tile has, from that number on: see positions
//	l/f/                   what searches read: see search_index.go
//	l/c                    the latest checkpoint
//	l/j/                   anchors: see package anchor
//	l/q/                   once held a search index; deleted
//
// What belongs to a complete tile is written in the commit that completes it; the last tile's is in memory: see tail.
var keyCheckpoint = []byte("l/c")

func keyEntry(i uint64) []byte { return binary.BigEndian.AppendUint64([]byte("l/e/"), i) }

func keyNode(level uint, i uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("l/n/"), byte(level)), i)
}

func keyHead(subject string) []byte { return append([]byte("l/s/"), subject...) }

func keySubject(subject string, seq uint64) []byte {
	k := make([]byte, 0, len(subject)+13)
	k = append(append(append(k, "l/i/"...), subject...), 0)
	return binary.BigEndian.AppendUint64(k, seq)
}

// head is the end of a subject's chain.
type head struct {
	count uint64 // receipts so far
	index vaultmesh.LogIndex
	leaf  vaultmesh.Digest
}

const headSize = 8 + 8 + 32

func (h head) encode() []byte {
	b := make([]byte, 0, headSize)
	b = binary.BigEndian.AppendUint64(b, h.count)
	b = binary.BigEndian.AppendUint64(b, uint64(h.index))
	return append(b, h.leaf[:]...)
}

func decodeHead(b []byte) (head, bool) {
	if len(b) != headSize {
		return head{}, false
	}
	h := head{count: binary.BigEndian.Uint64(b), index: vaultmesh.LogIndex(binary.BigEndian.Uint64(b[8:]))}
	copy(h.leaf[:], b[16:])
	return h, true
}
