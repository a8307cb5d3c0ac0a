package control_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// grep reports whether a file below dir holds any of the texts.
func grep(t *testing.T, dir string, texts ...string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(b, []byte(text)) {
				found = append(found, filepath.Base(path)+": "+text)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// receipts returns all receipts of the log.
func (w *world) receipts() (all []receipt.Receipt) {
	w.t.Helper()
	for i := range w.l.Checkpoint().Size {
		raw, err := w.l.Receipt(vaultmesh.LogIndex(i))
		if err != nil {
			w.t.Fatal(err)
		}
		r, err := receipt.Open(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// What people say is shown to who may read the command, is nowhere in the log nor in the clear on the disk, and is gone
// with its author's key, while the words of others stay.
func TestReasonsCanBeErased(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	const why = "Quentin Zaphod is ill"
	const other = "the line crew of Zebulon"
	admin := w.caller("boss", capability.Grant{Actions: []capability.Verb{capability.Admin, capability.Halt, capability.Read}, Twins: []string{"*"}})

	c := w.mustPropose("shut", `{}`, "k1", control.AwaitingApproval)
	rejected, err := w.s.Reject(ctx, w.operator("ada"), c.ID, why)
	if err != nil || rejected.Reason != why {
		t.Fatalf("%+v %v", rejected.Reason, err)
	}
	o := receipt.Opening{Text: "because " + why, Salt: [32]byte{1, 2, 3}}
	p := control.Proposal{Twin: "valve-1", Command: "shut", IdempotencyKey: "k2", Reason: receipt.PrivateRef(o.Commitment()), Opening: &o}
	proposed, err := w.s.Propose(ctx, w.agent(), p)
	if err != nil || proposed.History[0].Reason != o.Text {
		t.Fatalf("%+v %v", proposed.History, err)
	}
	if h, err := w.s.Halt(ctx, admin, other); err != nil || h.Reason != other || w.s.HaltState().Reason != other {
		t.Fatalf("%+v %v", h, err)
	}
	c3 := w.mustPropose("move", `{"to":1}`, "k3", control.Denied)
	if strings.Contains(c3.Reason, "private:") || strings.Contains(c3.Reason, "Zebulon") {
		t.Errorf("a denial tells %q", c3.Reason)
	}
	w.close()
	found := grep(t, w.dir, "Zaphod", "Zebulon")
	w.open()
	if found != nil {
		t.Fatalf("in the clear: %v", found)
	}
	for _, r := range w.receipts() {
		if strings.Contains(string(r.Body)+r.Outcome, "Zaphod") || strings.Contains(string(r.Body)+r.Outcome, "Zebulon") {
			t.Errorf("%s holds the words", r.Kind)
		}
		for _, d := range receipt.PrivateIn(r.Body) {
			if o, err := w.s.Opening(d); err != nil || o.Commitment() != d || !strings.Contains(o.Text, "Z") {
				t.Errorf("%s: %+v %v", r.Kind, o, err)
			}
		}
	}
	keys, err := filepath.Glob(filepath.Join(w.dir, "private", "*.key"))
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys: %v", len(keys), err)
	}
	secrets := map[string]string{}
	for _, k := range keys {
		b, err := os.ReadFile(k)
		if err != nil {
			t.Fatal(err)
		}
		secrets[k] = string(b)
	}

	w.expectHistory(c.ID, "proposed", "assessed", "awaiting_approval", "rejected")
	if _, err := w.s.Erase(ctx, w.agent(), "operator:ada", "asked"); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("without the right: %v", err)
	}
	ref, err := w.s.Erase(ctx, admin, "operator:ada", "asked by letter")
	if err != nil {
		t.Fatal(err)
	}
	last := w.receipts()[ref.Index]
	if body, err := receipt.ReadBody[receipt.ErasedBody](&last); err != nil || last.Kind != receipt.DataErased || body.Texts != 1 || body.Principal != "operator:ada" {
		t.Errorf("%s %+v %v", last.Kind, body, err)
	}
	if _, err := w.s.Erase(ctx, admin, "operator:ada", "again"); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("again: %v", err)
	}
	if got, err := w.s.Command(ctx, admin, c.ID); err != nil || got.Reason != "(erased)" || got.History[len(got.History)-1].Reason != "(erased)" {
		t.Errorf("after the erasure: %+v %v", got.Reason, err)
	}
	if got, err := w.s.Command(ctx, admin, proposed.ID); err != nil || got.History[0].Reason != o.Text {
		t.Errorf("the words of another: %+v %v", got.History, err)
	}
	w.close()
	defer w.open()
	for path, secret := range secrets {
		_, err := os.Stat(path)
		if gone := os.IsNotExist(err); gone != (grep(t, w.dir, secret) == nil) {
			t.Errorf("%s: gone %v", path, gone)
		} else if gone {
			delete(secrets, path)
		}
	}
	if len(secrets) != 2 {
		t.Errorf("%d keys are left", len(secrets))
	}
}

// Whoever was given the words of another, with their salt, cannot make them their own: their author's erasure reaches them,
// that of somebody else does not. The repetition of a request stays one.
func TestNobodyTakesOverTheWordsOfAnother(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	admin := w.caller("boss", capability.Grant{Actions: []capability.Verb{capability.Admin, capability.Halt, capability.Read}, Twins: []string{"*"}})
	reject := func(by, key, why string) (control.Command, receipt.Opening) {
		t.Helper()
		c := w.mustPropose("shut", `{}`, key, control.AwaitingApproval)
		if _, err := w.s.Reject(ctx, w.operator(by), c.ID, why); err != nil {
			t.Fatal(err)
		}
		all := w.receipts()
		refs := receipt.PrivateIn(all[len(all)-1].Body)
		if len(refs) != 1 {
			t.Fatalf("%d references", len(refs))
		}
		o, err := w.s.Opening(refs[0]) // as a bundle with disclose=true shows it
		if err != nil {
			t.Fatal(err)
		}
		return c, o
	}
	propose := func(key string, o receipt.Opening) (control.Command, error) {
		return w.s.Propose(ctx, w.agent(), control.Proposal{Twin: "valve-1", Command: "shut", IdempotencyKey: key, Reason: receipt.PrivateRef(o.Commitment()), Opening: &o})
	}
	words := func(c control.Command) string {
		t.Helper()
		got, err := w.s.Command(ctx, admin, c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got.Reason
	}
	adas, oa := reject("ada", "k1", "Quentin Zaphod is ill")
	graces, og := reject("grace", "k2", "the words of grace")

	before := len(w.receipts())
	for _, o := range []receipt.Opening{oa, og} {
		_, err := propose("mine-"+o.Text[:3], o)
		var e *vaultmesh.Error
		if vaultmesh.KindOf(err) != vaultmesh.Conflict || !errors.As(err, &e) || !strings.Contains(e.Fix, "salt") {
			t.Errorf("the words of another: %v", err)
		}
	}
	if n := len(w.receipts()); n != before {
		t.Errorf("refused, and recorded by %d receipts", n-before)
	}
	own := receipt.Opening{Text: "my own", Salt: [32]byte{1}}
	first, err := propose("own", own)
	if err != nil || first.History[0].Reason != own.Text {
		t.Fatalf("%+v %v", first.History, err)
	}
	if again, err := propose("own", own); err != nil || !again.Replayed || again.ID != first.ID {
		t.Errorf("repeated: %+v %v", again, err)
	}
	if _, err := propose("another", own); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("one's own words with the salt of before: %v", err)
	}

	if _, err := w.s.Erase(ctx, admin, w.agent().Principal, "asked"); err != nil {
		t.Fatal(err)
	}
	if got := words(graces); got != og.Text {
		t.Errorf("the words of grace after an erasure of the agent: %q", got)
	}
	if _, err := w.s.Erase(ctx, admin, "operator:ada", "asked by letter"); err != nil {
		t.Fatal(err)
	}
	if got := words(adas); got != "(erased)" {
		t.Errorf("the words of ada after the erasure of ada: %q", got)
	}
	if _, err := w.s.Opening(oa.Commitment()); vaultmesh.KindOf(err) != vaultmesh.Expired {
		t.Errorf("disclosed: %v", err)
	}
	if _, err := propose("erased", oa); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("erased words: %v", err)
	}
}

// Of requests that are repeated while the first is on its way, one is done and all others are told of it.
func TestPrivateProposalsAtOnce(t *testing.T) {
	w := newWorld(t)
	o := receipt.Opening{Text: "because", Salt: [32]byte{9}}
	type answer struct {
		c   control.Command
		err error
	}
	answers := make(chan answer)
	const many = 8
	for range many {
		go func() {
			c, err := w.s.Propose(context.Background(), w.agent(), control.Proposal{Twin: "valve-1", Command: "shut", IdempotencyKey: "k", Reason: receipt.PrivateRef(o.Commitment()), Opening: &o})
			answers <- answer{c, err}
		}()
	}
	done := map[bool]int{}
	ids := map[vaultmesh.CommandID]bool{}
	for range many {
		a := <-answers
		if a.err != nil {
			t.Error(a.err)
		}
		done[a.c.Replayed]++
		ids[a.c.ID] = true
	}
	if done[false] != 1 || len(ids) != 1 {
		t.Errorf("%v, %d commands", done, len(ids))
	}
}

func TestReasonsThatLookLikeReferences(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	o := receipt.Opening{Text: "x"}
	ref := receipt.PrivateRef(o.Commitment())
	wrong := receipt.Opening{Text: "y"}
	for name, p := range map[string]control.Proposal{
		"no opening":      {Reason: ref},
		"another opening": {Reason: ref, Opening: &wrong},
		"half a one":      {Reason: "private:sha256:00", Opening: &o},
		"opening alone":   {Reason: "x", Opening: &o},
	} {
		p.Twin, p.Command, p.IdempotencyKey = "valve-1", "shut", "k"
		if _, err := w.s.Propose(ctx, w.agent(), p); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := w.mustPropose("shut", `{}`, "k1", control.AwaitingApproval)
	if _, err := w.s.Reject(ctx, w.operator("ada"), c.ID, ref); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a rejection: %v", err)
	}
}

// A crash between the destruction of a key and its receipt leaves the erasure to be recorded by the same call.
func TestErasureThatWasCutShort(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	admin := w.caller("boss", capability.Grant{Actions: []capability.Verb{capability.Admin}, Twins: []string{"*"}})
	if _, err := w.s.Erase(ctx, admin, "operator:ada", "nothing there"); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("nothing kept: %v", err)
	}
	c := w.mustPropose("shut", `{}`, "k1", control.AwaitingApproval)
	if _, err := w.s.Reject(ctx, w.operator("ada"), c.ID, "why"); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.s.Erase(canceled, admin, "operator:ada", "asked"); err == nil {
		t.Fatal("recorded although nobody waited")
	}
	w.restart()
	if _, err := w.s.Erase(ctx, admin, "operator:ada", "asked"); err != nil {
		t.Errorf("again: %v", err)
	}
}

// Every decision's receipt names what the gate saw, and the document says it.
func TestInputsOfDecisions(t *testing.T) {
	w := newWorld(t)
	w.report("valve-1", `{"open":true,"position":10}`)
	before, _ := w.twins.Get("valve-1")
	moved := w.mustPropose("move", `{"to": 42}`, "k1", control.Dispatched)
	shut := w.mustPropose("shut", `{}`, "k2", control.AwaitingApproval)
	for _, name := range []string{"ada", "grace"} {
		if _, err := w.approve(name, shut.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.mustPropose("move", `{"to": 95}`, "k3", control.Denied)
	seen := map[string]int{}
	for _, r := range w.receipts() {
		d := receipt.InputsOf(&r)
		if d.IsZero() {
			if r.Kind == receipt.CommandAssessed || r.Kind == receipt.CommandAuthorized {
				t.Errorf("%s names no inputs", r.Kind)
			}
			continue
		}
		doc, ok, err := w.s.Inputs(d)
		if err != nil || !ok || vaultmesh.Sum(doc) != d {
			t.Fatalf("%s: %v %v", r.Kind, ok, err)
		}
		in, err := receipt.OpenInputs(doc)
		if err != nil {
			t.Fatal(err)
		}
		seen[r.Kind]++
		if in.Policy != r.Policy || in.Time.After(r.Time) || in.Twin != "valve-1" || len(in.Capability.Blocks) == 0 || in.Stages.IsZero() || len(in.Limits) == 0 {
			t.Errorf("%s: %s", r.Kind, doc)
		}
		switch {
		case r.Subject == receipt.CommandSubject(moved.ID):
			if in.TwinState != vaultmesh.Sum(before.Document()) || in.TwinVersion != before.Version || in.Verdict.IsZero() || in.Topology != vaultmesh.Sum([]byte("fixed")) || in.Outcome != "allow" || in.Expect["position"] != 42 {
				t.Errorf("%s: %s", r.Kind, doc)
			}
		case r.Kind == receipt.CommandAuthorized:
			if len(in.Approvals) != 2 || in.Challenge.IsZero() {
				t.Errorf("%s: %s", r.Kind, doc)
			}
		}
	}
	if seen[receipt.CommandAssessed] != 3 || seen[receipt.CommandAuthorized] != 2 {
		t.Errorf("%v", seen)
	}
}

// Words that nobody signed are kept privately, whoever said them; words that the holder signed stay in the evidence.
func TestReasonsOfProposals(t *testing.T) {
	w := newWorld(t)
	agent := w.agent()
	for _, tc := range []struct {
		key, proof string
		hidden     bool
	}{{"k1", "", true}, {"k2", "a signature over the request", false}} {
		agent.Proof = tc.proof
		c, err := w.s.Propose(t.Context(), agent, control.Proposal{Twin: "valve-1", Command: "shut", IdempotencyKey: tc.key, Reason: "Zaphod asked"})
		if err != nil || c.History[0].Reason != "Zaphod asked" {
			t.Fatalf("%s: %+v %v", tc.key, c.History, err)
		}
		held := false
		for _, r := range w.receipts() {
			held = held || strings.Contains(string(r.Body), "Zaphod")
		}
		if held == tc.hidden {
			t.Errorf("%s: the receipts hold the words: %v", tc.key, held)
		}
	}
}
