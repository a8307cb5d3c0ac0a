package control_test

import (
	"bytes"
	"context"
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
