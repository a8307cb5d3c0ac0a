package receipt_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// witnessedAt packs the whole story under a checkpoint that the witnesses cosigned so long after the start.
func witnessedAt(t *testing.T, after time.Duration) (w *sample.World, bundle, note []byte) {
	t.Helper()
	w = sample.New(t)
	w.Tell()
	note = w.Checkpoint(w.Size(), after)
	var all []vaultmesh.LogIndex
	for i := range w.Size() {
		all = append(all, vaultmesh.LogIndex(i))
	}
	return w, w.Pack(append(under(w, note, all), w.Message(), w.Challenge())), note
}

// A cosignature that is older than what it covers counts for the quorum, and dates nothing.
func TestWitnessesWhoseClocksAreBehind(t *testing.T) {
	w, bundle, _ := witnessedAt(t, -10*365*24*time.Hour)
	r := receipt.Verify(bundle, w.Trust())
	if !r.OK {
		t.Fatal(tree(t, r, false))
	}
	for _, x := range r.Existed {
		if at, ok := x.By[receipt.AnchorWitness]; ok {
			t.Errorf("%s receipts existed at %s by witnesses", x.Class, at)
		}
	}
	if !slices.ContainsFunc(r.NotProved, func(s string) bool {
		return strings.Contains(s, "the time by the witness north for size ")
	}) {
		t.Errorf("it does not say whose clock is wrong: %q", r.NotProved)
	}
	refuses(t, receipt.Demand{Anchors: []string{receipt.AnchorWitness}}, bundle, w.Trust(), "log.witness", "a time by witnesses is demanded")
	w, bundle, _ = witnessedAt(t, 24*time.Second)
	if r := (receipt.Demand{Anchors: []string{receipt.AnchorWitness}}).Verify(bundle, w.Trust()); !r.OK {
		t.Error(tree(t, r, false))
	}
}

// A cosignature without a time is none, for the node that asks for it as for the auditor.
func TestCosignatureWithoutTime(t *testing.T) {
	w, bundle, note := witnessedAt(t, -time.Duration(sample.Start.Unix())*time.Second)
	p, err := receipt.ParseWitnessPolicy([]byte(w.Policy()))
	if err != nil {
		t.Fatal(err)
	}
	if p.Satisfied(note) || len(p.Cosigners(note)) != 0 {
		t.Errorf("satisfied %v, by %v", p.Satisfied(note), p.Cosigners(note))
	}
	refuses(t, receipt.Demand{}, bundle, w.Trust(), "log.witness", "no pinned witness cosigned")
}
