package statetree

import (
	"context"
	"flag"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/proof/state"
)

var (
	benchTwins   = flag.Int("twins", 10_000, "twins of BenchmarkUpdate")
	benchBound   = flag.Int64("bound", 64<<20, "bytes that BenchmarkUpdate keeps at most")
	benchChanged = flag.Int("changed", 1000, "twins that change between two roots of BenchmarkUpdate")
)

// BenchmarkUpdate makes a tree over many twins, each with the subject of its definition, then one root after another for
// a thousand twins that changed.
func BenchmarkUpdate(b *testing.B) {
	w := open(b, b.TempDir())
	defer w.close()
	w.tree.o.MaxBytes, w.tree.o.Window = *benchBound, 1000*time.Hour
	w.define(0, *benchTwins)
	for i := 0; i < *benchTwins; i += 1000 {
		w.submit(func(tx journal.Tx) error {
			for k := i; k < min(i+1000, *benchTwins); k++ {
				if err := w.report(tx, k, k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	heap, disk := heapSize(), diskSize(b, w.dir)
	begin := time.Now()
	if _, err := w.tree.Update(context.Background()); err != nil {
		b.Fatal(err)
	}
	first, firstTook := w.tree.Stats(), time.Since(begin)
	heap, disk = heapSize()-heap, diskSize(b, w.dir)-disk
	r := rand.New(rand.NewPCG(1, 1))
	n, bytes, pages := 0, 0, 0
	var spent, worst, pruning time.Duration
	kept := int64(0)
	for b.Loop() {
		w.pass(5 * time.Second)
		w.submit(func(tx journal.Tx) error {
			for range *benchChanged {
				if err := w.report(tx, r.IntN(*benchTwins), n); err != nil {
					return err
				}
			}
			return nil
		})
		if changed, err := w.tree.Update(context.Background()); err != nil || !changed {
			b.Fatal(changed, err)
		}
		s := w.tree.Stats()
		n++
		begin := time.Now()
		if err := w.tree.Prune(context.Background()); err != nil {
			b.Fatal(err)
		}
		pruning, kept = pruning+time.Since(begin), max(kept, w.tree.Stats().Kept)
		spent, worst, bytes, pages = spent+s.Duration, max(worst, s.Duration), bytes+s.Bytes, pages+s.Pages
	}
	b.ReportMetric(firstTook.Seconds(), "s/first-root")
	b.ReportMetric(float64(first.Bytes)/float64(*benchTwins), "stored-B/twin")
	b.ReportMetric(float64(int64(heap))/float64(*benchTwins), "heap-B/twin")
	b.ReportMetric(float64(disk)/float64(*benchTwins), "disk-B/twin")
	b.ReportMetric(float64(spent.Milliseconds())/float64(n), "ms/root")
	b.ReportMetric(float64(worst.Milliseconds()), "ms-worst")
	b.ReportMetric(float64(bytes)/float64(n), "B/root")
	b.ReportMetric(float64(kept), "B-kept-at-most")
	b.ReportMetric(float64(len(w.tree.kept())), "roots-left")
	b.ReportMetric(float64(pruning.Microseconds())/float64(n)/1000, "ms-prune/root")
	b.ReportMetric(float64(pages)/float64(n), "pages/root")
	begin = time.Now()
	const proofs = 1000
	size := 0
	for range proofs {
		p, _, err := w.tree.Prove(state.TwinKey(lineID(r.IntN(*benchTwins))), 0)
		if err != nil {
			b.Fatal(err)
		}
		size = len(p.Encode())
	}
	b.ReportMetric(float64(time.Since(begin).Microseconds())/proofs, "us/proof")
	b.ReportMetric(float64(size), "B/proof")
	begin = time.Now()
	again, err := Open(w.tree.o)
	if err != nil {
		b.Fatal(err)
	}
	w.submit(func(tx journal.Tx) error { return w.report(tx, 0, n) })
	if _, err := again.Update(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/resume")
}

func heapSize() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func diskSize(b *testing.B, dir string) int64 {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if i, err := d.Info(); err == nil {
				sum += i.Size()
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return sum
}
