package powerflow

import "math"

// state is the working memory of the iteration, by positions, in pu and rad.
type state struct {
	givenP, givenQ []float64    // scheduled injections
	vm, va         []float64    // voltages, polar
	v              [][2]float64 // and rectangular: real and imaginary part
	pq             [][2]float64 // injections at these voltages
	x              [][2]float64 // mismatch, then step (Δθ, ΔV/V)
}

func newState(n int) state {
	m, w := make([]float64, 4*n), make([][2]float64, 3*n)
	return state{givenP: m[:n], givenQ: m[n : 2*n], vm: m[2*n : 3*n], va: m[3*n:], v: w[:n], pq: w[n : 2*n], x: w[2*n:]}
}

// inject sums loads and generators.
func (st *state) inject(s *Solver) {
	for p, i := range s.net.bus {
		st.givenP[p], st.givenQ[p] = -real(s.load[i]), -imag(s.load[i])
	}
	for g := range s.gens {
		if gen := &s.gens[g]; gen.InService {
			p := s.net.genPos[g]
			st.givenP[p] += gen.P
			st.givenQ[p] += gen.Q
		}
	}
	inv := 1 / s.net.c.BaseMVA
	for p := range st.givenP {
		st.givenP[p] *= inv
		st.givenQ[p] *= inv
	}
}

// start sets the voltages from which the iteration begins.
func (s *Solver) start(o Options) {
	st := &s.state
	for p, i := range s.net.bus {
		b := &s.net.c.Buses[i]
		vm, va := b.Vm, b.Va*math.Pi/180
		island := s.place.islandOf[p]
		switch {
		case island < 0:
			vm, va = 0, 0
		case o.Warm != nil && !o.Warm.Dead[i]:
			vm, va = o.Warm.Vm[i], o.Warm.Va[i]
		case o.Warm != nil || o.Flat:
			vm, va = 1, s.reference(island, o.Warm)
		}
		if island >= 0 && vm == 0 {
			vm = 1
		}
		if island >= 0 && s.place.holdQ[p] == 0 { // PV or slack
			vm = s.gens[s.setsVoltage(int32(p))].V
			if s.place.holdP[p] == 0 {
				va = s.reference(island, o.Warm)
			}
		}
		st.vm[p], st.va[p] = vm, va
	}
	s.rectangular()
}

// reference returns the angle held at an island's slack: the case's where the case makes it the slack. A substitute
// keeps the angle that it has in the warm start, so that the rest of the island need not turn.
func (s *Solver) reference(island int32, warm *Solution) float64 {
	p := s.place.islands[island].slack
	i := s.net.bus[p]
	if s.busType(p) != Slack && warm != nil && !warm.Dead[i] {
		return warm.Va[i]
	}
	return s.net.c.Buses[i].Va * math.Pi / 180
}

func (s *Solver) rectangular() {
	st := &s.state
	for p, vm := range st.vm {
		sin, cos := math.Sincos(st.va[p])
		st.v[p] = [2]float64{vm * cos, vm * sin}
	}
}

// mismatch computes the injections at the present voltages, leaves what is missing from the given ones in x, and
// returns the largest of them with its position. NaN wins, so that it cannot be mistaken for agreement.
//
// One sweep does: when it comes to a position, the edges of all earlier ones have left their share there.
func (s *Solver) mismatch() (worst float64, at int) {
	st := &s.state
	n := len(s.grid.self)
	v, pq, x := st.v[:n], st.pq[:n], st.x[:n]
	holdP, holdQ, givenP, givenQ := s.place.holdP[:n], s.place.holdQ[:n], st.givenP[:n], st.givenQ[:n]
	clear(pq)
	at = -1
	from := int32(0)
	for i, y := range s.grid.self {
		e, f := v[i][0], v[i][1]
		v2 := e*e + f*f
		p, q := pq[i][0]+real(y)*v2, pq[i][1]-imag(y)*v2
		to := s.net.firstEdge[i+1]
		row := s.grid.edges[from:to]
		from = to
		for j := range row {
			ed := &row[j]
			w := &v[ed.k]
			c, d := e*w[0]+f*w[1], f*w[0]-e*w[1]
			p += ed.gik*c + ed.bik*d
			q += ed.gik*d - ed.bik*c
			t := &pq[ed.k]
			t[0] += ed.gki*c - ed.bki*d
			t[1] -= ed.gki*d + ed.bki*c
		}
		pq[i] = [2]float64{p, q}
		dp, dq := holdP[i]*(givenP[i]-p), holdQ[i]*(givenQ[i]-q)
		x[i] = [2]float64{dp, dq}
		if m := max(math.Abs(dp), math.Abs(dq)); !(m <= worst) {
			worst, at = m, i
			if math.IsNaN(m) {
				return worst, at
			}
		}
	}
	return worst, at
}

// jacobian fills f from the voltages and the injections that mismatch left. Rows of what is not held given become
// unit rows, so that the structure is the same whatever role a bus plays.
func (s *Solver) jacobian(fac *factor) {
	st := &s.state
	holdP, holdQ := s.place.holdP, s.place.holdQ
	clear(fac.pairs)
	for n := range s.grid.edges {
		ed := &s.grid.edges[n]
		i, k := ed.i, ed.k
		vi, vk := &st.v[i], &st.v[k]
		c, d := vi[0]*vk[0]+vi[1]*vk[1], vi[1]*vk[0]-vi[0]*vk[1]
		a, b := ed.gik*c+ed.bik*d, ed.gik*d-ed.bik*c
		pi, qi, pk, qk := holdP[i], holdQ[i], holdP[k], holdQ[k]
		t := &fac.pairs[ed.slot]
		t.u[0], t.u[1], t.u[2], t.u[3] = pi*b, pi*a, -qi*a, qi*b
		a, b = ed.gki*c-ed.bki*d, -ed.gki*d-ed.bki*c
		t.l[0], t.l[1], t.l[2], t.l[3] = pk*b, pk*a, -qk*a, qk*b
	}
	for i, y := range s.grid.self {
		v2 := st.v[i][0]*st.v[i][0] + st.v[i][1]*st.v[i][1]
		g, b := real(y)*v2, imag(y)*v2
		p, q := st.pq[i][0], st.pq[i][1]
		hp, hq := holdP[i], holdQ[i]
		t := &fac.diag[i]
		t[0], t[1] = hp*(-q-b)+(1-hp), hp*(p+g)
		t[2], t[3] = hq*(p-g), hq*(q-b)+(1-hq)
	}
}

// step applies x to the voltages.
func (s *Solver) step() {
	st := &s.state
	for p := range st.x {
		st.va[p] += st.x[p][0]
		st.vm[p] *= 1 + st.x[p][1]
		if st.vm[p] < 0 { // the same phasor with a positive magnitude
			st.vm[p], st.va[p] = -st.vm[p], st.va[p]+math.Pi
		}
	}
	s.rectangular()
}

// chordRate is the least reduction of the mismatch by one step for which the factors are kept for the next step
// (Shamanskii's variant of Newton's method): a step on kept factors costs about a fifth of one on new factors.
const chordRate = 0.1

// newton iterates from the present voltages.
func (s *Solver) newton(tolerance float64, limit int) Refusal {
	m, at := s.mismatch()
	fresh := true
	for it := 0; ; it++ {
		switch {
		case math.IsNaN(m) || math.IsInf(m, 0):
			return s.refusal(NotFinite, it, m, at)
		case m <= tolerance:
			return Refusal{Iterations: it, Mismatch: m}
		case it == limit:
			return s.refusal(NotConverged, it, m, at)
		}
		if fresh {
			s.jacobian(s.lu)
			if bad := s.lu.factorise(&s.net.sym); bad >= 0 {
				return s.refusal(Singular, it, m, bad)
			}
		}
		s.lu.solve(&s.net.sym, s.state.x)
		s.step()
		before := m
		m, at = s.mismatch()
		fresh = !(m <= chordRate*before)
	}
}

func (s *Solver) refusal(r Reason, it int, m float64, at int) Refusal {
	out := Refusal{Reason: r, Iterations: it, Mismatch: m}
	if at >= 0 {
		out.Bus = s.net.c.Buses[s.net.bus[at]].Number
	}
	return out
}
