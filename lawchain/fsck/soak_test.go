package fsck_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

// A log of ten million receipts (VAULTMESH_SOAK_RECEIPTS; VAULTMESH_SOAK_DIR keeps it for the next run) opens in under a
// second, is published and checked.
func TestSoakLargeLog(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("VAULTMESH_SOAK_RECEIPTS"))
	if err != nil {
		t.Skip("VAULTMESH_SOAK_RECEIPTS is not set: 10000000 takes ten minutes and ten gigabytes")
	}
	dir := os.Getenv("VAULTMESH_SOAK_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	generate(t, filepath.Join(dir, "journal"), n)

	var best time.Duration
	for range 3 {
		began := time.Now()
		l := logs.Open(t, filepath.Join(dir, "journal"))
		if d := time.Since(began); best == 0 || d < best {
			best = d
		}
		if cp := l.Checkpoint(); cp == nil || cp.Size < uint64(n) {
			t.Fatalf("%+v", cp)
		}
		l.Close(t)
	}
	t.Logf("open and load %d receipts: %v (best of 3)", n, best)
	if best > time.Second && os.Getenv("VAULTMESH_SOAK") == "1" {
		t.Errorf("a log of %d receipts takes %v to start", n, best)
	}

	began := time.Now()
	l := logs.Open(t, filepath.Join(dir, "journal"))
	b := logs.Bucket(t, filepath.Join(dir, "log"))
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b}).Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.Close(t)
	t.Logf("publish: %v", time.Since(began))

	o := options(t)
	o.Now = logs.Start.Add(time.Duration(n+1) * time.Second)
	r, err := fsck.Published(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, fsck.Sound, "")
	t.Logf("fsck of the published log: %.1f s", r.Seconds)
	j, err := journal.OpenReadOnly(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	if r, err = fsck.Journal(t.Context(), j, dir, o); err != nil {
		t.Fatal(err)
	}
	want(t, r, fsck.Sound, "")
	t.Logf("fsck of the journal: %.1f s", r.Seconds)
}

// generate brings the log to n receipts: one in a hundred is a signed one of one of 10,000 subjects.
func generate(t *testing.T, dir string, n int) {
	l := logs.Open(t, dir)
	defer l.Close(t)
	have := 0
	if cp := l.Checkpoint(); cp != nil {
		have = int(cp.Size)
	}
	began := time.Now()
	for i := have; i < n; {
		drafts := make([]receipt.Draft, 0, 5000)
		for ; i < n && len(drafts) < cap(drafts); i++ {
			d := receipt.Draft{Kind: receipt.TelemetryBatch, Subject: receipt.TelemetrySubject(logs.Domain), Actor: "node:test", Time: logs.Start.Add(time.Duration(i) * time.Second)}
			if i%100 == 0 {
				d.Kind, d.Subject = receipt.HaltSet, fmt.Sprintf("halt/%d", i/100%10_000)
			}
			drafts = append(drafts, d)
		}
		l.Put(t, drafts...)
	}
	t.Logf("%d receipts made in %v", n-have, time.Since(began))
}
