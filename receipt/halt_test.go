package receipt_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// That no halt stood is proved by the whole history of the switch, as of a state after the command.
func TestNoHaltIsProved(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	r := receipt.Verify(bundle, w.Trust())
	if !r.OK || !slices.ContainsFunc(r.Checks, func(c receipt.Check) bool {
		return c.Name == "command.halt["+string(sample.Command)+"]" && !c.Empty && strings.Contains(c.Detail, "by the state of the log")
	}) || slices.ContainsFunc(r.NotProved, func(s string) bool { return strings.Contains(s, "halted") }) {
		t.Error(tree(t, r, false))
	}
}

// The domain is halted when the command goes out, and the bundle leaves the stop switch out, or the proof that the capability
// was not revoked: whoever demands completeness gets neither.
func TestCompleteWithoutTheSwitch(t *testing.T) {
	for _, left := range []string{"halt", "capability"} {
		w := sample.New(t)
		halted := false
		w.Draft = func(d *receipt.Draft) {
			if d.Kind == receipt.CommandProposed && !halted {
				halted = true
				w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", d.Time.Sub(sample.Start), &receipt.HaltBody{Reason: "an emergency"}, nil)
			}
		}
		w.Tell()
		w.Draft = nil
		root := w.Root(22 * time.Second)
		note, main := w.Checkpoint(w.Size(), 24*time.Second), w.Size()
		keep := map[string]string{"halt": receipt.CapabilitySubject(w.Block), "capability": receipt.HaltSubject(sample.Domain)}[left]
		parts := w.Receipts(main, note, w.Of(receipt.CommandSubject(sample.Command), receipt.CommandSubject(sample.Denied), receipt.DomainSubject(sample.Domain), receipt.KeySubject(sample.Domain), keep, receipt.TelemetrySubject(sample.Domain), receipt.StateSubject(sample.Domain))...)
		parts = append(parts, receipt.CheckpointPart(note), receipt.TimestampPart(main, 0, w.Stamp(w.Digest(note), 25*time.Second)), w.Message(), w.Challenge(),
			receipt.ScopePart(receipt.Scope{Commands: []vaultmesh.CommandID{sample.Command, sample.Denied}}), receipt.StatePart(0, w.StateProof(root, state.SubjectKey(keep))))
		d := receipt.Demand{Complete: true, Size: main, Root: w.RootOf(main), Now: now}
		r := d.Verify(w.Pack(parts), w.Trust())
		if r.OK || !halted {
			t.Errorf("without %s: halted %v, accepted %v\n%s", left, halted, r.OK, tree(t, r, true))
		}
	}
}
