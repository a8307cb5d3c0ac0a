package rig

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
)

// World is a small grid in its solved state: what the fleet measures and what commands change. It has no noise, so that
// a value read back can be compared digit by digit. It is for one goroutine at a time.
type World struct {
	Case  *powerflow.Case
	Index *grid.Index
	Twins []twin.Definition
	sol   *powerflow.Solution
}

// NewWorld solves the base case of a grid.
func NewWorld(name string) (*World, error) {
	c, err := grid.Load(name)
	if err != nil {
		return nil, err
	}
	w := &World{Case: c, Index: grid.NewIndex(c), Twins: grid.Twins(c)}
	return w, w.solve()
}

func (w *World) solve() error {
	n, err := powerflow.Compile(w.Case)
	if err != nil {
		return err
	}
	sol, err := n.Solve(powerflow.Options{})
	if err == nil {
		w.sol = sol
	}
	return err
}

// Values are the telemetry and the properties of a twin as JSON.
type Values struct {
	Telemetry  map[string]json.RawMessage `json:"telemetry"`
	Properties map[string]json.RawMessage `json:"properties,omitempty"`
}

func number(v float64) json.RawMessage { return strconv.AppendFloat(nil, v, 'g', -1, 64) }

func truth(v bool) json.RawMessage { return strconv.AppendBool(nil, v) }

// Measure returns what the device of the twin would report now.
func (w *World) Measure(id vaultmesh.TwinID) Values {
	e, ok := w.Index.Lookup(id)
	v := Values{Telemetry: map[string]json.RawMessage{}, Properties: map[string]json.RawMessage{}}
	if !ok {
		return v
	}
	s, tel := w.sol, v.Telemetry
	switch e.Kind {
	case grid.KindGrid:
		tel[grid.Frequency], tel[grid.TotalLoad], tel[grid.TotalGeneration], tel[grid.Losses] = number(50), number(s.LoadMW), number(s.GenMW), number(s.LossesMW)
		v.Properties[grid.DeadBuses] = number(float64(s.DeadBuses))
	case grid.KindBus:
		tel[grid.Voltage], tel[grid.Angle] = number(s.Vm[e.Index]), number(s.Va[e.Index]*180/math.Pi)
	case grid.KindBranch:
		f, b := s.Flows[e.Index], &w.Case.Branches[e.Index]
		tel[grid.ActivePowerFrom], tel[grid.ReactivePowerFrom], tel[grid.ActivePowerTo], tel[grid.ReactivePowerTo] = number(f.Pf), number(f.Qf), number(f.Pt), number(f.Qt)
		v.Properties[grid.Closed] = truth(b.InService)
		if grid.IsTransformer(b) {
			v.Properties[grid.Tap] = number(b.Tap)
		}
	case grid.KindGen:
		g := &w.Case.Gens[e.Index]
		tel[grid.ActivePower], tel[grid.ReactivePower] = number(s.GenP[e.Index]), number(s.GenQ[e.Index])
		v.Properties[grid.Connected], v.Properties[grid.ActivePowerSetpoint], v.Properties[grid.VoltageSetpoint] = truth(g.InService), number(g.P), number(g.V)
	case grid.KindLoad:
		b := &w.Case.Buses[e.Index]
		tel[grid.ActivePower], tel[grid.ReactivePower] = number(b.LoadMW), number(b.LoadMVAr)
		v.Properties[grid.Connected], v.Properties[grid.Shed] = truth(true), number(0)
	default:
		vm := s.Vm[e.Index]
		tel[grid.ReactivePower] = number(w.Case.Buses[e.Index].ShuntMVAr * vm * vm)
		v.Properties[grid.Connected] = truth(true)
	}
	return v
}

// Apply carries out a command on the grid. A change under which the grid has no solution is undone and refused.
func (w *World) Apply(cmd client.Command) client.Response {
	refuse := func(code, format string, args ...any) client.Response {
		return client.Response{Code: code, Detail: fmt.Sprintf(format, args...)}
	}
	e, ok := w.Index.Lookup(cmd.Twin)
	var args map[string]float64
	if len(cmd.Args) > 0 && json.Unmarshal(cmd.Args, &args) != nil {
		return refuse("bad_arguments", "want numbers")
	}
	var undo func()
	switch {
	case ok && e.Kind == grid.KindBranch:
		b := &w.Case.Branches[e.Index]
		was := *b
		undo = func() { *b = was }
		switch cmd.Name {
		case grid.OpenBreaker, grid.CloseBreaker:
			b.InService = cmd.Name == grid.CloseBreaker
		case grid.SetTap:
			b.Tap = w.tap(cmd.Twin, args[grid.ArgRatio])
		default:
			return refuse("unknown_command", "%s", cmd.Name)
		}
	case ok && e.Kind == grid.KindGen:
		g := &w.Case.Gens[e.Index]
		was := *g
		undo = func() { *g = was }
		switch cmd.Name {
		case grid.SetActivePower:
			g.P = args[grid.ArgMegawatts]
		case grid.SetVoltage:
			g.V = args[grid.ArgPerUnit]
		default:
			return refuse("unknown_command", "%s", cmd.Name)
		}
	default:
		return refuse("unknown_command", "%s on %s", cmd.Name, cmd.Twin)
	}
	if err := w.solve(); err != nil {
		undo()
		return refuse("blocked", "the grid would have no steady state")
	}
	return client.Response{OK: true, Code: "done", Time: time.Now()}
}

// Trip opens the breaker of a branch as its protection would, where the grid has a steady state without it.
func (w *World) Trip(branch int) {
	b := &w.Case.Branches[branch]
	b.InService = false
	if w.solve() != nil {
		b.InService = true
	}
}

// tap is the position of the tap changer that is nearest to ratio.
func (w *World) tap(id vaultmesh.TwinID, ratio float64) float64 {
	for i := range w.Twins {
		if w.Twins[i].ID != id {
			continue
		}
		var plate struct{ Min, Max, Step float64 }
		for name, to := range map[string]*float64{grid.TapMin: &plate.Min, grid.TapMax: &plate.Max, grid.TapStep: &plate.Step} {
			_ = json.Unmarshal(w.Twins[i].Nameplate[name], to)
		}
		if plate.Step > 0 {
			ratio = plate.Min + math.Round((ratio-plate.Min)/plate.Step)*plate.Step
			ratio = min(math.Round(ratio*1e6)/1e6, plate.Max)
		}
	}
	return ratio
}
