package tiles_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

func TestMain(m *testing.M) { logs.Main(m) }

// readLog recomputes the root from the published objects alone, as a stranger would.
func readLog(t *testing.T, b bucket.Bucket) (size uint64) {
	t.Helper()
	v := logs.Notes.Verifier
	ctx := t.Context()
	raw, err := b.Get(ctx, tiles.Checkpoint, tiles.MaxCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	cp, _, _, err := log.ParseCheckpoint(raw, logs.Origin, v)
	if err != nil {
		t.Fatal(err)
	}
	check := func(tile tiles.Tile, want []byte) error {
		have, err := b.Get(ctx, tile.Path(), 1<<20)
		if err == nil && string(have) != string(want) {
			err = fmt.Errorf("%s holds other hashes than the tree", tile.Path())
		}
		return err
	}
	tree := tiles.NewBuilder(check)
	for n := uint64(0); ; n++ {
		tile, ok := tiles.Of(true, 0, n, cp.Size)
		if !ok {
			break
		}
		raw, err := b.Get(ctx, tile.Path(), tiles.MaxBundle)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := tiles.Entries(raw, tile.Width)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if err := tree.Append(receipt.LeafHash(e)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tree.Partial(check); err != nil {
		t.Fatal(err)
	}
	if root := tree.Root(); tree.Size() != cp.Size || root != vaultmesh.Digest(cp.Hash) {
		t.Fatalf("the published tree of %d receipts has the root %v, its checkpoint says %d and %x", tree.Size(), root, cp.Size, cp.Hash)
	}
	return cp.Size
}

func names(t *testing.T, b bucket.Bucket) (all []string) {
	t.Helper()
	err := b.List(t.Context(), "", func(o bucket.Object) (bool, error) { all = append(all, o.Name); return true, nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every publication is complete; a restart resumes where the bucket ends; partial tiles go after the grace and not
// before it.
func TestPublish(t *testing.T) {
	for _, address := range []string{t.TempDir(), "mem://"} {
		t.Run(address[:3], func(t *testing.T) {
			l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, address)
			defer l.Close(t)
			p := tiles.New(tiles.Options{Log: l.Log, Bucket: b, Grace: time.Hour})
			if err := p.Publish(t.Context()); err != nil {
				t.Fatalf("an empty log: %v", err)
			}
			total := uint64(0)
			for _, n := range []int{1, 3, 252, 1, 300, 1, 255} {
				l.Grow(t, n)
				total += uint64(n)
				if total%2 == 0 {
					p = tiles.New(tiles.Options{Log: l.Log, Bucket: b, Grace: time.Hour})
				}
				if err := p.Publish(t.Context()); err != nil {
					t.Fatal(err)
				}
				if size := readLog(t, b); size != total || p.Published() != total {
					t.Fatalf("%d receipts are published, %d by its own count, want %d", size, p.Published(), total)
				}
			}
			partials := func() (superseded, needed int) {
				for _, name := range names(t, b) {
					tile, ok := tiles.ParsePath(name)
					if name != tiles.Checkpoint && !ok {
						t.Errorf("%s is not a name of tlog-tiles", name)
					}
					if ok && tile.Width < tiles.Width {
						if (tile.N+1)*tiles.Width <= total>>(8*tile.Level) {
							superseded++
						} else {
							needed++
						}
					}
				}
				return superseded, needed
			}
			before, needed := partials()
			if before == 0 || needed == 0 {
				t.Fatalf("%d superseded and %d needed partial tiles: the test shows nothing", before, needed)
			}
			now := time.Now()
			if n, err := p.Collect(t.Context(), now); err != nil || n != 0 {
				t.Fatalf("within the grace %d partial tiles are deleted: %v", n, err)
			}
			if n, err := p.Collect(t.Context(), now.Add(2*time.Hour)); err != nil || n != before {
				t.Fatalf("%d of %d superseded tiles are deleted: %v", n, before, err)
			}
			if after, still := partials(); after != 0 || still != needed {
				t.Fatalf("%d superseded tiles are left, %d of %d needed ones", after, still, needed)
			}
			if size := readLog(t, b); size != total {
				t.Fatal(size)
			}
			// What grows and becomes full in one process is collected without another listing.
			l.Grow(t, 300)
			if err := p.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n, err := p.Collect(t.Context(), time.Now().Add(2*time.Hour)); err != nil || n < 2 {
				t.Fatalf("%d partial tiles are deleted: %v", n, err)
			}
		})
	}
}

// A bucket that the log does not extend is refused, and nothing in it is changed.
func TestRefusedBucket(t *testing.T) {
	dir := t.TempDir()
	b := logs.Bucket(t, "file://"+dir)
	l := logs.Open(t, t.TempDir())
	l.Grow(t, 10)
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Close(t)
	published, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	for name, prepare := range map[string]func(t *testing.T, l *logs.Log){
		"empty":   func(*testing.T, *logs.Log) {},
		"shorter": func(t *testing.T, l *logs.Log) { l.Grow(t, 4) },
		"forked":  func(t *testing.T, l *logs.Log) { l.Put(t, logs.Draft(1)); l.Grow(t, 12) },
	} {
		t.Run(name, func(t *testing.T) {
			l := logs.Open(t, t.TempDir())
			defer l.Close(t)
			prepare(t, l)
			p := tiles.New(tiles.Options{Log: l.Log, Bucket: b})
			for _, f := range []func(context.Context) error{p.Check, p.Publish} {
				if err := f(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
					t.Fatalf("a log that is %s is accepted: %v", name, err)
				}
			}
			if now, err := os.ReadFile(filepath.Join(dir, "checkpoint")); err != nil || string(now) != string(published) {
				t.Fatalf("the checkpoint was changed: %v", err)
			}
		})
	}
	for name, text := range map[string]string{"no checkpoint at all": "hello\n", "another log": "other.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— x AAAA\n"} {
		t.Run(name, func(t *testing.T) {
			l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
			defer l.Close(t)
			l.Grow(t, 3)
			if err := b.Replace(t.Context(), tiles.Checkpoint, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
				t.Fatalf("it is accepted: %v", err)
			}
		})
	}
}

// Two writers of one bucket, a node and its copy, find each other out before anything is overwritten.
func TestSecondWriter(t *testing.T) {
	b := logs.Bucket(t, "mem://")
	first, second := logs.Open(t, t.TempDir()), logs.Open(t, t.TempDir())
	defer first.Close(t)
	defer second.Close(t)
	first.Grow(t, 5)
	second.Grow(t, 5)
	p, q := tiles.New(tiles.Options{Log: first.Log, Bucket: b}), tiles.New(tiles.Options{Log: second.Log, Bucket: b})
	for _, x := range []*tiles.Publisher{p, q} { // the same tree so far
		if err := x.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first.Grow(t, 1)
	second.Put(t, logs.Draft(99))
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("the fork is published: %v", err)
	}
	if size := readLog(t, b); size != 6 {
		t.Fatal(size)
	}
}

// Wherever a publication is cut short, what the bucket's checkpoint needs is there, and the next process completes it.
func TestCutShort(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	l := logs.Open(t, t.TempDir())
	defer l.Close(t)
	b := logs.Bucket(t, t.TempDir())
	l.Grow(t, 250)
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	published := uint64(250)
	for round := range 40 {
		l.Grow(t, 1+rng.IntN(300))
		broken := &logs.Breaking{Bucket: b, Left: 1 + round%8, After: round%2 == 0}
		err := tiles.New(tiles.Options{Log: l.Log, Bucket: broken, Parallel: 1}).Publish(t.Context())
		if err != nil && !errors.Is(err, logs.ErrBroken) {
			t.Fatal(err)
		}
		if size := readLog(t, b); size < published {
			t.Fatalf("round %d: %d receipts are published, %d were", round, size, published)
		} else if published = size; err == nil && size != l.Checkpoint().Size {
			t.Fatalf("round %d: a publication without an error ends at %d of %d", round, size, l.Checkpoint().Size)
		}
	}
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size := readLog(t, b); size != l.Checkpoint().Size {
		t.Fatal(size)
	}
}

// A tile that says something else than the journal is an alarm, not something to overwrite.
func TestTileWithOtherBytes(t *testing.T) {
	l, b := logs.Open(t, t.TempDir()), logs.Bucket(t, "mem://")
	defer l.Close(t)
	l.Grow(t, 3)
	if err := b.Replace(t.Context(), "tile/0/000.p/3", make([]byte, 96)); err != nil {
		t.Fatal(err)
	}
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()); err == nil || vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("it is accepted: %v", err)
	}
	if _, err := b.Get(t.Context(), tiles.Checkpoint, 1000); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Fatalf("a checkpoint was published: %v", err)
	}
}

// Run goes on through failures, and publishes the end when the node stops.
func TestRun(t *testing.T) {
	l := logs.Open(t, t.TempDir())
	defer l.Close(t)
	dir := filepath.Join(t.TempDir(), "blocked")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in the place of the folder: nothing can be written
		t.Fatal(err)
	}
	b := logs.Bucket(t, dir)
	p := tiles.New(tiles.Options{Log: l.Log, Bucket: b, Interval: time.Millisecond})
	l.Grow(t, 3)
	if err := p.Publish(t.Context()); err == nil {
		t.Fatal("nothing can be written there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	l.Grow(t, 2)
	cancel()
	<-ended
	if size := readLog(t, b); size != 5 {
		t.Fatalf("%d receipts are published at the end", size)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/0/000.p/5")); errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
