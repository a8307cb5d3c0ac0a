package archive

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/internal/fault"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

// Lock says what to do about object lock.
type Lock string

// The ways to lock.
const (
	LockAuto     Lock = "auto"     // where the bucket has it
	LockRequired Lock = "required" // archive nothing where it does not
	LockOff      Lock = "off"
)

// Part is a proof that goes into the segment, named below anchors/.
type Part struct {
	Name string
	Data []byte
}

// ProofsOf says which proofs a segment asks for. A proof may come long after its checkpoint: hence the time.
type ProofsOf struct {
	From, To uint64
	Since    time.Time
}

// Options of an archiver. Log, Bucket and Signer are required.
type Options struct {
	Log    *lawchain.Log
	Bucket bucket.Bucket
	Signer receipt.Signer // of manifests
	// Interval is the time between two looks at the log. Default 1 h.
	Interval time.Duration
	// Segment is the largest number of receipts of one segment. Default and most: [SegmentReceipts].
	Segment uint64
	// Lock, Retention and Governed say how objects are kept from deletion. Default: LockAuto, 10 years, not governed.
	Lock      Lock
	Retention time.Duration
	Governed  bool
	// Timeout bounds each request to the bucket. Default 1 min.
	Timeout time.Duration
	// Proofs returns the anchors' proofs, each with the checkpoint that it dates, that belong into the segment of the
	// receipts [From, To): those verified after Since, the time of the segment before. Nil means none.
	Proofs func(ProofsOf) ([]Part, error)
	Now    func() time.Time
	Logger *slog.Logger
}

// Bounds.
const (
	defaultRetention = 10 * 365 * 24 * time.Hour
	parallel         = 4 // uploads at a time; each holds one entry bundle, 16 MiB at most
	minBackoff       = time.Second
	maxBackoff       = 10 * time.Minute
	lastArchive      = 5 * time.Second // at the end of Run
)

// Archiver archives one log into one bucket. Run is its only writer; Archive may be called instead of it.
type Archiver struct {
	o       Options
	metrics metrics
	fault   fault.Fault

	mu    sync.Mutex // held while it archives
	known bool       // what follows was read from the bucket
	locks bool       // objects are kept from deletion
	next  uint64     // segment
	from  uint64
	prev  vaultmesh.Digest
	since time.Time // when the last segment was made
}

// New returns an archiver that has not yet looked at its bucket.
func New(o Options) *Archiver {
	if o.Interval <= 0 {
		o.Interval = time.Hour
	}
	if o.Retention <= 0 {
		o.Retention = defaultRetention
	}
	if o.Segment == 0 || o.Segment > SegmentReceipts {
		o.Segment = SegmentReceipts
	}
	if o.Lock == "" {
		o.Lock = LockAuto
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Proofs == nil {
		o.Proofs = func(ProofsOf) ([]Part, error) { return nil, nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Archiver{o: o}
	a.metrics.init()
	return a
}

// Archive brings the archive up to the newest published checkpoint. It may be called again after any failure. Corrupt
// says that the bucket holds what this log does not extend; it is not repaired.
func (a *Archiver) Archive(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.archive(ctx)
	if err != nil {
		a.known = false // whoever else writes is found out by reading again
	}
	a.metrics.done(err, a.from)
	a.fault.Note(a.o.Now(), err)
	return err
}

// Failing returns the error of the last attempt to archive, nil where it succeeded or none was made, and since when every
// one has failed.
func (a *Archiver) Failing() (since time.Time, err error) { return a.fault.Last() }

func (a *Archiver) archive(ctx context.Context) error {
	if !a.known {
		if err := a.open(ctx); err != nil {
			return err
		}
	}
	cp := a.o.Log.Published()
	if cp == nil {
		return nil
	}
	for a.from < cp.Size {
		if err := a.segment(ctx, cp); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archiver) corrupt(format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "archive", a.o.Bucket.String(), format, args...)
}

// open reads where the archive ends, and whether this log extends it.
func (a *Archiver) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	if err := a.lock(ctx); err != nil {
		return err
	}
	n, err := List(ctx, a.o.Bucket)
	if err != nil {
		return err
	}
	if hidden, err := Hidden(ctx, a.o.Bucket, n); err != nil {
		return err
	} else if hidden > 0 {
		return a.corrupt("the manifests of %d segments were deleted; the bucket keeps them as older versions", hidden).WithFix("find out who did; remove the delete markers with the store's own tools")
	}
	if n == 0 {
		a.known, a.next, a.from, a.prev, a.since = true, 0, 0, vaultmesh.Digest{}, time.Time{}
		return nil
	}
	last, shadowed, err := Read(ctx, a.o.Bucket, n-1)
	if err != nil {
		return err
	}
	if shadowed {
		return a.corrupt("%s was overwritten", ManifestPath(n-1)).WithFix("find out who did; the bucket keeps the version that belongs there")
	}
	if last.Origin != a.o.Log.Origin() {
		return a.corrupt("it holds the log %.80q, this is %q", last.Origin, a.o.Log.Origin()).WithFix("name another bucket or prefix for the archive")
	}
	root, err := a.o.Log.RootAt(last.To)
	if err != nil && vaultmesh.KindOf(err) == vaultmesh.NotFound {
		return a.corrupt("%d receipts are archived, the journal has fewer: it was rolled back or damaged", last.To).WithFix("restore the newest journal; a log that forgets must not go on")
	}
	if err != nil {
		return err
	}
	if root != last.Root {
		return a.corrupt("the archived tree of %d receipts is not a prefix of the journal's: the two have forked, or it belongs to another log", last.To).WithFix("keep both as evidence")
	}
	a.known, a.next, a.from, a.prev, a.since = true, n, last.To, last.Digest(), last.Created
	return nil
}

// lock finds out whether objects can be kept from deletion.
func (a *Archiver) lock(ctx context.Context) error {
	a.locks = false
	if a.o.Lock == LockOff {
		return nil
	}
	if l, ok := a.o.Bucket.(bucket.Locker); ok {
		var err error
		if a.locks, err = l.Locks(ctx); err != nil {
			return err
		}
	}
	if !a.locks && a.o.Lock == LockRequired {
		return vaultmesh.Errorf(vaultmesh.Invalid, "archive", a.o.Bucket.String(), "it has no object lock, and archive.lock is required").
			WithFix("make a bucket with object lock (S3) or object retention (GCS), or set archive.lock to auto")
	}
	if !a.locks {
		a.o.Logger.Warn("the archive is not kept from deletion: the bucket has no object lock", "bucket", a.o.Bucket.String())
	}
	return nil
}

// segment archives the next segment of the tree of cp.
func (a *Archiver) segment(ctx context.Context, cp *lawchain.Checkpoint) error {
	m := Manifest{Format: Format, Domain: a.o.Log.Domain(), Origin: a.o.Log.Origin(), Segment: a.next, From: a.from, To: min(cp.Size, a.from+a.o.Segment),
		Previous: a.prev, Created: a.o.Now().UTC().Truncate(time.Second), Lock: "none"}
	var keep bucket.Retention
	if a.locks {
		keep = bucket.Retention{Until: m.Created.Add(a.o.Retention), Governed: a.o.Governed}
		m.RetainUntil, m.Lock = &keep.Until, "compliance"
		if a.o.Governed {
			m.Lock = "governance"
		}
	}
	var err error
	if m.Root, err = a.o.Log.RootAt(m.To); err != nil {
		return err
	}
	if m.Objects, err = a.upload(ctx, &m, cp, keep); err != nil {
		return err
	}
	s, err := sign(m, a.o.Signer)
	if err != nil {
		return err
	}
	// The manifest makes the segment: everything else is durable by now.
	err = a.create(ctx, ManifestPath(m.Segment), s.File, keep)
	if err != nil {
		return err
	}
	a.next, a.from, a.prev, a.since = m.Segment+1, m.To, s.Digest(), m.Created
	a.metrics.segments.Inc()
	return nil
}

// upload writes the objects of a segment, in parallel, and returns them in the order of the manifest.
func (a *Archiver) upload(ctx context.Context, m *Manifest, cp *lawchain.Checkpoint, keep bucket.Retention) ([]Object, error) {
	proofs, err := a.proofs(m)
	if err != nil {
		return nil, err
	}
	bundles := int(m.Bundles())
	all := make([]Object, bundles+1+len(proofs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	put := func(i int, name string, data func() ([]byte, error)) {
		g.Go(func() error {
			b, err := data()
			if err != nil {
				return err
			}
			all[i] = Object{Name: name, Size: int64(len(b)), SHA256: vaultmesh.Sum(b)}
			return a.create(ctx, m.Path(all[i]), b, keep)
		})
	}
	for i := range bundles {
		put(i, bundleName(uint64(i)), func() ([]byte, error) { return a.bundle(m, uint64(i)) })
	}
	put(bundles, tiles.Checkpoint, func() ([]byte, error) { return cp.Note, nil })
	for i, p := range proofs {
		put(bundles+1+i, "anchors/"+p.Name, func() ([]byte, error) { return p.Data, nil })
	}
	return all, g.Wait()
}

// proofs asks for the anchors' proofs and names each once.
func (a *Archiver) proofs(m *Manifest) ([]Part, error) {
	all, err := a.o.Proofs(ProofsOf{From: m.From, To: m.To, Since: a.since})
	if err != nil {
		return nil, err
	}
	if extra := len(all) - MaxProofs; extra > 0 {
		a.o.Logger.Warn("a segment of the archive holds the newest proofs only", "left_out", extra)
		all = all[extra:]
	}
	seen := map[string]int{}
	out := make([]Part, 0, len(all))
	for _, p := range all {
		if len(p.Data) > maxProof || len(p.Name) > 150 {
			a.o.Logger.Warn("a proof is too large for the archive", "name", p.Name, "bytes", len(p.Data))
			continue
		}
		if seen[p.Name]++; seen[p.Name] > 1 {
			p.Name = fmt.Sprintf("%s-%d", p.Name, seen[p.Name])
		}
		out = append(out, p)
	}
	return out, nil
}

// bundle reads the i-th 256 receipts of the segment from the journal.
func (a *Archiver) bundle(m *Manifest, i uint64) (b []byte, err error) {
	first := m.From + i*tiles.Width
	end := min(first+tiles.Width, m.To)
	next := first
	err = a.o.Log.Stored().Entries(first, end, func(i uint64, e []byte) (bool, error) {
		if i == next {
			b, next = tiles.AppendEntry(b, e), next+1
		}
		return i < next, nil
	})
	if err == nil && next != end {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "archive", "", "receipt %d is missing from the journal", next).WithFix("check the data folder with `vaultmesh fsck`")
	}
	return b, err
}

// create writes an object. One that is there already is that of an attempt that was cut short, or an alarm.
func (a *Archiver) create(ctx context.Context, name string, data []byte, keep bucket.Retention) error {
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	err := a.o.Bucket.Create(ctx, name, data, keep)
	if err == nil {
		a.metrics.bytes.Add(float64(len(data)))
		return nil
	}
	if vaultmesh.KindOf(err) != vaultmesh.Conflict {
		return err
	}
	have, gerr := a.o.Bucket.Get(ctx, name, int64(len(data)))
	if gerr != nil && vaultmesh.KindOf(gerr) != vaultmesh.TooLarge {
		return gerr
	}
	if !bytes.Equal(have, data) {
		return a.corrupt("%s is there with other bytes: somebody else writes to the archive", name).WithFix("find out who; check it with `vaultmesh fsck`")
	}
	return nil
}

// Run archives now, at every interval until ctx ends, and once more then. A failure is counted, logged and tried again;
// it never ends Run.
func (a *Archiver) Run(ctx context.Context) {
	defer a.finish()
	var backoff time.Duration
	for {
		err := a.Archive(ctx)
		wait := a.o.Interval
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			backoff = min(max(2*backoff, minBackoff), maxBackoff)
			wait = backoff
			a.o.Logger.Warn("cannot archive the log; it is tried again", "bucket", a.o.Bucket.String(), "after", wait, "error", err)
		} else if backoff > 0 {
			backoff = 0
			a.o.Logger.Info("the log is archived again", "bucket", a.o.Bucket.String())
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// finish archives what the node did last.
func (a *Archiver) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), lastArchive)
	defer cancel()
	if err := a.Archive(ctx); err != nil {
		a.o.Logger.Warn("the end of the log is not archived yet; the next start does it", "bucket", a.o.Bucket.String(), "error", err)
	}
}
