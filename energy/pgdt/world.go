package pgdt

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
)

// unit is the physical state of a generator.
type unit struct {
	on     bool
	target float64 // set-point, MW
	p      float64 // output, MW: on its way to the target
	v      float64 // voltage set-point, pu
}

// load is the physical state of the demand at a bus.
type load struct {
	there bool
	shed  float64 // fraction that is disconnected
	walk  float64 // deviation from the daily curve, fraction
}

// point is one twin: where it is in the case and who speaks for it.
type point struct {
	id     vaultmesh.TwinID
	kind   grid.ElementKind
	index  int // in Buses (also loads and shunts), Branches or Gens
	device vaultmesh.DeviceID
}

// world is the physical truth. It is not safe for concurrent use: the fleet guards it.
type world struct {
	cfg    *Config
	c      *powerflow.Case
	solver *powerflow.Solver
	points []point
	byID   map[vaultmesh.TwinID]int // index into points
	busAt  map[int]int              // bus number to index

	closed []bool
	tap    []float64
	taps   []tapRange // of the tap changers, parallel to tap
	gens   []unit
	loads  []load // parallel to Buses
	shunts []bool // parallel to Buses
	stuck  map[int][]reading

	sol      powerflow.Solution // of the last step that had one
	spare    powerflow.Solution
	stale    error // why the last step had no solution, nil where it had one
	hours    float64
	freq     frequency
	walk     *rand.Rand
	measured *rand.Rand
}

// newWorld solves the case as it is given. Errors are those of powerflow; a case without a solution has no physics.
func newWorld(cfg *Config) (*world, error) {
	network, err := powerflow.Compile(cfg.Case)
	if err != nil {
		return nil, vaultmesh.Wrap(err, "pgdt.case", cfg.Case.Name)
	}
	c := network.Case()
	w := &world{
		cfg: cfg, c: c, solver: network.NewSolver(), byID: map[vaultmesh.TwinID]int{}, busAt: map[int]int{},
		closed: make([]bool, len(c.Branches)), tap: make([]float64, len(c.Branches)), taps: make([]tapRange, len(c.Branches)), gens: make([]unit, len(c.Gens)),
		loads: make([]load, len(c.Buses)), shunts: make([]bool, len(c.Buses)), stuck: map[int][]reading{},
		hours: cfg.Demand.StartHour,
		walk:  rand.New(rand.NewPCG(cfg.Seed, 1)), measured: rand.New(rand.NewPCG(cfg.Seed, 2)),
	}
	for i := range c.Buses {
		b := &c.Buses[i]
		w.busAt[b.Number] = i
		w.loads[i].there = b.LoadMW != 0 || b.LoadMVAr != 0
		w.shunts[i] = b.ShuntMW != 0 || b.ShuntMVAr != 0
	}
	for i := range c.Branches {
		b := &c.Branches[i]
		w.closed[i], w.tap[i] = b.InService, b.Tap
		if grid.IsTransformer(b) && b.Tap == 0 {
			w.tap[i] = 1
		}
	}
	for i := range c.Gens {
		g := &c.Gens[i]
		w.gens[i] = unit{on: g.InService, target: g.P, p: g.P, v: g.V}
	}
	w.name()
	w.equip()
	if err := w.solve(); err != nil {
		return nil, vaultmesh.Wrap(err, "pgdt.case", c.Name)
	}
	w.settle()
	return w, nil
}

// name lists the twins of the case, the grid first.
func (w *world) name() {
	x := grid.NewIndex(w.c)
	add := func(id vaultmesh.TwinID, kind grid.ElementKind, index int, device vaultmesh.DeviceID) {
		if id == "" {
			return
		}
		w.byID[id] = len(w.points)
		w.points = append(w.points, point{id: id, kind: kind, index: index, device: device})
	}
	add(grid.TwinGrid, grid.KindGrid, 0, grid.ControlCenter)
	for i, id := range x.Bus {
		add(id, grid.KindBus, i, x.BusDevice[i])
	}
	for i, id := range x.Branch {
		add(id, grid.KindBranch, i, x.BranchDevice[i])
	}
	for i, id := range x.Gen {
		add(id, grid.KindGen, i, x.GenDevice[i])
	}
	for i := range x.Bus {
		add(x.Load[i], grid.KindLoad, i, x.BusDevice[i])
		add(x.Shunt[i], grid.KindShunt, i, x.BusDevice[i])
	}
}

// equip reads what the tap changers can do off the nameplates.
func (w *world) equip() {
	plate := func(d *twin.Definition, name string) (v float64) {
		_ = json.Unmarshal(d.Nameplate[name], &v) // absent: 0, no step or no range
		return v
	}
	for _, d := range grid.Twins(w.c) {
		if i, ok := w.byID[d.ID]; ok && d.Model == grid.ModelTransformer {
			w.taps[w.points[i].index] = tapRange{plate(&d, grid.TapMin), plate(&d, grid.TapMax), plate(&d, grid.TapStep)}
		}
	}
}

// settle makes the state of the case the equilibrium: the slack unit's set-point is what it gives.
func (w *world) settle() {
	for g := range w.gens {
		u := &w.gens[g]
		if u.on && w.balances(g) {
			u.target, u.p = w.sol.GenP[g], w.sol.GenP[g]
		}
	}
	w.freq = frequency{nominal: w.cfg.NominalHz}
	w.freq.settle(w)
}

// balances reports whether generator g stands at the bus that balances an island.
func (w *world) balances(g int) bool {
	bus := w.busAt[w.c.Gens[g].Bus]
	k := w.sol.IslandOf[bus]
	return k >= 0 && w.sol.Islands[k].Slack == bus
}

// step moves the grid on by dt. The error says why the physics has no solution now; the state then stays as it was,
// except for what was switched and set.
func (w *world) step(dt time.Duration) error {
	s := dt.Seconds()
	w.hours = math.Mod(w.hours+s*w.cfg.Demand.Speed/3600, 24)
	decay := math.Exp(-s / w.cfg.Demand.WalkTime.Seconds())
	kick := w.cfg.Demand.Walk * math.Sqrt(1-decay*decay)
	for i := range w.loads {
		if w.loads[i].there {
			w.loads[i].walk = w.loads[i].walk*decay + kick*w.walk.NormFloat64()
		}
	}
	for g := range w.gens {
		w.gens[g].ramp(max(1, w.cfg.Ramp*w.c.Gens[g].PMax) * s)
	}
	err := w.solve()
	w.freq.step(w, s)
	return err
}

// ramp moves the output towards the target by at most most MW. A unit that is off gives nothing and starts from 0.
func (u *unit) ramp(most float64) {
	if !u.on {
		u.p = 0
		return
	}
	u.p += max(-most, min(most, u.target-u.p))
}

// demand returns the power that the loads at a bus ask for, MW and MVAr.
func (w *world) demand(bus int) (p, q float64) {
	b, l := &w.c.Buses[bus], &w.loads[bus]
	k := (1 + w.curve() + l.walk) * (1 - l.shed)
	return b.LoadMW * k, b.LoadMVAr * k
}

// curve returns the deviation of the daily curve from the nominal load, a fraction.
func (w *world) curve() float64 {
	shape := func(h float64) float64 {
		return -0.7*math.Cos(2*math.Pi*(h-4)/24) - 0.3*math.Cos(4*math.Pi*(h-2)/24)
	}
	return w.cfg.Demand.Amplitude * (shape(w.hours) - shape(w.cfg.Demand.StartHour))
}

// solve computes the state for the present inputs. Where there is no solution the last one stays; where nothing is
// energised at all that is a state of its own: everything is dead.
func (w *world) solve() error {
	s := w.solver
	var errs []error
	for i := range w.c.Buses {
		p, q := w.demand(i)
		errs = append(errs, s.SetLoad(i, p, q))
		if b := &w.c.Buses[i]; w.shunts[i] {
			errs = append(errs, s.SetShunt(i, b.ShuntMW, b.ShuntMVAr))
		} else {
			errs = append(errs, s.SetShunt(i, 0, 0))
		}
	}
	for i, closed := range w.closed {
		errs = append(errs, s.SetBranch(i, closed))
		if w.tap[i] != 0 {
			errs = append(errs, s.SetTap(i, w.tap[i]))
		}
	}
	for g, u := range w.gens {
		errs = append(errs, s.SetGen(g, u.p, 0), s.SetGenVoltage(g, u.v), s.SetGenInService(g, u.on))
	}
	if err := errors.Join(errs...); err != nil {
		w.stale = err
		return err
	}
	o := powerflow.Options{}
	if len(w.sol.Vm) > 0 {
		o.Warm = &w.sol
	}
	err := s.Solve(o, &w.spare)
	if err != nil {
		err = s.Solve(powerflow.Options{Flat: true}, &w.spare)
	}
	if r := (*powerflow.Refusal)(nil); errors.As(err, &r) && r.Reason == powerflow.NoGeneration && len(w.sol.Vm) > 0 {
		w.blackout()
		w.stale = nil
		return nil
	}
	w.stale = err
	if err == nil {
		w.sol, w.spare = w.spare, w.sol
	}
	return err
}

// blackout is the state in which no generator is in service.
func (w *world) blackout() {
	clear(w.sol.Vm)
	clear(w.sol.Va)
	clear(w.sol.Flows)
	clear(w.sol.GenP)
	clear(w.sol.GenQ)
	w.sol.LoadLostMW += w.sol.LoadMW
	w.sol.LoadMW, w.sol.GenMW, w.sol.LossesMW = 0, 0, 0
	w.sol.Islands, w.sol.DeadBuses = w.sol.Islands[:0], len(w.sol.Vm)
	for i := range w.sol.Dead {
		w.sol.Dead[i], w.sol.IslandOf[i] = true, -1
	}
}
