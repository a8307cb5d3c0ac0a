package node

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// A stranger who pins the log's key, the receipts' key and a witness policy, and knows no head of the log, is shown that
// a bundle holds all of a subject, and that no capability was revoked: as the node gives it by default, while the log
// grows.
func TestWitnessedBundleIsComplete(t *testing.T) {
	a, b := newDomain(t, "north"), newDomain(t, "south")
	a.cfg.State.Interval, a.cfg.Grid.Case = minStateInterval, "ieee14"
	b.watches(t, a)
	notary, n := b.start(t), a.start(t)
	defer func() {
		for _, x := range []*Node{n, notary} {
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := clientOf(t, a.cfg.Data, DevOperator)
	drill := func() {
		if _, err := op.Halt(ctx, "a drill"); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		if _, err := op.Resume(ctx, "the drill is over"); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	drill()
	cmd, err := clientOf(t, a.cfg.Data, DevAgent).Propose(ctx, control.Proposal{Twin: "load-9", Command: "shed", Args: json.RawMessage(`{"fraction":0.5}`), IdempotencyKey: "witnessed-1"})
	if err != nil {
		t.Fatal(err)
	}
	full := pinned(t, a.cfg.Data)
	stranger := receipt.Trust{Domain: full.Domain, Log: full.Log, ReceiptKeys: full.ReceiptKeys, CapabilityRoots: full.CapabilityRoots, WitnessPolicy: full.WitnessPolicy}
	check := func(name string, q httpapi.BundleQuery) {
		t.Helper()
		bundle, err := op.BundleOf(ctx, q)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := receipt.Demand{Complete: true, Now: time.Now()}.Verify(bundle, &stranger)
		if !r.OK || len(r.Complete) == 0 || r.Known == "" {
			t.Fatalf("%s: %d complete, known %q: %+v", name, len(r.Complete), r.Known, r.Failed())
		}
		for _, c := range r.Complete {
			if c.Size < r.LogSize && len(q.Subjects) == 1 && c.What == q.Subjects[0] {
				t.Errorf("%s: complete as of size %d of %d", name, c.Size, r.LogSize)
			}
		}
		stranger.WitnessPolicy = ""
		if r := (receipt.Demand{Complete: true}).Verify(bundle, &stranger); r.OK {
			t.Errorf("%s: complete without a head, by nobody's word", name)
		}
		stranger.WitnessPolicy = full.WitnessPolicy
	}
	halt := receipt.HaltSubject(n.cfg.Domain)
	questions := map[string]httpapi.BundleQuery{
		"a subject":             {Scope: receipt.Scope{Subjects: []string{halt}}},
		"a subject that is not": {Scope: receipt.Scope{Subjects: []string{"operator:nobody/x"}}},
		"a twin and a range":    {Scope: receipt.Scope{Subjects: []string{receipt.TwinSubject("load-9")}, Ranges: []receipt.Range{{First: 2, Last: 3}}}},
		"a command":             {Scope: receipt.Scope{Commands: []vaultmesh.CommandID{cmd.ID}}},
	}
	for name, q := range questions {
		check(name, q)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				drill()
			}
		}
	}()
	for name, q := range questions {
		check(name+", while the log grows", q)
	}
	close(stop)
	<-done
	// Nothing happens any more: the same root and the same cosigned checkpoint serve again.
	check("at rest", questions["a subject"])
	size := n.log.Checkpoint().Size
	check("at rest, again", questions["a subject"])
	if now := n.log.Checkpoint().Size; now != size {
		t.Errorf("a bundle of a log at rest made it grow from %d to %d", size, now)
	}
	// What the caller may not read is not given away for the sake of completeness: then none of what lies between is.
	for may, subjects := range map[bool][]string{true: {receipt.StateSubject(n.cfg.Domain), halt}, false: {receipt.TwinSubject("load-9")}} {
		indexes, err := n.log.Subject(halt, 0, 10)
		if err != nil || len(indexes) == 0 {
			t.Fatal(err)
		}
		c := &collection{n: n, ctx: ctx, receipts: map[vaultmesh.LogIndex][]byte{}, subjects: map[string]bool{}, proved: map[string]bool{}, names: map[string]bool{},
			mayRead: func(s string) bool { return slices.Contains(subjects, s) }}
		if err := c.between(uint64(indexes[0]), uint64(indexes[0])+1); err != nil || (len(c.receipts) > 0) != may || (len(c.scope.Ranges) > 0) != may {
			t.Errorf("may read %v: %d receipts, %v", subjects, len(c.receipts), err)
		}
	}
}
