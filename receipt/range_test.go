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

// twins appends definitions that claim these minutes after the start.
func twins(w *sample.World, minutes ...int) {
	for _, m := range minutes {
		id := vaultmesh.TwinID(strings.Repeat("x", int(w.Size())))
		w.Add(receipt.TwinDefined, receipt.TwinSubject(id), "node:sample", time.Duration(m)*time.Minute, &receipt.TwinBody{Twin: id, Model: "dtmi:test:x;1", Device: "sub-4"}, nil)
	}
}

// between packs receipts first to last as the range of the minutes 20 to 40, with further parts.
func between(w *sample.World, note []byte, first, last vaultmesh.LogIndex, more ...receipt.Part) []byte {
	parts := []receipt.Part{receipt.CheckpointPart(note), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 122*time.Minute)),
		receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: first, Last: last, From: sample.Start.Add(20 * time.Minute), Until: sample.Start.Add(40 * time.Minute)}}})}
	for i := first; i <= last; i++ {
		parts = append(parts, w.Receipts(w.Size(), note, i)...)
	}
	return w.Pack(append(parts, more...))
}

// One receipt that is dated ahead ends a range by time before what happened in that time.
func TestRangeByTimeThatHides(t *testing.T) {
	w := sample.New(t)
	w.Genesis()
	twins(w, 10, 50)                                                                                                                           // 1; 2 is written at minute 10 and claims 50
	w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 30*time.Minute, &receipt.HaltBody{Reason: "an emergency"}, nil) // 3
	twins(w, 60)
	note := w.Checkpoint(w.Size(), 121*time.Minute)
	bundle := between(w, note, 1, 2)
	d := receipt.Demand{Complete: true, Size: w.Size(), Root: w.RootOf(w.Size()), Now: sample.Start.Add(3 * time.Hour)}
	refuses(t, d, bundle, w.Trust(), "history.complete[1-2]", "Ask for the range by its indexes (--first 1 --last 2)")
	d.Complete = false
	r := d.Verify(bundle, w.Trust())
	if !r.OK || !slices.ContainsFunc(r.NotProved, func(s string) bool { return strings.Contains(s, "no receipt outside of 1 to 2 was written") }) {
		t.Errorf("it does not say what a range by time leaves open:\n%s", tree(t, r, false))
	}
	if len(r.Complete) != 1 || !r.Complete[0].From.IsZero() {
		t.Errorf("complete is %+v", r.Complete)
	}
}

// Proofs of time on both sides of a range show that all that was written in that time is in it.
func TestRangeByTimeBetweenAnchors(t *testing.T) {
	w := sample.New(t)
	w.Genesis()
	twins(w, 5)
	early := w.Anchor(15 * time.Minute)            // size 2
	twins(w, 17, 18, 30, 42)                       // 2 to 5
	late := w.Anchor(45 * time.Minute)             // size 6
	w.Report(late, 45*time.Minute, 46*time.Minute) // 6
	twins(w, 50, 60)
	note, all := w.Checkpoint(w.Size(), 121*time.Minute), w.Size()
	head := func(h sample.Head) []receipt.Part {
		return []receipt.Part{receipt.AnchoredPart(h.Size, h.Note), receipt.TimestampPart(h.Size, 0, h.Stamp), w.Consistency(h.Size, all)}
	}
	both := append(head(early), head(late)...)
	d := receipt.Demand{Complete: true, Size: all, Root: w.RootOf(all), Now: sample.Start.Add(3 * time.Hour)}
	r := d.Verify(between(w, note, 2, 6, both...), w.Trust())
	if !r.OK || len(r.Complete) != 1 || !r.Complete[0].From.Equal(sample.Start.Add(20*time.Minute)) || !r.Complete[0].Until.Equal(sample.Start.Add(40*time.Minute)) {
		t.Errorf("it is shown and not accepted:\n%s", tree(t, r, false))
	}
	const before, after = "no proof of time of 2026-01-02T03:24:05Z or earlier covers", "no receipt up to its end reports a proof of time"
	for name, c := range map[string]struct {
		first, last vaultmesh.LogIndex
		parts       []receipt.Part
		want        string
	}{
		"nothing dates what is before it":           {2, 6, head(late), before},
		"one before it was written after the stamp": {3, 6, both, before},
		"a report of a proof that is not there":     {2, 6, head(early), after},
		"the report is after it":                    {2, 5, both, after},
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, d, between(w, note, c.first, c.last, c.parts...), w.Trust(), "history.complete[", c.want)
		})
	}
}

// The witnesses saw where the log ended, and when: a range up to there has all that was written until then, and no more.
func TestRangeByTimeToTheWitnessedEnd(t *testing.T) {
	for at, whole := range map[time.Duration]bool{30 * time.Minute: false, 42 * time.Minute: true} {
		w := sample.New(t)
		w.Genesis()
		twins(w, 5)
		early := w.Anchor(15 * time.Minute)
		twins(w, 17, 25)
		bundle := between(w, w.Checkpoint(w.Size(), at), 2, 3, receipt.AnchoredPart(early.Size, early.Note), receipt.TimestampPart(early.Size, 0, early.Stamp), w.Consistency(early.Size, w.Size()))
		d := receipt.Demand{Complete: true, Now: sample.Start.Add(3 * time.Hour)}
		if !whole {
			refuses(t, d, bundle, w.Trust(), "history.complete[", "no receipt up to its end reports a proof of time")
		} else if r := d.Verify(bundle, w.Trust()); !r.OK || r.Complete[0].From.IsZero() || !r.Complete[0].Until.IsZero() || r.Complete[0].Size != w.Size() {
			t.Errorf("cosigned at %s:\n%s", at, tree(t, r, false))
		}
	}
}

// An insider writes, at minute 22, a receipt that reports a cosignature of minute 45 which does not exist yet: no bytes of
// a proof are named, so that it can be foretold. The halt of minute 30, dated 47, is then left out of "20 to 40".
func TestForetoldCosignature(t *testing.T) {
	w := sample.New(t)
	w.Genesis()
	twins(w, 5)
	early := w.Anchor(15 * time.Minute) // size 2
	twins(w, 17, 18)                    // 2, 3
	size := w.Size()                    // 4: nothing of it was shown to a witness yet
	body := w.Checkpoint(size, 0)       // only its body counts
	// Written at minute 22.
	w.Add(receipt.AnchorVerified, receipt.AnchorSubject("witness"), "node:sample", 46*time.Minute, &receipt.AnchorBody{AnchorRef: receipt.AnchorRef{Target: "witness", Kind: receipt.AnchorWitness, Job: "job-1",
		Checkpoint: w.Digest(body), Size: size}, Final: true, Time: sample.Start.Add(45 * time.Minute)}, nil) // 4
	// Written at minute 30.
	w.Add(receipt.HaltSet, receipt.HaltSubject(sample.Domain), "operator:bob", 47*time.Minute, &receipt.HaltBody{Reason: "an emergency"}, nil) // 5
	// At minute 45 the log submits its checkpoint of size 4, which is cosigned then; later it submits the rest.
	at45 := w.Checkpoint(size, 45*time.Minute)
	twins(w, 60)
	note, all := w.Checkpoint(w.Size(), 121*time.Minute), w.Size()
	bundle := between(w, note, 2, 4, receipt.AnchoredPart(early.Size, early.Note), receipt.TimestampPart(early.Size, 0, early.Stamp), w.Consistency(early.Size, all),
		receipt.AnchoredPart(size, at45), w.Consistency(size, all))
	d := receipt.Demand{Complete: true, Size: all, Root: w.RootOf(all), Now: sample.Start.Add(3 * time.Hour)}
	r := d.Verify(bundle, w.Trust())
	if r.OK || !strings.Contains(tree(t, r, true), "without naming its bytes") {
		t.Errorf("accepted %v, complete: %+v\n%s", r.OK, r.Complete, tree(t, r, true))
	}
}
