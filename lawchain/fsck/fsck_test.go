package fsck_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/test/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options pins both keys of the sample log.
func options(t testing.TB) fsck.Options {
	t.Helper()
	pins, err := fsck.PinTrust(logs.Trust())
	if err != nil {
		t.Fatal(err)
	}
	return fsck.Options{Pins: pins, Now: logs.Start.Add(24 * time.Hour)}
}

// publish makes a log by the drafts, published at each size, and returns the folder.
func publish(t testing.TB, sizes ...int) string {
	t.Helper()
	dir := t.TempDir()
	l := logs.Open(t, t.TempDir())
	defer l.Close(t)
	p := tiles.New(tiles.Options{Log: l.Log, Bucket: logs.Bucket(t, dir)})
	for _, n := range sizes {
		l.Grow(t, n)
		if err := p.Publish(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// check judges a folder within a bound: a check that hangs is a failure.
func check(t testing.TB, b bucket.Bucket, o fsck.Options) *fsck.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := fsck.Published(ctx, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func want(t testing.TB, r *fsck.Report, v fsck.Verdict, says string) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != v || !strings.Contains(string(text), says) {
		t.Fatalf("want %s with %q:\n%s", v, says, text)
	}
}

func TestSound(t *testing.T) {
	dir := publish(t, 1, 250, 270, 100)
	var done uint64
	o := options(t)
	o.Progress = func(n, total uint64) {
		if n <= done || total != 621 {
			t.Errorf("progress %d of %d after %d", n, total, done)
		}
		done = n
	}
	r := check(t, logs.Bucket(t, dir), o)
	want(t, r, fsck.Sound, "")
	if r.Receipts != 621 || r.Size != 621 || r.Subjects != 8 || r.Signed != 497 || done != 621 || r.Status() != 0 || r.Origin != logs.Origin {
		t.Fatalf("%+v", r)
	}
	for _, c := range r.Checks {
		if !c.OK {
			t.Errorf("%+v", c)
		}
	}
	pins, err := fsck.PinLogKey(logs.Notes.Text)
	if err != nil {
		t.Fatal(err)
	}
	r = check(t, logs.Bucket(t, dir), fsck.Options{Pins: pins, Now: o.Now})
	want(t, r, fsck.Sound, "no receipt key is pinned")
	if _, err := fsck.Published(t.Context(), logs.Bucket(t, dir), fsck.Options{}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Fatalf("without any pin there is a verdict: %v", err)
	}
	o.Pins.Keys = slices.Clone(o.Pins.Keys)
	o.Pins.Keys[0].Public = logs.Receipts.Pub()
	want(t, check(t, logs.Bucket(t, dir), o), fsck.Damaged, "no key that counts")
}

// snapshot is a published log in memory.
func snapshot(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil {
			files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// memory is a bucket over a map.
type memory struct {
	bucket.Bucket
	files map[string][]byte
}

func (m memory) String() string { return "memory" }

func (m memory) Get(_ context.Context, name string, limit int64) ([]byte, error) {
	b, ok := m.files[name]
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "get", name, "no such object")
	}
	if int64(len(b)) > limit {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "get", name, "too large")
	}
	return b, nil
}

func (m memory) List(_ context.Context, prefix string, fn func(bucket.Object) (bool, error)) error {
	for name, b := range m.files {
		if strings.HasPrefix(name, prefix) {
			if more, err := fn(bucket.Object{Name: name, Size: int64(len(b))}); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// superseded are the partial tiles that a full one has replaced: nobody needs them.
func superseded(name string, size uint64) bool {
	t, ok := tiles.ParsePath(name)
	return ok && t.Width < tiles.Width && (t.N+1)*tiles.Width <= size>>(8*t.Level)
}

// Any byte of any file: a change is found, unless nobody needs the file. So is a file that is gone, cut or longer.
func TestEveryByte(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := publish(t, 2, 255, 3)
	good := snapshot(t, dir)
	o := options(t)
	want(t, check(t, memory{files: good}, o), fsck.Sound, "")
	flips, harmless := 0, 0
	try := func(name string, data []byte, what string) {
		files := maps.Clone(good)
		if files[name] = data; data == nil {
			delete(files, name)
		}
		r := check(t, memory{files: files}, o)
		if superseded(name, 260) {
			if harmless++; r.Verdict != fsck.Sound {
				t.Errorf("%s of %s, which nobody needs: %s", what, name, r.Verdict)
			}
			return
		}
		partial, _ := tiles.ParsePath(name)
		gone := data == nil && partial.Width < 4 && partial.N == 1 // a partial tile of an earlier checkpoint may be absent
		if flips++; r.Verdict != fsck.Damaged && !gone {
			t.Errorf("%s of %s: %s %+v", what, name, r.Verdict, r.Notes)
		}
	}
	// Base64 at the end of a signature line has bits that decoding ignores: a reader must not.
	signed := bytes.Clone(good[tiles.Checkpoint])
	signed[len(signed)-3]++ // before "=" and the end of the line
	try(tiles.Checkpoint, signed, "another spelling of the signature")
	for name, data := range good {
		try(name, nil, "the absence")
		try(name, data[:len(data)-1], "the lack of the last byte")
		try(name, append(bytes.Clone(data), 0), "one more byte at the end")
		for range min(len(data), 12) {
			i := rng.IntN(len(data))
			b := bytes.Clone(data)
			b[i] ^= 1 << rng.IntN(8)
			try(name, b, fmt.Sprintf("a change of byte %d", i))
		}
	}
	if flips < 60 || harmless < 20 {
		t.Fatalf("%d changes and %d harmless ones: the test shows nothing", flips, harmless)
	}
}

// resign makes a published log out of envelopes, in their order, with a good checkpoint over them: what somebody who has
// the log's key could publish.
func resign(t testing.TB, drafts []receipt.Draft, links func(i int, l *receipt.Link) bool, key receipt.Signer) memory {
	t.Helper()
	type end struct {
		n   uint64
		ref receipt.Ref
	}
	ends := map[string]end{}
	files := map[string][]byte{}
	var bundle []byte
	n := uint64(0)
	put := func(t tiles.Tile, h []byte) error { files[t.Path()] = bytes.Clone(h); return nil }
	b := tiles.NewBuilder(put)
	for i, d := range drafts {
		e := ends[d.Subject]
		l := receipt.Link{Seq: e.n}
		if e.n > 0 {
			l.Prev = &e.ref
		}
		if links != nil && !links(i, &l) {
			continue
		}
		s := key
		if !receipt.MustSign(d.Kind) {
			s = nil
		}
		env, err := receipt.Encode(logs.Domain, d, l, s)
		if err != nil {
			t.Fatal(err)
		}
		bundle = tiles.AppendEntry(bundle, env)
		ends[d.Subject] = end{l.Seq + 1, receipt.Ref{Index: vaultmesh.LogIndex(n), Leaf: receipt.LeafHash(env)}}
		if err := b.Append(receipt.LeafHash(env)); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err := b.Partial(put); err != nil {
		t.Fatal(err)
	}
	files[tiles.Tile{Entries: true, Width: n}.Path()] = bundle
	files[tiles.Checkpoint] = logs.Note(t, n, b.Root())
	return memory{files: files}
}

// Logs whose every hash and checkpoint is right, and whose history is not.
func TestForgedHistories(t *testing.T) {
	drafts := make([]receipt.Draft, 60)
	for i := range drafts {
		drafts[i] = logs.Draft(i)
	}
	seven := func(change func([]receipt.Draft) []receipt.Draft) []receipt.Draft {
		return change(slices.Clone(drafts))
	}
	o := options(t)
	want(t, check(t, resign(t, drafts, nil, logs.Receipts), o), fsck.Sound, "")
	stranger := keys.Key{PrivateKey: slices.Concat(bytes.Repeat([]byte{7}, 32), logs.Receipts.PrivateKey[32:])}
	for name, c := range map[string]struct {
		log  memory
		says string
	}{
		"a receipt left out":   {resign(t, drafts, func(i int, l *receipt.Link) bool { return i != 20 || l.Seq == 0 }, logs.Receipts), ""},
		"a gap in a chain":     {resign(t, drafts, func(i int, l *receipt.Link) bool { l.Seq += uint64(i / 58); return true }, logs.Receipts), "missing or reordered"},
		"a number given twice": {resign(t, drafts, func(i int, l *receipt.Link) bool { l.Seq -= min(l.Seq-min(l.Seq, 1), uint64(i/58)); return true }, logs.Receipts), "duplicated, reordered or forked"},
		"another predecessor": {resign(t, drafts, func(i int, l *receipt.Link) bool {
			if i == 30 && l.Prev != nil {
				l.Prev = &receipt.Ref{Index: l.Prev.Index, Leaf: vaultmesh.Digest{1}}
			}
			return true
		}, logs.Receipts), "does not point to the receipt before it"},
		"back-dated": {resign(t, seven(func(d []receipt.Draft) []receipt.Draft {
			d[50].Time = d[50].Time.Add(-time.Hour)
			return d
		}), nil, logs.Receipts), "back-dated"},
		"from the future": {resign(t, seven(func(d []receipt.Draft) []receipt.Draft {
			d[59].Time = d[59].Time.Add(48 * time.Hour)
			return d
		}), nil, logs.Receipts), "in the future"},
		"another key":  {resign(t, drafts, nil, stranger), "signature"},
		"no signature": {resign(t, drafts, nil, nil), "has no signature"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.says == "" { // a log that never had it: only an earlier checkpoint tells
				full := resign(t, drafts, nil, logs.Receipts)
				head, _, err := fsck.ReadHead(full.files[tiles.Checkpoint], "seen before")
				if err != nil {
					t.Fatal(err)
				}
				o := options(t)
				o.Heads = []fsck.Head{head}
				want(t, check(t, c.log, o), fsck.Damaged, "truncated or rolled back")
				return
			}
			want(t, check(t, c.log, o), fsck.Damaged, c.says)
		})
	}
	// Swapped and repeated entries, with every hash made anew.
	entries, err := tiles.Entries(resign(t, drafts, nil, logs.Receipts).files["tile/entries/000.p/60"], 60)
	if err != nil {
		t.Fatal(err)
	}
	for name, order := range map[string][][]byte{
		"reordered":  slices.Concat(entries[:10], [][]byte{entries[17], entries[10]}, entries[11:17], entries[18:]),
		"duplicated": slices.Concat(entries[:30], entries[29:]),
		"removed":    slices.Concat(entries[:30], entries[31:]),
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			put := func(t tiles.Tile, h []byte) error { files[t.Path()] = bytes.Clone(h); return nil }
			b := tiles.NewBuilder(put)
			var bundle []byte
			for _, e := range order {
				bundle = tiles.AppendEntry(bundle, e)
				if err := b.Append(receipt.LeafHash(e)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Partial(put); err != nil {
				t.Fatal(err)
			}
			files[tiles.Tile{Entries: true, Width: b.Size()}.Path()] = bundle
			files[tiles.Checkpoint] = logs.Note(t, b.Size(), b.Root())
			r := check(t, memory{files: files}, o)
			want(t, r, fsck.Damaged, `"check":"chains"`)
		})
	}
}

// A fork: the same size as a checkpoint seen before, another root.
func TestFork(t *testing.T) {
	dir := publish(t, 40)
	o := options(t)
	o.Heads = []fsck.Head{{Size: 20, Root: vaultmesh.Digest{1}, From: "a witness"}}
	want(t, check(t, logs.Bucket(t, dir), o), fsck.Damaged, "fork")
	o.Heads = []fsck.Head{{Size: 41, From: "a witness"}}
	want(t, check(t, logs.Bucket(t, dir), o), fsck.Damaged, "truncated or rolled back")
}

func TestPlacesWithoutLog(t *testing.T) {
	o := options(t)
	want(t, check(t, logs.Bucket(t, t.TempDir()), o), fsck.Unusable, "no log is published")
	want(t, check(t, logs.Bucket(t, "http://127.0.0.1:1/log/"), o), fsck.Unusable, "does not answer")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := fsck.Published(ctx, logs.Bucket(t, publish(t, 10)), o)
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, fsck.Unusable, "")
}

// A signed checkpoint of an absurd size ends with the first missing tile.
func TestAbsurdSize(t *testing.T) {
	files := snapshot(t, publish(t, 10))
	files[tiles.Checkpoint] = logs.Note(t, 1<<62, vaultmesh.Digest{})
	want(t, check(t, memory{files: files}, options(t)), fsck.Damaged, "the rest cannot be judged")
}

// slow is a bucket that never answers.
type slow struct{ memory }

func (s slow) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if name == tiles.Checkpoint {
		return s.memory.Get(ctx, name, limit)
	}
	<-ctx.Done()
	return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "get", name, "too slow").Because(ctx.Err())
}

func TestTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := fsck.Published(ctx, slow{memory{files: snapshot(t, publish(t, 300))}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, fsck.Unusable, "")
	if r.Reason == "" {
		t.Fatal("it does not say why")
	}
}
