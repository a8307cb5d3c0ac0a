package twin

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
)

// The keys of this package in the journal. An identifier holds no zero byte, so 0x00 ends it and the order of the keys is
// the order of the identifiers.
//
//	t/d/<twin>                                definition: the JSON of [Definition], see encodeDefinition
//	t/s/<twin> 00 <block: 2 bytes>            state: up to 16 registers, see encodeBlock
//	t/w/<twin>                                desired properties, see putDesired
//	t/h/<twin> 00 <time: 8><seq: 2><raw: 8>   history: log index (8), position (4), the raw bytes of one message
//
// Numbers are big endian; the time is in microseconds, encoded so that its order as bytes is the order in time
// ([crdt.AppendWall]); raw stands for the first 8 bytes of the SHA-256 of the raw bytes.
const (
	definitionPrefix = "t/d/"
	blockPrefix      = "t/s/"
	desiredPrefix    = "t/w/"
	historyPrefix    = "t/h/"
)

func definitionKey(id vaultmesh.TwinID) []byte { return []byte(definitionPrefix + string(id)) }

func desiredKey(id vaultmesh.TwinID) []byte { return []byte(desiredPrefix + string(id)) }

func blockKey(id vaultmesh.TwinID, block int) []byte {
	return appendBlockKey(make([]byte, 0, len(blockPrefix)+len(id)+3), id, block)
}

func appendBlockKey(b []byte, id vaultmesh.TwinID, block int) []byte {
	b = append(append(b, blockPrefix...), id...)
	return binary.BigEndian.AppendUint16(append(b, 0), uint16(block))
}

// after is the end of a range that holds exactly the keys that start with prefix, where prefix does not end in 0xFF.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return end
}

// recordKeySize is the length of a history key after the twin and its zero byte.
const recordKeySize = crdt.WallSize + 2 + 8

// RecordKey names one message in the history of a twin: 36 lower-case hexadecimal digits for its time, its sequence number
// and the first 8 bytes of the SHA-256 of its raw bytes.
type RecordKey string

// KeyOf returns the key of m in its twin's history.
func KeyOf(m *Message) RecordKey {
	var b [recordKeySize]byte
	return RecordKey(hex.EncodeToString(appendRecordKey(b[:0], markOf(m), vaultmesh.Sum(m.Raw))))
}

func appendRecordKey(b []byte, at mark, raw vaultmesh.Digest) []byte {
	b = crdt.AppendWall(b, at.wall)
	b = binary.BigEndian.AppendUint16(b, at.seq)
	return append(b, raw[:8]...)
}

// historyRange returns the start of the keys of a twin's history and the end of them.
func historyRange(id vaultmesh.TwinID) (lo, hi []byte) {
	lo = append([]byte(historyPrefix+string(id)), 0)
	return lo, after(lo)
}

// historyAt returns the first possible key of a twin's history at or after wall.
func historyAt(id vaultmesh.TwinID, wall int64) []byte {
	return crdt.AppendWall(append([]byte(historyPrefix+string(id)), 0), wall)
}

// bytes returns the binary form of k, or an error of kind Invalid.
func (k RecordKey) bytes() ([]byte, error) {
	b, err := hex.DecodeString(string(k))
	if err != nil || len(b) != recordKeySize || strings.ToLower(string(k)) != string(k) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "twin.record", fmt.Sprintf("%.40q", string(k)), "not a record key").WithFix("want the %d lower-case hexadecimal digits of a history point", 2*recordKeySize)
	}
	return b, nil
}
