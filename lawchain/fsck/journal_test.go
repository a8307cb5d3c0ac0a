package fsck_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/test/logs"
)

// grown returns a data folder's journal with n receipts in several commits.
func grown(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	l := logs.Open(t, dir)
	for left := n; left > 0; left -= 97 {
		l.Grow(t, min(left, 97))
	}
	l.Close(t)
	return dir
}

// judge checks a journal, whatever state it is in, within a bound.
func judge(t testing.TB, dir string, o fsck.Options) *fsck.Report {
	t.Helper()
	j, err := journal.OpenReadOnly(dir)
	if err != nil {
		if vaultmesh.KindOf(err) != vaultmesh.Corrupt && vaultmesh.KindOf(err) != vaultmesh.NotFound {
			t.Fatalf("%v", err)
		}
		return fsck.Unreadable(dir, err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Log(err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := fsck.Journal(ctx, j, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestJournalSound(t *testing.T) {
	dir, o := grown(t, 700), options(t)
	if r := judge(t, dir, o); r.Verdict != fsck.Sound || r.Receipts != 700 || r.Subjects != 8 {
		t.Fatalf("%+v", r)
	}
	l := logs.Open(t, dir)
	defer l.Close(t)
	_, err := journal.OpenReadOnly(dir)
	if err == nil || vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("a journal that a node runs on is opened: %v", err)
	}
	l.Grow(t, 50)
	// What a kill -9 leaves: the write-ahead log is read, and nothing in the folder is changed.
	crashed := copyDir(t, dir)
	before := snapshot(t, crashed)
	if r := judge(t, crashed, o); r.Verdict != fsck.Sound || r.Receipts != 750 {
		t.Fatalf("%+v", r)
	}
	for name, data := range snapshot(t, crashed) {
		if string(before[name]) != string(data) {
			t.Errorf("the check changed %s", name)
		}
	}
	if _, err := journal.OpenReadOnly(t.TempDir()); err == nil || vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Fatalf("an empty folder: %v", err)
	}
}

// number is a key of the log with a number at its end.
func number(prefix string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefix), n)
}

// Records that were taken away or changed by somebody who can write a Pebble store, checksums and all.
func TestJournalRecords(t *testing.T) {
	good := grown(t, 600)
	value := func(t *testing.T, db *pebble.DB, key []byte) []byte {
		t.Helper()
		v, c, err := db.Get(key)
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		out := append([]byte(nil), v...)
		_ = c.Close()
		return out
	}
	set := func(t *testing.T, db *pebble.DB, key, v []byte) {
		t.Helper()
		if err := db.Set(key, v, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(t *testing.T, db *pebble.DB, key []byte) {
		t.Helper()
		v := value(t, db, key)
		v[len(v)/2] ^= 1
		set(t, db, key, v)
	}
	block := func(t *testing.T, db *pebble.DB) []byte {
		t.Helper()
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte("l/f/k/"), UpperBound: []byte("l/f/k0")})
		must(t, err)
		defer func() { _ = it.Close() }()
		if !it.First() {
			t.Fatal("no record")
		}
		return append([]byte(nil), it.Key()...)
	}
	old := grown(t, 300)
	oldDB, err := pebble.Open(filepath.Join(old, "db"), &pebble.Options{ReadOnly: true, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	oldCheckpoint := value(t, oldDB, []byte("l/c"))
	if err := oldDB.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do   func(t *testing.T, db *pebble.DB)
		says string
	}{
		"receipt gone":    {func(t *testing.T, db *pebble.DB) { must(t, db.Delete(number("l/e/", 300), pebble.Sync)) }, "it is missing"},
		"receipt changed": {func(t *testing.T, db *pebble.DB) { flip(t, db, number("l/e/", 300)) }, `"check":"tree"`},
		"receipts swapped": {func(t *testing.T, db *pebble.DB) {
			a, b := number("l/e/", 10), number("l/e/", 11)
			x, y := value(t, db, a), value(t, db, b)
			set(t, db, a, y)
			set(t, db, b, x)
		}, `"check":"chains"`},
		"node changed":           {func(t *testing.T, db *pebble.DB) { flip(t, db, number("l/n/\x00", 256)) }, "not the hash"},
		"upper node gone":        {func(t *testing.T, db *pebble.DB) { must(t, db.Delete(number("l/n/\x08", 1), pebble.Sync)) }, "are missing"},
		"head changed":           {func(t *testing.T, db *pebble.DB) { flip(t, db, []byte("l/s/halt/3")) }, "its history ends"},
		"head gone":              {func(t *testing.T, db *pebble.DB) { must(t, db.Delete([]byte("l/s/halt/3"), pebble.Sync)) }, "subjects"},
		"index gone":             {func(t *testing.T, db *pebble.DB) { must(t, db.Delete(number("l/i/halt/3\x00", 0), pebble.Sync)) }, "the index of subjects"},
		"index elsewhere":        {func(t *testing.T, db *pebble.DB) { set(t, db, number("l/i/halt/3\x00", 0), number("", 9)) }, "the index of subjects"},
		"leaves gone":            {func(t *testing.T, db *pebble.DB) { must(t, db.Delete(number("l/n/\x00", 0), pebble.Sync)) }, "node 0 of level 0 is missing"},
		"search record gone":     {func(t *testing.T, db *pebble.DB) { must(t, db.Delete(block(t, db), pebble.Sync)) }, "the search index"},
		"search record changed":  {func(t *testing.T, db *pebble.DB) { flip(t, db, block(t, db)) }, "the search index"},
		"search record too many": {func(t *testing.T, db *pebble.DB) { set(t, db, append(block(t, db), 1), []byte{0}) }, "the search index"},
		"receipt behind":         {func(t *testing.T, db *pebble.DB) { set(t, db, number("l/e/", 600), []byte("x")) }, "behind the 600 receipts"},
		"checkpoint changed":     {func(t *testing.T, db *pebble.DB) { flip(t, db, []byte("l/c")) }, `"check":"checkpoint"`},
		"checkpoint gone":        {func(t *testing.T, db *pebble.DB) { must(t, db.Delete([]byte("l/c"), pebble.Sync)) }, "behind the 0 receipts"},
		"checkpoint put back":    {func(t *testing.T, db *pebble.DB) { set(t, db, []byte("l/c"), oldCheckpoint) }, "behind the 300 receipts"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, good)
			db, err := pebble.Open(filepath.Join(dir, "db"), &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
			if err != nil {
				t.Fatal(err)
			}
			c.do(t, db)
			must(t, db.Close())
			want(t, judge(t, dir, options(t)), fsck.Damaged, c.says)
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(f) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A journal that was rolled back to an earlier copy is sound in itself; what was published tells.
func TestRolledBack(t *testing.T) {
	dir := t.TempDir()
	l := logs.Open(t, dir)
	l.Grow(t, 50)
	backup := copyDir(t, dir)
	l.Grow(t, 50)
	b := logs.Bucket(t, t.TempDir())
	must(t, tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(t.Context()))
	l.Close(t)
	note, err := b.Get(t.Context(), tiles.Checkpoint, tiles.MaxCheckpoint)
	must(t, err)
	h, _, err := fsck.ReadHead(note, "published")
	must(t, err)
	o := options(t)
	want(t, judge(t, backup, o), fsck.Sound, "")
	o.Heads = []fsck.Head{h}
	want(t, judge(t, dir, o), fsck.Sound, "")
	want(t, judge(t, backup, o), fsck.Damaged, "truncated or rolled back")
}

// Any byte of any file of the store: a verdict each time, never a panic, and never Sound for another log.
func TestJournalEveryFile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	good, o := grown(t, 400), options(t)
	whole := judge(t, good, o)
	want(t, whole, fsck.Sound, "")
	counts := map[fsck.Verdict]int{}
	for name, data := range snapshot(t, good) {
		for range min(len(data), 5) {
			dir := copyDir(t, good)
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
			must(t, err)
			at := rng.Int64N(int64(len(data)))
			_, err = f.WriteAt([]byte{data[at] ^ 1<<rng.IntN(8)}, at)
			must(t, err)
			must(t, f.Close())
			r := judge(t, dir, o)
			counts[r.Verdict]++
			if r.Verdict == fsck.Sound && (r.Root != whole.Root || r.Size != whole.Size) {
				t.Errorf("byte %d of %s: another log is called sound", at, name)
			}
			if r.Verdict == fsck.Sound && strings.HasSuffix(name, ".sst") {
				t.Logf("byte %d of %s is harmless", at, name)
			}
		}
	}
	t.Logf("%v", counts)
	if counts[fsck.Damaged] < 10 {
		t.Fatal("hardly any change is found")
	}
}
