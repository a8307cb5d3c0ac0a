package powerflow

// topology says which buses are connected and energised, and what is held at each.
type topology struct {
	islandOf []int32   // position → index into islands, -1 when dead
	holdP    []float64 // 1 where the active injection is given (PQ and PV), else 0
	holdQ    []float64 // 1 where the reactive injection is given (PQ), else 0
	islands  []place
	queue    []int32 // memory of the search
}

// place is one energised island.
type place struct{ slack int32 } // position

func newTopology(n *Network) topology {
	return topology{
		islandOf: make([]int32, n.n), holdP: make([]float64, n.n), holdQ: make([]float64, n.n),
		islands: make([]place, 0, 4), queue: make([]int32, 0, n.n),
	}
}

const unseen = -2

// find searches the islands and gives each one slack: the case's slack bus if a generator is in service there (the
// one with the largest, if several were joined; the others then hold their voltage only), else the bus of the
// largest generator, PV buses before PQ buses. The largest is by PMax, the first in the case among equals. An island
// without a generator in service is dead.
func (t *topology) find(s *Solver) {
	t.islands = t.islands[:0]
	for p := range t.islandOf {
		t.islandOf[p] = unseen
		t.holdP[p], t.holdQ[p] = 0, 0
	}
	// In the case's order, so that islands are numbered by their first bus.
	for i := range s.net.c.Buses {
		p := s.net.pos[i]
		switch {
		case s.net.c.Buses[i].Type == Isolated:
			t.islandOf[p] = -1
		case t.islandOf[p] == unseen:
			t.explore(s, p)
		}
	}
}

// explore collects the island of p and decides what its buses hold.
func (t *topology) explore(s *Solver, p int32) {
	id := int32(len(t.islands))
	t.islandOf[p] = id
	t.queue = append(t.queue[:0], p)
	for head := 0; head < len(t.queue); head++ {
		at := t.queue[head]
		for _, b := range s.net.adj.at(at) {
			if !s.closed[b] {
				continue
			}
			q := s.net.branches[b].from + s.net.branches[b].to - at
			if t.islandOf[q] == unseen && s.busType(q) != Isolated {
				t.islandOf[q] = id
				t.queue = append(t.queue, q)
			}
		}
	}
	slack := t.chooseSlack(s)
	for _, q := range t.queue {
		switch {
		case slack < 0:
			t.islandOf[q] = -1
		case q == slack:
		case s.busType(q) != PQ && s.setsVoltage(q) >= 0:
			t.holdP[q] = 1
		default:
			t.holdP[q], t.holdQ[q] = 1, 1
		}
	}
	if slack >= 0 {
		t.islands = append(t.islands, place{slack: slack})
	}
}

// chooseSlack returns the position of the slack of the island in the queue, -1 if no generator is in service.
func (t *topology) chooseSlack(s *Solver) int32 {
	best, bestRank, bestP, bestGen := int32(-1), BusType(0), 0.0, int32(0)
	for _, q := range t.queue {
		rank := s.busType(q)
		for _, g := range s.net.gensAt.at(q) {
			if !s.gens[g].InService {
				continue
			}
			p := s.gens[g].PMax
			if rank > bestRank || rank == bestRank && (p > bestP || p == bestP && g < bestGen) {
				best, bestRank, bestP, bestGen = q, rank, p, g
			}
		}
	}
	return best
}

func (s *Solver) busType(p int32) BusType { return s.net.c.Buses[s.net.bus[p]].Type }

// setsVoltage returns the generator whose set point holds at a position, the last in service there, or -1.
func (s *Solver) setsVoltage(p int32) int32 {
	at := s.net.gensAt.at(p)
	for i := len(at) - 1; i >= 0; i-- {
		if s.gens[at[i]].InService {
			return at[i]
		}
	}
	return -1
}
