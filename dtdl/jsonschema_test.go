package dtdl

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// compileSchema compiles a document with an independent implementation of JSON Schema 2020-12.
func compileSchema(t testing.TB, doc []byte, at string) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	const url = "dtmi:schema"
	if err := c.AddResource(url, parsed); err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	s, err := c.Compile(url + at)
	if err != nil {
		t.Fatalf("%s: %v\n%s", at, err, doc)
	}
	return s
}

// accepts reports whether the compiled document accepts the value; what is no JSON is never accepted.
func accepts(s *jsonschema.Schema, raw string) bool {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	return err == nil && s.Validate(v) == nil
}

// TestJSONSchemaPrimitives holds that both judge values of every kind alike.
func TestJSONSchemaPrimitives(t *testing.T) {
	values := []string{
		`true`, `false`, `null`, `""`, `"x"`, `[]`, `{}`, `0`, `1`, `-1`, `127`, `128`, `-128`, `-129`, `255`, `256`, `32767`, `32768`, `-32769`, `65535`, `65536`, `2147483647`, `2147483648`,
		`-2147483648`, `-2147483649`, `4294967295`, `4294967296`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `-9223372036854775809`,
		`18446744073709551615`, `18446744073709551616`, `1.5`, `-0.5`, `1e300`, `3.4e38`, `3.5e38`, `"2026-01-31"`, `"2026-02-30"`, `"2026-1-1"`, `"2026-01-31T12:00:00Z"`,
		`"2026-01-31T12:00:00.5+01:00"`, `"2026-01-31T12:00:00"`, `"12:00:00Z"`, `"12:00:00"`, `"25:00:00Z"`, `"P1D"`, `"PT1H30M"`, `"P1Y2M3DT4H5M6.7S"`, `"P1W2D"`, `"P0.5D"`, `"P"`, `"PT"`,
		`"P1.5DT1H"`, `"P1M1W"`, `"P1D1Y"`, `"12.50"`, `"-1"`, `"01"`, `".5"`, `"1e5"`, `"AQI="`, `"AQ"`, `"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`, `"f81d4fae"`,
		`{"scale":7,"value":"1234.56"}`, `{"scale":40000}`, `{"value":1}`, `{"unit":"m"}`, `{"type":"Point","coordinates":[8.5,47.4]}`, `{"type":"Point","coordinates":[8.5]}`,
		`{"type":"Point","coordinates":[1,2,3,4]}`, `{"type":"Point"}`, `{"type":"Line","coordinates":[1,2]}`, `{"type":"MultiPoint","coordinates":[[1,2]]}`, `{"type":"MultiPoint","coordinates":[]}`,
		`{"type":"LineString","coordinates":[[1,2]]}`, `{"type":"LineString","coordinates":[[1,2],[3,4]]}`, `{"type":"MultiLineString","coordinates":[[[1,2],[3,4]]]}`,
		`{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`, `{"type":"Polygon","coordinates":[[[0,0],[1,0],[0,0]]]}`,
		`{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]]]}`, `{"type":"MultiPolygon","coordinates":[[0]]}`, `{"type":"Point","coordinates":[1,2],"x":1}`,
	}
	for _, s := range builtins()[Boolean:] {
		if s == nil {
			continue
		}
		compiled := compileSchema(t, s.JSONSchema(), "")
		for _, v := range values {
			want := s.Validate([]byte(v)) == nil
			if got := accepts(compiled, v); got != want {
				t.Errorf("%v of %s: JSON Schema %v, Validate %v (%v)", s.Kind(), v, got, want, s.Validate([]byte(v)))
			}
		}
	}
}

// TestJSONSchemaDurations compares the patterns of durations with the validator over random texts.
func TestJSONSchemaDurations(t *testing.T) {
	s := builtins()[Duration]
	compiled := compileSchema(t, s.JSONSchema(), "")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`P(1Y|2\.5Y)?(1M|1\.5M)?(3W|0\.5W)?(4D|1\.1D)?(T(1H|1\.5H)?(2M|2\.5M)?(3S|3\.25S)?)?`).Draw(t, "duration")
		raw, _ := json.Marshal(text)
		if got, want := accepts(compiled, string(raw)), s.Validate(raw) == nil; got != want {
			t.Fatalf("%s: JSON Schema %v, Validate %v", raw, got, want)
		}
	})
}

const plant = `[{"@context":["dtmi:dtdl:context;4","dtmi:dtdl:extension:requirement;2"],"@id":"dtmi:t:plant;1","@type":"Interface","displayName":"Plant","extends":"dtmi:t:thing;1",
	"schemas":[{"@id":"dtmi:t:tree;1","@type":"Object","fields":[{"name":"children","schema":{"@type":"Array","elementSchema":"dtmi:t:tree;1"}},{"@type":["Field","Required"],"name":"n","schema":"long"}]},
		{"@id":"dtmi:t:mode;1","@type":"Enum","valueSchema":"string","enumValues":[{"name":"on","enumValue":"ON"},{"name":"off","enumValue":"OFF"}]},
		{"@id":"dtmi:t:level;1","@type":"Enum","valueSchema":"integer","enumValues":[{"name":"low","enumValue":1},{"name":"high","enumValue":2}]}],
	"contents":[{"@type":["Property","Required"],"name":"mode","schema":"dtmi:t:mode;1","writable":true},{"@type":"Property","name":"tree","schema":"dtmi:t:tree;1"},
		{"@type":"Property","name":"levels","schema":{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"dtmi:t:level;1"}}},
		{"@type":"Telemetry","name":"power","schema":"double","description":"active power"},{"@type":"Component","name":"meter","schema":"dtmi:t:meter;1"},
		{"@type":"Command","name":"set","request":{"name":"to","schema":"dtmi:t:mode;1"},"response":{"name":"done","schema":"boolean","nullable":true}},
		{"@type":"Relationship","name":"feeds","properties":[{"@type":"Property","name":"share","schema":"float"}]}]},
	{"@context":"dtmi:dtdl:context;4","@id":"dtmi:t:thing;1","@type":"Interface","contents":[{"@type":"Property","name":"serial","schema":"string"}]},
	{"@context":"dtmi:dtdl:context;4","@id":"dtmi:t:meter;1","@type":"Interface","contents":[{"@type":"Property","name":"energy","schema":"unsignedLong"}]}]`

// plantStates are states of twins of the plant, and whether they are valid.
var plantStates = map[string]bool{
	`{"mode":"ON"}`: true,
	`{"mode":"ON","power":1.5,"serial":"x","$etag":1}`:                                           true,
	`{"mode":"OFF","tree":{"n":9223372036854775807,"children":[{"n":1},{"n":2,"children":[]}]}}`: true,
	`{"mode":"ON","levels":{"a":1,"b":2},"meter":{"energy":18446744073709551615,"$m":{}}}`:       true,
	`{"mode":"ON","meter":{}}`:             true,
	`{}`:                                   false,
	`{"mode":"AUTO"}`:                      false,
	`{"mode":"ON","tree":{"children":[]}}`: false,
	`{"mode":"ON","tree":{"n":9223372036854775808}}`:      false,
	`{"mode":"ON","tree":{"n":1,"children":[{"n":"1"}]}}`: false,
	`{"mode":"ON","levels":{"a":3}}`:                      false,
	`{"mode":"ON","meter":{"energy":-1}}`:                 false,
	`{"mode":"ON","meter":{"power":1}}`:                   false,
	`{"mode":"ON","set":true}`:                            false,
	`{"mode":"ON","feeds":[]}`:                            false,
	`{"mode":"ON","voltage":1}`:                           false,
	`[]`:                                                  false,
	`null`:                                                false,
}

func TestJSONSchemaInterface(t *testing.T) {
	set := mustParse(t, plant)
	i, _ := set.Interface("dtmi:t:plant;1")
	doc := i.JSONSchema()
	if !bytes.Equal(doc, i.JSONSchema()) {
		t.Error("two exports differ")
	}
	whole := compileSchema(t, doc, "")
	for state, valid := range plantStates {
		if got := i.Validate([]byte(state)) == nil; got != valid {
			t.Errorf("%s: Validate %v: %v", state, got, i.Validate([]byte(state)))
		}
		if got := len(i.Faults([]byte(state))) == 0; got != valid {
			t.Errorf("%s: Faults %v", state, i.Faults([]byte(state)))
		}
		if got := accepts(whole, state); got != valid {
			t.Errorf("%s: JSON Schema %v", state, got)
		}
	}
	set1, _ := i.Command("set")
	feeds, _ := i.Relationship("feeds")
	power, _ := i.Telemetry("power")
	for _, c := range []struct {
		at, raw string
		valid   error
	}{
		{"#/$defs/telemetry~1power", `1.5`, power.Validate([]byte(`1.5`))}, {"#/$defs/telemetry~1power", `"1.5"`, power.Validate([]byte(`"1.5"`))},
		{"#/$defs/command~1set~1request", `"ON"`, set1.Request().Validate([]byte(`"ON"`))}, {"#/$defs/command~1set~1request", `null`, set1.Request().Validate([]byte(`null`))},
		{"#/$defs/command~1set~1response", `null`, set1.Response().Validate([]byte(`null`))}, {"#/$defs/command~1set~1response", `1`, set1.Response().Validate([]byte(`1`))},
		{"#/$defs/relationship~1feeds", `{"share":0.5}`, feeds.Validate([]byte(`{"share":0.5}`))}, {"#/$defs/relationship~1feeds", `{"part":0.5}`, feeds.Validate([]byte(`{"part":0.5}`))},
		{"#/$defs/property~1serial", `"x"`, nil},
	} {
		if got := accepts(compileSchema(t, doc, c.at), c.raw); got != (c.valid == nil) {
			t.Errorf("%s of %s: JSON Schema %v, Validate %v", c.raw, c.at, got, c.valid)
		}
	}
}

// TestJSONSchemaModelSets compiles the export of the interfaces of the public model sets.
func TestJSONSchemaModelSets(t *testing.T) {
	for _, name := range []string{"energygrid", "smartcities", "building"} {
		set, err := Parse(modelSet(t, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for n, i := range set.Interfaces() {
			if name == "building" && n%8 != 0 {
				continue
			}
			s := compileSchema(t, i.JSONSchema(), "")
			if !accepts(s, `{}`) || accepts(s, `{"noSuchProperty":1}`) {
				t.Errorf("%s: the export judges the simplest states wrong", i.ID())
			}
		}
	}
}

// TestFaults shows what collecting finds, with its places.
func TestFaults(t *testing.T) {
	set := mustParse(t, plant)
	i, _ := set.Interface("dtmi:t:plant;1")
	raw := `{"serial":1,"tree":{"n":"x","children":[{"n":1,"y":[1,{}]},{"n":2.5}]},"meter":{"energy":-1,"a~b/c":{}},"levels":{"x":7},"power":true,"power":2}`
	var got []string
	for _, f := range i.Faults(json.RawMessage(raw)) {
		got = append(got, f.Path+": "+f.Detail)
	}
	want := []string{
		"/serial: found a number", "/tree/n: found a string", "/tree/children/0: there is no field \"y\" in the model", "/tree/children/1/n: the number has a fraction or an exponent",
		"/meter/energy: the number is outside the range", "/meter: there is no property, telemetry or component \"a~b/c\" in the model", "/levels/x: the value is not in the enum",
		"/power: found true", ": the member \"power\" occurs twice", ": the required property \"mode\" is missing",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if faults := i.Faults(json.RawMessage(`{"serial":1,"mode":"ON",`)); len(faults) != 2 || !strings.Contains(faults[1].Detail, "not JSON") {
		t.Errorf("broken text: %v", faults)
	}
}
