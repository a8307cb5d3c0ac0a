package bench

import (
	"context"
	"fmt"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/bench/pace"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// The published figures of lightsim2grid for the case of 118 buses, milliseconds on one core of another machine: a warm
// AC power flow and one AC contingency. They are a peer to be near, not a floor of this machine.
const (
	lightsimSource      = "lightsim2grid documentation, benchmarks: case118, AC power flow and contingency analysis"
	lightsimSolve       = 0.084
	lightsimContingency = 0.054
)

// Targets of the case of 118 buses, milliseconds.
const (
	targetSolve       = 0.1
	targetContingency = 0.05
)

// powerFlow measures the solver on the shipped grids.
func powerFlow(ctx context.Context, o Options) (*Result, error) {
	r := &Result{Counts: map[string]uint64{}, Compared: "AC power flow after every load moved by 1 %, warm, beside the same solve from a flat start, and each N-1 outage beside a warm solve with factors of its own; lightsim2grid's published figures as peer."}
	err := o.profiled("powerflow", func() error {
		for _, name := range grid.Cases() {
			p, err := newPowerCase(name)
			if err != nil {
				return err
			}
			for _, measure := range []func(context.Context, Options) (Measurement, error){p.warm, p.contingencies} {
				m, err := measure(ctx, o)
				if err != nil {
					return err
				}
				r.Parts = append(r.Parts, m)
			}
			r.Counts["solves"] += p.solves
			r.Counts["outages"] += p.outages
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The headline is the warm solve of the largest grid.
	last := len(r.Parts) - 2
	r.Measurement = r.Parts[last]
	r.Parts = append(r.Parts[:last:last], r.Parts[last+1:]...)
	r.Name = "powerflow"
	r.Parts[len(r.Parts)-1].Name += " (of the headline's grid)"
	return r, nil
}

// powerCase is one grid under measurement.
type powerCase struct {
	name            string
	net             *powerflow.Network
	solver          *powerflow.Solver
	base, sol       powerflow.Solution
	solves, outages uint64
}

func newPowerCase(name string) (*powerCase, error) {
	c, err := grid.Load(name)
	if err != nil {
		return nil, err
	}
	net, err := powerflow.Compile(c)
	if err != nil {
		return nil, err
	}
	p := &powerCase{name: name, net: net, solver: net.NewSolver()}
	return p, p.solver.Solve(powerflow.Options{}, &p.base)
}

// setLoads scales every load of the case.
func (p *powerCase) setLoads(factor float64) error {
	buses := p.net.Case().Buses
	for i := range buses {
		if err := p.solver.SetLoad(i, factor*buses[i].LoadMW, factor*buses[i].LoadMVAr); err != nil {
			return err
		}
	}
	return nil
}

// solveFor solves again and again for d, loads up and down by 1 % in turn, so that no solve starts at its own solution.
// The setting of the loads counts.
func (p *powerCase) solveFor(ctx context.Context, d time.Duration, o powerflow.Options) (*pace.Times, time.Duration, error) {
	t, start := &pace.Times{}, time.Now()
	for i := 0; time.Since(start) < d; i++ {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		factor := 1.01
		if i%2 == 1 {
			factor = 0.99
		}
		began := time.Now()
		if err := p.setLoads(factor); err != nil {
			return nil, 0, err
		}
		if err := p.solver.Solve(o, &p.sol); err != nil {
			return nil, 0, err
		}
		t.Add(time.Since(began))
		p.solves++
	}
	return t, time.Since(start), p.setLoads(1)
}

// share of o.For that each section of one grid gets: there are three grids with three sections each.
func share(o Options) time.Duration { return max(o.For/9, 20*time.Millisecond) }

func (p *powerCase) warm(ctx context.Context, o Options) (Measurement, error) {
	flat, took, err := p.solveFor(ctx, share(o), powerflow.Options{Flat: true})
	if err != nil {
		return Measurement{}, err
	}
	floor := figureOf(flat, "the same from a flat start", took)
	t, took, err := p.solveFor(ctx, share(o), powerflow.Options{Warm: &p.base})
	if err != nil {
		return Measurement{}, err
	}
	m := Measurement{Name: p.name + " warm solve", P50: t.P50(), P99: t.P99(), Rate: float64(t.N()) / took.Seconds(), Floor: &floor,
		Ratio: over(t.P50(), floor.P50), RatioOf: "warm p50 over flat-start p50 (less is better)", Target: "<= the flat start", Met: t.P50() <= floor.P50}
	if p.name == "ieee118" {
		m.Peer = &Figure{Name: "lightsim2grid", P50: lightsimSolve, Rate: 1000 / lightsimSolve, Source: lightsimSource}
		m.Target, m.Met = fmt.Sprintf("p50 <= %g ms", targetSolve), m.P50 <= targetSolve
	}
	return m, nil
}

// contingencies screens every outage that does not split the grid; times are those of one outage, preparation at the
// base state included, as means over one screening.
func (p *powerCase) contingencies(ctx context.Context, o Options) (Measurement, error) {
	all, err := p.solver.ContingencyAnalysis(ctx, &p.base, powerflow.ContingencyOptions{}, nil)
	if err != nil {
		return Measurement{}, err
	}
	var list []int
	for _, c := range all {
		if c.Outcome != powerflow.Islanding {
			list = append(list, c.Branch)
		}
	}
	if len(list) == 0 {
		return Measurement{}, vaultmesh.Errorf(vaultmesh.Internal, "bench.contingencies", p.name, "every outage splits the grid")
	}
	apart, took, err := p.outagesApart(ctx, share(o), list)
	if err != nil {
		return Measurement{}, err
	}
	floor := figureOf(apart, "a warm solve of each outage", took)
	t, start, done := &pace.Times{}, time.Now(), 0
	for time.Since(start) < share(o) {
		began := time.Now()
		if all, err = p.solver.ContingencyAnalysis(ctx, &p.base, powerflow.ContingencyOptions{Branches: list}, all[:0]); err != nil {
			return Measurement{}, err
		}
		t.Add(time.Since(began) / time.Duration(len(list)))
		done += len(list)
	}
	p.outages += uint64(done)
	m := Measurement{Name: p.name + " contingency", P50: t.P50(), P99: t.P99(), Rate: float64(done) / time.Since(start).Seconds(), Floor: &floor,
		Ratio: over(t.P50(), floor.P50), RatioOf: "screened outage p50 over p50 of an outage solved by itself (less is better)", Target: "<= by itself", Met: t.P50() <= floor.P50}
	if p.name == "ieee118" {
		m.Peer = &Figure{Name: "lightsim2grid", P50: lightsimContingency, Rate: 1000 / lightsimContingency, Source: lightsimSource}
		m.Target, m.Met = fmt.Sprintf("p50 <= %g ms", targetContingency), m.P50 <= targetContingency
	}
	return m, nil
}

// outagesApart solves the outages one by one, each with factors of its own.
func (p *powerCase) outagesApart(ctx context.Context, d time.Duration, list []int) (*pace.Times, time.Duration, error) {
	t, start := &pace.Times{}, time.Now()
	for i := 0; time.Since(start) < d; i++ {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		branch := list[i%len(list)]
		began := time.Now()
		if err := p.solver.SetBranch(branch, false); err != nil {
			return nil, 0, err
		}
		// An outage without a solution has cost its time as well.
		_ = p.solver.Solve(powerflow.Options{Warm: &p.base}, &p.sol)
		t.Add(time.Since(began))
		if err := p.solver.SetBranch(branch, true); err != nil {
			return nil, 0, err
		}
	}
	return t, time.Since(start), nil
}
