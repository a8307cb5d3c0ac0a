package bench

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/bench/pace"
)

// bareFsync appends 1 KiB and syncs, one after the other: what the disk asks of anybody who wants one record to last.
func bareFsync(ctx context.Context, dir string, d time.Duration) (*pace.Times, time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return nil, 0, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.fsync", dir, "cannot create a file").Because(err)
	}
	defer f.Close()
	record := make([]byte, 1024)
	t, start := &pace.Times{}, time.Now()
	for time.Since(start) < d && ctx.Err() == nil {
		began := time.Now()
		if _, err := f.Write(record); err != nil {
			return nil, 0, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.fsync", dir, "cannot write").Because(err)
		}
		if err := f.Sync(); err != nil {
			return nil, 0, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.fsync", dir, "cannot sync").Because(err)
		}
		t.Add(time.Since(began))
	}
	return t, time.Since(start), ctx.Err()
}

// openPebble opens a store with the sizes of the journal's, so that only the journal makes the difference.
func openPebble(dir string) (*pebble.DB, error) {
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{Cache: cache, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 64 << 20, MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 4, L0StopWritesThreshold: 24, Logger: quiet{}})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.pebble", dir, "cannot open").Because(err)
	}
	return db, nil
}

// quiet drops Pebble's messages; a fatal one ends the measurement.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(vaultmesh.Errorf(vaultmesh.Unavailable, "bench.pebble", "", f, a...))
}

// barePebble has submitters put records of the given size, each synced before the next: Pebble's own group commit.
func barePebble(ctx context.Context, dir string, submitters, size int, warmup, d time.Duration) (*pace.Times, error) {
	db, err := openPebble(dir)
	if err != nil {
		return nil, err
	}
	t, err := pace.Closed(ctx, submitters, warmup, d, func(who int) func(n uint64) error {
		value := make([]byte, size)
		return func(n uint64) error {
			key := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(who)), n)
			return db.Set(key, value, pebble.Sync)
		}
	})
	if e := db.Close(); err == nil && e != nil {
		err = vaultmesh.Errorf(vaultmesh.Unavailable, "bench.pebble", dir, "cannot close").Because(e)
	}
	return t, err
}
