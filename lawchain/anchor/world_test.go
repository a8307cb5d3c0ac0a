package anchor

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ANCHOR_CRASH_DIR"); dir != "" {
		crashChild(dir, os.Getenv("ANCHOR_CRASH_AT"))
		return
	}
	goleak.VerifyTestMain(m)
}

// clock is the time of a test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a log on a journal, with an engine.
type world struct {
	testing.TB
	j     *journal.Journal
	log   *logs.Log
	e     *Engine
	clock *clock
	dir   string
	opts  Options
	lost  []Job // what the alarm told
}

func newWorld(t testing.TB, o Options, plans ...Plan) *world {
	t.Helper()
	w := &world{TB: t, clock: newClock(), dir: t.TempDir(), opts: o}
	w.opts.Plans = plans
	w.open()
	t.Cleanup(func() { _ = w.j.Close() })
	return w
}

func (w *world) open() {
	w.Helper()
	w.log = logs.Open(w, w.dir)
	w.j = w.log.J
	o := w.opts
	o.Log, o.Journal, o.Actor, o.Now, o.Logger = w.log.Log, w.j, "node:test", w.clock.now, slog.New(slog.DiscardHandler)
	o.Alarm = func(j Job, _ string) { w.lost = append(w.lost, j) }
	var err error
	if w.e, err = New(o); err != nil {
		w.Fatal(err)
	}
}

// restart closes and opens everything, as a node does.
func (w *world) restart() {
	w.Helper()
	if err := w.j.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
}

// grow appends n receipts that are not about anchors.
func (w *world) grow(n int) {
	w.Helper()
	drafts := make([]receipt.Draft, n)
	for i := range drafts {
		drafts[i] = logs.Draft(i)
		drafts[i].Time = w.clock.now()
	}
	w.log.Put(w, drafts...)
}

// root appends a root of the state.
func (w *world) root() {
	w.Helper()
	w.log.Put(w, receipt.Draft{Kind: receipt.StateRoot, Subject: receipt.StateSubject("test"), Actor: "node:test", Time: w.clock.now(), Body: []byte(`{}`)})
}

// ask requests anchors and returns the jobs.
func (w *world) ask(targets ...string) []Job {
	w.Helper()
	jobs, err := w.e.Request(w.Context(), Request{Targets: targets, By: "operator:ada"})
	if err != nil {
		w.Fatal(err)
	}
	return jobs
}

// tick steps every target, after d has passed.
func (w *world) tick(d time.Duration) {
	w.Helper()
	w.clock.pass(d)
	for _, l := range w.e.lanes {
		w.e.tick(w.Context(), l)
	}
}

func (w *world) job(id string) Job {
	w.Helper()
	j, err := w.e.Job(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return j
}

func (w *world) want(id string, s State) Job {
	w.Helper()
	j := w.job(id)
	if j.State != s {
		w.Fatalf("job %s is %s (%s), want %s", id, j.State, j.Detail, s)
	}
	return j
}

// told returns the kinds of the receipts about a target, in order.
func (w *world) told(target string) []string {
	w.Helper()
	var out []string
	for _, r := range w.receipts(target) {
		out = append(out, strings.TrimPrefix(r.Kind, "anchor."))
	}
	return out
}

func (w *world) receipts(target string) []receipt.Receipt {
	w.Helper()
	indexes, err := w.log.Subject(receipt.AnchorSubject(target), 0, 1000)
	if err != nil {
		w.Fatal(err)
	}
	var out []receipt.Receipt
	for _, i := range indexes {
		raw, err := w.log.Receipt(i)
		if err != nil {
			w.Fatal(err)
		}
		r, err := receipt.Open(raw)
		if err != nil {
			w.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func (w *world) coverage(target string) Coverage {
	w.Helper()
	all, err := w.e.Coverage()
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range all {
		if c.Target == target {
			return c
		}
	}
	w.Fatalf("no target %s", target)
	return Coverage{}
}

func (w *world) same(what string, got, want any) {
	w.Helper()
	if g, x := fmt.Sprint(got), fmt.Sprint(want); g != x {
		w.Fatalf("%s: got %s, want %s", what, g, x)
	}
}

// chain is a payment network of a test, with blocks.
type chain struct {
	mu     sync.Mutex
	dir    string         // where sent transactions are kept as files; empty: in memory
	sent   map[string]int // by transaction: how often it was sent
	blocks map[string]uint64
	built  int
	head   uint64

	name   string
	fee    string
	depth  uint64 // blocks until an anchor is final
	budget *big.Int
	// What goes wrong; each may be nil.
	before func(step string, j Job) error // "build", "send", "look", "prove"
	after  func(step string)
	twist  func(j Job) Job // changes what Advance returns
}

func newChain(name string) *chain {
	return &chain{name: name, sent: map[string]int{}, blocks: map[string]uint64{}, fee: "100", depth: 3}
}

type memo struct {
	Tx string `json:"tx"`
}

type chainProof struct {
	Digest vaultmesh.Digest `json:"digest"`
	Tx     string           `json:"tx"`
	Height uint64           `json:"height"`
}

func (c *chain) Name() string                        { return c.name }
func (c *chain) Kind() string                        { return "bitcoin" }
func (c *chain) Budget() (perDay *big.Int, u string) { return c.budget, "satoshi" }

func (c *chain) Advance(ctx context.Context, j Job) (Job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var m memo
	if len(j.Memo) > 0 {
		if err := json.Unmarshal(j.Memo, &m); err != nil {
			return j, err
		}
	}
	step := "look"
	if j.State == Queued {
		step = "send"
		if m.Tx == "" {
			step = "build"
		}
	}
	if c.before != nil {
		if err := c.before(step, j); err != nil {
			return j, err
		}
	}
	switch height, mined := c.blocks[m.Tx]; {
	case step == "build":
		c.built++
		j.Memo, _ = json.Marshal(memo{fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(j.ID, "/", "_"), os.Getpid(), c.built)})
		j.Fee, j.Detail = c.fee, "built"
	case step == "send":
		c.sent[m.Tx]++
		if c.dir != "" {
			if err := os.WriteFile(filepath.Join(c.dir, m.Tx), nil, 0o600); err != nil {
				return j, err
			}
			c.blocks[m.Tx] = c.head + 1
			c.head += c.depth
		}
		j.State, j.Detail = Submitted, "sent"
	case !mined && j.State == Confirmed:
		j.State, j.Detail = Submitted, "its block is gone"
	case mined && j.State == Submitted:
		j.State, j.Detail = Confirmed, "in a block"
		j.Proof, _ = json.Marshal(chainProof{j.Digest, m.Tx, height})
	case mined && c.head >= height+c.depth-1:
		j.State, j.Detail = Final, "deep"
		j.Proof, _ = json.Marshal(chainProof{j.Digest, m.Tx, height})
	case mined:
		j.Proof, _ = json.Marshal(chainProof{j.Digest, m.Tx, height})
	}
	if c.twist != nil {
		j = c.twist(j)
	}
	if c.after != nil {
		c.after(step)
	}
	return j, nil
}

func (c *chain) Proved(ctx context.Context, j Job) (Proved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before != nil {
		if err := c.before("prove", j); err != nil {
			return Proved{}, err
		}
	}
	var p chainProof
	if err := json.Unmarshal(j.Proof, &p); err != nil {
		return Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, "chain", "", "no proof")
	}
	if height, ok := c.blocks[p.Tx]; !ok || height != p.Height || p.Digest != j.Digest {
		return Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, "chain", "", "the block does not hold it")
	}
	return Proved{Time: time.Date(2026, 3, 1, 12, 0, int(p.Height), 0, time.UTC), Height: p.Height, Block: fmt.Sprintf("block-%d", p.Height), Source: "test chain"}, nil
}

// mine puts everything that was sent and is in no block into the next one, and n-1 empty blocks on top.
func (c *chain) mine(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for tx := range c.sent {
		if _, in := c.blocks[tx]; !in {
			c.blocks[tx] = c.head + 1
		}
	}
	c.head += n
}

// reorg takes every block away, and builds n empty ones.
func (c *chain) reorg(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.blocks)
	c.head += n
}

// stamper is an authority of a test: one step, no blocks, no fee.
type stamper struct {
	name string
	now  func() time.Time // that it stamps; nil: the beginning of every clock

	mu    sync.Mutex
	fail  func(j Job) error
	calls int
}

func (s *stamper) failing(f func(j Job) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

func (s *stamper) Name() string { return s.name }
func (s *stamper) Kind() string { return "rfc3161" }

func (s *stamper) Advance(ctx context.Context, j Job) (Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if err := s.fail(j); err != nil {
			return j, err
		}
	}
	j.State, j.Proof = Final, []byte("stamp over "+j.Digest.String()+" at "+s.time().Format(time.RFC3339))
	return j, nil
}

func (s *stamper) Proved(_ context.Context, j Job) (Proved, error) {
	at, ok := strings.CutPrefix(string(j.Proof), "stamp over "+j.Digest.String()+" at ")
	t, err := time.Parse(time.RFC3339, at)
	if !ok || err != nil {
		return Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, "stamp", "", "another digest")
	}
	return Proved{Time: t, Source: "CN=test"}, nil
}

func (s *stamper) time() time.Time {
	if s.now == nil {
		return newClock().t
	}
	return s.now()
}
