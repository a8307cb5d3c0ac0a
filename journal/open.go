package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"vaultmesh.org/vaultmesh"
)

// Options of a journal. The zero value is usable.
type Options struct {
	// Seal is called once for each group in which an operation succeeded, after the last of them and inside the same
	// commit: the log signs its checkpoint there. It must not fail.
	Seal func(tx Tx, commit uint64)
	// OnDurable is called after each durable commit with its number, in ascending order per lane. It must not block.
	OnDurable func(commit uint64)
	// Failpoint is called at named points of a commit ("built", "applied", "synced", "marked"); tests kill the process there.
	Failpoint func(point string)
	// Queue bounds the operations that wait in each lane; a full lane refuses with RateLimited. Default 4096 and 64.
	Queue [2]int
	// Ballast is the size in bytes of a file that is given up when the disk is full, so that commits under way finish
	// and the node can still close. Default 32 MiB; negative means none.
	Ballast int64
	// MemTable is how many bytes of commits are held in memory before they are written as a table. Default 64 MiB.
	MemTable uint64
	// FS replaces the operating system's file system in tests.
	FS  vfs.FS
	Log *slog.Logger
}

// Journal is the durable store of a node. It is safe for concurrent use.
type Journal struct {
	db     *pebble.DB
	dir    string
	o      Options
	mark   *os.File // number of the last acknowledged commit; see mark.go
	markMu sync.Mutex

	order   sync.Mutex // held while a group is built and applied: commit order = lock order = order in the write-ahead log
	commit  uint64     // guarded by order: number of the last applied commit
	lanes   [2]*lane
	workers sync.WaitGroup

	applied atomic.Uint64 // number of the last commit of which a reader may have seen something
	durable atomic.Uint64 // number of the last durable commit
	told    atomic.Uint64 // number of the last durable commit of which OnDurable has been told
	settled settling
	full    atomic.Bool // the disk is full: refuse until restarted with space
	metrics metrics
}

// commitKey holds the number of the commit, eight bytes big-endian. It is written by every commit.
var commitKey = []byte("\x00commit")

// Open opens or creates the journal in dir. Only one process can have it open. A journal that lacks a commit that was
// acknowledged, or whose files are damaged, is refused with kind Corrupt; an unacknowledged torn tail is dropped.
func Open(dir string, o Options) (*Journal, error) {
	const op = "journal.open"
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	if o.Queue[Commands] <= 0 {
		o.Queue[Commands] = 4096
	}
	if o.Queue[Telemetry] <= 0 {
		o.Queue[Telemetry] = 64
	}
	if o.Ballast == 0 {
		o.Ballast = 32 << 20
	}
	if o.MemTable == 0 {
		o.MemTable = 64 << 20
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot create the folder").Because(err).WithFix("check the path and its permissions")
	}
	j := &Journal{dir: dir, o: o}
	j.metrics.init()
	inner := o.FS
	if inner == nil {
		inner = vfs.Default
	}
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          vfs.OnDiskFull(inner, j.diskFull),
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                o.MemTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		Logger:                      logger{o.Log},
	}
	tune(opts)
	db, err := pebble.Open(filepath.Join(dir, "db"), opts)
	if err != nil {
		return nil, openError(op, dir, err)
	}
	j.db = db
	if err := j.recover(); err != nil {
		_ = db.Close()
		return nil, err
	}
	if o.FS == nil && o.Ballast > 0 {
		if err := j.putBallast(); err != nil {
			_ = j.mark.Close()
			_ = db.Close()
			return nil, err
		}
	}
	for i := range j.lanes {
		j.lanes[i] = newLane(j, Lane(i))
	}
	return j, nil
}

// separateFrom is the size in bytes from which a value is written once, beside the sorted tables: receipts and messages
// are never changed, and rewriting them in every compaction costs more than all the rest.
const separateFrom = 256

// tune sets what depends on how the journal is used: large values under keys that grow, small values under keys of
// their own, and look-ups of keys that are not there (a new subject's head), which a filter answers without a read.
func tune(o *pebble.Options) {
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: separateFrom, MaxBlobReferenceDepth: 10, RewriteMinimumAge: 5 * time.Minute, TargetGarbageRatio: 0.3}
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
}

// openError turns Pebble's error into one that says what to do.
func openError(op, dir string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "resource temporarily unavailable"), strings.Contains(text, "held by current process"), strings.Contains(text, "lock held"):
		return vaultmesh.Errorf(vaultmesh.Conflict, op, dir, "another process has this journal open").WithFix("stop the other node, or use another data folder")
	case errors.Is(err, fs.ErrPermission), strings.Contains(text, "read-only file system"):
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "the folder cannot be written").Because(err).WithFix("make the data folder writable for this user")
	case errors.Is(err, pebble.ErrCorruption), strings.Contains(text, "corrupt"), strings.Contains(text, "checksum"):
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, dir, "the files are damaged").Because(err).WithFix("restore the data folder from a backup or a replica")
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, op, dir, "cannot open").Because(err)
}

// recover reads the number of the last commit and holds it against the mark of the last acknowledged one.
func (j *Journal) recover() error {
	const op = "journal.open"
	v, ok, err := get(j.db, commitKey)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, j.dir, "cannot read the commit number").Because(err)
	}
	if ok {
		if len(v) != 8 {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, j.dir, "the commit number has %d bytes, want 8", len(v))
		}
		j.commit = binary.BigEndian.Uint64(v)
	}
	j.applied.Store(j.commit)
	j.durable.Store(j.commit)
	j.told.Store(j.commit)
	acked, f, err := openMark(filepath.Join(j.dir, "acknowledged"))
	if err != nil {
		return err
	}
	if acked > j.commit {
		_ = f.Close()
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, j.dir, "the journal ends at commit %d, but commit %d was acknowledged: its last records are damaged or missing", j.commit, acked).
			WithFix("restore the data folder from a backup or a replica; do not delete the file %q to get past this", "acknowledged")
	}
	j.mark = f
	return nil
}

// Dir returns the folder of the journal.
func (j *Journal) Dir() string { return j.dir }

// Commits returns the number of the last durable commit.
func (j *Journal) Commits() uint64 { return j.durable.Load() }

// Close stops the lanes after the operations that are queued, flushes and closes the store.
func (j *Journal) Close() error {
	for _, l := range j.lanes {
		l.close()
	}
	j.workers.Wait()
	err := j.db.Close()
	if e := j.mark.Close(); err == nil {
		err = e
	}
	return vaultmesh.Wrap(err, "journal.close", j.dir)
}

// Probe commits a record of its own and so tells whether the node can commit now.
func (j *Journal) Probe(now time.Time) func(tx Tx) error {
	return func(tx Tx) error {
		tx.Put([]byte("\x00probe"), binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano())))
		return nil
	}
}

// diskFull is called by the file system when a write found no space. It gives up the ballast, so that what is being
// committed can finish, and refuses new work.
func (j *Journal) diskFull() {
	if j.full.Swap(true) {
		return
	}
	err := os.Remove(filepath.Join(j.dir, "ballast"))
	j.o.Log.Error("the disk is full: new work is refused until there is space and the node is restarted", "dir", j.dir, "ballast_released", err == nil)
}

// putBallast makes sure that the ballast file has its size, which also proves that there is that much space.
func (j *Journal) putBallast() error {
	const op = "journal.open"
	path := filepath.Join(j.dir, "ballast")
	if st, err := os.Stat(path); err == nil && st.Size() == j.o.Ballast {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		block := make([]byte, 1<<20)
		for left := j.o.Ballast; left > 0 && err == nil; left -= int64(len(block)) {
			_, err = f.Write(block[:min(int64(len(block)), left)])
		}
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		_ = os.Remove(path)
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, j.dir, "there is no room for the reserve of %d MiB", j.o.Ballast>>20).Because(err).WithFix("free space on the disk of the data folder")
	}
	return nil
}

// logger hands Pebble's messages to slog. A fatal one ends the process: the write-ahead log can no longer be trusted
// to accept commits, and nothing that was not synced has been acknowledged.
type logger struct{ l *slog.Logger }

func (l logger) Infof(format string, args ...any) { l.l.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) {
	l.l.Warn("journal store", "message", fmt.Sprintf(format, args...))
}
func (l logger) Fatalf(format string, args ...any) {
	l.l.Error("journal store failed; stopping, nothing acknowledged is lost", "message", fmt.Sprintf(format, args...))
	os.Exit(70)
}
