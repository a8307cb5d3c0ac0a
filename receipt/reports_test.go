package receipt_test

import (
	"bytes"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// Two reports of the same bundle, trust file and demand are equal, also about what nobody asked for.
func TestReportsAreEqual(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	note := w.Checkpoint(w.Size(), 24*time.Second)
	parts := under(w, note, w.Of(receipt.DomainSubject(sample.Domain)))
	for n := uint64(1); n < 8; n++ {
		parts = append(parts, w.Consistency(n, w.Size()))
	}
	b, trust := w.Pack(parts), w.Trust()
	first := receipt.Verify(b, trust).JSON()
	for range 30 {
		if again := receipt.Verify(b, trust).JSON(); !bytes.Equal(first, again) {
			t.Fatalf("two reports differ:\n%s\n%s", first, again)
		}
	}
}

// As many authorities as a node may have stamp one checkpoint, and its bundle is accepted; one more is no part of a bundle.
func TestMostStampsOfOneCheckpoint(t *testing.T) {
	w := sample.New(t)
	w.Tell()
	note := w.Checkpoint(w.Size(), 24*time.Second)
	parts := append(w.Receipts(w.Size(), note, w.Of(receipt.DomainSubject(sample.Domain))...), receipt.CheckpointPart(note))
	for i := range receipt.MaxStamps {
		parts = append(parts, receipt.TimestampPart(w.Size(), i, w.Stamp(w.Digest(note), 50*time.Second)))
	}
	if r := receipt.Verify(w.Pack(parts), w.Trust()); !r.OK || len(r.Anchors) < receipt.MaxStamps {
		t.Errorf("%d anchors:\n%s", len(r.Anchors), tree(t, r, false))
	}
	parts = append(parts, receipt.TimestampPart(w.Size(), receipt.MaxStamps, w.Stamp(w.Digest(note), 50*time.Second)))
	refuses(t, receipt.Demand{}, w.Pack(parts), w.Trust(), "timestamp.rfc3161", "more than 8 proofs for one checkpoint")
}
