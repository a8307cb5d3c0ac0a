package twin

import (
	"encoding/binary"
	"encoding/json"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
)

// blockSize is how many registers share one record in the store and one copy in memory: a merge copies and writes only
// the blocks that it touches.
const blockSize = 16

// mark orders the messages of a twin by their source time and sequence number.
type mark struct {
	wall int64 // microseconds
	seq  uint16
	set  bool // false: no message yet
}

func markOf(m *Message) mark { return mark{m.Time.UnixMicro(), m.Seq, true} }

const markSize = crdt.WallSize + 2

func (a mark) append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(crdt.AppendWall(b, a.wall), a.seq)
}

// decodeMark undoes append; b holds at least markSize bytes.
func decodeMark(b []byte) mark {
	return mark{crdt.DecodeWall(b), binary.BigEndian.Uint16(b[crdt.WallSize:]), true}
}

func (a mark) before(b mark) bool {
	if a.set != b.set {
		return b.set
	}
	return a.wall < b.wall || a.wall == b.wall && a.seq < b.seq
}

// definition is a [Definition] with its compiled model. It is immutable.
type definition struct {
	Definition
	schema *schema
}

// state is one version of one twin. It is immutable but for the view, which is made at the first read.
type state struct {
	def     *definition
	blocks  [][]crdt.Register // by slot / blockSize, then slot % blockSize; a block without a value is nil
	desired map[string]json.RawMessage
	version uint64
	newest  mark // of the messages that changed it
	view    atomic.Pointer[Twin]
}

// with returns a copy of st, one version later.
func (st *state) with(blocks [][]crdt.Register) *state {
	return &state{def: st.def, blocks: blocks, desired: st.desired, version: st.version + 1, newest: st.newest}
}

// register returns the register of a slot; it may be unset. It must not be changed.
func (st *state) register(index int) *crdt.Register {
	if b := st.blocks[index/blockSize]; b != nil {
		return &b[index%blockSize]
	}
	return &crdt.Register{}
}

// own makes sure that the block of a slot is not shared with from, and returns the register.
func (st *state) own(from *state, index int) *crdt.Register {
	b := index / blockSize
	switch {
	case st.blocks[b] == nil:
		st.blocks[b] = make([]crdt.Register, st.blockLen(b))
	case !st.owns(from, b):
		st.blocks[b] = append([]crdt.Register(nil), st.blocks[b]...)
	}
	return &st.blocks[b][index%blockSize]
}

// owns reports whether block b differs from the one of from.
func (st *state) owns(from *state, b int) bool {
	return st.blocks[b] != nil && (from.blocks[b] == nil || &st.blocks[b][0] != &from.blocks[b][0])
}

// blockLen returns the number of slots in block b.
func (st *state) blockLen(b int) int { return min(blockSize, len(st.def.schema.slots)-b*blockSize) }

func blockCount(s *schema) int { return (len(s.slots) + blockSize - 1) / blockSize }

// A register's value is one byte of quality and the JSON text.

func valueOf(r *crdt.Register) Value {
	return Value{V: json.RawMessage(r.Value[1:len(r.Value):len(r.Value)]), Q: Quality(r.Value[0]), T: r.Stamp.Time()}
}

func (st *state) seen() time.Time {
	if !st.newest.set {
		return time.Time{}
	}
	return time.UnixMicro(st.newest.wall).UTC()
}

// twin returns the public view of st. It is made once and shared by all readers.
func (st *state) twin() Twin {
	if v := st.view.Load(); v != nil {
		return *v
	}
	v := st.build()
	st.view.Store(v)
	return *v
}

// build makes a view that is not kept.
func (st *state) build() *Twin {
	v := &Twin{Definition: st.def.Definition, Desired: st.desired, Version: st.version, Seen: st.seen()}
	var n [2]int
	for i := range st.def.schema.slots {
		if st.register(i).IsSet() {
			n[st.def.schema.slots[i].kind]++
		}
	}
	if n[property] > 0 {
		v.Reported = make(map[string]Value, n[property])
	}
	if n[telemetry] > 0 {
		v.Telemetry = make(map[string]Value, n[telemetry])
	}
	for i := range st.def.schema.slots {
		sl, r := &st.def.schema.slots[i], st.register(i)
		switch {
		case !r.IsSet():
		case sl.kind == property:
			v.Reported[sl.name] = valueOf(r)
		default:
			v.Telemetry[sl.name] = valueOf(r)
		}
	}
	return v
}

// blockFormat is the first byte of a stored block.
const blockFormat = 1

// encodeBlock appends block b of st: format (1 byte), version of the twin (varint), its newest mark (8 and 2 bytes), the
// number of registers (varint), and for each its kind (1 byte), the length of its name (varint), the name, and the register.
func (st *state) encodeBlock(out []byte, b int) []byte {
	out = append(out, blockFormat)
	out = binary.AppendUvarint(out, st.version)
	out = st.newest.append(out)
	n := 0
	for i := range st.blocks[b] {
		if st.blocks[b][i].IsSet() {
			n++
		}
	}
	out = binary.AppendUvarint(out, uint64(n))
	for i := range st.blocks[b] {
		if r := &st.blocks[b][i]; r.IsSet() {
			sl := &st.def.schema.slots[b*blockSize+i]
			out = append(out, byte(sl.kind))
			out = binary.AppendUvarint(out, uint64(len(sl.name)))
			out = append(out, sl.name...)
			out = r.Append(out)
		}
	}
	return out
}

// blockBound is at least the length of the encoding of block b.
func (st *state) blockBound(b int) int {
	n := 1 + binary.MaxVarintLen64 + crdt.WallSize + 2 + binary.MaxVarintLen64
	for i := range st.blocks[b] {
		if r := &st.blocks[b][i]; r.IsSet() {
			n += 1 + 2*binary.MaxVarintLen32 + len(st.def.schema.slots[b*blockSize+i].name) + crdt.WallSize + 3 + len(r.Stamp.Node) + len(r.Value)
		}
	}
	return n
}

type namedRegister struct {
	kind kind
	name string
	crdt.Register
}

type storedBlock struct {
	version   uint64
	newest    mark
	registers []namedRegister
}

// decodeBlock undoes encodeBlock, strictly. Errors are of kind Corrupt.
func decodeBlock(b []byte) (storedBlock, error) {
	var out storedBlock
	bad := func(detail string) (storedBlock, error) {
		return storedBlock{}, vaultmesh.Errorf(vaultmesh.Corrupt, "twin.state", "", "%s", detail)
	}
	if len(b) == 0 || b[0] != blockFormat {
		return bad("unknown format")
	}
	version, b, err := crdt.DecodeUvarint(b[1:])
	if err != nil {
		return bad("bad version")
	}
	out.version = version
	if len(b) < markSize {
		return bad("cut short")
	}
	out.newest = decodeMark(b)
	count, b, err := crdt.DecodeUvarint(b[markSize:])
	if err != nil || count > blockSize {
		return bad("bad number of registers")
	}
	for range count {
		if len(b) == 0 || kind(b[0]) > telemetry {
			return bad("bad kind")
		}
		k := kind(b[0])
		size, rest, err := crdt.DecodeUvarint(b[1:])
		if err != nil || size == 0 || size > uint64(len(rest)) {
			return bad("bad name")
		}
		r := namedRegister{kind: k, name: string(rest[:size])}
		if n := len(out.registers); n > 0 && out.registers[n-1].name >= r.name {
			return bad("names out of order")
		}
		if r.Register, b, err = crdt.DecodeRegister(rest[size:]); err != nil {
			return storedBlock{}, vaultmesh.Wrap(err, "twin.state", "")
		}
		if len(r.Value) < 2 || int(r.Value[0]) >= len(qualityNames) || !json.Valid(r.Value[1:]) {
			return bad("bad value")
		}
		out.registers = append(out.registers, r)
	}
	if len(b) > 0 {
		return bad("bytes after the end")
	}
	return out, nil
}
