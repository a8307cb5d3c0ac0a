package powerflow

import "math"

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// fits reports whether the solution has the shape of the network.
func (sol *Solution) fits(n *Network) bool {
	return len(sol.Vm) == n.n && len(sol.Va) == n.n && len(sol.Dead) == n.n
}

// fill writes the state in which the iteration ended, as r says, to sol.
func (s *Solver) fill(sol *Solution, r Refusal) {
	n := s.net
	sol.Iterations, sol.MaxMismatch = r.Iterations, r.Mismatch
	sol.Vm, sol.Va = resize(sol.Vm, n.n), resize(sol.Va, n.n)
	sol.Dead, sol.IslandOf = resize(sol.Dead, n.n), resize(sol.IslandOf, n.n)
	sol.Flows = resize(sol.Flows, len(n.branches))
	sol.GenP, sol.GenQ = resize(sol.GenP, len(s.gens)), resize(sol.GenQ, len(s.gens))
	sol.Islands = resize(sol.Islands, len(s.place.islands))
	for i, p := range s.place.islands {
		sol.Islands[i] = Island{Slack: int(n.bus[p.slack])}
	}
	sol.DeadBuses, sol.LoadMW, sol.LoadLostMW, sol.GenMW, sol.LossesMW = 0, 0, 0, 0, 0
	for p, i := range n.bus {
		island := s.place.islandOf[p]
		sol.Vm[i], sol.Va[i], sol.IslandOf[i], sol.Dead[i] = s.state.vm[p], s.state.va[p], island, island < 0
		load := real(s.load[i])
		if island < 0 {
			sol.DeadBuses++
			sol.LoadLostMW += load
			continue
		}
		sol.Islands[island].Buses++
		sol.Islands[island].LoadMW += load
		sol.LoadMW += load
	}
	for b := range sol.Flows {
		if !s.carries(b) {
			sol.Flows[b] = Flow{}
			continue
		}
		fl := s.flow(b)
		sol.Flows[b] = fl
		sol.Islands[s.place.islandOf[n.branches[b].from]].LossesMW += fl.Pf + fl.Pt
	}
	s.dispatch(sol)
	for i := range sol.Islands {
		sol.GenMW += sol.Islands[i].GenMW
		sol.LossesMW += sol.Islands[i].LossesMW
	}
}

// flow returns the power into a branch at both ends, MW and MVAr.
func (s *Solver) flow(branch int) Flow {
	p, y, st, base := s.net.branches[branch], &s.grid.branches[branch], &s.state, s.net.c.BaseMVA
	f, t := &st.v[p.from], &st.v[p.to]
	c, d := f[0]*t[0]+f[1]*t[1], f[1]*t[0]-f[0]*t[1]
	vf, vt := f[0]*f[0]+f[1]*f[1], t[0]*t[0]+t[1]*t[1]
	return Flow{
		Pf: base * (real(y.ff)*vf + real(y.ft)*c + imag(y.ft)*d),
		Qf: base * (-imag(y.ff)*vf + real(y.ft)*d - imag(y.ft)*c),
		Pt: base * (real(y.tt)*vt + real(y.tf)*c - imag(y.tf)*d),
		Qt: base * (-imag(y.tt)*vt - real(y.tf)*d - imag(y.tf)*c),
	}
}

// dispatch shares the injection of each bus among its units: the largest unit at a slack takes what the others leave
// of the active power; reactive power at a bus that holds its voltage is shared so that all units stand at the same
// fraction of their range (equally, where there is no range or it has no end).
func (s *Solver) dispatch(sol *Solution) {
	for g := range s.gens {
		sol.GenP[g], sol.GenQ[g] = 0, 0
		if gen := &s.gens[g]; gen.InService && s.place.islandOf[s.net.genPos[g]] >= 0 {
			sol.GenP[g], sol.GenQ[g] = gen.P, gen.Q
		}
	}
	base := s.net.c.BaseMVA
	for p, i := range s.net.bus {
		island := s.place.islandOf[p]
		if island < 0 || s.place.holdQ[p] != 0 {
			continue
		}
		p := int32(p)
		s.shareReactive(sol, p, base*s.state.pq[p][1]+imag(s.load[i]))
		if s.place.holdP[p] != 0 {
			continue
		}
		total := base*s.state.pq[p][0] + real(s.load[i])
		sol.Islands[island].SlackP = total
		sol.Islands[island].SlackQ = base*s.state.pq[p][1] + imag(s.load[i])
		largest := int32(-1)
		for _, g := range s.net.gensAt.at(p) {
			if s.gens[g].InService {
				if largest < 0 || s.gens[g].PMax > s.gens[largest].PMax {
					largest = g
				}
				total -= s.gens[g].P
			}
		}
		sol.GenP[largest] += total
	}
	for g, p := range s.net.genPos {
		if island := s.place.islandOf[p]; island >= 0 {
			sol.Islands[island].GenMW += sol.GenP[g]
		}
	}
}

func (s *Solver) shareReactive(sol *Solution, p int32, total float64) {
	var low, span float64
	units := 0
	for _, g := range s.net.gensAt.at(p) {
		if gen := &s.gens[g]; gen.InService {
			units++
			low += gen.QMin
			span += gen.QMax - gen.QMin
		}
	}
	for _, g := range s.net.gensAt.at(p) {
		gen := &s.gens[g]
		switch {
		case !gen.InService:
		case units > 1 && span > 0 && !math.IsInf(span, 0) && !math.IsInf(low, 0):
			sol.GenQ[g] = gen.QMin + (total-low)/span*(gen.QMax-gen.QMin)
		default:
			sol.GenQ[g] = total / float64(units)
		}
	}
}

// slackness is how far beyond its bound, relative or absolute, a value must be to count as a violation.
const slackness = 1e-6

func above(value, bound float64) bool { return value > bound+slackness*max(1, math.Abs(bound)) }

// Violations appends to dst every limit that does not hold in sol, a solution of this solver for its present inputs:
// first voltages, then loadings, then generators, each in the order of the case. A value counts from 1e-6 beyond its
// bound, of the bound or absolute (pu, MVA, MW, MVAr), whichever is more. A voltage bound of 0 is no bound.
func (s *Solver) Violations(sol *Solution, dst []Violation) []Violation {
	c := &s.net.c
	for i := range c.Buses {
		b := &c.Buses[i]
		switch v := sol.Vm[i]; {
		case sol.Dead[i]:
		case b.VMin != 0 && above(b.VMin, v):
			dst = append(dst, Violation{VoltageMin, i, v, b.VMin})
		case b.VMax != 0 && above(v, b.VMax):
			dst = append(dst, Violation{VoltageMax, i, v, b.VMax})
		}
	}
	for i := range c.Branches {
		if rating, mva := c.Branches[i].RatingMVA, sol.Flows[i].MVA(); rating > 0 && above(mva, rating) {
			dst = append(dst, Violation{Loading, i, mva, rating})
		}
	}
	for g := range s.gens {
		gen := &s.gens[g]
		if p := s.net.bus[s.net.genPos[g]]; !gen.InService || sol.Dead[p] {
			continue
		}
		if p := sol.GenP[g]; above(gen.PMin, p) {
			dst = append(dst, Violation{ActiveMin, g, p, gen.PMin})
		} else if above(p, gen.PMax) {
			dst = append(dst, Violation{ActiveMax, g, p, gen.PMax})
		}
		if q := sol.GenQ[g]; above(gen.QMin, q) {
			dst = append(dst, Violation{ReactiveMin, g, q, gen.QMin})
		} else if above(q, gen.QMax) {
			dst = append(dst, Violation{ReactiveMax, g, q, gen.QMax})
		}
	}
	return dst
}

// MVA returns the larger apparent power of the two ends.
func (f Flow) MVA() float64 { return math.Sqrt(f.squared()) }

func (f Flow) squared() float64 { return max(f.Pf*f.Pf+f.Qf*f.Qf, f.Pt*f.Pt+f.Qt*f.Qt) }
