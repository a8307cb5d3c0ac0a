package node

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// rooted waits for a root of the state of at least a size.
func rooted(ctx context.Context, t *testing.T, n *Node, size uint64) {
	t.Helper()
	for {
		if r, ok := n.state.Newest(); ok && r.Size >= size && n.log.Checkpoint().Size > uint64(r.Receipt) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("no root of the state came")
		case <-time.After(5 * time.Millisecond): // looks again; nothing depends on how long
		}
	}
}

// Every kind of bundle that a node gives is accepted by who pinned its keys, and shows completely what it is about.
func TestBundles(t *testing.T) {
	data := t.TempDir()
	n := running(t, gridConfig(data))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	op := clientOf(t, data, DevOperator)
	early := n.log.Checkpoint()
	began := time.Now().UTC()
	cmd, err := clientOf(t, data, DevAgent).Propose(ctx, control.Proposal{Twin: "load-9", Command: "shed", Args: json.RawMessage(`{"fraction":0.5}`), IdempotencyKey: "bundle-test-1", Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if cmd.State != control.Denied {
		t.Fatalf("state %s", cmd.State)
	}
	if _, err := op.Halt(ctx, "a drill"); err != nil {
		t.Fatal(err)
	}
	if _, err := op.Resume(ctx, "the drill is over"); err != nil {
		t.Fatal(err)
	}
	known := n.log.Checkpoint() // what an auditor saw
	rooted(ctx, t, n, known.Size)
	trust := pinned(t, data)
	demand := receipt.Demand{Complete: true, Size: known.Size, Root: known.Root, Now: time.Now()}
	halt := receipt.HaltSubject(n.cfg.Domain)
	for name, q := range map[string]httpapi.BundleQuery{
		"a command":             {Scope: receipt.Scope{Commands: []vaultmesh.CommandID{cmd.ID}}},
		"a subject":             {Scope: receipt.Scope{Subjects: []string{halt}}},
		"a subject that is not": {Scope: receipt.Scope{Subjects: []string{"operator:nobody/x"}}},
		"a receipt":             {Scope: receipt.Scope{Ranges: []receipt.Range{{First: 1, Last: 1}}}},
		"a range":               {Scope: receipt.Scope{Ranges: []receipt.Range{{First: 0, Last: vaultmesh.LogIndex(known.Size - 1)}}}},
		"a time":                {Scope: receipt.Scope{Ranges: []receipt.Range{{From: began, Until: began.Add(time.Hour)}}}},
		"several":               {Scope: receipt.Scope{Commands: []vaultmesh.CommandID{cmd.ID}, Subjects: []string{halt, receipt.TwinSubject("load-9")}, Ranges: []receipt.Range{{First: 2, Last: 3}}}},
	} {
		q.Head = known.Size
		bundle, err := op.BundleOf(ctx, q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := demand.Verify(bundle, trust)
		if !r.OK || len(r.Complete) == 0 {
			t.Errorf("%s: %d complete, %+v", name, len(r.Complete), r.Failed())
		}
		if name == "a command" && (len(r.Commands) != 1 || !r.Commands[0].Verified || r.Commands[0].Unrevoked == 0) {
			t.Errorf("%s: %+v", name, r.Commands)
		}
	}
	old, err := op.BundleOf(ctx, httpapi.BundleQuery{Scope: receipt.Scope{Commands: []vaultmesh.CommandID{cmd.ID}}, Head: early.Size})
	if err != nil {
		t.Fatal(err)
	}
	if r := (receipt.Demand{Head: early.Note}).Verify(old, trust); !r.OK || r.Known == "" {
		t.Errorf("a head of before: %+v", r.Failed())
	}
	// Telemetry is not in the state tree: what there is can be shown, and that it is all cannot.
	stream := receipt.TelemetrySubject(n.cfg.Domain)
	had, err := n.log.Subject(stream, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	some, err := op.BundleOf(ctx, httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{stream}}})
	switch {
	case err == nil:
		if r := receipt.Verify(some, trust); !r.OK || len(r.Complete) != 0 {
			t.Errorf("telemetry: %d complete, %+v", len(r.Complete), r.Failed())
		}
		if r := (receipt.Demand{Complete: true, Size: known.Size, Root: known.Root}).Verify(some, trust); r.OK {
			t.Error("telemetry is said to be complete")
		}
	case len(had) > 0 || vaultmesh.KindOf(err) != vaultmesh.NotFound:
		t.Error(err)
	}
	for name, q := range map[string]httpapi.BundleQuery{
		"a command that is not":       {Scope: receipt.Scope{Commands: []vaultmesh.CommandID{"none"}}},
		"a range beyond the log":      {Scope: receipt.Scope{Ranges: []receipt.Range{{First: 0, Last: 1 << 30}}}},
		"a head beyond the log":       {Scope: receipt.Scope{Commands: []vaultmesh.CommandID{cmd.ID}}, Head: 1 << 30},
		"a range that is too long":    {Scope: receipt.Scope{Ranges: []receipt.Range{{First: 0, Last: maxBundleRange}}}},
		"a time before the beginning": {},
	} {
		_, err := op.BundleOf(ctx, q)
		var problem *vaultmesh.Error
		if err == nil || !errors.As(err, &problem) || strings.Contains(err.Error(), "internal") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
