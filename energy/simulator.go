package energy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/whatif"
)

// Simulator implements [whatif.Simulator] for the twins of package grid. It is safe for concurrent use.
//
// It keeps the compiled structure of the last set of definitions that it saw: a simulation on unchanged definitions
// reads the live values, solves twice and compares. Views with other definitions cost a compilation each.
type Simulator struct {
	options Options
	frame   atomic.Pointer[frame]
	last    atomic.Pointer[known] // of the newest simulation
	kinds   sync.Map              // model string -> modelKind; only models of defined twins and of queries get here
	known   atomic.Int64
}

var _ whatif.Simulator = (*Simulator)(nil)

// NewSimulator returns a simulator; it starts no goroutine and holds no resource.
func NewSimulator(o Options) *Simulator { return &Simulator{options: o.withDefaults()} }

// Topology implements [whatif.Simulator]: it commits to the definition of every grid twin and to the reported position
// of every switch, whatever the quality of the report. Where the definitions describe no grid it is the zero digest,
// which no sealed verdict of this simulator but a refused one has.
//
// The gate asks for it right after a simulation on the same cut, which is immutable, so the last answer is kept.
func (s *Simulator) Topology(view whatif.View) vaultmesh.Digest {
	if last := s.last.Load(); last != nil && sameCut(last.view, view) {
		return last.topology
	}
	f, b, err := s.open(view)
	if err != nil {
		return vaultmesh.Digest{}
	}
	defer f.benches.Put(b)
	return f.topology(b.live)
}

// known is the topology of one cut.
type known struct {
	view     whatif.View
	topology vaultmesh.Digest
}

// sameCut reports whether two views are one and the same; views that cannot be compared never are.
func sameCut(a, b whatif.View) bool {
	t := reflect.TypeOf(b)
	return t != nil && t.Kind() == reflect.Pointer && t == reflect.TypeOf(a) && a == b
}

// bench is the working memory of one simulation on a frame.
type bench struct {
	live          *state
	solver        *powerflow.Solver
	before, after powerflow.Solution
	// Demand at each bus as the solver has it, MW and MVAr.
	busP, busQ []float64
	shuntP     []float64
	shuntQ     []float64
	// Violations before and after the command, and of one outage.
	present, resulting, scratch []powerflow.Violation
	outages                     []powerflow.Contingency
}

func newBench(f *frame) *bench {
	nb := len(f.c.Buses)
	m := make([]float64, 4*nb)
	return &bench{
		live: newState(f), solver: f.network.NewSolver(),
		busP: m[:nb:nb], busQ: m[nb : 2*nb : 2*nb], shuntP: m[2*nb : 3*nb : 3*nb], shuntQ: m[3*nb:],
	}
}

// open returns the frame of the view's definitions and a bench that holds its live values.
func (s *Simulator) open(view whatif.View) (*frame, *bench, error) {
	if f := s.frame.Load(); f != nil {
		b := f.bench()
		if f.read(view, s.options.MaxAge, s.kindOf, b.live) {
			return f, b, nil
		}
		f.benches.Put(b)
	}
	f, err := s.buildFrame(view)
	if err != nil {
		return nil, nil, err
	}
	b := f.bench()
	if !f.read(view, s.options.MaxAge, s.kindOf, b.live) {
		return nil, nil, vaultmesh.Errorf(vaultmesh.Internal, "energy.structure", f.c.Name, "the view changed while it was read: it is not a consistent cut")
	}
	s.frame.Store(f)
	return f, b, nil
}

func (f *frame) bench() *bench {
	if b, ok := f.benches.Get().(*bench); ok {
		return b
	}
	return newBench(f)
}

// Simulate implements [whatif.Simulator]. The error is that of ctx, or of a verdict that cannot be sealed; everything
// that keeps the command from being judged is a Refused verdict that says why. The verdict is sealed.
func (s *Simulator) Simulate(ctx context.Context, view whatif.View, q whatif.Query) (whatif.Verdict, error) {
	v := whatif.Verdict{Query: q, Outcome: whatif.Refused, Taken: view.Time(), Model: Model}
	if err := ctx.Err(); err != nil {
		return whatif.Verdict{}, err
	}
	f, b, err := s.open(view)
	if err != nil {
		v.Reason = "the grid cannot be built from its twins: " + err.Error()
		return sealRefused(v)
	}
	defer f.benches.Put(b)
	v.Topology, v.OldestData = f.topology(b.live), b.live.oldest
	s.last.Store(&known{view, v.Topology})
	reason, err := s.judge(ctx, f, b, &v)
	if err != nil {
		return whatif.Verdict{}, err
	}
	if reason != "" {
		v.Outcome, v.Reason = whatif.Refused, string(reason)
		v.New, v.Warnings, v.Present, v.Expect = nil, nil, nil, nil
		return sealRefused(v)
	}
	return whatif.Seal(v)
}

// sealRefused seals a refusal. Arguments without a JSON form cannot be part of a sealed verdict; the refusal then
// names the twin and the command alone, and matches no query that has arguments.
func sealRefused(v whatif.Verdict) (whatif.Verdict, error) {
	sealed, err := whatif.Seal(v)
	if err != nil {
		v.Query.Args = nil
		return whatif.Seal(v)
	}
	return sealed, nil
}

// judge fills v, or says why it refuses.
func (s *Simulator) judge(ctx context.Context, f *frame, b *bench, v *whatif.Verdict) (refusal, error) {
	act, why := f.action(v.Query, b.live)
	if why != "" {
		return why, nil
	}
	if why := b.live.refusal(); why != "" {
		return why, nil
	}
	if err := b.load(f); err != nil {
		return "the live values describe no grid state: " + refusal(err.Error()), nil
	}
	if why := b.solve(&b.live.start, &b.before); why != "" {
		return "the state before the command: " + why, nil
	}
	nominal, err := b.supposeDemand(f)
	if err != nil {
		return "the demand of a dead bus: " + refusal(err.Error()), nil
	}
	v.Before = b.summary(f, &b.before, nominal)
	b.present = b.solver.Violations(&b.before, b.present[:0])
	closing := act.closingAngle(f, b, s.options.MaxClosingAngle)

	if why, err := act.apply(f, b); err != nil || why != "" {
		if err != nil {
			why = refusal(err.Error())
		}
		return why, nil
	}
	if why := b.solve(&b.before, &b.after); why != "" {
		return "the state after the command: " + why, nil
	}
	if why := b.unknownPickup(f); why != "" {
		return why, nil
	}
	v.After = b.summary(f, &b.after, 0)
	b.resulting = b.solver.Violations(&b.after, b.resulting[:0])

	c := comparison{f: f, worsen: s.options.Worsen}
	fresh := append(c.worse(b.present, b.resulting, ""), c.separated(b)...)
	fresh = append(fresh, closing...)
	if v.Query.N1 {
		more, checked, err := s.screen(ctx, f, b, act, &c)
		if err != nil {
			return "", err
		}
		fresh, v.Checked = append(fresh, more...), checked
	}
	v.Expect = act.expect
	conclude(v, fresh, c.list(b.present), s.options)
	return "", nil
}

// conclude orders and bounds the violations and decides.
func conclude(v *whatif.Verdict, fresh, present []whatif.Violation, o Options) {
	var breaches, warnings []whatif.Violation
	outages := 0
	for _, n := range fresh {
		switch {
		case n.Warning:
			warnings = append(warnings, n)
			continue
		case n.Outage != "":
			outages++
		}
		breaches = append(breaches, n)
	}
	v.NewTotal = len(breaches)
	v.New, v.Warnings, v.Present = worstFirst(breaches, o.MaxNew), worstFirst(warnings, o.MaxNew), worstFirst(present, o.MaxPresent)
	switch total := len(breaches); {
	case total == 0 && v.Query.N1:
		v.Outcome, v.Reason = whatif.Safe, fmt.Sprintf("no new or worsened violation, and none after any of %d single outages", v.Checked)
	case total == 0:
		v.Outcome, v.Reason = whatif.Safe, "no new or worsened violation"
	case total == outages:
		v.Outcome, v.Reason = whatif.Unsafe, fmt.Sprintf("%d new or worsened violations after single outages, worst: %s", total, describe(v.New[0]))
	default:
		v.Outcome, v.Reason = whatif.Unsafe, fmt.Sprintf("%d new or worsened violations, worst: %s", total, describe(v.New[0]))
	}
}

// solve solves from the voltages of warm, and once more from a flat start where that fails: a wrong measurement may
// spoil the start, it must not spoil the answer.
func (b *bench) solve(warm, sol *powerflow.Solution) refusal {
	o := powerflow.Options{Tolerance: solveTolerance, Warm: warm}
	err := b.solver.Solve(o, sol)
	if err != nil {
		err = b.solver.Solve(powerflow.Options{Tolerance: solveTolerance, Flat: true}, sol)
	}
	if err == nil {
		return ""
	}
	if r := (*powerflow.Refusal)(nil); errors.As(err, &r) {
		return refusal("no solution: " + r.Error())
	}
	return refusal(err.Error())
}

// solveTolerance is the largest power mismatch at a bus, in pu: 0.1 W on 100 MVA. Newton's method converges
// quadratically, so that a tighter one would cost a step and change no digit that a person sees.
const solveTolerance = 1e-7

// load hands the live state to the solver.
func (b *bench) load(f *frame) error {
	s := b.solver
	s.Reset()
	for i := range b.busP {
		b.busP[i], b.busQ[i], b.shuntP[i], b.shuntQ[i] = 0, 0, 0, 0
	}
	var errs []error
	for i := range f.loads {
		if d := &b.live.loads[i]; d.on {
			b.busP[f.loads[i].bus] += d.p
			b.busQ[f.loads[i].bus] += d.q
		}
	}
	for i := range f.shunts {
		if b.live.shunts[i] {
			b.shuntP[f.shunts[i].bus] += f.shunts[i].conductance
			b.shuntQ[f.shunts[i].bus] += f.shunts[i].susceptance
		}
	}
	for i := range b.busP {
		errs = append(errs, s.SetLoad(i, b.busP[i], b.busQ[i]), s.SetShunt(i, b.shuntP[i], b.shuntQ[i]))
	}
	for i, closed := range b.live.closed {
		errs = append(errs, s.SetBranch(i, closed))
		if closed && b.live.tap[i] != 0 {
			errs = append(errs, s.SetTap(i, b.live.tap[i]))
		}
	}
	for i, u := range b.live.gens {
		errs = append(errs, s.SetGenInService(i, u.on))
		if u.known {
			errs = append(errs, s.SetGen(i, u.p, 0), s.SetGenVoltage(i, u.v))
		}
	}
	return errors.Join(errs...)
}

// kindOf says which kind of element a model describes. The memory is bounded: beyond it answers are computed anew.
func (s *Simulator) kindOf(model string) (grid.ElementKind, bool) {
	if k, ok := s.kinds.Load(model); ok {
		mk := k.(modelKind)
		return mk.kind, mk.ok
	}
	mk := modelKind{}
	for _, m := range modelKinds {
		if s.options.IsA(model, m.model) {
			mk = modelKind{m.kind, true}
			break
		}
	}
	if s.known.Add(1) <= 4096 {
		s.kinds.Store(model, mk)
	}
	return mk.kind, mk.ok
}

type modelKind struct {
	kind grid.ElementKind
	ok   bool
}

// modelKinds is ordered so that the more special model comes first.
var modelKinds = []struct {
	model string
	kind  grid.ElementKind
}{
	{grid.ModelBus, grid.KindBus}, {grid.ModelTransformer, grid.KindBranch}, {grid.ModelLine, grid.KindBranch},
	{grid.ModelGenerator, grid.KindGen}, {grid.ModelLoad, grid.KindLoad}, {grid.ModelCapacitors, grid.KindShunt},
	{grid.ModelShunt, grid.KindShunt},
	{grid.ModelGrid, grid.KindGrid},
}

func models() []string {
	out := make([]string, len(modelKinds))
	for i, m := range modelKinds {
		out[i] = m.model
	}
	return out
}
