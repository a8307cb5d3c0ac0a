package dtdl

import (
	"encoding/json"
	"runtime"
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

// BenchmarkLoad says what a set of 768 interfaces takes from bytes to a graph: milliseconds, MB allocated on
// the way, and MB that the graph keeps.
func BenchmarkLoad(b *testing.B) {
	docs := modelSet(b, "building")
	var s *Set
	before := collected()
	for b.Loop() {
		var err error
		if s, err = Parse(docs, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/set")
	b.ReportMetric(float64(collected().HeapAlloc-before.HeapAlloc)/1e6, "MB-kept")
	b.ReportMetric(float64(allocatedBy(func() { _, _ = Parse(docs, Options{}) }))/1e6, "MB-allocated")
	b.ReportMetric(float64(s.Len()), "interfaces")
}

func collected() runtime.MemStats {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

// allocatedBy returns the bytes that f allocates, freed ones included: more than it ever needs at once.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestLoadMemory(t *testing.T) {
	docs := modelSet(t, "building")
	n := 0
	bytes := allocatedBy(func() {
		s, err := Parse(docs, Options{})
		if err != nil {
			t.Fatal(err)
		}
		n = s.Len()
	})
	t.Logf("%d interfaces: %.1f MB allocated", n, float64(bytes)/1e6)
	if n < 768 || bytes > 20e6 {
		t.Errorf("%d interfaces took %d bytes, want 768 in 20 MB", n, bytes)
	}
}
