package receipt_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// tree is the report for people.
func tree(t testing.TB, r receipt.Report, all bool) string {
	t.Helper()
	var b strings.Builder
	if err := r.Tree(&b, all, 120); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// now is a moment after everything in the sample.
var now = sample.Start.Add(time.Hour)

// strict is what a demanding auditor asks.
var strict = receipt.Demand{Complete: true, Now: now, Anchors: []string{receipt.AnchorRFC3161, receipt.AnchorWitness}}

// refuses wants a refusal in which a check of the family was made, does not hold, and says why.
func refuses(t *testing.T, d receipt.Demand, bundle []byte, trust *receipt.Trust, family, why string) {
	t.Helper()
	r := d.Verify(bundle, trust)
	if r.OK {
		t.Fatalf("accepted; want a refusal by %s", family)
	}
	for _, c := range r.Failed() {
		if strings.HasPrefix(c.Name, family) && strings.Contains(c.Detail, why) {
			return
		}
	}
	t.Fatalf("refused, but not by %s with %q:\n%s", family, why, tree(t, r, false))
}

func part(t *testing.T, parts []receipt.Part, name string) *receipt.Part {
	t.Helper()
	i := slices.IndexFunc(parts, func(p receipt.Part) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no part %s", name)
	}
	return &parts[i]
}

func without(parts []receipt.Part, prefixes ...string) []receipt.Part {
	return slices.DeleteFunc(slices.Clone(parts), func(p receipt.Part) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p.Name, prefix) })
	})
}

// A bundle with every kind of proof is accepted, and the report says what is proved and by when.
func TestEverything(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	r := strict.Verify(bundle, w.Trust())
	if !r.OK {
		t.Fatal(tree(t, r, true))
	}
	if len(r.NotProved) != 0 || len(r.Complete) != 4 || len(r.Anchors) != 6 || r.Known == "" || r.Domain != sample.Domain || r.LogSize != w.Size() {
		t.Errorf("not proved %q, complete %d, anchors %d, known %q", r.NotProved, len(r.Complete), len(r.Anchors), r.Known)
	}
	at := sample.Start.Add(20 * time.Second)
	for _, x := range r.Existed {
		for _, kind := range []string{receipt.AnchorBitcoin, receipt.AnchorEthereum, receipt.AnchorRFC3161, receipt.AnchorWitness} {
			if early := x.Class != "anchor" && x.Class != "state"; early && !x.By[kind].Equal(at) {
				t.Errorf("%s by %s: %s, want %s", x.Class, kind, x.By[kind], at)
			} else if _, ok := x.By[kind]; !early && ok != (kind == receipt.AnchorRFC3161 || kind == receipt.AnchorWitness) {
				t.Errorf("%s by %s: %v", x.Class, kind, x.By)
			}
		}
	}
	for _, s := range r.Commands {
		if !s.Verified || s.Unrevoked != w.Size()-1 {
			t.Errorf("%+v", s)
		}
	}
	text := tree(t, r, false)
	for _, want := range []string{"the log agrees with the pinned witnesses, at size 22", "by Ethereum", "by Bitcoin (within some two", "all of halt/sample is shown as of size 22", "the capabilities of 2 commands were not revoked"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

// What an auditor demands and the bundle or the trust file does not give.
func TestDemands(t *testing.T) {
	w := sample.New(t)
	parts := w.Everything()
	bundle, trust := w.Pack(parts), w.Trust()
	unwitnessed := *trust
	unwitnessed.WitnessPolicy = ""
	size, root := w.Size(), w.RootOf(w.Size())
	t.Run("complete without a head that is known", func(t *testing.T) {
		refuses(t, receipt.Demand{Complete: true}, bundle, &unwitnessed, "history.complete", "not judged: completeness needs a head")
	})
	t.Run("complete by a head that the auditor knows", func(t *testing.T) {
		for name, d := range map[string]receipt.Demand{"size and root": {Complete: true, Size: size, Root: root}, "checkpoint": {Complete: true, Head: w.Checkpoint(size, 0)},
			"an older one": {Complete: true, Head: w.Checkpoint(20, 0)}} {
			if r := d.Verify(bundle, &unwitnessed); !r.OK || r.Known == "" {
				t.Errorf("%s: %s", name, tree(t, r, false))
			}
		}
	})
	t.Run("a size without a root", func(t *testing.T) {
		refuses(t, receipt.Demand{Size: size}, bundle, trust, "log.head", "tells no two logs apart")
	})
	t.Run("a head at a size that the bundle does not lead to", func(t *testing.T) {
		refuses(t, receipt.Demand{Size: 19, Root: w.RootOf(19)}, bundle, trust, "log.head", "not judged")
		more := w.Pack(append(slices.Clone(parts), w.Consistency(19, size)))
		if r := (receipt.Demand{Size: 19, Root: w.RootOf(19)}).Verify(more, trust); !r.OK {
			t.Error(tree(t, r, false))
		}
		refuses(t, receipt.Demand{Size: 19, Root: w.RootOf(18)}, more, trust, "log.head", "fork")
		if r := receipt.Verify(more, trust); !r.OK {
			t.Errorf("the proof for a head that nobody named: %s", tree(t, r, false))
		}
	})
	t.Run("a checkpoint of another log", func(t *testing.T) {
		refuses(t, receipt.Demand{Head: []byte("nothing")}, bundle, trust, "log.head", "cannot be used")
	})
	t.Run("a subject that the bundle does not show", func(t *testing.T) {
		refuses(t, receipt.Demand{Subjects: []string{"twin/bus-9"}}, bundle, trust, "history.complete", "no proof that there is none")
		refuses(t, receipt.Demand{Subjects: []string{receipt.DomainSubject(sample.Domain)}}, bundle, trust, "history.complete", "no state proof")
		refuses(t, receipt.Demand{Subjects: []string{"command/other"}}, bundle, trust, "history.complete", "whole life")
	})
	t.Run("proofs of time", func(t *testing.T) {
		refuses(t, receipt.Demand{Anchors: []string{receipt.AnchorBitcoin}}, bundle, trust, "anchor.bitcoin", "from index 20 on")
		refuses(t, receipt.Demand{Anchors: []string{receipt.AnchorEthereum}}, bundle, trust, "anchor.ethereum", "from index 20 on")
		refuses(t, receipt.Demand{Anchors: []string{receipt.AnchorWitness}}, bundle, &unwitnessed, "log.witness", "pins no policy")
	})
	t.Run("nothing pinned to judge a proof by", func(t *testing.T) {
		for kind, change := range map[string]func(x *receipt.Trust){
			receipt.AnchorBitcoin:  func(x *receipt.Trust) { x.Bitcoin = nil },
			receipt.AnchorEthereum: func(x *receipt.Trust) { p := *x.Ethereum; p.Blocks = nil; x.Ethereum = &p },
			receipt.AnchorRFC3161:  func(x *receipt.Trust) { x.TSARoots = nil },
		} {
			bare := *trust
			change(&bare)
			r := receipt.Verify(bundle, &bare)
			if !r.OK || slices.ContainsFunc(r.Anchors, func(a receipt.ProvedAnchor) bool { return a.Kind == kind }) || !slices.ContainsFunc(r.NotProved, func(s string) bool { return strings.Contains(s, kind+" proof for size 20") }) {
				t.Errorf("%s: %s", kind, tree(t, r, false))
			}
			refuses(t, receipt.Demand{Anchors: []string{kind}}, bundle, &bare, "", "is demanded for every receipt")
		}
	})
}

// TestAlteredLogs are the failures of other verifiers: a log that was cut short, signed anew by another key, written anew,
// forked, rolled back or back-dated. The insider has the domain's own keys; what the insider lacks are the witnesses'
// and what the auditor knows.
func TestAlteredLogs(t *testing.T) {
	honest := sample.New(t)
	parts := honest.Everything()
	trust := honest.Trust()
	size, root := honest.Size(), honest.RootOf(honest.Size())
	known := receipt.Demand{Complete: true, Size: size, Root: root}

	// insider tells another story with the same keys, and packs it as honestly as can be.
	insider := func(t *testing.T, edit func(d *receipt.Draft)) (*sample.World, []receipt.Part) {
		w := sample.New(t)
		w.Authority, w.Witnesses, w.Draft = honest.Authority, nil, edit
		return w, w.Everything()
	}
	t.Run("cut short", func(t *testing.T) {
		w := sample.New(t)
		w.Authority, w.Witnesses = honest.Authority, nil
		w.Tell()
		note := w.Checkpoint(w.Size(), 0)
		short := w.Receipts(w.Size(), note, w.Of(receipt.HaltSubject(sample.Domain), receipt.StateSubject(sample.Domain))...)
		short = append(short, receipt.CheckpointPart(note), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 20*time.Second)), receipt.ScopePart(receipt.Scope{Subjects: []string{receipt.HaltSubject(sample.Domain)}}),
			receipt.StatePart(0, w.StateProof(w.At[receipt.StateRoot], state.SubjectKey(receipt.HaltSubject(sample.Domain)))))
		refuses(t, known, w.Pack(short), trust, "log.head", "cut short or rolled back")
		refuses(t, receipt.Demand{Complete: true}, w.Pack(short), trust, "log.witness", "no checkpoint that covers")
		loose := *trust
		loose.WitnessPolicy, loose.Ethereum = "", nil
		if r := receipt.Verify(w.Pack(short), &loose); !r.OK {
			t.Errorf("without a demand, a shorter log is a true prefix: %s", tree(t, r, false))
		}
	})
	t.Run("signed anew by another key", func(t *testing.T) {
		thief := sample.New(t)
		thief.Key, thief.Authority = sample.NewKey("thief"), honest.Authority
		refuses(t, receipt.Demand{}, thief.Pack(thief.Everything()), trust, "receipt.signature", "does not pin")
		refuses(t, receipt.Demand{}, thief.Pack(thief.Receipts(1, thief.Checkpoint(1, 0), 0)), trust, "bundle.manifest", "does not pin")
	})
	t.Run("written anew by the insider", func(t *testing.T) {
		w, other := insider(t, func(d *receipt.Draft) {
			if d.Kind == receipt.HaltSet {
				d.Body = []byte(`{"reason":"nothing happened"}`)
			}
		})
		bundle := w.Pack(other)
		refuses(t, known, bundle, trust, "log.head", "fork")
		refuses(t, receipt.Demand{}, bundle, trust, "log.witness", "no checkpoint that covers")
		refuses(t, receipt.Demand{Head: honest.Checkpoint(20, 0)}, bundle, trust, "log.head", "fork")
	})
	t.Run("forked", func(t *testing.T) {
		w, _ := insider(t, func(d *receipt.Draft) {
			if d.Kind == receipt.HaltSet {
				d.Body = []byte(`{"reason":"nothing happened"}`)
			}
		})
		forked := slices.Clone(parts)
		part(t, forked, "anchors/0000000020/checkpoint").Data = w.Checkpoint(20, 20*time.Second)
		refuses(t, receipt.Demand{}, honest.Pack(forked), trust, "log.consistency", "fork")
		forked = append(without(parts, "anchors/0000000020"), receipt.AnchoredPart(size, w.Checkpoint(size, 0)))
		refuses(t, receipt.Demand{}, honest.Pack(forked), trust, "log.consistency", "fork")
	})
	t.Run("rolled back and grown again", func(t *testing.T) {
		w := sample.New(t)
		w.Authority, w.Witnesses = honest.Authority, honest.Witnesses
		w.Tell()
		w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 20*time.Second, &receipt.HaltBody{Reason: "another end"}, nil)
		for range 9 {
			w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 20*time.Second, &receipt.HaltBody{Reason: "and longer"}, nil)
		}
		note := w.Checkpoint(w.Size(), 22*time.Second)
		grown := append(w.Receipts(w.Size(), note, w.Of(receipt.HaltSubject(sample.Domain))...), receipt.CheckpointPart(note), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 22*time.Second)), w.Consistency(size, w.Size()))
		refuses(t, known, w.Pack(grown), trust, "log.head", "fork")
	})
}

// TestTimes are receipts and proofs whose times cannot be true.
func TestTimes(t *testing.T) {
	at := func(kind string, when time.Duration) func(d *receipt.Draft) {
		return func(d *receipt.Draft) {
			if d.Kind == kind {
				d.Time = sample.Start.Add(when)
			}
		}
	}
	for _, c := range []struct {
		name, family, why string
		edit              func(d *receipt.Draft)
		now               time.Time
	}{
		{"a receipt that claims to be later than its proofs of time", "timestamp.rfc3161", "existed at", at(receipt.HaltCleared, 20*time.Minute), now},
		{"a receipt that claims to be later than a block", "anchor.ethereum", "existed at", at(receipt.HaltCleared, 20*time.Minute), now},
		{"times that run backwards", "receipt.time", "run backwards", at(receipt.HaltCleared, -20*time.Minute), now},
		{"a back-dated receipt after a reported anchor", "receipt.time", "back-dated", at(receipt.StateRoot, -62*time.Second), now},
		{"receipts of the future", "receipt.time", "in the future", nil, sample.Start.Add(-time.Hour)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sample.New(t)
			w.Draft = c.edit
			refuses(t, receipt.Demand{Now: c.now}, w.Pack(w.Everything()), w.Trust(), c.family, c.why)
		})
	}
	t.Run("an anchor that is older than the report about it", func(t *testing.T) {
		w := sample.New(t)
		w.Draft = func(d *receipt.Draft) {
			if d.Kind == receipt.AnchorVerified {
				d.Body = bytes.Replace(d.Body, []byte("03:04:25"), []byte("03:04:05"), 1)
			}
		}
		refuses(t, receipt.Demand{}, w.Pack(w.Everything()), w.Trust(), "receipt.time", "the proof says")
	})
	t.Run("a message of another time than the receipt says", func(t *testing.T) {
		w := sample.New(t)
		w.Draft = func(d *receipt.Draft) {
			if d.Kind == receipt.CommandAligned {
				d.Body = bytes.Replace(d.Body, []byte(`"time":"2026-01-02T03:04:10Z"`), []byte(`"time":"2026-01-02T03:04:11Z"`), 1)
			}
		}
		refuses(t, receipt.Demand{}, w.Pack(w.Everything()), w.Trust(), "telemetry.proof", "the message has the time")
	})
}

// TestWithheld are receipts that a bundle leaves out, with an honest manifest over the rest.
func TestWithheld(t *testing.T) {
	w := sample.New(t)
	parts := w.Everything()
	trust := w.Trust()
	leave := func(refs ...vaultmesh.LogIndex) []receipt.Part {
		out := parts
		for _, i := range refs {
			out = without(out, receipt.ReceiptPart(i, nil).Name, receipt.InclusionPart(i, nil, nil).Name)
		}
		return out
	}
	cleared, set, root := w.At[receipt.HaltCleared].Index, w.At[receipt.HaltSet].Index, w.At[receipt.StateRoot].Index
	refuses(t, receipt.Demand{}, w.Pack(leave(cleared)), trust, "history.complete[halt/sample]", "receipts are missing")
	refuses(t, receipt.Demand{}, w.Pack(leave(set)), trust, "subject.chain[halt/sample]", "beginning is missing")
	refuses(t, receipt.Demand{}, w.Pack(leave(set, cleared)), trust, "history.complete[halt/sample]", "receipts are missing")
	refuses(t, receipt.Demand{}, w.Pack(leave(root)), trust, "state.proof", "no state.root receipt")
	// Of a subject without a state proof nobody can say that it is whole, and the report says so.
	open := w.Pack(without(parts, "state/0.json"))
	r := receipt.Verify(open, trust)
	if !r.OK || !slices.ContainsFunc(r.NotProved, func(s string) bool { return strings.Contains(s, "halt/sample has no further receipts") }) {
		t.Error(tree(t, r, false))
	}
	refuses(t, receipt.Demand{Complete: true}, open, trust, "history.complete[halt/sample]", "no state proof")
	// A state that is older than the head that the auditor knows leaves room for more.
	w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 30*time.Second, &receipt.HaltBody{Reason: "later"}, nil)
	w.Add(receipt.HaltCleared, receipt.HaltSubject(sample.Domain), "operator:bob", 31*time.Second, &receipt.HaltBody{Reason: "later"}, nil)
	note := w.Checkpoint(w.Size(), 32*time.Second)
	later := append(slices.Clone(parts), receipt.AnchoredPart(w.Size(), note), w.Consistency(w.Size(), 22))
	d := receipt.Demand{Complete: true, Size: w.Size(), Root: w.RootOf(w.Size())}
	refuses(t, d, w.Pack(later), trust, "history.complete[halt/sample]", "complete as of size 22 only")
}

// TestSwappedParts exchanges parts of one kind, and judges by wrong keys.
func TestSwappedParts(t *testing.T) {
	w := sample.New(t)
	parts := w.Everything()
	trust := w.Trust()
	main := receipt.TimestampPart(w.Size(), 0, nil).Name
	for _, c := range []struct{ a, b, family, why string }{
		{main, "anchors/0000000020/rfc3161-0.tsr", "timestamp.rfc3161", "about"},
		{"state/0.json", "state/1.json", "", ""},
		{"receipts/0000000002.tlog-proof", "receipts/0000000003.tlog-proof", "receipt.inclusion", ""},
		{"checkpoint", "anchors/0000000020/checkpoint", "receipt.inclusion", "another checkpoint"},
	} {
		swapped := slices.Clone(parts)
		if c.family == "" {
			continue
		}
		if !slices.ContainsFunc(swapped, func(p receipt.Part) bool { return p.Name == c.a }) {
			c.a, c.b = "receipts/0000000000.tlog-proof", "receipts/0000000004.tlog-proof"
		}
		a, b := part(t, swapped, c.a), part(t, swapped, c.b)
		a.Data, b.Data = b.Data, a.Data
		refuses(t, receipt.Demand{}, w.Pack(swapped), trust, c.family, c.why)
	}
	for name, edit := range map[string]func(p *receipt.Part){
		"anchors/0000000020/bitcoin.json":  func(p *receipt.Part) { p.Data = w.Bitcoin(vaultmesh.Sum(nil), 20*time.Second) },
		"anchors/0000000020/ethereum.json": func(p *receipt.Part) { p.Data = w.Ethereum(vaultmesh.Sum(nil), 20*time.Second) },
		"anchors/0000000020/consistency":   func(p *receipt.Part) { p.Data = w.Consistency(19, 22).Data },
		"state/2.json": func(p *receipt.Part) {
			p.Data = bytes.Replace(p.Data, []byte("transformer-4-9"), []byte("transformer-4-8"), 1)
		},
		"scope": func(p *receipt.Part) { *p = receipt.ScopePart(receipt.Scope{Commands: []vaultmesh.CommandID{"other"}}) },
	} {
		changed := slices.Clone(parts)
		edit(part(t, changed, name))
		if r := receipt.Verify(w.Pack(changed), trust); r.OK {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(x *receipt.Trust){
		"timestamp.rfc3161": func(x *receipt.Trust) { x.TSARoots = []string{string(sample.New(t).Authority.RootPEM())} },
		"log.witness":       func(x *receipt.Trust) { x.WitnessPolicy = strings.Replace(x.WitnessPolicy, " 2 ", " 3 ", 1) },
		"log.checkpoint":    func(x *receipt.Trust) { x.Log.Key = otherLogKey(t) },
	} {
		x := *trust
		change(&x)
		refuses(t, receipt.Demand{}, w.Pack(parts), &x, name, "")
	}
}

// TestEthereumElsewhere: a proof in a chain, by a contract or in a block that the auditor does not pin proves nothing and is no
// failure, unless such a proof is demanded.
func TestEthereumElsewhere(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	for name, change := range map[string]func(p *ethereum.Params){
		"chain":    func(p *ethereum.Params) { p.ChainID = 1 },
		"contract": func(p *ethereum.Params) { p.Contracts = []ethereum.Address{{1}} },
		"block":    func(p *ethereum.Params) { p.Blocks = nil },
	} {
		trust := w.Trust()
		change(trust.Ethereum)
		r := receipt.Verify(bundle, trust)
		if !r.OK || slices.ContainsFunc(r.Anchors, func(a receipt.ProvedAnchor) bool { return a.Kind == receipt.AnchorEthereum }) {
			t.Errorf("another %s: %v\n%s", name, r.Anchors, tree(t, r, false))
		}
		refuses(t, receipt.Demand{Anchors: []string{receipt.AnchorEthereum}}, bundle, trust, "anchor.ethereum", "demanded")
	}
}

// TestRanges are bundles about receipts by their place in the log.
func TestRanges(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	note := w.Checkpoint(w.Size(), 20*time.Second)
	pack := func(scope receipt.Scope, indexes ...vaultmesh.LogIndex) []byte {
		return w.Pack(append(w.Receipts(w.Size(), note, indexes...), receipt.CheckpointPart(note), receipt.ScopePart(scope), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 20*time.Second))))
	}
	trust := w.Trust()
	one := receipt.Scope{Ranges: []receipt.Range{{First: 6, Last: 6}}}
	few := receipt.Scope{Ranges: []receipt.Range{{First: 5, Last: 8}}}
	if r := strict.Verify(pack(one, 6), trust); !r.OK || len(r.Complete) != 1 || r.Complete[0].What != "6-6" {
		t.Error(tree(t, r, false))
	}
	if r := strict.Verify(pack(few, 5, 6, 7, 8), trust); !r.OK || len(r.Commands) != 1 || r.Commands[0].Verified {
		t.Error(tree(t, r, false))
	}
	refuses(t, receipt.Demand{}, pack(few, 5, 6, 8), trust, "bundle.scope", "lacks receipt 7")
	refuses(t, receipt.Demand{}, pack(few, 5, 6, 7, 8, 11), trust, "subject.chain", "beginning is missing")
	refuses(t, receipt.Demand{}, pack(receipt.Scope{}, 6), trust, "subject.chain", "beginning is missing")
	refuses(t, receipt.Demand{}, pack(receipt.Scope{Ranges: []receipt.Range{{First: 6, Last: 1 << 40}}}, 6), trust, "bundle.scope", "range of")
	// By time: the whole log has no ends at which something could be missing.
	var all []vaultmesh.LogIndex
	for i := range w.Size() {
		all = append(all, vaultmesh.LogIndex(i))
	}
	timed := receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: 0, Last: all[len(all)-1], From: sample.Start.Add(2 * time.Second), Until: sample.Start.Add(9 * time.Second)}}})
	if r := receipt.Verify(w.Pack(under(w, note, all, timed, w.Message(), w.Challenge())), trust); !r.OK || len(r.Commands) != 2 || !r.Commands[0].Verified {
		t.Error(tree(t, r, false))
	}
}

// TestOrder reorders and repeats what a log may hold once.
func TestOrder(t *testing.T) {
	w := sample.New(t)
	parts := w.Everything()
	trust := w.Trust()
	i := w.At[receipt.HaltSet].Index
	reordered := slices.Clone(parts)
	a, b := part(t, reordered, receipt.ReceiptPart(i, nil).Name), part(t, reordered, receipt.ReceiptPart(i+1, nil).Name)
	a.Data, b.Data = b.Data, a.Data
	refuses(t, receipt.Demand{}, w.Pack(reordered), trust, "receipt.inclusion", "")
	repeated := append(slices.Clone(parts), receipt.ReceiptPart(100, w.Envelopes[i]), receipt.InclusionPart(100, nil, w.Checkpoint(22, 24*time.Second)))
	refuses(t, receipt.Demand{}, w.Pack(repeated), trust, "receipt.inclusion[100]", "")
	// A log that really holds a receipt twice is refused by its subject's chain.
	twice := sample.New(t)
	twice.Authority = w.Authority
	twice.Tell()
	h := twice.At[receipt.HaltCleared]
	env := twice.Envelopes[h.Index]
	twice.Envelopes, twice.Leaves = append(twice.Envelopes, env), append(twice.Leaves, h.Leaf)
	note := twice.Checkpoint(twice.Size(), 20*time.Second)
	indexes := twice.Of(receipt.HaltSubject(sample.Domain))
	bundle := twice.Pack(append(twice.Receipts(twice.Size(), note, indexes...), receipt.CheckpointPart(note), receipt.TimestampPart(twice.Size(), 0, twice.Stamp(twice.Digest(note), 20*time.Second))))
	refuses(t, receipt.Demand{}, bundle, trust, "subject.chain", "out of order")
}

// TestEveryByteOfEverything changes single bytes: of the file, and of parts under a manifest that the domain signs anew.
func TestEveryByteOfEverything(t *testing.T) {
	w := sample.New(t)
	parts := w.Everything()
	bundle, trust := w.Pack(parts), w.Trust()
	r := rand.New(rand.NewPCG(3, 7))
	try := func(i int) {
		bad := bytes.Clone(bundle)
		bad[i] ^= 1 << (i % 8)
		if receipt.Verify(bad, trust).OK {
			t.Fatalf("byte %d may be changed from %q to %q", i, bundle[i], bad[i])
		}
	}
	start, framed := 0, map[string]bool{}
	for _, p := range parts { // all bytes of the frame around a part of each type, some of the others', some of the data
		open := bytes.Index(bundle[start:], []byte(`{"data":"`)) + start + len(`{"data":"`)
		end := open + bytes.IndexByte(bundle[open:], '"')
		for i := start; i < open; i++ {
			if !framed[p.Type] || r.IntN(16) == 0 {
				try(i)
			}
		}
		framed[p.Type] = true
		for range 4 {
			try(open + r.IntN(end-open))
		}
		start = end
	}
	for i := start; i < len(bundle); i++ {
		try(i)
	}
	for i, p := range parts {
		limit := len(p.Data)
		switch {
		case p.Type == receipt.PartTimestamp:
			continue // its container has bytes of no meaning, which the domain, who chose the stamp, may choose
		case p.Type == receipt.PartAnchored:
			limit = bytes.Index(p.Data, []byte("\n— witness")) // nobody demands the witnesses of this one
		}
		for range 6 {
			at := r.IntN(limit)
			bad := slices.Clone(parts)
			bad[i].Data = bytes.Clone(p.Data)
			bad[i].Data[at] ^= 1 << (at % 8)
			b, err := receipt.EncodeBundle(sample.Domain, bad, w.Key)
			if err != nil {
				continue
			}
			// A proof that leads to another block than the pinned one proves nothing, and is no reason to refuse.
			if r := receipt.Verify(b, trust); r.OK && slices.ContainsFunc(r.Anchors, func(a receipt.ProvedAnchor) bool { return a.Kind == p.Type }) == slices.Contains([]string{receipt.PartBitcoin, receipt.PartEthereum}, p.Type) {
				t.Fatalf("byte %d of %s may be changed under a new manifest", at, p.Name)
			}
		}
	}
}

func otherLogKey(t *testing.T) string {
	t.Helper()
	text, err := note.NewEd25519VerifierKey(sample.Origin, sample.NewKey("another log").Pub())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestRotatedKeys has a log whose keys changed. Whoever pinned the first keys follows to the new ones where the trust file
// says so, and not otherwise; whoever pinned all need not follow.
func TestRotatedKeys(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	first := w.Anchor(20 * time.Second)
	trust := w.Trust()
	w.RotateReceipts("second receipts", 21*time.Second)
	w.RotateLog("second log", 22*time.Second)
	w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 23*time.Second, &receipt.HaltBody{Reason: "under new keys"}, nil)
	note := w.Checkpoint(w.Size(), 24*time.Second)
	pack := func(subjects ...string) []byte {
		return w.Pack(append(w.Receipts(w.Size(), note, w.Of(subjects...)...), receipt.CheckpointPart(note), receipt.AnchoredPart(first.Size, first.Note), w.Consistency(first.Size, w.Size()), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 25*time.Second))))
	}
	keys, halts := receipt.KeySubject(sample.Domain), receipt.HaltSubject(sample.Domain)
	refuses(t, receipt.Demand{}, pack(keys, halts), trust, "bundle.manifest", "does not pin")
	refuses(t, receipt.Demand{}, pack(keys, halts), trust, "receipt.signature", "nor does it follow keys")
	refuses(t, receipt.Demand{}, pack(keys, halts), trust, "log.checkpoint", "not signed by a trusted key")
	following := *trust
	following.FollowKeys = true
	if r := receipt.Verify(pack(keys, halts), &following); !r.OK {
		t.Error(tree(t, r, false))
	}
	refuses(t, receipt.Demand{}, pack(halts), &following, "log.checkpoint", "not signed by a trusted key")
	all := *trust
	second := sample.NewKey("second receipts")
	all.LogKeys, all.ReceiptKeys = []string{w.LogVerifier()}, append(slices.Clone(trust.ReceiptKeys), receipt.TrustedKey{ID: second.KeyID(), Public: second.Pub()})
	for _, bundle := range [][]byte{pack(halts), pack(keys, halts)} {
		if r := receipt.Verify(bundle, &all); !r.OK {
			t.Error(tree(t, r, false))
		}
	}
}

// A key of capabilities that took over counts for who follows keys, and the token of a stranger's key for nobody.
func TestRotatedGranter(t *testing.T) {
	w := sample.New(t)
	w.Granter = "second root"
	bundle, trust := w.Pack(w.Everything()), w.Trust()
	refuses(t, receipt.Demand{}, bundle, trust, "capability.chain", "")
	trust.FollowKeys = true
	if r := receipt.Verify(bundle, trust); !r.OK {
		t.Error(tree(t, r, false))
	}
}
