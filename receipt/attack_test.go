package receipt

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// failsIn verifies and wants a refusal in which the family is among the causes.
func failsIn(t *testing.T, bundle []byte, trust *Trust, family string) {
	t.Helper()
	r := Verify(bundle, trust)
	if r.OK {
		t.Fatal("accepted")
	}
	for _, c := range r.Failed() {
		if familyOf(c.Name) == family && !strings.HasPrefix(c.Detail, "not judged") {
			return
		}
	}
	var tree strings.Builder
	if err := r.Tree(&tree, false, 0); err != nil {
		t.Fatal(err)
	}
	t.Fatalf("refused, but not by %s:\n%s", family, tree.String())
}

// TestCheatingDomain lets the domain itself, which holds all the keys, tell a story that does not hold together.
func TestCheatingDomain(t *testing.T) {
	drop := func(kinds ...string) func(*story) {
		return func(s *story) { s.skip = func(kind string) bool { return slices.Contains(kinds, kind) } }
	}
	edit := func(kind string, f func(body any)) func(*story) {
		return func(s *story) {
			s.body = func(k string, body any) {
				if k == kind {
					f(body)
				}
			}
		}
	}
	draft := func(kind string, f func(d *Draft)) func(*story) {
		return func(s *story) {
			s.draft = func(d *Draft) {
				if d.Kind == kind {
					f(d)
				}
			}
		}
	}
	without := func(kind string, n int) func(*story) { // leaves receipts of the command's history out of the export
		return func(s *story) {
			s.parts = func(parts []Part) []Part {
				return slices.DeleteFunc(parts, func(p Part) bool {
					if p.Type == PartReceipt {
						r, err := Open(p.Data)
						return err == nil && r.Kind == kind && n < 0 || err == nil && r.Kind == kind && r.Seq == uint64(n)
					}
					return false
				})
			}
		}
	}
	drops := func(kind string) func(*story) { // the same with the proof, so that nothing dangles
		return func(s *story) {
			s.parts = func(parts []Part) []Part {
				i := s.at[kind].Index
				names := []string{ReceiptPart(i, nil).Name, InclusionPart(i, nil, nil).Name}
				return slices.DeleteFunc(parts, func(p Part) bool { return slices.Contains(names, p.Name) })
			}
		}
	}
	sign := func(name string, s SignedApproval, c Challenge) SignedApproval {
		key := newTestKey(name)
		s.Approver, s.Key, s.Signature = vaultmesh.Principal(name), key.KeyID(), SignApproval(key.PrivateKey, c)
		return s
	}
	var challenge Challenge
	forge := func(f func(b *ApprovedBody)) func(*story) {
		return func(s *story) {
			s.body = func(kind string, body any) {
				switch b := body.(type) {
				case *Challenge:
					challenge = *b
				case *ApprovedBody:
					f(b)
				}
			}
		}
	}
	cases := []struct {
		name   string
		cheat  func(*story)
		family string
	}{
		{"tail cut off before alignment", drops(CommandAligned), "subject.chain"},
		{"tail cut off in the log", drop(CommandAligned), "subject.chain"},
		{"middle left out of the export", drops(CommandApproved), "subject.chain"},
		{"beginning left out of the export", drops(CommandProposed), "subject.chain"},
		{"receipt left out, proof left behind", without(CommandAligned, -1), "receipt.inclusion"},
		{"never authorized", drop(CommandAuthorized), "command.transitions"},
		{"never approved", drop(CommandApproved), "command.transitions"},
		{"approval never asked for", drop(CommandAwaitingApproval, CommandApproved), "command.binding"},
		{"never assessed", drop(CommandAssessed), "command.transitions"},
		{"dispatched other arguments", edit(CommandDispatched, func(b any) { b.(*DispatchedBody).ArgsDigest = vaultmesh.Sum([]byte("{}")) }), "command.binding"},
		{"dispatched to another twin", edit(CommandDispatched, func(b any) { b.(*DispatchedBody).Twin = "transformer-9-9" }), "command.binding"},
		{"arguments beside their digest", edit(CommandProposed, func(b any) { b.(*ProposedBody).Args = json.RawMessage(`{"ratio":0.9}`) }), "command.binding"},
		{"answered by another device", edit(CommandAcknowledged, func(b any) { b.(*ResponseBody).Device = "sub-5" }), "command.binding"},
		{"authorized on another simulation", edit(CommandAuthorized, func(b any) { b.(*AuthorizedBody).Simulation = vaultmesh.Sum(nil) }), "command.binding"},
		{"sent after expiry", draft(CommandDispatched, func(d *Draft) { d.Time = t0.Add(2 * time.Minute) }), "command.binding"},
		{"simulated another command", edit(CommandAssessed, func(b any) {
			a := b.(*AssessedBody)
			a.Verdict, a.Simulation = sealVerdict(t, `{"query":{"twin":"transformer-4-9","command":"setTap","args":{"ratio":1}},"outcome":"safe","reason":"","id":""}`)
		}), "command.binding"},
		{"altered verdict", edit(CommandAssessed, func(b any) {
			a := b.(*AssessedBody)
			a.Verdict = bytes.Replace(a.Verdict, []byte("safe"), []byte("fine"), 1)
		}), "command.binding"},
		{"undocumented member in a body", draft(CommandAcknowledged, func(d *Draft) { d.Body = append([]byte(`{"aaa":1,`), d.Body[1:]...) }), "command.binding"},
		{"another policy", draft(CommandAuthorized, func(d *Draft) { d.Policy = vaultmesh.Sum([]byte("loose")) }), "policy.accepted"},
		{"no policy", draft(CommandAssessed, func(d *Draft) { d.Policy = vaultmesh.Digest{} }), "policy.accepted"},
		{"unsigned decision", func(s *story) {
			s.parts = func(parts []Part) []Part {
				for i, p := range parts {
					if r, err := Open(p.Data); p.Type == PartReceipt && err == nil && r.Kind == CommandAuthorized {
						env, err := Encode(r.Domain, r.Draft, r.Link, nil)
						if err != nil {
							t.Fatal(err)
						}
						parts[i].Data = env
					}
				}
				return parts
			}
		}, "receipt.signature"},
		{"cause in the future", draft(CommandProposed, func(d *Draft) { d.Causes[0].Index = 99 }), "receipt.causes"},
		{"cause that is another receipt", draft(CommandProposed, func(d *Draft) { d.Causes[0].Leaf = vaultmesh.Sum(nil) }), "receipt.causes"},
		{"one approval of two", forge(func(b *ApprovedBody) { b.Approvals = b.Approvals[:1] }), "approval.signature"},
		{"the same person twice", forge(func(b *ApprovedBody) { b.Approvals[1] = b.Approvals[0] }), "approval.signature"},
		{"approved without the role", forge(func(b *ApprovedBody) { b.Approvals[1] = sign("operator:carol", b.Approvals[1], challenge) }), "approval.signature"},
		{"approved by a stranger", forge(func(b *ApprovedBody) { b.Approvals[1] = sign("operator:mallory", b.Approvals[1], challenge) }), "approval.signature"},
		{"approved by the proposer", forge(func(b *ApprovedBody) { b.Approvals[1] = sign(string(proposer), b.Approvals[1], challenge) }), "approval.signature"},
		{"approved too late", forge(func(b *ApprovedBody) { b.Approvals[1].Time = t0.Add(time.Hour) }), "approval.signature"},
		{"approval of other arguments", forge(func(b *ApprovedBody) {
			other := challenge
			other.Args = json.RawMessage(`{"ratio":0.9}`)
			b.Approvals[1].Signature = SignApproval(newTestKey("operator:bob").PrivateKey, other)
		}), "approval.signature"},
		{"challenge for another policy", edit("challenge", func(b any) { b.(*Challenge).Policy = vaultmesh.Sum([]byte("loose")) }), "approval.signature"},
		{"challenge for another version of the twin", edit("challenge", func(b any) { b.(*Challenge).TwinVersion++ }), "approval.signature"},
		{"challenge of another proposer", edit("challenge", func(b any) { b.(*Challenge).Principal = "agent:other" }), "approval.signature"},
		{"challenge not exported", func(s *story) {
			s.parts = func(parts []Part) []Part {
				return slices.DeleteFunc(parts, func(p Part) bool { return p.Type == PartChallenge })
			}
		}, "approval.signature"},
		{"challenge that nobody asked for", func(s *story) {
			s.parts = func(parts []Part) []Part {
				return append(parts, ChallengePart(Challenge{Domain: "dev", Command: "x", Principal: "a", Twin: "t", Name: "n", Expires: t0, Nonce: "0123456789abcdef"}))
			}
		}, "approval.signature"},
		{"token that does not grant the command", func(s *story) { s.grant = func(g *capability.Grant) { g.Commands = []string{"openBreaker"} } }, "capability.chain"},
		{"token expired at the proposal", func(s *story) { s.grant = func(g *capability.Grant) { g.Expires = t0.Add(500 * time.Millisecond) } }, "capability.chain"},
		{"no token", edit(CommandProposed, func(b any) { b.(*ProposedBody).Token = "" }), "capability.chain"},
		{"another reason than was signed", edit(CommandProposed, func(b any) { b.(*ProposedBody).Reason = "because" }), "capability.chain"},
		{"proof over another request", edit(CommandProposed, func(b any) {
			p := b.(*ProposedBody)
			p.Target.Request = []byte(`{"twin":"transformer-4-9","command":"setTap","args":{"ratio":1},"idempotency_key":"key-1"}`)
			p.Target.Body = vaultmesh.Sum(p.Target.Request)
			p.Proof = capability.SignProof(newTestKey("agent").PrivateKey, capability.Target{Domain: "dev", Method: "mcp", Path: "propose_command", Body: p.Target.Body}, t0, "proof-nonce-0123456789")
		}), "capability.chain"},
		{"another proposer than the token's", draft(CommandProposed, func(d *Draft) { d.Actor = "agent:other" }), "capability.chain"},
		{"stamped something else", func(s *story) { s.stamped = func([]byte) []byte { return []byte("else") } }, "timestamp.rfc3161"},
		{"time-stamp left out", func(s *story) {
			s.parts = func(parts []Part) []Part {
				return slices.DeleteFunc(parts, func(p Part) bool { return p.Type == PartTimestamp })
			}
		}, "timestamp.rfc3161"},
		{"receipts dated after the time-stamp", draft(CommandAligned, func(d *Draft) { d.Time = t0.Add(time.Hour) }), "timestamp.rfc3161"},
		{"observation without a message", edit(CommandAligned, func(b any) {
			o := b.(*ObservedBody).Observed["tap"]
			o.Batch, o.Position = nil, 0
			b.(*ObservedBody).Observed["tap"] = o
		}), "telemetry.proof"},
		{"observation of another message", edit(CommandAligned, func(b any) {
			o := b.(*ObservedBody).Observed["tap"]
			o.Position = 2
			b.(*ObservedBody).Observed["tap"] = o
		}), "telemetry.proof"},
		{"observation of another value", edit(CommandAligned, func(b any) {
			o := b.(*ObservedBody).Observed["tap"]
			o.Value = json.RawMessage("1.05")
			b.(*ObservedBody).Observed["tap"] = o
		}), "telemetry.proof"},
		{"aligned with another expectation", edit(CommandAssessed, func(b any) { b.(*AssessedBody).Expect["tap"] = 1.05 }), "telemetry.proof"},
		{"expectation not observed", edit(CommandAssessed, func(b any) { b.(*AssessedBody).Expect["loading"] = 0.4 }), "telemetry.proof"},
		{"authorized without the challenge", edit(CommandAuthorized, func(b any) { b.(*AuthorizedBody).Challenge = vaultmesh.Digest{} }), "command.binding"},
		{"authorized on no simulation", edit(CommandAuthorized, func(b any) { b.(*AuthorizedBody).Simulation = vaultmesh.Digest{} }), "command.binding"},
		{"simulated anew, another command", edit(CommandAuthorized, func(b any) {
			a := b.(*AuthorizedBody)
			a.Verdict, a.Simulation = sealVerdict(t, `{"query":{"twin":"transformer-4-9","command":"setTap","args":{"ratio":1}},"outcome":"safe","reason":"","id":""}`)
		}), "command.binding"},
		{"nothing observed", edit(CommandAligned, func(b any) { b.(*ObservedBody).Observed = nil }), "telemetry.proof"},
		{"message not exported", func(s *story) {
			s.parts = func(parts []Part) []Part {
				return slices.DeleteFunc(parts, func(p Part) bool { return p.Type == PartMessage })
			}
		}, "telemetry.proof"},
		{"token that nobody names", func(s *story) {
			s.parts = func(parts []Part) []Part { return append(parts, CapabilityPart(vaultmesh.Sum(nil), "vmc1.x")) }
		}, "capability.chain"},
		{"no receipts", func(s *story) {
			s.parts = func(parts []Part) []Part {
				return slices.DeleteFunc(parts, func(p Part) bool { return p.Type == PartReceipt || p.Type == PartInclusion })
			}
		}, "receipt.signature"},
		{"no checkpoint", func(s *story) {
			s.parts = func(parts []Part) []Part {
				return slices.DeleteFunc(parts, func(p Part) bool { return p.Type == PartCheckpoint })
			}
		}, "log.checkpoint"},
		{"receipts swapped", func(s *story) {
			s.parts = func(parts []Part) []Part {
				var a, b int
				for i, p := range parts {
					switch p.Name {
					case "receipts/0000000008.dsse.json":
						a = i
					case "receipts/0000000009.dsse.json":
						b = i
					}
				}
				parts[a].Data, parts[b].Data = parts[b].Data, parts[a].Data
				return parts
			}
		}, "receipt.inclusion"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t)
			c.cheat(s)
			failsIn(t, s.export(), trust(t, newStory(t)), c.family)
		})
	}
}

// TestHonestVariants are lives that differ from the story's and hold together.
func TestHonestVariants(t *testing.T) {
	for name, vary := range map[string]func(kind string, body any){
		"simulated anew when it was authorized": func(_ string, body any) {
			if a, ok := body.(*AuthorizedBody); ok {
				a.Verdict, a.Simulation = sealVerdict(t, `{"query":{"twin":"transformer-4-9","command":"setTap","args":{"ratio":1.025}},"outcome":"safe","reason":"again","id":""}`)
			}
		},
		"nothing expected, aligned by the acknowledgement": func(_ string, body any) {
			switch b := body.(type) {
			case *AssessedBody:
				b.Expect = nil
			case *ObservedBody:
				b.Observed = nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			s.body = vary
			if r := Verify(s.export(), trust(t, s)); !r.OK {
				t.Errorf("%+v", r.Failed())
			}
		})
	}
}

func TestRevokedBeforeProposal(t *testing.T) {
	s := newStory(t)
	s.draft = func(d *Draft) {
		if d.Kind == CapabilityIssued {
			d.Kind = CapabilityRevoked
		}
	}
	failsIn(t, s.export(), trust(t, s), "capability.chain")
}

// A token that is revoked after the proposal must not authorize it; revoked after the authorization, it changes nothing.
func TestRevokedBeforeAuthorization(t *testing.T) {
	for kind, holds := range map[string]bool{CommandAwaitingApproval: false, CommandAuthorized: false, CommandDispatched: true} {
		s := newStory(t)
		var issued Draft
		s.draft = func(d *Draft) {
			switch {
			case d.Kind == CapabilityIssued:
				issued = *d
			case d.Kind == kind && issued.Subject != "":
				subject := issued.Subject
				issued.Subject = ""
				block, err := ReadBody[CapabilityBody](&Receipt{Draft: Draft{Kind: CapabilityIssued, Body: issued.Body}})
				if err != nil {
					t.Fatal(err)
				}
				s.add(CapabilityRevoked, subject, "operator:alice", time.Second, &CapabilityBody{Block: block.Block, Reason: "stolen"}, nil)
			}
		}
		bundle := s.export()
		if holds {
			if r := Verify(bundle, trust(t, s)); !r.OK {
				t.Errorf("revoked before %s: %+v", kind, r.Failed())
			}
			continue
		}
		failsIn(t, bundle, trust(t, s), "capability.chain")
	}
}

func TestReusedChallenge(t *testing.T) {
	s := newStory(t)
	bundle := s.export()
	j := &judge{trust: trust(t, s), entries: map[vaultmesh.LogIndex]*entry{}}
	j.run(bundle)
	if !j.report().OK || len(j.commands) != 1 {
		t.Fatal("the honest bundle is refused")
	}
	j.checks, j.commands = nil, append(j.commands, j.commands[0])
	a := j.approvals()
	a.command(j.commands[0])
	a.command(j.commands[1])
	if j.checks[0].OK != true || j.checks[1].OK || !strings.Contains(j.checks[1].Detail, "nonce was used") {
		t.Errorf("using a challenge twice: %+v", j.checks)
	}
}

// TestOtherKeys is the failure of peers: a chain that somebody else signed again from its first receipt on, and an
// honest chain judged with somebody else's keys.
func TestOtherKeys(t *testing.T) {
	honest := newStory(t)
	bundle := honest.export()
	pinned := trust(t, honest)
	rekeyed := newStory(t)
	rekeyed.key = newTestKey("mallory")
	failsIn(t, rekeyed.export(), pinned, "bundle.manifest")
	failsIn(t, rekeyed.export(), pinned, "receipt.signature")

	other := *pinned
	other.Domain = "other"
	failsIn(t, bundle, &other, "trust.keys")
	other = *pinned
	other.ReceiptKeys = []TrustedKey{{ID: newTestKey("x").KeyID(), Public: newTestKey("x").pub()}}
	failsIn(t, bundle, &other, "receipt.signature")
	other = *pinned
	other.CapabilityRoots = other.ReceiptKeys
	failsIn(t, bundle, &other, "capability.chain")
	other = *pinned
	other.CapabilityRoots = nil
	failsIn(t, bundle, &other, "capability.chain")
	other = *pinned
	other.Operators = nil
	failsIn(t, bundle, &other, "approval.signature")
	other = *pinned
	other.Log.Key = strings.Replace(newStoryWithLog(t).noteV, "vaultmesh.test/other", "vaultmesh.test/dev", 1)
	failsIn(t, bundle, &other, "trust.keys")
	other.Log.Key, other.Log.Origin = newStoryWithLog(t).noteV, "vaultmesh.test/other"
	failsIn(t, bundle, &other, "log.checkpoint")
	other = *pinned
	other.TSARoots = []string{newTestTSA(t, nil, true).rootPEM}
	failsIn(t, bundle, &other, "timestamp.rfc3161")
	other.TSARoots = nil // then its times are the domain's own word, as without a time-stamp
	if r := Verify(bundle, &other); !r.OK || !r.Stamped.IsZero() {
		t.Errorf("a time-stamp that nobody pinned: %+v", r.Failed())
	}
	other = *pinned
	other.ReceiptKeys = nil
	failsIn(t, bundle, &other, "trust.keys")
	failsIn(t, bundle, nil, "trust.keys")
	failsIn(t, bundle, &Trust{}, "trust.keys")
}
