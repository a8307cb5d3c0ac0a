package lawchain_test

import (
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// BenchmarkInclusion proves 45,000 receipts of a log of 60,000, as a large bundle does: one operation is all of them.
func BenchmarkInclusion(b *testing.B) {
	f := newLog(b, b.TempDir())
	defer f.j.Close()
	const size, proved = 60_000, 45_000
	drafts := make([]receipt.Draft, 1000)
	for i := 0; i < size; i += len(drafts) {
		for k := range drafts {
			drafts[k] = receipt.Draft{Kind: receipt.TelemetryBatch, Subject: "telemetry/test", Actor: "node:a", Time: start.Add(time.Duration(i+k) * time.Millisecond), Body: []byte(`{}`)}
		}
		f.append(b, journal.Telemetry, drafts...)
	}
	for b.Loop() {
		for i := range vaultmesh.LogIndex(proved) {
			if _, err := f.l.Inclusion(i, size); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/proved, "ns/proof")
}
