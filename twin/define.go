package twin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
)

// Bounds of a definition.
const (
	MaxDefinition    = 256 << 10 // bytes as JSON
	MaxRelationships = 4096
)

// Define creates or replaces one twin in the commit of tx; see [Store.DefineAll].
func (s *Store) Define(tx journal.Tx, d Definition) error {
	return s.DefineAll(tx, []Definition{d})
}

// DefineAll creates or replaces twins in the commit of tx, all or none; they may refer to each other in any order.
//
// A new twin has version 0. A replaced one keeps the reported values and the desired properties that its new model has
// with the same kind and type and that are not on its nameplate, and its version grows by one; replacing a twin by the
// same definition changes nothing.
//
// Errors: Invalid for what the model does not allow, NotFound for an unknown model or target, TooLarge.
func (s *Store) DefineAll(tx journal.Tx, ds []Definition) error {
	const op = "twin.define"
	batch := make(map[vaultmesh.TwinID]*definition, len(ds))
	encoded := make([][]byte, len(ds))
	for i := range ds {
		raw, err := encodeDefinition(&ds[i])
		if err != nil {
			return err
		}
		d, err := s.decodeDefinition(raw)
		if err != nil {
			return err
		}
		if err := d.check(op); err != nil {
			return err
		}
		if _, twice := batch[d.ID]; twice {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "defined twice in one batch")
		}
		batch[d.ID], encoded[i] = d, raw
	}
	for i := range ds {
		if err := s.checkRelationships(op, batch[ds[i].ID], batch); err != nil {
			return err
		}
	}
	for i := range ds {
		if err := s.define(tx, batch[ds[i].ID], encoded[i]); err != nil {
			return err
		}
	}
	return nil
}

// encodeDefinition returns the stored form of d: JSON without insignificant space, names in order.
func encodeDefinition(d *Definition) ([]byte, error) {
	const op = "twin.define"
	if err := vaultmesh.CheckID("twin", string(d.ID)); err != nil {
		return nil, err
	}
	if len(d.Relationships) > MaxRelationships {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, string(d.ID), "%d relationships, the limit is %d", len(d.Relationships), MaxRelationships).WithFix("let the many refer to the one, not the one to the many")
	}
	raw, err := encodeJSON(d)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "the nameplate is not JSON").Because(err)
	}
	if len(raw) > MaxDefinition {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, string(d.ID), "%d bytes, the limit is %d", len(raw), MaxDefinition)
	}
	return raw, nil
}

// decodeDefinition undoes encodeDefinition and finds the model, so that a twin is the same before and after a restart.
func (s *Store) decodeDefinition(raw []byte) (*definition, error) {
	d := &definition{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d.Definition); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "twin.define", "", "the definition cannot be read").Because(err)
	}
	var err error
	if d.schema, err = s.schemas.get(d.Model); err != nil {
		return nil, vaultmesh.Wrap(err, "twin.define", string(d.ID))
	}
	return d, nil
}

// check compares d with its model, but for the targets of relationships.
func (d *definition) check(op string) error {
	id := string(d.ID)
	if d.Device != "" {
		if err := vaultmesh.CheckID("device", string(d.Device)); err != nil {
			return vaultmesh.Wrap(err, op, id)
		}
	}
	for name, v := range d.Nameplate {
		sl, ok := d.schema.index[name]
		if !ok || sl.kind != property {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "the model %s has no property %q for the nameplate", d.Model, clip(name)).WithFix("it has: %s", d.schema.names(property, nil))
		}
		if err := sl.valid.Validate(v); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "nameplate property %s does not fit the model %s", name, d.Model).Because(err)
		}
	}
	return nil
}

func (s *Store) checkRelationships(op string, d *definition, batch map[vaultmesh.TwinID]*definition) error {
	id := string(d.ID)
	seen := make(map[Relationship]bool, len(d.Relationships))
	count := map[string]int{}
	for _, r := range d.Relationships {
		if err := vaultmesh.CheckID("target", string(r.Target)); err != nil {
			return vaultmesh.Wrap(err, op, id)
		}
		in, ok := d.schema.model.Relationship(r.Name)
		if !ok {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "the model %s has no relationship %q", d.Model, clip(r.Name))
		}
		if seen[r] {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "relationship %s to %s is given twice", r.Name, r.Target)
		}
		seen[r] = true
		if _, most := in.Multiplicity(); most > 0 && count[r.Name] == most {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "relationship %s has more than %d targets, the most that the model allows", r.Name, most)
		}
		count[r.Name]++
		target := s.definitionOf(r.Target, batch)
		if target == nil {
			return vaultmesh.Errorf(vaultmesh.NotFound, op, id, "relationship %s refers to %s, which does not exist", r.Name, r.Target).WithFix("define the target before, or in the same batch")
		}
		if want := in.Target(); want != "" && !s.opts.Models.IsA(target.Model, want) {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, id, "relationship %s needs a target of model %s, and %s is a %s", r.Name, want, r.Target, target.Model)
		}
	}
	return s.checkReferrers(op, d, batch)
}

// checkReferrers makes sure that a new model of a twin still suits those that refer to it.
func (s *Store) checkReferrers(op string, d *definition, batch map[vaultmesh.TwinID]*definition) error {
	e := s.entry(d.ID)
	if e == nil || e.head.def.Model == d.Model {
		return nil
	}
	s.mu.RLock()
	referrers := make([]inboundEdge, 0, len(s.inbound[d.ID]))
	for edge := range s.inbound[d.ID] {
		referrers = append(referrers, edge)
	}
	s.mu.RUnlock()
	for _, edge := range referrers {
		from := s.definitionOf(edge.source, batch)
		if from == nil || !slices.Contains(from.Relationships, Relationship{edge.name, d.ID}) {
			continue
		}
		in, ok := from.schema.model.Relationship(edge.name)
		if ok && in.Target() != "" && !s.opts.Models.IsA(d.Model, in.Target()) {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, string(d.ID), "%s refers to it by %s, which needs a target of model %s", edge.source, edge.name, in.Target()).WithFix("define %s again in the same batch", edge.source)
		}
	}
	return nil
}

// definitionOf returns the definition of a twin once the batch is in force; nil if there is none.
func (s *Store) definitionOf(id vaultmesh.TwinID, batch map[vaultmesh.TwinID]*definition) *definition {
	if d, ok := batch[id]; ok {
		return d
	}
	if e := s.entry(id); e != nil {
		return e.head.def
	}
	return nil
}

// define writes one checked definition.
func (s *Store) define(tx journal.Tx, d *definition, raw []byte) error {
	e := s.entry(d.ID)
	if e == nil {
		tx.Put(definitionKey(d.ID), raw)
		s.change(tx, d.ID, nil, &state{def: d, blocks: make([][]crdt.Register, blockCount(d.schema))})
		return nil
	}
	if reflect.DeepEqual(e.head.def.Definition, d.Definition) {
		return nil
	}
	tx.Put(definitionKey(d.ID), raw)
	next := e.head.redefined(d)
	if err := deleteBlocks(tx, d.ID); err != nil {
		return err
	}
	for b := range next.blocks {
		if next.blocks[b] != nil {
			tx.Put(blockKey(d.ID, b), next.encodeBlock(nil, b))
		}
	}
	if err := putDesired(tx, next); err != nil {
		return err
	}
	s.change(tx, d.ID, e, next)
	return nil
}

// deleteBlocks removes all stored registers of a twin, whatever model they were written under.
func deleteBlocks(tx journal.Tx, id vaultmesh.TwinID) error {
	prefix := append([]byte(blockPrefix+string(id)), 0)
	var keys [][]byte
	err := tx.Scan(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		keys = append(keys, bytes.Clone(k))
		return true, nil
	})
	if err != nil {
		return vaultmesh.Wrap(err, "twin.define", string(id))
	}
	for _, k := range keys {
		tx.Delete(k)
	}
	return nil
}

// redefined returns st under another definition, with the values that still fit.
func (st *state) redefined(d *definition) *state {
	next := &state{def: d, blocks: make([][]crdt.Register, blockCount(d.schema)), version: st.version + 1, newest: st.newest}
	fits := func(name string, k kind, v json.RawMessage) *slot {
		sl, ok := d.schema.index[name]
		if _, fixed := d.Nameplate[name]; !ok || fixed || sl.kind != k || sl.valid.Validate(v) != nil {
			return nil
		}
		return sl
	}
	for i := range st.def.schema.slots {
		old, r := &st.def.schema.slots[i], st.register(i)
		if !r.IsSet() {
			continue
		}
		if sl := fits(old.name, old.kind, r.Value[1:]); sl != nil {
			b := sl.index / blockSize
			if next.blocks[b] == nil {
				next.blocks[b] = make([]crdt.Register, next.blockLen(b))
			}
			next.blocks[b][sl.index%blockSize] = *r
		}
	}
	for name, v := range st.desired {
		if fits(name, property, v) != nil {
			if next.desired == nil {
				next.desired = map[string]json.RawMessage{}
			}
			next.desired[name] = v
		}
	}
	return next
}

// encodeJSON is json.Marshal without the escapes for HTML.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
