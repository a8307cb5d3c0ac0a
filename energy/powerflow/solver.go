package powerflow

import (
	"math"
	"math/cmplx"

	"vaultmesh.org/vaultmesh"
)

// Solver holds the changeable inputs of a network and the memory of a solve. Not for concurrent use.
//
// Indices are positions in the case's Buses, Branches, Gens. A setter refuses (Invalid) an index out of range and a
// value outside its range, and then changes nothing. A result depends on the present inputs and the options alone, never
// on what was solved before.
type Solver struct {
	net *Network

	// Inputs, parallel to the case.
	load, shunt []complex128 // MVA; a shunt as the power it consumes at 1 pu
	gens        []Gen
	closed      []bool
	tap, shift  []float64 // ratio (never 0) and degrees

	// What is to be derived again before the next solve.
	islandsStale, admittanceStale bool

	place   topology
	grid    admittances
	state   state
	lu      *factor
	after   Solution  // of contingencies
	screens *screener // made by the first contingency analysis
}

// NewSolver returns a solver whose inputs are those of the case.
func (n *Network) NewSolver() *Solver {
	nb, nr := len(n.c.Buses), len(n.c.Branches)
	s := &Solver{
		net:  n,
		load: make([]complex128, nb), shunt: make([]complex128, nb),
		gens:   make([]Gen, len(n.c.Gens)),
		closed: make([]bool, nr), tap: make([]float64, nr), shift: make([]float64, nr),
		place: newTopology(n), grid: newAdmittances(n), state: newState(n.n), lu: newFactor(&n.sym),
	}
	s.Reset()
	return s
}

// Network returns the network that the solver works on.
func (s *Solver) Network() *Network { return s.net }

// Reset sets all inputs back to those of the case.
func (s *Solver) Reset() {
	for i := range s.net.c.Buses {
		b := &s.net.c.Buses[i]
		s.load[i] = complex(b.LoadMW, b.LoadMVAr)
		s.shunt[i] = complex(b.ShuntMW, -b.ShuntMVAr)
	}
	copy(s.gens, s.net.c.Gens)
	for i := range s.net.c.Branches {
		b := &s.net.c.Branches[i]
		s.closed[i], s.shift[i], s.tap[i] = b.InService, b.ShiftDeg, b.Tap
		if b.Tap == 0 {
			s.tap[i] = 1
		}
		s.setAdmittance(i)
	}
	s.islandsStale, s.admittanceStale = true, true
}

const opSet = "powerflow.set"

func checkIndex(what string, i, n int) error {
	if i < 0 || i >= n {
		return vaultmesh.Errorf(vaultmesh.Invalid, opSet, what, "index %d, there are %d", i, n)
	}
	return nil
}

func checkPower(what string, i, n int, mw, mvar float64) error {
	if err := checkIndex(what, i, n); err != nil {
		return err
	}
	if !quantity(mw, mvar) {
		return vaultmesh.Errorf(vaultmesh.Invalid, opSet, what, "%g MW, %g MVAr at index %d: not finite or beyond 1e9", mw, mvar, i)
	}
	return nil
}

func checkWithin(what string, i, n int, x, lo, hi float64) error {
	if err := checkIndex(what, i, n); err != nil {
		return err
	}
	if !within(x, lo, hi) {
		return vaultmesh.Errorf(vaultmesh.Invalid, opSet, what, "%g at index %d, want %g to %g", x, i, lo, hi)
	}
	return nil
}

// SetLoad sets the load at a bus in MW and MVAr.
func (s *Solver) SetLoad(bus int, mw, mvar float64) error {
	if err := checkPower("load", bus, len(s.load), mw, mvar); err != nil {
		return err
	}
	s.load[bus] = complex(mw, mvar)
	return nil
}

// SetShunt sets the shunt at a bus: MW consumed and MVAr injected at 1 pu.
func (s *Solver) SetShunt(bus int, mw, mvar float64) error {
	if err := checkPower("shunt", bus, len(s.shunt), mw, mvar); err != nil {
		return err
	}
	s.shunt[bus] = complex(mw, -mvar)
	s.admittanceStale = true
	return nil
}

// SetGen sets the active and reactive injection of a generator. The slack's active power and the reactive power at
// PV and slack buses are results, so there the value has effect only if the bus changes its role.
func (s *Solver) SetGen(gen int, mw, mvar float64) error {
	if err := checkPower("generator", gen, len(s.gens), mw, mvar); err != nil {
		return err
	}
	s.gens[gen].P, s.gens[gen].Q = mw, mvar
	return nil
}

// SetGenVoltage sets the voltage set point of a generator, 0.1 to 3 pu.
func (s *Solver) SetGenVoltage(gen int, pu float64) error {
	if err := checkWithin("generator voltage", gen, len(s.gens), pu, minVoltage, maxVoltage); err != nil {
		return err
	}
	s.gens[gen].V = pu
	return nil
}

// SetGenInService connects or disconnects a generator.
func (s *Solver) SetGenInService(gen int, on bool) error {
	if err := checkIndex("generator", gen, len(s.gens)); err != nil {
		return err
	}
	s.islandsStale = s.islandsStale || s.gens[gen].InService != on
	s.gens[gen].InService = on
	return nil
}

// SetBranch closes or opens a branch.
func (s *Solver) SetBranch(branch int, inService bool) error {
	if err := checkIndex("branch", branch, len(s.closed)); err != nil {
		return err
	}
	if s.closed[branch] != inService {
		s.closed[branch] = inService
		s.islandsStale, s.admittanceStale = true, true
	}
	return nil
}

// SetTap sets the ratio of a branch, 0.1 to 10.
func (s *Solver) SetTap(branch int, ratio float64) error {
	if err := checkWithin("ratio", branch, len(s.tap), ratio, minRatio, maxRatio); err != nil {
		return err
	}
	s.tap[branch] = ratio
	s.setAdmittance(branch)
	s.admittanceStale = true
	return nil
}

// SetShift sets the phase shift of a branch in degrees, -360 to 360.
func (s *Solver) SetShift(branch int, deg float64) error {
	if err := checkWithin("phase shift", branch, len(s.shift), deg, -maxShift, maxShift); err != nil {
		return err
	}
	s.shift[branch] = deg
	s.setAdmittance(branch)
	s.admittanceStale = true
	return nil
}

func (s *Solver) setAdmittance(branch int) {
	b := &s.net.c.Branches[branch]
	ratio := cmplx.Rect(s.tap[branch], s.shift[branch]*math.Pi/180)
	s.grid.branches[branch].set(complex(b.R, b.X), b.B, ratio)
}

const opSolve = "powerflow.solve"

// The defaults of Options.
const (
	DefaultTolerance     = 1e-8
	DefaultMaxIterations = 20
)

func (o *Options) normalise(n *Network) error {
	if o.Tolerance == 0 {
		o.Tolerance = DefaultTolerance
	}
	if o.MaxIterations == 0 {
		o.MaxIterations = DefaultMaxIterations
	}
	switch {
	case !within(o.Tolerance, 1e-12, 1e-2):
		return vaultmesh.Errorf(vaultmesh.Invalid, opSolve, n.c.Name, "tolerance %g, want 1e-12 to 1e-2", o.Tolerance)
	case o.MaxIterations < 1 || o.MaxIterations > 100:
		return vaultmesh.Errorf(vaultmesh.Invalid, opSolve, n.c.Name, "at most %d iterations, want 1 to 100", o.MaxIterations)
	case o.Warm != nil && !o.Warm.fits(n):
		return vaultmesh.Errorf(vaultmesh.Invalid, opSolve, n.c.Name, "the warm start is not a solution of this network")
	}
	return nil
}

// Solve solves for the present inputs and fills sol. It fails with a [Refusal] where there is no solution, and as
// Invalid on options out of range. After a failure sol holds nothing of use.
func (s *Solver) Solve(o Options, sol *Solution) error {
	if err := o.normalise(s.net); err != nil {
		return err
	}
	s.derive()
	if len(s.place.islands) == 0 {
		return s.refused(Refusal{Reason: NoGeneration})
	}
	s.start(o)
	r := s.newton(o.Tolerance, o.MaxIterations)
	if r.Reason != Solved {
		return s.refused(r)
	}
	s.fill(sol, r)
	return nil
}

func (s *Solver) refused(r Refusal) error {
	return vaultmesh.Errorf(vaultmesh.Conflict, opSolve, s.net.c.Name, "no solution").Because(&r)
}

// derive brings islands, admittances and injections up to date with the inputs.
func (s *Solver) derive() {
	if s.islandsStale {
		s.place.find(s)
		s.islandsStale, s.admittanceStale = false, true
	}
	if s.admittanceStale {
		s.grid.assemble(s)
		s.admittanceStale = false
	}
	s.state.inject(s)
}
