//go:build cgo

package signer_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/signer"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

// remote signs checkpoints with a key that lives elsewhere: what this package keeps out of the commit path, put there to
// be measured.
type remote struct {
	note.Signer
	key   signer.Key
	delay time.Duration // as of a network and a busy service
}

func (r remote) Sign(message []byte) ([]byte, error) {
	if r.delay > 0 {
		time.Sleep(r.delay)
	}
	return r.key.Sign(context.Background(), message)
}

// BenchmarkCommit shows what a signature of the checkpoint by a key that is not in memory does to a commit: one receipt in
// one commit, one caller (the latency) and 64 callers (group commit). "delegated" is what the product does: the root in
// the token signed once, before, and the key in memory signs.
func BenchmarkCommit(b *testing.B) {
	token := softHSM(b, "vaultmesh-bench")
	if _, err := signer.Generate(token); err != nil {
		b.Fatal(err)
	}
	hsm, err := signer.Open(b.Context(), token)
	if err != nil {
		b.Fatal(err)
	}
	defer hsm.Close()
	for _, x := range []struct {
		name   string
		remote bool
		delay  time.Duration
	}{{"delegated", false, 0}, {"softhsm", true, 0}, {"softhsm+5ms", true, 5 * time.Millisecond}, {"softhsm+25ms", true, 25 * time.Millisecond}} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", x.name, callers), func(b *testing.B) { commits(b, hsm, x.remote, x.delay, callers) })
		}
	}
}

func commits(b *testing.B, hsm signer.Key, isRemote bool, delay time.Duration, callers int) {
	log := logs.Open(b, b.TempDir(), func(o *lawchain.Options, _ *journal.Options) {
		if isRemote {
			o.Signer = remote{o.Signer, hsm, delay}
		}
	})
	defer log.Close(b)
	j := log.J
	work, took := make(chan int), make(chan time.Duration, b.N)
	done := make(chan error, callers)
	for c := range callers {
		go func() {
			for range work {
				start := time.Now()
				err := j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
					_, _, err := log.Append(tx, receipt.Draft{Kind: receipt.HaltSet, Subject: fmt.Sprintf("halt/%d", c), Actor: "node:bench", Time: time.Now(), Body: []byte(`{"reason":"x"}`)})
					return err
				})
				if err != nil {
					done <- err
					return
				}
				took <- time.Since(start)
			}
			done <- nil
		}()
	}
	b.ResetTimer()
	for i := range b.N {
		work <- i
	}
	close(work)
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	close(took)
	var all []time.Duration
	for d := range took {
		all = append(all, d)
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "receipts/s")
}
