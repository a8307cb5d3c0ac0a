package anchor

import (
	"bytes"
	"context"
	"errors"
	"runtime/debug"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of what a target may store with a job, in bytes.
const (
	maxMemo   = 64 << 10
	maxProof  = 1 << 20
	maxDetail = 400
)

// maxFuture is how far ahead of the node's clock an anchor's time may be: a Bitcoin block may be two hours early.
const maxFuture = 2*time.Hour + 15*time.Minute

// maxSteps bounds the steps of one job that follow each other without a pause.
const maxSteps = 6

// work steps one job as far as it goes now.
func (e *Engine) work(ctx context.Context, l *lane, x *record) {
	for range maxSteps {
		if ctx.Err() != nil || !e.startable(l, x) || e.o.Now().Before(x.due) {
			return
		}
		next, again := e.step(ctx, l, x)
		if next == nil || !again {
			return
		}
		x = next
	}
}

// step takes a job one step and makes the result durable. It returns the job's new form, nil where it is done with, and
// whether the next step may follow at once.
func (e *Engine) step(ctx context.Context, l *lane, x *record) (_ *record, again bool) {
	seen := *x
	seen.looked = e.o.Now()
	x = &seen
	if x.State == Final {
		return e.recheck(ctx, l, x)
	}
	if x.State == Queued && len(x.Memo) == 0 && e.o.Now().Sub(x.Created) > e.o.GiveUp {
		return e.fail(ctx, l, x, "no anchor came of it within "+e.o.GiveUp.String()+"; "+x.Detail)
	}
	e.count(l, func(s *stats) { s.steps++ })
	before := x.Job.Clone()
	before.NotBefore = time.Time{}
	out, err := e.advance(ctx, l, before)
	if err == nil {
		err = e.sane(&out)
	}
	var p Proved
	if err == nil && out.State.Anchored() && (!x.State.Anchored() || !bytes.Equal(out.Proof, x.Proof) || out.State != x.State) {
		if p, err = e.prove(ctx, l, out); err != nil {
			e.count(l, func(s *stats) { s.refused++ })
		}
	}
	if err != nil {
		return e.stumble(ctx, l, x, err)
	}
	y := *x
	y.State, y.Memo, y.Fee, y.Detail = out.State, out.Memo, out.Fee, clip(out.Detail)
	if y.State.Anchored() {
		y.Proof = out.Proof
		if !p.Time.IsZero() {
			y.Proved, y.Height, y.Block, y.Source = p.Time.UTC(), p.Height, clip(p.Block), clip(p.Source)
		}
	}
	same := y.State == x.State && bytes.Equal(y.Memo, x.Memo) && bytes.Equal(y.Proof, x.Proof) && y.Fee == x.Fee && y.Detail == x.Detail && x.Attempts == 0
	moved := y.State != x.State || !bytes.Equal(y.Memo, x.Memo)
	y.Attempts, y.NotBefore = 0, out.NotBefore
	now := e.o.Now()
	switch {
	case out.NotBefore.After(now):
		y.due = out.NotBefore
	case moved && (y.State == Queued || y.State == x.State):
		y.due = now // something was built; sending it is the next step
	default:
		y.due = now.Add(e.o.Poll)
	}
	e.count(l, func(s *stats) { s.last = "" })
	if same {
		e.replace(l, &y, true)
		return &y, false
	}
	if err := e.store(ctx, l, x, &y); err != nil {
		return e.stumble(ctx, l, x, err)
	}
	if y.State == Final && y.Watch.IsZero() || y.State == Failed {
		return nil, false
	}
	return &y, !y.due.After(now)
}

// advance calls the target, bounded in time; a panic of its is an error.
func (e *Engine) advance(ctx context.Context, l *lane, j Job) (out Job, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.StepTime)
	defer cancel()
	defer e.recovered(l, j, &err)
	return l.plan.Target.Advance(ctx, j)
}

// prove has the target verify the proof of a job.
func (e *Engine) prove(ctx context.Context, l *lane, j Job) (p Proved, err error) {
	const op = "anchor.prove"
	if len(j.Proof) == 0 {
		return Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, j.ID, "the target says %s and gives no proof", j.State)
	}
	ctx, cancel := context.WithTimeout(ctx, e.o.StepTime)
	defer cancel()
	defer e.recovered(l, j, &err)
	if p, err = l.plan.Target.Proved(ctx, j.Clone()); err != nil {
		return Proved{}, err
	}
	if p.Time.IsZero() {
		return Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, j.ID, "the proof states no time")
	}
	if ahead := p.Time.Sub(e.o.Now()); ahead > maxFuture {
		return Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, j.ID, "the anchor's time is %s in the future", ahead.Round(time.Second)).
			WithFix("compare this machine's clock with the target's")
	}
	return p, nil
}

func (e *Engine) recovered(l *lane, j Job, err *error) {
	if p := recover(); p != nil {
		e.o.Logger.Error("an anchor target panicked", "target", l.name, "job", j.ID, "panic", p, "stack", string(debug.Stack()))
		*err = vaultmesh.Errorf(vaultmesh.Internal, "anchor.step", j.ID, "the target panicked")
	}
}

// sane refuses a result that breaks the contract of [Target].
func (e *Engine) sane(j *Job) error {
	bad := func(format string, args ...any) error {
		return vaultmesh.Errorf(vaultmesh.Internal, "anchor.step", j.ID, format, args...)
	}
	switch j.State {
	case Queued, Submitted, Confirmed, Final, Failed:
	default:
		return bad("the target returned the state %.20q", j.State)
	}
	if len(j.Memo) > maxMemo || len(j.Proof) > maxProof {
		return bad("the target wants to keep %d and %d bytes, the limits are %d and %d", len(j.Memo), len(j.Proof), maxMemo, maxProof)
	}
	if _, ok := amount(j.Fee); !ok {
		return bad("the target returned a fee that is no decimal integer")
	}
	return nil
}

// stumble notes a failed step: the job stays as it was and is tried again, later and later, unless it may be given up.
func (e *Engine) stumble(ctx context.Context, l *lane, x *record, err error) (*record, bool) {
	if ctx.Err() != nil {
		return nil, false // the node stops; that is no failure of the target
	}
	e.count(l, func(s *stats) { s.failures++; s.last = words(err) })
	e.o.Logger.Warn("an anchor step failed; it is tried again", "target", l.name, "job", x.ID, "state", x.State, "attempts", x.Attempts+1, "error", err)
	kind := vaultmesh.KindOf(err)
	y := *x
	y.Attempts++
	y.Detail = clip(words(err))
	if x.State == Queued && len(x.Memo) == 0 && !kind.Retryable() && y.Attempts >= e.o.Refusals {
		return e.fail(ctx, l, x, y.Detail)
	}
	y.NotBefore = e.o.Now().Add(e.backoff(l, y.Attempts))
	var spent *overdrawn
	if errors.As(err, &spent) && x.State == Queued { // what was sent is looked for all the same
		y.NotBefore = spent.until
	}
	y.due = y.NotBefore
	if err := e.store(ctx, l, x, &y); err != nil && ctx.Err() == nil {
		// The journal refuses, so nothing may be done; what the lane remembers keeps it from trying all the time.
		e.o.Logger.Warn("cannot store an anchor job", "job", x.ID, "error", err)
		e.replace(l, &y, true)
	}
	return &y, false
}

// backoff doubles with each failed step, and half of it is chance, so that nodes that failed together come apart.
func (e *Engine) backoff(l *lane, attempts int) time.Duration {
	d := e.o.RetryMin
	for i := 1; i < attempts && d < e.o.RetryMax; i++ {
		d *= 2
	}
	d = min(d, e.o.RetryMax)
	return d/2 + time.Duration(l.rng.Int64N(int64(d)+1))
}

// fail ends a job.
func (e *Engine) fail(ctx context.Context, l *lane, x *record, reason string) (*record, bool) {
	y := *x
	y.State, y.Detail = Failed, clip(reason)
	if err := e.store(ctx, l, x, &y); err != nil && ctx.Err() == nil {
		e.o.Logger.Warn("cannot store an anchor job", "job", x.ID, "error", err)
	}
	return nil, false
}

// maxWatched bounds the final anchors of one target that are proved again from time to time: those before it are under them.
const maxWatched = 100

// watched counts the final jobs of a lane that are newer and still watched.
func (e *Engine) watched(l *lane, number uint64) (n int) {
	for _, x := range e.openOf(l) {
		if x.State == Final && x.number > number {
			n++
		}
	}
	return n
}

// recheck proves a final anchor again: a re-organisation deeper than the confirmations that were asked for is rare, and
// nobody would see it otherwise.
func (e *Engine) recheck(ctx context.Context, l *lane, x *record) (*record, bool) {
	y := *x
	p, err := e.prove(ctx, l, x.Job)
	now := e.o.Now()
	switch {
	case ctx.Err() != nil:
		return nil, false
	case err == nil && p.Block == x.Block && (now.After(x.Watch) || e.watched(l, x.number) > maxWatched):
		y.Watch = time.Time{} // looked at for the last time
	case err == nil && p.Block == x.Block, err != nil && vaultmesh.KindOf(err) != vaultmesh.Corrupt:
		if err != nil {
			e.o.Logger.Warn("a final anchor cannot be looked at again now", "job", x.ID, "error", err)
		}
		y.due = now.Add(e.o.Recheck)
		e.replace(l, &y, true)
		return &y, false
	case err == nil:
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "anchor.recheck", x.ID, "the proof is about block %s now", clip(p.Block))
		fallthrough
	default:
		y.State, y.Detail, y.Watch, y.due = Submitted, clip(words(err)), time.Time{}, now
	}
	if err := e.store(ctx, l, x, &y); err != nil {
		e.o.Logger.Warn("cannot store an anchor job", "job", x.ID, "error", err)
		return nil, false
	}
	return &y, false
}

// store makes y durable in the place of x, in one commit with what follows from it: the account of the day, the index of
// anchors, the target's standing, the receipts. It changes y's own bookkeeping.
func (e *Engine) store(ctx context.Context, l *lane, x, y *record) error {
	y.Updated = e.o.Now().UTC()
	block := x.Block != y.Block || x.Height != y.Height
	lost := x.Receipted && (!y.State.Anchored() || block)
	if !y.State.Anchored() {
		y.Proof, y.Proved, y.Height, y.Block, y.Source = nil, time.Time{}, 0, "", ""
	}
	verified := y.State.Anchored() && (!x.Receipted || lost || y.State != x.State)
	y.Receipted = y.State.Anchored() && (verified || x.Receipted)
	if y.State == Final && x.State != Final && y.Height > 0 {
		y.Watch = y.Updated.Add(e.o.Watch)
		y.due = y.Updated.Add(e.o.Recheck)
	}
	keep := !y.State.Done() || y.State == Final && !y.Watch.IsZero()
	var stand standing
	err := e.submit(ctx, func(tx journal.Tx) (err error) {
		if stand, _, err = getJSON[standing](tx, keyStanding(l.name)); err != nil {
			return err
		}
		if err := e.charge(tx, l, x, y, &stand); err != nil {
			return err
		}
		if lost {
			stand.Lost++
			if err := e.receipt(tx, receipt.AnchorLost, e.o.Actor, vaultmesh.Digest{}, y, "lost", receipt.AnchorEndBody{AnchorRef: y.ref(), Reason: why(y, "the target gives another block"),
				Height: x.Height, Block: x.Block, Final: x.State == Final, Fee: y.Fee}); err != nil {
				return err
			}
		}
		if x.State.Anchored() && !y.State.Anchored() {
			tx.Delete(keyAnchored(l.name, y.Size))
			if err := fallBack(tx, l.name, &stand); err != nil {
				return err
			}
		}
		if verified {
			tx.Put(keyAnchored(l.name, y.Size), keyJob(y.number)[len("l/j/j/"):])
			if y.Size > stand.Anchored {
				stand.Anchored = y.Size
			}
			if y.State == Final && y.Size > stand.Settled {
				stand.Settled = y.Size
			}
			if err := e.receipt(tx, receipt.AnchorVerified, e.o.Actor, vaultmesh.Digest{}, y, "verified", y.body()); err != nil {
				return err
			}
		}
		switch {
		case y.State == Final && x.State != Final:
			stand.Final++
		case y.State != Final && x.State == Final:
			stand.Final--
		case y.State == Failed:
			stand.Failed++
			if stand.Newest == y.number { // so that the schedule tries again although the log did not grow
				stand.Size = stand.Anchored
			}
			if err := e.receipt(tx, receipt.AnchorFailed, e.o.Actor, vaultmesh.Digest{}, y, "failed", receipt.AnchorEndBody{AnchorRef: y.ref(), Reason: why(y, "the target gave up"), Fee: y.Fee}); err != nil {
				return err
			}
		}
		if !keep {
			tx.Delete(keyOpenJob(y.number))
		}
		if err := putJSON(tx, keyJob(y.number), y); err != nil {
			return err
		}
		return putJSON(tx, keyStanding(l.name), stand)
	})
	if err != nil {
		return err
	}
	e.mu.Lock()
	l.stand = stand
	e.mu.Unlock()
	e.replace(l, y, keep)
	e.tell()
	e.announce(x, y, lost)
	return nil
}

// announce tells people what became of a job.
func (e *Engine) announce(x, y *record, lost bool) {
	if (x.State == Final) != (y.State == Final) && e.o.Settled != nil {
		e.o.Settled(y.Job)
	}
	switch {
	case lost && x.State == Final:
		e.o.Alarm(y.Job, why(y, "the target gives another block"))
	case lost:
		e.o.Logger.Warn("an anchor was taken back by a re-organisation", "job", y.ID, "height", x.Height, "block", x.Block, "state", y.State)
	case y.State == Failed:
		e.o.Logger.Warn("an anchor job failed", "job", y.ID, "reason", y.Detail, "fee", y.Fee)
	case y.State.Anchored() && !x.State.Anchored():
		e.o.Logger.Info("anchored", "job", y.ID, "state", y.State, "time", y.Proved, "height", y.Height)
	}
}

// fallBack finds the largest sizes that are still anchored, and still final; it is rare enough to read them all.
func fallBack(tx journal.Tx, target string, s *standing) error {
	s.Anchored, s.Settled = 0, 0
	return tx.Scan(keyAnchored(target, 0), keyAnchoredEnd(target), func(k, v []byte) (bool, error) {
		if len(v) != 8 {
			return false, damaged("anchors", nil)
		}
		x, err := getRecord(tx, numberOf(v))
		if err != nil {
			return false, err
		}
		if s.Anchored = x.Size; x.State == Final {
			s.Settled = x.Size
		}
		return true, nil
	})
}

// submit runs op in a commit of the journal and waits for it however long it takes: what a target did must not be forgotten
// because the node stops, and what is in memory must be what is durable.
func (e *Engine) submit(ctx context.Context, op journal.Op) error {
	return e.o.Journal.Submit(context.WithoutCancel(ctx), journal.Commands, op)
}

// receipt appends a receipt about a job.
func (e *Engine) receipt(tx journal.Tx, kind string, by vaultmesh.Principal, token vaultmesh.Digest, x *record, outcome string, body any) error {
	raw, err := receipt.Body(body)
	if err != nil {
		return err
	}
	_, _, err = e.o.Log.Append(tx, receipt.Draft{Kind: kind, Subject: receipt.AnchorSubject(x.Target), Actor: by, Time: e.o.Now().UTC(), Capability: token, Outcome: outcome, Body: raw})
	return err
}

func (x *record) ref() receipt.AnchorRef {
	return receipt.AnchorRef{Target: x.Target, Kind: x.Kind, Job: x.ID, Checkpoint: x.Digest, Size: x.Size}
}

func (x *record) body() receipt.AnchorBody {
	return receipt.AnchorBody{AnchorRef: x.ref(), Final: x.State == Final, Time: x.Proved.UTC().Truncate(time.Microsecond), Proof: vaultmesh.Sum(x.Proof),
		Height: x.Height, Block: x.Block, Source: x.Source, Fee: x.Fee}
}

func why(x *record, otherwise string) string {
	if x.Detail == "" {
		return otherwise
	}
	return x.Detail
}

func (e *Engine) count(l *lane, f func(*stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&l.stats)
}

// words puts an error into one sentence for people, without its causes: those may name addresses that hold a key.
func words(err error) string {
	var detail, fix string
	for ; err != nil && detail == ""; err = errors.Unwrap(err) {
		if x, ok := err.(*vaultmesh.Error); ok {
			detail = x.Detail
			if fix == "" {
				fix = x.Fix
			}
		}
	}
	switch {
	case detail == "":
		return "the step failed"
	case fix == "":
		return detail
	}
	return detail + "; " + fix
}

// clip bounds a text for a receipt and makes it one that JSON can hold.
func clip(s string) string {
	s = string(bytes.ToValidUTF8([]byte(s), []byte("?")))
	if len(s) <= maxDetail {
		return s
	}
	return string(bytes.ToValidUTF8([]byte(s[:maxDetail]), nil)) + "…"
}
