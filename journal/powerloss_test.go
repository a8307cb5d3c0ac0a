package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"vaultmesh.org/vaultmesh/journal"
)

var (
	powerSeed = flag.Uint64("power-seed", 0, "seed of TestPowerLoss; 0 takes one from the clock")
	powerCuts = flag.Int("power-cuts", 40, "power losses of TestPowerLoss")
)

// A power loss keeps what was synced and any part of what was not: block by block, entry of a folder by entry. Whatever
// it keeps, each acknowledged operation is there after the next start, whole and unchanged, none is there in part, and the
// mark, which is not synced, never stands in the way. The disk is one in memory that can be cut at any instant; tables
// are written often, so that flushes, compactions and separate values are under way when it happens.
func TestPowerLoss(t *testing.T) {
	seed := *powerSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (-power-seed), %d cuts", seed, *powerCuts)
	r := rand.New(rand.NewPCG(seed, 1))
	for cut := 0; cut < *powerCuts; {
		cut += powerRound(t, r, min(8, *powerCuts-cut))
	}
}

const powerWriters = 8

// outage is what was acknowledged just before the power was cut, and what the disk holds after it.
type outage struct {
	acked   [powerWriters]uint64
	mark    []byte
	disk    *vfs.MemFS
	percent int
}

// powerRound cuts the power of one journal under load several times, each time as if it had been the only one.
func powerRound(t *testing.T, r *rand.Rand, cuts int) int {
	t.Helper()
	disk, dir := vfs.NewCrashableMem(), t.TempDir()
	at := map[uint64]bool{}
	for len(at) < cuts {
		at[1+r.Uint64N(600)] = true
	}
	var commits atomic.Uint64
	now := make(chan struct{}, cuts)
	j := open(t, dir, journal.Options{FS: disk, MemTable: 256 << 10, OnDurable: func(uint64) {
		if at[commits.Add(1)] {
			now <- struct{}{}
		}
	}})
	var acked [powerWriters]atomic.Uint64
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range powerWriters {
		lane := journal.Lane(r.IntN(2))
		writers.Go(func() { write(t, j, w, lane, &acked[w], stop) })
	}
	var outages []outage
	for range cuts {
		<-now
		o := outage{percent: []int{0, 10, 50, 90, 100}[r.IntN(5)]}
		o.mark, _ = os.ReadFile(filepath.Join(dir, "acknowledged")) // absent, whole or torn: all may happen
		for w := range acked {
			o.acked[w] = acked[w].Load()
		}
		o.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: o.percent, RNG: rand.New(rand.NewPCG(r.Uint64(), 2))})
		outages = append(outages, o)
	}
	close(stop)
	writers.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for i, o := range outages {
		o.restart(t, dir, fmt.Sprintf("outage %d of this round, %d %% of what was not synced kept", i, o.percent))
	}
	return cuts
}

// valueOf is what writer w stores as its nth value: 16 bytes to 3 KiB, some beside the tables and some in them.
func valueOf(w int, n uint64) []byte {
	r := rand.New(rand.NewPCG(uint64(w), n))
	size := 16 + r.IntN(3<<10)
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.BigEndian.AppendUint64(b, r.Uint64())
	}
	return b[:size]
}

func writerKey(w int) []byte { return fmt.Appendf(nil, "writer/%d", w) }

func valueKey(w int, n uint64) []byte { return fmt.Appendf(nil, "value/%d/%d", w, n) }

// write stores one value after the other, each with the number of the last, until told to stop.
func write(t *testing.T, j *journal.Journal, w int, lane journal.Lane, acked *atomic.Uint64, stop <-chan struct{}) {
	for n := uint64(1); ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		err := j.Submit(context.Background(), lane, func(tx journal.Tx) error {
			tx.Put(valueKey(w, n), valueOf(w, n))
			tx.Put(writerKey(w), binary.BigEndian.AppendUint64(nil, n))
			return nil
		})
		if err != nil {
			t.Error(err)
			return
		}
		acked.Store(n)
	}
}

// restart opens what the power loss left, looks for everything that was acknowledged, and commits again.
func (o *outage) restart(t *testing.T, dir, what string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "acknowledged")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if o.mark != nil {
		if err := os.WriteFile(filepath.Join(dir, "acknowledged"), o.mark, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, err := journal.Open(dir, journal.Options{FS: o.disk, Ballast: -1})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer j.Close()
	for w, acked := range o.acked {
		var last uint64
		if v, ok, err := j.Get(writerKey(w)); err != nil {
			t.Fatalf("%s: %v", what, err)
		} else if ok {
			last = binary.BigEndian.Uint64(v)
		}
		if last < acked {
			t.Fatalf("%s: writer %d: %d acknowledged, %d there", what, w, acked, last)
		}
		for n := uint64(1); n <= last+1; n++ {
			v, ok, err := j.Get(valueKey(w, n))
			if err != nil {
				t.Fatalf("%s: writer %d, value %d: %v", what, w, n, err)
			}
			if want := n <= last; ok != want || (want && !bytes.Equal(v, valueOf(w, n))) {
				t.Fatalf("%s: writer %d, value %d of %d: there %v, want %v, and unchanged", what, w, n, last, ok, want)
			}
		}
	}
	if err := j.Submit(context.Background(), journal.Commands, put("after", "the outage")); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
