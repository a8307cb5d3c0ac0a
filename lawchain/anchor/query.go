package anchor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Anchored is a checkpoint with a verified anchor.
type Anchored struct {
	Size   uint64
	Root   vaultmesh.Digest
	Note   []byte // the signed checkpoint, as it was when it was anchored first
	Target string
	Kind   string // type of the proof: "rfc3161", "bitcoin", "ethereum"
	Proof  []byte // over the SHA-256 of receipt.CheckpointBody(Note)
	Final  bool   // not only confirmed
	Time   time.Time
	Height uint64
	Block  string
	Source string
}

// AnchorsCovering returns, for each target that ever had one, the final anchor with the smallest size above index: what
// proves best that the receipt existed. They are sorted by target; several authorities of one kind give one each. An anchor
// that is only confirmed is left out: an auditor who asks for more depth would refuse whatever it is bundled with.
func (e *Engine) AnchorsCovering(index vaultmesh.LogIndex) ([]Anchored, error) {
	return e.anchors(index, false)
}

// AnchorsFor is [Engine.AnchorsCovering], and for a target that has not covered index yet its newest final anchor: it dates
// the receipts before it, beside which a bundle may hold later ones.
func (e *Engine) AnchorsFor(index vaultmesh.LogIndex) ([]Anchored, error) {
	return e.anchors(index, true)
}

func (e *Engine) anchors(index vaultmesh.LogIndex, orNewest bool) ([]Anchored, error) {
	r, prefix := e.o.Journal, keyStanding("")
	settled := map[string]uint64{}
	var targets []string
	err := r.Scan(prefix, keyStanding("\xff"), func(k, v []byte) (bool, error) {
		var s standing
		if err := json.Unmarshal(v, &s); err != nil {
			return false, damaged("target", err)
		}
		target := string(k[len(prefix):])
		targets, settled[target] = append(targets, target), s.Settled
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	var out []Anchored
	for _, t := range targets {
		a, ok, err := covering(r, t, index)
		if err == nil && !ok && orNewest && settled[t] > 0 {
			a, ok, err = covering(r, t, vaultmesh.LogIndex(settled[t]-1))
		}
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, a)
		}
	}
	return out, nil
}

func covering(r journal.Reader, target string, index vaultmesh.LogIndex) (a Anchored, ok bool, err error) {
	err = r.Scan(keyAnchored(target, uint64(index)+1), keyAnchoredEnd(target), func(_, v []byte) (bool, error) {
		if len(v) != 8 {
			return false, damaged("anchors", nil)
		}
		x, err := getRecord(r, numberOf(v))
		if err != nil || x.State != Final {
			return true, err
		}
		a, err = x.anchored(r)
		ok = err == nil
		return false, err
	})
	return a, ok, err
}

// Blocks returns the hashes of the blocks of a target's final anchors, newest checkpoint last, at most limit: what a node can
// say of a chain whose blocks do not prove themselves. r is the journal.
func Blocks(r journal.Reader, target string, limit int) ([]string, error) {
	var out []string
	err := r.Scan(keyAnchored(target, 0), keyAnchoredEnd(target), func(_, v []byte) (bool, error) {
		if len(v) != 8 {
			return false, damaged("anchors", nil)
		}
		x, err := getRecord(r, numberOf(v))
		if err == nil && x.State == Final && x.Block != "" {
			out = append(out, x.Block)
		}
		return true, err
	})
	return out[max(0, len(out)-limit):], err
}

// anchored is a job's anchor with its checkpoint.
func (x *record) anchored(r journal.Reader) (Anchored, error) {
	note, ok, err := r.Get(keyNote(x.Size))
	if err == nil && !ok {
		err = damaged("checkpoint", nil)
	}
	if err != nil {
		return Anchored{}, err
	}
	body, err := receipt.CheckpointBody(note)
	if err != nil || vaultmesh.Sum(body) != x.Digest {
		return Anchored{}, damaged("checkpoint", err)
	}
	return Anchored{Size: x.Size, Root: x.Root, Note: note, Target: x.Target, Kind: x.Kind, Proof: x.Proof, Final: x.State == Final, Time: x.Proved,
		Height: x.Height, Block: x.Block, Source: x.Source}, nil
}

// longest is how long after it was asked for an anchor may be verified and still be found by [Engine.VerifiedSince].
const longest = 30 * 24 * time.Hour

// VerifiedSince returns the anchors that were verified, or became final, after a time, oldest job first: the newest
// maxVerified, which is more than a segment of an archive takes. Of jobs that were asked for before that time the newest
// maxSearch are looked at.
func (e *Engine) VerifiedSince(since time.Time) ([]Anchored, error) {
	s := e.o.Journal.Snapshot()
	defer s.Close()
	next, _, err := getNumber(s, keySequence)
	if err != nil {
		return nil, err
	}
	var out []Anchored
	older := uint64(0)
	for n := next; n > 0 && len(out) < maxVerified && older < maxSearch; n-- {
		x, ok, err := findRecord(s, n-1)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // removed
		}
		if x.Created.Before(since.Add(-longest)) {
			break
		}
		if x.Created.Before(since) {
			older++
		}
		if x.State.Anchored() && x.Updated.After(since) {
			a, err := x.anchored(s)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// Job returns one job as it is durable, or NotFound.
func (e *Engine) Job(ctx context.Context, id string) (Job, error) {
	n, ok, err := getNumber(e.o.Journal, keyID(id[:min(len(id), 2*maxName)]))
	if err != nil {
		return Job{}, err
	}
	if !ok {
		return Job{}, vaultmesh.Errorf(vaultmesh.NotFound, "anchor", fmt.Sprintf("%.80q", id), "there is no such job").WithFix("list the jobs to see their identifiers: <target>@<size>")
	}
	x, err := getRecord(e.o.Journal, n)
	if err != nil {
		return Job{}, err
	}
	return x.Job, e.o.Journal.Settle(ctx)
}

func (e *Engine) jobsOf(ctx context.Context, ids []string) ([]Job, error) {
	out := make([]Job, len(ids))
	for i, id := range ids {
		var err error
		if out[i], err = e.Job(ctx, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Filter selects jobs; zero fields select all.
type Filter struct {
	Target string // a name, or a kind
	State  State
	Before string // only jobs made before this one: the last identifier of the page before
	Limit  int    // 1 to 1000; 0 means 50
}

// maxVerified bounds what VerifiedSince returns.
const maxVerified = 25_000

// maxSearch bounds the jobs that one listing reads.
var maxSearch uint64 = 20_000 // changed by tests alone

// Jobs returns the newest first, without memo and proof. more says that there are others.
func (e *Engine) Jobs(ctx context.Context, f Filter) (out []Job, more bool, err error) {
	if f.Limit <= 0 || f.Limit > 1000 {
		f.Limit = 50
	}
	s := e.o.Journal.Snapshot()
	defer s.Close()
	next, _, err := getNumber(s, keySequence)
	if err != nil {
		return nil, false, err
	}
	if f.Before != "" {
		n, ok, err := getNumber(s, keyID(f.Before[:min(len(f.Before), 2*maxName)]))
		if err != nil {
			return nil, false, err
		}
		if !ok {
			return nil, false, vaultmesh.Errorf(vaultmesh.NotFound, "anchor", fmt.Sprintf("%.80q", f.Before), "there is no such job").WithFix("give the last identifier of the page before")
		}
		next = n
	}
	least := next - min(next, maxSearch)
	out = []Job{}
	for n := next; n > least; n-- {
		x, ok, err := findRecord(s, n-1)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			continue // removed
		}
		if f.Target != "" && f.Target != x.Target && f.Target != x.Kind || f.State != "" && f.State != x.State {
			continue
		}
		if len(out) == f.Limit {
			return out, true, e.o.Journal.Settle(ctx)
		}
		j := x.Job
		j.Memo, j.Proof = nil, nil
		out = append(out, j)
	}
	return out, least > 0, e.o.Journal.Settle(ctx)
}

// rank orders the states by how far they are; a job that failed gets no further.
func rank(s State) int {
	switch s {
	case Submitted:
		return 1
	case Confirmed:
		return 2
	case Final, Failed:
		return 3
	}
	return 0
}

// Wait returns the job once it has come as far as state or has failed, and at each change calls progress, which may be
// nil. The error is ctx's where that ends first; the job is then as it was seen last.
func (e *Engine) Wait(ctx context.Context, id string, state State, progress func(Job)) (Job, error) {
	var last Job
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		j, err := e.Job(ctx, id)
		if err != nil {
			if ctx.Err() != nil {
				return last, ctx.Err()
			}
			return j, err
		}
		if progress != nil && (j.State != last.State || j.Detail != last.Detail || j.Attempts != last.Attempts || !j.Updated.Equal(last.Updated)) {
			progress(j)
		}
		last = j
		if rank(j.State) >= rank(state) {
			return j, nil
		}
		select {
		case <-ctx.Done():
			return j, ctx.Err()
		case <-changed:
		}
	}
}

// Coverage is how much of the log a target vouches for.
type Coverage struct {
	Target   string        `json:"target"`
	Kind     string        `json:"kind"`
	Every    time.Duration `json:"-"`
	Cadence  string        `json:"cadence,omitempty"` // Every in words; empty: on demand only
	Size     uint64        `json:"size,string"`       // of the log
	Anchored uint64        `json:"anchored,string"`   // receipts under a verified anchor
	Share    float64       `json:"share"`             // Anchored of Size, 0 to 1
	Oldest   time.Time     `json:"oldest,omitzero"`   // time of the oldest receipt under no anchor, those that follow from anchors left out
	Jobs     map[State]int `json:"jobs"`              // by state
	Lost     uint64        `json:"lost,string"`       // verified anchors that were taken back
	Spent    string        `json:"spent,omitempty"`   // fees, over all days
	Today    string        `json:"today,omitempty"`   // fees of this UTC day
	Budget   string        `json:"budget,omitempty"`  // of a day; empty: no limit
	Unit     string        `json:"unit,omitempty"`
	Error    string        `json:"error,omitempty"`   // of the last step, where it failed
	Warning  string        `json:"warning,omitempty"` // worth a person's attention; empty if all is well
	counts   stats
}

// Coverage returns the standing of every target, in the order of the configuration.
func (e *Engine) Coverage() ([]Coverage, error) {
	size := uint64(0)
	if cp := e.o.Log.Checkpoint(); cp != nil {
		size = cp.Size
	}
	out := make([]Coverage, 0, len(e.lanes))
	for _, l := range e.lanes {
		c, err := e.coverage(l, size)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (e *Engine) coverage(l *lane, size uint64) (Coverage, error) {
	e.mu.Lock()
	c := Coverage{Target: l.name, Kind: l.kind, Every: l.plan.Every, Size: size, Anchored: min(l.stand.Anchored, size), Lost: l.stand.Lost, Spent: l.stand.Spent, Unit: l.unit,
		Jobs: map[State]int{Queued: 0, Submitted: 0, Confirmed: 0, Final: int(l.stand.Final), Failed: int(l.stand.Failed)}, Error: l.stats.last, counts: l.stats}
	for _, x := range l.open {
		if !x.State.Done() {
			c.Jobs[x.State]++
		}
	}
	e.mu.Unlock()
	if c.Every > 0 {
		c.Cadence = c.Every.String()
	}
	if size > 0 {
		c.Share = float64(c.Anchored) / float64(size)
	}
	if payer, ok := l.plan.Target.(Payer); ok {
		if most, _ := payer.Budget(); most != nil {
			c.Budget = most.String()
		}
		day, _, err := e.o.Journal.Get(keyDay(l.name, e.o.Now().UTC().Format("20060102")))
		if err != nil {
			return c, err
		}
		c.Today = string(day)
	}
	oldest, there, err := l.uncovered.since(e, c.Anchored, size)
	if there {
		c.Oldest = oldest
	}
	c.Warning = e.warning(c)
	return c, err
}

// late is how many cadences the oldest receipt may wait for an anchor before somebody should look.
const late = 3

func (e *Engine) warning(c Coverage) string {
	if c.Every <= 0 || c.Oldest.IsZero() {
		return ""
	}
	age := e.o.Now().Sub(c.Oldest)
	if age <= late*c.Every+time.Minute {
		return ""
	}
	text := fmt.Sprintf("receipts wait for %s since %s, the cadence is %s", c.Target, age.Round(time.Second), c.Every)
	if c.Error != "" {
		text += ": " + c.Error
	}
	return text
}

// Targets returns the names of the configured targets.
func (e *Engine) Targets() []string { return names(e.lanes) }

// Clean returns j without what only the target needs.
func (j Job) Clean() Job {
	j.Memo = nil
	j.Proof = bytes.Clone(j.Proof)
	return j
}
