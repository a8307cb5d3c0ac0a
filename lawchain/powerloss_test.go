package lawchain_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/test/logs"
)

// A checkpoint that anyone could have seen before the power went is a prefix of the log after it, whatever part of the
// unsynced data the disk kept: a log never takes back a tree head. Every receipt under it is there, byte for byte.
func TestPowerLossTakesNoCheckpointBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	disk, dir := vfs.NewCrashableMem(), t.TempDir()
	at := map[uint64]bool{}
	for len(at) < 12 {
		at[1+r.Uint64N(600)] = true
	}
	type outage struct {
		seen *lawchain.Checkpoint
		mark []byte
		disk *vfs.MemFS
	}
	var (
		outages []outage
		commits atomic.Uint64
		cut     sync.Mutex
		f       *logs.Log
	)
	marked := func(point string) {
		if point != "marked" || !at[commits.Add(1)] {
			return
		}
		cut.Lock()
		defer cut.Unlock()
		o := outage{seen: f.Checkpoint()}
		o.mark, _ = os.ReadFile(filepath.Join(dir, "acknowledged"))
		o.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 80, 100}[r.IntN(5)], RNG: rand.New(rand.NewPCG(r.Uint64(), 2))})
		outages = append(outages, o)
	}
	f = logs.Open(t, dir, logs.Failpoint(marked), func(_ *lawchain.Options, o *journal.Options) { o.FS, o.MemTable = disk, 256<<10 })
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for i := 0; commits.Load() < 600; i++ {
				lane := journal.Lane(i % 2)
				if err := f.J.Submit(t.Context(), lane, func(tx journal.Tx) error {
					_, _, err := f.Append(tx, logs.Draft(i))
					return err
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	written := make([][]byte, f.Checkpoint().Size)
	for i := range written {
		var err error
		if written[i], err = f.Receipt(vaultmesh.LogIndex(i)); err != nil {
			t.Fatal(err)
		}
	}
	f.Close(t)
	for _, o := range outages {
		if err := os.WriteFile(filepath.Join(dir, "acknowledged"), o.mark, 0o600); err != nil {
			t.Fatal(err)
		}
		after := logs.Open(t, dir, func(_ *lawchain.Options, j *journal.Options) { j.FS = o.disk })
		now := after.Checkpoint()
		if o.seen == nil || now == nil || now.Size < o.seen.Size {
			t.Fatalf("seen before the outage %+v, after it %+v", o.seen, now)
		}
		path, err := after.Consistency(o.seen.Size, now.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, o.seen.Size, now.Size, path, o.seen.Root[:], now.Root[:]); err != nil {
			t.Fatalf("the log of %d receipts is no prefix of that of %d: %v", o.seen.Size, now.Size, err)
		}
		for i, want := range written[:o.seen.Size] {
			if e, err := after.Receipt(vaultmesh.LogIndex(i)); err != nil || !bytes.Equal(e, want) {
				t.Fatalf("receipt %d: %v, or another one", i, err)
			}
		}
		after.Grow(t, 3)
		after.Close(t)
	}
}
