package energy

import (
	"context"
	"errors"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/whatif"
)

// outage is what the loss of one branch does in one state.
type outage struct {
	outcome    powerflow.Outcome
	buses      int     // cut off
	loadMW     float64 // cut off
	violations []powerflow.Violation
}

// screen takes out every branch after the command, and tells what the command makes worse: an outage is compared with
// the same outage before the command, or, for a branch that the command closes, with the state before it. Only
// outages that violate something are computed for both states. The solver is left with other inputs.
func (s *Simulator) screen(ctx context.Context, f *frame, b *bench, act action, c *comparison) ([]whatif.Violation, int, error) {
	order, after, checked, err := b.outagesOf(ctx, &b.after, nil)
	if err != nil || len(order) == 0 {
		return nil, checked, err
	}
	before := map[int]outage{}
	var list []int
	for _, branch := range order {
		if energised := b.live.closed[branch] && !b.before.Dead[f.from[branch]] && !b.before.Dead[f.to[branch]]; energised {
			list = append(list, branch)
			continue
		}
		before[branch] = outage{violations: limitsOfOutages(b.present)}
	}
	if len(list) > 0 {
		if err := act.revert(f, b); err != nil {
			return nil, 0, err
		}
		_, found, _, err := b.outagesOf(ctx, &b.before, list)
		if err != nil {
			return nil, 0, err
		}
		for branch, o := range found {
			before[branch] = o
		}
	}
	var out []whatif.Violation
	for _, branch := range order {
		was, is := before[branch], after[branch]
		id := string(f.branch[branch])
		switch is.outcome {
		case powerflow.Islanding:
			// An outage that cuts off no more than it did is no news; buses alone, without load, are a warning.
			if more := is.loadMW - was.loadMW; more > c.worsen.Active {
				out = append(out, whatif.Violation{Element: id, Limit: limitIslanded, Value: is.loadMW, Bound: was.loadMW, Unit: "MW", Outage: id, Worse: was.buses > 0})
			} else if is.buses > was.buses {
				out = append(out, whatif.Violation{Element: id, Limit: limitIslanded, Value: float64(is.buses), Bound: float64(was.buses), Unit: "buses", Outage: id, Worse: was.buses > 0, Warning: true})
			}
		case powerflow.Refused:
			if was.outcome != powerflow.Refused {
				out = append(out, whatif.Violation{Element: id, Limit: limitUnsolved, Value: 1, Unit: "outages", Outage: id})
			}
		default:
			if was.outcome != powerflow.Refused {
				out = append(out, c.worse(was.violations, is.violations, id)...)
			}
		}
	}
	return out, checked, nil
}

// outagesOf screens the branches (nil: all) from the state base, which is a solution for the solver's present inputs,
// and returns those outages that violate anything, with their order, and how many were screened.
func (b *bench) outagesOf(ctx context.Context, base *powerflow.Solution, branches []int) (order []int, bad map[int]outage, checked int, err error) {
	bad = map[int]outage{}
	o := powerflow.ContingencyOptions{Tolerance: screenTolerance, Branches: branches}
	o.Visit = func(c *powerflow.Contingency, after *powerflow.Solution) bool {
		checked++
		out := outage{outcome: c.Outcome, buses: c.IslandedBuses, loadMW: c.IslandedLoadMW}
		if c.Outcome == powerflow.Secure {
			if c.Violations == 0 {
				return true
			}
			b.scratch = b.solver.Violations(after, b.scratch[:0])
			out.violations = limitsOfOutages(b.scratch)
		}
		order = append(order, c.Branch)
		bad[c.Branch] = out
		return true
	}
	b.outages, err = b.solver.ContingencyAnalysis(ctx, base, o, b.outages[:0])
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return order, bad, checked, err
}

// screenTolerance of an outage, in pu: 100 W on 100 MVA, far below what any limit resolves.
const screenTolerance = 1e-6

// limitsOfOutages copies the violations of voltage and loading: how units share an outage is a matter of dispatch.
func limitsOfOutages(vs []powerflow.Violation) []powerflow.Violation {
	var out []powerflow.Violation
	for i := range vs {
		if group(vs[i].Limit) < 2 {
			out = append(out, vs[i])
		}
	}
	return out
}

// revert undoes apply.
func (a *action) revert(f *frame, b *bench) error {
	s, i := b.solver, a.index
	switch a.kind {
	case grid.KindBranch:
		err := s.SetBranch(i, b.live.closed[i])
		if tap := b.live.tap[i]; a.name == grid.SetTap && b.live.closed[i] {
			err = errors.Join(err, s.SetTap(i, tap))
		}
		return err
	case grid.KindGen:
		u := &b.live.gens[i]
		err := s.SetGenInService(i, u.on)
		if u.known {
			err = errors.Join(err, s.SetGen(i, u.p, 0), s.SetGenVoltage(i, u.v))
		}
		return err
	case grid.KindLoad:
		bus := f.loads[i].bus
		return s.SetLoad(bus, b.busP[bus], b.busQ[bus])
	}
	bus := f.shunts[i].bus
	return s.SetShunt(bus, b.shuntP[bus], b.shuntQ[bus])
}
