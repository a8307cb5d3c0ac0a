package crdt

import (
	"bytes"
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
)

// MaxValue is the longest value of a register, in bytes.
const MaxValue = 1 << 20

// Register is a last-writer-wins register: the value with the greatest stamp wins, and of two values with the same stamp
// the one that is greater as bytes. Registers under [Register.Merge] are a join semilattice: merging is commutative,
// associative and idempotent, so replicas that have seen the same writes hold the same value, whatever was lost and sent
// again, doubled or reordered on the way.
//
// The zero register was never written and loses against every other. A Value must not be changed once it is in a register.
type Register struct {
	Stamp Stamp
	Value []byte
}

// IsSet reports whether r was ever written.
func (r *Register) IsSet() bool { return !r.Stamp.IsZero() }

// Compare orders registers as merging prefers them.
func (r *Register) Compare(o *Register) int {
	if c := r.Stamp.compare(&o.Stamp); c != 0 || !r.IsSet() {
		return c
	}
	return bytes.Compare(r.Value, o.Value)
}

// Merge makes r the greater of r and o, and reports whether that changed r.
func (r *Register) Merge(o *Register) bool {
	if r.Compare(o) >= 0 {
		return false
	}
	*r = *o
	return true
}

// Append appends the encoding of r, which must be set: its stamp, the length of the value (unsigned varint) and the value.
func (r *Register) Append(b []byte) []byte {
	b = r.Stamp.Append(b)
	b = binary.AppendUvarint(b, uint64(len(r.Value)))
	return append(b, r.Value...)
}

// DecodeRegister reads one register from the front of b and returns what follows it. Each register has exactly one
// encoding. The value is a copy. Errors are of kind [vaultmesh.Corrupt].
func DecodeRegister(b []byte) (Register, []byte, error) {
	s, b, err := DecodeStamp(b)
	if err != nil {
		return Register{}, nil, err
	}
	n, b, err := DecodeUvarint(b)
	if err != nil {
		return Register{}, nil, err
	}
	if n > MaxValue || n > uint64(len(b)) {
		return Register{}, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "crdt.register", "", "the value has %d bytes, %d are left and the limit is %d", n, len(b), MaxValue)
	}
	return Register{Stamp: s, Value: append([]byte{}, b[:n]...)}, b[n:], nil
}

// DecodeUvarint reads an unsigned varint in its shortest form from the front of b and returns what follows it. Errors are
// of kind [vaultmesh.Corrupt].
func DecodeUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "crdt.varint", "", "cut short or longer than 64 bits")
	}
	if n > 1 && b[n-1] == 0 {
		return 0, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "crdt.varint", "", "not in its shortest form")
	}
	return v, b[n:], nil
}
