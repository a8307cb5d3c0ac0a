// Package rlp owns Ethereum's Recursive Length Prefix encoding: a strict reader that accepts only the one canonical form
// of a value, and the functions that write it. It is on floor 1 and pure.
//
// It must not know what the values mean. Reading is lazy and allocates nothing but the slice of a list's items: depth is
// bounded by the caller, who opens one level at a time and says how many items it may have.
//
// Source: Ethereum Yellow Paper, appendix B; ethereum.org, "Recursive-length prefix (RLP) serialization".
package rlp

import (
	"encoding/binary"
	"math/bits"

	"vaultmesh.org/vaultmesh"
)

// Item is one value, a string of bytes or a list, as it lies in the input. It shares the input's memory.
type Item struct {
	List bool
	Raw  []byte // the whole encoding with its prefix
	Body []byte // the string, or the encodings of the list's items one after the other
}

func errorf(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "rlp", "", format, args...)
}

// Decode reads the one item of which b consists. Errors are of kind Invalid.
func Decode(b []byte) (Item, error) {
	it, rest, err := Split(b)
	if err == nil && len(rest) > 0 {
		err = errorf("%d bytes follow the value", len(rest))
	}
	return it, err
}

// Split reads the first item of b and returns it with what follows. The items of a list are not looked at.
func Split(b []byte) (it Item, rest []byte, err error) {
	if len(b) == 0 {
		return Item{}, nil, errorf("a value is missing")
	}
	p := b[0]
	switch {
	case p < 0x80:
		return Item{Raw: b[:1:1], Body: b[:1:1]}, b[1:], nil
	case p < 0xb8:
		it, rest, err = take(b, 1, uint64(p-0x80))
		if err == nil && len(it.Body) == 1 && it.Body[0] < 0x80 {
			err = errorf("a single byte below 128 stands for itself and must have no prefix")
		}
	case p < 0xc0:
		it, rest, err = takeLong(b, int(p-0xb7))
	case p < 0xf8:
		it, rest, err = take(b, 1, uint64(p-0xc0))
	default:
		it, rest, err = takeLong(b, int(p-0xf7))
	}
	if err != nil {
		return Item{}, nil, err
	}
	it.List = p >= 0xc0
	return it, rest, nil
}

// takeLong reads an item whose length follows its prefix in width bytes.
func takeLong(b []byte, width int) (Item, []byte, error) {
	if len(b) < 1+width {
		return Item{}, nil, errorf("the input ends within a length")
	}
	if b[1] == 0 {
		return Item{}, nil, errorf("a length begins with a zero byte")
	}
	var n uint64
	for _, c := range b[1 : 1+width] {
		n = n<<8 | uint64(c)
	}
	if n < 56 {
		return Item{}, nil, errorf("a length of %d must be part of the prefix", n)
	}
	return take(b, 1+width, n)
}

func take(b []byte, head int, n uint64) (Item, []byte, error) {
	if n > uint64(len(b)-head) {
		return Item{}, nil, errorf("a value of %d bytes is announced, %d are left", n, len(b)-head)
	}
	end := head + int(n)
	return Item{Raw: b[:end:end], Body: b[head:end:end]}, b[end:], nil
}

// Items opens a list of at most limit items.
func (it Item) Items(limit int) ([]Item, error) {
	if !it.List {
		return nil, errorf("want a list, found a string of %d bytes", len(it.Body))
	}
	items := make([]Item, 0, min(limit, 17))
	for rest := it.Body; len(rest) > 0; {
		if len(items) == limit {
			return nil, errorf("a list has more than %d items", limit)
		}
		var next Item
		var err error
		if next, rest, err = Split(rest); err != nil {
			return nil, err
		}
		items = append(items, next)
	}
	return items, nil
}

// Bytes returns a string; size is its exact length, or -1 for any.
func (it Item) Bytes(size int) ([]byte, error) {
	if it.List {
		return nil, errorf("want a string, found a list")
	}
	if size >= 0 && len(it.Body) != size {
		return nil, errorf("want a string of %d bytes, found %d", size, len(it.Body))
	}
	return it.Body, nil
}

// Uint reads an integer below 2^64: big-endian, without leading zero bytes, zero being the empty string.
func (it Item) Uint() (uint64, error) {
	b, err := it.Bytes(-1)
	if err != nil {
		return 0, err
	}
	if len(b) > 8 {
		return 0, errorf("an integer of %d bytes, at most 8", len(b))
	}
	if len(b) > 0 && b[0] == 0 {
		return 0, errorf("an integer begins with a zero byte")
	}
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n, nil
}

// AppendBytes appends s as a string.
func AppendBytes(b, s []byte) []byte {
	if len(s) == 1 && s[0] < 0x80 {
		return append(b, s[0])
	}
	return append(appendHead(b, 0x80, len(s)), s...)
}

// AppendUint appends an integer.
func AppendUint(b []byte, n uint64) []byte {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], n)
	return AppendBytes(b, buf[bits.LeadingZeros64(n)/8:])
}

// AppendInt appends a big-endian integer of any size without its leading zero bytes.
func AppendInt(b, n []byte) []byte {
	for len(n) > 0 && n[0] == 0 {
		n = n[1:]
	}
	return AppendBytes(b, n)
}

// AppendList appends a list; body holds the encodings of its items one after the other.
func AppendList(b, body []byte) []byte {
	return append(appendHead(b, 0xc0, len(body)), body...)
}

func appendHead(b []byte, base byte, n int) []byte {
	if n < 56 {
		return append(b, base+byte(n))
	}
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], uint64(n))
	length := buf[bits.LeadingZeros64(uint64(n))/8:]
	return append(append(b, base+55+byte(len(length))), length...)
}
