package dtdl

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

// schemaOf parses a schema of DTDL v4.
func schemaOf(t testing.TB, schema string) *Schema {
	t.Helper()
	i, _ := mustParse(t, telemetry(schema)).Interface("dtmi:t:x;1")
	v, _ := i.Telemetry("v")
	return v.Schema()
}

func TestValues(t *testing.T) {
	const (
		object = `{"@type":"Object","fields":[{"name":"a","schema":"double"},{"name":"b","schema":"string"}]}`
		dict   = `{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"integer"}}`
		ints   = `{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"x","enumValue":-1},{"name":"y","enumValue":2147483647}]}`
		texts  = `{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"x","enumValue":"on"},{"name":"y","enumValue":"é"}]}`
	)
	for _, c := range []struct {
		schema    string
		good, bad []string
	}{
		{`"boolean"`, []string{`true`, " false\n"}, []string{``, `True`, `truex`, `true false`, `1`, `null`, `"true"`}},
		{`"byte"`, []string{`-128`, `127`, `-0`}, []string{`-129`, `128`, `1.0`, `1e1`, `01`, `+1`, `-`}},
		{`"short"`, []string{`-32768`, `32767`}, []string{`-32769`, `32768`}},
		{`"integer"`, []string{`-2147483648`, `2147483647`}, []string{`-2147483649`, `2147483648`, `"1"`}},
		{`"long"`, []string{`-9223372036854775808`, `9223372036854775807`, `9007199254740993`},
			[]string{`-9223372036854775809`, `9223372036854775808`, `99999999999999999999`, `100000000000000000000000`}},
		{`"unsignedByte"`, []string{`0`, `255`}, []string{`256`, `-1`, `-0`}},
		{`"unsignedShort"`, []string{`65535`}, []string{`65536`}},
		{`"unsignedInteger"`, []string{`4294967295`}, []string{`4294967296`}},
		{`"unsignedLong"`, []string{`18446744073709551615`}, []string{`18446744073709551616`, `99999999999999999999`, `-1`}},
		{`"double"`, []string{`1`, `-0.5`, `1e308`, `1.7976931348623157e308`, `0e999999999999`, `1e-999999999999`, `0.000000000001e310`},
			[]string{`1.8e308`, `1e309`, `1e999999999999`, `NaN`, `Infinity`, `-Infinity`, `.5`, `1.`, `1e`, `0x1`, `1_0`, `00`}},
		{`"float"`, []string{`3.4028235e38`, `1e-60`}, []string{`3.5e38`, `1e39`}},
		{`"string"`, []string{`""`, `"é\n\u00e9\ud83d\ude00"`}, []string{`"`, "\"\xff\"", `"\x"`, `"\ud800"`, `"\udc00"`, "\"\n\"", `'a'`, `"\u12"`}},
		{`"date"`, []string{`"2024-02-29"`, `"0001-01-01"`, `"2000-02-29"`, `"2026\u002d01-01"`}, []string{`"2023-02-29"`, `"1900-02-29"`, `"0000-01-01"`, `"2026-1-1"`, `"2026-01-01Z"`}},
		{`"dateTime"`, []string{`"2026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05.123456789-23:59"`},
			[]string{`"2026-01-02 03:04:05Z"`, `"2026-01-02t03:04:05Z"`, `"2026-01-02T03:04:05"`, `"2026-01-02T03:04:05.Z"`, `"2026-01-02T03:04:60Z"`, `"2026-01-02T03:04:05+24:00"`}},
		{`"time"`, []string{`"00:00:00Z"`, `"23:59:59.9+01:00"`}, []string{`"24:00:00Z"`, `"1:00:00Z"`, `"01:00:00"`, `"01:00:00+0100"`}},
		{`"duration"`, []string{`"P1Y2M3DT4H5M6.7S"`, `"PT0S"`, `"P1W2D"`, `"P0.5D"`}, []string{`"P"`, `"PT"`, `"P1"`, `"P1S"`, `"P1DT"`, `"P1.5DT1H"`, `"P1M1W"`, `"PT1S1M"`, `"-P1D"`, `"P1DT1W"`, `"P1TT1S"`}},
		{`"decimal"`, []string{`"0"`, `"-12.50"`, `"+1."`, `"123456789012345678901234567890.1"`}, []string{`""`, `"-"`, `"01"`, `".5"`, `"1e5"`, `"1.2.3"`, `1`}},
		{`"uuid"`, []string{`"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`, `"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"`},
			[]string{`"f81d4fae7dec11d0a76500a0c91e6bf6"`, `"g81d4fae-7dec-11d0-a765-00a0c91e6bf6"`, `"{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}"`}},
		{`"bytes"`, []string{`""`, `"AQ=="`, `"AQI="`, `"AQID"`, `"\/\/8="`}, []string{`"AQ"`, `"A==="`, `"=AQI"`, `"A=QI"`, `"AQ-_"`, `"AQI=\n"`}},
		{`"scaledDecimal"`, []string{`{}`, `{"scale":7,"value":"1234.56"}`}, []string{`{"scale":40000}`, `{"value":1.5}`, `{"unit":"m"}`}},
		{`"point"`, []string{`{"type":"Point","coordinates":[8.5,47.4]}`, `{"coordinates":[8.5,47.4,400],"type":"Point"}`},
			[]string{`{}`, `{"type":"Point"}`, `{"coordinates":[1,2]}`, `{"type":"point","coordinates":[1,2]}`, `{"type":"Point","coordinates":[1]}`, `{"type":"Point","coordinates":[1,2,3,4]}`,
				`{"type":"Point","coordinates":["1",2]}`, `{"type":"Point","type":"Point","coordinates":[1,2]}`, `{"type":"Point","coordinates":[1,2],"crs":1}`, `[1,2]`}},
		{`"multiPoint"`, []string{`{"type":"MultiPoint","coordinates":[]}`, `{"type":"MultiPoint","coordinates":[[1,2],[3,4]]}`}, []string{`{"type":"MultiPoint","coordinates":[1,2]}`}},
		{`"lineString"`, []string{`{"type":"LineString","coordinates":[[1,2],[3,4]]}`}, []string{`{"type":"LineString","coordinates":[[1,2]]}`}},
		{`"multiLineString"`, []string{`{"type":"MultiLineString","coordinates":[[[1,2],[3,4]]]}`}, []string{`{"type":"MultiLineString","coordinates":[[[1,2]]]}`}},
		{`"polygon"`, []string{`{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`},
			[]string{`{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1]]]}`, `{"type":"Polygon","coordinates":[[[0,0],[1,0],[0,0]]]}`}},
		{`"multiPolygon"`, []string{`{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]]]}`}, []string{`{"type":"MultiPolygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`}},
		{`{"@type":"Array","elementSchema":"integer"}`, []string{`[]`, `[ 1 , 2 ]`}, []string{`[1,]`, `[1 2]`, `[1`, `[,1]`, `[1.5]`, `{}`, `null`}},
		{object, []string{`{}`, `{"b":"x","a":1}`, ` { "\u0061" : 1 } `}, []string{`{"c":1}`, `{"a":null}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a" 1}`, `{a:1}`, `{"a":1,}`, `{"a":1`, `[]`}},
		{dict, []string{`{}`, `{"":1,"any key":2}`}, []string{`{"a":"1"}`, `{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{1:1}`}},
		{ints, []string{`-1`, `2147483647`}, []string{`0`, `1`, `-1.0`, `"x"`, `4294967295`}},
		{texts, []string{`"on"`, `"é"`, `"\u00e9"`}, []string{`"x"`, `"off"`, `1`, `null`}},
	} {
		s := schemaOf(t, c.schema)
		for _, v := range c.good {
			if err := s.Validate(json.RawMessage(v)); err != nil {
				t.Errorf("%s: %s: %v", c.schema, v, err)
			}
		}
		for _, v := range c.bad {
			if err := s.Validate(json.RawMessage(v)); err == nil {
				t.Errorf("%s: %s is accepted", c.schema, v)
			} else if k := vaultmesh.KindOf(err); k != vaultmesh.Invalid {
				t.Errorf("%s: %s: kind %v", c.schema, v, k)
			}
		}
	}
}

func TestRequiredFields(t *testing.T) {
	s := mustParse(t, strings.Replace(telemetry(`{"@type":"Object","fields":[{"@type":["Field","Required"],"name":"x","schema":"double"},{"name":"y","schema":"double"}]}`),
		`"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:dtdl:extension:requirement;1"]`, 1))
	i, _ := s.Interface("dtmi:t:x;1")
	v, _ := i.Telemetry("v")
	for raw, ok := range map[string]bool{`{"x":1}`: true, `{"y":2,"x":1}`: true, `{}`: false, `{"y":2}`: false} {
		if err := v.Validate([]byte(raw)); (err == nil) != ok {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestPayloads(t *testing.T) {
	s := mustParse(t, iface("dtmi:t:x;1", `"contents":[{"@type":"Command","name":"c",
		"request":{"name":"q","schema":"integer"},"response":{"name":"r","schema":"integer","nullable":true}},{"@type":"Command","name":"none"}]`))
	i, _ := s.Interface("dtmi:t:x;1")
	c, _ := i.Command("c")
	for raw, want := range map[string][2]bool{``: {false, true}, `null`: {false, true}, ` null `: {false, true}, `nullx`: {false, false}, `1`: {true, true}, `x`: {false, false}} {
		if got := [2]bool{c.Request().Validate([]byte(raw)) == nil, c.Response().Validate([]byte(raw)) == nil}; got != want {
			t.Errorf("%q: %v, want %v", raw, got, want)
		}
	}
	if none, ok := i.Command("none"); !ok || none.Request() != nil || none.Response() != nil {
		t.Error("a command without payloads has some")
	}
}

// TestValueErrors shows whole texts: the path, what was found, and what is expected.
func TestValueErrors(t *testing.T) {
	const series = `{"@type":"Object","fields":[{"name":"rows","schema":{"@type":"Array","elementSchema":
		{"@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"double"}}}}]}`
	for _, c := range []struct{ schema, raw, want string }{
		{`"double"`, `"12"`, `dtdl.validate telemetry v: found a string (expected a double, a finite number like 12.5)`},
		{`"integer"`, `3000000000`, `dtdl.validate telemetry v: the number is outside the range (expected an integer, a whole number from -2147483648 to 2147483647)`},
		{`"integer"`, `1.0`, `dtdl.validate telemetry v: the number has a fraction or an exponent (expected an integer, a whole number from -2147483648 to 2147483647)`},
		{`"double"`, ``, `dtdl.validate telemetry v: found nothing (expected a double, a finite number like 12.5)`},
		{`"double"`, `1 2`, `dtdl.validate telemetry v: not JSON: something follows the value (expected one JSON value)`},
		{series, `{"rows":[{},{"a/b":1,"c~":true}]}`, `dtdl.validate telemetry v at "/rows/1/c~0": found true (expected a double, a finite number like 12.5)`},
		{series, `{"row":[]}`, `dtdl.validate telemetry v: there is no field "row" in the model (expected an object)`},
		{`{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"a","enumValue":"open"},{"name":"b","enumValue":"closed"}]}`, `"ajar"`,
			`dtdl.validate telemetry v: the value is not in the enum (expected one of "open", "closed")`},
		{`"polygon"`, `{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,"0"]]]}`,
			`dtdl.validate telemetry v at "/coordinates/0/3/1": found a string (expected a double, a finite number like 12.5)`},
	} {
		i, _ := mustParse(t, telemetry(c.schema)).Interface("dtmi:t:x;1")
		v, _ := i.Telemetry("v")
		err := v.Validate([]byte(c.raw))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got\n%v\nwant\n%s", c.raw, err, c.want)
		}
	}
}

func TestValueBounds(t *testing.T) {
	tree := mustParse(t, iface("dtmi:t:x;1", `"schemas":[{"@id":"dtmi:t:tree;1","@type":"Array","elementSchema":"dtmi:t:tree;1"}],
		"contents":[{"@type":"Telemetry","name":"v","schema":"dtmi:t:tree;1"}]`))
	i, _ := tree.Interface("dtmi:t:x;1")
	v, _ := i.Telemetry("v")
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if err := v.Validate(deep(MaxValueDepth)); err != nil {
		t.Error(err)
	}
	for name, raw := range map[string][]byte{
		"depth": deep(MaxValueDepth + 1),
		"size":  []byte("[" + strings.Repeat(" ", MaxValueBytes) + "]"),
	} {
		if err := v.Validate(raw); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// builtins returns one schema of each kind that every set has, by kind.
func builtins() []*Schema {
	out := make([]*Schema, MultiPolygon+1)
	for e := range standardElements() {
		if s := standardSchema(e); s != nil {
			out[s.kind] = s
		}
	}
	return out
}

// TestNumbersAgree compares the range checks with strconv over random numbers.
func TestNumbersAgree(t *testing.T) {
	kinds := map[SchemaKind]int{Byte: 8, Short: 16, Integer: 32, Long: 64}
	unsigned := map[SchemaKind]int{UnsignedByte: 8, UnsignedShort: 16, UnsignedInteger: 32, UnsignedLong: 64}
	all := builtins()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
		check := func(k SchemaKind, err error) {
			if got := all[k].Validate([]byte(text)); (got == nil) != (err == nil) {
				t.Fatalf("%v of %s: %v, strconv says %v", k, text, got, err)
			}
		}
		for k, bits := range kinds {
			_, err := strconv.ParseInt(text, 10, bits)
			check(k, err)
		}
		for k, bits := range unsigned {
			_, err := strconv.ParseUint(text, 10, bits)
			check(k, err)
		}
		for k, bits := range map[SchemaKind]int{Double: 64, Float: 32} {
			f, err := strconv.ParseFloat(text, bits)
			if err == nil && math.IsInf(f, 0) {
				err = errors.New("infinite")
			}
			check(k, err)
		}
	})
}

func TestValidateDoesNotAllocate(t *testing.T) {
	for _, c := range []struct{ schema, raw string }{
		{`"double"`, `-12345.678e-3`},
		{`"double"`, `0.1234567890123456789012345678901234567890`},
		{`"float"`, `1.5`},
		{`"long"`, `-9223372036854775808`},
		{`"integer"`, `42`},
		{`"boolean"`, `true`},
		{`"dateTime"`, `"2026-01-02T03:04:05.123456Z"`},
		{`"string"`, `"a string"`},
		{`{"@type":"Enum","valueSchema":"string","enumValues":[{"name":"a","enumValue":"open"}]}`, `"open"`},
		{`{"@type":"Object","fields":[{"name":"a","schema":"double"},{"name":"b","schema":{"@type":"Array","elementSchema":"integer"}}]}`, `{"a":1.5,"b":[1,2,3]}`},
	} {
		i, _ := mustParse(t, telemetry(c.schema)).Interface("dtmi:t:x;1")
		v, _ := i.Telemetry("v")
		raw := json.RawMessage(c.raw)
		if n := testing.AllocsPerRun(100, func() {
			if v.Validate(raw) != nil {
				t.Fatal("invalid")
			}
		}); n != 0 {
			t.Errorf("%s of %s: %v allocations", c.raw, c.schema, n)
		}
	}
}
