// Package tiles owns the publication of the log in the C2SP tlog-tiles layout, in a [bucket.Bucket]: entries, hash
// tiles and the signed checkpoint, which any tlog-tiles reader understands. It is on floor 2.
//
// It must not know what a receipt says. It follows the durable checkpoints and never leads them. Entries and tiles are
// durable in the bucket before the checkpoint that needs them; what was published is never changed; a bucket that the
// log does not extend is refused as Corrupt and never repaired. Nothing that a bucket does stops the node.
package tiles

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/sync/errgroup"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/internal/fault"
)

// Options of a publisher. Log and Bucket are required.
type Options struct {
	Log    *lawchain.Log
	Bucket bucket.Bucket
	// Interval is the shortest time between two publications. Default 1 s.
	Interval time.Duration
	// Grace is how long partial tiles stay after the full one was published, for readers of an earlier checkpoint.
	// Default 10 min.
	Grace time.Duration
	// Timeout bounds each request to the bucket. Default 30 s.
	Timeout time.Duration
	// Parallel is the number of uploads at a time; each holds one tile in memory, 16 MiB at most. Default 4.
	Parallel int
	Logger   *slog.Logger
}

// Bounds of the waits after failures.
const (
	minBackoff   = time.Second
	maxBackoff   = time.Minute
	lastPublish  = 10 * time.Second // at the end of Run
	chunk        = 64               // full entry tiles between two notes of how far an upload has come
	defaultGrace = 10 * time.Minute
)

// Publisher publishes one log to one bucket. Run is its only writer; Publish, Check and Collect may be called instead of
// it, one at a time.
type Publisher struct {
	o       Options
	metrics metrics
	fault   fault.Fault
	partial collector

	published atomic.Uint64 // size of the published tree; set with mu held

	mu       sync.Mutex // held while a publication or a check is under way
	checked  bool       // the bucket's checkpoint is a prefix of the log, or there is none
	uploaded uint64     // receipts whose full tiles are in the bucket, published or not
	note     []byte     // the published checkpoint
}

// New returns a publisher that has not yet looked at its bucket.
func New(o Options) *Publisher {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Publisher{o: o, partial: newCollector()}
	p.metrics.init(p)
	return p
}

// Check compares the bucket's checkpoint with the log. It fails with kind Corrupt where this log does not extend it: the
// journal was rolled back, or the bucket belongs to another log. Unavailable says that the bucket could not be asked.
func (p *Publisher) Check(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.check(ctx)
}

// Published returns the size of the published tree, as far as it is known.
func (p *Publisher) Published() uint64 { return p.published.Load() }

func (p *Publisher) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	raw, err := p.o.Bucket.Get(ctx, Checkpoint, MaxCheckpoint)
	if vaultmesh.KindOf(err) == vaultmesh.NotFound && err != nil {
		if p.Published() > 0 {
			return p.corrupt("the checkpoint that was published is gone").WithFix("find out who can delete in the bucket; restore it, or start with an empty bucket")
		}
		p.checked = true
		return nil
	}
	if vaultmesh.KindOf(err) == vaultmesh.TooLarge && err != nil {
		return p.corrupt("the published checkpoint is not one").Because(err)
	}
	if err != nil {
		return err
	}
	if p.checked && bytes.Equal(raw, p.note) {
		return nil
	}
	p.checked = false
	size, err := p.extends(raw)
	if err != nil {
		return err
	}
	p.checked, p.note = true, raw
	p.published.Store(size)
	p.uploaded = max(p.uploaded, size-size%Width)
	return nil
}

// extends returns the size of a checkpoint whose tree is a prefix of the log's. The root alone decides: a key may have
// been rotated since, and whoever wrote the note, a tree with this root is ours.
func (p *Publisher) extends(raw []byte) (uint64, error) {
	var cp log.Checkpoint
	if _, err := cp.Unmarshal(raw); err != nil || len(cp.Hash) != hashSize {
		return 0, p.corrupt("the published checkpoint is not one").Because(err)
	}
	if cp.Origin != p.o.Log.Origin() {
		return 0, p.corrupt("it holds the log %.80q, this is %q", cp.Origin, p.o.Log.Origin()).WithFix("name another folder or bucket, or another prefix in it, for the tiles")
	}
	root, err := p.o.Log.RootAt(cp.Size)
	if err != nil && vaultmesh.KindOf(err) == vaultmesh.NotFound {
		return 0, p.corrupt("%d receipts were published, the journal has fewer: it was rolled back or damaged", cp.Size).
			WithFix("restore the newest journal; a log that forgets must not go on")
	}
	if err != nil {
		return 0, err
	}
	if root != vaultmesh.Digest(cp.Hash) {
		return 0, p.corrupt("the published tree of %d receipts is not a prefix of the journal's: the two have forked, or it belongs to another log", cp.Size).
			WithFix("keep both as evidence and restore the journal that was published")
	}
	return cp.Size, nil
}

func (p *Publisher) corrupt(format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.tiles", p.o.Bucket.String(), format, args...)
}

// Publish writes what the latest durable checkpoint added: entries and tiles, then the checkpoint. It may be called again
// after any failure, and a killed publication is taken up by the next process.
func (p *Publisher) Publish(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.publish(ctx)
	p.metrics.done(err)
	p.fault.Note(time.Now(), err)
	return err
}

// Failing returns the error of the last attempt to publish, nil where it succeeded or none was made, and since when every
// one has failed.
func (p *Publisher) Failing() (since time.Time, err error) { return p.fault.Last() }

func (p *Publisher) publish(ctx context.Context) error {
	cp := p.o.Log.Published()
	if p.checked && !p.news(cp) {
		return nil
	}
	// Also at a later time: whoever else writes to the bucket is found out before anything is overwritten.
	if err := p.check(ctx); err != nil {
		return err
	}
	if !p.news(cp) {
		return nil
	}
	if cp.Size > p.Published() {
		if err := p.upload(ctx, cp.Size); err != nil {
			return err
		}
	}
	err := p.request(ctx, func(ctx context.Context) error { return p.o.Bucket.Replace(ctx, Checkpoint, cp.Note) })
	if err != nil {
		return err
	}
	p.note = cp.Note
	p.published.Store(cp.Size)
	p.partial.published(cp.Size, time.Now())
	p.metrics.at.SetToCurrentTime()
	return nil
}

// news reports whether a checkpoint is to be published: it leads further than the published one, or witnesses have
// cosigned it since.
func (p *Publisher) news(cp *lawchain.Checkpoint) bool {
	return cp != nil && (cp.Size > p.Published() || cp.Size == p.Published() && len(cp.Note) > len(p.note))
}

// upload writes all tiles between the published tree and the given size.
func (p *Publisher) upload(ctx context.Context, size uint64) error {
	first := max(p.Published(), p.uploaded) / Width
	for n := first; n*Width < size; n += chunk {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(p.o.Parallel)
		end := n
		for ; end < n+chunk && end*Width < size; end++ {
			for _, entries := range []bool{true, false} {
				t, _ := Of(entries, 0, end, size)
				g.Go(func() error { return p.tile(gctx, t) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
		p.uploaded = max(p.uploaded, min(end*Width, size-size%Width))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Parallel)
	for level := uint(1); size>>(8*level) > 0; level++ {
		for n := p.Published() >> (8 * level) / Width; ; n++ {
			t, ok := Of(false, level, n, size)
			if !ok {
				break
			}
			g.Go(func() error { return p.tile(gctx, t) })
		}
	}
	return g.Wait()
}

// tile writes one tile from the journal.
func (p *Publisher) tile(ctx context.Context, t Tile) error {
	b, err := p.read(t)
	if err != nil {
		return err
	}
	name := t.Path()
	if t.Width < Width {
		p.partial.add(t)
	}
	err = p.request(ctx, func(ctx context.Context) error { return p.o.Bucket.Create(ctx, name, b, bucket.Retention{}) })
	if err == nil {
		p.metrics.bytes.Add(float64(len(b)))
		return nil
	}
	if vaultmesh.KindOf(err) != vaultmesh.Conflict {
		return err
	}
	// A publication that was cut short has written it already; it never says anything else.
	return p.request(ctx, func(ctx context.Context) error {
		have, err := p.o.Bucket.Get(ctx, name, int64(len(b)))
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.TooLarge {
			return err
		}
		if !bytes.Equal(have, b) {
			return p.corrupt("%s was published with other bytes than the journal has", name).WithFix("keep both as evidence; check the bucket with `vaultmesh fsck`")
		}
		return nil
	})
}

// read returns the bytes of a tile from the journal.
func (p *Publisher) read(t Tile) ([]byte, error) {
	var (
		b     []byte
		first = t.N * Width
		next  = first
		s     = p.o.Log.Stored()
		err   error
	)
	if t.Entries {
		err = s.Entries(first, first+t.Width, func(i uint64, e []byte) (bool, error) {
			if i != next {
				return false, nil
			}
			b, next = AppendEntry(b, e), next+1
			return true, nil
		})
	} else {
		b = make([]byte, 0, t.Width*hashSize)
		err = s.Nodes(8*t.Level, first, first+t.Width, func(i uint64, h []byte) (bool, error) {
			if i != next || len(h) != hashSize {
				return false, nil
			}
			b, next = append(b, h...), next+1
			return true, nil
		})
	}
	if err == nil && next != first+t.Width {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.tiles", t.Path(), "the journal has only %d of its %d members", next-first, t.Width).
			WithFix("check the data folder with `vaultmesh fsck`")
	}
	return b, err
}

func (p *Publisher) request(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	return f(ctx)
}

// Run publishes whenever the log has grown, collects partial tiles, and publishes once more when ctx ends. A failure is
// counted, logged, and tried again after a wait that grows to a minute; it never ends Run.
func (p *Publisher) Run(ctx context.Context) {
	var collecting sync.WaitGroup
	collecting.Go(func() { p.collect(ctx) })
	defer collecting.Wait()
	var backoff time.Duration
	for {
		err := p.Publish(ctx)
		wait := p.o.Interval
		switch {
		case ctx.Err() != nil:
			p.finish()
			return
		case err != nil:
			backoff = min(max(2*backoff, minBackoff), maxBackoff)
			wait = max(wait, backoff)
			p.o.Logger.Warn("cannot publish the log; it is tried again", "bucket", p.o.Bucket.String(), "after", wait, "error", err)
		case backoff > 0:
			backoff = 0
			p.o.Logger.Info("the log is published again", "bucket", p.o.Bucket.String())
		}
		if !sleep(ctx, wait) {
			p.finish()
			return
		}
		if err != nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.o.Log.Grown():
		}
	}
}

// finish publishes what the node did last.
func (p *Publisher) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), lastPublish)
	defer cancel()
	if err := p.Publish(ctx); err != nil {
		p.o.Logger.Warn("the end of the log is not published yet; the next start does it", "bucket", p.o.Bucket.String(), "error", err)
	}
}

// sleep waits and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
