package dtdl

import (
	"encoding/json"
	"strings"
	"testing"
)

func BenchmarkValidate(b *testing.B) {
	for _, c := range []struct{ name, schema, raw string }{
		{"double", `"double"`, `1.0123`},
		{"boolean", `"boolean"`, `true`},
		{"long", `"long"`, `9007199254740993`},
		{"dateTime", `"dateTime"`, `"2026-01-02T03:04:05.123456Z"`},
		{"object", `{"@type":"Object","fields":[{"name":"x","schema":"double"},{"name":"y","schema":"double"},{"name":"on","schema":"boolean"}]}`, `{"x":1.25,"y":-3.5,"on":true}`},
		{"array100", `{"@type":"Array","elementSchema":"double"}`, `[` + strings.Repeat("1.25,", 99) + `1]`},
	} {
		b.Run(c.name, func(b *testing.B) {
			i, _ := mustParse(b, telemetry(c.schema)).Interface("dtmi:t:x;1")
			v, _ := i.Telemetry("v")
			raw := json.RawMessage(c.raw)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if err := v.Validate(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUnmarshal is the floor to compare with: what the standard library takes for the same values.
func BenchmarkUnmarshal(b *testing.B) {
	raw := []byte(`1.0123`)
	b.ReportAllocs()
	for b.Loop() {
		var f float64
		if err := json.Unmarshal(raw, &f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	s := mustParse(b, telemetry(`"double"`))
	b.ReportAllocs()
	for b.Loop() {
		i, _ := s.Interface("dtmi:t:x;1")
		if _, ok := i.Telemetry("v"); !ok {
			b.Fatal("no telemetry")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, set := range []string{"energygrid", "building", "smartcities"} {
		b.Run(set, func(b *testing.B) {
			docs := modelSet(b, set)
			size := 0
			for _, d := range docs {
				size += len(d.Data)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(docs, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
