package energy

import (
	"encoding/json"
	"fmt"
	"math"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/whatif"
)

// command is one row of the table of what can be simulated.
type command struct {
	kind grid.ElementKind
	name string
	arg  string // the one field of the request, a number; "" where there is no request
}

var commands = []command{
	{grid.KindBranch, grid.OpenBreaker, ""},
	{grid.KindBranch, grid.CloseBreaker, ""},
	{grid.KindBranch, grid.SetTap, grid.ArgRatio},
	{grid.KindGen, grid.SetActivePower, grid.ArgMegawatts},
	{grid.KindGen, grid.SetVoltage, grid.ArgPerUnit},
	{grid.KindGen, grid.Connect, ""},
	{grid.KindGen, grid.Disconnect, ""},
	{grid.KindLoad, grid.ShedLoad, grid.ArgFraction},
	{grid.KindLoad, grid.RestoreLoad, ""},
	{grid.KindShunt, grid.Connect, ""},
	{grid.KindShunt, grid.Disconnect, ""},
}

// Handles implements [whatif.Simulator]: every command of the grid models but injectFault, which is a drill on the
// simulated fleet and no operation of a grid.
func (s *Simulator) Handles(model, name string) bool {
	kind, ok := s.kindOf(model)
	if !ok {
		return false
	}
	_, ok = findCommand(kind, name)
	return ok && (name != grid.SetTap || s.options.IsA(model, grid.ModelTransformer))
}

func findCommand(kind grid.ElementKind, name string) (command, bool) {
	for _, c := range commands {
		if c.kind == kind && c.name == name {
			return c, true
		}
	}
	return command{}, false
}

// action is a command on an element of the frame, with its argument read.
type action struct {
	command
	index  int
	value  float64 // the argument, as the asset will apply it
	expect map[string]float64
}

// action reads the query. It refuses what it does not know and arguments that are not exactly the request.
func (f *frame) action(q whatif.Query, st *state) (action, refusal) {
	i, ok := f.byID[q.Twin]
	if !ok {
		return action{}, refusal(fmt.Sprintf("%.128q is no element of the grid", q.Twin))
	}
	e := &f.entries[i]
	cmd, ok := findCommand(e.kind, q.Command)
	if !ok {
		return action{}, refusal(fmt.Sprintf("command %.128q on %s cannot be simulated", q.Command, q.Twin))
	}
	a := action{command: cmd, index: e.index}
	value, why := argument(q.Args, cmd.arg)
	if why != "" {
		return action{}, refusal(q.Command+" on "+string(q.Twin)+": ") + why
	}
	a.value = value
	switch cmd.name {
	case grid.OpenBreaker:
		a.expect = map[string]float64{grid.Closed: 0}
	case grid.CloseBreaker:
		a.expect = map[string]float64{grid.Closed: 1}
		// The tap of an open transformer is no input before, but it is one now.
		if math.IsNaN(st.tap[e.index]) {
			return action{}, refusal(fmt.Sprintf("%s: the tap is not known", q.Twin))
		}
	case grid.SetTap:
		taps := f.taps[e.index]
		if taps.max <= 0 {
			return action{}, refusal(fmt.Sprintf("%s has no tap changer", q.Twin))
		}
		if value < taps.min || value > taps.max {
			return action{}, refusal(fmt.Sprintf("ratio %g is outside %g to %g", value, taps.min, taps.max))
		}
		a.value = taps.snap(value)
		a.expect = map[string]float64{grid.Tap: a.value}
	case grid.SetActivePower:
		a.expect = map[string]float64{grid.ActivePowerSetpoint: value}
	case grid.SetVoltage:
		a.expect = map[string]float64{grid.VoltageSetpoint: value}
	case grid.Connect:
		if e.kind == grid.KindGen && !st.gens[e.index].known {
			return action{}, refusal(fmt.Sprintf("%s: the set-points are not known", q.Twin))
		}
		a.expect = map[string]float64{grid.Connected: 1}
	case grid.Disconnect:
		a.expect = map[string]float64{grid.Connected: 0}
	case grid.ShedLoad:
		if value < 0 || value > 1 {
			return action{}, refusal(fmt.Sprintf("fraction %g is outside 0 to 1", value))
		}
		a.expect = map[string]float64{grid.Shed: value}
	case grid.RestoreLoad:
		a.expect = map[string]float64{grid.Shed: 0}
	}
	return a, ""
}

// snap returns the position of the tap changer that is nearest to ratio: min + k*step to six decimals, within the
// range. Devices do the same, so that the verdict is about what they will do.
func (t tapRange) snap(ratio float64) float64 {
	if t.step <= 0 {
		return ratio
	}
	tap := t.min + math.Round((ratio-t.min)/t.step)*t.step
	return min(math.Round(tap*1e6)/1e6, t.max)
}

// maxArgs bounds the request of a command, in bytes.
const maxArgs = 1024

// argument reads the one number of a request; name "" wants none. Absent arguments, null and {} are the empty request.
func argument(raw []byte, name string) (float64, refusal) {
	if len(raw) > maxArgs {
		return 0, refusal(fmt.Sprintf("the arguments have %d bytes, the limit is %d", len(raw), maxArgs))
	}
	var fields map[string]json.RawMessage
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &fields); err != nil {
			return 0, "the arguments are not a JSON object"
		}
	}
	if name == "" {
		if len(fields) > 0 {
			return 0, "the command takes no arguments"
		}
		return 0, ""
	}
	v, ok := number(fields[name])
	if !ok || len(fields) != 1 {
		return 0, refusal(fmt.Sprintf("want exactly one argument, the finite number %q", name))
	}
	return v, ""
}

// apply changes the solver's inputs. An error is a value that the solver does not take.
func (a *action) apply(f *frame, b *bench) (refusal, error) {
	s, i := b.solver, a.index
	switch a.name {
	case grid.OpenBreaker:
		return "", s.SetBranch(i, false)
	case grid.CloseBreaker:
		if tap := b.live.tap[i]; tap != 0 {
			if err := s.SetTap(i, tap); err != nil {
				return "", err
			}
		}
		return "", s.SetBranch(i, true)
	case grid.SetTap:
		return "", s.SetTap(i, a.value)
	case grid.SetActivePower:
		return "", s.SetGen(i, a.value, 0)
	case grid.SetVoltage:
		return "", s.SetGenVoltage(i, a.value)
	case grid.ShedLoad, grid.RestoreLoad:
		return a.shed(f, b)
	}
	on := a.name == grid.Connect
	if a.kind == grid.KindShunt {
		if b.live.shunts[i] == on {
			return "", nil
		}
		sh, sign := &f.shunts[i], 1.0
		if !on {
			sign = -1
		}
		return "", s.SetShunt(sh.bus, b.shuntP[sh.bus]+sign*sh.conductance, b.shuntQ[sh.bus]+sign*sh.susceptance)
	}
	return "", s.SetGenInService(i, on)
}

// shed rescales the demand of one load. What is measured is the demand that is left after shedding.
func (a *action) shed(f *frame, b *bench) (refusal, error) {
	l, d := &f.loads[a.index], &b.live.loads[a.index]
	if !d.on {
		return "", nil
	}
	p, q, known := l.full(d, b.before.Dead[l.bus])
	if !known {
		return refusal(fmt.Sprintf("the demand of %s is not known while all of it is shed or its bus is dead", f.entries[l.entry].def.ID)), nil
	}
	wasP, wasQ := d.p, d.q
	if b.before.Dead[l.bus] {
		wasP, wasQ = p*(1-d.shed), q*(1-d.shed)
	}
	return "", b.solver.SetLoad(l.bus, b.busP[l.bus]+p*(1-a.value)-wasP, b.busQ[l.bus]+q*(1-a.value)-wasQ)
}

// maxKnownShed is the largest fraction up to which the rest that is measured tells the whole; beyond it the noise of
// the measurement would be multiplied by more than twenty.
const maxKnownShed = 0.95

// full returns the demand of a load without shedding.
func (l *attached) full(d *demand, dead bool) (p, q float64, known bool) {
	if dead || d.shed > maxKnownShed {
		return l.nominalP, l.nominalQ, l.nominal
	}
	return d.p / (1 - d.shed), d.q / (1 - d.shed), true
}

// supposeDemand puts the nominal demand at buses that are dead before the command, where nothing can be measured, so
// that a command that energises them is judged with their load. It returns the demand that goes unserved there, MW.
func (b *bench) supposeDemand(f *frame) (lost float64, err error) {
	if b.before.DeadBuses == 0 {
		return 0, nil
	}
	for i := range f.loads {
		l, d := &f.loads[i], &b.live.loads[i]
		if !d.on || !b.before.Dead[l.bus] || !l.nominal {
			continue
		}
		b.busP[l.bus] += l.nominalP*(1-d.shed) - d.p
		b.busQ[l.bus] += l.nominalQ*(1-d.shed) - d.q
		lost += l.nominalP * (1 - d.shed)
		if err := b.solver.SetLoad(l.bus, b.busP[l.bus], b.busQ[l.bus]); err != nil {
			return 0, err
		}
	}
	return lost, nil
}

// unknownPickup refuses where the command energises a load whose demand nobody knows.
func (b *bench) unknownPickup(f *frame) refusal {
	for i := range f.loads {
		l, d := &f.loads[i], &b.live.loads[i]
		if d.on && d.shed < 1 && !l.nominal && b.before.Dead[l.bus] && !b.after.Dead[l.bus] {
			id := f.entries[l.entry].def.ID
			return refusal(fmt.Sprintf("the command would energise %s, whose demand is not known: its bus is dead and its nameplate has no %s", id, grid.NominalP))
		}
	}
	return ""
}

// closingAngle looks at what a breaker that is about to be closed would join. The angle across it is a violation
// beyond the limit; two live parts that are not connected have no angle in a steady state, so that is a warning that
// the asset's own synchronism check must settle.
func (a *action) closingAngle(f *frame, b *bench, limit float64) []whatif.Violation {
	if a.name != grid.CloseBreaker || b.live.closed[a.index] {
		return nil
	}
	from, to, sol := f.from[a.index], f.to[a.index], &b.before
	if sol.Dead[from] || sol.Dead[to] {
		return nil
	}
	id := string(f.branch[a.index])
	if sol.IslandOf[from] != sol.IslandOf[to] {
		return []whatif.Violation{{Element: id, Limit: limitSynchronism, Value: 2, Bound: 1, Unit: "islands", Warning: true}}
	}
	angle := math.Abs(math.Remainder(sol.Va[from]-sol.Va[to], 2*math.Pi)) * 180 / math.Pi
	if angle <= limit {
		return nil
	}
	return []whatif.Violation{{Element: id, Limit: limitAngle, Value: angle, Bound: limit, Unit: "deg"}}
}

// summary describes a solution; lost is unserved demand that the solution does not know of.
func (b *bench) summary(f *frame, sol *powerflow.Solution, lost float64) whatif.Summary {
	out := whatif.Summary{
		Converged: true, Iterations: sol.Iterations, LossesMW: sol.LossesMW, LoadMW: sol.LoadMW,
		Islands: len(sol.Islands), DeadBuses: sol.DeadBuses, LoadLostMW: sol.LoadLostMW + lost,
	}
	for i, vm := range sol.Vm {
		if sol.Dead[i] {
			continue
		}
		if out.MinVoltage == 0 || vm < out.MinVoltage {
			out.MinVoltage = vm
		}
		out.MaxVoltage = max(out.MaxVoltage, vm)
	}
	for i := range sol.Flows {
		if rating := f.c.Branches[i].RatingMVA; rating > 0 {
			fl := &sol.Flows[i]
			out.MaxLoading = max(out.MaxLoading, math.Hypot(fl.Pf, fl.Qf)/rating, math.Hypot(fl.Pt, fl.Qt)/rating)
		}
	}
	return out
}
