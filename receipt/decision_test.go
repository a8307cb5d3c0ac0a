package receipt

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// refusedBy verifies and wants a refusal of which one cause has the name and the words.
func refusedBy(t *testing.T, s *story, name, words string) {
	t.Helper()
	r := Verify(s.export(), trust(t, s))
	if r.OK || !slices.ContainsFunc(r.Failed(), func(c Check) bool {
		return strings.HasPrefix(c.Name, name) && strings.Contains(c.Detail, words)
	}) {
		t.Errorf("ok %v, want a refusal by %s with %q:\n%s", r.OK, name, words, humanForm(t, r, false, 0))
	}
}

// without leaves the approval out of a story, as a gate that allows at once would.
func withoutApproval(s *story, outcome string) {
	s.approve = nil
	s.skip = func(kind string) bool { return kind == CommandAwaitingApproval || kind == CommandApproved }
	s.draft = func(d *Draft) {
		if d.Kind == CommandAssessed {
			d.Outcome = outcome
		}
	}
	s.body = func(_ string, body any) {
		if b, ok := body.(*AuthorizedBody); ok {
			b.Challenge = vaultmesh.Digest{}
		}
	}
	s.parts = func(p []Part) []Part {
		return slices.DeleteFunc(p, func(x Part) bool { return x.Type == PartChallenge })
	}
}

// Only what the gate can say counts as its word.
func TestOutcomesOfTheGate(t *testing.T) {
	s := newStory(t)
	withoutApproval(s, "assessed: allow")
	if r := Verify(s.export(), trust(t, s)); !r.OK {
		t.Fatal(humanForm(t, r, false, 0))
	}
	for _, outcome := range []string{"assessed: DENY", "", "allow", "assessed: ", "assessed: allow ", "assessed: allow: x"} {
		s := newStory(t)
		withoutApproval(s, outcome)
		refusedBy(t, s, "command.binding[01JCMD]", "is none that the gate has")
	}
	s = newStory(t)
	withoutApproval(s, "assessed: needs_approval")
	refusedBy(t, s, "command.binding[01JCMD]", "was authorized without")
}

// What a decision saw agrees with every receipt of its command.
func TestInputsAgreeWithTheCommand(t *testing.T) {
	tell := func(kind string, change func(in *Inputs)) *story {
		s := newStory(t)
		var doc []byte
		var blocks []vaultmesh.Digest
		var challenge, simulation vaultmesh.Digest
		var approvals []SignedApproval
		s.draft = func(d *Draft) {
			if d.Kind == CommandProposed {
				blocks = []vaultmesh.Digest{d.Capability}
			}
		}
		s.body = func(_ string, body any) {
			in := Inputs{Command: commandID, Twin: commandRef.Twin, Name: commandRef.Name, ArgsDigest: commandRef.ArgsDigest, Principal: proposer, Time: t0.Truncate(time.Microsecond), Expires: t0.Add(time.Minute).Truncate(time.Microsecond),
				TwinState: vaultmesh.Sum([]byte("x")), TwinVersion: 41, Policy: policy, Capability: InputCapability{Blocks: blocks}, Stages: vaultmesh.Sum([]byte("s"))}
			var named *vaultmesh.Digest
			switch b := body.(type) {
			case *AssessedBody:
				simulation = b.Simulation
				if kind != CommandAssessed {
					return
				}
				in.Verdict, in.Expect, in.Outcome, named = b.Simulation, b.Expect, "needs_approval", &b.Inputs
			case *ApprovedBody:
				approvals = b.Approvals
				return
			case *AuthorizedBody:
				challenge = b.Challenge
				if kind != CommandAuthorized {
					return
				}
				in.Verdict, in.Earlier, in.Challenge, in.Approvals, in.Outcome, in.TwinVersion, named = b.Simulation, simulation, challenge, approvals, "allow", 44, &b.Inputs
			default:
				return
			}
			if change != nil {
				change(&in)
			}
			var err error
			if doc, err = in.Encode(); err != nil {
				t.Fatal(err)
			}
			*named = vaultmesh.Sum(doc)
		}
		s.parts = func(p []Part) []Part { return append(p, InputPart(doc)) }
		return s
	}
	other := vaultmesh.Sum([]byte("another"))
	changes := map[string]func(in *Inputs){
		"principal": func(in *Inputs) { in.Principal = "agent:somebody-else" }, "expires": func(in *Inputs) { in.Expires = t0 }, "capability": func(in *Inputs) { in.Capability.Blocks = []vaultmesh.Digest{other} },
		"verdict": func(in *Inputs) { in.Verdict = other }, "challenge": func(in *Inputs) { in.Challenge = other }, "halted": func(in *Inputs) { in.Halted = true }, "outcome": func(in *Inputs) { in.Outcome = "deny" },
	}
	for kind, more := range map[string]map[string]func(in *Inputs){
		CommandAssessed:   {"version": func(in *Inputs) { in.TwinVersion = 7 }, "expected": func(in *Inputs) { in.Expect = nil }},
		CommandAuthorized: {"earlier": func(in *Inputs) { in.Earlier = other }, "approvals": func(in *Inputs) { in.Approvals = in.Approvals[:1] }},
	} {
		s := tell(kind, nil)
		if r := Verify(s.export(), trust(t, s)); !r.OK {
			t.Fatalf("%s: %s", kind, humanForm(t, r, false, 0))
		}
		for _, list := range []map[string]func(in *Inputs){changes, more} {
			for name, change := range list {
				t.Run(kind+" "+name, func(t *testing.T) { refusedBy(t, tell(kind, change), "input.binding[", "") })
			}
		}
	}
}

// Aligned is what the assessment expects, to within what it allowed.
func TestAlignedWithinTolerance(t *testing.T) {
	for _, c := range []struct {
		name                      string
		want                      float64
		value                     string
		assessed, judged, refused any // tolerance in the assessment and in the aligned receipt, nil: none; words of the refusal
	}{
		{"far off", 99, "1.025", nil, nil, "the assessment expects 99"},
		{"far off with a tolerance", 99, "1.025", 1e-4, 1e-4, "give or take 0.0001"},
		{"within", 1.02, "1.025", 0.01, 0.01, nil},
		{"exactly at the bound", 1, "1.025", 1.025 - 1, 1.025 - 1, nil},
		{"without a tolerance, rounded", 1.02500001, "1.025", nil, nil, nil},
		{"without a tolerance, off", 1.02, "1.025", nil, nil, "that is not aligned"},
		{"decided afterwards", 1.02, "1.025", nil, 0.01, "another tolerance"},
		{"widened afterwards", 1.02, "1.025", 1e-4, 0.01, "another tolerance"},
		{"left out afterwards", 1.025, "1.025", 1e-4, nil, "another tolerance"},
		{"negative", 1.025, "1.025", -1., -1., "that is not aligned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t)
			s.body = func(_ string, body any) {
				switch b := body.(type) {
				case *AssessedBody:
					b.Expect = map[string]float64{"tap": c.want}
					if allowed, ok := c.assessed.(float64); ok {
						b.Tolerance = map[string]float64{"tap": allowed}
					}
				case *ObservedBody:
					o := b.Observed["tap"]
					o.Expected, o.Value = &c.want, json.RawMessage(c.value)
					if allowed, ok := c.judged.(float64); ok {
						o.Tolerance = &allowed
					}
					b.Observed["tap"] = o
				}
			}
			if words, ok := c.refused.(string); ok {
				refusedBy(t, s, "telemetry.proof[01JCMD]", words)
				return
			}
			r := Verify(s.export(), trust(t, s))
			if !r.OK {
				t.Fatal(humanForm(t, r, false, 0))
			}
			if text := humanForm(t, r, false, 0); c.name == "within" && !strings.Contains(strings.Join(strings.Fields(text), " "), "tap = 1.025 at 03:04:09.123Z (expected 1.02, give or take 0.01)") {
				t.Errorf("it does not tell how far off: %s", text)
			}
		})
	}
}

// A halt that the bundle shows must have been obeyed.
func TestHaltIsObeyed(t *testing.T) {
	tell := func(kind string, cleared bool) *story {
		s := newStory(t)
		done := false
		s.draft = func(d *Draft) {
			if d.Kind == kind && !done {
				done = true
				s.add(HaltSet, HaltSubject(s.domain), "operator:alice", 3*time.Second, &HaltBody{Reason: "stop"}, nil)
				if cleared {
					s.add(HaltCleared, HaltSubject(s.domain), "operator:alice", 3*time.Second, &HaltBody{Reason: "go on"}, nil)
				}
			}
		}
		return s
	}
	refusedBy(t, tell(CommandAuthorized, false), "command.halt[01JCMD]", "had been halted at index")
	refusedBy(t, tell(CommandDispatched, false), "command.halt[01JCMD]", "it was dispatched at index")
	for _, s := range []*story{tell(CommandAuthorized, true), tell(CommandAligned, false)} {
		r := Verify(s.export(), trust(t, s))
		if !r.OK || !slices.ContainsFunc(r.NotProved, func(s string) bool { return strings.Contains(s, "was not halted when 1 command went out") }) {
			t.Error(humanForm(t, r, false, 0))
		}
	}
}

// A halt that lies in a range by chance does not count where it may have been cleared in a part of the log that is not shown.
func TestHaltBesideAGap(t *testing.T) {
	tell := func(scope func(halt vaultmesh.LogIndex) Scope) Report {
		s := newStory(t)
		var halt, cleared Ref
		s.draft = func(d *Draft) {
			if d.Kind == CommandAuthorized && halt.Leaf.IsZero() {
				halt = s.add(HaltSet, HaltSubject(s.domain), "operator:alice", 3*time.Second, &HaltBody{Reason: "stop"}, nil)
				cleared = s.add(HaltCleared, HaltSubject(s.domain), "operator:alice", 3*time.Second, &HaltBody{Reason: "go on"}, nil)
			}
		}
		s.parts = func(parts []Part) []Part {
			parts = slices.DeleteFunc(parts, func(p Part) bool {
				return p.Name == ReceiptPart(cleared.Index, nil).Name || p.Name == inclusionName(cleared.Index)
			})
			return append(parts, ScopePart(scope(halt.Index)))
		}
		return Verify(s.export(), trust(t, s))
	}
	command := []vaultmesh.CommandID{commandID}
	if r := tell(func(halt vaultmesh.LogIndex) Scope {
		return Scope{Commands: command, Ranges: []Range{{First: halt, Last: halt}}}
	}); !r.OK {
		t.Errorf("it may have been cleared:\n%s", humanForm(t, r, false, 0))
	}
	// Without a range around it, what is there of the switch is its history, which ends in the halt.
	if r := tell(func(vaultmesh.LogIndex) Scope { return Scope{Commands: command} }); r.OK {
		t.Error("a halt that stands is not obeyed, and accepted")
	}
}
