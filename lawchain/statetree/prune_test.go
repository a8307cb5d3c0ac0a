package statetree

import (
	"context"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// stored returns how many bytes the pages, documents and lists have.
func (w *world) stored() (sum int64) {
	w.t.Helper()
	for _, prefix := range [][]byte{pagePrefix, documentPrefix, replacedPrefix} {
		must(w.t, w.j.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
			sum += int64(len(k) + len(v))
			return true, nil
		}))
	}
	return sum
}

// However long and however much changes, what is kept is less than the bound, is counted exactly, and every root that is
// left is proved whole; those left are the closer together the younger they are.
func TestKeptBytesAreBounded(t *testing.T) {
	r, dir := random(t), t.TempDir()
	const twins, bound = 60, 256 << 10
	w := open(t, dir)
	defer func() { w.close() }()
	w.tree.o.MaxBytes, w.tree.o.Window = bound, 1000*time.Hour
	w.define(0, twins)
	docs := map[uint64]past{}
	written, thinned, most := int64(0), false, int64(0)
	for i := range 150 {
		w.submit(func(tx journal.Tx) error {
			for range 12 {
				if err := w.report(tx, r.IntN(twins), i); err != nil {
					return err
				}
			}
			return nil
		})
		w.pass(5 * time.Second)
		root, all := w.update()
		docs[uint64(root.Receipt)] = past{root, all}
		written += int64(w.tree.Stats().Bytes)
		before := len(w.tree.roots)
		must(t, w.tree.Prune(context.Background()))
		thinned = thinned || len(w.tree.roots) < before
		kept := w.tree.Stats().Kept
		most = max(most, kept)
		if kept > bound {
			t.Fatalf("%d bytes are kept after root %d", kept, i)
		}
		if i == 80 { // a restart
			w.close()
			w = open(t, dir)
			w.tree.o.MaxBytes, w.tree.o.Window = bound, 1000*time.Hour
			if again := w.tree.Stats().Kept; again != kept {
				t.Fatalf("%d bytes are kept, %d after a restart", kept, again)
			}
		}
		if i%25 != 24 {
			continue
		}
		if stored := w.stored(); stored != kept {
			t.Fatalf("%d bytes are counted, %d are stored", kept, stored)
		}
		if stray, _ := w.stray(); len(stray) > 0 {
			t.Fatalf("%d records are needed by nothing: %s", len(stray), stray[0])
		}
	}
	t.Logf("%d bytes written, at most %d kept, %d of 150 roots left", written, most, len(w.tree.roots))
	if !thinned || written < 4*bound || len(w.tree.roots) < 5 {
		t.Fatal("the bound was hardly felt")
	}
	for _, root := range w.tree.roots {
		p := docs[root.receipt]
		w.proves(p.root, p.docs, root.receipt+1)
	}
	first, last := w.tree.roots[0], w.tree.roots[len(w.tree.roots)-1]
	if _, _, err := w.tree.Prove("twin/line-1", first.receipt); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("below the oldest root: %v", err)
	}
	if w.clock().UnixMicro()-last.time > int64(time.Minute/time.Microsecond) {
		t.Error("the newest root is gone")
	}
}

// A crash while roots are given up leaves every root that is left provable, and what is left over is bounded.
func TestCrashWhileThinning(t *testing.T) {
	r := random(t)
	w := open(t, t.TempDir())
	defer w.close()
	const twins = 40
	w.define(0, twins)
	docs := map[uint64]past{}
	for range 20 {
		w.live(r, twins, 4)
		root, all := w.update()
		docs[uint64(root.Receipt)] = past{root, all}
	}
	w.tree.o.MaxBytes = w.tree.Stats().Kept / 3
	for n := 0; w.tree.Stats().Kept > w.tree.o.MaxBytes; n++ {
		left := 1 + r.IntN(3)
		ctx, cancel := context.WithCancel(context.Background())
		w.fail = func(point string) {
			if point == "applied" {
				if left--; left == 0 {
					cancel() // what is under way is committed, and nothing after it
				}
			}
		}
		_ = w.tree.Prune(ctx)
		w.fail = nil
		cancel()
		for _, root := range w.tree.roots {
			p := docs[root.receipt]
			w.proves(p.root, p.docs, root.receipt+1)
		}
		if stored := w.stored(); stored != w.tree.Stats().Kept {
			t.Fatalf("%d bytes are counted, %d are stored", w.tree.Stats().Kept, stored)
		}
		if n > 1000 {
			t.Fatal("it does not end")
		}
	}
}

// A clock that was wrong for one root, in either direction, neither keeps the roots after it for ever nor gives up those
// before it.
func TestPruneAfterTheClockWasWrong(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for _, wrong := range []time.Duration{years, -years} {
		r := random(t)
		w := open(t, t.TempDir())
		w.define(0, 40)
		least := 100
		for i := range 30 {
			w.pass(10 * time.Minute)
			w.live(r, 40, 3)
			if i == 10 {
				w.pass(wrong)
				w.update()
				w.pass(-wrong)
			} else {
				w.update()
			}
			must(t, w.tree.Prune(context.Background()))
			if n := len(w.tree.roots); i > 6 {
				least = min(least, n)
			}
		}
		if n := len(w.tree.roots); n > 8 || least < 5 {
			t.Errorf("by %s: %d roots are kept at the end and %d at least, the window of an hour has 6", wrong, n, least)
		}
		w.close()
	}
}
