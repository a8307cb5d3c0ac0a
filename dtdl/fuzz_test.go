package dtdl

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzParse holds that no document makes the parser panic, that errors are bounded and placed, and that
// what was parsed can be used.
func FuzzParse(f *testing.F) {
	f.Add([]byte(iface("dtmi:t:x;1", `"contents":[{"@type":"Property","name":"p","schema":"double","writable":true}]`)))
	f.Add([]byte(telemetry(`{"@type":"Object","fields":[{"name":"a","schema":{"@id":"dtmi:t:o;1","@type":"Array","elementSchema":"dtmi:t:o;1"}}]}`)))
	f.Add([]byte(telemetry(`{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"a","enumValue":1}]}`)))
	f.Add([]byte(telemetry(`{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":["dtmi:dtdl:instance:Schema:long;2"]}}`)))
	f.Add([]byte(iface("dtmi:t:x;1", `"extends":["dtmi:t:x;1",{"@context":1,"@id":"dtmi:t:y;1"}],"displayName":[{"@value":"a","@language":"en"}]`)))
	f.Add([]byte(iface("dtmi:t:x;1", `"contents":[{"@type":"Component","name":"c","schema":{"@id":"dtmi:t:y;1","@type":"Interface"}},{"@type":"Relationship","name":"r","properties":{}}]`)))
	f.Add([]byte(chain(14, 3)))
	f.Add([]byte("\xEF\xBB\xBF[]"))
	f.Add([]byte(`[{"@context":["dtmi:dtdl:context;2","dtmi:a;1"],"@id":"0","@type":["Interface",{}]}]`)) // an error that had no place
	f.Add([]byte(pumpStation))
	suiteSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range []Options{{}, {AllowUndefinedExtensions: true}} {
			s, err := Parse([]Document{{Name: "fuzz", Data: data}}, o)
			if err != nil {
				var all *Errors
				if !errors.As(err, &all) || len(all.List) == 0 || len(all.List) > MaxErrors {
					t.Fatalf("%T %v", err, err)
				}
				for _, e := range all.List {
					if e.Line < 1 || e.Column < 1 || e.ValidationID == "" || e.Detail == "" {
						t.Fatalf("%+v", e)
					}
				}
				continue
			}
			useSet(t, s)
		}
	})
}

// suiteSeeds adds some sets of the conformance suite, where that is there.
func suiteSeeds(f *testing.F) {
	if !hasTestData() {
		return
	}
	n := 0
	suiteFiles(f, "generated", func(_ string, c suiteCase) {
		if n++; n%12 != 0 {
			return
		}
		set, err := json.Marshal(c.Input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(set)
	})
}

// pumpStation is a set with a bit of everything.
const pumpStation = `[{"@context":["dtmi:dtdl:context;4","dtmi:dtdl:extension:quantitativeTypes;2","dtmi:dtdl:extension:requirement;2"],"@id":"dtmi:t:station;1","@type":"Interface",
"contents":[{"@type":"Component","name":"c","schema":"dtmi:t:pump;1"},{"@type":["Property","Required"],"name":"p","schema":"long"},
{"@type":"Relationship","name":"r","target":"dtmi:t:pump;1","maxMultiplicity":3,"properties":[{"@type":"Property","name":"since","schema":"date"}]}]},
{"@context":["dtmi:dtdl:context;4","dtmi:dtdl:extension:quantitativeTypes;2"],"@id":"dtmi:t:pump;1","@type":"Interface",
"contents":[{"@type":["Telemetry","Power"],"name":"w","schema":"double","unit":"watt"},{"@type":"Property","name":"o","schema":"dtmi:t:o;1"}],
"schemas":[{"@id":"dtmi:t:o;1","@type":"Object","fields":[{"name":"again","schema":{"@type":"Array","elementSchema":"scaledDecimal"}}]}]}]`

// checker is what validates instances.
type checker interface {
	Validate(json.RawMessage) error
	Faults(json.RawMessage) []Fault
}

// useSet calls what a set is there for; interfaces of a hostile set may be huge in JSON Schema, so only the
// first few are exported.
func useSet(t *testing.T, s *Set) {
	for _, e := range s.Entities() {
		if found, ok := s.Lookup(e.ID()); !ok || found != e {
			t.Fatalf("%s is not found", e.ID())
		}
	}
	for n, i := range s.Interfaces() {
		if n < 3 && !json.Valid(i.JSONSchema()) {
			t.Fatalf("the JSON Schema of %s is not JSON", i.ID())
		}
		_ = i.Faults([]byte(`{"p":1,"v":[]}`))
		for _, c := range i.Contents() {
			switch c := c.(type) {
			case *Property:
				_ = c.Validate([]byte("1"))
			case *Telemetry:
				_ = c.Faults([]byte("{}"))
			case *Component:
				_ = c.Schema().Contents()
			}
		}
	}
}

// FuzzDTMI holds that what is accepted has the parts that make it up.
func FuzzDTMI(f *testing.F) {
	for _, s := range []string{"dtmi:com:example:Pump;1", "dtmi:a:_b;12.3#f", "dtmi:a", "dtmi:;1", "dtmi:a;0", "dtmi:a_;1", "dtmi:a#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDTMI(s)
		if err != nil {
			return
		}
		again, err := ParseDTMI(d.Versionless())
		if d.String() != s || err != nil || again.Major() != 0 || again.Fragment() != d.Fragment() || len(again.Labels()) != len(d.Labels()) {
			t.Fatalf("%q: %+v, %+v, %v", s, d, again, err)
		}
	})
}

// FuzzValidate holds that every accepted value is JSON to the standard library too, and that both modes
// agree, for schemas of each kind, whole twins and links.
func FuzzValidate(f *testing.F) {
	station, _ := mustParse(f, pumpStation).Interface("dtmi:t:station;1")
	link, _ := station.Relationship("r")
	all := []checker{
		station, link,
		schemaOf(f, `{"@type":"Object","fields":[{"name":"a","schema":"double"},{"name":"b","schema":{"@type":"Array","elementSchema":"string"}}]}`),
		schemaOf(f, `{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"point"}}`),
		schemaOf(f, `{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"a","enumValue":"x"}]}`),
		schemaOf(f, `{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"a","enumValue":1}]}`),
	}
	for _, s := range builtins()[Boolean:] {
		all = append(all, s)
	}
	for _, raw := range []string{`1`, `-1.5e300`, `true`, `null`, `"2026-01-02T03:04:05Z"`, `"P1DT1H"`, `{"a":1,"b":["\u00e9\ud83d\ude00"]}`,
		`{"k":{"type":"Point","coordinates":[1,2]}}`, `{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`, `{"scale":1,"value":"1.5"}`, `"AQI="`, `[`, ``,
		`{"p":9007199254740993,"c":{"w":1.5,"o":{"again":[]},"$metadata":{}}}`, `{"since":"2026-01-02"}`} {
		for i := range all {
			f.Add(uint8(i), []byte(raw))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		s := all[int(which)%len(all)]
		err, faults := s.Validate(raw), s.Faults(raw)
		switch {
		case err == nil && !json.Valid(raw):
			t.Fatalf("%d accepts %q, which is not JSON", which, raw)
		case (err == nil) != (len(faults) == 0) || len(faults) > MaxFaults:
			t.Fatalf("%d of %q: strict %v, collecting %+v", which, raw, err, faults)
		}
	})
}
