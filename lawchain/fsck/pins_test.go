package fsck_test

import (
	"context"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/test/logs"
)

// handover is a log in which an old key of the purpose hands over to next, which retires it: receipts 5 and 6 of 17. The old
// key goes on signing nonetheless.
func handover(t *testing.T, purpose, origin string, old, next keys.Key) string {
	t.Helper()
	at := logs.Start.Add(6 * time.Second)
	draft := func(s receipt.KeyStatement, by keys.Key, possess func([]byte) ([]byte, error)) receipt.Draft {
		s.Domain, s.Purpose, s.Origin, s.By, s.Time = logs.Domain, purpose, origin, by.Pub(), at
		b, err := receipt.SignKey(s, by.Sign, possess)
		if err != nil {
			t.Fatal(err)
		}
		body, err := receipt.Body(b)
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Draft{Kind: s.Act, Subject: receipt.KeySubject(logs.Domain), Actor: "node:test", Time: at, Body: body}
	}
	l := logs.Open(t, t.TempDir())
	defer l.Close(t)
	l.Grow(t, 5)
	l.Put(t, draft(receipt.KeyStatement{Act: receipt.KeyRotated, Key: next.Pub()}, old, next.Sign),
		draft(receipt.KeyStatement{Act: receipt.KeyRetired, Key: old.Pub()}, next, nil))
	l.Grow(t, 10)
	dir := t.TempDir()
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: logs.Bucket(t, dir)}).Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// That a pinned key was retired counts for whoever reads the whole log, whether other keys are followed or not; that it
// handed over to a key that is not pinned counts only for those who follow.
func TestRetiredPinnedKeys(t *testing.T) {
	next := keys.Named("next")
	for _, x := range []struct {
		purpose, origin string
		old             keys.Key
		says            string
	}{
		{receipt.PurposeReceipt, "", logs.Receipts, "retired at index 6"},
		{receipt.PurposeLog, logs.Origin, logs.Checkpoint, "no key that counts at size 17"},
	} {
		dir := handover(t, x.purpose, x.origin, x.old, next)
		for _, follow := range []bool{false, true} {
			for _, both := range []bool{false, true} {
				o := options(t)
				o.Pins.Follow = follow
				if both {
					o.Pins.Keys = append(o.Pins.Keys, receipt.Key{Purpose: x.purpose, Origin: x.origin, Public: next.Pub()})
				}
				t.Logf("%s: follow %v, both pinned %v", x.purpose, follow, both)
				want(t, check(t, logs.Bucket(t, dir), o), fsck.Damaged, x.says)
			}
		}
		// Whoever pins the log's key alone is told so too.
		if x.purpose == receipt.PurposeLog {
			pins, err := fsck.PinLogKey(logs.Notes.Text)
			if err != nil {
				t.Fatal(err)
			}
			r := check(t, logs.Bucket(t, dir), fsck.Options{Pins: pins, Now: options(t).Now})
			want(t, r, fsck.Damaged, x.says)
			if len(r.Problems) != 1 {
				t.Fatalf("%+v", r.Problems)
			}
		}
	}
}
