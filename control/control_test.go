package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAlignedCommand(t *testing.T) {
	w := newWorld(t)
	w.report("valve-1", `{"open":true,"position":10}`)
	c := w.mustPropose("move", `{"to": 42}`, "k1", control.Dispatched)
	o := <-w.sent
	if o.Command != c.ID || o.Device != "plc" || string(o.Args) != `{"to":42}` {
		t.Fatalf("sent %+v", o)
	}
	if err := w.respond(c.ID, true); err != nil {
		t.Fatal(err)
	}
	if got := w.wait(c.ID, control.Acknowledged); len(got.History) != 5 {
		t.Fatalf("history %+v", got.History)
	}
	w.report("valve-1", `{"position":42}`)
	got := w.wait(c.ID, control.Aligned)
	w.expectHistory(c.ID, "proposed", "assessed", "authorized", "dispatched", "acknowledged", "aligned")
	if got.AlignMillis <= 0 {
		t.Fatalf("align_ms %v", got.AlignMillis)
	}
	tw, _ := w.twins.Get("valve-1")
	if string(tw.Desired["position"]) != "42" {
		t.Fatalf("desired %v", tw.Desired)
	}
}

// What counts as aligned is decided with the assessment, and stands in both receipts.
func TestToleranceIsDecidedBefore(t *testing.T) {
	w := newWorld(t)
	set := func(tolerance float64) { w.mu.Lock(); w.tolerance = tolerance; w.mu.Unlock() }
	set(0.5)
	c := w.mustPropose("move", `{"to": 42}`, "k1", control.Dispatched)
	set(100)
	if err := w.respond(c.ID, true); err != nil {
		t.Fatal(err)
	}
	w.report("valve-1", `{"position":43}`) // within what would be allowed now
	w.report("valve-1", `{"position":42.4}`)
	w.wait(c.ID, control.Aligned)
	judged := 0
	for _, r := range w.receipts() {
		switch r.Kind {
		case receipt.CommandAssessed:
			b, err := receipt.ReadBody[receipt.AssessedBody](&r)
			if err != nil || len(b.Tolerance) != 1 || b.Tolerance["position"] != 0.5 {
				t.Errorf("%v: %s", err, r.Body)
			}
			judged++
		case receipt.CommandAligned:
			b, err := receipt.ReadBody[receipt.ObservedBody](&r)
			o := b.Observed["position"]
			if err != nil || string(o.Value) != "42.4" || o.Expected == nil || *o.Expected != 42 || o.Tolerance == nil || *o.Tolerance != 0.5 {
				t.Errorf("%v: %s", err, r.Body)
			}
			judged++
		}
	}
	if judged != 2 {
		t.Errorf("%d receipts", judged)
	}
}

// The report may come before the device's answer: the command aligns when it is acknowledged.
func TestReportBeforeAnswer(t *testing.T) {
	w := newWorld(t)
	c := w.mustPropose("move", `{"to": 5}`, "k1", control.Dispatched)
	w.report("valve-1", `{"position":5}`)
	if err := w.respond(c.ID, true); err != nil {
		t.Fatal(err)
	}
	w.wait(c.ID, control.Aligned)
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	c := w.mustPropose("move", `{"to": 95}`, "k1", control.Denied)
	w.expectHistory(c.ID, "proposed", "assessed", "denied")
	var v struct{ New []struct{ Limit string } }
	if err := json.Unmarshal(c.Verdict, &v); err != nil || len(v.New) != 1 || v.New[0].Limit != "pressure" {
		t.Fatalf("verdict %s %v", c.Verdict, err)
	}
	c = w.mustPropose("blow", `{}`, "k2", control.Denied)
	if len(c.Reasons) == 0 || c.Reasons[0].Code != "policy.unknown" {
		t.Fatalf("reasons %+v", c.Reasons)
	}
	for name, p := range map[string]control.Proposal{
		"unknown twin":    {Twin: "valve-9", Command: "move", Args: []byte(`{"to":1}`), IdempotencyKey: "a"},
		"unknown command": {Twin: "valve-1", Command: "fly", IdempotencyKey: "a"},
		"string":          {Twin: "valve-1", Command: "move", Args: []byte(`{"to":"1"}`), IdempotencyKey: "a"},
		"NaN":             {Twin: "valve-1", Command: "move", Args: []byte(`{"to":NaN}`), IdempotencyKey: "a"},
		"overflow":        {Twin: "valve-1", Command: "move", Args: []byte(`{"to":1e999}`), IdempotencyKey: "a"},
		"duplicate":       {Twin: "valve-1", Command: "move", Args: []byte(`{"to":1,"to":2}`), IdempotencyKey: "a"},
		"array":           {Twin: "valve-1", Command: "move", Args: []byte(`[1]`), IdempotencyKey: "a"},
		"no key":          {Twin: "valve-1", Command: "move", Args: []byte(`{"to":1}`)},
		"bad key":         {Twin: "valve-1", Command: "move", Args: []byte(`{"to":1}`), IdempotencyKey: "a b"},
		"twin with slash": {Twin: "a/b", Command: "move", IdempotencyKey: "a"},
	} {
		if _, err := w.s.Propose(context.Background(), w.agent(), p); err == nil {
			t.Errorf("%s: accepted", name)
		} else if k := vaultmesh.KindOf(err); k != vaultmesh.Invalid && k != vaultmesh.NotFound {
			t.Errorf("%s: %v is %v", name, err, k)
		}
	}
	narrow := w.caller("agent", capability.Grant{Actions: []capability.Verb{capability.Command}, Twins: []string{"valve-2"}, Commands: []string{"*"}})
	c, err := w.s.Propose(context.Background(), narrow, control.Proposal{Twin: "valve-1", Command: "move", Args: []byte(`{"to":1}`), IdempotencyKey: "n"})
	if err != nil || c.State != control.Denied {
		t.Fatalf("outside the capability: %+v %v", c.State, err)
	}
	if len(w.sent) != 0 {
		t.Fatal("something was dispatched")
	}
}

func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	first := w.mustPropose("move", `{"to": 5}`, "k", control.Dispatched)
	again, err := w.propose("move", `{ "to":5.0 }`, "k")
	if err != nil || again.ID != first.ID || !again.Replayed {
		t.Fatalf("replay: %+v %v", again, err)
	}
	if _, err := w.propose("move", `{"to":6}`, "k"); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("other contents: %v", err)
	}
	w.restart()
	again, err = w.propose("move", `{"to":5}`, "k")
	if err != nil || again.ID != first.ID {
		t.Fatalf("after a restart: %+v %v", again, err)
	}
	var wg sync.WaitGroup
	ids := make([]vaultmesh.CommandID, 16)
	for i := range ids {
		wg.Go(func() {
			c, err := w.propose("move", `{"to":7}`, "same")
			if err != nil {
				t.Error(err)
			}
			ids[i] = c.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("sixteen retries at once made several commands: %v", ids)
		}
	}
	if n := len(w.sent); n != 2 {
		t.Fatalf("%d commands were dispatched, want 2", n)
	}
}

func TestApproval(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	c := w.mustPropose("shut", `{}`, "k", control.AwaitingApproval)
	if c.Needs == nil || c.Needs.Count != 2 {
		t.Fatalf("needs %+v", c.Needs)
	}
	ada := w.operator("ada")
	ch, err := w.s.Challenge(ctx, ada, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	good := control.Approval{Approver: ada.Principal, Key: receipt.KeyID(pub(key("ada"))), Signature: receipt.SignApproval(key("ada"), ch)}
	attack := func(name string, caller control.Caller, change func(*control.Approval)) {
		a := good
		a.Signature = append([]byte(nil), good.Signature...)
		change(&a)
		if _, err := w.s.Approve(ctx, caller, c.ID, a); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if now, err := w.s.Command(ctx, ada, c.ID); err != nil || len(now.Approvals) != 0 || now.State != control.AwaitingApproval {
			t.Errorf("%s left a trace: %+v %v", name, now, err)
		}
	}
	other := ch
	other.Args = json.RawMessage(`{"to":1}`)
	later := ch
	later.Expires = later.Expires.Add(time.Hour)
	attack("flipped signature", ada, func(a *control.Approval) { a.Signature[0] ^= 1 })
	attack("signature over other arguments", ada, func(a *control.Approval) { a.Signature = receipt.SignApproval(key("ada"), other) })
	attack("signature over a later expiry", ada, func(a *control.Approval) { a.Signature = receipt.SignApproval(key("ada"), later) })
	attack("another's key", ada, func(a *control.Approval) {
		a.Key, a.Signature = receipt.KeyID(pub(key("grace"))), receipt.SignApproval(key("grace"), ch)
	})
	attack("in another's name", w.operator("grace"), func(*control.Approval) {})
	attack("stranger", w.operator("mallory"), func(a *control.Approval) {
		a.Approver, a.Key, a.Signature = "operator:mallory", receipt.KeyID(pub(key("mallory"))), receipt.SignApproval(key("mallory"), ch)
	})
	attack("the proposer under an operator's name", w.operator("agent"), func(a *control.Approval) {
		a.Approver, a.Key, a.Signature = "operator:agent", receipt.KeyID(pub(key("agent"))), receipt.SignApproval(key("agent"), ch)
	})
	attack("the agent itself", w.agent(), func(*control.Approval) {})

	if got, err := w.approve("ada", c.ID); err != nil || got.State != control.AwaitingApproval || len(got.Approvals) != 1 {
		t.Fatalf("first approval: %+v %v", got.State, err)
	}
	if _, err := w.approve("ada", c.ID); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("the same person twice: %v", err)
	}
	w.restart()
	got, err := w.approve("grace", c.ID)
	if err != nil || got.State != control.Dispatched {
		t.Fatalf("second approval: %s %s %v", got.State, got.Reason, err)
	}
	if o := <-w.sent; o.Command != c.ID {
		t.Fatalf("sent %+v", o)
	}
	w.expectHistory(c.ID, "proposed", "assessed", "awaiting_approval", "awaiting_approval", "approved", "authorized", "dispatched")
	if _, err := w.s.Approve(ctx, ada, c.ID, good); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("replayed approval: %v", err)
	}
}

func TestApprovalExpires(t *testing.T) {
	w := newWorld(t)
	c := w.mustPropose("shut", `{}`, "k", control.AwaitingApproval)
	w.advance(2 * time.Minute)
	if _, err := w.approve("ada", c.ID); vaultmesh.KindOf(err) != vaultmesh.Expired && vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("late approval: %v", err)
	}
	w.restart() // the watch finds what became overdue
	w.wait(c.ID, control.Expired)
	w.expectHistory(c.ID, "proposed", "assessed", "awaiting_approval", "expired")
}

// What the gate allowed before counts for nothing at dispatch: the token was revoked meanwhile.
func TestRevokedBeforeDispatch(t *testing.T) {
	w := newWorld(t)
	c := w.mustPropose("shut", `{}`, "k", control.AwaitingApproval)
	if _, err := w.approve("ada", c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.Revoke(context.Background(), w.operator("ada"), w.agent().Capability.Blocks[0], "stolen"); err != nil {
		t.Fatal(err)
	}
	got, err := w.approve("grace", c.ID)
	if err != nil || got.State != control.Denied {
		t.Fatalf("%s %v", got.State, err)
	}
	w.expectHistory(c.ID, "proposed", "assessed", "awaiting_approval", "awaiting_approval", "approved", "denied")
	if len(w.sent) != 0 {
		t.Fatal("dispatched all the same")
	}
}

func TestRejectAndCancel(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	a := w.mustPropose("shut", `{}`, "a", control.AwaitingApproval)
	if _, err := w.s.Reject(ctx, w.agent(), a.ID, "no"); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Fatalf("the agent rejects: %v", err)
	}
	if c, err := w.s.Reject(ctx, w.operator("ada"), a.ID, "not today"); err != nil || c.State != control.Rejected {
		t.Fatal(c.State, err)
	}
	b := w.mustPropose("shut", `{}`, "b", control.AwaitingApproval)
	if c, err := w.s.Cancel(ctx, w.agent(), b.ID, "changed my mind"); err != nil || c.State != control.Cancelled {
		t.Fatal(c.State, err)
	}
	d := w.mustPropose("move", `{"to":1}`, "d", control.Dispatched)
	if _, err := w.s.Cancel(ctx, w.agent(), d.ID, "too late"); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("cancel after dispatch: %v", err)
	}
}

func TestDeviceRefusesAndTimesOut(t *testing.T) {
	w := newWorld(t)
	a := w.mustPropose("move", `{"to":1}`, "a", control.Dispatched)
	if err := w.s.Respond(context.Background(), control.Response{Command: a.ID, Device: "mallory", OK: true, Code: "x", Time: w.now()}); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Fatalf("another device answers: %v", err)
	}
	if err := w.respond(a.ID, false); err != nil {
		t.Fatal(err)
	}
	w.expectHistory(a.ID, "proposed", "assessed", "authorized", "dispatched", "refused")
	if err := w.respond(a.ID, true); err != nil {
		t.Fatalf("a repeated answer: %v", err)
	}
	b := w.mustPropose("move", `{"to":2}`, "b", control.Dispatched)
	c := w.mustPropose("move", `{"to":3}`, "c", control.Dispatched)
	w.report("valve-1", `{"position":3}`)
	w.advance(31 * time.Second)
	w.restart()
	w.wait(b.ID, control.TimedOut)
	// The asset does what c wanted, though its answer never came.
	w.wait(c.ID, control.Aligned)
	w.advance(31 * time.Second)
	w.restart()
	w.wait(b.ID, control.Diverged)
	if waiting, err := w.s.Pending("plc"); err != nil || len(waiting) != 0 {
		t.Fatalf("outbox %v %v", waiting, err)
	}
}

// What was dispatched and not delivered is found again after a restart, once.
func TestOutboxSurvives(t *testing.T) {
	w := newWorld(t)
	w.unsent = true
	a := w.mustPropose("move", `{"to":1}`, "a", control.Dispatched)
	b := w.mustPropose("move", `{"to":2}`, "b", control.Dispatched)
	w.restart()
	waiting, err := w.s.Pending("plc")
	if err != nil || len(waiting) != 2 || waiting[0].Command != a.ID || waiting[1].Command != b.ID {
		t.Fatalf("outbox %+v %v", waiting, err)
	}
	if err := w.s.Delivered(context.Background(), a.ID, w.now()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if waiting, err = w.s.Pending("plc"); err != nil || len(waiting) != 1 || waiting[0].Command != b.ID {
		t.Fatalf("outbox %+v %v", waiting, err)
	}
}

func TestHalt(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	if _, err := w.s.Halt(ctx, w.agent(), "no right"); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Fatalf("the agent halts: %v", err)
	}
	waiting := w.mustPropose("shut", `{}`, "a", control.AwaitingApproval)
	w.unsent = true
	held := w.mustPropose("move", `{"to":1}`, "b", control.Dispatched)
	w.unsent = false
	gone := w.mustPropose("move", `{"to":2}`, "c", control.Dispatched)
	if h, err := w.s.Halt(ctx, w.operator("ada"), "smoke in the hall"); err != nil || !h.Halted {
		t.Fatal(h, err)
	}
	w.expectHistory(waiting.ID, "proposed", "assessed", "awaiting_approval", "halted")
	w.expectHistory(held.ID, "proposed", "assessed", "authorized", "dispatched", "halted")
	w.expectHistory(gone.ID, "proposed", "assessed", "authorized", "dispatched")
	for range 2 { // the switch survives a restart
		if c := w.mustPropose("move", `{"to":3}`, fmt.Sprint("d", w.now().UnixNano()), control.Denied); len(c.Reasons) == 0 {
			t.Fatal("no reason")
		}
		if p, err := w.s.Pending("plc"); err != nil || len(p) != 0 {
			t.Fatalf("while halted the outbox gives %v %v", p, err)
		}
		w.restart()
		if !w.s.HaltState().Halted {
			t.Fatal("the halt did not survive")
		}
	}
	if h, err := w.s.Resume(ctx, w.operator("grace"), "fire is out"); err != nil || h.Halted {
		t.Fatal(h, err)
	}
	w.mustPropose("move", `{"to":4}`, "e", control.Dispatched)
}

// Quotas are counted in the order of the log: however many ask at once, no more get through.
func TestQuotas(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	states := make([]control.State, 20)
	for i := range states {
		wg.Go(func() {
			c, err := w.propose("move", `{"to":1}`, fmt.Sprint("k", i))
			if err != nil {
				t.Error(err)
			}
			states[i] = c.State
			if c.State == control.Dispatched {
				if err := w.respond(c.ID, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, s := range states {
		if s == control.Dispatched {
			n++
		}
	}
	if n != 5 && n != 4 { // 5 by the rate; MaxOpen 4 may have stopped one that came before an answer
		t.Fatalf("%d commands got through a limit of 5: %v", n, states)
	}
	// A denied command does not use up the quota, and the window starts again.
	w.advance(time.Hour)
	w.mustPropose("move", `{"to":1}`, "later", control.Dispatched)
}
