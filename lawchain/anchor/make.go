package anchor

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// schedule makes the job that is due: the cadence has passed, the log has grown by more than what follows from anchors, and
// no job of the target is on its way.
func (e *Engine) schedule(ctx context.Context, l *lane) error {
	cp := e.o.Log.Checkpoint()
	if l.plan.Every <= 0 || cp == nil {
		return nil
	}
	e.making.Lock()
	defer e.making.Unlock()
	e.mu.Lock()
	stand, busy := l.stand, slices.ContainsFunc(l.open, func(x *record) bool { return !x.State.Anchored() })
	e.mu.Unlock()
	if busy || e.o.Now().Before(stand.Made.Add(l.plan.Every)) {
		return nil
	}
	if _, grew, err := l.grown.since(e, stand.Size, cp.Size); err != nil || !grew {
		return err
	}
	_, err := e.make(ctx, cp, []*lane{l}, Request{}, nil)
	return err
}

// Request asks for anchors now.
type Request struct {
	// Targets by name; "rfc3161" stands for all authorities. Empty means all targets.
	Targets []string
	// Key makes a retry harmless: the same principal with the same key gets the jobs that it got first, as long as they are
	// kept.
	Key string

	By         vaultmesh.Principal
	Capability vaultmesh.Digest // of the token that allowed it
}

// Request makes a job for the newest checkpoint at each target, durably, and returns the jobs. It does not wait: queued is
// not anchored. Where the newest job of a target covers everything but what follows from anchors, and has not failed,
// that job is the answer. Errors: Invalid for an unknown target, Conflict where the key was used for other targets, RateLimited where
// the target was asked too often or too many of its jobs wait, NotFound where the log is empty.
func (e *Engine) Request(ctx context.Context, q Request) ([]Job, error) {
	const op = "anchor.request"
	lanes, err := e.choose(q.Targets)
	if err != nil {
		return nil, err
	}
	if q.Key != "" {
		if err := vaultmesh.CheckID("idempotency_key", q.Key); err != nil {
			return nil, vaultmesh.Wrap(err, op, "idempotency_key")
		}
	}
	cp := e.o.Log.Checkpoint()
	if cp == nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the log is empty: there is nothing to anchor").WithFix("retry when it holds a receipt")
	}
	e.making.Lock()
	defer e.making.Unlock()
	if q.Key != "" {
		known, ok, err := getJSON[asked](e.o.Journal, keyAsked(askedKey(q)))
		if err != nil {
			return nil, err
		}
		if ok {
			if !slices.Equal(known.Targets, names(lanes)) {
				return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, q.Key, "this key was used for %s", strings.Join(known.Targets, ", ")).WithFix("choose a new key for a new intention")
			}
			gone, err := forgotten(e.o.Journal, known.Jobs)
			if err != nil {
				return nil, err
			}
			if !gone {
				return e.jobsOf(ctx, known.Jobs)
			}
		}
	}
	fresh := []*lane{}
	found := map[string]uint64{}
	for _, l := range lanes {
		e.mu.Lock()
		stand, waiting := l.stand, 0
		for _, x := range l.open {
			if x.State == Queued {
				waiting++
			}
		}
		e.mu.Unlock()
		x, err := e.current(l, stand, cp.Size)
		if err != nil {
			return nil, err
		}
		if x != nil {
			found[l.name] = x.number
			e.hurry(l, x.number)
			continue
		}
		if waiting >= e.o.Queue {
			return nil, vaultmesh.Errorf(vaultmesh.RateLimited, op, l.name, "%d of its jobs wait already, which is the limit", waiting).
				WithFix("follow those (anchor list), or repair the target: see its last error")
		}
		fresh = append(fresh, l)
	}
	charged := fresh
	if len(fresh) == 0 && q.Key != "" {
		charged = lanes[:1] // nothing is made, but the key is kept for ever
	}
	if err := e.take(charged); err != nil {
		return nil, err
	}
	made, err := e.make(ctx, cp, fresh, q, found)
	if err != nil {
		e.giveBack(charged)
		return nil, err
	}
	var ids []string
	for _, l := range lanes {
		if x, ok := made[l.name]; ok {
			ids = append(ids, x.ID)
			continue
		}
		x, err := getRecord(e.o.Journal, found[l.name])
		if err != nil {
			return nil, err
		}
		ids = append(ids, x.ID)
	}
	return e.jobsOf(ctx, ids)
}

// current returns the newest job of a target where it covers the log and has not failed, else nil.
func (e *Engine) current(l *lane, stand standing, size uint64) (*record, error) {
	if !stand.Any {
		return nil, nil
	}
	x, err := getRecord(e.o.Journal, stand.Newest)
	if err != nil || x.State == Failed {
		return nil, err
	}
	if _, grew, err := l.grown.since(e, x.Size, size); err != nil || grew {
		return nil, err
	}
	return x, nil
}

// minLook is how long after one look at a job somebody's impatience may cause the next.
const minLook = 500 * time.Millisecond

// hurry has a job looked at now, since somebody asked for it again; false where that was done a moment ago.
func (e *Engine) hurry(l *lane, number uint64) bool {
	now := e.o.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(l.open, func(x *record) bool { return x.number == number && !x.State.Done() })
	if i < 0 || now.Sub(l.open[i].looked) < minLook {
		return false
	}
	x := *l.open[i]
	x.due = time.Time{}
	l.open[i] = &x
	l.rouse()
	return true
}

// choose finds the lanes of the names, in the configured order.
func (e *Engine) choose(wanted []string) ([]*lane, error) {
	const op = "anchor.request"
	if len(e.lanes) == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, "", "no anchor target is configured").WithFix("add one to the anchors section of the configuration")
	}
	if len(wanted) == 0 {
		return e.lanes, nil
	}
	var out []*lane
	for _, l := range e.lanes {
		if slices.ContainsFunc(wanted, func(w string) bool { return w == l.name || w == l.kind }) {
			out = append(out, l)
		}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(out, func(l *lane) bool { return w == l.name || w == l.kind }) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, fmt.Sprintf("%.80q", w), "no such target").WithFix("the targets are %s", strings.Join(names(e.lanes), ", "))
		}
	}
	return out, nil
}

func names(lanes []*lane) []string {
	out := make([]string, len(lanes))
	for i, l := range lanes {
		out[i] = l.name
	}
	return out
}

func askedKey(q Request) vaultmesh.Digest {
	return vaultmesh.Sum([]byte(string(q.By) + "\x00" + q.Key))
}

// make stores a job for the checkpoint at each lane, in one commit with the receipts of who asked; making is held.
// found are the jobs that answer the same request for the lanes that need none.
func (e *Engine) make(ctx context.Context, cp *lawchain.Checkpoint, lanes []*lane, q Request, found map[string]uint64) (map[string]*record, error) {
	if len(lanes) == 0 && q.Key == "" {
		return nil, nil
	}
	body, err := receipt.CheckpointBody(cp.Note)
	if err != nil {
		return nil, err
	}
	now := e.o.Now().UTC()
	made := map[string]*record{}
	stands := map[string]standing{}
	err = e.submit(ctx, func(tx journal.Tx) error {
		clear(made)
		next, _, err := getNumber(tx, keySequence)
		if err != nil {
			return err
		}
		tx.Put(keyNote(cp.Size), cp.Note)
		for _, l := range lanes {
			id, err := newID(tx, l.name, cp.Size)
			if err != nil {
				return err
			}
			x := &record{Job: Job{ID: id, Target: l.name, Kind: l.kind, Size: cp.Size, Root: cp.Root, Digest: vaultmesh.Sum(body), State: Queued, By: q.By,
				Unit: l.unit, Created: now, Updated: now, Detail: "waits for its turn"}, number: next}
			s, _, err := getJSON[standing](tx, keyStanding(l.name))
			if err != nil {
				return err
			}
			s.Newest, s.Any, s.Made, s.Size = x.number, true, now, x.Size
			putNumber(tx, keyID(id), x.number)
			tx.Put(keyOpenJob(x.number), nil)
			if err := putJSON(tx, keyJob(x.number), x); err != nil {
				return err
			}
			if err := putJSON(tx, keyStanding(l.name), s); err != nil {
				return err
			}
			if q.By != "" {
				if err := e.receipt(tx, receipt.AnchorRequested, q.By, q.Capability, x, "requested", receipt.AnchorRequestBody{AnchorRef: x.ref()}); err != nil {
					return err
				}
			}
			made[l.name], stands[l.name] = x, s
			next++
		}
		putNumber(tx, keySequence, next)
		return e.remember(tx, q, lanes, made, found)
	})
	if err != nil {
		return nil, err
	}
	for _, l := range lanes {
		e.mu.Lock()
		l.stand = stands[l.name]
		l.open = append(l.open, made[l.name])
		e.mu.Unlock()
		l.rouse()
	}
	e.tell()
	return made, nil
}

// remember stores what an idempotency key was used for, in the same commit.
func (e *Engine) remember(tx journal.Tx, q Request, lanes []*lane, made map[string]*record, found map[string]uint64) error {
	if q.Key == "" {
		return nil
	}
	var a asked
	for _, l := range e.lanes {
		if x, ok := made[l.name]; ok {
			a.Targets, a.Jobs = append(a.Targets, l.name), append(a.Jobs, x.ID)
		} else if n, ok := found[l.name]; ok {
			x, err := getRecord(tx, n)
			if err != nil {
				return err
			}
			a.Targets, a.Jobs = append(a.Targets, l.name), append(a.Jobs, x.ID)
		}
	}
	return putJSON(tx, keyAsked(askedKey(q)), a)
}

// newID returns "<target>@<size>", with a number behind it where jobs of that size were there before.
func newID(r journal.Reader, target string, size uint64) (string, error) {
	id := fmt.Sprintf("%s@%d", target, size)
	for n := 2; ; n++ {
		_, taken, err := r.Get(keyID(id))
		if err != nil || !taken {
			return id, err
		}
		id = fmt.Sprintf("%s@%d.%d", target, size, n)
	}
}

// bucket holds the tokens of a target.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes one token of each lane, or none of any and says when there is one.
func (e *Engine) take(lanes []*lane) error {
	now := e.o.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range lanes {
		if d := now.Sub(l.fill.at); d > 0 { // a clock that was set back adds nothing
			l.fill.tokens = min(float64(l.plan.Burst), l.fill.tokens+float64(d)/float64(l.plan.Refill))
		}
		l.fill.at = now
		if missing := 1 - l.fill.tokens; missing > 0 {
			wait := time.Duration(missing * float64(l.plan.Refill))
			return vaultmesh.Errorf(vaultmesh.RateLimited, "anchor.request", l.name, "it was asked %d times at once, and may be asked once every %s", l.plan.Burst, l.plan.Refill).
				WithFix("wait %d s; the schedule anchors without being asked, and one anchor covers everything before it", int(math.Ceil(wait.Seconds())))
		}
	}
	for _, l := range lanes {
		l.fill.tokens--
	}
	return nil
}

func (e *Engine) giveBack(lanes []*lane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range lanes {
		l.fill.tokens = min(float64(l.plan.Burst), l.fill.tokens+1)
	}
}
