package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// A caller that goes away while its command is being committed takes nothing with it: the command is decided, so it is
// dispatched and watched.
func TestCallerLeavesDuringCommit(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	w.applied = func() { cancel(); <-gone }
	_, err := w.s.Propose(ctx, w.agent(), control.Proposal{Twin: "valve-1", Command: "move", Args: json.RawMessage(`{"to":1}`), IdempotencyKey: "k"})
	close(gone)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller heard %v", err)
	}
	select {
	case o := <-w.sent:
		w.expectHistory(o.Command, "proposed", "assessed", "authorized", "dispatched")
		if err := w.respond(o.Command, true); err != nil {
			t.Fatal(err)
		}
		w.report("valve-1", `{"position":1}`)
		w.wait(o.Command, control.Aligned)
	case <-time.After(10 * time.Second):
		t.Fatal("the command was committed as dispatched and never sent")
	}
}

// A token that is revoked while the gate still judges lets nothing through: the order of the log decides.
func TestRevokedDuringAssessment(t *testing.T) {
	w := newWorld(t)
	w.simulating = func() {
		if _, err := w.s.Revoke(context.Background(), w.operator("ada"), w.agent().Capability.Blocks[0], "stolen"); err != nil {
			t.Error(err)
		}
	}
	c := w.mustPropose("move", `{"to":1}`, "k", control.Denied)
	if len(c.Reasons) == 0 || c.Reasons[0].Code != "capability.revoked" {
		t.Fatalf("reasons %+v", c.Reasons)
	}
	w.expectHistory(c.ID, "proposed", "assessed", "denied")
	if len(w.sent) != 0 {
		t.Fatal("dispatched all the same")
	}
}

// A command that was judged in one window of a rate and ordered in the next does not start the count again.
func TestQuotaAcrossWindows(t *testing.T) {
	w := newWorld(t)
	w.advance(w.now().Truncate(time.Hour).Add(time.Hour - 2*time.Second).Sub(w.now())) // just before the end of a window
	refused := func(key string) control.State {
		c, err := w.propose("move", `{"to":1}`, key)
		if err != nil {
			t.Fatal(err)
		}
		if c.State == control.Dispatched {
			<-w.sent
			if err := w.respond(c.ID, false); err != nil {
				t.Fatal(err)
			}
		}
		return c.State
	}
	w.simulating = func() {
		w.advance(5 * time.Second)
		for i := range 5 {
			if s := refused(fmt.Sprint("new", i)); s != control.Dispatched {
				t.Errorf("command %d of the new window is %s", i, s)
			}
		}
	}
	if s := refused("old"); s != control.Denied {
		t.Errorf("the sixth command of the new window is %s", s)
	}
	if s := refused("more"); s != control.Denied {
		t.Errorf("the seventh command of the new window is %s", s)
	}
}

// Halt and resume take effect in the order of the log, whichever of the two callers gets its answer first.
func TestResumeDoesNotOutliveHalt(t *testing.T) {
	w := newWorld(t)
	ctx, ada := context.Background(), w.operator("ada")
	if _, err := w.s.Halt(ctx, ada, "smoke"); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		done := make(chan error, 1)
		// The halt is asked for while the resume is between its commit and its answer.
		halted := make(chan error, 1)
		w.mu.Lock()
		w.applied = func() {
			go func() { _, err := w.s.Halt(ctx, ada, "fire"); halted <- err }()
		}
		w.mu.Unlock()
		go func() { _, err := w.s.Resume(ctx, ada, "it is out"); done <- err }()
		if err := errors.Join(<-done, <-halted); err != nil {
			t.Fatal(err)
		}
		if !w.s.HaltState().Halted {
			t.Fatalf("round %d: the log ends with a halt, and the node says that it runs", i)
		}
	}
}

// What a halt ends is told to those who watch commands.
func TestHaltTellsWhatItEnded(t *testing.T) {
	w := newWorld(t)
	c := w.mustPropose("shut", `{}`, "k", control.AwaitingApproval)
	sub := w.s.Subscribe(16)
	defer sub.Close()
	if _, err := w.s.Halt(context.Background(), w.operator("ada"), "smoke"); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case e := <-sub.C:
			if e.Command != nil && e.Command.ID == c.ID && e.Command.State == control.Halted {
				return
			}
		default:
			t.Fatal("nobody was told that the command is halted")
		}
	}
}

// A challenge is shown once it is durable: a crash must not undo what a person signs.
func TestChallengeIsDurable(t *testing.T) {
	w := newWorld(t)
	seen := make(chan error, 1)
	w.applied = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // whoever does not wait for the disk answers all the same
		var id vaultmesh.CommandID
		err := w.j.Scan([]byte("c/l/"), []byte("c/l0"), func(_, newest []byte) (bool, error) {
			id = vaultmesh.CommandID(newest)
			return false, nil
		})
		if err == nil {
			_, err = w.s.Challenge(ctx, w.operator("ada"), id)
		}
		seen <- err
	}
	w.mustPropose("shut", `{}`, "k", control.AwaitingApproval)
	if err := <-seen; !errors.Is(err, context.Canceled) {
		t.Fatalf("a challenge was shown before it was durable: %v", err)
	}
}

// The messages that a command rests on are kept when the hot window of the history moves on: evidence does not expire.
func TestObservedMessagesOutliveTheHistory(t *testing.T) {
	w := newWorld(t)
	c := w.mustPropose("move", `{"to":42}`, "k", control.Dispatched)
	if err := w.respond(c.ID, true); err != nil {
		t.Fatal(err)
	}
	at := w.now().Truncate(time.Microsecond)
	w.reportAt("valve-1", at, 0, `{"open":true}`)
	w.reportAt("valve-1", at, 1, `{"position":42}`) // the same instant, told apart by its number
	got := w.wait(c.ID, control.Aligned)
	more := true
	for more {
		err := w.j.Submit(context.Background(), journal.Telemetry, func(tx journal.Tx) (err error) {
			more, err = w.twins.Prune(tx, at.Add(time.Hour))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var observed map[string]receipt.Observation
	if err := json.Unmarshal(got.Observed, &observed); err != nil {
		t.Fatal(err)
	}
	o := observed["position"]
	if o.Batch == nil {
		t.Fatalf("observed %s", got.Observed)
	}
	raw, ok, err := w.s.Message(*o.Batch, o.Position)
	if err != nil || !ok || string(raw) != `{"properties":{"position":42}}` {
		t.Fatalf("message %d of the batch at %d: %s %t %v", o.Position, *o.Batch, raw, ok, err)
	}
}

// Denials are evidence and cost the log for ever: a principal gets so many a minute, and then answers that leave nothing.
func TestDenialsAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		w.mustPropose("blow", `{}`, fmt.Sprint("k", i), control.Denied)
	}
	size := w.l.Checkpoint().Size
	if _, err := w.propose("blow", `{}`, "more"); vaultmesh.KindOf(err) != vaultmesh.RateLimited {
		t.Fatalf("the 31st denial in a minute: %v", err)
	}
	if _, err := w.propose("blow", `{}`, "k1"); err != nil {
		t.Fatalf("a retry of an earlier one: %v", err)
	}
	if got := w.l.Checkpoint().Size; got != size {
		t.Fatalf("the log grew from %d to %d", size, got)
	}
	ada := control.Proposal{Twin: "valve-1", Command: "move", Args: json.RawMessage(`{"to":1}`), IdempotencyKey: "a"}
	if c, err := w.s.Propose(context.Background(), w.operator("ada"), ada); err != nil || c.State != control.Dispatched {
		t.Fatalf("somebody else: %s %v", c.State, err)
	}
	w.advance(time.Minute)
	w.mustPropose("move", `{"to":1}`, "later", control.Dispatched)
}
