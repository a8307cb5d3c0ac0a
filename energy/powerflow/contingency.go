package powerflow

import (
	"context"
	"math"

	"vaultmesh.org/vaultmesh"
)

// screener is the memory of a contingency analysis.
type screener struct {
	base    *factor      // of the Jacobian at the base state
	columns [][8]float64 // of its inverse, at the two ends of the outage
	vm, va  []float64    // of the base state
	v       [][2]float64
	all     []int // branches in service
	bridges bridges
	rating  []float64 // squared, MVA²; 0 = unrated
}

// outage is one branch taken out of the admittance matrix, with what is needed to put it back unchanged.
type outage struct {
	branch         int
	from, to       int32 // positions
	edge           edge
	selfFr, selfTo complex128
}

const opScreen = "powerflow.contingencies"

// ContingencyAnalysis takes out each branch in turn, from the state base (a solution for the present inputs), and
// appends the results to dst. The inputs are as before when it returns. It stops early with the context's error.
//
// An outage that splits an island is reported, not solved. For each other one the Newton iteration starts at the base
// state with the factors of the base Jacobian, corrected for the outage by the matrix inversion lemma (Sherman,
// Morrison and Woodbury), and factorises anew only where the mismatch shrinks slowly.
func (s *Solver) ContingencyAnalysis(ctx context.Context, base *Solution, o ContingencyOptions, dst []Contingency) ([]Contingency, error) {
	opt := Options{Tolerance: o.Tolerance, MaxIterations: o.MaxIterations, Warm: base}
	if base == nil {
		return dst, vaultmesh.Errorf(vaultmesh.Invalid, opScreen, s.net.c.Name, "there is no base solution")
	}
	if err := opt.normalise(s.net); err != nil {
		return dst, err
	}
	for _, b := range o.Branches {
		if err := checkIndex("branch", b, len(s.closed)); err != nil {
			return dst, err
		}
	}
	sc, err := s.prepare(opt)
	if err != nil {
		return dst, err
	}
	list := o.Branches
	if list == nil {
		list = sc.all
	}
	for _, b := range list {
		if err := ctx.Err(); err != nil {
			return dst, vaultmesh.Errorf(vaultmesh.Unavailable, opScreen, s.net.c.Name, "stopped after %d outages", len(dst)).Because(err)
		}
		c := Contingency{Branch: b, VMinBus: -1, VMaxBus: -1, MaxMVABranch: -1, MaxLoadingBranch: -1}
		var after *Solution
		switch {
		case !s.carries(b):
			e := vaultmesh.Errorf(vaultmesh.Invalid, opScreen, s.net.c.Name, "branch %d of the list is out of service or dead", b)
			return dst, e.WithFix("list only branches that carry power, or give no list")
		case sc.bridges.cut[b] >= 0:
			sc.bridges.report(&c)
		default:
			after = s.screen(&c, opt, o.Visit != nil)
		}
		dst = append(dst, c)
		if o.Visit != nil && !o.Visit(&dst[len(dst)-1], after) {
			break
		}
	}
	return dst, nil
}

// prepare brings the solver to the base state and factorises there.
func (s *Solver) prepare(o Options) (*screener, error) {
	s.derive()
	if len(s.place.islands) == 0 {
		return nil, s.refused(Refusal{Reason: NoGeneration})
	}
	if s.screens == nil {
		n := s.net
		sc := &screener{base: newFactor(&n.sym), columns: make([][8]float64, n.n), all: make([]int, 0, len(n.branches)),
			bridges: newBridges(n), rating: make([]float64, len(n.branches))}
		sc.vm, sc.va, sc.v = make([]float64, n.n), make([]float64, n.n), make([][2]float64, n.n)
		for b := range sc.rating {
			sc.rating[b] = n.c.Branches[b].RatingMVA * n.c.Branches[b].RatingMVA
		}
		s.screens = sc
	}
	sc := s.screens
	s.start(o)
	// The base is iterated to the tolerance too: no step where it is what it is said to be.
	if r := s.newton(o.Tolerance, o.MaxIterations); r.Reason != Solved {
		return nil, s.refused(r)
	}
	s.jacobian(sc.base)
	if bad := sc.base.factorise(&s.net.sym); bad >= 0 {
		return nil, s.refused(s.refusal(Singular, 0, 0, bad))
	}
	copy(sc.vm, s.state.vm)
	copy(sc.va, s.state.va)
	copy(sc.v, s.state.v)
	sc.all = sc.all[:0]
	for b := range s.closed {
		if s.carries(b) {
			sc.all = append(sc.all, b)
		}
	}
	sc.bridges.search(s)
	return sc, nil
}

// screen solves one outage and puts everything back.
func (s *Solver) screen(c *Contingency, o Options, full bool) (after *Solution) {
	s.rewind()
	out := s.takeOut(c.Branch)
	r := s.newtonAfter(out, o.Tolerance, o.MaxIterations)
	c.Iterations, c.Reason = r.Iterations, r.Reason
	if r.Reason != Solved {
		c.Outcome = Refused
	} else {
		s.closed[c.Branch] = false
		s.summarise(c)
		if full {
			s.fill(&s.after, r)
			after = &s.after
		}
		s.closed[c.Branch] = true
	}
	s.putBack(out)
	return after
}

func (s *Solver) takeOut(branch int) outage {
	p := s.net.branches[branch]
	out := outage{branch: branch, from: p.from, to: p.to, edge: s.grid.edges[p.edge], selfFr: s.grid.self[p.from], selfTo: s.grid.self[p.to]}
	s.grid.add(s.net, branch, -1)
	return out
}

func (s *Solver) putBack(out outage) {
	s.grid.edges[s.net.branches[out.branch].edge] = out.edge
	s.grid.self[out.from], s.grid.self[out.to] = out.selfFr, out.selfTo
}

// keepRate is chordRate for outages: here kept factors save more, since they are shared by all.
const keepRate = 0.3

// newtonAfter iterates after an outage. It begins with the base factors and their correction, and turns to factors of
// its own when these no longer serve.
func (s *Solver) newtonAfter(out outage, tolerance float64, limit int) Refusal {
	var fix correction
	corrected := fix.prepare(s, out)
	m, at := s.mismatch()
	for it := 0; corrected; it++ {
		switch {
		case math.IsNaN(m) || math.IsInf(m, 0):
			return s.refusal(NotFinite, it, m, at)
		case m <= tolerance:
			return Refusal{Iterations: it, Mismatch: m}
		case it == limit:
			return s.refusal(NotConverged, it, m, at)
		}
		s.screens.base.solve(&s.net.sym, s.state.x)
		fix.apply(s.state.x, s.screens.columns)
		s.step()
		before := m
		m, at = s.mismatch()
		if m <= tolerance || m <= keepRate*before {
			continue
		}
		if !(m < before) { // a step that made it worse is not built upon
			s.rewind()
			return s.newton(tolerance, limit)
		}
		r := s.newton(tolerance, limit)
		r.Iterations += it + 1
		return r
	}
	return s.newton(tolerance, limit)
}

// rewind goes back to the base state.
func (s *Solver) rewind() {
	sc, st := s.screens, &s.state
	copy(st.vm, sc.vm)
	copy(st.va, sc.va)
	copy(st.v, sc.v)
}

// summarise fills the figures of a solved outage.
func (s *Solver) summarise(c *Contingency) {
	sc, net := s.screens, s.net
	c.VMin, c.VMax = math.Inf(1), math.Inf(-1)
	for i := range net.c.Buses {
		p := net.pos[i]
		if s.place.islandOf[p] < 0 {
			continue
		}
		v, b := s.state.vm[p], &net.c.Buses[i]
		if v < c.VMin {
			c.VMin, c.VMinBus = v, i
		}
		if v > c.VMax {
			c.VMax, c.VMaxBus = v, i
		}
		if b.VMin != 0 && above(b.VMin, v) || b.VMax != 0 && above(v, b.VMax) {
			c.Violations++
		}
	}
	var most, load float64
	for _, b := range sc.all {
		if b == c.Branch {
			continue
		}
		fl := s.flow(b)
		c.LossesMW += fl.Pf + fl.Pt
		sq := fl.squared()
		if sq > most {
			most, c.MaxMVABranch = sq, b
		}
		rating := sc.rating[b]
		if rating == 0 {
			continue
		}
		if sq > load*rating {
			load, c.MaxLoadingBranch = sq/rating, b
		}
		if sq > rating && above(math.Sqrt(sq), net.c.Branches[b].RatingMVA) {
			c.Violations++
		}
	}
	c.MaxMVA, c.MaxLoading = math.Sqrt(most), math.Sqrt(load)
}
