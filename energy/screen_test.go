package energy

import (
	"context"
	"slices"
	"testing"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/whatif"
)

// naive is the N-1 comparison done the slow way: a full solution for every outage, before and after.
func naive(t *testing.T, s *Simulator, v whatif.View, q whatif.Query) (map[string]bool, int) {
	t.Helper()
	f, b, err := s.open(v)
	if err != nil {
		t.Fatal(err)
	}
	act, why := f.action(q, b.live)
	if why != "" {
		t.Fatal(why)
	}
	if err := b.load(f); err != nil {
		t.Fatal(err)
	}
	if why := b.solve(&b.live.start, &b.before); why != "" {
		t.Fatal(why)
	}
	all := func() map[int][]powerflow.Violation {
		out := map[int][]powerflow.Violation{}
		for i := range f.c.Branches {
			closed := b.live.closed[i]
			if act.kind == grid.KindBranch && act.index == i {
				closed = act.name == grid.CloseBreaker
			}
			if !closed {
				continue
			}
			if err := b.solver.SetBranch(i, false); err != nil {
				t.Fatal(err)
			}
			var sol powerflow.Solution
			if err := b.solver.Solve(powerflow.Options{}, &sol); err == nil && len(sol.Islands) == 1 && sol.DeadBuses == 0 {
				out[i] = limitsOfOutages(b.solver.Violations(&sol, nil))
			}
			if err := b.solver.SetBranch(i, true); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	before := all()
	if _, err := act.apply(f, b); err != nil {
		t.Fatal(err)
	}
	c := comparison{f: f, worsen: s.options.Worsen}
	found := map[string]bool{}
	after := all()
	for i, vs := range after {
		for _, w := range c.worse(before[i], vs, string(f.branch[i])) {
			found[w.Element+" "+w.Limit+" "+w.Outage] = true
		}
	}
	return found, len(f.c.Branches)
}

func TestScreenAgreesWithFullSolutions(t *testing.T) {
	queries := []whatif.Query{
		{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 65), N1: true},
		{Twin: "load-3", Command: grid.ShedLoad, Args: args(grid.ArgFraction, 0.3), N1: true},
		{Twin: "gen-2", Command: grid.Disconnect, N1: true},
	}
	for _, q := range queries {
		t.Run(q.Command, func(t *testing.T) {
			s := NewSimulator(Options{MaxNew: 10_000})
			v := live(t, shipped(t, "ieee14"))
			want, branches := naive(t, s, v, q)
			got := simulate(t, s, v, q)
			if got.Checked != branches {
				t.Errorf("%d outages were checked, there are %d branches", got.Checked, branches)
			}
			found := map[string]bool{}
			for _, n := range got.New {
				if n.Outage != "" && n.Limit != limitIslanded && n.Limit != limitUnsolved {
					found[n.Element+" "+n.Limit+" "+n.Outage] = true
				}
			}
			for k := range want {
				if !found[k] {
					t.Errorf("not found: %s", k)
				}
			}
			for k := range found {
				if !want[k] {
					t.Errorf("not there: %s", k)
				}
			}
			t.Logf("%s: %d N-1 violations, %s", got.Outcome, len(want), got.Reason)
		})
	}
}

// Opening a line of a ring leaves the rest radial: the loss of what remains then cuts off load, which it did not.
func TestScreenFindsLostRedundancy(t *testing.T) {
	v := live(t, shipped(t, "ieee14"))
	q := whatif.Query{Twin: "line-13-14", Command: grid.OpenBreaker}
	if got := simulate(t, NewSimulator(Options{}), v, q); got.Outcome != whatif.Safe {
		t.Fatalf("without N-1: %s (%s)", got.Outcome, got.Reason)
	}
	q.N1 = true
	got := simulate(t, NewSimulator(Options{}), v, q)
	if got.Outcome != whatif.Unsafe || got.Checked != len(shipped(t, "ieee14").Branches)-1 {
		t.Fatalf("%s (%s), %d checked", got.Outcome, got.Reason, got.Checked)
	}
	if !slices.ContainsFunc(got.New, func(v whatif.Violation) bool {
		return v.Limit == limitIslanded && v.Outage == "line-9-14" && v.Value > 14 && !v.Warning
	}) {
		t.Fatalf("the loss of line-9-14 is not among %+v", got.New)
	}
}

func TestScreenIsBoundedAndSorted(t *testing.T) {
	v := live(t, shipped(t, "ieee118"))
	q := whatif.Query{Twin: "line-8-9", Command: grid.OpenBreaker, N1: true}
	if _, ok := v.Get(q.Twin); !ok {
		t.Fatalf("%s is no twin", q.Twin)
	}
	got := simulate(t, NewSimulator(Options{MaxNew: 5}), v, q)
	if len(got.New) != 5 {
		t.Fatalf("%d violations, want 5: %+v", len(got.New), got.New)
	}
	full := simulate(t, NewSimulator(Options{MaxNew: 100_000}), v, q)
	if len(full.New) <= 5 || !slices.Equal(full.New[:5], got.New) {
		t.Fatalf("the bounded list is not the head of the full one (%d)", len(full.New))
	}
	if got.NewTotal != len(full.New) || full.NewTotal != len(full.New) {
		t.Fatalf("%d and %d are said to be new, there are %d", got.NewTotal, full.NewTotal, len(full.New))
	}
	for i, n := range full.New {
		if n.Warning {
			t.Fatalf("violation %d is a warning", i)
		}
		if i > 0 && full.New[i-1].Outage != "" && n.Outage == "" {
			t.Fatalf("violation %d of the state itself comes after one of an outage", i)
		}
	}
}

func TestScreenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := NewSimulator(Options{})
	v := live(t, shipped(t, "ieee118"))
	if _, err := s.Simulate(&endsAfter{Context: ctx, cancel: cancel, left: 3}, v, whatif.Query{Twin: "gen-10", Command: grid.Connect, N1: true}); err == nil {
		t.Fatal("the screening went on")
	}
}

// endsAfter is a context that ends when it was asked a few times.
type endsAfter struct {
	context.Context
	cancel context.CancelFunc
	left   int
}

func (e *endsAfter) Err() error {
	if e.left--; e.left <= 0 {
		e.cancel()
	}
	return e.Context.Err()
}

func BenchmarkSimulate(b *testing.B) {
	for _, name := range grid.Cases() {
		v := live(b, shipped(b, name))
		for _, n1 := range []bool{false, true} {
			mode := "N"
			if n1 {
				mode = "N-1"
			}
			b.Run(name+"/"+mode, func(b *testing.B) {
				q := whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 45), N1: n1}
				if name == "ieee118" {
					q.Twin, q.Args = "gen-10", args(grid.ArgMegawatts, 440)
				}
				s := NewSimulator(Options{})
				simulate(b, s, v, q)
				b.ReportAllocs()
				for b.Loop() {
					if got, err := s.Simulate(context.Background(), v, q); err != nil || got.Outcome == whatif.Refused {
						b.Fatal(got.Reason, err)
					}
				}
			})
		}
	}
}

func BenchmarkTopology(b *testing.B) {
	v := live(b, shipped(b, "ieee118"))
	s := NewSimulator(Options{})
	for b.Loop() {
		s.Topology(v)
	}
}
