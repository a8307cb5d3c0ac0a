package twin

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crdt"
	"vaultmesh.org/vaultmesh/journal"
)

// SetDesired sets desired properties of a twin in the commit of tx; a JSON null removes one, names that are not given stay.
// Only an authorized command may call it. Desired properties are apart from the reported ones, are never merged, and
// change only here and when a new definition no longer has them. The version grows by one if anything changes.
//
// Errors: NotFound for the twin, Invalid for a name that is not a property of the model or a value that does not fit it.
func (s *Store) SetDesired(tx journal.Tx, id vaultmesh.TwinID, values map[string]json.RawMessage) error {
	const op = "twin.desired"
	e := s.entry(id)
	if e == nil {
		return notFound(op, id)
	}
	head := e.head
	desired := make(map[string]json.RawMessage, len(head.desired)+len(values))
	maps.Copy(desired, head.desired)
	for name, v := range values {
		sl, err := head.def.slot(op, name, property)
		if err != nil {
			return err
		}
		if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
			delete(desired, name)
			continue
		}
		if len(v) > s.opts.MaxMessage {
			return vaultmesh.Errorf(vaultmesh.TooLarge, op, string(id), "property %s has %d bytes, the limit is %d", name, len(v), s.opts.MaxMessage)
		}
		if err := sl.valid.Validate(v); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, string(id), "property %s does not fit the model %s", name, head.def.Model).Because(err)
		}
		var b bytes.Buffer
		if err := json.Compact(&b, v); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, string(id), "property %s is not JSON", name).Because(err)
		}
		desired[name] = b.Bytes()
	}
	if len(desired) == 0 {
		desired = nil
	}
	if maps.EqualFunc(head.desired, desired, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return nil
	}
	next := head.with(head.blocks)
	next.desired = desired
	if err := putDesired(tx, next); err != nil {
		return err
	}
	s.change(tx, id, e, next)
	return nil
}

// desiredFormat is the first byte of stored desired properties.
const desiredFormat = 1

// putDesired writes the desired properties: format (1 byte), version of the twin (varint), 1 and its newest mark (8 and 2
// bytes) or 0 if there is none, and a JSON object.
func putDesired(tx journal.Tx, st *state) error {
	raw, err := encodeJSON(st.desired)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "twin.desired", string(st.def.ID), "cannot be encoded").Because(err)
	}
	b := binary.AppendUvarint([]byte{desiredFormat}, st.version)
	if st.newest.set {
		b = st.newest.append(append(b, 1))
	} else {
		b = append(b, 0)
	}
	tx.Put(desiredKey(st.def.ID), append(b, raw...))
	return nil
}

// decodeDesired undoes putDesired, strictly. Errors are of kind Corrupt.
func decodeDesired(b []byte) (version uint64, newest mark, desired map[string]json.RawMessage, err error) {
	bad := func(detail string) (uint64, mark, map[string]json.RawMessage, error) {
		return 0, mark{}, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "twin.desired", "", "%s", detail)
	}
	if len(b) == 0 || b[0] != desiredFormat {
		return bad("unknown format")
	}
	version, b, err = crdt.DecodeUvarint(b[1:])
	if err != nil {
		return bad("bad version")
	}
	switch {
	case len(b) > 0 && b[0] == 0:
		b = b[1:]
	case len(b) > markSize && b[0] == 1:
		newest, b = decodeMark(b[1:]), b[1+markSize:]
	default:
		return bad("bad mark")
	}
	if err := json.Unmarshal(b, &desired); err != nil {
		return bad("not a JSON object")
	}
	if len(desired) == 0 {
		desired = nil
	}
	return version, newest, desired, nil
}

// Difference is one desired property that the twin does not report as desired.
type Difference struct {
	Name     string          `json:"name"`
	Desired  json.RawMessage `json:"desired"`
	Reported *Value          `json:"reported,omitempty"` // nil: never reported
}

// Delta returns the desired properties of t that are not reported with an equal value, by name. Numbers are equal if they
// are the same 64-bit float, other values if they are the same JSON value.
func Delta(t Twin) []Difference {
	var out []Difference
	for name, want := range t.Desired {
		got, ok := t.Reported[name]
		switch {
		case !ok:
			out = append(out, Difference{Name: name, Desired: want})
		case !equalJSON(want, got.V):
			out = append(out, Difference{Name: name, Desired: want, Reported: &got})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func equalJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
