// Package statetree keeps the state tree of a domain (package proof/state) up to date with its twins and with the heads of
// its subjects, commits the log to its root at every interval by a receipt of kind state.root, and proves what the tree
// held at roots within a window of time. It is on floor 2.
//
// It must not know what a twin's values mean, nor who asks for a proof.
//
// # How it works
//
// At an interval one operation of the journal, which writes nothing, takes a snapshot of the twins and one of the journal:
// both are of the same commit, so the tree is the state that the receipts below one size of the log caused. Everything
// slow happens outside of the commit path: which twins changed (by comparing pointers of two snapshots), their documents,
// the new nodes. These are written in operations of at most [chunkBytes]. The last operation names the new version as the
// newest one and appends the receipt, atomically. What is written before it is reachable from nothing: a crash at any
// point leaves the old root in force, and the next start deletes every record of a later version.
//
// Whoever is about to show somebody all of a subject asks for a root first ([Tree.Fresh]), so that the checkpoint that is
// cosigned and dated for it covers the root.
//
// # How it is stored
//
// The binary tree is stored in pages of four levels: a page has up to sixteen children, each a leaf or another page, and
// is never changed; a change writes new pages from itself up to the root, under a new version. A version is a number that
// grows by one with each root. What a version replaced is listed under it, so that pruning deletes exactly that once no
// root older than the version is wanted any more, or exactly that of it which came between two roots that are next to one
// another. What is kept for roots within the window is bounded in bytes: see [Options.MaxBytes].
//
// Keys never leave the tree: neither twins nor subjects can be removed from a domain.
package statetree

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// Journal is where the tree is kept.
type Journal interface {
	journal.Reader
	Submit(ctx context.Context, lane journal.Lane, op journal.Op) error
	Snapshot() *journal.Snapshot
}

// Options of a tree; all fields are required but those with a default.
type Options struct {
	Domain  vaultmesh.Domain
	Actor   vaultmesh.Principal // in whose name roots are appended
	Journal Journal
	Log     *lawchain.Log
	Twins   *twin.Store
	// Models names the models by which the twins were loaded. They say which of the stored values a twin shows, so where
	// they are others than those of the newest root, every twin's document is made anew. Optional.
	Models vaultmesh.Digest

	Interval time.Duration // between two roots while anything changes; default 5 s
	Window   time.Duration // how long a root can be proved against; default 24 h; the newest one always can
	// MaxBytes bounds what is kept of the tree for all its roots; default 1 GiB. Where it is reached, roots within the window
	// are given up: first so that those left are the closer together the younger they are, then the oldest. The newest is
	// always kept, whatever it needs.
	MaxBytes int64
	Now      func() time.Time
	Logger   *slog.Logger
}

// Root is one root of the tree, committed to by a receipt.
type Root struct {
	Receipt vaultmesh.LogIndex // of the state.root receipt
	Size    uint64             // of the log of which it is the state
	Hash    vaultmesh.Digest
	Entries uint64
	Time    time.Time // that the receipt claims
}

// Tree is the state tree. Update, Prune and Run are for one goroutine; the other methods are safe for concurrent use.
type Tree struct {
	o Options

	// Owned by the goroutine that updates.
	snap  *twin.Snapshot // what the newest root shows; nil after a start or a failure: then all versions are compared
	clean bool           // nothing of an unfinished version is stored
	part  int            // fixed at creation: partSize, less in tests

	warned bool // that the newest root alone is too large

	bytes atomic.Int64 // kept: pages, documents and lists, with their keys; changed by the goroutine that updates

	asked chan chan struct{} // Fresh asks Run for a root; what is sent is closed when that is done

	mu    sync.RWMutex
	meta  meta     // guarded by mu: the newest root
	roots []stored // guarded by mu: those that can be proved against, ascending

	stats atomic.Pointer[Stats]
}

// Stats says what the latest root cost.
type Stats struct {
	Root     Root
	Roots    int           // that can be proved against
	Changed  int           // keys that were new or had another document
	Pages    int           // written
	Bytes    int           // written, documents and pages
	Kept     int64         // bytes that are kept for all roots, as of the last update or pruning
	Duration time.Duration // of the whole update
}

// stored is one root as the window keeps it: small, since there are many.
type stored struct {
	receipt uint64
	version uint64
	time    int64 // microseconds
}

// meta is the newest root with what an update needs.
type meta struct {
	version uint64
	root    Root
	models  vaultmesh.Digest
}

// format is the first byte of the stored meta; another one means that the tree is built anew.
const format = 1

const metaSize = 1 + 8 + 8 + 8 + 32 + 8 + 8 + 32

func (m *meta) encode() []byte {
	b := append(make([]byte, 0, metaSize), format)
	b = binary.BigEndian.AppendUint64(b, m.version)
	b = binary.BigEndian.AppendUint64(b, uint64(m.root.Receipt))
	b = binary.BigEndian.AppendUint64(b, m.root.Size)
	b = append(b, m.root.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, m.root.Entries)
	b = binary.BigEndian.AppendUint64(b, uint64(m.root.Time.UnixMicro()))
	return append(b, m.models[:]...)
}

func decodeMeta(b []byte) (m meta, ok bool) {
	if len(b) != metaSize || b[0] != format {
		return m, false
	}
	m.version = binary.BigEndian.Uint64(b[1:])
	m.root.Receipt = vaultmesh.LogIndex(binary.BigEndian.Uint64(b[9:]))
	m.root.Size = binary.BigEndian.Uint64(b[17:])
	copy(m.root.Hash[:], b[25:57])
	m.root.Entries = binary.BigEndian.Uint64(b[57:])
	m.root.Time = time.UnixMicro(int64(binary.BigEndian.Uint64(b[65:]))).UTC()
	copy(m.models[:], b[73:])
	return m, true
}

// Open returns the tree that the journal holds, or a new one. The twins and the log are loaded before.
func Open(o Options) (*Tree, error) {
	if o.Interval <= 0 {
		o.Interval = 5 * time.Second
	}
	if o.Window <= 0 {
		o.Window = 24 * time.Hour
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tree{o: o, part: partSize, asked: make(chan chan struct{})}
	t.stats.Store(&Stats{})
	v, ok, err := o.Journal.Get(keyMeta)
	if err != nil || !ok {
		return t, err
	}
	m, ok := decodeMeta(v)
	if !ok {
		o.Logger.Warn("the stored state tree is of another form and is built anew; older roots cannot be proved against any more")
		t.forget()
		return t, nil
	}
	t.meta = m
	if err := t.countBytes(); err != nil {
		return nil, err
	}
	err = o.Journal.Scan(rootPrefix, after(rootPrefix), func(k, v []byte) (bool, error) {
		m, ok := decodeMeta(v)
		if !ok || len(k) != len(rootPrefix)+8 {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "state.load", "", "a stored root is damaged")
		}
		t.roots = append(t.roots, stored{uint64(m.root.Receipt), m.version, m.root.Time.UnixMicro()})
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	t.stats.Store(&Stats{Root: m.root, Roots: len(t.roots)})
	return t, nil
}

// forget makes the tree empty in memory; the next update deletes what is stored and builds it anew.
func (t *Tree) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meta, t.roots, t.snap, t.clean = meta{}, nil, nil, false
	t.bytes.Store(0)
}

// Run updates and prunes until ctx ends. A failure is logged and tried again; it never stops the node.
func (t *Tree) Run(ctx context.Context) {
	tick := time.NewTicker(t.o.Interval)
	defer tick.Stop()
	for {
		began := time.Now()
		t.update(ctx)
		if err := t.Prune(ctx); err != nil && ctx.Err() == nil {
			t.o.Logger.Warn("cannot prune the state tree", "error", err)
		}
		for due := false; !due; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				due = true
			case done := <-t.asked:
				began = t.answer(ctx, done, began)
			}
		}
	}
}

// askedPause is the least time from the beginning of one root to that of one that is asked for, so that bundles do not make
// more roots than the log can bear.
const askedPause = time.Second

// answer appends a root for all who ask until it begins, and returns when it began.
func (t *Tree) answer(ctx context.Context, first chan struct{}, last time.Time) time.Time {
	waiting := []chan struct{}{first}
	pause := time.NewTimer(min(askedPause, t.o.Interval) - time.Since(last))
	defer pause.Stop()
	for more := true; more; {
		select {
		case <-ctx.Done():
			return last
		case done := <-t.asked:
			waiting = append(waiting, done)
		case <-pause.C:
			more = false
		}
	}
	began := time.Now()
	t.update(ctx)
	for _, done := range waiting {
		close(done)
	}
	return began
}

// Fresh has Run append a root of what the log holds now, unless nothing changed since the newest one, and waits for it: at
// most as long as ctx lasts. One root serves all who wait. An update that failed ends the wait as well: Newest tells which
// root there is.
func (t *Tree) Fresh(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case t.asked <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// update appends a root if anything changed, and gives up a tree that is damaged.
func (t *Tree) update(ctx context.Context) {
	_, err := t.Update(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	t.o.Logger.Warn("no root of the state; it is tried again", "error", err)
	if vaultmesh.KindOf(err) == vaultmesh.Corrupt {
		t.o.Logger.Error("the stored state tree is damaged and is built anew", "error", err)
		t.forget()
	}
}

// Stats returns what the latest root cost.
func (t *Tree) Stats() Stats {
	s := *t.stats.Load()
	s.Kept = t.bytes.Load()
	return s
}

// Newest returns the newest root; ok is false before the first one.
func (t *Tree) Newest() (Root, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.meta.root, t.meta.version > 0
}

func (t *Tree) newest() meta {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.meta
}

var errTaken = errors.New("the snapshots are taken") // drops the operation, so that nothing is committed

// cut takes the snapshots of one commit. The caller closes the journal's.
func (t *Tree) cut(ctx context.Context) (twins *twin.Snapshot, j *journal.Snapshot, err error) {
	err = t.submit(ctx, journal.Commands, func(journal.Tx) error {
		twins, j = t.o.Twins.Snapshot(), t.o.Journal.Snapshot()
		return errTaken
	})
	if errors.Is(err, errTaken) {
		err = nil
	}
	return twins, j, err
}

// submit runs an operation and waits for it, also where ctx ends meanwhile: whether it was committed is always known. A
// full lane is waited for.
func (t *Tree) submit(ctx context.Context, lane journal.Lane, op journal.Op) error {
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := t.o.Journal.Submit(context.WithoutCancel(ctx), lane, op)
		if vaultmesh.KindOf(err) != vaultmesh.RateLimited {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// finish names the new version as the newest one and appends its receipt, in one operation. written is how many bytes of the
// version are stored already.
func (t *Tree) finish(ctx context.Context, next meta, replaced []byte, written int64) (meta, error) {
	next.root.Time = t.o.Now().UTC().Truncate(time.Microsecond)
	body, err := receipt.Body(receipt.StateBody{Root: next.root.Hash, Size: next.root.Size, Entries: next.root.Entries})
	if err != nil {
		return meta{}, err
	}
	draft := receipt.Draft{Kind: receipt.StateRoot, Subject: receipt.StateSubject(t.o.Domain), Actor: t.o.Actor, Time: next.root.Time, Body: body}
	kept := t.bytes.Load() + written
	if len(replaced) > 0 {
		kept += int64(len(keyReplaced(0, 0)) + len(replaced))
	}
	err = t.submit(ctx, journal.Commands, func(tx journal.Tx) error {
		index, _, err := t.o.Log.Append(tx, draft)
		if err != nil {
			return err
		}
		next.root.Receipt = index
		tx.Put(keyMeta, next.encode())
		tx.Put(keyRoot(uint64(index)), next.encode())
		if len(replaced) > 0 {
			tx.Put(keyReplaced(next.version, lastChunk), replaced)
		}
		tx.Put(keyBytes, binary.BigEndian.AppendUint64(nil, uint64(kept)))
		return nil
	})
	if err != nil {
		return meta{}, err
	}
	t.bytes.Store(kept)
	t.mu.Lock()
	t.meta = next
	t.roots = append(t.roots, stored{uint64(next.root.Receipt), next.version, next.root.Time.UnixMicro()})
	t.mu.Unlock()
	return next, nil
}

// at returns the newest root whose receipt is below size.
func (t *Tree) at(size uint64) (stored, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, _ := slices.BinarySearchFunc(t.roots, size, func(r stored, size uint64) int {
		if r.receipt < size {
			return -1
		}
		return 1
	})
	if n == 0 {
		return stored{}, false
	}
	return t.roots[n-1], true
}
