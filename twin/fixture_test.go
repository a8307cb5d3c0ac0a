package twin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const models = `[
{"@context":"dtmi:dtdl:context;4","@id":"dtmi:test:Node;1","@type":"Interface","contents":[
  {"@type":"Property","name":"number","schema":"integer"},
  {"@type":"Telemetry","name":"voltage","schema":"double"},
  {"@type":"Telemetry","name":"angle","schema":"double"}]},
{"@context":"dtmi:dtdl:context;4","@id":"dtmi:test:Branch;1","@type":"Interface","contents":[
  {"@type":"Property","name":"rating","schema":"double"},
  {"@type":"Property","name":"closed","schema":"boolean"},
  {"@type":"Property","name":"tap","schema":"double","writable":true},
  {"@type":"Property","name":"label","schema":"string","writable":true},
  {"@type":"Telemetry","name":"flow","schema":"double"},
  {"@type":"Telemetry","name":"loading","schema":"double"},
  {"@type":"Telemetry","name":"state","schema":"string"},
  {"@type":"Relationship","name":"from","target":"dtmi:test:Node;1","minMultiplicity":0,"maxMultiplicity":1},
  {"@type":"Relationship","name":"near"}]},
{"@context":"dtmi:dtdl:context;4","@id":"dtmi:test:Switch;1","@type":"Interface","extends":"dtmi:test:Branch;1","contents":[
  {"@type":"Telemetry","name":"wear","schema":"double"}]},
{"@context":"dtmi:dtdl:context;4","@id":"dtmi:test:Meter;1","@type":"Interface","contents":[
  {"@type":"Property","name":"closed","schema":"string"},
  {"@type":"Property","name":"flow","schema":"double"},
  {"@type":"Property","name":"rating","schema":"double"},
  {"@type":"Telemetry","name":"loading","schema":"double"}]},
{"@context":"dtmi:dtdl:context;4","@id":"dtmi:test:Station;1","@type":"Interface","contents":[
  {"@type":"Component","name":"north","schema":"dtmi:test:Node;1"},
  {"@type":"Component","name":"south","schema":"dtmi:test:Node;1"}]}
]`

// wide returns a model with n telemetries t0…, so that a twin has several blocks.
func wide(n int) string {
	contents := make([]map[string]string, n)
	for i := range contents {
		contents[i] = map[string]string{"@type": "Telemetry", "name": fmt.Sprintf("t%d", i), "schema": "double"}
	}
	raw, err := json.Marshal(map[string]any{"@context": "dtmi:dtdl:context;4", "@id": "dtmi:test:Wide;1", "@type": "Interface", "contents": contents})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func testModels(t testing.TB) *dtdl.Set {
	t.Helper()
	set, err := dtdl.Parse([]dtdl.Document{{Name: "models.json", Data: []byte(models)}, {Name: "wide.json", Data: []byte(wide(40))}}, dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func newStore(t testing.TB) *Store {
	t.Helper()
	return NewStore(Options{Models: testModels(t), Now: func() time.Time { return start.Add(time.Hour) }})
}

// fakeTx is an operation of its own on a map; commit and rollback follow the contract of journal.Tx.
type fakeTx struct {
	data      map[string][]byte
	undo      []func()
	rollbacks []func()
	applied   []func()
}

type fakeReader map[string][]byte

func (r fakeReader) Get(key []byte) ([]byte, bool, error) {
	v, ok := r[string(key)]
	return bytes.Clone(v), ok, nil
}

func (r fakeReader) Scan(lo, hi []byte, fn func(k, v []byte) (bool, error)) error {
	for _, k := range slices.Sorted(maps.Keys(r)) {
		if k < string(lo) || k >= string(hi) {
			continue
		}
		if more, err := fn([]byte(k), r[k]); err != nil || !more {
			return err
		}
	}
	return nil
}

func (tx *fakeTx) Get(key []byte) ([]byte, bool, error) { return fakeReader(tx.data).Get(key) }

func (tx *fakeTx) Scan(lo, hi []byte, fn func(k, v []byte) (bool, error)) error {
	return fakeReader(tx.data).Scan(lo, hi, fn)
}

func (tx *fakeTx) set(key string, value []byte, present bool) {
	old, had := tx.data[key]
	tx.undo = append(tx.undo, func() {
		if delete(tx.data, key); had {
			tx.data[key] = old
		}
	})
	if delete(tx.data, key); present {
		tx.data[key] = value
	}
}

func (tx *fakeTx) Put(key, value []byte) { tx.set(string(key), value, true) }
func (tx *fakeTx) Delete(key []byte)     { tx.set(string(key), nil, false) }
func (tx *fakeTx) OnRollback(f func())   { tx.rollbacks = append(tx.rollbacks, f) }
func (tx *fakeTx) OnApplied(f func())    { tx.applied = append(tx.applied, f) }

// run runs op as one commit on data.
func run(data map[string][]byte, op journal.Op) error {
	tx := &fakeTx{data: data}
	err := op(tx)
	if err != nil {
		for _, f := range slices.Backward(tx.undo) {
			f()
		}
		for _, f := range slices.Backward(tx.rollbacks) {
			f()
		}
		return err
	}
	for _, f := range tx.applied {
		f()
	}
	return nil
}

func must(t interface{ Fatal(...any) }, err error) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// grid defines two nodes and a branch between them.
func grid(t testing.TB, s *Store, data map[string][]byte) {
	t.Helper()
	must(t, run(data, func(tx journal.Tx) error {
		return s.DefineAll(tx, []Definition{
			{ID: "line", Model: "dtmi:test:Branch;1", Device: "sub-1", Nameplate: values("rating", "120.5"), Relationships: []Relationship{{"from", "bus-1"}, {"near", "bus-2"}}},
			{ID: "bus-1", Model: "dtmi:test:Node;1", Device: "sub-1", Nameplate: values("number", "1")},
			{ID: "bus-2", Model: "dtmi:test:Node;1", Device: "sub-2"},
		})
	}))
}

func values(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

// message returns a message of sub-1 about the line, with raw bytes as a device would send them.
func message(ms int, seq uint16, properties, telemetry map[string]json.RawMessage) *Message {
	m := &Message{Twin: "line", Device: "sub-1", Time: at(ms), Seq: seq, Properties: properties, Telemetry: telemetry}
	return sealed(m)
}

func sealed(m *Message) *Message {
	raw, err := json.Marshal(map[string]any{"t": m.Time, "seq": m.Seq, "properties": m.Properties, "telemetry": m.Telemetry, "q": m.Quality})
	if err != nil {
		panic(err)
	}
	m.Raw = raw
	return m
}

func merge(t interface{ Fatal(...any) }, s *Store, data map[string][]byte, m *Message, batch vaultmesh.LogIndex, pos int) Result {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	var res Result
	must(t, run(data, func(tx journal.Tx) (err error) {
		res, err = s.Merge(tx, m, batch, pos)
		return err
	}))
	return res
}

func get(t interface{ Fatal(...any) }, s interface {
	Get(vaultmesh.TwinID) (Twin, bool)
}, id vaultmesh.TwinID) Twin {
	tw, ok := s.Get(id)
	if !ok {
		t.Fatal("no twin " + string(id))
	}
	return tw
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// everything is the whole state as text.
func everything(s *Store) string {
	var out []Twin
	s.Snapshot().Each(func(tw Twin) bool { out = append(out, tw); return true })
	return asJSON(out)
}

func openJournal(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, journal.Options{Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func submit(t testing.TB, j *journal.Journal, op journal.Op) {
	t.Helper()
	must(t, j.Submit(context.Background(), journal.Telemetry, op))
}
