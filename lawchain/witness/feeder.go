package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Source is this log, as the feeder sees it: durable checkpoints only.
type Source interface {
	// Head returns the newest durable checkpoint; ok is false while the log is empty.
	Head() (h Head, ok bool)
	Consistency(old, size uint64) ([][]byte, error)
	RootAt(size uint64) (vaultmesh.Digest, error)
}

// Head is a signed checkpoint.
type Head struct {
	Size uint64
	Root vaultmesh.Digest
	Note []byte // signed note; once cosigned, with the witnesses' lines
}

// FeederOptions of a [Feeder]; Origin, Log, Policy, Keep and Report are required.
type FeederOptions struct {
	Origin string
	Log    Source
	Policy *receipt.WitnessPolicy // every witness needs a URL
	// Keep makes a checkpoint that satisfies the policy durable. It is called with ascending sizes.
	Keep func(context.Context, Head) error
	// Report makes a conflict durable; ours is this log's checkpoint, held the witness's, nil where it did not show it. It
	// is called again with the same conflict as long as it lasts, so it must be idempotent.
	Report func(ctx context.Context, c receipt.ConflictBody, ours, held []byte) error
	// Cleared is called after a cosignature of a witness, by its key name, where there may have been a conflict with it
	// before: the first of a process, and each that follows a conflict. An error has it called again. It may be nil.
	Cleared func(ctx context.Context, witness string) error
	// Own verifies that a note is signed by this log; without it no conflict is ever Proved.
	Own func(signed []byte) error

	Interval   time.Duration // between two rounds; default 10 s
	Timeout    time.Duration // of one request; default 5 s
	AlarmAfter time.Duration // how long a checkpoint may wait for its quorum; default 5 min
	HTTP       *http.Client
	Now        func() time.Time // default time.Now
	Logger     *slog.Logger     // default slog.Default
}

// Feeder gets checkpoints cosigned, at its own cadence and outside of every commit. Run is called once; all other methods
// are safe for concurrent use.
type Feeder struct {
	o     FeederOptions
	peers []*peer       // fixed at creation
	wake  chan struct{} // capacity 1: somebody waits for a newer checkpoint
	m     metrics

	mu     sync.Mutex // guards what follows
	latest Head       // newest that satisfies the policy; its Note has all cosignatures
	since  time.Time  // when the oldest checkpoint that still waits for its quorum was first submitted; zero where none does
	alarm  bool
	newer  chan struct{} // closed when latest or alarm changes
}

// peer is one witness. Its fields belong to the round that asks it; mu guards them for readers of the status.
type peer struct {
	name   string
	client *Client

	mu       sync.Mutex
	held     uint64 // size that the witness holds, as it last told
	cosigned uint64 // largest size that it cosigned
	at       time.Time
	failures int
	after    time.Time // not asked before
	err      error
	conflict string // of the last answer
	doubted  bool   // there may be a conflict that was reported and is not cleared
}

// maxBackoff bounds the pause after failures.
const maxBackoff = 5 * time.Minute

// NewFeeder checks the options. last is what Keep kept before this process, zero where nothing.
func NewFeeder(o FeederOptions, last Head) (*Feeder, error) {
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.AlarmAfter <= 0 {
		o.AlarmAfter = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	f := &Feeder{o: o, latest: last, m: newMetrics(), wake: make(chan struct{}, 1), newer: make(chan struct{})}
	for _, w := range o.Policy.Witnesses {
		if w.URL == "" {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "witness.policy", w.Name, "the witness has no URL").WithFix("add its submission prefix at the end of its line")
		}
		f.peers = append(f.peers, &peer{doubted: true, name: w.Name, client: &Client{URL: w.URL, Verifier: w.Verifier, HTTP: o.HTTP, Now: o.Now}})
	}
	f.m.size.Set(float64(last.Size))
	return f, nil
}

// Run asks the witnesses until ctx ends.
func (f *Feeder) Run(ctx context.Context) {
	t := time.NewTicker(f.o.Interval)
	defer t.Stop()
	for {
		f.Round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-f.wake:
		}
	}
}

// Round asks every witness that is due for a cosignature of the newest checkpoint, all at once, and keeps the result
// where the policy is satisfied. It returns when all have answered or timed out.
func (f *Feeder) Round(ctx context.Context) {
	head, ok := f.o.Log.Head()
	if !ok {
		return
	}
	f.mu.Lock()
	done := f.latest.Size == head.Size
	if !done && f.since.IsZero() && f.o.Policy.Asks() {
		f.since = f.o.Now()
	}
	f.mu.Unlock()
	if done {
		f.judge()
		return // nothing new; a witness that missed this one gets the next
	}
	answers := make([][]note.Signature, len(f.peers))
	var wg sync.WaitGroup
	for i, p := range f.peers {
		if now := f.o.Now(); now.Before(p.after) {
			continue
		}
		wg.Go(func() {
			asking, cancel := context.WithTimeout(ctx, f.o.Timeout)
			defer cancel()
			sigs, err := f.ask(asking, p, head)
			if ctx.Err() == nil {
				f.settle(p, head, err)
				f.clear(ctx, p, err)
			}
			answers[i] = sigs
		})
	}
	wg.Wait()
	head.Note = cosign(head.Note, answers)
	if f.o.Policy.Satisfied(head.Note) {
		if err := f.o.Keep(ctx, head); err != nil {
			f.o.Logger.Warn("witness: the cosigned checkpoint cannot be kept; it is tried again", "size", head.Size, "error", err)
		} else {
			f.mu.Lock()
			f.latest, f.since = head, time.Time{}
			f.changed()
			f.mu.Unlock()
			f.m.size.Set(float64(head.Size))
		}
	}
	f.judge()
}

// cosign appends the witnesses' lines to a signed note; the order is that of the policy.
func cosign(signed []byte, answers [][]note.Signature) []byte {
	out := bytes.Clone(signed)
	for _, sigs := range answers {
		for _, s := range sigs {
			out = fmt.Appendf(out, "\u2014 %s %s\n", s.Name, s.Base64)
		}
	}
	return out
}

// maxSteps bounds the requests of one round to one witness: the first may learn its size, the second uses it, and one
// more allows for another feeder of the same log.
const maxSteps = 3

// ask gets one witness's cosignature. What the witness holds is learnt from its 409.
func (f *Feeder) ask(ctx context.Context, p *peer, head Head) ([]note.Signature, error) {
	const op = "witness.ask"
	for range maxSteps {
		old := p.held
		if old > head.Size {
			if now, _ := f.o.Log.Head(); old > now.Size {
				return nil, f.conflict(ctx, p, "rollback", head, old)
			}
			return nil, vaultmesh.Errorf(vaultmesh.Stale, op, p.name, "the witness already holds size %d of this log", old)
		}
		var path [][]byte
		if old > 0 && old < head.Size {
			var err error
			if path, err = f.o.Log.Consistency(old, head.Size); err != nil {
				return nil, err
			}
		}
		sigs, err := p.client.Add(ctx, Request{Old: old, Proof: path, Checkpoint: head.Note})
		var other *SizeError
		switch {
		case err == nil:
			p.setHeld(head.Size)
			return sigs, nil
		case errors.As(err, &other) && other.Held == old && old == head.Size:
			return nil, f.conflict(ctx, p, "equivocation", head, old)
		case errors.As(err, &other) && other.Held == old:
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, p.name, "the witness refuses the size %d and names the same", old)
		case errors.As(err, &other):
			p.setHeld(other.Held)
		case errors.Is(err, errProof) && old > 0 && f.proves(old, path, head):
			return nil, f.conflict(ctx, p, "fork", head, old)
		default:
			return nil, err
		}
	}
	return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, p.name, "its size changed at each of %d requests: another process feeds it", maxSteps)
}

// proves reports whether the proof that a witness refused verifies between this log's own roots.
func (f *Feeder) proves(old uint64, path [][]byte, head Head) bool {
	root, err := f.o.Log.RootAt(old)
	return err == nil && proof.VerifyConsistency(rfc6962.DefaultHasher, old, head.Size, path, root[:], head.Root[:]) == nil
}

// conflictError is a conflict that was reported.
type conflictError struct{ body receipt.ConflictBody }

func (e *conflictError) Error() string {
	return fmt.Sprintf("%s: witness %s holds a tree of size %d, this log has %d", e.body.Found, e.body.Witness, e.body.TheirSize, e.body.Size)
}

// conflict collects what can be proved, and reports it.
func (f *Feeder) conflict(ctx context.Context, p *peer, found string, head Head, their uint64) error {
	c := receipt.ConflictBody{Witness: p.client.Verifier.Name(), Found: found, Origin: f.o.Origin, Size: head.Size, Ours: vaultmesh.Sum(head.Note), TheirSize: their}
	held, err := p.client.Held(ctx, f.o.Origin)
	if err == nil {
		if t, _, err := parseText(held); err == nil && t.Origin == f.o.Origin {
			c.Theirs, c.TheirSize = vaultmesh.Sum(held), t.Size
			c.Proved = f.o.Own != nil && f.o.Own(held) == nil && f.contradicts(t.Size, vaultmesh.Digest(t.Hash))
		} else {
			held = nil
		}
	}
	p.setHeld(0) // learnt anew each time: what such a witness said once must not bind for ever
	f.m.conflicts.WithLabelValues(p.name, found).Inc()
	f.o.Logger.Error("witness: a witness holds another tree of this log", "witness", p.name, "found", found, "size", head.Size, "their_size", c.TheirSize, "proved", c.Proved)
	if err := f.o.Report(ctx, c, head.Note, held); err != nil {
		f.o.Logger.Error("witness: the conflict cannot be recorded; it is tried again", "witness", p.name, "error", err)
	}
	return &conflictError{c}
}

// contradicts reports whether a tree head is none of this log's.
func (f *Feeder) contradicts(size uint64, root vaultmesh.Digest) bool {
	if now, _ := f.o.Log.Head(); size > now.Size {
		return true
	}
	mine, err := f.o.Log.RootAt(size)
	return err == nil && mine != root
}

// settle records what came of a request.
func (f *Feeder) settle(p *peer, head Head, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := f.o.Now()
	var c *conflictError
	p.err = err
	switch {
	case err == nil:
		p.failures, p.after, p.conflict, p.cosigned, p.at = 0, time.Time{}, "", head.Size, now
		f.m.requests.WithLabelValues(p.name, "cosigned").Inc()
		return
	case errors.As(err, &c):
		p.conflict, p.doubted = c.body.Found, true
		f.m.requests.WithLabelValues(p.name, "conflict").Inc()
	default:
		f.m.requests.WithLabelValues(p.name, "failed").Inc()
		f.o.Logger.Warn("witness: no cosignature; it is tried again", "witness", p.name, "error", err)
	}
	p.failures++
	p.after = now.Add(min(f.o.Interval<<min(p.failures-1, 16), maxBackoff))
}

// clear says that a witness agrees again. Only the round that asks the witness calls it.
func (f *Feeder) clear(ctx context.Context, p *peer, err error) {
	p.mu.Lock()
	due := err == nil && p.doubted
	p.mu.Unlock()
	if !due {
		return
	}
	if f.o.Cleared != nil {
		if err := f.o.Cleared(ctx, p.client.Verifier.Name()); err != nil {
			f.o.Logger.Warn("witness: that it agrees again cannot be recorded; it is tried again", "witness", p.name, "error", err)
			return
		}
	}
	p.mu.Lock()
	p.doubted = false
	p.mu.Unlock()
}

func (p *peer) setHeld(size uint64) {
	p.mu.Lock()
	p.held = size
	p.mu.Unlock()
}

// judge sets and clears the alarm of a policy that is not met.
func (f *Feeder) judge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	waits := time.Duration(0)
	if !f.since.IsZero() {
		waits = f.o.Now().Sub(f.since)
	}
	f.m.unmet.Set(waits.Seconds())
	was := f.alarm
	if f.alarm = waits > f.o.AlarmAfter; f.alarm != was {
		f.changed()
	}
	f.m.alarm.Set(map[bool]float64{true: 1}[f.alarm])
	switch {
	case f.alarm && !was:
		f.o.Logger.Error("witness: the policy is not met; no new checkpoint is witnessed", "for", waits.Round(time.Second), "witnessed_size", f.latest.Size)
	case was && !f.alarm:
		f.o.Logger.Warn("witness: the policy is met again", "size", f.latest.Size)
	}
}

// changed tells those who wait that the state is another; mu is held.
func (f *Feeder) changed() {
	close(f.newer)
	f.newer = make(chan struct{})
}

// Cover returns a checkpoint of at least the given size that satisfies the policy. Where there is none yet, it has the
// witnesses asked now, and waits, while Run runs, for as long as two requests may take. ok is false where it got none in
// time, and at once where the policy has not been met for longer than the limit.
func (f *Feeder) Cover(ctx context.Context, size uint64) (h Head, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*f.o.Timeout)
	defer cancel()
	for {
		f.mu.Lock()
		h, alarm, newer := f.latest, f.alarm, f.newer
		f.mu.Unlock()
		if h.Size >= size && h.Size > 0 {
			return h, true
		}
		if alarm {
			return h, false
		}
		select {
		case f.wake <- struct{}{}:
		default:
		}
		select {
		case <-newer:
		case <-ctx.Done():
			return h, false
		}
	}
}

// Latest returns the newest checkpoint that satisfies the policy; ok is false where there is none yet.
func (f *Feeder) Latest() (h Head, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.latest.Size > 0
}

// Overdue reports whether the policy has not been met for longer than the limit.
func (f *Feeder) Overdue() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alarm
}
