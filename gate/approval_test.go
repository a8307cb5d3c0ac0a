package gate

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/whatif"
)

// awaiting proposes an agent's switching and returns the request as it will come back at dispatch, still without
// approvals.
func awaiting(t *testing.T, f *fixture) Request {
	t.Helper()
	r := f.open(t, "agent:a")
	a := f.assess(t, r)
	if a.Outcome != NeedsApproval || a.Stage != StageApproval || a.Need == nil || a.Challenge == nil || a.Verdict == nil {
		t.Fatalf("%+v", a)
	}
	if a.Need.Count != 1 || a.Need.TTL != 15*time.Minute || a.Need.Why == "" || a.Reasons[0].Code != "policy.agent_switching" {
		t.Fatalf("%+v %+v", a.Need, a.Reasons)
	}
	c := a.Challenge
	if c.Domain != "grid.example" || c.Command != r.ID || c.Principal != "agent:a" || c.Twin != "line-1-2" || c.Name != "openBreaker" || string(c.Args) != "{}" ||
		c.TwinVersion != 3 || c.Policy != f.gate.PolicyDigest() || c.Simulation != a.Verdict.ID || !c.Expires.Equal(t0.Add(15*time.Minute)) || len(c.Nonce) != 32 {
		t.Fatalf("%+v", c)
	}
	r.Challenge, r.Simulated = c, a.Verdict
	return r
}

// later moves the request to a time with twins as fresh as before.
func later(r *Request, d time.Duration) {
	v := twins()
	for id, tw := range v.twins {
		for name, val := range tw.Reported {
			val.T = t0.Add(d)
			tw.Reported[name] = val
		}
		tw.Version += 100
		tw.Seen = t0.Add(d)
		v.twins[id] = tw
	}
	v.at = t0.Add(d)
	r.View, r.Now = v, t0.Add(d)
}

func TestApprovedAtDispatch(t *testing.T) {
	f := newFixture(t)
	r := awaiting(t, f)
	r.Approvals = []Approval{approve(*r.Challenge, "operator:alice", "alice")}
	if err := f.gate.CheckApproval(*r.Challenge, []string{"operator"}, r.Capability, r.Approvals[0], t0); err != nil {
		t.Fatal(err)
	}
	later(&r, 10*time.Minute)
	a := f.assess(t, r)
	if a.Outcome != Allow || a.Challenge != nil {
		t.Fatalf("%+v", a)
	}
	if a.Verdict.ID == r.Simulated.ID {
		t.Error("the dispatch rests on the old simulation")
	}
}

func TestChallengesHaveFreshNonces(t *testing.T) {
	f := newFixture(t)
	a, b := awaiting(t, f), awaiting(t, f)
	if a.Challenge.Nonce == b.Challenge.Nonce {
		t.Error("two challenges have one nonce")
	}
	// An approval of the first does not serve the second, although all but the nonce is the same.
	b.Approvals = []Approval{approve(*a.Challenge, "operator:alice", "alice")}
	denied(t, "replayed", f.assess(t, b), StageApproval, "approval.insufficient")
}

func TestApprovalsRefused(t *testing.T) {
	for _, c := range []struct {
		name, code string
		approval   func(receipt.Challenge) []Approval
		change     func(*fixture, *Request)
	}{
		{"none", "approval.insufficient", func(receipt.Challenge) []Approval { return nil }, nil},
		{"no signature", "approval.insufficient", func(c receipt.Challenge) []Approval {
			a := approve(c, "operator:alice", "alice")
			a.Signature = nil
			return []Approval{a}
		}, nil},
		{"not enrolled", "approval.insufficient", func(c receipt.Challenge) []Approval { return []Approval{approve(c, "operator:mallory", "mallory")} }, nil},
		{"other's key", "approval.insufficient", func(c receipt.Challenge) []Approval { return []Approval{approve(c, "operator:alice", "mallory")} }, nil},
		{"other's key under the right name", "approval.insufficient", func(c receipt.Challenge) []Approval {
			a := approve(c, "operator:alice", "mallory")
			a.Key = receipt.KeyID(pub("alice"))
			return []Approval{a}
		}, nil},
		{"without the role", "approval.insufficient", func(c receipt.Challenge) []Approval { return []Approval{approve(c, "operator:carol", "carol")} }, nil},
		{"by an agent", "approval.insufficient", func(c receipt.Challenge) []Approval { return []Approval{approve(c, "agent:b", "agent")} }, nil},
		{"by the proposer", "approval.insufficient", func(c receipt.Challenge) []Approval { return []Approval{approve(c, "agent:a", "holder of agent:a")} }, nil},
		{"of other arguments", "approval.insufficient", func(c receipt.Challenge) []Approval {
			c.Args = json.RawMessage(`{"force":true}`)
			return []Approval{approve(c, "operator:alice", "alice")}
		}, nil},
		{"of another twin", "approval.insufficient", func(c receipt.Challenge) []Approval {
			c.Twin = "line-2-3"
			return []Approval{approve(c, "operator:alice", "alice")}
		}, nil},
		{"dated in the future", "approval.insufficient", func(c receipt.Challenge) []Approval {
			a := approve(c, "operator:alice", "alice")
			a.Time = t0.Add(time.Hour)
			return []Approval{a}
		}, nil},
		{"too many", "approval.too_many", func(c receipt.Challenge) []Approval { return make([]Approval, maxApprovals+1) }, nil},
		{"removed since", "approval.insufficient", nil, func(f *fixture, r *Request) { f.ops.Remove("operator:alice") }},
		{"new key since", "approval.insufficient", nil, func(f *fixture, r *Request) {
			if err := f.ops.Enroll(Operator{Principal: "operator:alice", Key: pub("alice2"), Roles: []string{"operator"}}); err != nil {
				panic(err)
			}
		}},
		{"challenge lost", "approval.challenge_missing", nil, func(f *fixture, r *Request) { r.Challenge = nil }},
		{"challenge of another command", "approval.other_command", nil, func(f *fixture, r *Request) { r.ID = "cmd-2" }},
		{"challenge with other arguments", "approval.other_command", nil, func(f *fixture, r *Request) { c := *r.Challenge; c.Args = json.RawMessage(`{"x":1}`); r.Challenge = &c }},
		{"challenge of another domain", "approval.other_command", nil, func(f *fixture, r *Request) { c := *r.Challenge; c.Domain = "other.example"; r.Challenge = &c }},
		{"request with other arguments", "approval.other_command", nil, func(f *fixture, r *Request) { r.Args = json.RawMessage(`{"force":true}`) }},
		{"approved too long ago", "approval.expired", nil, func(f *fixture, r *Request) { later(r, 15*time.Minute) }},
		{"expiry moved", "approval.insufficient", nil, func(f *fixture, r *Request) { c := *r.Challenge; c.Expires = t0.Add(time.Hour); r.Challenge = &c }},
		{"topology changed", "approval.stale_topology", nil, func(f *fixture, r *Request) { f.sim.topology = "after a fault" }},
		{"policy changed", "approval.stale_policy", nil, func(f *fixture, r *Request) {
			files := DefaultPolicy()
			files["extra.rego"] = []byte("package site\n")
			if err := f.gate.SetPolicy(t.Context(), files); err != nil {
				t.Fatal(err)
			}
		}},
		{"twin defined anew", "approval.stale_twin", nil, func(f *fixture, r *Request) {
			v := twins()
			tw := v.twins["line-1-2"]
			tw.Version = 1
			v.twins["line-1-2"] = tw
			r.View = v
		}},
		{"verdict lost", "approval.simulation_missing", nil, func(f *fixture, r *Request) { r.Simulated = nil }},
		{"verdict of another", "approval.simulation_missing", nil, func(f *fixture, r *Request) {
			v := *r.Simulated
			v.ID[0] ^= 1
			r.Simulated = &v
		}},
		{"verdict altered", "approval.simulation_corrupt", nil, func(f *fixture, r *Request) {
			v := *r.Simulated
			v.Topology = vaultmesh.Sum([]byte("x"))
			r.Simulated = &v
		}},
	} {
		f := newFixture(t)
		r := awaiting(t, f)
		if c.approval == nil {
			r.Approvals = []Approval{approve(*r.Challenge, "operator:alice", "alice")}
		} else {
			r.Approvals = c.approval(*r.Challenge)
		}
		if c.change != nil {
			c.change(f, &r)
		}
		denied(t, c.name, f.assess(t, r), StageApproval, c.code)
	}
}

// Everything before the approval is asked again at dispatch, and refuses whatever was approved.
func TestDispatchAsksAllStagesAgain(t *testing.T) {
	for _, c := range []struct {
		name, stage, code string
		change            func(*fixture, *Request)
	}{
		{"revoked", StageCapability, "capability.revoked", func(f *fixture, r *Request) { f.revoked[r.Capability.Blocks[0]] = true }},
		{"halted", StageLimits, "limits.halted", func(f *fixture, r *Request) { r.Halted = true }},
		{"denied by a new policy", StagePolicy, "policy.denied", func(f *fixture, r *Request) {
			if err := f.gate.SetPolicy(t.Context(), module(`decision := {"outcome":"deny"}`)); err != nil {
				t.Fatal(err)
			}
		}},
		{"unsafe by now", StageWhatIf, "what_if.unsafe", func(f *fixture, r *Request) {
			f.sim.bend = func(v *whatif.Verdict) { v.Outcome = whatif.Unsafe }
		}},
	} {
		f := newFixture(t)
		r := awaiting(t, f)
		r.Approvals = []Approval{approve(*r.Challenge, "operator:alice", "alice")}
		c.change(f, &r)
		denied(t, c.name, f.assess(t, r), c.stage, c.code)
	}
}

func TestNobodyApprovesTheirOwn(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.Policy = module(`decision := {"outcome":"needs_approval","n1":true,"approvers":{"count":1,"roles":["operator"],"ttl_seconds":900}}`)
	})
	propose := func(c *capability.Verified) Request {
		r := f.open(t, c.Principal)
		r.Capability = c
		a := f.assess(t, r)
		if a.Outcome != NeedsApproval {
			t.Fatalf("%+v", a)
		}
		r.Challenge, r.Simulated = a.Challenge, a.Verdict
		return r
	}
	own := propose(caller(t, "operator:alice", "alice"))
	own.Approvals = []Approval{approve(*own.Challenge, "operator:alice", "alice")}
	denied(t, "the same name and key", f.assess(t, own), StageApproval, "approval.insufficient")

	otherKey := propose(caller(t, "operator:alice", "alice's laptop"))
	otherKey.Approvals = []Approval{approve(*otherKey.Challenge, "operator:alice", "alice")}
	denied(t, "the same name with another key", f.assess(t, otherKey), StageApproval, "approval.insufficient")

	otherName := propose(caller(t, "agent:shadow", "bob"))
	otherName.Approvals = []Approval{approve(*otherName.Challenge, "operator:bob", "bob")}
	denied(t, "another name with the same key", f.assess(t, otherName), StageApproval, "approval.insufficient")

	// bob holds a token and gives a narrower one to a program of his: he is still behind the proposal.
	tok, err := capability.Issue(key("root"), "agent:shadow", pub("bob"), capability.Grant{Actions: []string{"command"}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: t0.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if tok, err = capability.Attenuate(tok, key("bob"), pub("program"), capability.Grant{}); err != nil {
		t.Fatal(err)
	}
	v, err := capability.Verify(tok, pub("root"), t0, "grid.example")
	if err != nil {
		t.Fatal(err)
	}
	behind := propose(&v)
	behind.Approvals = []Approval{approve(*behind.Challenge, "operator:bob", "bob")}
	denied(t, "a key earlier in the chain", f.assess(t, behind), StageApproval, "approval.insufficient")

	behind.Approvals = []Approval{approve(*behind.Challenge, "operator:alice", "alice")}
	if a := f.assess(t, behind); a.Outcome != Allow {
		t.Errorf("another person: %+v", a.Reasons)
	}
}

func TestTwoOfMany(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.Policy = module(`decision := {"outcome":"needs_approval","approvers":{"count":2,"roles":["operator","shift_lead"],"ttl_seconds":900}}`)
	})
	r := f.open(t, "agent:a")
	first := f.assess(t, r)
	r.Challenge, r.Simulated = first.Challenge, first.Verdict
	alice, bob := approve(*r.Challenge, "operator:alice", "alice"), approve(*r.Challenge, "operator:bob", "bob")
	for name, c := range map[string]struct {
		approvals []Approval
		want      Outcome
	}{
		"one":             {[]Approval{alice}, Deny},
		"one twice":       {[]Approval{alice, alice}, Deny},
		"two":             {[]Approval{alice, bob}, Allow},
		"two and a bogus": {[]Approval{alice, approve(*r.Challenge, "operator:mallory", "mallory"), bob}, Allow},
	} {
		q := r
		q.Approvals = c.approvals
		if a := f.assess(t, q); a.Outcome != c.want {
			t.Errorf("%s: %s %+v", name, a.Outcome, a.Reasons)
		}
	}
}

func TestUnsimulatedApproval(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.Policy = module(`decision := {"outcome":"needs_approval","unsimulated_ok":true,"approvers":{"count":1,"roles":["operator"],"ttl_seconds":900}}`)
	})
	f.sim.blind = true
	r := f.open(t, "agent:a")
	a := f.assess(t, r)
	if a.Challenge == nil || !a.Challenge.Simulation.IsZero() {
		t.Fatalf("%+v", a)
	}
	r.Challenge = a.Challenge
	r.Approvals = []Approval{approve(*r.Challenge, "operator:alice", "alice")}
	if a := f.assess(t, r); a.Outcome != Allow {
		t.Errorf("%+v", a.Reasons)
	}
	f.sim.blind = false
	denied(t, "now it can be simulated", f.assess(t, r), StageApproval, "approval.stale_simulation")
}

func TestExpiryOfTheCommandBoundsTheChallenge(t *testing.T) {
	f := newFixture(t)
	r := f.open(t, "agent:a")
	r.Expires = t0.Add(time.Minute)
	if a := f.assess(t, r); !a.Challenge.Expires.Equal(r.Expires) {
		t.Errorf("the challenge outlives the command: %s", a.Challenge.Expires)
	}
}

func TestWithoutRandomnessNoChallenge(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Rand = noRand{} })
	denied(t, "no nonce", f.assess(t, f.open(t, "agent:a")), StageApproval, "approval.internal")
}

type noRand struct{}

func (noRand) Read([]byte) (int, error) {
	return 0, vaultmesh.Errorf(vaultmesh.Unavailable, "rand", "", "none")
}

func TestOperators(t *testing.T) {
	r := NewOperators()
	enroll := func(p vaultmesh.Principal, k ed25519.PublicKey, roles ...string) vaultmesh.Kind {
		if err := r.Enroll(Operator{Principal: p, Key: k, Roles: roles}); err != nil {
			return vaultmesh.KindOf(err)
		}
		return vaultmesh.Kind(255)
	}
	const ok = vaultmesh.Kind(255)
	for i, c := range []struct {
		got, want vaultmesh.Kind
	}{
		{enroll("operator:alice", pub("alice"), "operator"), ok},
		{enroll("operator:alice2", pub("alice"), "operator"), vaultmesh.Conflict},
		{enroll("agent:a", pub("a")), vaultmesh.Invalid},
		{enroll("operator:a b", pub("a")), vaultmesh.Invalid},
		{enroll("operator:b", pub("b")[:31]), vaultmesh.Invalid},
		{enroll("operator:b", pub("b"), "a role"), vaultmesh.Invalid},
		{enroll("operator:b", pub("b"), make([]string, maxRoles+1)...), vaultmesh.TooLarge},
		{enroll("operator:alice", pub("new"), "operator"), ok},
		{enroll("operator:alice2", pub("alice"), "operator"), ok}, // the old key was given up
	} {
		if c.got != c.want {
			t.Errorf("step %d: got %v, want %v", i, c.got, c.want)
		}
	}
	r.Remove("operator:alice2")
	r.Remove("operator:nobody")
	if _, known := r.Get("operator:alice2"); known {
		t.Error("a removed operator is still there")
	}
	if enroll("operator:carol", pub("alice")) != ok {
		t.Error("the key of a removed operator stays taken")
	}
}
