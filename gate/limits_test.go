package gate

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func TestParseLimits(t *testing.T) {
	fromJSON, err := ParseLimits([]byte(testLimits))
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(fromJSON)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := ParseLimits(again); err != nil || !reflect.DeepEqual(l, fromJSON) {
		t.Errorf("%v: %+v, want %+v", err, l, fromJSON)
	}
	fromYAML, err := ParseLimits([]byte(`
commands:
  - model: dtmi:org:example:Generator;1
    command: setActivePower
    rules:
      - name: nameplate
        range: {arg: megawatts, min: {nameplate: pMin}, max: {nameplate: pMax}}
      - name: ramp
        ramp: {arg: megawatts, property: activePowerSetpoint, max: {nameplate: pMax, scale: 0.5}, max_age: 1m}
      - name: in-service
        interlock: {property: connected, equals: true, max_age: 1m, age_of: twin}
      - name: often
        rate: {per: twin, max: 3, window: 1m}
`))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromYAML.Commands[0], fromJSON.Commands[0]) {
		t.Errorf("YAML gives %+v, JSON %+v", fromYAML.Commands[0], fromJSON.Commands[0])
	}
}

func TestParseLimitsRefuses(t *testing.T) {
	rule := func(r string) string {
		return `{"commands":[{"model":"m","command":"c","rules":[` + r + `]}]}`
	}
	for name, doc := range map[string]string{
		"empty":                  ``,
		"not an object":          `[]`,
		"unknown field":          `{"commands":[],"extra":1}`,
		"repeated field":         `{"commands":[],"commands":[]}`,
		"repeated field in YAML": "commands: []\ncommands: []\n",
		"other case":             `{"Commands":[]}`,
		"confusable field":       `{"commandſ":[]}`,
		"undeclared":             `{"undeclared":"maybe","commands":[]}`,
		"no model":               `{"commands":[{"command":"c","rules":[]}]}`,
		"bad command":            `{"commands":[{"model":"m","command":"c d","rules":[]}]}`,
		"no kind":                rule(`{"name":"r"}`),
		"two kinds":              rule(`{"name":"r","range":{"arg":"a","min":{"const":1}},"rate":{"per":"twin","max":1,"window":"1m"}}`),
		"no name":                rule(`{"range":{"arg":"a","min":{"const":1}}}`),
		"same name":              rule(`{"name":"r","range":{"arg":"a","min":{"const":1}}},{"name":"r","range":{"arg":"a","min":{"const":1}}}`),
		"range without bound":    rule(`{"name":"r","range":{"arg":"a"}}`),
		"range without argument": rule(`{"name":"r","range":{"min":{"const":1}}}`),
		"empty bound":            rule(`{"name":"r","range":{"arg":"a","min":{}}}`),
		"double bound":           rule(`{"name":"r","range":{"arg":"a","min":{"const":1,"nameplate":"p"}}}`),
		"bound as string":        rule(`{"name":"r","range":{"arg":"a","min":{"const":"1"}}}`),
		"bound infinite":         rule(`{"name":"r","range":{"arg":"a","min":{"const":1e999}}}`),
		"NaN in YAML":            "commands:\n- model: m\n  command: c\n  rules:\n  - name: r\n    range: {arg: a, min: {const: .nan}}\n",
		"scaled constant":        rule(`{"name":"r","range":{"arg":"a","min":{"const":1,"scale":2}}}`),
		"ramp without age":       rule(`{"name":"r","ramp":{"arg":"a","property":"p","max":{"const":1}}}`),
		"ramp without bound":     rule(`{"name":"r","ramp":{"arg":"a","property":"p","max_age":"1m"}}`),
		"interlock of object":    rule(`{"name":"r","interlock":{"property":"p","equals":{},"max_age":"1m"}}`),
		"interlock of null":      rule(`{"name":"r","interlock":{"property":"p","equals":null,"max_age":"1m"}}`),
		"age as number":          rule(`{"name":"r","interlock":{"property":"p","max_age":60}}`),
		"age without unit":       rule(`{"name":"r","interlock":{"property":"p","max_age":"60"}}`),
		"age negative":           rule(`{"name":"r","interlock":{"property":"p","max_age":"-1m"}}`),
		"age of what":            rule(`{"name":"r","interlock":{"property":"p","max_age":"1m","age_of":"domain"}}`),
		"rate for what":          rule(`{"name":"r","rate":{"per":"domain","max":1,"window":"1m"}}`),
		"rate of zero":           rule(`{"name":"r","rate":{"per":"twin","max":0,"window":"1m"}}`),
		"rate negative":          rule(`{"name":"r","rate":{"per":"twin","max":-1,"window":"1m"}}`),
		"rate without window":    rule(`{"name":"r","rate":{"per":"twin","max":1}}`),
		"trailing":               `{"commands":[]}{}`,
		"too large":              `{"commands":[` + strings.Repeat(" ", maxLimitsBytes) + `]}`,
	} {
		if l, err := ParseLimits([]byte(doc)); err == nil {
			t.Errorf("%s: accepted as %+v", name, l)
		}
	}
}

func TestUndeclaredAllow(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits = &Limits{Undeclared: "allow"} })
	if a := f.assess(t, f.request(t, "operator:alice", "gen-1", "shed", `{}`)); a.Outcome != Allow {
		t.Errorf("%+v", a.Reasons)
	}
}

func TestRates(t *testing.T) {
	f := newFixture(t)
	want := []RateLimit{{ID: generator + "/setActivePower/often", Per: "twin", Max: 3, Window: time.Minute}}
	if got := f.gate.Rates(generator, "setActivePower"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := f.gate.Rates(line, "openBreaker"); got != nil {
		t.Errorf("got %+v, want none", got)
	}
}

func TestNewRefuses(t *testing.T) {
	revoked := func(vaultmesh.Digest) bool { return false }
	for name, opt := range map[string]Options{
		"no domain":      {Revoked: revoked},
		"no revocations": {Domain: "d"},
		"bad limits":     {Domain: "d", Revoked: revoked, Limits: &Limits{Commands: []CommandLimit{{Model: "m", Command: "c", Rules: []Rule{{Name: "r"}}}}}},
		"bad policy":     {Domain: "d", Revoked: revoked, Policy: PolicyFiles{"p.rego": []byte("package")}},
	} {
		if _, err := New(opt); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseLimits(f *testing.F) {
	for _, s := range []string{testLimits, `{"commands":[]}`, "commands: []", "a: &a [*a]", "commands:\n- model: m\n  command: c\n  rules: []\n", `{`, `{"commands":[{"rules":[{}]}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLimits(data)
		if err != nil {
			return
		}
		raw, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseLimits(raw); err != nil || len(again.Commands) != len(l.Commands) {
			t.Fatalf("accepted limits do not parse again: %v\n%s", err, raw)
		}
	})
}

// Whatever the arguments are, a command that is allowed has a number within its limits.
func FuzzArguments(f *testing.F) {
	fix := newFixture(f)
	for _, s := range []string{`{"megawatts":400}`, `{"megawatts":"400"}`, `{"megawatts":1e999}`, `{"megawatts":400,"megawatts":9}`, `[]`, `{"megawatts":-0}`, `{"megawatts":4e2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		a, err := fix.gate.Assess(t.Context(), fix.setPower(t, args))
		if err != nil || a.Outcome != Allow {
			return
		}
		var got struct{ Megawatts *float64 }
		if json.Unmarshal([]byte(args), &got) != nil || got.Megawatts == nil || *got.Megawatts < 50 || *got.Megawatts > 500 {
			t.Fatalf("allowed with %s", args)
		}
	})
}
