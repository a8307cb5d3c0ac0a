package gate

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	generator = "dtmi:org:example:Generator;1"
	breaker   = "dtmi:org:example:Breaker;1"
	line      = "dtmi:org:example:Line;1" // extends breaker
	critical  = "dtmi:org:example:Critical;1"
)

const testLimits = `{"commands":[
 {"model":"dtmi:org:example:Generator;1","command":"setActivePower","rules":[
  {"name":"nameplate","range":{"arg":"megawatts","min":{"nameplate":"pMin"},"max":{"nameplate":"pMax"}}},
  {"name":"ramp","ramp":{"arg":"megawatts","property":"activePowerSetpoint","max":{"nameplate":"pMax","scale":0.5},"max_age":"1m"}},
  {"name":"in-service","interlock":{"property":"connected","equals":true,"max_age":"1m","age_of":"twin"}},
  {"name":"often","rate":{"per":"twin","max":3,"window":"1m"}}]},
 {"model":"dtmi:org:example:Generator;1","command":"setVoltage","rules":[{"name":"band","range":{"arg":"perUnit","min":{"const":0.9},"max":{"const":1.1}}}]},
 {"model":"dtmi:org:example:Generator;1","command":"shed","rules":[]},
 {"model":"dtmi:org:example:Generator;1","command":"unknownToThePolicy","rules":[]},
 {"model":"dtmi:org:example:Breaker;1","command":"openBreaker","rules":[{"name":"position","interlock":{"property":"closed","max_age":"1m"}}]}
]}`

func key(name string) ed25519.PrivateKey { return keys.Named(name).PrivateKey }
func pub(name string) ed25519.PublicKey  { return keys.Named(name).Pub() }

// view is a cut of a few twins.
type view struct {
	twins map[vaultmesh.TwinID]twin.Twin
	at    time.Time
}

func (v view) Get(id vaultmesh.TwinID) (twin.Twin, bool) { t, ok := v.twins[id]; return t, ok }
func (v view) Time() time.Time                           { return v.at }
func (v view) Each(fn func(twin.Twin) bool) {
	ids := make([]vaultmesh.TwinID, 0, len(v.twins))
	for id := range v.twins {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if !fn(v.twins[id]) {
			return
		}
	}
}

func value(raw string) twin.Value { return twin.Value{V: json.RawMessage(raw), T: t0} }

func twins() view {
	return view{at: t0, twins: map[vaultmesh.TwinID]twin.Twin{
		"gen-1": {
			Definition: twin.Definition{ID: "gen-1", Model: generator, Nameplate: map[string]json.RawMessage{"pMin": json.RawMessage("0"), "pMax": json.RawMessage("500")}},
			Reported:   map[string]twin.Value{"activePowerSetpoint": value("300"), "connected": value("true")},
			Telemetry:  map[string]twin.Value{"activePower": value("299.5")},
			Version:    7, Seen: t0,
		},
		"line-1-2": {
			Definition: twin.Definition{ID: "line-1-2", Model: line, Relationships: []twin.Relationship{{Name: "from", Target: "gen-1"}}},
			Reported:   map[string]twin.Value{"closed": value("true")}, Version: 3, Seen: t0,
		},
	}}
}

// simulator answers safe, and lets a test bend every part of it.
type simulator struct {
	simulate func(ctx context.Context, v whatif.View, q whatif.Query) (whatif.Verdict, error)
	bend     func(*whatif.Verdict) // after the verdict was made, before it is sealed
	after    func(*whatif.Verdict) // after it was sealed
	asked    []whatif.Query
	topology string
	blind    bool
}

func (s *simulator) Handles(model, command string) bool { return !s.blind }
func (s *simulator) Topology(whatif.View) vaultmesh.Digest {
	return vaultmesh.Sum([]byte("topology" + s.topology))
}

func (s *simulator) Simulate(ctx context.Context, view whatif.View, q whatif.Query) (whatif.Verdict, error) {
	s.asked = append(s.asked, q)
	if s.simulate != nil {
		return s.simulate(ctx, view, q)
	}
	v := whatif.Verdict{
		Query: q, Outcome: whatif.Safe, Reason: "no limit is violated", Taken: view.Time(), Topology: s.Topology(view), Model: "test/1",
		After: whatif.Summary{Converged: true}, Expect: map[string]float64{"activePowerSetpoint": 400},
	}
	if s.bend != nil {
		s.bend(&v)
	}
	v, err := whatif.Seal(v)
	if s.after != nil {
		s.after(&v)
	}
	return v, err
}

// fixture is a gate with everything around it in order.
type fixture struct {
	gate    *Gate
	sim     *simulator
	revoked map[vaultmesh.Digest]bool
	ops     *Operators
}

func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	limits, err := ParseLimits([]byte(testLimits))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{sim: &simulator{}, revoked: map[vaultmesh.Digest]bool{}, ops: NewOperators()}
	for _, name := range []string{"alice", "bob", "carol"} {
		roles := []string{"operator"}
		if name == "carol" {
			roles = []string{"viewer"}
		}
		if err := f.ops.Enroll(Operator{Principal: vaultmesh.Principal("operator:" + name), Key: pub(name), Roles: roles}); err != nil {
			t.Fatal(err)
		}
	}
	opt := Options{
		Domain: "grid.example", Limits: limits, Simulator: f.sim, Operators: f.ops,
		Revoked: func(d vaultmesh.Digest) bool { return f.revoked[d] },
		Rand:    strings.NewReader(strings.Repeat("nonces of the test", 1000)),
		Ancestors: func(model string) []string {
			if model == line {
				return []string{breaker}
			}
			return nil
		},
		PolicyTimeout: 10 * time.Second, // generous: no test depends on the machine's speed
	}
	for _, c := range change {
		c(&opt)
	}
	if f.gate, err = New(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.gate.Close)
	return f
}

// caller is a principal with a capability for everything, held by the key of the name.
func caller(t testing.TB, principal vaultmesh.Principal, holder string, change ...func(*capability.Grant)) *capability.Verified {
	t.Helper()
	g := capability.Grant{Actions: []string{"command"}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: t0.Add(time.Hour)}
	for _, c := range change {
		c(&g)
	}
	tok, err := capability.Issue(key("root"), principal, pub(holder), g)
	if err != nil {
		t.Fatal(err)
	}
	v, err := capability.Verify(tok, pub("root"), t0, "grid.example")
	if err != nil {
		t.Fatal(err)
	}
	return &v
}

func (f *fixture) request(t testing.TB, principal vaultmesh.Principal, id vaultmesh.TwinID, command, args string) Request {
	t.Helper()
	r := Request{
		ID: "cmd-1", Principal: principal, Capability: caller(t, principal, "holder of "+string(principal)),
		Command: command, Args: json.RawMessage(args), View: twins(), Now: t0, Expires: t0.Add(30 * time.Minute),
	}
	r.Twin.ID = id
	if known, ok := twins().Get(id); ok {
		for _, rate := range f.gate.Rates(known.Model, command) {
			r.Counts = append(r.Counts, RateCount{Rule: rate.ID})
		}
	}
	return r
}

func (f *fixture) setPower(t testing.TB, args string) Request {
	return f.request(t, "agent:a", "gen-1", "setActivePower", args)
}

func (f *fixture) open(t testing.TB, principal vaultmesh.Principal) Request {
	return f.request(t, principal, "line-1-2", "openBreaker", `{}`)
}

func (f *fixture) assess(t testing.TB, r Request) Assessment {
	t.Helper()
	a, err := f.gate.Assess(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// denied checks that the assessment ended in stage with a reason of this code.
func denied(t testing.TB, name string, a Assessment, stage, code string) {
	t.Helper()
	if a.Outcome != Deny || a.Stage != stage || len(a.Reasons) == 0 || a.Reasons[0].Code != code || a.Challenge != nil {
		t.Errorf("%s: got %s in %s with %+v, want deny in %s with %s", name, a.Outcome, a.Stage, a.Reasons, stage, code)
	}
	for _, r := range a.Reasons {
		if r.Code == "" || r.Text == "" {
			t.Errorf("%s: an empty reason %+v", name, r)
		}
	}
}

func approve(c receipt.Challenge, principal vaultmesh.Principal, name string) Approval {
	return Approval{Approver: principal, Key: receipt.KeyID(pub(name)), Signature: receipt.SignApproval(key(name), c), Time: t0}
}
