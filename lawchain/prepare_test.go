package lawchain_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh/journal"
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
		f.chain(t, indexes)
		total += len(indexes)
	}
	if total != submitters*each {
		t.Fatalf("%d receipts in the chains, want %d", total, submitters*each)
	}
}
