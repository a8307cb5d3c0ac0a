package lawchain_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Receipts that were signed outside of the commits end up in gapless chains, also where many submitters race for the
// same subjects and every second guess of a place is wrong.
func TestPreparedReceiptsFormChains(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	const submitters, each, subjects = 8, 40, 3
	var wg sync.WaitGroup
	for range submitters {
		wg.Go(func() {
			for k := range each {
				d := halt(k % subjects)
				p, err := f.l.Prepare(d)
				if err == nil {
					err = f.j.Submit(context.Background(), journal.Lane(k%2), func(tx journal.Tx) error {
						_, _, err := f.l.AppendPrepared(tx, p)
						return err
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for s := range subjects {
		indexes, err := f.l.Subject(fmt.Sprint("halt/", s), 0, submitters*each)
		if err != nil {
			t.Fatal(err)
		}
		var prev *receipt.Ref
		for seq, i := range indexes {
			e, err := f.l.Receipt(i)
			if err != nil {
				t.Fatal(err)
			}
			r, err := receipt.Open(e)
			if err != nil {
				t.Fatal(err)
			}
			if r.Seq != uint64(seq) || (prev == nil) != (r.Prev == nil) || prev != nil && *prev != *r.Prev {
				t.Fatalf("receipt %d of subject %d: seq %d, prev %v, want %v", seq, s, r.Seq, r.Prev, prev)
			}
			prev = &receipt.Ref{Index: i, Leaf: r.Leaf}
		}
		total += len(indexes)
	}
	if total != submitters*each {
		t.Fatalf("%d receipts in the chains, want %d", total, submitters*each)
	}
}
