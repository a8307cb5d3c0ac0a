package mcpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
	story "vaultmesh.org/vaultmesh/test/sample"
	"vaultmesh.org/vaultmesh/whatif"
)

// ask calls a tool without a protocol, checks the answer against the declared schema, and decodes it.
func ask(t *testing.T, s *Server, name string, args string) (result, map[string]any) {
	t.Helper()
	for _, x := range s.tools {
		if x.name != name {
			continue
		}
		c := s.callOf(control.Caller{}, false)
		c.args = json.RawMessage(args)
		r := s.invoke(t.Context(), x.tool, c)
		conforms(t, x.wire.OutputSchema.(json.RawMessage), r.structured)
		var out map[string]any
		must(t, json.Unmarshal(r.structured, &out))
		if r.failed {
			for _, member := range []string{"kind", "detail", "fix"} {
				if v, _ := out[member].(string); v == "" {
					t.Errorf("%s: the failure does not say %s: %s", name, member, r.structured)
				}
			}
		}
		if r.text == "" {
			t.Errorf("%s: no words", name)
		}
		return r, out
	}
	t.Fatalf("no tool %s", name)
	return result{}, nil
}

func conforms(t *testing.T, schema, doc json.RawMessage) {
	t.Helper()
	var s jsonschema.Schema
	must(t, json.Unmarshal(schema, &s))
	r, err := s.Resolve(nil)
	must(t, err)
	var v any
	must(t, json.Unmarshal(doc, &v))
	if err := r.Validate(v); err != nil {
		t.Errorf("%s does not conform to the schema: %v", doc, err)
	}
}

func TestEveryToolAnswers(t *testing.T) {
	s := newServer(t, sample(t), func(o *Options) {
		o.Commands = func(context.Context, string) ([]CommandDoc, error) {
			return []CommandDoc{{Name: "openBreaker", Arguments: json.RawMessage(`{"type":"object"}`)}}, nil
		}
	})
	cases := []struct{ tool, args, want string }{
		{"list_twins", `{}`, "2 twins"},
		{"list_twins", `{"limit":1,"values":true}`, `after="bus:1"`},
		{"list_twins", `{"prefix":"line-","model":"dtmi:org:vaultmesh:grid:Line;1","device":"sub-1"}`, "1 twins"},
		{"get_twin", `{"twin":"bus:1"}`, "voltage = 1.02 (questionable)"},
		{"read_history", `{"twin":"bus:1","name":"voltage"}`, "100 values"},
		{"read_history", `{"twin":"bus:1","name":"voltage","from":"2026-01-02T03:00:00Z","to":"2026-01-02T03:04:00+00:00","limit":3}`, "3 values"},
		{"simulate_command", `{"twin":"line-1-2","command":"openBreaker","n1":true}`, "SAFE"},
		{"propose_command", `{"twin":"line-1-2","command":"setTap","args":{"ratio":1.0},"idempotency_key":"a-1","reason":"low voltage"}`, "DISPATCHED"},
		{"command_status", `{"command_id":"` + string(idOf(control.Aligned)) + `"}`, "ALIGNED"},
		{"list_commands", `{"state":"denied"}`, "1 commands"},
		{"halt_status", `{}`, "not halted"},
		{"prove", `{"command_ids":["` + string(idOf(control.Aligned)) + `"],"inline":true}`, "1 receipts"},
		{"verify", `{"command_id":"` + string(idOf(control.Aligned)) + `"}`, "VERIFIED"},
		{"search_receipts", `{"twin":"bus:1","bodies":true,"limit":2}`, `{"bodies":true,"cursor":"2","limit":2,"twin":"bus:1"}`},
		{"search_receipts", `{"command_id":"cmd-01","scroll":"automation","from":"2026-01-02T03:00:00Z"}`, "command.denied command/cmd-01 by agent:a"},
		{"prove_state", `{"twin":"bus:1","property":"closed"}`, "reported closed = true"},
		{"prove_state", `{"subject":"halt/dev","at_size":"7"}`, "was not in the state at size 7"},
		{"multi_anchor", `{"targets":["bitcoin","rfc3161"],"idempotency_key":"a-2","wait_for":"final","wait_seconds":5}`, "2 of 2 anchors are verified"},
		{"anchor_status", `{}`, "1 targets, 20 anchors"},
	}
	seen := map[string]bool{}
	for _, c := range cases {
		seen[c.tool] = true
		r, _ := ask(t, s, c.tool, c.args)
		if r.failed || !strings.Contains(r.text, c.want) {
			t.Errorf("%s %s: failed=%v, want %q in:\n%s", c.tool, c.args, r.failed, c.want, r.text)
		}
	}
	for _, x := range s.tools {
		if !seen[x.name] {
			t.Errorf("%s is not tried", x.name)
		}
	}
}

// Every state of a command is explained, and its suggestions are calls that the tools accept.
func TestEveryStateSaysWhatToDo(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	for _, state := range states {
		r, out := ask(t, s, "command_status", `{"command_id":"`+string(idOf(state))+`"}`)
		if r.failed || out["state"] != string(state) || out["ended"] != control.Ended(state) {
			t.Errorf("%s: %s", state, r.structured)
		}
		next := out["next"].([]any)
		if len(next) == 0 {
			t.Errorf("%s: nothing is suggested", state)
		}
		for _, x := range next {
			call := x.(map[string]any)
			args, _ := json.Marshal(call["arguments"])
			if call["tool"] == "command_status" {
				continue // it would wait
			}
			if again, _ := ask(t, s, call["tool"].(string), string(args)); again.failed {
				t.Errorf("%s suggests %s %s, which fails: %s", state, call["tool"], args, again.text)
			}
		}
	}
	_, denied := ask(t, s, "command_status", `{"command_id":"`+string(idOf(control.Denied))+`"}`)
	for _, want := range []string{"whatif.unsafe", "shed load first", "line-9-10", "131"} {
		if !strings.Contains(denied["summary"].(string), want) {
			t.Errorf("the denial does not say %s: %s", want, denied["summary"])
		}
	}
	_, waiting := ask(t, s, "command_status", `{"command_id":"`+string(idOf(control.AwaitingApproval))+`"}`)
	for _, want := range []string{"vaultmesh approve " + string(idOf(control.AwaitingApproval)), "dispatcher", "1 of 2", "2026-01-02T03:19:05Z"} {
		if !strings.Contains(waiting["summary"].(string), want) {
			t.Errorf("the wait does not say %s: %s", want, waiting["summary"])
		}
	}
}

func TestSimulationOutcomes(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	for outcome, next := range map[whatif.Outcome]string{whatif.Safe: "propose_command", whatif.Unsafe: "simulate_command", whatif.Refused: "get_twin"} {
		n.verdict.Outcome = outcome
		n.verdict.New = make([]whatif.Violation, 300)
		_, out := ask(t, s, "simulate_command", `{"twin":"line-1-2","command":"setTap","args":{"ratio":1.5}}`)
		if got := out["next"].([]any)[0].(map[string]any)["tool"]; got != next {
			t.Errorf("%s suggests %v", outcome, got)
		}
		if got := len(out["new_violations"].([]any)); got != maxViolations || out["new_violations_total"] != 300.0 {
			t.Errorf("%d violations are told", got)
		}
	}
}

func TestArgumentsAreRefusedWithTheWayOut(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	cases := []struct{ tool, args, kind, says string }{
		{"get_twin", `{}`, "invalid", "twin"},
		{"get_twin", `{"twin":"bus:1","colour":"red"}`, "invalid", "the arguments are twin"},
		{"get_twin", `{"Twin":"bus:1"}`, "invalid", "twin"},
		{"get_twin", `{"twin":null}`, "invalid", "null"},
		{"get_twin", `{"twin":"bus:1","twin":"line-1-2"}`, "invalid", "twin"},
		{"get_twin", `{"twin":"../etc"}`, "invalid", "not allowed"},
		{"get_twin", `{"twin":"` + strings.Repeat("a", 200) + `"}`, "invalid", "128"},
		{"get_twin", `["bus:1"]`, "invalid", "object"},
		{"get_twin", `{"twin":"nobody"}`, "not_found", "no such twin"},
		{"get_twin", "{\"twin\":\"\xff\"}", "invalid", "UTF-8"},
		{"list_twins", `{"limit":0}`, "invalid", "1 to 200"},
		{"list_twins", `{"limit":1e15}`, "invalid", "limit"},
		{"list_twins", `{"limit":1.5}`, "invalid", "an integer"},
		{"list_twins", `{"limit":"10"}`, "invalid", "an integer"},
		{"list_commands", `{"state":"done"}`, "invalid", "aligned"},
		{"halt_status", `{"now":true}`, "invalid", "no arguments"},
		{"read_history", `{"twin":"bus:1","name":"voltage","from":"yesterday"}`, "invalid", "RFC 3339"},
		{"read_history", `{"twin":"bus:1","name":"voltage","from":"2026-01-03T00:00:00Z"}`, "invalid", "before"},
		{"read_history", `{"twin":"bus:1","name":"colour"}`, "not_found", "no such name"},
		{"simulate_command", `{"twin":"bus:1","command":"x","args":"{}"}`, "invalid", "object"},
		{"simulate_command", `{"twin":"bus:1","command":"x","args":` + deep + `}`, "", ""},
		{"propose_command", `{"twin":"bus:1","command":"x"}`, "invalid", "idempotency_key"},
		{"propose_command", `{"twin":"bus:1","command":"x","idempotency_key":""}`, "invalid", "1 to 128"},
		{"propose_command", `{"twin":"bus:1","command":"x","idempotency_key":"a b"}`, "invalid", "not allowed"},
		{"propose_command", `{"twin":"bus:1","command":"x","idempotency_key":"k","reason":"` + strings.Repeat("r", 1025) + `"}`, "invalid", "1024"},
		{"command_status", `{"command_id":"cmd-00","wait_seconds":31}`, "invalid", "0 to 30"},
		{"command_status", `{"command_id":"nobody"}`, "not_found", "no such command"},
		{"prove", `{"command_ids":[]}`, "invalid", "1 to 20"},
		{"prove", `{"command_ids":["a/b"]}`, "invalid", "not allowed"},
		{"prove", `{"command_ids":"cmd-00"}`, "invalid", "a list"},
		{"prove", `{"command_ids":["nobody"]}`, "not_found", "no such command"},
		{"verify", `{}`, "invalid", "exactly one"},
		{"verify", `{"command_id":"cmd-00","bundle":"{}"}`, "invalid", "exactly one"},
		{"verify", `{"command_id":"nobody"}`, "not_found", "no such command"},
	}
	for _, c := range cases {
		r, out := ask(t, s, c.tool, c.args)
		if !r.failed || c.kind != "" && out["kind"] != c.kind || !strings.Contains(r.text, c.says) {
			t.Errorf("%s %.120s: failed=%v, want %s with %q:\n%s", c.tool, c.args, r.failed, c.kind, c.says, r.text)
		}
	}
}

// A foreign bundle is judged, not believed.
func TestVerifyJudgesText(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	text, _ := json.Marshal(map[string]string{"bundle": string(n.bundle)})
	if r, out := ask(t, s, "verify", string(text)); out["ok"] != true || !strings.Contains(r.text, "pins the keys") {
		t.Errorf("%s", r.text)
	}
	n.trust.ReceiptKeys = nil
	for _, bundle := range []string{string(n.bundle), "not a bundle", "{}"} {
		text, _ := json.Marshal(map[string]string{"bundle": bundle})
		if r, out := ask(t, s, "verify", string(text)); r.failed || out["ok"] != false || out["checks_failed"] == 0.0 {
			t.Errorf("%.20s: %s", bundle, r.text)
		}
	}
}

func TestErrorsTeachAndDoNotLeak(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	secret := errors.New("open /var/lib/vaultmesh/secret.pem: permission denied")
	for kind := vaultmesh.Internal; kind <= vaultmesh.Corrupt; kind++ {
		n.err = vaultmesh.Errorf(kind, "op", "subject", "what was wrong").Because(secret)
		for _, x := range s.tools {
			r, out := ask(t, s, x.name, validArgs[x.name])
			if !r.failed || out["kind"] != kind.String() || out["retry"] != kind.Retryable() {
				t.Errorf("%s with %s: %s", x.name, kind, r.structured)
			}
			if strings.Contains(string(r.structured)+r.text, "secret.pem") {
				t.Errorf("%s leaks the cause", x.name)
			}
			if kind != vaultmesh.Internal && !strings.Contains(r.text, "what was wrong") {
				t.Errorf("%s does not say what was wrong: %s", x.name, r.text)
			}
		}
	}
	n.err = secret
	if r, out := ask(t, s, "halt_status", "{}"); out["kind"] != "internal" || strings.Contains(r.text, "secret") {
		t.Errorf("%s", r.text)
	}
	n.err = nil
	n.propose = func(control.Caller, control.Proposal) (control.Command, error) { panic("bug") }
	if _, out := ask(t, s, "propose_command", validArgs["propose_command"]); out["kind"] != "internal" {
		t.Errorf("a panic becomes %v", out)
	}
}

var validArgs = map[string]string{
	"search_receipts": `{"twin":"bus:1","limit":5}`, "prove_state": `{"twin":"bus:1","property":"closed"}`,
	"multi_anchor": `{"idempotency_key":"k"}`, "anchor_status": `{}`,
	"list_twins": `{}`, "get_twin": `{"twin":"bus:1"}`, "read_history": `{"twin":"bus:1","name":"voltage"}`,
	"simulate_command": `{"twin":"bus:1","command":"x"}`, "propose_command": `{"twin":"bus:1","command":"x","idempotency_key":"k"}`,
	"command_status": `{"command_id":"cmd-00"}`, "list_commands": `{}`, "halt_status": `{}`, "prove": `{"command_ids":["cmd-00"]}`, "verify": `{"command_id":"cmd-00"}`,
}

func TestWaitingEndsWithTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sample(t)
		s := newServer(t, n, nil)
		id := idOf(control.Dispatched)
		go func() {
			time.Sleep(3 * time.Second) // of the bubble's own clock
			n.mu.Lock()
			defer n.mu.Unlock()
			c := n.commands[id]
			c.State = control.Aligned
			n.commands[id] = c
		}()
		before := time.Now()
		_, out := ask(t, s, "command_status", `{"command_id":"`+string(id)+`","wait_seconds":30}`)
		if d := time.Since(before); out["state"] != "aligned" || d < 3*time.Second || d > 3*time.Second+slowPoll {
			t.Errorf("%v after %v", out["state"], d)
		}
		before = time.Now()
		_, out = ask(t, s, "command_status", `{"command_id":"`+string(idOf(control.AwaitingApproval))+`","wait_seconds":30}`)
		if d := time.Since(before); out["state"] != "awaiting_approval" || d != maxWait {
			t.Errorf("%v after %v", out["state"], d)
		}
		before = time.Now()
		if ask(t, s, "command_status", `{"command_id":"`+string(idOf(control.Denied))+`","wait_seconds":30}`); time.Since(before) != 0 {
			t.Error("it waits for a command that has ended")
		}
	})
}

// The longest history is what a backend gives at once; whether there is more stays open then.
func TestHistorySaysThatThereIsMore(t *testing.T) {
	s := newServer(t, sample(t), nil)
	for _, limit := range []int{1, 999, 1000} {
		r, out := ask(t, s, "read_history", fmt.Sprintf(`{"twin":"bus:1","name":"voltage","limit":%d}`, limit))
		if len(out["points"].([]any)) != limit || out["more"] != true {
			t.Errorf("limit %d: %.200s", limit, r.structured)
		}
	}
}

// Evidence is handed out also where the keys are not known; it is only not judged.
func TestProveWithoutTrust(t *testing.T) {
	n := sample(t)
	n.trust = nil
	b, err := receipt.DecodeBundle(n.bundle)
	must(t, err)
	n.bundle, err = receipt.EncodeBundle(b.Domain, append(b.Parts, receipt.TimestampPart(1, 0, []byte("a stamp"))), story.NewKey("receipts"))
	must(t, err)
	s := newServer(t, n, nil)
	if r, out := ask(t, s, "prove", `{"command_ids":["cmd-00","cmd-01"]}`); r.failed || len(out["timestamps"].([]any)) != 0 || !strings.Contains(r.text, "cannot judge") || len(r.links) != 2 {
		t.Errorf("%s", r.text)
	}
	if r, out := ask(t, s, "verify", `{"command_id":"cmd-00"}`); !r.failed || out["kind"] != "not_found" {
		t.Errorf("%s", r.text)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, func(o *Options) { o.Limits.Answer = 2000 })
	if r, out := ask(t, s, "read_history", `{"twin":"bus:1","name":"voltage","limit":1000}`); !r.failed || out["kind"] != "too_large" || !strings.Contains(r.text, "lower limit") {
		t.Errorf("%s", r.text)
	}
	if got := clip(strings.Repeat("ä", 100), 10); len(got) > 10 || !strings.HasSuffix(got, "…") {
		t.Errorf("clip gives %q", got)
	}
}

func TestToolsAreDeclared(t *testing.T) {
	s := newServer(t, sample(t), nil)
	for _, x := range s.tools {
		a := x.wire.Annotations
		if x.title == "" || len(x.description) < 40 || a.DestructiveHint == nil || a.OpenWorldHint == nil {
			t.Errorf("%s is not declared in full", x.name)
		}
		act, adds := x.name == "propose_command", x.name == "multi_anchor"
		if (act || adds) == a.ReadOnlyHint || act != *a.DestructiveHint || !a.IdempotentHint {
			t.Errorf("%s has wrong hints: %+v", x.name, a)
		}
		var in struct {
			Type       string
			Properties map[string]struct{ Description string }
			Additional any `json:"additionalProperties"`
		}
		must(t, json.Unmarshal(x.wire.InputSchema.(json.RawMessage), &in))
		if in.Type != "object" || in.Additional != false {
			t.Errorf("%s takes other arguments: %s", x.name, x.wire.InputSchema)
		}
		for name, p := range in.Properties {
			if p.Description == "" {
				t.Errorf("%s: %s has no description", x.name, name)
			}
		}
		conforms(t, x.wire.InputSchema.(json.RawMessage), json.RawMessage(validArgs[x.name]))
		if strings.Contains(string(x.wire.OutputSchema.(json.RawMessage)), `"null"`) {
			t.Errorf("%s may answer null", x.name)
		}
	}
	for _, forbidden := range []string{"approve", "reject", "halt", "resume", "cancel"} {
		for _, x := range s.tools {
			if x.name != "halt_status" && strings.Contains(x.name, forbidden) {
				t.Errorf("%s is a tool", x.name)
			}
		}
	}
}
