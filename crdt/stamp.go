package crdt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Stamp is a reading of a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): the wall clock, a
// counter for events within one microsecond, and the name of the clock, which breaks the ties between two clocks. Stamps
// are totally ordered, and no two events of one clock have the same stamp.
type Stamp struct {
	Wall    int64  // microseconds since 1970-01-01T00:00:00Z
	Counter uint16 // orders events with the same Wall
	Node    string // the node or device that made the stamp: 1..[vaultmesh.MaxID] bytes; empty: never stamped
}

// StampOf returns the stamp of an event at t (truncated to microseconds) that node counted as counter.
func StampOf(t time.Time, counter uint16, node string) Stamp {
	return Stamp{Wall: t.UnixMicro(), Counter: counter, Node: node}
}

// IsZero reports whether s was never stamped. Such a stamp is before every other.
func (s Stamp) IsZero() bool { return s.Node == "" }

// Time returns the wall part of s in UTC.
func (s Stamp) Time() time.Time { return time.UnixMicro(s.Wall).UTC() }

// Compare orders stamps by Wall, then Counter, then Node; a stamp that was never made comes first.
func (s Stamp) Compare(o Stamp) int { return s.compare(&o) }

func (s *Stamp) compare(o *Stamp) int {
	if s.Node == "" || o.Node == "" {
		return cmp.Compare(len(s.Node), len(o.Node))
	}
	if s.Wall != o.Wall {
		return cmp.Compare(s.Wall, o.Wall)
	}
	if s.Counter != o.Counter {
		return cmp.Compare(s.Counter, o.Counter)
	}
	return strings.Compare(s.Node, o.Node)
}

func (s Stamp) String() string {
	return fmt.Sprintf("%s+%d@%s", s.Time().Format("2006-01-02T15:04:05.000000Z"), s.Counter, s.Node)
}

// WallSize is the length of an encoded wall time.
const WallSize = 8

// AppendWall appends wall as 8 bytes whose order as bytes is the order in time, before 1970 included.
func AppendWall(b []byte, wall int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(wall)^(1<<63))
}

// DecodeWall undoes [AppendWall]; b holds at least [WallSize] bytes.
func DecodeWall(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(b) ^ (1 << 63))
}

// Append appends the encoding of s: the wall time as [AppendWall] writes it, the counter (2 bytes, big endian), the length
// of the name (1 byte) and the name. The stamp must not be zero and its name not longer than [vaultmesh.MaxID].
func (s Stamp) Append(b []byte) []byte {
	b = AppendWall(b, s.Wall)
	b = binary.BigEndian.AppendUint16(b, s.Counter)
	b = append(b, byte(min(len(s.Node), vaultmesh.MaxID)))
	return append(b, s.Node[:min(len(s.Node), vaultmesh.MaxID)]...)
}

// DecodeStamp reads one stamp from the front of b and returns what follows it. Each stamp has exactly one encoding.
// Errors are of kind [vaultmesh.Corrupt].
func DecodeStamp(b []byte) (Stamp, []byte, error) {
	const fixed = WallSize + 2 + 1
	if len(b) < fixed {
		return Stamp{}, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "crdt.stamp", "", "%d bytes left, want at least %d", len(b), fixed)
	}
	n := int(b[fixed-1])
	if n == 0 || n > vaultmesh.MaxID {
		return Stamp{}, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "crdt.stamp", "", "the name has %d bytes, want 1 to %d", n, vaultmesh.MaxID)
	}
	if len(b) < fixed+n {
		return Stamp{}, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "crdt.stamp", "", "the name has %d bytes, only %d are left", n, len(b)-fixed)
	}
	s := Stamp{Wall: DecodeWall(b), Counter: binary.BigEndian.Uint16(b[WallSize:]), Node: string(b[fixed : fixed+n])}
	return s, b[fixed+n:], nil
}

// DriftError says that a stamp lies too far in the future to be believed.
type DriftError struct {
	Ahead time.Duration // how far ahead of the reader's clock
	Max   time.Duration // what is allowed
}

func (e *DriftError) Error() string {
	if e.Ahead > 365*24*time.Hour {
		return fmt.Sprintf("the time is more than a year ahead of this node's clock, the limit is %s", e.Max)
	}
	return fmt.Sprintf("the time is %s ahead of this node's clock, the limit is %s", e.Ahead, e.Max)
}

// CheckDrift returns a [*DriftError] if wall (microseconds since 1970) is more than limit ahead of now. One clock that runs
// ahead would otherwise win every register until the others catch up.
func CheckDrift(wall int64, now time.Time, limit time.Duration) error {
	at := now.UnixMicro()
	if wall <= at {
		return nil
	}
	ahead := time.Duration(math.MaxInt64)
	if d := wall - at; d > 0 && d <= math.MaxInt64/int64(time.Microsecond) {
		ahead = time.Duration(d) * time.Microsecond
	}
	if ahead > limit {
		return &DriftError{Ahead: ahead, Max: limit}
	}
	return nil
}
