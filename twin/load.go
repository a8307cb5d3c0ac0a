package twin

import (
	"encoding/binary"
	"fmt"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
)

// Load fills an empty store from what r holds, exactly as it was when the last commit in r was made. It runs before the
// first operation. The models of all stored twins must be there; a register whose name or kind the model no longer has is
// left in the journal and not shown.
//
// Errors: Conflict if the store is not empty, NotFound for a missing model, Corrupt for records that cannot be read.
func (s *Store) Load(r journal.Reader) error {
	const op = "twin.load"
	if s.Len() > 0 {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, "", "the store is not empty")
	}
	states := map[vaultmesh.TwinID]*state{}
	var ids []vaultmesh.TwinID
	err := scanPrefix(r, definitionPrefix, func(rest string, value []byte) error {
		d, err := s.decodeDefinition(value)
		if err != nil {
			return vaultmesh.Wrap(err, op, clip(rest))
		}
		if string(d.ID) != rest {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, clip(rest), "the definition names another twin")
		}
		states[d.ID] = &state{def: d, blocks: make([][]crdt.Register, blockCount(d.schema))}
		ids = append(ids, d.ID)
		return nil
	})
	if err != nil {
		return err
	}
	owner := func(id string) (*state, error) {
		st, ok := states[vaultmesh.TwinID(id)]
		if !ok {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, clip(id), "state without a definition")
		}
		return st, nil
	}
	err = scanPrefix(r, blockPrefix, func(rest string, value []byte) error {
		id, number, ok := strings.Cut(rest, "\x00")
		if !ok || len(number) != 2 {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, clip(rest), "malformed key")
		}
		st, err := owner(id)
		if err != nil {
			return err
		}
		b, err := decodeBlock(value)
		if err != nil {
			return vaultmesh.Wrap(err, op, fmt.Sprintf("%s block %d", id, binary.BigEndian.Uint16([]byte(number))))
		}
		st.restore(&b)
		return nil
	})
	if err != nil {
		return err
	}
	err = scanPrefix(r, desiredPrefix, func(rest string, value []byte) error {
		st, err := owner(rest)
		if err != nil {
			return err
		}
		version, newest, desired, err := decodeDesired(value)
		if err != nil {
			return vaultmesh.Wrap(err, op, rest)
		}
		st.desired, st.version = desired, max(st.version, version)
		if st.newest.before(newest) {
			st.newest = newest
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		e := &entry{head: states[id], place: -1}
		s.entries[id] = e
		s.show(&change{id: id, entry: e, next: e.head})
	}
	return nil
}

// restore merges a stored block. A register can be in two blocks if a model gained a property between two starts; merging
// takes the newer.
func (st *state) restore(b *storedBlock) {
	st.version = max(st.version, b.version)
	if st.newest.before(b.newest) {
		st.newest = b.newest
	}
	for i := range b.registers {
		r := &b.registers[i]
		sl, ok := st.def.schema.index[r.name]
		if !ok || r.kind != sl.kind {
			continue
		}
		block := sl.index / blockSize
		if st.blocks[block] == nil {
			st.blocks[block] = make([]crdt.Register, st.blockLen(block))
		}
		st.blocks[block][sl.index%blockSize].Merge(&r.Register)
	}
}

// scanPrefix calls fn for each key with the prefix, without the prefix.
func scanPrefix(r journal.Reader, prefix string, fn func(rest string, value []byte) error) error {
	err := r.Scan([]byte(prefix), after([]byte(prefix)), func(k, v []byte) (bool, error) {
		return true, fn(string(k[len(prefix):]), v)
	})
	return vaultmesh.Wrap(err, "twin.load", prefix)
}
