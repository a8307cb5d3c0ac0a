package powerflow_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// drawCase makes a lightly loaded grid of a random shape: a tree, some more branches, parallel ones among them, taps,
// phase shifts, shunts, generators; some elements out of service, so that islands and dead buses occur.
func drawCase(t *rapid.T) *powerflow.Case {
	f := func(lo, hi float64, label string) float64 { return rapid.Float64Range(lo, hi).Draw(t, label) }
	n := rapid.IntRange(1, 25).Draw(t, "buses")
	c := &powerflow.Case{Name: "drawn", BaseMVA: 100}
	for i := range n {
		b := powerflow.Bus{Number: 10*i + 3, Type: powerflow.PQ, LoadMW: f(-5, 10, "mw"), LoadMVAr: f(-3, 5, "mvar"), VMin: 0.9, VMax: 1.1}
		if rapid.IntRange(0, 5).Draw(t, "shunt") == 0 {
			b.ShuntMW, b.ShuntMVAr = f(0, 2, "shunt mw"), f(-10, 10, "shunt mvar")
		}
		c.Buses = append(c.Buses, b)
	}
	join := func(from, to int) {
		b := powerflow.Branch{From: c.Buses[from].Number, To: c.Buses[to].Number, R: f(0, 0.02, "r"), X: f(0.02, 0.1, "x"),
			B: f(0, 0.02, "b"), RatingMVA: 100, InService: rapid.IntRange(0, 9).Draw(t, "service") > 0}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			b.Tap = f(0.95, 1.05, "tap")
		case 1:
			b.Tap, b.ShiftDeg = 1, f(-3, 3, "shift")
		}
		c.Branches = append(c.Branches, b)
	}
	for i := 1; i < n; i++ {
		join(rapid.IntRange(0, i-1).Draw(t, "parent"), i)
	}
	if n > 1 {
		for range rapid.IntRange(0, n).Draw(t, "chords") {
			from := rapid.IntRange(0, n-1).Draw(t, "from")
			join(from, (from+rapid.IntRange(1, n-1).Draw(t, "step"))%n)
		}
	}
	c.Buses[0].Type = powerflow.Slack
	for range rapid.IntRange(1, 4).Draw(t, "generators") {
		at := rapid.IntRange(0, n-1).Draw(t, "at")
		if at > 0 && rapid.Bool().Draw(t, "holds voltage") {
			c.Buses[at].Type = powerflow.PV
		}
		c.Gens = append(c.Gens, powerflow.Gen{Bus: c.Buses[at].Number, P: f(0, 20, "p"), Q: f(-2, 2, "q"), QMin: -20, QMax: 20,
			PMax: f(20, 200, "pmax"), V: f(0.98, 1.02, "v"), InService: rapid.IntRange(0, 9).Draw(t, "on") > 0})
	}
	return c
}

func solveDrawn(t *rapid.T, c *powerflow.Case) (*powerflow.Network, *powerflow.Solution) {
	n, err := powerflow.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	sol, err := n.Solve(powerflow.Options{})
	if err != nil {
		return n, nil
	}
	return n, sol
}

// TestPowerBalances: at every energised bus, generation less load less shunt is what the branches carry away; at dead
// buses nothing flows. Computed from the solution alone.
func TestPowerBalances(t *testing.T) {
	solved := 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t)
		n, sol := solveDrawn(t, c)
		if sol == nil {
			return
		}
		solved++
		p, q := make([]float64, len(c.Buses)), make([]float64, len(c.Buses))
		index := func(number int) int { i, _ := n.BusIndex(number); return i }
		for i, b := range c.Buses {
			v2 := sol.Vm[i] * sol.Vm[i]
			if sol.Dead[i] != (sol.Vm[i] == 0) || sol.Dead[i] != (sol.IslandOf[i] == -1) {
				t.Fatalf("bus %d: dead %v at %g pu in island %d", b.Number, sol.Dead[i], sol.Vm[i], sol.IslandOf[i])
			}
			if !sol.Dead[i] {
				p[i], q[i] = -b.LoadMW-b.ShuntMW*v2, -b.LoadMVAr+b.ShuntMVAr*v2
			}
		}
		for g := range c.Gens {
			p[index(c.Gens[g].Bus)] += sol.GenP[g]
			q[index(c.Gens[g].Bus)] += sol.GenQ[g]
		}
		for b, f := range sol.Flows {
			p[index(c.Branches[b].From)] -= f.Pf
			q[index(c.Branches[b].From)] -= f.Qf
			p[index(c.Branches[b].To)] -= f.Pt
			q[index(c.Branches[b].To)] -= f.Qt
		}
		for i := range p {
			if !(math.Abs(p[i]) < 1e-5 && math.Abs(q[i]) < 1e-5) {
				t.Fatalf("bus %d: %g MW and %g MVAr appear from nowhere", c.Buses[i].Number, p[i], q[i])
			}
		}
		var shunts float64
		for i, b := range c.Buses {
			shunts += b.ShuntMW * sol.Vm[i] * sol.Vm[i]
		}
		if d := sol.GenMW - sol.LoadMW - sol.LossesMW - shunts; math.Abs(d) > 1e-5 {
			t.Fatalf("the totals differ by %g MW", d)
		}
	})
	if solved == 0 {
		t.Error("no drawn grid has a solution")
	}
}

// TestSolutionDoesNotDependOnTheOrder: the same grid with its buses and branches listed backwards, and its lines
// turned round, has the same voltages.
func TestSolutionDoesNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t)
		_, sol := solveDrawn(t, c)
		if sol == nil {
			return
		}
		turned := &powerflow.Case{Name: c.Name, BaseMVA: c.BaseMVA, Gens: c.Gens}
		for i := range c.Buses {
			turned.Buses = append(turned.Buses, c.Buses[len(c.Buses)-1-i])
		}
		for i := range c.Branches {
			b := c.Branches[len(c.Branches)-1-i]
			if !grid.IsTransformer(&b) {
				b.From, b.To = b.To, b.From
			}
			turned.Branches = append(turned.Branches, b)
		}
		m, other := solveDrawn(t, turned)
		if other == nil {
			t.Fatal("the turned grid has no solution")
		}
		for i := range c.Buses {
			j, _ := m.BusIndex(c.Buses[i].Number)
			if math.Abs(sol.Vm[i]-other.Vm[j]) > 1e-6 || math.Abs(sol.Va[i]-other.Va[j]) > 1e-6 {
				t.Fatalf("bus %d: %g∠%g and %g∠%g", c.Buses[i].Number, sol.Vm[i], sol.Va[i], other.Vm[j], other.Va[j])
			}
		}
	})
}

// TestContingenciesAreSolves: every outage of a drawn grid is what a solve with that branch open gives; an outage is
// islanding exactly if more buses die or more islands live then; and the solver is as it was afterwards.
func TestContingenciesAreSolves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t)
		n, sol := solveDrawn(t, c)
		if sol == nil {
			return
		}
		s, other := n.NewSolver(), n.NewSolver()
		var after powerflow.Solution
		outages, err := s.ContingencyAnalysis(t.Context(), sol, powerflow.ContingencyOptions{Visit: func(o *powerflow.Contingency, got *powerflow.Solution) bool {
			if err := other.SetBranch(o.Branch, false); err != nil {
				t.Fatal(err)
			}
			err := other.Solve(powerflow.Options{Warm: sol}, &after)
			if err := other.SetBranch(o.Branch, true); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				if o.Outcome == powerflow.Secure {
					t.Fatalf("branch %d: %v, but a solve says %v", o.Branch, o.Outcome, err)
				}
				return true
			}
			islands := after.DeadBuses > sol.DeadBuses || len(after.Islands) > len(sol.Islands)
			if islands != (o.Outcome == powerflow.Islanding) {
				t.Fatalf("branch %d: %v, but %d dead buses and %d islands became %d and %d", o.Branch, o.Outcome, sol.DeadBuses, len(sol.Islands), after.DeadBuses, len(after.Islands))
			}
			if islands {
				if math.Abs(o.LoadLostMW-(after.LoadLostMW-sol.LoadLostMW)) > 1e-9 {
					t.Fatalf("branch %d: %g MW lost, but a solve says %g", o.Branch, o.LoadLostMW, after.LoadLostMW-sol.LoadLostMW)
				}
				return true
			}
			if o.Outcome != powerflow.Secure || math.Abs(got.LossesMW-o.LossesMW) > 1e-9 {
				t.Fatalf("branch %d: %v, %g MW losses; a solve says %g", o.Branch, o.Outcome, o.LossesMW, after.LossesMW)
			}
			for i := range after.Vm {
				if math.Abs(after.Vm[i]-got.Vm[i]) > 1e-6 || math.Abs(after.Va[i]-got.Va[i]) > 1e-6 {
					t.Fatalf("branch %d, bus %d: %g and %g pu", o.Branch, i, got.Vm[i], after.Vm[i])
				}
			}
			return true
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		carrying := 0
		for b := range c.Branches {
			if i, _ := n.BusIndex(c.Branches[b].From); c.Branches[b].InService && !sol.Dead[i] {
				carrying++
			}
		}
		if len(outages) != carrying {
			t.Fatalf("%d outages of %d branches in service", len(outages), carrying)
		}
		if err := s.Solve(powerflow.Options{}, &after); err != nil {
			t.Fatal(err)
		}
		for i := range sol.Vm {
			if sol.Vm[i] != after.Vm[i] || sol.Va[i] != after.Va[i] {
				t.Fatalf("bus %d: %v before the analysis, %v after it", i, sol.Vm[i], after.Vm[i])
			}
		}
	})
}

// TestSettersAreCases: a solver whose inputs are set gives what a network compiled from the changed case gives.
func TestSettersAreCases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, to := drawCase(t), drawCase(t)
		n, err := powerflow.Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		s := n.NewSolver()
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		changed := &powerflow.Case{Name: c.Name, BaseMVA: c.BaseMVA, Buses: append([]powerflow.Bus(nil), c.Buses...),
			Branches: append([]powerflow.Branch(nil), c.Branches...), Gens: append([]powerflow.Gen(nil), c.Gens...)}
		for i := range min(len(c.Buses), len(to.Buses)) {
			b, x := &changed.Buses[i], to.Buses[i]
			b.LoadMW, b.LoadMVAr, b.ShuntMW, b.ShuntMVAr = x.LoadMW, x.LoadMVAr, x.ShuntMW, x.ShuntMVAr
			must(s.SetLoad(i, x.LoadMW, x.LoadMVAr))
			must(s.SetShunt(i, x.ShuntMW, x.ShuntMVAr))
		}
		for i := range min(len(c.Branches), len(to.Branches)) {
			b, x := &changed.Branches[i], to.Branches[i]
			b.InService, b.Tap, b.ShiftDeg = x.InService, max(x.Tap, 0.95), x.ShiftDeg
			must(s.SetBranch(i, b.InService))
			must(s.SetTap(i, b.Tap))
			must(s.SetShift(i, b.ShiftDeg))
		}
		for i := range min(len(c.Gens), len(to.Gens)) {
			g, x := &changed.Gens[i], to.Gens[i]
			g.P, g.Q, g.V, g.InService = x.P, x.Q, x.V, x.InService
			must(s.SetGen(i, x.P, x.Q))
			must(s.SetGenVoltage(i, x.V))
			must(s.SetGenInService(i, x.InService))
		}
		_, want := solveDrawn(t, changed)
		var got powerflow.Solution
		err = s.Solve(powerflow.Options{}, &got)
		if (want == nil) != (err != nil) {
			t.Fatalf("%v, but compiled anew: %v", err, want)
		}
		if want == nil {
			return
		}
		for i := range want.Vm {
			if want.Vm[i] != got.Vm[i] || want.Va[i] != got.Va[i] || want.IslandOf[i] != got.IslandOf[i] {
				t.Fatalf("bus %d: %v∠%v, compiled anew %v∠%v", i, got.Vm[i], got.Va[i], want.Vm[i], want.Va[i])
			}
		}
		for g := range want.GenQ {
			if want.GenP[g] != got.GenP[g] || want.GenQ[g] != got.GenQ[g] {
				t.Fatalf("generator %d: %v MW %v MVAr, compiled anew %v, %v", g, got.GenP[g], got.GenQ[g], want.GenP[g], want.GenQ[g])
			}
		}
	})
}
