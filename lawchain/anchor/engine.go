package anchor

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
)

// Plan is a target and when it is used.
type Plan struct {
	Target Target
	// Every is the least time between two jobs of the schedule, which makes one only where the log has grown by more
	// than what follows from anchors. 0 means on demand only.
	Every time.Duration
	// Burst and Refill bound the demand: at most Burst jobs at once, and one more for each Refill that passes.
	// Defaults: 4 and Every, at most one minute for targets that cost nothing and 10 minutes for those that do.
	Burst  int
	Refill time.Duration
}

// Options of an [Engine]. Log, Journal and Actor are required; zero fields take their default.
type Options struct {
	Log     *lawchain.Log
	Journal *journal.Journal
	Actor   vaultmesh.Principal // whose receipts these are: the node
	Plans   []Plan

	StepTime time.Duration // for which a target may work on one step; default 30 s
	Poll     time.Duration // until a step is repeated that found nothing new, where the target does not say; default 15 s
	RetryMin time.Duration // after the first failed step, then twice as long each time, half to one and a half of it by chance; default 2 s
	RetryMax time.Duration // default 5 min
	GiveUp   time.Duration // after which a job of which nothing was signed or sent yet fails; default 24 h
	Refusals int           // failed steps in a row that cannot be retried, after which such a job fails; default 5
	Watch    time.Duration // for which a final anchor with a block is proved again from time to time; default 72 h
	Recheck  time.Duration // how often that is done; default 1 h
	Queue    int           // jobs of one target that may wait; default 8
	// Keep is how long every job is kept; later only what bundles and proofs need is, see prune.go. Default 90 days, at least
	// 31.
	Keep time.Duration

	Seed   uint64           // of the jitter
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
	// Alarm is called when an anchor that was final is lost; default: an error in the log. It must not block.
	Alarm func(j Job, reason string)
	// Settled is called when an anchor became final, or a final one was lost. It must not block. May be nil.
	Settled func(j Job)
}

func (o *Options) setDefaults() {
	set(&o.StepTime, 30*time.Second)
	set(&o.Poll, 15*time.Second)
	set(&o.RetryMin, 2*time.Second)
	set(&o.RetryMax, 5*time.Minute)
	set(&o.GiveUp, 24*time.Hour)
	set(&o.Refusals, 5)
	set(&o.Watch, 72*time.Hour)
	set(&o.Recheck, time.Hour)
	set(&o.Queue, 8)
	set(&o.Keep, 90*24*time.Hour)
	o.Keep = max(o.Keep, longest+24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Alarm == nil {
		o.Alarm = func(j Job, reason string) {
			o.Logger.Error("ALARM: a final anchor was lost", "target", j.Target, "job", j.ID, "size", j.Size, "reason", reason)
		}
	}
}

func set[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

// lane is one target at work. Run's goroutine for it is the only one that steps its jobs.
type lane struct {
	plan Plan
	name string
	kind string
	unit string
	wake chan struct{} // capacity 1: there is a new job
	rng  *rand.Rand    // owned by the lane's goroutine

	grown     growth // since the newest job
	uncovered growth // since the largest anchor

	// Guarded by Engine.mu; records are replaced, never changed.
	open  []*record // ascending by number
	stand standing
	stats stats
	fill  bucket
}

// stats count since the start of the process.
type stats struct {
	steps, failures, refused uint64 // refused: results that claimed an anchor and did not prove it, among failures
	last                     string // error of the last step that failed; empty after one that did not
}

// Engine runs the jobs of all targets. Its methods are safe for concurrent use.
type Engine struct {
	o     Options
	lanes []*lane

	making sync.Mutex // held while jobs are made, so that two requests do not make the same one

	mu      sync.Mutex // guards what follows and the lanes' parts that say so; never held during I/O
	changed chan struct{}
}

// New reads the jobs from the journal, after the log has been loaded. Nothing runs until [Engine.Run].
func New(o Options) (*Engine, error) {
	o.setDefaults()
	e := &Engine{o: o, changed: make(chan struct{})}
	for _, p := range o.Plans {
		if err := e.add(p); err != nil {
			return nil, err
		}
	}
	return e, e.load()
}

// maxName bounds a target's name in bytes; it is part of keys, identifiers and receipts' subjects.
const maxName = 80

func (e *Engine) add(p Plan) error {
	const op = "anchor.target"
	name := p.Target.Name()
	for part := range strings.SplitSeq(name, "/") {
		if err := vaultmesh.CheckID("target", part); err != nil || strings.Contains(part, "@") || len(name) > maxName {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, name, "not a name for a target").Because(err).
				WithFix("use letters, digits and . _ -, at most %d in all", maxName)
		}
	}
	if e.lane(name) != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, name, "two targets have this name").WithFix("give each authority a name of its own")
	}
	l := &lane{plan: p, name: name, kind: p.Target.Kind(), wake: make(chan struct{}, 1), rng: rand.New(rand.NewPCG(e.o.Seed, uint64(len(e.lanes))))}
	payer, pays := p.Target.(Payer)
	if pays {
		_, l.unit = payer.Budget()
	}
	set(&l.plan.Burst, 4)
	if l.plan.Refill <= 0 {
		most := time.Minute
		if pays {
			most = 10 * time.Minute
		}
		l.plan.Refill = most
		if p.Every > 0 {
			l.plan.Refill = min(p.Every, most)
		}
	}
	l.fill = bucket{tokens: float64(l.plan.Burst), at: e.o.Now()}
	e.lanes = append(e.lanes, l)
	return nil
}

func (e *Engine) lane(name string) *lane {
	for _, l := range e.lanes {
		if l.name == name {
			return l
		}
	}
	return nil
}

// load reads what the lanes need: the targets' standings and the jobs that are still looked at.
func (e *Engine) load() error {
	r := e.o.Journal
	for _, l := range e.lanes {
		var err error
		if l.stand, _, err = getJSON[standing](r, keyStanding(l.name)); err != nil {
			return err
		}
	}
	strangers := map[string]int{}
	err := r.Scan(keyOpen, keyOpenEnd, func(k, _ []byte) (bool, error) {
		if len(k) != len(keyOpen)+8 {
			return false, damaged("open jobs", nil)
		}
		x, err := getRecord(r, numberOf(k))
		if err != nil {
			return false, err
		}
		if l := e.lane(x.Target); l != nil {
			l.open = append(l.open, x)
		} else {
			strangers[x.Target]++
		}
		return true, nil
	})
	for target, n := range strangers {
		e.o.Logger.Warn("jobs wait for an anchor target that is not configured any more", "target", target, "jobs", n)
	}
	return err
}

// Run works until ctx ends: one goroutine for each target.
func (e *Engine) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, l := range e.lanes {
		group.Go(func() { e.run(ctx, l) })
	}
	group.Go(func() { e.pruneLoop(ctx) })
	group.Wait()
}

func (e *Engine) run(ctx context.Context, l *lane) {
	for ctx.Err() == nil {
		wait := e.tick(ctx, l).Sub(e.o.Now())
		t := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-l.wake:
		}
		t.Stop()
	}
}

// maxIdle is how long a lane sleeps at most, and minIdle how often it looks whether the log has grown.
const (
	maxIdle = 10 * time.Second
	minIdle = 500 * time.Millisecond
)

// tick does what is due and returns when to look again. The lane's goroutine alone calls it.
func (e *Engine) tick(ctx context.Context, l *lane) time.Time {
	if err := e.schedule(ctx, l); err != nil && ctx.Err() == nil {
		e.o.Logger.Warn("cannot make an anchor job", "target", l.name, "error", err)
	}
	for _, x := range e.openOf(l) {
		if ctx.Err() != nil {
			break
		}
		e.work(ctx, l, x)
	}
	now := e.o.Now()
	next := now.Add(maxIdle)
	if l.plan.Every > 0 {
		e.mu.Lock()
		due := l.stand.Made.Add(l.plan.Every)
		e.mu.Unlock()
		if due.Before(next) {
			next = due
		}
		// It is due and was not made: the log did not grow, or a job is under way. Look again soon, but not all the time.
		if least := now.Add(min(max(l.plan.Every/8, minIdle), maxIdle)); next.Before(least) && !due.After(now) {
			next = least
		}
	}
	for _, x := range e.openOf(l) {
		if e.startable(l, x) && x.due.Before(next) {
			next = x.due
		}
	}
	return next
}

func (e *Engine) openOf(l *lane) []*record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(l.open)
}

// startable reports whether the job may be stepped: where it costs money, one at a time begins, so that nonces and coins of
// one transaction are settled before the next is built.
func (e *Engine) startable(l *lane, x *record) bool {
	if _, pays := l.plan.Target.(Payer); !pays || x.State != Queued || len(x.Memo) > 0 {
		return true
	}
	for _, other := range e.openOf(l) {
		if other.number != x.number && (other.State == Submitted || other.State == Queued && (len(other.Memo) > 0 || other.number < x.number)) {
			return false
		}
	}
	return true
}

// replace puts the new form of a job in its place, or takes it out where nothing is left to do.
func (e *Engine) replace(l *lane, x *record, keep bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(l.open, func(o *record) bool { return o.number == x.number })
	switch {
	case i < 0 && keep:
		l.open = append(l.open, x)
	case i >= 0 && keep:
		l.open[i] = x
	case i >= 0:
		l.open = slices.Delete(l.open, i, i+1)
	}
}

// tell wakes whoever waits for a change of a job.
func (e *Engine) tell() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}
