package twin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

func define(t testing.TB, s *Store, data map[string][]byte, ds ...Definition) {
	t.Helper()
	must(t, run(data, func(tx journal.Tx) error { return s.DefineAll(tx, ds) }))
}

func TestDefineRefuses(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	branch := func(rel ...Relationship) []Definition {
		return []Definition{{ID: "new", Model: "dtmi:test:Branch;1", Relationships: rel}}
	}
	for name, c := range map[string]struct {
		ds   []Definition
		kind vaultmesh.Kind
		text string
	}{
		"bad identifier":        {[]Definition{{ID: "a/b", Model: "dtmi:test:Node;1"}}, vaultmesh.Invalid, "a/b"},
		"bad device":            {[]Definition{{ID: "a", Model: "dtmi:test:Node;1", Device: "x y"}}, vaultmesh.Invalid, "x y"},
		"unknown model":         {[]Definition{{ID: "a", Model: "dtmi:test:None;1"}}, vaultmesh.NotFound, "dtmi:test:None;1"},
		"nameplate name":        {[]Definition{{ID: "a", Model: "dtmi:test:Node;1", Nameplate: values("voltage", "1")}}, vaultmesh.Invalid, "voltage"},
		"nameplate type":        {[]Definition{{ID: "a", Model: "dtmi:test:Node;1", Nameplate: values("number", "1.5")}}, vaultmesh.Invalid, "number"},
		"nameplate not JSON":    {[]Definition{{ID: "a", Model: "dtmi:test:Node;1", Nameplate: values("number", "{")}}, vaultmesh.Invalid, "nameplate"},
		"too large":             {[]Definition{{ID: "a", Model: "dtmi:test:Branch;1", Nameplate: values("label", `"`+strings.Repeat("x", MaxDefinition)+`"`)}}, vaultmesh.TooLarge, "limit"},
		"twice":                 {[]Definition{{ID: "a", Model: "dtmi:test:Node;1"}, {ID: "a", Model: "dtmi:test:Node;1"}}, vaultmesh.Invalid, "twice"},
		"relationship name":     {branch(Relationship{"to", "bus-1"}), vaultmesh.Invalid, `"to"`},
		"relationship twice":    {branch(Relationship{"near", "bus-1"}, Relationship{"near", "bus-1"}), vaultmesh.Invalid, "twice"},
		"missing target":        {branch(Relationship{"from", "bus-9"}), vaultmesh.NotFound, "bus-9"},
		"bad target":            {branch(Relationship{"from", ""}), vaultmesh.Invalid, "empty"},
		"type of target":        {branch(Relationship{"from", "line"}), vaultmesh.Invalid, "dtmi:test:Node;1"},
		"multiplicity":          {branch(Relationship{"from", "bus-1"}, Relationship{"from", "bus-2"}), vaultmesh.Invalid, "more than 1"},
		"relationships":         {branch(make([]Relationship, MaxRelationships+1)...), vaultmesh.TooLarge, "4097"},
		"referrers":             {[]Definition{{ID: "bus-1", Model: "dtmi:test:Meter;1"}}, vaultmesh.Invalid, "line refers to it"},
		"one bad spoils a good": {[]Definition{{ID: "good", Model: "dtmi:test:Node;1"}, {ID: "bad", Model: "dtmi:test:None;1"}}, vaultmesh.NotFound, "bad"},
	} {
		err := run(data, func(tx journal.Tx) error { return s.DefineAll(tx, c.ds) })
		if err == nil || vaultmesh.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want kind %v and %q", name, err, c.kind, c.text)
		}
	}
	if s.Len() != 3 {
		t.Errorf("%d twins", s.Len())
	}
}

func TestDefineTheSameAgainChangesNothing(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	before := everything(s)
	grid(t, s, data)
	if everything(s) != before {
		t.Error(everything(s))
	}
}

func TestRedefineKeepsWhatFits(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	merge(t, s, data, message(0, 0, values("closed", "true", "tap", "1.05"), values("flow", "1", "loading", "0.5")), 0, 0)
	must(t, run(data, func(tx journal.Tx) error { return s.SetDesired(tx, "line", values("tap", "1.1", "label", `"x"`)) }))
	// The same kind of values under an heir of the model.
	define(t, s, data, Definition{ID: "line", Model: "dtmi:test:Switch;1", Device: "sub-1", Nameplate: values("label", `"y"`)})
	tw := get(t, s, "line")
	if len(tw.Reported) != 2 || len(tw.Telemetry) != 2 || len(tw.Desired) != 1 || tw.Version != 3 || !tw.Seen.Equal(at(0)) {
		t.Errorf("under the heir: %s", asJSON(tw))
	}
	// closed has another type, flow another kind, tap is gone; loading stays.
	define(t, s, data, Definition{ID: "line", Model: "dtmi:test:Meter;1", Device: "sub-9"})
	tw = get(t, s, "line")
	if tw.Reported != nil || len(tw.Telemetry) != 1 || tw.Desired != nil || tw.Version != 4 {
		t.Errorf("under another model: %s", asJSON(tw))
	}
	if got := merge(t, s, data, sealed(&Message{Twin: "line", Device: "sub-9", Time: at(1), Telemetry: values("loading", "0.6")}), 0, 0); !got.Changed {
		t.Error("the new device cannot speak")
	}
	again := newStore(t)
	must(t, again.Load(fakeReader(data)))
	if everything(again) != everything(s) {
		t.Errorf("after a restart: %s, want %s", everything(again), everything(s))
	}
}

func TestNeighbours(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	define(t, s, data, Definition{ID: "line-2", Model: "dtmi:test:Branch;1", Relationships: []Relationship{{"from", "bus-1"}, {"near", "bus-1"}, {"near", "line"}}})
	expect := func(id vaultmesh.TwinID, name string, d Direction, want ...vaultmesh.TwinID) {
		t.Helper()
		got, err := s.Neighbours(id, name, d)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s %q %d: %v %v, want %v", id, name, d, got, err, want)
		}
	}
	expect("line", "", Outgoing, "bus-1", "bus-2")
	expect("line", "from", Outgoing, "bus-1")
	expect("line", "", Incoming, "line-2")
	expect("line", "", Both, "bus-1", "bus-2", "line-2")
	expect("bus-1", "", Incoming, "line", "line-2")
	expect("bus-1", "near", Incoming, "line-2")
	expect("bus-2", "from", Incoming)
	if _, err := s.Neighbours("bus-9", "", Both); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("an unknown twin: %v", err)
	}
	// A new definition moves its edges; a dropped one does not.
	define(t, s, data, Definition{ID: "line-2", Model: "dtmi:test:Branch;1", Relationships: []Relationship{{"from", "bus-2"}}})
	if err := run(data, func(tx journal.Tx) error {
		if err := s.Define(tx, Definition{ID: "line", Model: "dtmi:test:Branch;1"}); err != nil {
			return err
		}
		return fmt.Errorf("dropped")
	}); err == nil {
		t.Fatal("no error")
	}
	expect("bus-1", "", Incoming, "line")
	expect("bus-2", "", Incoming, "line", "line-2")
	again := newStore(t)
	must(t, again.Load(fakeReader(data)))
	s = again
	expect("bus-2", "", Incoming, "line", "line-2")
}

func TestDesired(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	set := func(pairs ...string) error {
		return run(data, func(tx journal.Tx) error { return s.SetDesired(tx, "line", values(pairs...)) })
	}
	for name, c := range map[string]struct{ field, value, text string }{
		"unknown":    {"speed", "1", "speed"},
		"telemetry":  {"flow", "1", "telemetry"},
		"nameplate":  {"rating", "1", "nameplate"},
		"wrong type": {"tap", `"high"`, "double"},
		"not JSON":   {"tap", `{`, "tap"},
	} {
		if err := set(c.field, c.value); vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run(data, func(tx journal.Tx) error { return s.SetDesired(tx, "gone", nil) }); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("unknown twin: %v", err)
	}
	must(t, set("tap", " 1.10 ", "closed", "true", "label", `"a"`))
	must(t, set("tap", "1.10"))
	must(t, set("label", "null"))
	tw := get(t, s, "line")
	if got := asJSON(tw.Desired); got != `{"closed":true,"tap":1.10}` || tw.Version != 2 || tw.Reported != nil {
		t.Errorf("desired %s at version %d, reported %v", got, tw.Version, tw.Reported)
	}
	merge(t, s, data, message(0, 0, values("tap", "1.1", "closed", "false"), nil), 0, 0)
	delta := Delta(get(t, s, "line"))
	if len(delta) != 1 || delta[0].Name != "closed" || string(delta[0].Reported.V) != "false" {
		t.Errorf("delta %s", asJSON(delta))
	}
	must(t, set("label", `"b"`))
	delta = Delta(get(t, s, "line"))
	if len(delta) != 2 || delta[1].Name != "label" || delta[1].Reported != nil {
		t.Errorf("delta %s", asJSON(delta))
	}
	again := newStore(t)
	must(t, again.Load(fakeReader(data)))
	if everything(again) != everything(s) {
		t.Error("a restart changes the desired properties")
	}
}

func TestDefinitionIsACopy(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	plate := map[string]json.RawMessage{"number": json.RawMessage(" 1 ")}
	define(t, s, data, Definition{ID: "bus", Model: "dtmi:test:Node;1", Nameplate: plate})
	copy(plate["number"], " 2 ")
	delete(plate, "number")
	if got := asJSON(get(t, s, "bus").Nameplate); got != `{"number":1}` {
		t.Errorf("nameplate %s", got)
	}
}
