package gate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"vaultmesh.org/vaultmesh"
)

func TestShippedPolicyPassesItsTests(t *testing.T) {
	report, err := TestPolicy(context.Background(), DefaultPolicy())
	if err != nil {
		t.Fatal(err)
	}
	for _, failed := range report.Failed() {
		t.Errorf("%s: %s", failed.Name, failed.Detail)
	}
	if len(report.Tests) < 10 || report.Digest != DefaultPolicy().Digest() {
		t.Errorf("%d tests, digest %s", len(report.Tests), report.Digest)
	}
}

// module is a policy of one module with this decision rule.
func module(rule string) PolicyFiles {
	return PolicyFiles{"p.rego": []byte("package vaultmesh.gate\n" + rule + "\n")}
}

// A policy whose answer is not exactly of the documented shape denies.
func TestMalformedDecisionsDeny(t *testing.T) {
	needs := `decision := {"outcome":"needs_approval","approvers":%s}`
	for _, c := range []struct{ name, rule, code string }{
		{"undefined", `decision := {"outcome":"allow"} if input.nothing`, "policy.undefined"},
		{"string", `decision := "allow"`, "policy.shape"},
		{"boolean", `decision := true`, "policy.shape"},
		{"null", `decision := null`, "policy.shape"},
		{"list", `decision := [{"outcome":"allow"}]`, "policy.shape"},
		{"empty", `decision := {}`, "policy.shape"},
		{"outcome of another type", `decision := {"outcome":true}`, "policy.shape"},
		{"outcome unknown", `decision := {"outcome":"ALLOW"}`, "policy.shape"},
		{"extra member", `decision := {"outcome":"allow","really":true}`, "policy.shape"},
		{"n1 as string", `decision := {"outcome":"allow","n1":"true"}`, "policy.shape"},
		{"unsimulated_ok as number", `decision := {"outcome":"allow","unsimulated_ok":1}`, "policy.shape"},
		{"reasons as string", `decision := {"outcome":"allow","reasons":"because"}`, "policy.shape"},
		{"reason without code", `decision := {"outcome":"allow","reasons":[{"text":"x"}]}`, "policy.shape"},
		{"reason with more", `decision := {"outcome":"allow","reasons":[{"code":"x","text":"x","why":"x"}]}`, "policy.shape"},
		{"reason with a code that looks like the gate's", `decision := {"outcome":"allow","reasons":[{"code":"limits.range","text":"x"}]}`, "policy.shape"},
		{"too many reasons", `decision := {"outcome":"allow","reasons":[{"code":"x","text":"x"} | some _ in numbers.range(1,40)]}`, "policy.shape"},
		{"approvers beside allow", `decision := {"outcome":"allow","approvers":{"count":1,"roles":["operator"],"ttl_seconds":60}}`, "policy.shape"},
		{"no approvers", `decision := {"outcome":"needs_approval"}`, "policy.shape"},
		{"approvers as number", fmt.Sprintf(needs, `1`), "policy.shape"},
		{"count zero", fmt.Sprintf(needs, `{"count":0,"roles":["operator"],"ttl_seconds":60}`), "policy.shape"},
		{"count negative", fmt.Sprintf(needs, `{"count":-1,"roles":["operator"],"ttl_seconds":60}`), "policy.shape"},
		{"count as fraction", fmt.Sprintf(needs, `{"count":0.5,"roles":["operator"],"ttl_seconds":60}`), "policy.shape"},
		{"count as string", fmt.Sprintf(needs, `{"count":"1","roles":["operator"],"ttl_seconds":60}`), "policy.shape"},
		{"no role", fmt.Sprintf(needs, `{"count":1,"roles":[],"ttl_seconds":60}`), "policy.shape"},
		{"role of another type", fmt.Sprintf(needs, `{"count":1,"roles":[1],"ttl_seconds":60}`), "policy.shape"},
		{"no time", fmt.Sprintf(needs, `{"count":1,"roles":["operator"]}`), "policy.shape"},
		{"too much time", fmt.Sprintf(needs, `{"count":1,"roles":["operator"],"ttl_seconds":90000}`), "policy.shape"},
		{"conflict", "decision := {\"outcome\":\"allow\"} if input.command\ndecision := {\"outcome\":\"deny\"} if input.command", "policy.error"},
		// A failing builtin must not make a deny rule vanish: here the argument is a number, not a string. The second
		// form would be skipped by the index of rules.
		{"builtin fails", "decision := {\"outcome\":\"deny\"} if upper(input.args.megawatts) == \"9\"\nelse := {\"outcome\":\"allow\"}", "policy.error"},
		{"indexed builtin fails", "decision := {\"outcome\":\"deny\"} if startswith(input.args.megawatts, \"9\")\nelse := {\"outcome\":\"allow\"}", "policy.error"},
		{"denial without a reason", `decision := {"outcome":"deny"}`, "policy.denied"},
	} {
		f := newFixture(t, func(o *Options) { o.Policy = module(c.rule) })
		a := f.assess(t, f.setPower(t, `{"megawatts":400}`))
		denied(t, c.name, a, StagePolicy, c.code)
	}
}

func TestPolicyInput(t *testing.T) {
	rule := `import data.x
decision := {"outcome":"allow"} if {
	input.principal == {"id":"agent:a","kind":"agent","roles":[]}
	input.capability.actions == ["command"]
	input.twin.id == "gen-1"
	input.twin.version == "7"
	input.twin.nameplate.pMax == 500
	input.twin.reported.connected == {"v":true,"q":"good","t":"2026-01-02T03:04:05.000000Z"}
	input.twin.telemetry.activePower.v == 299.5
	input.command == "setActivePower"
	input.args == {"megawatts":400}
	input.model_ancestors == []
	input.now == "2026-01-02T03:04:05.000000Z"
	input.simulation.available
	time.parse_rfc3339_ns(input.now) > 0
}`
	f := newFixture(t, func(o *Options) { o.Policy = module(strings.TrimPrefix(rule, "import data.x\n")) })
	if a := f.assess(t, f.setPower(t, `{"megawatts":400}`)); a.Outcome != Allow {
		t.Errorf("%+v", a.Reasons)
	}
}

func TestPolicyIsConfined(t *testing.T) {
	for _, expr := range []string{
		`http.send({"method":"get","url":"http://127.0.0.1"})`, `opa.runtime()`, `net.lookup_ip_addr("localhost")`, `time.now_ns()`,
		`rand.intn("x", 2)`, `uuid.rfc4122("x")`, `io.jwt.decode("x")`, `rego.parse_module("x", "package y")`,
		`json.match_schema({}, {"$ref":"http://127.0.0.1"})`, `rego.metadata.rule()`,
	} {
		_, err := compilePolicy(context.Background(), module(`decision := {"outcome":"allow","x":`+expr+`}`))
		if err == nil {
			t.Errorf("the policy may call %s", expr)
		}
	}
}

func TestPolicyTimeout(t *testing.T) {
	// Each count of the comprehension is a million steps; the evaluation is cancelled long before the end.
	rule := `decision := {"outcome":"allow"} if count([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i*j == -1; some k in numbers.range(1, 3000); k == i]) == 0`
	f := newFixture(t, func(o *Options) { o.Policy, o.PolicyTimeout = module(rule), 1 })
	denied(t, "slow policy", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StagePolicy, "policy.timeout")
}

func TestLoadPolicyKeepsTheOldOne(t *testing.T) {
	f := newFixture(t)
	old := f.gate.PolicyDigest()
	write := func(files map[string]string) string {
		dir := t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	good := "package vaultmesh.gate\ndecision := {\"outcome\":\"deny\"}\n"
	for name, files := range map[string]map[string]string{
		"does not parse":    {"p.rego": "package"},
		"does not compile":  {"p.rego": "package vaultmesh.gate\ndecision := unknown(1)\n"},
		"decides nothing":   {"p.rego": "package other\nallow := true\n"},
		"its test fails":    {"p.rego": good, "p_test.rego": "package t\nimport data.vaultmesh.gate\ntest_x if gate.decision.outcome == \"allow\"\n"},
		"its test is off":   {"p.rego": good, "p_test.rego": "package t\ntodo_test_x if true\n"},
		"data repeated":     {"p.rego": good, "data.json": `{"a":1,"a":2}`},
		"data not object":   {"p.rego": good, "data.json": `[]`},
		"foreign file":      {"p.rego": good, "extra.yaml": "a: 1"},
		"decision in tests": {"p_test.rego": good},
		"empty":             {},
	} {
		if err := f.gate.LoadPolicy(context.Background(), write(files)); err == nil {
			t.Errorf("%s: loaded", name)
		}
		if f.gate.PolicyDigest() != old {
			t.Fatalf("%s: the policy in force has changed", name)
		}
	}
	if err := f.gate.LoadPolicy(context.Background(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("loaded a folder that is not there")
	}
	if err := f.gate.LoadPolicy(context.Background(), write(map[string]string{"p.rego": good, "README.md": "words"})); err != nil {
		t.Fatal(err)
	}
	if f.gate.PolicyDigest() == old {
		t.Error("the digest did not change")
	}
	denied(t, "new policy", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StagePolicy, "policy.denied")
}

func TestPolicyDigest(t *testing.T) {
	a := PolicyFiles{"a.rego": []byte("x"), "b.rego": []byte("y")}
	for name, b := range map[string]PolicyFiles{
		"content":       {"a.rego": []byte("x"), "b.rego": []byte("z")},
		"name":          {"a.rego": []byte("x"), "c.rego": []byte("y")},
		"swapped":       {"a.rego": []byte("y"), "b.rego": []byte("x")},
		"border":        {"a.rego": []byte("xb.rego"), "": []byte("y")},
		"one file less": {"a.rego": []byte("x")},
	} {
		if a.Digest() == b.Digest() {
			t.Errorf("%s: the digest is the same", name)
		}
	}
	if (a.Digest() == vaultmesh.Digest{}) {
		t.Error("zero digest")
	}
	big := fstest.MapFS{"p.rego": {Data: make([]byte, maxPolicyBytes+1)}}
	if _, err := ReadPolicy(big); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("a huge policy: %v", err)
	}
}
