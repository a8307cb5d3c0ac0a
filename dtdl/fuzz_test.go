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
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range []Options{{}, {AllowUndefinedExtensions: true}} {
			s, err := Parse([]Document{{Name: "fuzz", Data: data}}, o)
			if err != nil {
				var all *Errors
				if !errors.As(err, &all) || len(all.List) == 0 || len(all.List) > MaxErrors {
					t.Fatalf("%T %v", err, err)
				}
				for _, e := range all.List {
					if e.Line < 1 || e.Column < 1 || e.Validation == "" || e.Detail == "" {
						t.Fatalf("%+v", e)
					}
				}
				continue
			}
			for _, i := range s.Interfaces() {
				for _, c := range i.Contents() {
					switch c := c.(type) {
					case *Property:
						_ = c.Validate([]byte("1"))
					case *Telemetry:
						_ = c.Validate([]byte("{}"))
					case *Component:
						_ = c.Schema().Contents()
					}
				}
			}
		}
	})
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

// FuzzValidate holds that every accepted value is JSON to the standard library too, for each kind.
func FuzzValidate(f *testing.F) {
	schemas := []*Schema{
		schemaOf(f, `{"@type":"Object","fields":[{"name":"a","schema":"double"},{"name":"b","schema":{"@type":"Array","elementSchema":"string"}}]}`),
		schemaOf(f, `{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"point"}}`),
		schemaOf(f, `{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"a","enumValue":"x"}]}`),
		schemaOf(f, `{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"a","enumValue":1}]}`),
	}
	schemas = append(schemas, builtin[Boolean:]...)
	for _, raw := range []string{`1`, `-1.5e300`, `true`, `null`, `"2026-01-02T03:04:05Z"`, `"P1DT1H"`, `{"a":1,"b":["\u00e9\ud83d\ude00"]}`,
		`{"k":{"type":"Point","coordinates":[1,2]}}`, `{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`, `{"scale":1,"value":"1.5"}`, `"AQI="`, `[`, ``} {
		for i := range schemas {
			f.Add(uint8(i), []byte(raw))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		s := schemas[int(which)%len(schemas)]
		err := s.Validate(raw)
		if err == nil && !json.Valid(raw) {
			t.Fatalf("%v accepts %q, which is not JSON", s.Kind(), raw)
		}
	})
}
