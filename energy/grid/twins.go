package grid

import (
	"encoding/json"
	"math"
	"strconv"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
)

// The tap changer that a transformer has on its nameplate: ±10 % in 32 steps, the usual one. No public case gives any.
// The range is wider where the case's own ratio is outside.
const (
	usualTapMin  = 0.9
	usualTapMax  = 1.1
	usualTapStep = 0.00625
)

// unlimited stands on a nameplate for a limit that is infinite in the case, since JSON has no infinity. MW or MVAr.
const unlimited = 1e9

func id(kind string, numbers ...int) vaultmesh.TwinID {
	for _, n := range numbers {
		kind += "-" + strconv.Itoa(n)
	}
	return vaultmesh.TwinID(kind)
}

// BusID returns the twin of bus n, "bus-<n>".
func BusID(n int) vaultmesh.TwinID { return id("bus", n) }

// LoadID returns the twin of the load at bus n, "load-<n>".
func LoadID(n int) vaultmesh.TwinID { return id("load", n) }

// ShuntID returns the twin of the shunt at bus n, "shunt-<n>".
func ShuntID(n int) vaultmesh.TwinID { return id("shunt", n) }

// GenID returns the twin of the k-th generator at bus n, counted from 1: "gen-<n>", from the second on "gen-<n>-<k>".
func GenID(n, k int) vaultmesh.TwinID { return id("gen", numbered(k, n)...) }

// LineID returns the twin of the k-th line between two buses, counted from 1: "line-<from>-<to>", from the second on
// "line-<from>-<to>-<k>".
func LineID(from, to, k int) vaultmesh.TwinID { return id("line", numbered(k, from, to)...) }

// TransformerID returns the twin of the k-th transformer between two buses, as LineID.
func TransformerID(from, to, k int) vaultmesh.TwinID {
	return id("transformer", numbered(k, from, to)...)
}

func numbered(k int, n ...int) []int {
	if k > 1 {
		n = append(n, k)
	}
	return n
}

// DeviceOf returns the device of the substation at bus n, "sub-<n>": it speaks for the bus, its loads, generators,
// shunts, and the branches whose from side is there.
func DeviceOf(n int) vaultmesh.DeviceID { return vaultmesh.DeviceID("sub-" + strconv.Itoa(n)) }

// IsTransformer reports whether a branch is modelled as a transformer: it has a ratio or a phase shift.
func IsTransformer(b *powerflow.Branch) bool { return b.Tap != 0 || b.ShiftDeg != 0 }

// NewIndex names the elements of a case that powerflow.Compile accepts.
func NewIndex(c *powerflow.Case) *Index {
	x := &Index{
		Bus: make([]vaultmesh.TwinID, len(c.Buses)), BusDevice: make([]vaultmesh.DeviceID, len(c.Buses)),
		Load: make([]vaultmesh.TwinID, len(c.Buses)), Shunt: make([]vaultmesh.TwinID, len(c.Buses)),
		Branch: make([]vaultmesh.TwinID, len(c.Branches)), BranchDevice: make([]vaultmesh.DeviceID, len(c.Branches)),
		Gen: make([]vaultmesh.TwinID, len(c.Gens)), GenDevice: make([]vaultmesh.DeviceID, len(c.Gens)),
		elements: map[vaultmesh.TwinID]Element{TwinGrid: {Kind: KindGrid}},
	}
	enter := func(list []vaultmesh.TwinID, i int, id vaultmesh.TwinID, kind ElementKind) {
		list[i] = id
		x.elements[id] = Element{Kind: kind, Index: i}
	}
	for i := range c.Buses {
		b := &c.Buses[i]
		enter(x.Bus, i, BusID(b.Number), KindBus)
		x.BusDevice[i] = DeviceOf(b.Number)
		if b.LoadMW != 0 || b.LoadMVAr != 0 {
			enter(x.Load, i, LoadID(b.Number), KindLoad)
		}
		if b.ShuntMW != 0 || b.ShuntMVAr != 0 {
			enter(x.Shunt, i, ShuntID(b.Number), KindShunt)
		}
	}
	seen := map[vaultmesh.TwinID]int{} // the first twin of a place → how many
	for i := range c.Branches {
		b := &c.Branches[i]
		name := LineID
		if IsTransformer(b) {
			name = TransformerID
		}
		first := name(b.From, b.To, 1)
		seen[first]++
		enter(x.Branch, i, name(b.From, b.To, seen[first]), KindBranch)
		x.BranchDevice[i] = DeviceOf(b.From)
	}
	for i := range c.Gens {
		first := GenID(c.Gens[i].Bus, 1)
		seen[first]++
		enter(x.Gen, i, GenID(c.Gens[i].Bus, seen[first]), KindGen)
		x.GenDevice[i] = DeviceOf(c.Gens[i].Bus)
	}
	return x
}

// Lookup returns the element that a twin stands for.
func (x *Index) Lookup(id vaultmesh.TwinID) (Element, bool) {
	e, ok := x.elements[id]
	return e, ok
}

// Twins returns the definition of every twin of a case that powerflow.Compile accepts: the twin "grid" first, then
// buses, branches, generators, loads and shunts, each in the order of the case.
func Twins(c *powerflow.Case) []twin.Definition {
	x := NewIndex(c)
	defs := make([]twin.Definition, 0, len(x.elements))
	add := func(id vaultmesh.TwinID, model string, device vaultmesh.DeviceID, plate nameplate, rel ...twin.Relationship) {
		defs = append(defs, twin.Definition{ID: id, Model: model, Device: device, Nameplate: plate, Relationships: rel})
	}
	at := func(name string, bus int) twin.Relationship {
		return twin.Relationship{Name: name, Target: BusID(bus)}
	}
	add(TwinGrid, ModelGrid, ControlCenter, nameplate{}.text(CaseName, c.Name).real(BaseMVA, c.BaseMVA))
	slack := map[int]bool{}
	for i := range c.Buses {
		b := &c.Buses[i]
		slack[b.Number] = b.Type == powerflow.Slack
		add(x.Bus[i], ModelBus, x.BusDevice[i],
			nameplate{}.whole(Number, b.Number).real(BaseKV, b.BaseKV).real(VMin, b.VMin).real(VMax, b.VMax))
	}
	for i := range c.Branches {
		b := &c.Branches[i]
		model := ModelLine
		plate := nameplate{}.whole(Number, i+1).real(R, b.R).real(X, b.X).real(B, b.B).real(Rating, b.RatingMVA)
		if IsTransformer(b) {
			model = ModelTransformer
			ratio := b.Tap
			if ratio == 0 {
				ratio = 1
			}
			plate.real(TapMin, min(usualTapMin, ratio)).real(TapMax, max(usualTapMax, ratio)).real(TapStep, usualTapStep).real(Shift, b.ShiftDeg)
		}
		add(x.Branch[i], model, x.BranchDevice[i], plate, at(FromBus, b.From), at(ToBus, b.To))
	}
	for i := range c.Gens {
		g := &c.Gens[i]
		add(x.Gen[i], ModelGenerator, x.GenDevice[i],
			nameplate{}.whole(Number, i+1).limit(PMin, g.PMin).limit(PMax, g.PMax).limit(QMin, g.QMin).limit(QMax, g.QMax).truth(SlackUnit, slack[g.Bus]),
			at(AtBus, g.Bus))
	}
	for i := range c.Buses {
		if b := &c.Buses[i]; x.Load[i] != "" {
			add(x.Load[i], ModelLoad, x.BusDevice[i],
				nameplate{}.whole(Number, b.Number).real(NominalP, b.LoadMW).real(NominalQ, b.LoadMVAr), at(AtBus, b.Number))
		}
	}
	for i := range c.Buses {
		b := &c.Buses[i]
		if x.Shunt[i] == "" {
			continue
		}
		model := ModelShunt
		plate := nameplate{}.whole(Number, b.Number).real(Conductance, b.ShuntMW).real(Susceptance, b.ShuntMVAr)
		if b.ShuntMVAr > 0 {
			model = ModelCapacitors
			plate.real(NominalKV, b.BaseKV)
		}
		add(x.Shunt[i], model, x.BusDevice[i], plate, at(AtBus, b.Number))
	}
	return defs
}

// nameplate collects the properties of one twin.
type nameplate map[string]json.RawMessage

// real writes a double. The shortest form that reads back the same may be an integer: JSON has one kind of number.
func (p nameplate) real(name string, v float64) nameplate {
	p[name] = strconv.AppendFloat(nil, v, 'g', -1, 64)
	return p
}

func (p nameplate) limit(name string, v float64) nameplate {
	return p.real(name, math.Max(-unlimited, math.Min(unlimited, v)))
}

func (p nameplate) whole(name string, v int) nameplate {
	p[name] = strconv.AppendInt(nil, int64(v), 10)
	return p
}

func (p nameplate) truth(name string, v bool) nameplate {
	p[name] = strconv.AppendBool(nil, v)
	return p
}

func (p nameplate) text(name, v string) nameplate {
	p[name], _ = json.Marshal(v) // a string always marshals
	return p
}
