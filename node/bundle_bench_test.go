package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// BenchmarkBundle builds a bundle of a subject with 45,000 receipts, near the most that one may hold, in a log of 60,000.
func BenchmarkBundle(b *testing.B) {
	c := keyConfig(b.TempDir())
	n, err := Start(context.Background(), c, quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
	}()
	const all, wanted = 60_000, 45_000
	body, err := receipt.Body(receipt.HaltBody{Reason: "a benchmark"})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < all; i += 500 {
		if err := n.journal.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
			for k := i; k < i+500; k++ {
				d := receipt.Draft{Kind: receipt.HaltSet, Subject: "halt/busy", Actor: "operator:ada", Time: time.Now(), Body: body}
				if k%4 == 3 {
					d.Subject = fmt.Sprintf("halt/other-%d", k%1000)
				}
				if _, _, err := n.log.Append(tx, d); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	e := evidence{n}
	size := 0
	for b.Loop() {
		raw, err := e.Bundle(context.Background(), httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{"halt/busy"}}})
		if err != nil {
			b.Fatal(err)
		}
		size = len(raw)
	}
	b.ReportMetric(float64(size), "B")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/wanted, "us/receipt")
}
