package receipt_test

import (
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// Whoever holds the domain's keys and not the witnesses' tries to have a subject pass for complete of which something is
// left out. The auditor pins keys and witnesses, and knows no head.
func TestInsiderWithoutWitnesses(t *testing.T) {
	halt := receipt.HaltSubject(sample.Domain)
	demand := receipt.Demand{Complete: true, Now: now}
	// told is a log that ends with a root of the state and one receipt of another subject behind it.
	told := func(t *testing.T) (*sample.World, receipt.Ref) {
		w := sample.New(t)
		w.Tell()
		root := w.Root(13 * time.Second)
		w.Add(receipt.TwinDefined, receipt.TwinSubject("late"), "node:sample", 14*time.Second, &receipt.TwinBody{Twin: "late", Model: "dtmi:test:x;1", Device: "sub-4", Definition: vaultmesh.Sum(nil)}, nil)
		return w, root
	}
	pack := func(w *sample.World, note []byte, root receipt.Ref, from, to uint64, more ...receipt.Part) []byte {
		w.T.Helper()
		indexes := append(w.Of(halt, receipt.DomainSubject(sample.Domain)), root.Index)
		between := receipt.Range{First: vaultmesh.LogIndex(from), Last: vaultmesh.LogIndex(to - 1)}
		for i := between.First; i <= between.Last; i++ {
			indexes = append(indexes, i)
		}
		scope := receipt.Scope{Subjects: []string{halt}}
		if to > from {
			scope.Ranges = []receipt.Range{between}
		}
		parts := append(under(w, note, indexes, more...), receipt.ScopePart(scope), receipt.StatePart(0, w.StateProof(root, state.SubjectKey(halt))))
		return w.Pack(dropDoubles(parts))
	}
	w, root := told(t)
	size := w.Size()
	from := uint64(root.Index) // the root is of this size
	note := w.Checkpoint(size, 24*time.Second)
	trust := w.Trust()
	t.Run("honest", func(t *testing.T) {
		r := demand.Verify(pack(w, note, root, from, size), trust)
		if !r.OK || r.Complete[0].Size != size {
			t.Fatal(tree(t, r, false))
		}
	})
	t.Run("what came after the root is left out", func(t *testing.T) {
		refuses(t, demand, pack(w, note, root, from, from), trust, "history.complete["+halt, "what lies between the two may hold more")
		refuses(t, demand, pack(w, note, root, from, size-1), trust, "history.complete["+halt, "what lies between the two may hold more")
	})
	t.Run("a root that no witness saw", func(t *testing.T) {
		w, root := told(t)
		witnessed := w.Checkpoint(uint64(root.Index), 24*time.Second)
		seen := uint64(root.Index)
		w.Witnesses = nil
		refuses(t, demand, pack(w, w.Checkpoint(w.Size(), 0), root, seen, w.Size(), receipt.AnchoredPart(seen, witnessed), w.Consistency(seen, w.Size())), w.Trust(), "log.witness", "no checkpoint that covers all receipts")
	})
	t.Run("another log of the same size", func(t *testing.T) {
		other := sample.New(t)
		other.Authority = w.Authority
		other.Draft = func(d *receipt.Draft) {
			if d.Kind == receipt.HaltSet {
				d.Actor = "operator:eve"
			}
		}
		other.Tell()
		forged := other.Root(13 * time.Second)
		for other.Size() < size {
			other.Add(receipt.TwinDefined, receipt.TwinSubject("late"), "node:sample", 14*time.Second, &receipt.TwinBody{Twin: "late", Model: "dtmi:test:x;1", Device: "sub-4", Definition: vaultmesh.Sum(nil)}, nil)
		}
		other.Witnesses = nil
		refuses(t, demand, pack(other, other.Checkpoint(size, 0), forged, from, size, receipt.AnchoredPart(size, note)), trust, "log.consistency", "fork")
	})
}

// dropDoubles leaves of the parts of one name the first.
func dropDoubles(parts []receipt.Part) (out []receipt.Part) {
	seen := map[string]bool{}
	for _, p := range parts {
		if !seen[p.Name] {
			out = append(out, p)
		}
		seen[p.Name] = true
	}
	return out
}

// A key that an auditor names twice is one key: it is retired as one, and there are not several of it.
func TestKeyPinnedTwice(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	old := w.LogKey
	w.RotateLog("next log key", 13*time.Second)
	w.RetireLog(old, 14*time.Second)
	w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 15*time.Second, &receipt.HaltBody{Reason: "later"}, nil)
	w.Add(receipt.HaltCleared, receipt.HaltSubject(sample.Domain), "operator:bob", 15*time.Second, &receipt.HaltBody{Reason: "later"}, nil)
	next := w.LogKey
	trust := func() *receipt.Trust {
		_, trust := w.All()
		trust.CapabilityRoots, trust.Operators = w.Trust().CapabilityRoots, w.Trust().Operators
		trust.Log.Key = old.Note(sample.Origin).Text
		trust.LogKeys = []string{next.Note(sample.Origin).Text, old.Note(sample.Origin).Text}
		return trust
	}
	bundle := func(by sample.Key) []byte {
		w.LogKey = by
		defer func() { w.LogKey = next }()
		parts, _ := w.All()
		return w.Pack(append(parts, w.Message(), w.Challenge()))
	}
	if r := receipt.Verify(bundle(next), trust()); !r.OK {
		t.Fatal(tree(t, r, false))
	}
	refuses(t, receipt.Demand{}, bundle(old), trust(), "log.checkpoint", "not signed by a trusted key")
}
