package device

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/twin"
)

func TestParseTelemetry(t *testing.T) {
	const raw = ` {"t":"2026-01-02T03:04:05.123456Z","seq":7,"telemetry":{"voltage":1.01,"phasors":[1e-3,{"a":null}]},"properties":{"closed":true},"q":{"voltage":"questionable"}} `
	var m twin.Message
	if err := parseTelemetry([]byte(raw), &m); err != nil {
		t.Fatal(err)
	}
	if !m.Time.Equal(time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC)) || m.Seq != 7 || string(m.Raw) != raw || m.Quality["voltage"] != twin.Questionable ||
		string(m.Telemetry["voltage"]) != "1.01" || string(m.Telemetry["phasors"]) != `[1e-3,{"a":null}]` || string(m.Properties["closed"]) != "true" {
		t.Errorf("%+v", m)
	}
}

func TestParseTelemetryRefuses(t *testing.T) {
	const ok = `"t":"2026-01-02T03:04:05Z","telemetry":{"v":1}`
	for name, raw := range map[string]string{
		"empty":                     ``,
		"not an object":             `[1]`,
		"truncated":                 `{` + ok,
		"trailing data":             `{` + ok + `}x`,
		"second document":           `{` + ok + `}{}`,
		"no time":                   `{"telemetry":{"v":1}}`,
		"no value":                  `{"t":"2026-01-02T03:04:05Z"}`,
		"empty values":              `{"t":"2026-01-02T03:04:05Z","telemetry":{},"properties":{}}`,
		"unknown field":             `{` + ok + `,"x":1}`,
		"duplicate field":           `{` + ok + `,"t":"2026-01-02T03:04:05Z"}`,
		"duplicate by escape":       `{` + ok + `,"\u0074":"2026-01-02T03:04:05Z"}`,
		"duplicate name":            `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":1,"v":2}}`,
		"duplicate within a value":  `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":{"a":1,"a":2}}}`,
		"escape in a name":          `{"t":"2026-01-02T03:04:05Z","telemetry":{"\u0076":1}}`,
		"invalid UTF-8":             "{" + ok + ",\"q\":{\"v\":\"\xff\"}}",
		"control character":         "{" + ok + ",\"q\":{\"v\":\"a\nb\"}}",
		"lone surrogate":            `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":"\ud800"}}`,
		"time with an offset":       `{"t":"2026-01-02T03:04:05+01:00","telemetry":{"v":1}}`,
		"time with nanoseconds":     `{"t":"2026-01-02T03:04:05.1234567Z","telemetry":{"v":1}}`,
		"time with a comma":         `{"t":"2026-01-02T03:04:05,123Z","telemetry":{"v":1}}`,
		"no such day":               `{"t":"2026-02-30T03:04:05Z","telemetry":{"v":1}}`,
		"time as a number":          `{"t":1,"telemetry":{"v":1}}`,
		"seq too large":             `{` + ok + `,"seq":65536}`,
		"seq negative":              `{` + ok + `,"seq":-1}`,
		"seq fraction":              `{` + ok + `,"seq":1.5}`,
		"seq with a leading zero":   `{` + ok + `,"seq":01}`,
		"quality unknown":           `{` + ok + `,"q":{"v":"fine"}}`,
		"leading zero":              `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":01}}`,
		"NaN":                       `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":NaN}}`,
		"bare point":                `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":1.}}`,
		"trailing comma":            `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":1,}}`,
		"missing value":             `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":}}`,
		"array instead of values":   `{"t":"2026-01-02T03:04:05Z","telemetry":[1]}`,
		"nested too deep":           `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}}`,
		"nested deep enough to die": strings.Repeat(`{"a":`, 30000),
	} {
		var m twin.Message
		err := parseTelemetry([]byte(raw), &m)
		if err == nil {
			t.Errorf("%s was accepted", name)
		} else if k := vaultmesh.KindOf(err); k != vaultmesh.Invalid && k != vaultmesh.TooLarge {
			t.Errorf("%s: kind %s: %v", name, k, err)
		}
	}
	deep := `{"t":"2026-01-02T03:04:05Z","telemetry":{"v":` + strings.Repeat("[", 14) + strings.Repeat("]", 14) + `}}`
	if err := parseTelemetry([]byte(deep), new(twin.Message)); err != nil {
		t.Errorf("depth 16: %v", err)
	}
	many := []byte(`{"t":"2026-01-02T03:04:05Z","telemetry":{`)
	for i := range 2000 {
		many = fmt.Appendf(many, `"n%d":1,`, i)
	}
	if err := parseTelemetry(append(many, `"z":1}}`...), new(twin.Message)); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("2000 values: %v", err)
	}
}

func TestParseResponseRefuses(t *testing.T) {
	const ok = `"id":"c1","ok":true,"code":"done","t":"2026-01-02T03:04:05Z"`
	if _, err := parseResponse([]byte(`{` + ok + `}`)); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"no id":           `{"ok":true,"code":"done","t":"2026-01-02T03:04:05Z"}`,
		"bad id":          `{"id":"a/b","ok":true,"code":"done","t":"2026-01-02T03:04:05Z"}`,
		"no outcome":      `{"id":"c1","code":"done","t":"2026-01-02T03:04:05Z"}`,
		"outcome as text": `{"id":"c1","ok":"true","code":"done","t":"2026-01-02T03:04:05Z"}`,
		"no code":         `{"id":"c1","ok":true,"t":"2026-01-02T03:04:05Z"}`,
		"long code":       `{"id":"c1","ok":true,"code":"` + strings.Repeat("x", 65) + `","t":"2026-01-02T03:04:05Z"}`,
		"no time":         `{"id":"c1","ok":true,"code":"done"}`,
		"long detail":     `{` + ok + `,"detail":"` + strings.Repeat("x", 513) + `"}`,
		"large body":      `{` + ok + `,"body":"` + strings.Repeat("x", 8<<10) + `"}`,
		"unknown field":   `{` + ok + `,"x":1}`,
		"duplicate":       `{` + ok + `,"ok":false}`,
		"trailing":        `{` + ok + `} {}`,
	} {
		if r, err := parseResponse([]byte(raw)); err == nil {
			t.Errorf("%s was accepted: %+v", name, r)
		}
	}
}

// FuzzTelemetry holds the scanner against encoding/json: what it accepts is valid JSON, and its values are those that
// encoding/json finds.
func FuzzTelemetry(f *testing.F) {
	f.Add([]byte(`{"t":"2026-01-02T03:04:05.123456Z","seq":7,"telemetry":{"voltage":1.01},"properties":{"closed":true},"q":{"voltage":"questionable"}}`))
	f.Add([]byte(`{"t":"2026-01-02T03:04:05Z","telemetry":{"a":"\ud83d\ude00\n","b":[[],{}],"c":-0.0e+12}}`))
	f.Add([]byte(`{"t":"2026-01-02T03:04:05Z","telemetry":{"a":{"\u0061":1,"a":1}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m twin.Message
		if err := parseTelemetry(raw, &m); err != nil {
			return
		}
		var want struct {
			T                     time.Time
			Seq                   uint16
			Telemetry, Properties map[string]json.RawMessage
			Q                     map[string]twin.Quality
		}
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("accepted %q: %v", raw, err)
		}
		if !m.Time.Equal(want.T) || m.Seq != want.Seq || !same(m.Telemetry, want.Telemetry) || !same(m.Properties, want.Properties) || len(m.Quality) != len(want.Q) {
			t.Fatalf("%q: got %+v, want %+v", raw, m, want)
		}
	})
}

func same(a, b map[string]json.RawMessage) bool {
	for k, v := range a {
		if string(b[k]) != string(v) {
			return false
		}
	}
	return len(a) == len(b)
}

// FuzzResponse: whatever arrives is refused with an error or within the documented limits.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"id":"c1","ok":true,"code":"done","detail":"\u00e9","t":"2026-01-02T03:04:05Z","body":{"x":[1]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseResponse(raw)
		if err != nil {
			return
		}
		if r.Code == "" || len(r.Code) > maxCode || len(r.Detail) > maxDetail || len(r.Body) > maxBody || len(r.Body) > 0 && !json.Valid(r.Body) || vaultmesh.CheckID("command", string(r.Command)) != nil {
			t.Fatalf("%q: %+v", raw, r)
		}
	})
}

func TestTopics(t *testing.T) {
	for topic, want := range map[string]purpose{
		"vm/sub-8/tel/bus-8": forTelemetry, "vm/sub-8/rsp": forResponse, "vm/sub-8/tel/": noPurpose, "vm/sub-8/tel/a/b": noPurpose, "vm/sub-8": noPurpose,
		"vm/sub-8/": noPurpose, "vm/sub-88/rsp": noPurpose, "vm/sub-/rsp": noPurpose, "/vm/sub-8/rsp": noPurpose, "VM/sub-8/rsp": noPurpose, "vm/sub-8/rsp/x": noPurpose, "": noPurpose,
	} {
		if got, _, err := publishTopic("sub-8", topic); got != want || (err == nil) != (want != noPurpose) {
			t.Errorf("%q: %d %v", topic, got, err)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 5, "abc"}, {"abc", 2, "ab"}, {"aé", 2, "a"}, {"é", 1, ""}} {
		if got := clip(tc.in, tc.n); got != tc.want {
			t.Errorf("clip(%q, %d) = %q", tc.in, tc.n, got)
		}
	}
}

var sample = []byte(`{"t":"2026-01-02T03:04:05.123456Z","seq":12345,"telemetry":{"voltage":1.0123456,"angle":-12.345678,"activePower":123.456,"reactivePower":-45.678},"properties":{"closed":true,"tap":0.985},"q":{"angle":"good"}}`)

func BenchmarkParseTelemetry(b *testing.B) {
	b.SetBytes(int64(len(sample)))
	b.ReportAllocs()
	for b.Loop() {
		var m twin.Message
		if err := parseTelemetry(sample, &m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseTelemetryJSON is what encoding/json takes for the same envelope, without refusing duplicates.
func BenchmarkParseTelemetryJSON(b *testing.B) {
	b.SetBytes(int64(len(sample)))
	b.ReportAllocs()
	for b.Loop() {
		var m struct {
			T                     time.Time
			Seq                   uint16
			Telemetry, Properties map[string]json.RawMessage
			Q                     map[string]twin.Quality
		}
		if err := json.Unmarshal(sample, &m); err != nil {
			b.Fatal(err)
		}
	}
}
