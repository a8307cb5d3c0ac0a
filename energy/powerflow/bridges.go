package powerflow

// bridges finds the branches whose outage splits an island, by one depth-first search from each slack (Tarjan 1974),
// so that what is below a bridge is always the part without the slack.
type bridges struct {
	cut        []int32 // branch → position below it if it is a bridge, else -1
	entered    []int32 // order of discovery from 1, 0 = not yet
	low        []int32 // earliest position that the part below can reach
	next       []int32 // how many branches of a position were looked at
	through    []int32 // branch by which a position was entered, -1 at the slack
	stack      []int32
	buses      []int32   // of the part below a position, itself included
	load       []float64 // MW there
	generators []int32   // in service there
}

func newBridges(n *Network) bridges {
	list := func() []int32 { return make([]int32, n.n) }
	return bridges{cut: make([]int32, len(n.branches)), entered: list(), low: list(), next: list(), through: list(),
		stack: make([]int32, 0, n.n), buses: list(), load: make([]float64, n.n), generators: list()}
}

func (b *bridges) search(s *Solver) {
	clear(b.entered)
	for i := range b.cut {
		b.cut[i] = -1
	}
	count := int32(0)
	for _, island := range s.place.islands {
		b.enter(s, island.slack, -1, &count)
		for len(b.stack) > 0 {
			at := b.stack[len(b.stack)-1]
			around := s.net.adj.at(at)
			if int(b.next[at]) == len(around) {
				b.leave(s, at)
				continue
			}
			branch := around[b.next[at]]
			b.next[at]++
			if branch == b.through[at] || !s.carries(int(branch)) {
				continue
			}
			to := s.net.branches[branch].from + s.net.branches[branch].to - at
			if b.entered[to] == 0 {
				b.enter(s, to, branch, &count)
			} else {
				b.low[at] = min(b.low[at], b.entered[to])
			}
		}
	}
}

func (b *bridges) enter(s *Solver, p, through int32, count *int32) {
	*count++
	b.entered[p], b.low[p], b.next[p], b.through[p] = *count, *count, 0, through
	b.buses[p], b.load[p], b.generators[p] = 1, real(s.load[s.net.bus[p]]), 0
	for _, g := range s.net.gensAt.at(p) {
		if s.gens[g].InService {
			b.generators[p]++
		}
	}
	b.stack = append(b.stack, p)
}

// leave is done with a position: its part counts for the one above it.
func (b *bridges) leave(s *Solver, p int32) {
	b.stack = b.stack[:len(b.stack)-1]
	through := b.through[p]
	if through < 0 {
		return
	}
	up := s.net.branches[through].from + s.net.branches[through].to - p
	b.low[up] = min(b.low[up], b.low[p])
	b.buses[up] += b.buses[p]
	b.load[up] += b.load[p]
	b.generators[up] += b.generators[p]
	if b.low[p] == b.entered[p] {
		b.cut[through] = p
	}
}

func (b *bridges) report(c *Contingency) {
	p := b.cut[c.Branch]
	c.Outcome = Islanding
	c.IslandedBuses, c.IslandedLoadMW = int(b.buses[p]), b.load[p]
	if b.generators[p] == 0 {
		c.LoadLostMW = b.load[p]
	}
}
