package chaos

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// load is the work of the users during one round. Its loops go on through the death of the node: a request without an
// answer is sent again, with the same key, until it has one.
type load struct {
	s    *site
	stop chan struct{}
	wg   sync.WaitGroup
}

// load starts the users.
func (s *site) load(round int) *load {
	l := &load{s: s, stop: make(chan struct{})}
	// A line trips, so that there is something to be closed, which takes a person. Without this one every single outage
	// beside it matters, so that closing it makes nothing worse.
	s.fleet.World(func(w *rig.World) {
		w.Trip(pick(s.r, w.Case.Branches, func(b *powerflow.Branch) bool { return b.From == 12 && b.To == 13 }))
	})
	// Sources of randomness of their own, so that the order of the goroutines does not matter.
	for i := range 2 {
		r := rand.New(rand.NewPCG(s.r.Uint64(), uint64(round)))
		l.loop(time.Duration(60+20*i)*time.Millisecond, func(ctx context.Context, n int) { s.propose(ctx, r, fmt.Sprintf("r%d-a%d-%d", round, i, n)) })
	}
	l.loop(80*time.Millisecond, s.approve)
	l.loop(70*time.Millisecond, s.watch)
	l.loop(30*time.Millisecond, s.checkpoint)
	r := rand.New(rand.NewPCG(s.r.Uint64(), uint64(round)))
	l.loop(400*time.Millisecond, func(context.Context, int) {
		devices := s.fleet.Devices()
		s.fleet.Cut(devices[r.IntN(len(devices))])
	})
	return l
}

func (l *load) loop(every time.Duration, step func(ctx context.Context, n int)) {
	l.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			ctx, cancel := l.s.context()
			step(ctx, n)
			cancel()
		}
	})
}

// wait lets the load work for a random while.
func (l *load) wait(r *rand.Rand) { delay(time.Duration(200+r.IntN(900)) * time.Millisecond) }

// finish begins nothing new and waits until every request has its answer.
func (l *load) finish() {
	close(l.stop)
	l.wg.Wait()
}

// request is the body of a proposal.
type request struct {
	Twin    string         `json:"twin"`
	Command string         `json:"command"`
	Args    map[string]any `json:"args,omitempty"`
	Key     string         `json:"idempotency_key"`
	Reason  string         `json:"reason"`
}

// propose asks for something that an agent might want, one time in eight twice at once under one key.
func (s *site) propose(ctx context.Context, r *rand.Rand, key string) {
	want := s.choose(r)
	want.Key = key
	send := func() (c control.Command) {
		if err := s.agent.Insist(ctx, "POST", "/v1/commands", want, &c); err != nil {
			s.t.Errorf("propose %s %+v: %v", key, want, err)
		} else if err := s.ledger.note(c); err != nil {
			s.t.Error(err)
		}
		return c
	}
	if r.IntN(8) > 0 {
		send()
		return
	}
	var twice [2]control.Command
	var wg sync.WaitGroup
	for i := range twice {
		wg.Go(func() { twice[i] = send() })
	}
	wg.Wait()
	if twice[0].ID != twice[1].ID {
		s.t.Errorf("one key, asked twice at once, made the commands %s and %s", twice[0].ID, twice[1].ID)
	}
}

// choose makes a request that is near the base case of the grid: most are allowed, breakers need a person, and some
// are refused by a rate.
func (s *site) choose(r *rand.Rand) (q request) {
	q.Reason = "chaos"
	s.fleet.World(func(w *rig.World) {
		around := func(v, width, lo, hi float64) float64 { return min(hi, max(lo, v+width*(2*r.Float64()-1))) }
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4: // a set-point of power
			i := r.IntN(len(w.Case.Gens))
			g := &w.Case.Gens[i]
			q.Twin, q.Command = string(w.Index.Gen[i]), grid.SetActivePower
			q.Args = map[string]any{grid.ArgMegawatts: around(s.base.Gens[i].P, 0.03*g.PMax, max(0, g.PMin), g.PMax)}
		case 5, 6:
			i := r.IntN(len(w.Case.Gens))
			q.Twin, q.Command = string(w.Index.Gen[i]), grid.SetVoltage
			q.Args = map[string]any{grid.ArgPerUnit: around(s.base.Gens[i].V, 0.005, 1.0, 1.09)}
		case 7:
			i := pick(r, w.Case.Branches, grid.IsTransformer)
			q.Twin, q.Command = string(w.Index.Branch[i]), grid.SetTap
			q.Args = map[string]any{grid.ArgRatio: around(s.base.Branches[i].Tap, 0.01, 0.92, 1.05)}
		default: // a breaker of the meshed low-voltage part: one that tripped, else any
			i := pick(r, w.Case.Branches, tripped)
			q.Command = grid.CloseBreaker
			if i < 0 {
				i = pick(r, w.Case.Branches, meshed)
				q.Command = grid.OpenBreaker
			}
			q.Twin = string(w.Index.Branch[i])
		}
	})
	return q
}

// meshed are the lines without which every bus is still supplied.
func meshed(b *powerflow.Branch) bool { return !grid.IsTransformer(b) && b.From >= 9 }

func tripped(b *powerflow.Branch) bool { return meshed(b) && !b.InService }

// pick returns the index of a random element that is ok, -1 where there is none.
func pick[T any](r *rand.Rand, list []T, ok func(*T) bool) int {
	var those []int
	for i := range list {
		if ok(&list[i]) {
			those = append(those, i)
		}
	}
	if len(those) == 0 {
		return -1
	}
	return those[r.IntN(len(those))]
}

// approve signs whatever waits for a person.
func (s *site) approve(ctx context.Context, _ int) {
	var list struct {
		Commands []control.Command `json:"commands"`
	}
	if err := s.operator.Insist(ctx, "GET", "/v1/commands?state=awaiting_approval&limit=20", nil, &list); err != nil {
		s.t.Errorf("list what waits for approval: %v", err)
		return
	}
	for _, c := range list.Commands {
		path := "/v1/commands/" + string(c.ID)
		var text []byte
		if err := s.operator.Insist(ctx, "GET", path+"/challenge", nil, &text); err != nil {
			s.tolerate("challenge", err)
			continue
		}
		ch, err := receipt.OpenChallenge(text)
		if err != nil {
			s.t.Errorf("challenge of %s: %v", c.ID, err)
			continue
		}
		body := map[string]any{"key": receipt.KeyID(s.operator.Key.Public().(ed25519.PublicKey)), "signature": receipt.SignApproval(s.operator.Key, ch)}
		var after control.Command
		if err := s.operator.Insist(ctx, "POST", path+"/approve", body, &after); err != nil {
			s.tolerate("approve", err) // the first answer may be lost: then it is approved already
			continue
		}
		if err := s.ledger.note(after); err != nil {
			s.t.Error(err)
		}
	}
}

// tolerate accepts that a command moved on between two requests.
func (s *site) tolerate(what string, err error) {
	if rig.StatusOf(err) != http.StatusConflict {
		s.t.Errorf("%s: %v", what, err)
	}
}

// watch reads commands as anyone may: a state that was shown must not be taken back.
func (s *site) watch(ctx context.Context, _ int) {
	var list struct {
		Commands []control.Command `json:"commands"`
	}
	if err := s.operator.Call(ctx, "GET", "/v1/commands?limit=20", nil, &list); err != nil {
		if st := rig.StatusOf(err); st != 0 && st != http.StatusServiceUnavailable {
			s.t.Errorf("list: %v", err)
		}
		return
	}
	for _, c := range list.Commands {
		if err := s.ledger.note(c); err != nil {
			s.t.Error(err)
		}
	}
}

// checkpoint keeps the tree head that the node shows.
func (s *site) checkpoint(ctx context.Context, _ int) {
	var text []byte
	if err := s.agent.Call(ctx, "GET", "/v1/log/checkpoint", nil, &text); err != nil {
		if st := rig.StatusOf(err); st != 0 && st != http.StatusServiceUnavailable {
			s.t.Errorf("checkpoint: %v", err)
		}
		return
	}
	s.auditing.Lock()
	defer s.auditing.Unlock()
	if _, err := s.auditor.Saw(text); err != nil {
		s.t.Error(err)
	}
}
