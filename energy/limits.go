package energy

import (
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/gate"
)

// Limits returns the hard limits of the commands of a power grid, as data for the gate. They bound what one command
// and a burst of commands may do before any simulation is asked; what a command does to the rest of the grid, the
// voltage limits of the bus among it, is the simulation's to judge. A site may tighten them.
//
//	setActivePower   pMin..pMax; at most 20 % of pMax away from the present set-point; the unit connected; 30 a minute
//	setVoltage       0.9..1.1 pu; at most 0.05 pu away from the present set-point; the unit connected; 10 a minute
//	setTap           tapMin..tapMax; at most 0.1 away from the present ratio; 10 a minute
//	shed             0..1; 10 a minute
//	breakers, connect, disconnect, restore   6 a minute for each twin, the switching duty of the equipment
//	injectFault      6 a minute for each principal
func Limits() gate.Limits {
	rate := func(n uint64) gate.Rule {
		return gate.Rule{Name: "rate", Rate: &gate.Rate{Per: "twin", Max: n, Window: gate.Duration(time.Minute)}}
	}
	switching := func(model string, names ...string) []gate.CommandLimit {
		var out []gate.CommandLimit
		for _, name := range names {
			out = append(out, gate.CommandLimit{Model: model, Command: name, Rules: []gate.Rule{rate(6)}})
		}
		return out
	}
	l := gate.Limits{Commands: []gate.CommandLimit{
		{Model: grid.ModelGenerator, Command: grid.SetActivePower, Rules: []gate.Rule{
			{Name: "capability", Range: &gate.Range{Arg: grid.ArgMegawatts, Min: ofNameplate(grid.PMin, 1), Max: ofNameplate(grid.PMax, 1)}},
			{Name: "ramp", Ramp: &gate.Ramp{Arg: grid.ArgMegawatts, Property: grid.ActivePowerSetpoint, Max: *ofNameplate(grid.PMax, 0.2), Fresh: fresh()}},
			connected(),
			rate(30),
		}},
		{Model: grid.ModelGenerator, Command: grid.SetVoltage, Rules: []gate.Rule{
			{Name: "band", Range: &gate.Range{Arg: grid.ArgPerUnit, Min: constant(0.9), Max: constant(1.1)}},
			{Name: "step", Ramp: &gate.Ramp{Arg: grid.ArgPerUnit, Property: grid.VoltageSetpoint, Max: *constant(0.05), Fresh: fresh()}},
			connected(),
			rate(10),
		}},
		{Model: grid.ModelTransformer, Command: grid.SetTap, Rules: []gate.Rule{
			{Name: "taps", Range: &gate.Range{Arg: grid.ArgRatio, Min: ofNameplate(grid.TapMin, 1), Max: ofNameplate(grid.TapMax, 1)}},
			{Name: "step", Ramp: &gate.Ramp{Arg: grid.ArgRatio, Property: grid.Tap, Max: *constant(0.1), Fresh: fresh()}},
			rate(10),
		}},
		{Model: grid.ModelLoad, Command: grid.ShedLoad, Rules: []gate.Rule{
			{Name: "fraction", Range: &gate.Range{Arg: grid.ArgFraction, Min: constant(0), Max: constant(1)}},
			rate(10),
		}},
		{Model: grid.ModelGrid, Command: grid.InjectFault, Rules: []gate.Rule{
			{Name: "rate", Rate: &gate.Rate{Per: "principal", Max: 6, Window: gate.Duration(time.Minute)}},
		}},
	}}
	// The gate applies an entry to the models that extend its model, so one entry serves lines and transformers.
	l.Commands = append(l.Commands, switching(grid.ModelBranch, grid.OpenBreaker, grid.CloseBreaker)...)
	l.Commands = append(l.Commands, switching(grid.ModelGenerator, grid.Connect, grid.Disconnect)...)
	l.Commands = append(l.Commands, switching(grid.ModelShunt, grid.Connect, grid.Disconnect)...)
	l.Commands = append(l.Commands, switching(grid.ModelLoad, grid.RestoreLoad)...)
	return l
}

// fresh asks for a message about the twin within the last ten seconds: devices report properties when they change.
func fresh() gate.Fresh {
	return gate.Fresh{MaxAge: gate.Duration(10 * time.Second), AgeOf: "twin"}
}

func connected() gate.Rule {
	return gate.Rule{Name: "connected", Interlock: &gate.Interlock{Property: grid.Connected, Equals: json.RawMessage("true"), Fresh: fresh()}}
}

func constant(v float64) *gate.Bound { return &gate.Bound{Const: &v} }

func ofNameplate(name string, scale float64) *gate.Bound {
	b := &gate.Bound{Nameplate: name}
	if scale != 1 {
		b.Scale = &scale
	}
	return b
}

// tolerances by reported property: switches must agree exactly; a device reports set-points and taps as it applied
// them, so that only the rounding of its own representation is left.
var tolerances = map[string]float64{
	grid.Closed: 0, grid.Connected: 0,
	grid.Tap: 1e-4, grid.VoltageSetpoint: 1e-4, grid.Shed: 1e-4,
	grid.ActivePowerSetpoint: 0.01, // MW
}

// Tolerance returns the largest difference between the value that [whatif.Verdict] Expect names for a twin of the model
// and the value that the twin reports, for the command to count as aligned; a boolean counts as 0 or 1. ok is false
// where no command of the model leads to such an expectation.
func (s *Simulator) Tolerance(model, name string) (tolerance float64, ok bool) {
	kind, known := s.kindOf(model)
	if !known {
		return 0, false
	}
	switch kind {
	case grid.KindBranch:
		ok = name == grid.Closed || name == grid.Tap
	case grid.KindGen:
		ok = name == grid.Connected || name == grid.ActivePowerSetpoint || name == grid.VoltageSetpoint
	case grid.KindLoad:
		ok = name == grid.Shed
	case grid.KindShunt:
		ok = name == grid.Connected
	}
	return tolerances[name], ok
}
