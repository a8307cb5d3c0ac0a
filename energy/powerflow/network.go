package powerflow

import (
	"math"
	"slices"

	"vaultmesh.org/vaultmesh"
)

// Network is a compiled case: checked data and the structure that every solve shares. Immutable, safe for concurrent
// use.
//
// Inside the package a bus is known by its position in the elimination order, so that the factorisation and all
// sweeps walk memory forwards; pos and bus translate at the border.
type Network struct {
	c     Case
	n     int
	index map[int]int32 // bus number → index in the case
	pos   []int32       // index in the case → position
	bus   []int32       // position → index in the case

	branches  []branchPlace
	edges     []edgePlace // ascending by i
	firstEdge []int32     // position i has the edges from firstEdge[i] to before firstEdge[i+1]
	adj       lists       // position → branches at it, as indices in the case
	gensAt    lists       // position → generators at it, ascending
	genPos    []int32     // generator → position
	sym       symbolic
}

// branchPlace is where a branch is found. Parallel branches share an edge.
type branchPlace struct {
	from, to int32 // positions
	edge     int32
	flip     bool // from is the edge's later end
}

// edgePlace is a pair of connected positions, i < k, and the place of its two blocks in the factor.
type edgePlace struct{ i, k, slot int32 }

// lists is an array of short lists in one piece of memory.
type lists struct{ start, items []int32 }

func (l lists) at(i int32) []int32 { return l.items[l.start[i]:l.start[i+1]] }

// Compile checks the case and analyses its structure. The case is copied.
//
// It refuses, as Invalid, what is not finite, unknown or doubled bus numbers, branches from a bus to itself or without
// impedance, ratios and voltages that are not positive; as TooLarge, a case beyond the Max constants.
func Compile(c *Case) (*Network, error) {
	index, err := check(c)
	if err != nil {
		return nil, err
	}
	n := &Network{
		c: Case{Name: c.Name, BaseMVA: c.BaseMVA, Buses: slices.Clone(c.Buses),
			Branches: slices.Clone(c.Branches), Gens: slices.Clone(c.Gens)},
		n: len(c.Buses), index: index,
	}
	pairs := make([][2]int32, len(c.Branches))
	for b := range c.Branches {
		pairs[b] = [2]int32{index[c.Branches[b].From], index[c.Branches[b].To]}
	}
	order, pattern, err := minimumDegree(n.n, pairs)
	if err != nil {
		return nil, err
	}
	n.bus = order
	n.pos = make([]int32, n.n)
	for p, i := range order {
		n.pos[i] = int32(p)
	}
	n.sym = analyse(n.pos, order, pattern)
	n.place(pairs)
	return n, nil
}

// place finds the positions of branches and generators.
func (n *Network) place(pairs [][2]int32) {
	n.branches = make([]branchPlace, len(pairs))
	ends := make([][]int32, n.n)
	edgeAt := map[[2]int32]int32{}
	for b, pr := range pairs {
		f, t := n.pos[pr[0]], n.pos[pr[1]]
		n.branches[b] = branchPlace{from: f, to: t, flip: f > t}
		key := [2]int32{min(f, t), max(f, t)}
		edgeAt[key] = 0
		ends[f] = append(ends[f], int32(b))
		ends[t] = append(ends[t], int32(b))
	}
	n.adj = flatten(ends)
	n.edges = make([]edgePlace, 0, len(edgeAt))
	for key := range edgeAt {
		n.edges = append(n.edges, edgePlace{i: key[0], k: key[1], slot: n.sym.slot(key[0], key[1])})
	}
	slices.SortFunc(n.edges, func(a, b edgePlace) int { return int(a.slot - b.slot) })
	n.firstEdge = make([]int32, n.n+1)
	for e, ed := range n.edges {
		n.firstEdge[ed.i+1] = int32(e + 1)
		edgeAt[[2]int32{ed.i, ed.k}] = int32(e)
	}
	for i := range n.n { // positions without an edge of their own
		n.firstEdge[i+1] = max(n.firstEdge[i+1], n.firstEdge[i])
	}
	for b := range n.branches {
		p := &n.branches[b]
		p.edge = edgeAt[[2]int32{min(p.from, p.to), max(p.from, p.to)}]
	}
	gens := make([][]int32, n.n)
	n.genPos = make([]int32, len(n.c.Gens))
	for g := range n.c.Gens {
		p := n.pos[n.index[n.c.Gens[g].Bus]]
		n.genPos[g] = p
		gens[p] = append(gens[p], int32(g))
	}
	n.gensAt = flatten(gens)
}

func flatten(in [][]int32) lists {
	l := lists{start: make([]int32, len(in)+1)}
	for i, s := range in {
		l.items = append(l.items, s...)
		l.start[i+1] = int32(len(l.items))
	}
	return l
}

// Case returns the compiled case; it must not be changed.
func (n *Network) Case() *Case { return &n.c }

// BusIndex returns the index in the case of the bus with the given number.
func (n *Network) BusIndex(number int) (int, bool) {
	i, ok := n.index[number]
	return int(i), ok
}

// Solve solves the case as compiled, on a solver of its own.
func (n *Network) Solve(o Options) (*Solution, error) {
	sol := new(Solution)
	if err := n.NewSolver().Solve(o, sol); err != nil {
		return nil, err
	}
	return sol, nil
}

const opCompile = "powerflow.compile"

// Ranges of inputs, for Compile and the setters alike. They are wide: they keep the arithmetic sound, and are no
// judgement on what is sensible to operate.
const (
	minRatio, maxRatio     = 0.1, 10
	minVoltage, maxVoltage = 0.1, 3
	maxShift               = 360
	minImpedance           = 1e-9 // pu; less is a switch: merge its buses
	maxQuantity            = 1e9  // any power in MW or MVAr, any impedance in pu
)

func quantity(xs ...float64) bool {
	for _, x := range xs {
		if !(math.Abs(x) <= maxQuantity) {
			return false
		}
	}
	return true
}

func within(x, lo, hi float64) bool { return x >= lo && x <= hi }

// check validates the case and returns the index of each bus number.
func check(c *Case) (map[int]int32, error) {
	if len(c.Buses) > MaxBuses || len(c.Branches) > MaxBranches || len(c.Gens) > MaxGens {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, opCompile, c.Name, "%d buses, %d branches and %d generators; the limits are %d, %d and %d",
			len(c.Buses), len(c.Branches), len(c.Gens), MaxBuses, MaxBranches, MaxGens)
	}
	invalid := func(format string, args ...any) error {
		return vaultmesh.Errorf(vaultmesh.Invalid, opCompile, c.Name, format, args...)
	}
	if len(c.Buses) == 0 {
		return nil, invalid("there is no bus")
	}
	if !within(c.BaseMVA, 1e-6, 1e6) {
		return nil, invalid("baseMVA is %g, want 1e-6 to 1e6", c.BaseMVA)
	}
	index := make(map[int]int32, len(c.Buses))
	for i := range c.Buses {
		b := &c.Buses[i]
		if _, twice := index[b.Number]; twice {
			return nil, invalid("bus %d occurs twice", b.Number)
		}
		index[b.Number] = int32(i)
		switch {
		case b.Type < PQ || b.Type > Isolated:
			return nil, invalid("bus %d: type %d, want 1 (PQ), 2 (PV), 3 (slack) or 4 (isolated)", b.Number, b.Type)
		case !quantity(b.LoadMW, b.LoadMVAr, b.ShuntMW, b.ShuntMVAr, b.BaseKV, b.VMin, b.VMax, b.Va):
			return nil, invalid("bus %d: a figure is not finite or beyond 1e9", b.Number)
		case b.Vm != 0 && !within(b.Vm, minVoltage, maxVoltage):
			return nil, invalid("bus %d: the start voltage is %g pu, want %g to %g, or 0 for 1", b.Number, b.Vm, minVoltage, float64(maxVoltage))
		}
	}
	for i := range c.Branches {
		b := &c.Branches[i]
		_, okF := index[b.From]
		_, okT := index[b.To]
		switch {
		case !okF || !okT:
			return nil, invalid("branch %d is from bus %d to bus %d: no such bus", i+1, b.From, b.To)
		case b.From == b.To:
			return nil, invalid("branch %d is from bus %d to itself", i+1, b.From)
		case !quantity(b.R, b.X, b.B, b.RatingMVA) || b.RatingMVA < 0:
			return nil, invalid("branch %d: a figure is not finite, beyond 1e9, or the rating is negative", i+1)
		case math.Hypot(b.R, b.X) < minImpedance:
			e := vaultmesh.Errorf(vaultmesh.Invalid, opCompile, c.Name, "branch %d from bus %d to bus %d has no impedance", i+1, b.From, b.To)
			return nil, e.WithFix("merge the two buses")
		case b.Tap != 0 && !within(b.Tap, minRatio, maxRatio):
			return nil, invalid("branch %d: ratio %g, want %g to %g, or 0 for a line", i+1, b.Tap, minRatio, float64(maxRatio))
		case !within(b.ShiftDeg, -maxShift, maxShift):
			return nil, invalid("branch %d: phase shift %g degrees, want -360 to 360", i+1, b.ShiftDeg)
		}
	}
	for i := range c.Gens {
		g := &c.Gens[i]
		_, ok := index[g.Bus]
		switch {
		case !ok:
			return nil, invalid("generator %d is at bus %d: no such bus", i+1, g.Bus)
		case !quantity(g.P, g.Q):
			return nil, invalid("generator %d: a figure is not finite or beyond 1e9", i+1)
		case math.IsNaN(g.QMin) || math.IsNaN(g.QMax) || math.IsNaN(g.PMin) || math.IsNaN(g.PMax):
			return nil, invalid("generator %d: a limit is not a number", i+1)
		case !within(g.V, minVoltage, maxVoltage):
			return nil, invalid("generator %d: voltage set point %g pu, want %g to %g", i+1, g.V, minVoltage, float64(maxVoltage))
		}
	}
	return index, nil
}
