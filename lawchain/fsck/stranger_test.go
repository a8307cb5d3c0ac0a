package fsck_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/test/logs"
)

// counting is a bucket that counts the entry bundles that are read of it.
type counting struct {
	bucket.Bucket
	bundles *atomic.Int64
}

func count(b bucket.Bucket) counting { return counting{b, &atomic.Int64{}} }

func (c counting) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if strings.HasPrefix(name, "tile/entries/") {
		c.bundles.Add(1)
	}
	return c.Bucket.Get(ctx, name, limit)
}

// signedBy is a signer of receipts that can be changed.
type signedBy struct{ receipt.Signer }

func (s *signedBy) as(k receipt.Signer) { s.Signer = k }

// drafts are n receipts of one subject, from the i-th on.
func drafts(i, n int) (out []receipt.Draft) {
	for k := range n {
		out = append(out, receipt.Draft{Kind: receipt.TelemetryBatch, Subject: receipt.TelemetrySubject(logs.Domain), Actor: "node:test", Time: logs.Start.Add(time.Duration(i+k) * time.Second)})
	}
	return out
}

// rotated is a statement about a key of the log or of receipts.
func rotated(t *testing.T, i int, purpose, origin string, old, next keys.Key) receipt.Draft {
	t.Helper()
	at := logs.Start.Add(time.Duration(i) * time.Second)
	b, err := receipt.SignKey(receipt.KeyStatement{Act: receipt.KeyRotated, Domain: logs.Domain, Purpose: purpose, Origin: origin, Key: next.Pub(), By: old.Pub(), Time: at}, old.Sign, next.Sign)
	if err != nil {
		t.Fatal(err)
	}
	body, err := receipt.Body(b)
	if err != nil {
		t.Fatal(err)
	}
	return receipt.Draft{Kind: receipt.KeyRotated, Subject: receipt.KeySubject(logs.Domain), Actor: "node:test", Time: at, Body: body}
}

// published makes a log by fn and publishes it.
func published(t *testing.T, fn func(l *logs.Log, s *signedBy)) string {
	t.Helper()
	s := &signedBy{logs.Receipts}
	l := logs.Open(t, t.TempDir(), func(o *lawchain.Options, _ *journal.Options) { o.Receipts = s })
	defer l.Close(t)
	fn(l, s)
	dir := t.TempDir()
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: logs.Bucket(t, dir)}).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A log that leads to nobody who is pinned is given up after the bound; one that shows in time that its new key was handed to
// it is read to its end.
func TestReadNoMoreOfAStranger(t *testing.T) {
	next := keys.Named("next")
	const size = 3000
	signer := next.Note(logs.Origin)
	grown := func(at int) string {
		dir := published(t, func(l *logs.Log, _ *signedBy) {
			l.Put(t, drafts(0, at)...)
			l.Put(t, rotated(t, at, receipt.PurposeLog, logs.Origin, logs.Checkpoint, next))
			l.Put(t, drafts(at+1, size-at-1)...)
		})
		b, err := os.ReadFile(dir + "/checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		head, _, err := fsck.ReadHead(b, "")
		if err != nil {
			t.Fatal(err)
		}
		text := log.Checkpoint{Origin: logs.Origin, Size: head.Size, Hash: head.Root[:]}.Marshal()
		signed, err := note.Sign(&note.Note{Text: string(text)}, signer)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/checkpoint", signed, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	early, late := grown(10), grown(size-10)
	o := options(t)
	o.Workers = 1
	for _, x := range []struct {
		dir       string
		follow    bool
		bound     int64
		verdict   fsck.Verdict
		says      string
		unbounded bool
	}{
		{early, true, 200_000, fsck.Sound, "", true},
		{late, true, 200_000, fsck.Unusable, "no more is read of it", false},
		{late, true, -1, fsck.Sound, "", true},
		{late, true, 0, fsck.Sound, "", true}, // the default is more than this log
		{early, false, -1, fsck.Damaged, "no key that counts", false},
	} {
		o.Pins.Follow, o.Unverified = x.follow, x.bound
		b := count(logs.Bucket(t, x.dir))
		r := check(t, b, o)
		want(t, r, x.verdict, x.says)
		if n := b.bundles.Load(); !x.unbounded && n > 7 || x.unbounded && n != 12 {
			t.Errorf("%+v: %d bundles were read", x, n)
		}
	}
	// A key that nobody handed over to: the bound ends it.
	o.Pins.Follow, o.Unverified = true, 200_000
	o.Pins.Keys[0].Public = keys.Named("another").Pub()
	b := count(logs.Bucket(t, early))
	want(t, check(t, b, o), fsck.Unusable, "no pinned key signed the checkpoint")
	if n := b.bundles.Load(); n > 7 {
		t.Errorf("%d bundles of 12 were read", n)
	}
}

// Whoever serves a true checkpoint and receipts of their own, tiles and all, is found out after some tiles, and does not
// have a reader read for days.
func TestForeignReceiptsUnderATrueCheckpoint(t *testing.T) {
	const size = 40 * tiles.Width
	dir := published(t, func(l *logs.Log, _ *signedBy) { l.Put(t, drafts(0, size)...) })
	other := published(t, func(l *logs.Log, _ *signedBy) { l.Put(t, drafts(1, size)...) })
	files, theirs := snapshot(t, dir), snapshot(t, other)
	good := count(memory{files: files})
	want(t, check(t, good, options(t)), fsck.Sound, "")
	for name, data := range theirs {
		if strings.HasPrefix(name, "tile/entries/") || strings.HasPrefix(name, "tile/0/") {
			files[name] = data
		}
	}
	o := options(t)
	o.Workers = 1
	b := count(memory{files: files})
	want(t, check(t, b, o), fsck.Damaged, "are not what the signed checkpoint covers")
	if n := b.bundles.Load(); n < 16 || n > 22 {
		t.Errorf("%d bundles of 40 were read", n)
	}
}

// A pinned key counts from where the log introduces it, for this check as for [receipt.Verify]: what it signed before is
// found when the log says so.
func TestPinnedKeyBeforeItsIntroduction(t *testing.T) {
	next := keys.Named("next")
	halt := func(i int) receipt.Draft {
		return receipt.Draft{Kind: receipt.HaltSet, Subject: "halt/x", Actor: "operator:ada", Time: logs.Start.Add(time.Duration(i) * time.Second), Body: []byte(`{}`)}
	}
	o := options(t)
	o.Pins.Keys = append(o.Pins.Keys, receipt.Key{Purpose: receipt.PurposeReceipt, Public: next.Pub()})
	make := func(early bool) string {
		return published(t, func(l *logs.Log, s *signedBy) {
			l.Put(t, halt(0), halt(1))
			if early {
				s.as(next)
			}
			l.Put(t, halt(2))
			s.as(logs.Receipts)
			l.Put(t, rotated(t, 3, receipt.PurposeReceipt, "", logs.Receipts, next))
			s.as(next)
			l.Put(t, halt(4))
		})
	}
	r := check(t, logs.Bucket(t, make(false)), o)
	want(t, r, fsck.Sound, "")
	if r.Signed != 4 {
		t.Errorf("%d signed", r.Signed)
	}
	r = check(t, logs.Bucket(t, make(true)), o)
	want(t, r, fsck.Damaged, "the key counts from index 4 on, and signed this before")
	if r.Signed != 3 || len(r.Problems) != 1 || *r.Problems[0].Index != 2 {
		t.Errorf("%d signed, %+v", r.Signed, r.Problems)
	}
	// The verifier of bundles says the same.
	history, err := receipt.FollowKeys(logs.Domain, o.Pins.Keys, nil, []receipt.KeyEntry{{Index: 3, Receipt: opened(t, make(true), 3)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := history.ReceiptKey(next.KeyID(), 2, logs.Start); vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("%v", err)
	}
}

// opened is a receipt of a published log of less than 256.
func opened(t *testing.T, dir string, i int) receipt.Receipt {
	t.Helper()
	for name, data := range snapshot(t, dir) {
		if tile, ok := tiles.ParsePath(name); ok && tile.Entries {
			list, err := tiles.Entries(data, tile.Width)
			if err != nil || i >= len(list) {
				continue
			}
			r, err := receipt.Open(list[i])
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	t.Fatalf("no receipt %d", i)
	return receipt.Receipt{}
}

// What does not fit into memory is kept in a temporary folder, which is gone afterwards; the verdict is the same.
func TestManySubjects(t *testing.T) {
	const subjects = 300
	dir := published(t, func(l *logs.Log, _ *signedBy) {
		for round := range 3 {
			var list []receipt.Draft
			for i := range subjects {
				n := sha256.Sum256(fmt.Appendf(nil, "%d", i))
				list = append(list, receipt.Draft{Kind: receipt.HaltSet, Subject: fmt.Sprintf("halt/%x", n[:4]), Actor: "operator:ada",
					Time: logs.Start.Add(time.Duration(round*subjects+i) * time.Second), Body: []byte(`{}`)})
			}
			l.Put(t, list...)
		}
	})
	for _, hot := range []int{0, 7, 1} {
		o := options(t)
		o.Temp = t.TempDir()
		o.Hot(hot)
		r := check(t, logs.Bucket(t, dir), o)
		want(t, r, fsck.Sound, "")
		if r.Subjects != subjects || r.Receipts != 3*subjects {
			t.Errorf("hot %d: %+v", hot, r)
		}
		left, err := os.ReadDir(o.Temp)
		if err != nil || len(left) > 0 {
			t.Errorf("hot %d leaves %v %v", hot, left, err)
		}
	}
	// Damage is found as well where the chain's end was on the disk.
	files := snapshot(t, dir)
	broken := published(t, func(l *logs.Log, _ *signedBy) {
		l.Put(t, drafts(0, 1)...)
		l.Put(t, drafts(0, 3*subjects-1)...)
	})
	for name, data := range snapshot(t, broken) {
		if tile, ok := tiles.ParsePath(name); ok && tile.N == 1 && tile.Level == 0 {
			files[name] = data
		}
	}
	o := options(t)
	o.Temp = t.TempDir()
	o.Hot(5)
	want(t, check(t, memory{files: files}, o), fsck.Damaged, `"check":"chains"`)
	o.Temp = o.Temp + "/absent"
	want(t, check(t, memory{files: snapshot(t, dir)}, o), fsck.Unusable, "TMPDIR")
}

// The end of a delegation is the last that the root stated before it, wherever the log has it: for this check as for
// [receipt.Verify], which is shown all statements about keys at once. A root that comes back later does not undo a gap.
func TestDelegationThatIsProlonged(t *testing.T) {
	root, next := keys.Named("root"), keys.Named("next")
	delegated := func(i, stated, ends int) receipt.Draft {
		at := logs.Start.Add(time.Duration(i) * time.Second)
		b, err := receipt.SignKey(receipt.KeyStatement{Act: receipt.KeyDelegated, Domain: logs.Domain, Purpose: receipt.PurposeReceipt, Key: next.Pub(), By: root.Pub(), Time: logs.Start.Add(time.Duration(stated) * time.Second), Expires: logs.Start.Add(time.Duration(ends) * time.Second)}, root.Sign, next.Sign)
		if err != nil {
			t.Fatal(err)
		}
		body, err := receipt.Body(b)
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Draft{Kind: receipt.KeyDelegated, Subject: receipt.KeySubject(logs.Domain), Actor: "node:test", Time: at, Body: body}
	}
	halts := func(from, n int) (out []receipt.Draft) {
		for i := range n {
			out = append(out, receipt.Draft{Kind: receipt.HaltSet, Subject: "halt/x", Actor: "operator:ada", Time: logs.Start.Add(time.Duration(from+i) * time.Second), Body: []byte(`{}`)})
		}
		return out
	}
	for _, x := range []struct {
		stated   int // when it is prolonged; 0: it is not
		verdict  fsck.Verdict
		says     string
		problems int
		signed   uint64
	}{
		{3, fsck.Sound, "", 0, 32},
		{0, fsck.Damaged, "the delegation of the key ended at", 17, 3},
		{33, fsck.Damaged, "the delegation of the key ended at", 17, 3},
	} {
		dir := published(t, func(l *logs.Log, s *signedBy) {
			l.Put(t, delegated(0, 0, 3))
			s.as(next)
			l.Put(t, halts(1, 32)...)
			if x.stated > 0 {
				l.Put(t, delegated(33, x.stated, 100))
			}
		})
		o := options(t)
		o.Pins.Roots, o.Pins.Follow = append(o.Pins.Roots, root.Pub()), true
		r := check(t, logs.Bucket(t, dir), o)
		want(t, r, x.verdict, x.says)
		if got := len(r.Problems) + int(r.More); got != x.problems || r.Signed != x.signed {
			t.Errorf("prolonged at %d: %d problems, %d signed: %+v", x.stated, got, r.Signed, r)
		}
	}
}
