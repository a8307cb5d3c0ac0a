package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// points are the named points of a commit at which a node can be killed.
var points = []string{"built", "applied", "synced", "marked"}

// kinds are the ways in which a round ends.
var kinds = []string{"instant", "built", "halted", "applied", "starting", "synced", "instant", "marked"}

// period is how often the fleet reports each of the 52 twins.
const period = 200 * time.Millisecond

// site is a node, its devices and its users over many deaths.
type site struct {
	t      *testing.T
	r      *rand.Rand
	dir    string
	cfg    node.Config
	config string

	base     *powerflow.Case // the grid before anybody changed anything
	fleet    *rig.Fleet
	agent    *rig.Client
	operator *rig.Client
	auditor  *rig.Auditor
	auditing sync.Mutex // guards auditor while the watchers run
	ledger   *ledger

	checked int // acknowledged messages that were found in the history
	bundled map[vaultmesh.CommandID]bool
	deaths  map[string]int
}

func launch(t *testing.T, config, failpoint string) *rig.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{nodeConfig + "=" + config}
	if failpoint != "" {
		env = append(env, "VAULTMESH_FAILPOINT="+failpoint)
	}
	return rig.Launch(t, self, env)
}

// newSite starts a node for the first time, connects the fleet, and stops the node again.
func newSite(t *testing.T, r *rand.Rand) *site {
	dir := t.TempDir()
	s := &site{t: t, r: r, dir: dir, cfg: rig.Config(t, dir), ledger: newLedger(), bundled: map[vaultmesh.CommandID]bool{}, deaths: map[string]int{}}
	// A set-point that another one overtakes never shows at the asset: it is to be known as diverged before the test ends.
	s.cfg.Commands.AnswerWithin, s.cfg.Commands.AlignWithin = 5*time.Second, 6*time.Second
	s.config = rig.WriteConfig(t, dir, s.cfg)
	var err error
	if s.base, err = grid.Load(s.cfg.Grid.Case); err != nil {
		t.Fatal(err)
	}
	p := s.start()
	s.connect()
	s.fleet = rig.StartFleet(t, s.cfg.Grid.Case, s.cfg.Data, dir, s.cfg.MQTT.Listen, period)
	rig.Eventually(t, "every twin has reported", func() bool { return s.fleet.Acked.Load() >= 52 })
	p.Kill()
	return s
}

// start starts a node that must come up.
func (s *site) start() *rig.Process {
	s.t.Helper()
	p := launch(s.t, s.config, "")
	if _, err := p.Ready(); err != nil {
		s.keep()
		s.t.Fatal(err)
	}
	return p
}

// keep says where a copy of the data folder of a node that does not come up is: a soak is not easily repeated.
func (s *site) keep() {
	if !soaking() {
		return
	}
	to := filepath.Join(os.TempDir(), fmt.Sprintf("chaos-%d", os.Getpid()))
	if err := os.CopyFS(to, os.DirFS(s.cfg.Data)); err == nil {
		s.t.Logf("the data folder is kept in %s", to)
	}
}

// connect loads the credentials and pins the keys.
func (s *site) connect() {
	s.t.Helper()
	var err error
	if s.agent, err = rig.LoadClient(s.cfg.Data, node.DevAgent); err == nil {
		s.operator, err = rig.LoadClient(s.cfg.Data, node.DevOperator)
	}
	if err == nil {
		s.auditor, err = rig.NewAuditor(s.cfg.Data)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.agent.Close)
	s.t.Cleanup(s.operator.Close)
}

// round starts a node, works with it until it dies in the given way, starts it again, and checks everything.
func (s *site) round(n int, kind string) {
	s.t.Helper()
	failpoint := ""
	if slices.Contains(points, kind) {
		// Squared, so that the first commits of a start have their turn too.
		x := s.r.Float64()
		failpoint = fmt.Sprintf("%s:%d", kind, 1+int(x*x*250))
	}
	p := launch(s.t, s.config, failpoint)
	if kind == "starting" {
		delay(time.Duration(s.r.IntN(600)) * time.Millisecond)
		p.Kill()
	} else if _, err := p.Ready(); err != nil && (failpoint == "" || !errors.Is(err, rig.ErrEnded)) {
		s.keep()
		s.t.Fatalf("round %d: %v", n, err)
	}
	load := s.load(n)
	switch {
	case failpoint != "":
		died := time.NewTimer(rig.Within)
		select {
		case <-p.Done():
		case <-died.C:
			s.t.Errorf("round %d: the node did not reach %s", n, failpoint)
		}
		died.Stop()
	case kind == "halted":
		load.wait(s.r)
		s.halt()
		delay(time.Duration(s.r.IntN(20)) * time.Millisecond)
	case kind == "instant":
		load.wait(s.r)
	}
	p.Kill()
	if code := p.Exit(s.t); code != -1 {
		s.t.Errorf("round %d (%s): the node ended by itself with status %d: %s", n, kind, code, p.Words())
	}
	s.sound(p)
	s.deaths[kind]++
	p = s.start()
	if kind == "halted" {
		s.stillHalted()
	}
	load.finish()
	s.verify()
	if kind == "halted" {
		s.resume()
	}
	if s.t.Failed() {
		s.t.Fatalf("round %d (%s %s); the node said: %s", n, kind, failpoint, p.Words())
	}
	p.Kill()
	s.sound(p)
}

// sound looks for what a node says only when it has a bug; with -race the node is instrumented too.
func (s *site) sound(p *rig.Process) {
	for _, sign := range []string{"DATA RACE", "panic", "goroutine "} {
		if words := p.Words(); strings.Contains(words, sign) {
			s.t.Errorf("the node said: %s", words)
			return
		}
	}
}

// delay passes a random time before a kill: the instant is the experiment, nothing waits for anything.
func delay(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

func (s *site) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 2*rig.Within)
}

func (s *site) halt() {
	ctx, cancel := s.context()
	defer cancel()
	var h control.HaltState
	if err := s.operator.Insist(ctx, "POST", "/v1/halt", map[string]string{"reason": "chaos"}, &h); err != nil || !h.Halted {
		s.t.Errorf("halt: %v %+v", err, h)
	}
}

func (s *site) stillHalted() {
	ctx, cancel := s.context()
	defer cancel()
	var h control.HaltState
	if err := s.operator.Insist(ctx, "GET", "/v1/halt", nil, &h); err != nil || !h.Halted {
		s.t.Errorf("the halt was acknowledged before the kill and is gone after it: %v %+v", err, h)
	}
}

func (s *site) resume() {
	ctx, cancel := s.context()
	defer cancel()
	var h control.HaltState
	if err := s.operator.Insist(ctx, "DELETE", "/v1/halt?reason=chaos", nil, &h); err != nil || h.Halted {
		s.t.Errorf("resume: %v %+v", err, h)
	}
}

// ledger is what was acknowledged about commands. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	commands map[vaultmesh.CommandID]control.Command
	keys     map[string]vaultmesh.CommandID // principal and key
	fresh    map[vaultmesh.CommandID]bool   // heard of since the last check
}

func newLedger() *ledger {
	return &ledger{commands: map[vaultmesh.CommandID]control.Command{}, keys: map[string]vaultmesh.CommandID{}, fresh: map[vaultmesh.CommandID]bool{}}
}

// note keeps what a node said about a command, and holds it against what was said before: what happened may grow, and
// nothing of it may change.
func (l *ledger) note(c control.Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := string(c.Principal) + " " + c.IdempotencyKey
	if id, ok := l.keys[key]; ok && id != c.ID {
		return fmt.Errorf("the key %q has the commands %s and %s", key, id, c.ID)
	}
	l.keys[key] = c.ID
	l.fresh[c.ID] = true
	before, ok := l.commands[c.ID]
	if !ok {
		l.commands[c.ID] = c
		return nil
	}
	short, long := before, c
	if len(short.History) > len(long.History) { // answers of two requests may overtake each other
		short, long = long, short
	}
	for i, x := range short.History {
		if y := long.History[i]; x.State != y.State || x.Receipt != y.Receipt || !x.Time.Equal(y.Time) || x.Actor != y.Actor {
			return fmt.Errorf("command %s: step %d was %+v and is %+v", c.ID, i, x, y)
		}
	}
	l.commands[c.ID] = long
	return nil
}

// settled is note for an answer that no other request can have overtaken: it must not be older than what is known.
func (l *ledger) settled(c control.Command) error {
	l.mu.Lock()
	before := l.commands[c.ID]
	l.mu.Unlock()
	if len(c.History) < len(before.History) {
		return fmt.Errorf("command %s went backwards: it was %s, and now it is %s", c.ID, before.State, c.State)
	}
	return l.note(c)
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.commands)
}

// takeFresh returns what was heard of since the last call.
func (l *ledger) takeFresh() []vaultmesh.CommandID {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := slices.Sorted(maps.Keys(l.fresh))
	clear(l.fresh)
	return ids
}

// all returns a copy of what is known.
func (l *ledger) all() []control.Command {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.commands))
}
