package energy

import (
	"encoding/json"
	"math"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// assemble turns the definitions into a case with everything in service and no load: the state is read later.
// Elements stand in the order of their twins' identifiers.
func (f *frame) assemble() (*powerflow.Case, error) {
	c := &powerflow.Case{Name: "live"}
	buses := map[vaultmesh.TwinID]int{}
	grids := 0
	for i := range f.entries {
		e := &f.entries[i]
		n := nameplate{def: &e.def}
		switch e.kind {
		case grid.KindGrid:
			grids++
			c.BaseMVA = n.required(grid.BaseMVA)
			var name string
			if json.Unmarshal(e.def.Nameplate[grid.CaseName], &name) == nil && name != "" {
				c.Name = name
			}
		case grid.KindBus:
			e.index = len(c.Buses)
			buses[e.def.ID] = e.index
			f.bus = append(f.bus, e.def.ID)
			kv, _ := n.optional(grid.BaseKV)
			c.Buses = append(c.Buses, powerflow.Bus{
				Number: n.busNumber(), Type: powerflow.PQ,
				BaseKV: kv, VMin: n.required(grid.VMin), VMax: n.required(grid.VMax), Vm: 1,
			})
		}
		if n.err != nil {
			return nil, n.err
		}
	}
	if grids != 1 {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "energy.structure", "", "%d twins of model %s, want exactly one: it holds baseMVA", grids, grid.ModelGrid).
			WithFix("define the twin %q", grid.TwinGrid)
	}
	f.slack = -1
	for i := range f.entries {
		if err := f.connect(c, i, buses); err != nil {
			return nil, err
		}
	}
	if f.slack < 0 {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "energy.structure", c.Name, "no generator has %q true in its nameplate", grid.SlackUnit).
			WithFix("name the unit that balances the grid")
	}
	return c, nil
}

func (n *nameplate) busNumber() int {
	v := n.required(grid.Number)
	if n.err == nil && (v < 1 || v > math.MaxInt32 || v != math.Trunc(v)) {
		n.err = invalidDefinition(n.def.ID, "bus number %g is not an integer from 1 to 2^31-1", v)
	}
	if n.err != nil {
		return 0
	}
	return int(v)
}

// connect adds the element of entry i that hangs between or at buses.
func (f *frame) connect(c *powerflow.Case, i int, buses map[vaultmesh.TwinID]int) error {
	e := &f.entries[i]
	n := nameplate{def: &e.def}
	switch e.kind {
	case grid.KindBranch:
		e.index = len(c.Branches)
		from, to := n.target(grid.FromBus, buses), n.target(grid.ToBus, buses)
		b := powerflow.Branch{R: n.required(grid.R), X: n.required(grid.X), B: n.required(grid.B), RatingMVA: n.required(grid.Rating), InService: true}
		var taps tapRange
		if _, ok := e.def.Nameplate[grid.TapMin]; ok {
			taps = tapRange{min: n.required(grid.TapMin), max: n.required(grid.TapMax)}
			taps.step, _ = n.optional(grid.TapStep)
			b.Tap = 1
			b.ShiftDeg, _ = n.optional(grid.Shift)
		}
		if n.err != nil {
			return n.err
		}
		b.From, b.To = c.Buses[from].Number, c.Buses[to].Number
		c.Branches = append(c.Branches, b)
		f.branch = append(f.branch, e.def.ID)
		f.taps = append(f.taps, taps)
		f.from, f.to = append(f.from, from), append(f.to, to)
	case grid.KindGen:
		e.index = len(c.Gens)
		bus := n.target(grid.AtBus, buses)
		g := powerflow.Gen{QMin: n.required(grid.QMin), QMax: n.required(grid.QMax), PMin: n.required(grid.PMin), PMax: n.required(grid.PMax), V: 1, InService: true}
		if n.err != nil {
			return n.err
		}
		g.Bus = c.Buses[bus].Number
		c.Gens = append(c.Gens, g)
		f.gen = append(f.gen, e.def.ID)
		f.genBus = append(f.genBus, bus)
		if slack, _ := boolean(e.def.Nameplate[grid.SlackUnit]); slack {
			c.Buses[bus].Type = powerflow.Slack
			f.slack = bus
		} else if c.Buses[bus].Type == powerflow.PQ {
			c.Buses[bus].Type = powerflow.PV
		}
	case grid.KindLoad:
		e.index = len(f.loads)
		a := attached{entry: i, bus: n.target(grid.AtBus, buses)}
		var hasQ bool
		a.nominalP, a.nominal = n.optional(grid.NominalP)
		a.nominalQ, hasQ = n.optional(grid.NominalQ)
		a.nominal = a.nominal && hasQ
		f.loads = append(f.loads, a)
	case grid.KindShunt:
		e.index = len(f.shunts)
		f.shunts = append(f.shunts, attached{
			entry: i, bus: n.target(grid.AtBus, buses),
			conductance: n.required(grid.Conductance), susceptance: n.required(grid.Susceptance),
		})
	}
	return n.err
}
