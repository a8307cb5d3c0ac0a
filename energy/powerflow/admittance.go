package powerflow

import "math/cmplx"

// admittances holds the nodal admittance matrix in pu, by positions, and the two-port of each branch.
type admittances struct {
	branches []twoPort
	edges    []edge
	self     []complex128 // diagonal
}

// twoPort is the admittance of a branch: If = ff·Vf + ft·Vt, It = tf·Vf + tt·Vt.
type twoPort struct{ ff, ft, tf, tt complex128 }

// set derives the two-port from series impedance, total charging and the complex ratio at the from side.
func (y *twoPort) set(z complex128, charging float64, ratio complex128) {
	series := 1 / z
	y.tt = series + complex(0, charging/2)
	m := real(ratio)*real(ratio) + imag(ratio)*imag(ratio)
	y.ff = y.tt / complex(m, 0)
	y.ft = -series / cmplx.Conj(ratio)
	y.tf = -series / ratio
}

// edge is the sum of all closed branches between two positions, with all that a sweep needs in one place.
type edge struct {
	i, k, slot         int32
	live               int32   // closed branches
	gik, bik, gki, bki float64 // of Y(i,k) and Y(k,i); zero where nothing is closed
}

func newAdmittances(n *Network) admittances {
	a := admittances{
		branches: make([]twoPort, len(n.branches)),
		edges:    make([]edge, len(n.edges)),
		self:     make([]complex128, n.n),
	}
	for e, p := range n.edges {
		a.edges[e] = edge{i: p.i, k: p.k, slot: p.slot}
	}
	return a
}

// assemble sums the branches that carry power and the shunts. Branches to or between dead buses are left out.
func (a *admittances) assemble(s *Solver) {
	for e := range a.edges {
		ed := &a.edges[e]
		ed.live, ed.gik, ed.bik, ed.gki, ed.bki = 0, 0, 0, 0, 0
	}
	base := complex(s.net.c.BaseMVA, 0)
	for p, i := range s.net.bus {
		a.self[p] = s.shunt[i] / base
		a.self[p] = complex(real(a.self[p]), -imag(a.self[p])) // power consumed at 1 pu is Y*
	}
	for b := range a.branches {
		if s.carries(b) {
			a.add(s.net, b, 1)
		}
	}
}

// add puts a branch into the matrix (sign 1) or takes it out (-1).
func (a *admittances) add(n *Network, branch int, sign float64) {
	p, y := n.branches[branch], &a.branches[branch]
	w := complex(sign, 0)
	a.self[p.from] += w * y.ff
	a.self[p.to] += w * y.tt
	ik, ki := y.ft, y.tf
	if p.flip {
		ik, ki = ki, ik
	}
	ed := &a.edges[p.edge]
	ed.live += int32(sign)
	if ed.live == 0 { // leave no rounding residue behind
		ed.gik, ed.bik, ed.gki, ed.bki = 0, 0, 0, 0
		return
	}
	ed.gik += sign * real(ik)
	ed.bik += sign * imag(ik)
	ed.gki += sign * real(ki)
	ed.bki += sign * imag(ki)
}

// carries reports whether a branch is closed between energised buses.
func (s *Solver) carries(branch int) bool {
	p := s.net.branches[branch]
	return s.closed[branch] && s.place.islandOf[p.from] >= 0 && s.place.islandOf[p.from] == s.place.islandOf[p.to]
}
