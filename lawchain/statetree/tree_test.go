package statetree

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

func random(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

type past struct {
	root Root
	docs map[string][]byte
}

// Every root is that of the definition over what the public readers show, and every key can be proved at every one of
// them, also after a restart.
func TestRootsAndProofs(t *testing.T) {
	r, dir := random(t), t.TempDir()
	w := open(t, dir)
	w.define(0, 60)
	var all []past
	for range 8 {
		w.live(r, 60, 5)
		root, docs := w.update()
		all = append(all, past{root, docs})
	}
	w.define(60, 75)
	root, docs := w.update()
	all = append(all, past{root, docs})
	check := func() {
		t.Helper()
		for i, p := range all {
			w.proves(p.root, p.docs, uint64(p.root.Receipt)+1)
			if i+1 < len(all) { // any size up to the next root's receipt
				w.proves(p.root, p.docs, uint64(all[i+1].root.Receipt))
			} else {
				w.proves(p.root, p.docs, 0)
			}
		}
	}
	check()
	if _, _, err := w.tree.Prove("twin/line-1", uint64(all[0].root.Receipt)); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("before the first root: %v", err)
	}
	if _, _, err := w.tree.Prove("tween/x", 0); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a malformed key: %v", err)
	}
	w.close()

	now := w.clock()
	w = open(t, dir)
	defer w.close()
	w.pass(now.Sub(start))
	check()
	w.live(r, 75, 1)
	root, docs = w.update()
	if s := w.tree.Stats(); s.Changed > 10 {
		t.Errorf("%d keys were written after a restart", s.Changed)
	}
	all = append(all, past{root, docs})
	check()
	if stray, needed := w.stray(); len(stray) > 0 || needed == 0 {
		t.Errorf("%d of %d records are needed by nothing", len(stray), needed)
	}
}

// Other models at a start make every document anew, though no twin has another version.
func TestOtherModels(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	w.define(0, 30)
	w.update()
	w.submit(func(tx journal.Tx) error { return w.report(tx, 1, 1) })
	w.update()
	o := w.tree.o
	o.Models = vaultmesh.Sum([]byte("other models"))
	var err error
	w.tree, err = Open(o)
	must(t, err)
	root, docs := w.update()
	if n := w.tree.Stats().Changed; n < 30 {
		t.Errorf("only %d documents were made anew", n)
	}
	w.proves(root, docs, 0)
	if stray, _ := w.stray(); len(stray) > 0 {
		t.Errorf("%d records are needed by nothing", len(stray))
	}
	w.close()
}

// A log that grew by roots and anchors alone gets no new root.
func TestNothingChanged(t *testing.T) {
	w := open(t, t.TempDir())
	defer w.close()
	if changed, err := w.tree.Update(context.Background()); changed || err != nil {
		t.Fatalf("an empty log: %v %v", changed, err)
	}
	if _, _, err := w.tree.Prove("twin/a", 0); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("no root yet: %v", err)
	}
	w.define(0, 3)
	w.update()
	for range 3 {
		if changed, err := w.tree.Update(context.Background()); changed || err != nil {
			t.Fatalf("%v %v", changed, err)
		}
		w.submit(func(tx journal.Tx) error { return w.note(tx, receipt.AnchorVerified, "anchor/rfc3161") })
	}
	w.submit(func(tx journal.Tx) error { return w.note(tx, receipt.HaltSet, "halt/test") })
	_, docs := w.update()
	if docs["subject/anchor/rfc3161"] == nil || docs["subject/state/test"] == nil {
		t.Error("the heads of anchors and roots are missing")
	}
}

// Keys in many parts, and a tree made in one go and bit by bit, have the same root.
func TestParts(t *testing.T) {
	r := random(t)
	w := open(t, t.TempDir())
	defer w.close()
	w.tree.part = 16
	w.define(0, 300)
	w.update()
	w.live(r, 300, 100)
	w.update()
	w.tree.snap = nil
	w.live(r, 300, 100)
	root, docs := w.update()
	w.proves(root, docs, 0)
	if stray, _ := w.stray(); len(stray) > 0 {
		t.Errorf("%d records are needed by nothing", len(stray))
	}
}

// More subjects than the log remembers between two roots are all found.
func TestManySubjects(t *testing.T) {
	if testing.Short() {
		t.Skip("70,000 receipts")
	}
	w := open(t, t.TempDir())
	defer w.close()
	w.define(0, 3)
	w.update()
	for i := 0; i < 70_000; i += 1000 {
		w.submit(func(tx journal.Tx) error {
			for k := i; k < i+1000; k++ {
				if err := w.note(tx, receipt.CapabilityRevoked, fmt.Sprintf("capability/%d", k)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.update()
	w.submit(func(tx journal.Tx) error { return w.note(tx, receipt.CapabilityRevoked, "capability/7") })
	w.update()
}

// Roots older than the window are given up with all that only they needed; the newest is kept however old it is.
func TestPrune(t *testing.T) {
	r, dir := random(t), t.TempDir()
	w := open(t, dir)
	w.define(0, 40)
	var all []past
	for range 10 {
		w.live(r, 40, 3)
		root, docs := w.update()
		all = append(all, past{root, docs})
		w.pass(10 * time.Minute)
	}
	must(t, w.tree.Prune(context.Background()))
	if n := len(w.tree.roots); n != 5 {
		t.Fatalf("%d roots are left of the last hour", n)
	}
	for i, p := range all {
		if i < 5 {
			if _, _, err := w.tree.Prove("twin/line-1", uint64(p.root.Receipt)+1); vaultmesh.KindOf(err) != vaultmesh.NotFound || !strings.Contains(err.Error(), "1h") {
				t.Errorf("root %d: %v", i, err)
			}
			continue
		}
		w.proves(p.root, p.docs, uint64(p.root.Receipt)+1)
	}
	if stray, _ := w.stray(); len(stray) > 0 {
		t.Errorf("%d records are needed by nothing: %s", len(stray), stray[0])
	}
	w.pass(100 * time.Hour)
	must(t, w.tree.Prune(context.Background()))
	last := all[len(all)-1]
	w.proves(last.root, last.docs, 0)
	if stray, needed := w.stray(); len(stray) > 0 || len(w.tree.roots) != 1 {
		t.Errorf("%d of %d records are needed by nothing; %d roots", len(stray), needed, len(w.tree.roots))
	}
	w.close()
	w = open(t, dir)
	defer w.close()
	w.proves(last.root, last.docs, 0)
	w.live(r, 40, 3)
	w.update()
}

// A crash at any point of an update leaves the old root in force, or the new one, and the next update makes the right one
// and removes what was left half done.
func TestCrashAtEveryPoint(t *testing.T) {
	r, dir := random(t), t.TempDir()
	w := open(t, dir)
	w.tree.part = 64 // more operations, more points
	w.define(0, 150)
	first, docs := w.update()
	for range 3 {
		w.submit(func(tx journal.Tx) error {
			for i := range 150 {
				if err := w.report(tx, i, r.IntN(1000)); err != nil {
					return err
				}
			}
			return nil
		})
		w.pass(time.Second)
	}
	after := w.documents()
	var crashes []string
	var mu sync.Mutex
	w.fail = func(point string) {
		mu.Lock()
		defer mu.Unlock()
		copied := filepath.Join(t.TempDir(), fmt.Sprintf("%d-%s", len(crashes), point))
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Error(err)
		}
		crashes = append(crashes, copied)
	}
	now := w.clock()
	second, _ := w.update()
	w.fail = nil
	w.close()
	if len(crashes) < 12 {
		t.Fatalf("only %d points", len(crashes))
	}
	olds := 0
	for _, dir := range crashes {
		w := open(t, dir)
		w.pass(now.Sub(start))
		root, ok := w.tree.Newest()
		switch {
		case ok && root == first:
			olds++
			w.proves(first, docs, 0)
			if got, _ := w.update(); got.Hash != second.Hash {
				t.Errorf("%s: another root", dir)
			}
		case ok && root.Hash == second.Hash:
		default:
			t.Fatalf("%s: root %+v", dir, root)
		}
		root, _ = w.tree.Newest()
		w.proves(root, after, 0)
		w.proves(first, docs, uint64(first.Receipt)+1)
		if stray, _ := w.stray(); len(stray) > 0 {
			t.Errorf("%s: %d records are needed by nothing", dir, len(stray))
		}
		w.close()
	}
	if olds < 5 || olds == len(crashes) {
		t.Errorf("%d of %d points came before the new root", olds, len(crashes))
	}
}

// An update that fails half way leaves the root in force; the next one makes it good in the same process.
func TestFailedUpdate(t *testing.T) {
	r := random(t)
	w := open(t, t.TempDir())
	defer w.close()
	w.define(0, 300)
	first, docs := w.update()
	for stop := range 9 {
		w.live(r, 300, 20)
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		w.fail = func(point string) {
			if point == "synced" {
				if n++; n > stop {
					cancel()
				}
			}
		}
		_, err := w.tree.Update(ctx)
		w.fail = nil
		cancel()
		if root, _ := w.tree.Newest(); err != nil && root != first {
			t.Fatalf("%v, and the root changed", err)
		}
		w.proves(first, docs, uint64(first.Receipt)+1)
		w.live(r, 300, 1)
		first, docs = w.update()
		if stray, _ := w.stray(); len(stray) > 0 {
			t.Fatalf("%d records are needed by nothing", len(stray))
		}
	}
}

// A damaged tree is never proved from, and is built anew by Run.
func TestDamage(t *testing.T) {
	r := random(t)
	w := open(t, t.TempDir())
	defer w.close()
	w.define(0, 50)
	root, _ := w.update()
	must(t, w.j.Scan(pagePrefix, after(pagePrefix), func(k, v []byte) (bool, error) {
		bad := append([]byte(nil), v...)
		bad[len(bad)-1] ^= 1
		key := append([]byte(nil), k...)
		w.submit(func(tx journal.Tx) error { tx.Put(key, bad); return nil })
		return true, nil
	}))
	p, _, err := w.tree.Prove("twin/line-1", 0)
	if vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("%v %+v", err, p)
	}
	must(t, w.j.Scan(pagePrefix, after(pagePrefix), func(k, _ []byte) (bool, error) {
		key := append([]byte(nil), k...)
		w.submit(func(tx journal.Tx) error { tx.Delete(key); return nil })
		return true, nil
	}))
	w.submit(func(tx journal.Tx) error { return w.report(tx, r.IntN(50), 1) })
	docs := w.documents()
	w.tree.o.Interval = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.tree.Run(ctx) }()
	for {
		if now, ok := w.tree.Newest(); ok && now.Receipt > root.Receipt {
			root = now
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("no root")
		}
	}
	cancel()
	<-done
	if root.Hash != naive(docs) {
		t.Error("the tree that was built anew is wrong")
	}
	w.proves(root, docs, 0)
	if stray, _ := w.stray(); len(stray) > 0 {
		t.Errorf("%d records are needed by nothing", len(stray))
	}
}

// Roots made while others commit are of one commit: a twin's version is the number of its receipts in every root.
func TestConsistentCut(t *testing.T) {
	const twins = 20
	w := open(t, t.TempDir())
	defer w.close()
	w.define(0, twins)
	stop := make(chan struct{})
	var done sync.WaitGroup
	for lane := range 2 {
		done.Add(1)
		go func() {
			defer done.Done()
			r := rand.New(rand.NewPCG(uint64(lane), 1))
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := r.IntN(twins/2)*2 + lane
				_ = w.j.Submit(context.Background(), journal.Lane(lane), func(tx journal.Tx) error { return w.report(tx, i, n) })
			}
		}()
	}
	roots := 0
	for range 40 {
		if changed, err := w.tree.Update(context.Background()); err != nil {
			t.Error(err)
			break
		} else if !changed {
			continue
		}
		root, _ := w.tree.Newest()
		roots++
		for i := range twins {
			p, _, err := w.tree.Prove(state.TwinKey(lineID(i)), 0)
			must(t, err)
			tw, err := state.OpenTwin(p.Document)
			must(t, err)
			q, _, err := w.tree.Prove(state.SubjectKey("node/"+string(lineID(i))), 0)
			must(t, err)
			var s state.Subject
			if q.Present() {
				s, err = state.OpenSubject(q.Document)
				must(t, err)
			}
			if tw.Version != s.Count || uint64(s.Index) >= root.Size {
				t.Fatalf("root of size %d: %s has version %d and %d receipts, the last at %d", root.Size, tw.ID, tw.Version, s.Count, s.Index)
			}
		}
	}
	close(stop)
	done.Wait()
	if roots < 10 {
		t.Errorf("only %d roots", roots)
	}
	w.update()
}

func FuzzDecodePage(f *testing.F) {
	pg := &page{}
	pg[3] = child{kind: aLeaf, version: 7, leaf: state.Leaf{Path: state.Path("twin/a")}}
	f.Add(pg.encode())
	pg[15] = child{kind: aPage, version: 1 << 60}
	f.Add(pg.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		pg, err := decodePage(b)
		if err != nil {
			if vaultmesh.KindOf(err) != vaultmesh.Corrupt {
				t.Fatal(err)
			}
			return
		}
		if string(pg.encode()) != string(b) {
			t.Fatal("two texts of one page")
		}
		_, _, _ = replacedKeys(b, 0)
	})
}
