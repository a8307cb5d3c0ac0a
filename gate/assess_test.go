package gate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func TestAllow(t *testing.T) {
	f := newFixture(t)
	a := f.assess(t, f.setPower(t, `{"megawatts":400}`))
	if a.Outcome != Allow || a.Stage != StageApproval || len(a.Stages) != 5 || a.Policy != f.gate.PolicyDigest() || a.Decision == "" {
		t.Fatalf("%+v", a)
	}
	if a.Expect["activePowerSetpoint"] != 400 || a.Verdict == nil || a.Need != nil || a.Challenge != nil {
		t.Fatalf("%+v", a)
	}
	for i, name := range []string{StageCapability, StageLimits, StagePolicy, StageWhatIf, StageApproval} {
		if a.Stages[i].Stage != name {
			t.Errorf("stage %d is %s, want %s", i, a.Stages[i].Stage, name)
		}
	}
	if b := f.assess(t, f.setPower(t, `{"megawatts":400}`)); b.Decision != a.Decision {
		t.Error("the same question has two decision ids")
	}
	if b := f.assess(t, f.setPower(t, `{"megawatts":401}`)); b.Decision == a.Decision {
		t.Error("two questions have one decision id")
	}
}

func TestCapabilityStage(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name, code string
		change     func(*Request)
	}{
		{"no capability", "capability.principal", func(r *Request) { r.Capability = nil }},
		{"zero capability", "capability.principal", func(r *Request) { r.Capability = &capability.Verified{} }},
		{"unsigned capability", "capability.time", func(r *Request) {
			r.Capability = &capability.Verified{Principal: r.Principal, Domain: "grid.example"}
		}},
		{"other principal", "capability.principal", func(r *Request) { r.Principal = "operator:alice" }},
		{"no principal", "capability.principal", func(r *Request) { r.Principal, r.Capability = "", &capability.Verified{} }},
		{"other audience", "capability.audience", func(r *Request) { v := *r.Capability; v.Domain = "other.example"; r.Capability = &v }},
		{"expired capability", "capability.time", func(r *Request) {
			r.Now = t0.Add(time.Hour)
			r.Expires = time.Time{}
			r.View = view{twins().twins, r.Now}
		}},
		{"revoked", "capability.revoked", func(r *Request) { f.revoked[r.Capability.Blocks[0]] = true }},
		{"not granted verb", "capability.grant", func(r *Request) {
			r.Capability = caller(t, "agent:a", "k", func(g *capability.Grant) { g.Actions = []string{"read", "simulate", "approve"} })
		}},
		{"not granted twin", "capability.grant", func(r *Request) {
			r.Capability = caller(t, "agent:a", "k", func(g *capability.Grant) { g.Twins = []string{"gen-2*"} })
		}},
		{"not granted value", "capability.grant", func(r *Request) {
			r.Capability = caller(t, "agent:a", "k", func(g *capability.Grant) {
				g.Args = map[string]capability.Range{"megawatts": capability.Between(0, 399)}
			})
		}},
		{"command expired", "capability.command_expired", func(r *Request) { r.Expires = t0 }},
		{"no time", "capability.request", func(r *Request) { r.Now = time.Time{} }},
		{"no view", "capability.request", func(r *Request) { r.View = nil }},
		{"old view", "capability.view_stale", func(r *Request) { r.View = view{twins().twins, t0.Add(-time.Minute)} }},
		{"view from the future", "capability.view_stale", func(r *Request) { r.View = view{twins().twins, t0.Add(time.Minute)} }},
		{"no command id", "capability.request", func(r *Request) { r.ID = "" }},
		{"command's name", "capability.request", func(r *Request) { r.Command = "set Active" }},
		{"confusable command", "capability.request", func(r *Request) { r.Command = "setActivеPower" }}, // Cyrillic е
		{"confusable twin", "capability.request", func(r *Request) { r.Twin.ID = "gеn-1" }},
		{"unknown twin", "capability.twin", func(r *Request) { r.Twin.ID = "gen-9" }},
		{"path in twin", "capability.request", func(r *Request) { r.Twin.ID = "gen-1/../gen-2" }},
		{"args: duplicate key", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts":400,"megawatts":9000}`) }},
		{"args: duplicate key, not in order", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"z":1,"megawatts":400,"megawatts":9000}`) }},
		{"args: white space", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts": 400}`) }},
		{"args: other spelling", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts":4e2}`) }},
		{"args: array", "capability.args", func(r *Request) { r.Args = json.RawMessage(`[400]`) }},
		{"args: null", "capability.args", func(r *Request) { r.Args = json.RawMessage(`null`) }},
		{"args: NaN", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts":NaN}`) }},
		{"args: infinite", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts":1e999}`) }},
		{"args: huge integer", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts":9007199254740993}`) }},
		{"args: trailing", "capability.args", func(r *Request) { r.Args = json.RawMessage(`{"megawatts":400}{}`) }},
	} {
		clear(f.revoked)
		r := f.setPower(t, `{"megawatts":400}`)
		c.change(&r)
		denied(t, c.name, f.assess(t, r), StageCapability, c.code)
	}
}

func TestLimitsStage(t *testing.T) {
	f := newFixture(t)
	// bend changes the twin in the request's view.
	bend := func(change func(*twin.Twin)) func(*Request) {
		return func(r *Request) {
			v := twins()
			g := v.twins["gen-1"]
			change(&g)
			v.twins["gen-1"] = g
			r.View = v
		}
	}
	set := func(name string, v twin.Value) func(*Request) {
		return bend(func(g *twin.Twin) { g.Reported[name] = v })
	}
	plate := func(name, raw string) func(*Request) {
		return bend(func(g *twin.Twin) { g.Nameplate[name] = json.RawMessage(raw) })
	}
	for _, c := range []struct {
		name, args, code string
		change           func(*Request)
	}{
		{"halted", `{"megawatts":400}`, "limits.halted", func(r *Request) { r.Halted = true }},
		{"above", `{"megawatts":501}`, "limits.range", nil},
		{"below", `{"megawatts":-1}`, "limits.range", nil},
		{"missing", `{}`, "limits.argument", nil},
		{"string", `{"megawatts":"400"}`, "limits.argument", nil},
		{"null", `{"megawatts":null}`, "limits.argument", nil},
		{"boolean", `{"megawatts":true}`, "limits.argument", nil},
		{"array", `{"megawatts":[400]}`, "limits.argument", nil},
		{"object", `{"megawatts":{"value":400}}`, "limits.argument", nil},
		{"other case", `{"Megawatts":400}`, "limits.argument", nil},
		{"ramp up", `{"megawatts":500}`, "limits.ramp", set("activePowerSetpoint", value("249"))},
		{"ramp down", `{"megawatts":0}`, "limits.ramp", nil},
		{"ramp from nothing", `{"megawatts":400}`, "limits.stale", bend(func(g *twin.Twin) { delete(g.Reported, "activePowerSetpoint") })},
		{"ramp from a string", `{"megawatts":400}`, "limits.reported", set("activePowerSetpoint", value(`"300"`))},
		{"ramp from infinity", `{"megawatts":400}`, "limits.reported", set("activePowerSetpoint", value(`1e999`))},
		{"ramp from old data", `{"megawatts":400}`, "limits.stale", set("activePowerSetpoint", twin.Value{V: json.RawMessage("300"), T: t0.Add(-time.Minute - 1)})},
		{"ramp from the future", `{"megawatts":400}`, "limits.stale", set("activePowerSetpoint", twin.Value{V: json.RawMessage("300"), T: t0.Add(6 * time.Second)})},
		{"ramp from undated data", `{"megawatts":400}`, "limits.stale", set("activePowerSetpoint", twin.Value{V: json.RawMessage("300")})},
		{"ramp from questionable data", `{"megawatts":400}`, "limits.stale", set("activePowerSetpoint", twin.Value{V: json.RawMessage("300"), T: t0, Q: twin.Questionable})},
		{"interlock", `{"megawatts":400}`, "limits.interlock", set("connected", value("false"))},
		{"interlock of another type", `{"megawatts":400}`, "limits.interlock", set("connected", value(`"true"`))},
		{"interlock as number", `{"megawatts":400}`, "limits.interlock", set("connected", value(`1`))},
		{"interlock not JSON", `{"megawatts":400}`, "limits.interlock", set("connected", value(`tru`))},
		{"interlock unreported", `{"megawatts":400}`, "limits.stale", bend(func(g *twin.Twin) { delete(g.Reported, "connected") })},
		{"interlock of a silent twin", `{"megawatts":400}`, "limits.stale", bend(func(g *twin.Twin) { g.Seen = t0.Add(-2 * time.Minute) })},
		{"nameplate missing", `{"megawatts":400}`, "limits.bound", bend(func(g *twin.Twin) { delete(g.Nameplate, "pMin") })},
		{"nameplate string", `{"megawatts":400}`, "limits.bound", plate("pMax", `"500"`)},
		{"nameplate infinite", `{"megawatts":400}`, "limits.bound", plate("pMax", `1e999`)},
		{"nameplate negative", `{"megawatts":-600}`, "limits.range", plate("pMax", `-500`)},
		{"rate used up", `{"megawatts":400}`, "limits.rate", func(r *Request) { r.Counts[0].Count = 3 }},
		{"rate unknown", `{"megawatts":400}`, "limits.rate_unknown", func(r *Request) { r.Counts = nil }},
		{"rate of another rule", `{"megawatts":400}`, "limits.rate_unknown", func(r *Request) { r.Counts[0].Rule += "x" }},
		{"rate twice", `{"megawatts":400}`, "limits.rate_unknown", func(r *Request) { r.Counts = append(r.Counts, r.Counts[0]) }},
		{"undeclared command", `{}`, "limits.undeclared", func(r *Request) { r.Command = "explode" }},
	} {
		r := f.setPower(t, c.args)
		if c.change != nil {
			c.change(&r)
		}
		denied(t, c.name, f.assess(t, r), StageLimits, c.code)
	}
	if len(f.sim.asked) > 0 {
		t.Error("a command that a hard limit refuses was simulated")
	}
	for name, change := range map[string]func(*Request){
		"rate not used up":                         func(r *Request) { r.Counts[0].Count = 2 },
		"old interlock value of a twin that talks": set("connected", twin.Value{V: json.RawMessage("true"), T: t0.Add(-time.Hour)}),
		"clock slightly ahead":                     set("activePowerSetpoint", twin.Value{V: json.RawMessage("300"), T: t0.Add(4 * time.Second)}),
	} {
		r := f.setPower(t, `{"megawatts":400}`)
		change(&r)
		if a := f.assess(t, r); a.Outcome != Allow {
			t.Errorf("%s: %+v", name, a.Reasons)
		}
	}
	r := f.setPower(t, `{"megawatts":900}`)
	r.Counts = nil
	if a := f.assess(t, r); len(a.Reasons) != 3 {
		t.Errorf("want every rule that refuses (range, ramp, rate), got %+v", a.Reasons)
	}
	inherited := f.open(t, "operator:alice")
	v := twins()
	delete(v.twins["line-1-2"].Reported, "closed")
	inherited.View = v
	denied(t, "a rule of the model that the twin's model extends", f.assess(t, inherited), StageLimits, "limits.stale")
	none := newFixture(t, func(o *Options) { o.Limits = nil })
	denied(t, "no limits", none.assess(t, none.setPower(t, `{"megawatts":400}`)), StageLimits, "limits.none")
}

func TestDefaultPolicyOutcomes(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		principal vaultmesh.Principal
		twin      vaultmesh.TwinID
		command   string
		args      string
		want      Outcome
		n1        bool
	}{
		{"agent:a", "gen-1", "setActivePower", `{"megawatts":400}`, Allow, false},
		{"agent:a", "gen-1", "setVoltage", `{"perUnit":1.02}`, Allow, false},
		{"agent:a", "line-1-2", "openBreaker", `{}`, NeedsApproval, true},
		{"agent:a", "gen-1", "shed", `{}`, Deny, false},
		{"operator:alice", "gen-1", "shed", `{}`, Allow, false},
		{"operator:alice", "line-1-2", "openBreaker", ``, Allow, true},
		{"operator:alice", "gen-1", "unknownToThePolicy", `{}`, Deny, false},
		{"device:sub-1", "gen-1", "setVoltage", `{"perUnit":1.02}`, Deny, false},
		{"agentless", "gen-1", "setVoltage", `{"perUnit":1.02}`, Deny, false},
	} {
		f.sim.asked = nil
		a := f.assess(t, f.request(t, c.principal, c.twin, c.command, c.args))
		if a.Outcome != c.want {
			t.Errorf("%s %s: got %s %+v, want %s", c.principal, c.command, a.Outcome, a.Reasons, c.want)
		}
		if c.want == Deny {
			denied(t, c.command, a, StagePolicy, a.Reasons[0].Code)
			if a.Reasons[0].Fix == "" || len(f.sim.asked) > 0 {
				t.Errorf("%s: no advice, or simulated after a denial", c.command)
			}
		} else if len(f.sim.asked) != 1 || f.sim.asked[0].N1 != c.n1 {
			t.Errorf("%s: simulated %+v, want n1 %v", c.command, f.sim.asked, c.n1)
		}
	}
}

func TestWhatIfStage(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name, code string
		bend       func(*whatif.Verdict)
		after      func(*whatif.Verdict)
	}{
		{"unsafe", "what_if.unsafe", func(v *whatif.Verdict) {
			v.Outcome, v.New = whatif.Unsafe, []whatif.Violation{{Element: "line-2-3", Limit: "loading", Value: 1.2, Bound: 1, Unit: "MVA", Outage: "line-5-6"}}
		}, nil},
		{"refused", "what_if.refused", func(v *whatif.Verdict) { v.Outcome, v.Reason = whatif.Refused, "the data are too old" }, nil},
		{"unknown outcome", "what_if.outcome", func(v *whatif.Verdict) { v.Outcome = "fine" }, nil},
		{"no outcome", "what_if.outcome", func(v *whatif.Verdict) { v.Outcome = "" }, nil},
		{"safe with violations", "what_if.contradiction", func(v *whatif.Verdict) { v.New = []whatif.Violation{{Element: "x", Limit: "y"}} }, nil},
		{"safe without convergence", "what_if.contradiction", func(v *whatif.Verdict) { v.After.Converged = false }, nil},
		{"other command", "what_if.verdict", func(v *whatif.Verdict) { v.Query.Command = "setVoltage" }, nil},
		{"other twin", "what_if.verdict", func(v *whatif.Verdict) { v.Query.Twin = "gen-2" }, nil},
		{"other arguments", "what_if.verdict", func(v *whatif.Verdict) { v.Query.Args = json.RawMessage(`{"megawatts":10}`) }, nil},
		{"other topology", "what_if.verdict", func(v *whatif.Verdict) { v.Topology = vaultmesh.Sum(nil) }, nil},
		{"other cut", "what_if.verdict", func(v *whatif.Verdict) { v.Taken = v.Taken.Add(-2 * time.Second) }, nil},
		{"old", "what_if.verdict", func(v *whatif.Verdict) { v.Taken = v.Taken.Add(-time.Hour) }, nil},
		{"altered", "what_if.verdict", nil, func(v *whatif.Verdict) { v.Reason = "all is well" }},
		{"altered digest", "what_if.verdict", nil, func(v *whatif.Verdict) { v.ID[0] ^= 1 }},
		{"not sealed", "what_if.verdict", nil, func(v *whatif.Verdict) { v.ID = vaultmesh.Digest{} }},
		{"empty", "what_if.verdict", nil, func(v *whatif.Verdict) { *v = whatif.Verdict{} }},
	} {
		f.sim.bend, f.sim.after = c.bend, c.after
		denied(t, c.name, f.assess(t, f.setPower(t, `{"megawatts":400}`)), StageWhatIf, c.code)
	}
	f.sim.bend, f.sim.after = nil, func(v *whatif.Verdict) { v.Query.N1 = false; *v, _ = whatif.Seal(*v) }
	denied(t, "without the N-1 check asked for", f.assess(t, f.open(t, "operator:alice")), StageWhatIf, "what_if.verdict")
	f.sim.after = nil
	f.sim.simulate = func(context.Context, whatif.View, whatif.Query) (whatif.Verdict, error) {
		return whatif.Verdict{}, errors.New("no network model")
	}
	denied(t, "error", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StageWhatIf, "what_if.error")
	f.sim.simulate = func(context.Context, whatif.View, whatif.Query) (whatif.Verdict, error) { panic("singular matrix") }
	denied(t, "panic", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StageWhatIf, "what_if.internal")
	f.sim.simulate, f.sim.blind = nil, true
	denied(t, "unhandled", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StageWhatIf, "what_if.unavailable")
	bare := newFixture(t, func(o *Options) { o.Simulator = nil })
	denied(t, "no simulator", bare.assess(t, bare.setPower(t, `{"megawatts":400}`)), StageWhatIf, "what_if.unavailable")
}

// A simulator that never looks at its context ends neither the assessment nor, while slots are taken, the next one.
func TestSimulatorHangs(t *testing.T) {
	release := make(chan struct{})
	f := newFixture(t, func(o *Options) { o.SimulationTimeout, o.MaxSimulations = time.Millisecond, 1 })
	f.sim.simulate = func(context.Context, whatif.View, whatif.Query) (whatif.Verdict, error) {
		<-release
		return whatif.Verdict{}, nil
	}
	denied(t, "hangs", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StageWhatIf, "what_if.timeout")
	denied(t, "the next", f.assess(t, f.setPower(t, `{"megawatts":400}`)), StageWhatIf, "what_if.busy")
	close(release)
	f.gate.Close()
}

func TestInterrupted(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a, err := f.gate.Assess(ctx, f.setPower(t, `{"megawatts":400}`))
	if err == nil || a.Outcome != Deny {
		t.Errorf("%v, %v", a.Outcome, err)
	}
}

// panicky stands for faults in what the gate was given.
type panicky struct{ view }

func (panicky) Get(vaultmesh.TwinID) (twin.Twin, bool) { panic("index out of range") }

func TestPanicsDeny(t *testing.T) {
	f := newFixture(t)
	r := f.setPower(t, `{"megawatts":400}`)
	r.View = panicky{twins()}
	denied(t, "view", f.assess(t, r), StageCapability, "capability.internal")
	g := newFixture(t, func(o *Options) { o.Revoked = func(vaultmesh.Digest) bool { panic("no list") } })
	denied(t, "revocation list", g.assess(t, g.setPower(t, `{"megawatts":400}`)), StageCapability, "capability.internal")
}

// Reasons are for people: a number is no longer than it takes to see why it is refused.
func TestReasonsAreReadable(t *testing.T) {
	f := newFixture(t)
	for args, want := range map[string]string{
		`{"megawatts":0.30000000000000004}`: "the argument megawatts is 0.3, 299.7 away from the reported activePowerSetpoint of 300, more than 250",
		`{"megawatts":1200.123456789012}`:   "the argument megawatts is 1200.12, outside ",
		`{"megawatts":500.0000001}`:         "the argument megawatts is 500.0000001, outside ",
	} {
		a := f.assess(t, f.setPower(t, args))
		if len(a.Reasons) == 0 || !strings.Contains(a.Reasons[0].Text, want) {
			t.Errorf("%s: %+v, want %q", args, a.Reasons, want)
		}
	}
}
