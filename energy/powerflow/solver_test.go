package powerflow_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// two is a slack bus that feeds a load over one line.
func two() *powerflow.Case {
	return &powerflow.Case{Name: "two", BaseMVA: 100,
		Buses:    []powerflow.Bus{{Number: 1, Type: powerflow.Slack}, {Number: 2, Type: powerflow.PQ, LoadMW: 50, LoadMVAr: 10}},
		Branches: []powerflow.Branch{{From: 1, To: 2, X: 0.5, RatingMVA: 40, InService: true}},
		Gens:     []powerflow.Gen{{Bus: 1, V: 1, PMax: 100, QMax: 5, QMin: -5, InService: true}},
	}
}

func network(t testing.TB, c *powerflow.Case) *powerflow.Network {
	t.Helper()
	n, err := powerflow.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func shippedNetwork(t testing.TB, name string) *powerflow.Network {
	t.Helper()
	c, err := grid.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return network(t, c)
}

// TestTwoBuses compares with the closed form: with a lossless line, V² solves V⁴ + (2QX − 1)V² + X²(P² + Q²) = 0.
func TestTwoBuses(t *testing.T) {
	s := network(t, two()).NewSolver()
	var sol powerflow.Solution
	if err := s.Solve(powerflow.Options{Tolerance: 1e-12}, &sol); err != nil {
		t.Fatal(err)
	}
	const p, q, x = 0.5, 0.1, 0.5
	h := 1 - 2*q*x
	v := math.Sqrt((h + math.Sqrt(h*h-4*x*x*(p*p+q*q))) / 2)
	if math.Abs(sol.Vm[1]-v) > 1e-11 || math.Abs(sol.Va[1]+math.Asin(p*x/v)) > 1e-11 {
		t.Errorf("%v∠%v, want %v∠%v", sol.Vm[1], sol.Va[1], v, -math.Asin(p*x/v))
	}
	var limits []string
	for _, v := range s.Violations(&sol, nil) {
		limits = append(limits, v.Limit.String())
	}
	if got := strings.Join(limits, " "); got != "loading reactive_max" {
		t.Errorf("violations %s", got)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*powerflow.Case)
		want   powerflow.Reason
	}{
		{"more load than the line can carry", func(c *powerflow.Case) { c.Buses[1].LoadMW = 500 }, powerflow.NotConverged},
		{"a capacitor that makes the Jacobian singular", func(c *powerflow.Case) {
			c.Buses[1].LoadMW, c.Buses[1].LoadMVAr, c.Buses[1].ShuntMVAr = 0, 0, 50
			c.Branches[0].X = 1
		}, powerflow.Singular},
		{"no generator", func(c *powerflow.Case) { c.Gens[0].InService = false }, powerflow.NoGeneration},
		{"only isolated buses", func(c *powerflow.Case) {
			c.Buses[0].Type, c.Buses[1].Type = powerflow.Isolated, powerflow.Isolated
		}, powerflow.NoGeneration},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := two()
			c.change(g)
			sol, err := network(t, g).Solve(powerflow.Options{})
			var r *powerflow.Refusal
			if sol != nil || !errors.As(err, &r) || r.Reason != c.want || vaultmesh.KindOf(err) != vaultmesh.Conflict {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestIslands(t *testing.T) {
	c := &powerflow.Case{Name: "islands", BaseMVA: 100,
		Buses: []powerflow.Bus{
			{Number: 1, Type: powerflow.Slack, LoadMW: 1}, {Number: 2, Type: powerflow.PQ, LoadMW: 2},
			{Number: 3, Type: powerflow.PV, LoadMW: 4}, {Number: 4, Type: powerflow.PV, LoadMW: 8}, // an island of their own
			{Number: 5, Type: powerflow.PQ, LoadMW: 16}, // alone
			{Number: 6, Type: powerflow.Isolated, LoadMW: 32},
		},
		Branches: []powerflow.Branch{
			{From: 1, To: 2, X: 0.1, InService: true}, {From: 2, To: 3, X: 0.1}, {From: 3, To: 4, X: 0.1, InService: true},
			{From: 2, To: 6, X: 0.1, InService: true},
		},
		Gens: []powerflow.Gen{{Bus: 1, V: 1.01, PMax: 10, InService: true}, {Bus: 3, V: 1, P: 3, PMax: 10, InService: true}, {Bus: 4, V: 1.02, PMax: 20, InService: true}},
	}
	n := network(t, c)
	s := n.NewSolver()
	var sol powerflow.Solution
	if err := s.Solve(powerflow.Options{}, &sol); err != nil {
		t.Fatal(err)
	}
	if len(sol.Islands) != 2 || sol.Islands[0].Slack != 0 || sol.Islands[1].Slack != 3 || sol.DeadBuses != 2 || sol.LoadLostMW != 48 || sol.LoadMW != 15 {
		t.Errorf("%+v, %d dead, %g MW lost", sol.Islands, sol.DeadBuses, sol.LoadLostMW)
	}
	if math.Abs(sol.Islands[1].SlackP-9) > 1e-6 || sol.Vm[3] != 1.02 || sol.Vm[2] != 1 {
		t.Errorf("the island of 3 and 4 has %g MW from its slack, %g and %g pu", sol.Islands[1].SlackP, sol.Vm[2], sol.Vm[3])
	}
	// Joined, the island has one slack, and what was dead there starts flat.
	if err := s.SetBranch(1, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Solve(powerflow.Options{Warm: &sol}, &sol); err != nil {
		t.Fatal(err)
	}
	if len(sol.Islands) != 1 || sol.Islands[0].Slack != 0 || math.Abs(sol.GenP[2]) > 1e-9 {
		t.Errorf("%+v, generator 3 gives %g MW", sol.Islands, sol.GenP[2])
	}
	// Without any generator at 1, the largest of the others takes over.
	if err := s.SetGenInService(0, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Solve(powerflow.Options{Warm: &sol}, &sol); err != nil {
		t.Fatal(err)
	}
	if len(sol.Islands) != 1 || sol.Islands[0].Slack != 3 || sol.GenP[0] != 0 {
		t.Errorf("%+v", sol.Islands)
	}
	s.Reset()
	if err := s.Solve(powerflow.Options{Flat: true}, &sol); err != nil || len(sol.Islands) != 2 {
		t.Errorf("%v, %d islands after Reset", err, len(sol.Islands))
	}
}

func TestContingencyOptions(t *testing.T) {
	n := shippedNetwork(t, "ieee14")
	s := n.NewSolver()
	var base powerflow.Solution
	if err := s.Solve(powerflow.Options{}, &base); err != nil {
		t.Fatal(err)
	}
	got, err := s.ContingencyAnalysis(t.Context(), &base, powerflow.ContingencyOptions{Branches: []int{13, 0}}, nil)
	if err != nil || len(got) != 2 || got[0].Branch != 13 || got[0].Outcome != powerflow.Islanding || got[0].IslandedBuses != 1 || got[1].Outcome != powerflow.Secure {
		t.Errorf("%v %+v", err, got)
	}
	stopped, err := s.ContingencyAnalysis(t.Context(), &base, powerflow.ContingencyOptions{Visit: func(c *powerflow.Contingency, _ *powerflow.Solution) bool { return c.Branch < 3 }}, nil)
	if err != nil || len(stopped) != 4 {
		t.Errorf("%v, %d outages, want 4", err, len(stopped))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ContingencyAnalysis(ctx, &base, powerflow.ContingencyOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
	for name, o := range map[string]powerflow.ContingencyOptions{"no such branch": {Branches: []int{99}}, "tolerance": {Tolerance: 1}} {
		if _, err := s.ContingencyAnalysis(t.Context(), &base, o, nil); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.ContingencyAnalysis(t.Context(), nil, powerflow.ContingencyOptions{}, nil); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("no base: %v", err)
	}
	if err := s.SetBranch(0, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ContingencyAnalysis(t.Context(), &base, powerflow.ContingencyOptions{Branches: []int{0}}, nil); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("a branch out of service: %v", err)
	}
}

func TestRepeatedSolvesDoNotAllocate(t *testing.T) {
	n := shippedNetwork(t, "ieee118")
	s := n.NewSolver()
	var base, sol powerflow.Solution
	if err := s.Solve(powerflow.Options{}, &base); err != nil {
		t.Fatal(err)
	}
	on := true
	solve := func() {
		on = !on
		err := errors.Join(s.SetLoad(0, 60, 20), s.SetBranch(0, on), s.SetTap(7, 0.99), s.SetGenVoltage(3, 1.01), s.Solve(powerflow.Options{Warm: &base}, &sol))
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := testing.AllocsPerRun(10, solve); got != 0 {
		t.Errorf("a solve allocates %g times", got)
	}
	s.Reset()
	var all []powerflow.Contingency
	screen := func() {
		var err error
		if all, err = s.ContingencyAnalysis(t.Context(), &base, powerflow.ContingencyOptions{}, all[:0]); err != nil {
			t.Fatal(err)
		}
	}
	if got := testing.AllocsPerRun(3, screen); got != 0 {
		t.Errorf("a screening allocates %g times", got)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*powerflow.Case)
		kind   vaultmesh.Kind
	}{
		{"no bus", func(c *powerflow.Case) { *c = powerflow.Case{BaseMVA: 100} }, vaultmesh.Invalid},
		{"base", func(c *powerflow.Case) { c.BaseMVA = 0 }, vaultmesh.Invalid},
		{"bus twice", func(c *powerflow.Case) { c.Buses[1].Number = 1 }, vaultmesh.Invalid},
		{"bus type", func(c *powerflow.Case) { c.Buses[1].Type = 0 }, vaultmesh.Invalid},
		{"load NaN", func(c *powerflow.Case) { c.Buses[1].LoadMW = math.NaN() }, vaultmesh.Invalid},
		{"start voltage", func(c *powerflow.Case) { c.Buses[1].Vm = -1 }, vaultmesh.Invalid},
		{"unknown bus", func(c *powerflow.Case) { c.Branches[0].To = 9 }, vaultmesh.Invalid},
		{"loop", func(c *powerflow.Case) { c.Branches[0].To = 1 }, vaultmesh.Invalid},
		{"no impedance", func(c *powerflow.Case) { c.Branches[0].X = 0 }, vaultmesh.Invalid},
		{"infinite impedance", func(c *powerflow.Case) { c.Branches[0].X = math.Inf(1) }, vaultmesh.Invalid},
		{"rating", func(c *powerflow.Case) { c.Branches[0].RatingMVA = -1 }, vaultmesh.Invalid},
		{"ratio", func(c *powerflow.Case) { c.Branches[0].Tap = -1 }, vaultmesh.Invalid},
		{"shift", func(c *powerflow.Case) { c.Branches[0].ShiftDeg = 400 }, vaultmesh.Invalid},
		{"generator's bus", func(c *powerflow.Case) { c.Gens[0].Bus = 9 }, vaultmesh.Invalid},
		{"generator's power", func(c *powerflow.Case) { c.Gens[0].P = math.Inf(1) }, vaultmesh.Invalid},
		{"generator's limit", func(c *powerflow.Case) { c.Gens[0].QMax = math.NaN() }, vaultmesh.Invalid},
		{"set point", func(c *powerflow.Case) { c.Gens[0].V = 0 }, vaultmesh.Invalid},
		{"too many buses", func(c *powerflow.Case) { c.Buses = make([]powerflow.Bus, powerflow.MaxBuses+1) }, vaultmesh.TooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := two()
			c.change(g)
			if _, err := powerflow.Compile(g); err == nil || vaultmesh.KindOf(err) != c.kind {
				t.Errorf("%v, want %v", err, c.kind)
			}
		})
	}
}

func TestSettersRefuse(t *testing.T) {
	s := network(t, two()).NewSolver()
	nan := math.NaN()
	for name, err := range map[string]error{
		"load index": s.SetLoad(2, 1, 1), "load": s.SetLoad(1, nan, 1), "shunt": s.SetShunt(1, 1, math.Inf(1)),
		"shunt index": s.SetShunt(-1, 1, 1), "generator": s.SetGen(0, nan, 0), "generator index": s.SetGen(1, 0, 0),
		"voltage": s.SetGenVoltage(0, nan), "voltage 0": s.SetGenVoltage(0, 0), "service": s.SetGenInService(5, true),
		"branch": s.SetBranch(1, true), "tap": s.SetTap(0, 0), "tap NaN": s.SetTap(0, nan), "shift": s.SetShift(0, 1000),
		"tolerance":  s.Solve(powerflow.Options{Tolerance: nan}, new(powerflow.Solution)),
		"iterations": s.Solve(powerflow.Options{MaxIterations: 1000}, new(powerflow.Solution)),
		"warm":       s.Solve(powerflow.Options{Warm: new(powerflow.Solution)}, new(powerflow.Solution)),
	} {
		if vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Solve(powerflow.Options{}, new(powerflow.Solution)); err != nil {
		t.Errorf("a refused setter changed something: %v", err)
	}
}

// TestMeshedBeyondReason: what would fill the memory is refused before it does.
func TestMeshedBeyondReason(t *testing.T) {
	const n, degree = 1500, 12
	c := &powerflow.Case{Name: "mesh", BaseMVA: 100, Gens: []powerflow.Gen{{Bus: 0, V: 1, InService: true}}}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		c.Buses = append(c.Buses, powerflow.Bus{Number: i, Type: powerflow.PQ})
		for range degree {
			c.Branches = append(c.Branches, powerflow.Branch{From: i, To: (i + 1 + random.IntN(n-1)) % n, X: 1, InService: true})
		}
	}
	if _, err := powerflow.Compile(c); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("%v, want too_large", err)
	}
}
