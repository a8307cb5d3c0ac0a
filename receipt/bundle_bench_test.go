package receipt_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/sample"
)

// rangeBundle is a range of n receipts, each with its own signature or covered by the checkpoint alone.
func rangeBundle(t testing.TB, n int, signed bool) ([]byte, *receipt.Trust) {
	t.Helper()
	w := sample.New(t)
	w.Witnesses = nil
	for i := range n {
		if signed {
			w.Add(receipt.HaltSet, fmt.Sprintf("halt/%d", i), "operator:bob", time.Duration(i)*time.Millisecond, &receipt.HaltBody{Reason: "one of many"}, nil)
		} else {
			w.Add(receipt.TelemetryBatch, receipt.TelemetrySubject(sample.Domain), "node:sample", time.Duration(i)*time.Millisecond, &receipt.BatchBody{Root: vaultmesh.Sum(nil), Count: 1, First: sample.Start, Last: sample.Start}, nil)
		}
	}
	nodes := map[compact.NodeID][]byte{}
	keep := func(id compact.NodeID, hash []byte) { nodes[id] = hash }
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for i := range w.Leaves {
		if err := tree.Append(w.Leaves[i][:], keep); err != nil {
			t.Fatal(err)
		}
	}
	note := w.Checkpoint(uint64(n), 0)
	parts := []receipt.Part{receipt.CheckpointPart(note), receipt.ScopePart(receipt.Scope{Ranges: []receipt.Range{{First: 0, Last: vaultmesh.LogIndex(n - 1)}}}),
		receipt.TimestampPart(uint64(n), 0, w.Stamp(w.Digest(note), time.Hour))}
	for i, env := range w.Envelopes {
		p, err := proof.Inclusion(uint64(i), uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		var hashes [][]byte
		for _, id := range p.IDs {
			hashes = append(hashes, nodes[id])
		}
		if hashes, err = p.Rehash(hashes, rfc6962.DefaultHasher.HashChildren); err != nil {
			t.Fatal(err)
		}
		var path []vaultmesh.Digest
		for _, h := range hashes {
			path = append(path, vaultmesh.Digest(h))
		}
		parts = append(parts, receipt.ReceiptPart(vaultmesh.LogIndex(i), env), receipt.InclusionPart(vaultmesh.LogIndex(i), path, note))
	}
	trust := w.Trust()
	trust.WitnessPolicy, trust.Ethereum = "", nil
	return w.Pack(parts), trust
}

// TestMany judges a range of thousands of receipts, and refuses one more part than there may be.
func TestMany(t *testing.T) {
	bundle, trust := rangeBundle(t, 2000, false)
	if r := receipt.Verify(bundle, trust); !r.OK || len(r.Complete) != 1 || r.Complete[0].Count != 2000 {
		t.Errorf("%d checks, %+v", len(r.Checks), r.Complete)
	}
}

// BenchmarkVerifyRange judges whole ranges; the largest has as many parts as a bundle may have.
func BenchmarkVerifyRange(b *testing.B) {
	for _, c := range []struct {
		n      int
		signed bool
	}{{1000, true}, {1000, false}, {receipt.MaxParts/2 - 2, false}, {receipt.MaxParts/2 - 2, true}} {
		b.Run(fmt.Sprintf("receipts=%d signed=%v", c.n, c.signed), func(b *testing.B) {
			bundle, trust := rangeBundle(b, c.n, c.signed)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.ReportAllocs()
			for b.Loop() {
				if r := receipt.Verify(bundle, trust); !r.OK {
					b.Fatal(r.Failed()[0])
				}
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(c.n), "µs/receipt")
			b.ReportMetric(float64(len(bundle))/1e6, "MB")
			b.ReportMetric(float64(after.HeapSys)/1e6, "heapMB")
		})
	}
}
