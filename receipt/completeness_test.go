package receipt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// under returns the receipts with what dates them.
func under(w *sample.World, note []byte, indexes []vaultmesh.LogIndex, more ...receipt.Part) []receipt.Part {
	w.T.Helper()
	parts := w.Receipts(w.Size(), note, indexes...)
	return append(append(parts, receipt.CheckpointPart(note), receipt.TimestampPart(w.Size(), 0, w.Stamp(w.Digest(note), 50*time.Second))), more...)
}

// A command that is asked for by name is no excerpt: what its ranges leave out is missing.
func TestGapInNamedCommand(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	note := w.Checkpoint(w.Size(), 24*time.Second)
	subject := receipt.CommandSubject(sample.Command)
	steps := w.Of(subject)
	for _, drop := range [][2]int{{3, 3}, {2, 4}, {1, 5}} {
		low, high := steps[drop[0]], steps[drop[1]]
		var rest []vaultmesh.LogIndex
		for i := vaultmesh.LogIndex(0); uint64(i) < w.Size(); i++ {
			if i < low || i > high {
				rest = append(rest, i)
			}
		}
		ranges := []receipt.Range{{First: 0, Last: low - 1}, {First: high + 1, Last: vaultmesh.LogIndex(w.Size() - 1)}}
		demand := receipt.Demand{Complete: true, Size: w.Size(), Root: w.RootOf(w.Size()), Now: now}
		pack := func(s receipt.Scope) []byte {
			parts := under(w, note, rest, receipt.ScopePart(s), w.Message())
			if drop[0] == 3 && (len(s.Commands) > 0 || len(s.Subjects) > 0) {
				parts = append(parts, w.Challenge())
			}
			return w.Pack(parts)
		}
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			r := demand.Verify(pack(receipt.Scope{Ranges: ranges}), w.Trust())
			if !r.OK || slices.ContainsFunc(r.Commands, func(s receipt.Statement) bool { return s.Command == sample.Command && s.Verified }) {
				t.Errorf("an excerpt that nobody asked for by name:\n%s", tree(t, r, false))
			}
			named := demand
			named.Subjects = []string{subject}
			refuses(t, named, pack(receipt.Scope{Ranges: ranges}), w.Trust(), "subject.chain["+subject, "a receipt is missing")
			for _, s := range []receipt.Scope{{Commands: []vaultmesh.CommandID{sample.Command}, Ranges: ranges}, {Subjects: []string{subject}, Ranges: ranges}} {
				refuses(t, demand, pack(s), w.Trust(), "subject.chain["+subject, "a receipt is missing")
				for _, c := range demand.Verify(pack(s), w.Trust()).Commands {
					if c.Command == sample.Command && c.Verified {
						t.Error("a command of which a step is missing is told as verified")
					}
				}
			}
		})
	}
}

// A range by time shows more than a minute beyond both of its ends, since times may run back so far, and ends at the end of
// the log that the auditor knows, not at that of the bundle's checkpoint.
func TestRangeByTime(t *testing.T) {
	w := sample.New(t)
	w.Genesis()
	early := w.Anchor(10 * time.Second)                                // what dates all that is before the range
	for i, after := range []int{20, 90, 55, 100, 170, 161, 221, 222} { // 2 is of the time asked for, 3 lies before it; 6 is of it, 5 after it
		id := vaultmesh.TwinID(fmt.Sprint("bus-", i))
		w.Add(receipt.TwinDefined, receipt.TwinSubject(id), "node:sample", time.Duration(after)*time.Second, &receipt.TwinBody{Twin: id, Model: "dtmi:test:x;1", Device: "sub-4"}, nil)
	}
	trust := w.Trust()
	note := func(size uint64) []byte { return w.Checkpoint(size, 300*time.Second) }
	pack := func(size uint64, first, last vaultmesh.LogIndex, from, until int, more ...receipt.Part) []byte {
		parts := []receipt.Part{receipt.CheckpointPart(note(size)), receipt.TimestampPart(size, 0, w.Stamp(w.Digest(note(size)), 301*time.Second)),
			receipt.AnchoredPart(early.Size, early.Note), receipt.TimestampPart(early.Size, 0, early.Stamp), w.Consistency(early.Size, size),
			receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: first, Last: last, From: sample.Start.Add(time.Duration(from) * time.Second), Until: sample.Start.Add(time.Duration(until) * time.Second)}}})}
		for i := first; i <= last; i++ {
			parts = append(parts, w.Receipts(size, note(size), i)...)
		}
		return w.Pack(append(parts, more...))
	}
	all := w.Size()
	demand := receipt.Demand{Complete: true, Size: all, Root: w.RootOf(all), Now: now}
	if r := demand.Verify(pack(all, 1, 8, 81, 3600), trust); !r.OK || len(r.Complete) != 1 || r.Complete[0].From.IsZero() {
		t.Errorf("to the end:\n%s", tree(t, r, false))
	}
	for name, bundle := range map[string][]byte{"ends": pack(all, 1, 7, 81, 160), "from the beginning": pack(all, 0, 7, 30, 160)} {
		refuses(t, demand, bundle, trust, "history.complete[", "no receipt up to its end reports a proof of time")
		if r := (receipt.Demand{Size: all, Root: w.RootOf(all), Now: now}).Verify(bundle, trust); !r.OK || len(r.Complete) != 1 || !r.Complete[0].From.IsZero() {
			t.Errorf("%s:\n%s", name, tree(t, r, false))
		}
	}
	refuses(t, demand, pack(all, 3, 7, 60, 160), trust, "bundle.scope", "begins with")
	refuses(t, demand, pack(all, 1, 7, 80, 160), trust, "bundle.scope", "begins with")
	refuses(t, demand, pack(all, 1, 5, 81, 165), trust, "bundle.scope", "ends with")
	refuses(t, demand, pack(all, 1, 7, 81, 162), trust, "bundle.scope", "ends with")
	// The checkpoint is older than what the auditor knows, whether the bundle leads to that or holds it.
	short := []receipt.Part{w.Consistency(all, 4)}
	refuses(t, demand, pack(4, 0, 3, 0, 3600, short...), trust, "bundle.scope", "known to have size 9")
	short = append(short, receipt.AnchoredPart(all, note(all)))
	refuses(t, receipt.Demand{Complete: true, Head: note(all), Now: now}, pack(4, 0, 3, 0, 3600, short...), trust, "bundle.scope", "known to have size 9")
	if r := receipt.Verify(pack(4, 0, 3, 0, 3600, short...), trust); !r.OK || !r.Complete[0].From.IsZero() || !slices.ContainsFunc(r.NotProved, func(s string) bool {
		return strings.Contains(s, "that no receipt outside of 0 to 3 was written")
	}) {
		t.Errorf("who names no head is not told that there is more:\n%s", tree(t, r, false))
	}
}

// What pinned witnesses signed is what the auditor knows: a subject must be complete up to there.
func TestOldStateUnderWitnesses(t *testing.T) {
	w := sample.New(t)
	w.Genesis()
	old := w.Root(time.Second)
	halts := receipt.HaltSubject(sample.Domain)
	w.Add(receipt.HaltSet, halts, "operator:bob", 9*time.Second, &receipt.HaltBody{Reason: "an emergency"}, nil)
	fresh := w.Root(10 * time.Second)
	note := w.Checkpoint(w.Size(), 40*time.Second)
	pack := func(root receipt.Ref, subjects ...string) []byte {
		return w.Pack(under(w, note, w.Of(append(subjects, receipt.DomainSubject(sample.Domain), receipt.StateSubject(sample.Domain))...),
			receipt.ScopePart(receipt.Scope{Subjects: []string{halts}}), receipt.StatePart(0, w.StateProof(root, state.SubjectKey(halts)))))
	}
	demand := receipt.Demand{Complete: true, Now: now}
	refuses(t, demand, pack(old), w.Trust(), "history.complete["+halts, "complete as of size 2 only, and the auditor knows the log at size 4")
	if r := demand.Verify(pack(fresh, halts), w.Trust()); !r.OK || len(r.Complete) != 1 || r.Complete[0].Size != 4 {
		t.Error(tree(t, r, false))
	}
}

// The state tree holds no telemetry and no commands, so that it has none proves nothing.
func TestTelemetryIsNotInTheState(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	root := w.Root(13 * time.Second)
	note := w.Checkpoint(w.Size(), 24*time.Second)
	subject := receipt.TelemetrySubject(sample.Domain)
	parts := under(w, note, w.Of(receipt.DomainSubject(sample.Domain), receipt.StateSubject(sample.Domain)), receipt.ScopePart(receipt.Scope{Subjects: []string{subject}}), w.Consistency(uint64(root.Index), w.Size()))
	demand := receipt.Demand{Complete: true, Subjects: []string{subject}, Size: uint64(root.Index), Root: w.RootOf(uint64(root.Index)), Now: now}
	absent := receipt.StatePart(0, w.StateProof(root, state.SubjectKey(subject)))
	refuses(t, demand, w.Pack(append(slices.Clone(parts), absent)), w.Trust(), "state.proof", "telemetry are not in the state tree")
	refuses(t, demand, w.Pack(parts), w.Trust(), "history.complete["+subject, "not judged")
	honest := under(w, note, w.Of(receipt.DomainSubject(sample.Domain), subject), receipt.ScopePart(receipt.Scope{Subjects: []string{subject}}))
	r := receipt.Verify(w.Pack(honest), w.Trust())
	if !r.OK || len(r.Complete) != 0 || !slices.Contains(r.NotProved, "that "+subject+" has no further receipts") {
		t.Error(tree(t, r, false))
	}
	refuses(t, receipt.Demand{Complete: true}, w.Pack(honest), w.Trust(), "history.complete["+subject, "not judged")
}
