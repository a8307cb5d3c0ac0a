package receipt_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// A command that was decided after the state of which a bundle has proofs is not said to have had a capability in force
// then, and an auditor who asks for all of it gets a refusal.
func TestRevocationsKnownForAPart(t *testing.T) {
	w := sample.New(t)
	var early receipt.Ref
	w.Draft = func(d *receipt.Draft) {
		if d.Kind == receipt.HaltSet && early.Leaf.IsZero() {
			early.Leaf = vaultmesh.Sum(nil)
			early = w.Root(9 * time.Second) // between the two commands
		}
	}
	w.Tell()
	note := w.Checkpoint(w.Size(), 24*time.Second)
	pack := func(at receipt.Ref, ids ...vaultmesh.CommandID) []byte {
		subjects := []string{receipt.DomainSubject(sample.Domain), receipt.CapabilitySubject(w.Block), receipt.HaltSubject(sample.Domain), receipt.TelemetrySubject(sample.Domain), receipt.StateSubject(sample.Domain)}
		var more []receipt.Part
		for _, id := range ids {
			subjects = append(subjects, receipt.CommandSubject(id))
			if id == sample.Command {
				more = append(more, w.Message(), w.Challenge())
			}
		}
		if at.Index > 0 {
			for i, subject := range []string{receipt.CapabilitySubject(w.Block), receipt.HaltSubject(sample.Domain)} {
				more = append(more, receipt.StatePart(i, w.StateProof(at, state.SubjectKey(subject))))
			}
		}
		return w.Pack(under(w, note, w.Of(subjects...), append(more, receipt.ScopePart(receipt.Scope{Commands: ids}))...))
	}
	both := []vaultmesh.CommandID{sample.Command, sample.Denied}
	name := "capability.revocation[" + string(sample.Denied) + "]"

	bundle := pack(early, both...)
	r := receipt.Verify(bundle, w.Trust())
	i := slices.IndexFunc(r.Checks, func(c receipt.Check) bool { return c.Name == name })
	if !r.OK || i < 0 || !r.Checks[i].Partial {
		t.Fatal(tree(t, r, true))
	}
	for _, says := range []string{"~ capability.revocation: 1 of 2 holds; 1 holds in part only", "~ " + name, "the capabilities of 1 of 2 commands were not revoked when they were decided",
		"the capabilities of 1 of 2 commands were not revoked just before they were decided: that is known up to size"} {
		if text := strings.Join(strings.Fields(tree(t, r, false)), " "); !strings.Contains(text, says) {
			t.Errorf("it does not say %q:\n%s", says, tree(t, r, false))
		}
	}
	all := receipt.Demand{Complete: true, Now: now}
	refuses(t, all, bundle, w.Trust(), name, "not judged: no block was revoked as of size")
	if r := all.Verify(pack(early, sample.Command), w.Trust()); !r.OK {
		t.Errorf("the one that was decided before: %s", tree(t, r, false))
	}
	if r := all.Verify(pack(w.At[receipt.StateRoot], both...), w.Trust()); !r.OK {
		t.Errorf("by the state at the end: %s", tree(t, r, false))
	}
	if r := receipt.Verify(pack(receipt.Ref{}, both...), w.Trust()); !r.OK {
		t.Errorf("without a state proof, and without a demand: %s", tree(t, r, false))
	}
	refuses(t, all, pack(receipt.Ref{}, both...), w.Trust(), name, "no state proof says that there is none")
}

// What people wrote is shown where the bundle discloses it, and only where the rest of the bundle holds.
func TestDisclosedWordsAreShown(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	secret := receipt.Opening{Salt: [32]byte{1, 2, 3}, Text: "Ada has\nthe flu \x1b[31m"}
	halt := w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 13*time.Second, &receipt.HaltBody{Reason: receipt.PrivateRef(secret.Commitment())}, nil)
	parts, trust := w.All()
	parts = append(parts, w.Message(), w.Challenge())
	trust.CapabilityRoots, trust.Operators = w.Trust().CapabilityRoots, w.Trust().Operators
	disclosing := append(slices.Clone(parts), receipt.PrivatePart(secret.Commitment(), secret.Encode()))
	if r := receipt.Verify(w.Pack(parts), trust); !r.OK || len(r.Disclosed) > 0 {
		t.Fatal(tree(t, r, false))
	}
	r := receipt.Verify(w.Pack(disclosing), trust)
	if !r.OK || len(r.Disclosed) != 1 || r.Disclosed[0] != (receipt.DisclosedText{Index: halt.Index, Kind: receipt.HaltSet, Subject: receipt.HaltSubject(sample.Domain), Actor: "operator:bob", Text: secret.Text}) {
		t.Fatalf("%+v %s", r.Disclosed, tree(t, r, false))
	}
	text := tree(t, r, false)
	if !strings.Contains(text, "Disclosed: words that are not in the log") || !strings.Contains(text, `operator:bob: "Ada has\nthe flu \x1b[31m"`) || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
	// Words that no receipt commits to are a refusal, and then none are told.
	other := receipt.Opening{Text: "Ada is well"}
	r = receipt.Verify(w.Pack(append(disclosing, receipt.PrivatePart(other.Commitment(), other.Encode()))), trust)
	if r.OK || len(r.Disclosed) > 0 || strings.Contains(tree(t, r, false), "flu") {
		t.Errorf("%+v", r.Disclosed)
	}
}

// One of a thing is not several.
func TestNumbersGoWithTheirWords(t *testing.T) {
	several := regexp.MustCompile(`(?:^|[^0-9.,:-])1 (?:[a-z-]+ )?(keys|roots|operators|parts|hashes|steps|receipts|blocks|commands|causes|headers|quotas|approvals|values|witnesses|checks|subjects)\b`)
	w := sample.New(t)
	one := w
	one.Genesis()
	single, trust := one.All()
	trust.WitnessPolicy = w.Policy()
	full := sample.New(t)
	for name, r := range map[string]receipt.Report{
		"one receipt": receipt.Demand{Now: now}.Verify(one.Pack(append(single, receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{}}}))), trust),
		"everything":  strict.Verify(full.Pack(full.Everything()), full.Trust()),
		"nothing":     receipt.Verify(nil, trust),
	} {
		for _, line := range strings.Split(tree(t, r, true), "\n") {
			if several.MatchString(line) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// A policy that cannot be read is named by its line: an address may hold a secret.
func TestPolicyErrorsKeepSecrets(t *testing.T) {
	w := sample.New(t)
	key := strings.Fields(w.Policy())[2]
	for _, text := range []string{
		"witness w " + key + " https://user:hunter2@w.example/\nquorum w\n",
		"witness w " + key + " https://w.example/?token=hunter2\nquorum w\n",
		"witness w https://w.example/hunter2 " + key + "\nquorum w\n",
		"witness w " + key + " https://w.example/hunter2 and more\nquorum w\n",
		"log https://w.example/hunter2\nquorum none\n",
		"https://w.example/hunter2\n",
	} {
		_, err := receipt.ParseWitnessPolicy([]byte(text))
		if vaultmesh.KindOf(err) != vaultmesh.Invalid || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", text, err)
		}
	}
	bad := *w.Trust()
	bad.WitnessPolicy = "witness w " + key + " ftp://w.example/hunter2\nquorum w\n"
	if r := receipt.Verify(nil, &bad); strings.Contains(tree(t, r, true), "hunter2") {
		t.Error(tree(t, r, true))
	}
}

// The words of a refusal say what to pass.
func TestRefusalsTeach(t *testing.T) {
	w := sample.New(t)
	bundle, trust := w.Pack(w.Everything()), w.Trust()
	size := w.Size()
	loose := *trust
	loose.WitnessPolicy = ""
	refuses(t, receipt.Demand{Complete: true}, bundle, &loose, "history.complete", "--head FILE")
	refuses(t, receipt.Demand{Complete: true}, bundle, &loose, "history.complete", "a trust file with a witness_policy")
	for range 2 {
		w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 40*time.Second, &receipt.HaltBody{Reason: "again"}, nil)
	}
	refuses(t, receipt.Demand{Head: w.Checkpoint(size+2, 0)}, bundle, trust, "log.head", "the log is behind the head you gave, or the bundle is older than it")
	refuses(t, receipt.Demand{Head: w.Checkpoint(size+2, 0), Complete: true}, bundle, &loose, "history.complete", "the head that you gave does not hold")
	w.Witnesses = nil
	refuses(t, receipt.Demand{Complete: true}, w.Pack(sampleAgain(t, w)), trust, "history.complete", "no checkpoint of the bundle satisfies the witness policy")
}

// sampleAgain is a bundle of the log as it is now.
func sampleAgain(t *testing.T, w *sample.World) []receipt.Part {
	t.Helper()
	parts, _ := w.All()
	note := w.Checkpoint(w.Size(), 0)
	return append(parts, w.Message(), w.Challenge(), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 50*time.Second)))
}
