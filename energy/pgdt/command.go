package pgdt

import (
	"encoding/json"
	"fmt"
	"math"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/energy/grid"
)

// Codes with which a device answers a command.
const (
	codeDone       = "done"
	codeUnknown    = "unknown_command"
	codeNotMine    = "not_mine"      // the twin belongs to another device, or there is none
	codeArguments  = "bad_arguments" // not the request of the command
	codeOutOfRange = "out_of_range"  // outside what the equipment can do
	codeBusy       = "busy"          // too many commands are remembered
	codeStorage    = "storage"       // the state file could not be written, nothing was done
	codeExpired    = "expired"
)

// outcome is what a command did: the points whose properties changed, and how to undo it.
type outcome struct {
	ok     bool
	code   string
	detail string
	moved  []int
	undo   func()
}

func refused(code, format string, args ...any) outcome {
	return outcome{code: code, detail: fmt.Sprintf(format, args...), undo: func() {}}
}

func (o outcome) response() client.Response {
	return client.Response{OK: o.ok, Code: o.code, Detail: o.detail}
}

// apply carries out a command that came to device. A command that finds its goal reached is done.
func (w *world) apply(device vaultmesh.DeviceID, cmd client.Command) outcome {
	i, ok := w.byID[cmd.Twin]
	if !ok || w.points[i].device != device {
		return refused(codeNotMine, "%s does not speak for that twin", device)
	}
	p := &w.points[i]
	switch p.kind {
	case grid.KindBranch:
		return w.onBranch(i, p, cmd)
	case grid.KindGen:
		return w.onGenerator(i, p, cmd)
	case grid.KindLoad:
		return w.onLoad(i, p, cmd)
	case grid.KindShunt:
		return w.onShunt(i, p, cmd)
	case grid.KindGrid:
		if cmd.Name == grid.InjectFault {
			return w.onFault(cmd)
		}
	}
	return refused(codeUnknown, "%s has no such command", p.id)
}

// set changes one value and tells how to change it back.
func set[T comparable](point int, at *T, v T) outcome {
	was := *at
	*at = v
	return outcome{ok: true, code: codeDone, moved: []int{point}, undo: func() { *at = was }}
}

func (w *world) onBranch(i int, p *point, cmd client.Command) outcome {
	b := &w.c.Branches[p.index]
	switch {
	case cmd.Name == grid.OpenBreaker || cmd.Name == grid.CloseBreaker:
		if _, bad := number(cmd.Args, ""); bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		return set(i, &w.closed[p.index], cmd.Name == grid.CloseBreaker)
	case cmd.Name == grid.SetTap && grid.IsTransformer(b):
		ratio, bad := number(cmd.Args, grid.ArgRatio)
		if bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		r := w.taps[p.index]
		if ratio < r.min || ratio > r.max {
			return refused(codeOutOfRange, "ratio %g, the tap changer reaches %g to %g", ratio, r.min, r.max)
		}
		return set(i, &w.tap[p.index], r.position(ratio))
	}
	return refused(codeUnknown, "%s has no such command", p.id)
}

func (w *world) onGenerator(i int, p *point, cmd client.Command) outcome {
	u, g := &w.gens[p.index], &w.c.Gens[p.index]
	switch cmd.Name {
	case grid.SetActivePower:
		mw, bad := number(cmd.Args, grid.ArgMegawatts)
		if bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		if mw < g.PMin || mw > g.PMax {
			return refused(codeOutOfRange, "%g MW, the unit can give %g to %g", mw, g.PMin, g.PMax)
		}
		return set(i, &u.target, mw)
	case grid.SetVoltage:
		pu, bad := number(cmd.Args, grid.ArgPerUnit)
		if bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		if pu < lowestVoltage || pu > highestVoltage {
			return refused(codeOutOfRange, "%g pu, the regulator holds %g to %g", pu, lowestVoltage, highestVoltage)
		}
		return set(i, &u.v, pu)
	case grid.Connect, grid.Disconnect:
		if _, bad := number(cmd.Args, ""); bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		return set(i, &u.on, cmd.Name == grid.Connect)
	}
	return refused(codeUnknown, "%s has no such command", p.id)
}

// What the voltage regulator of a unit can hold, pu.
const (
	lowestVoltage  = 0.85
	highestVoltage = 1.15
)

func (w *world) onLoad(i int, p *point, cmd client.Command) outcome {
	switch cmd.Name {
	case grid.ShedLoad:
		fraction, bad := number(cmd.Args, grid.ArgFraction)
		if bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		if fraction < 0 || fraction > 1 {
			return refused(codeOutOfRange, "fraction %g, want 0 to 1", fraction)
		}
		return set(i, &w.loads[p.index].shed, fraction)
	case grid.RestoreLoad:
		if _, bad := number(cmd.Args, ""); bad != "" {
			return refused(codeArguments, "%s", bad)
		}
		return set(i, &w.loads[p.index].shed, 0)
	}
	return refused(codeUnknown, "%s has no such command", p.id)
}

func (w *world) onShunt(i int, p *point, cmd client.Command) outcome {
	if cmd.Name != grid.Connect && cmd.Name != grid.Disconnect {
		return refused(codeUnknown, "%s has no such command", p.id)
	}
	if _, bad := number(cmd.Args, ""); bad != "" {
		return refused(codeArguments, "%s", bad)
	}
	return set(i, &w.shunts[p.index], cmd.Name == grid.Connect)
}

// onFault strikes an element. A trip opens the breaker or takes the unit off, once: it can be closed again. A stuck
// sensor repeats its last reading, with fresh times, until it is cleared; clear frees the sensors of the element, or
// of all elements where it names none.
func (w *world) onFault(cmd client.Command) outcome {
	var args struct {
		Element string `json:"element"`
		Kind    string `json:"kind"`
	}
	if len(cmd.Args) > maxArgs || json.Unmarshal(cmd.Args, &args) != nil {
		return refused(codeArguments, "want the strings %q and %q", grid.ArgElement, grid.ArgKind)
	}
	if args.Kind == grid.FaultClear && args.Element == "" {
		was := w.stuck
		w.stuck = map[int][]reading{}
		return outcome{ok: true, code: codeDone, undo: func() { w.stuck = was }}
	}
	i, ok := w.byID[vaultmesh.TwinID(args.Element)]
	if !ok {
		return refused(codeArguments, "there is no element %.128q", args.Element)
	}
	p := &w.points[i]
	switch {
	case args.Kind == grid.FaultBranchTrip && p.kind == grid.KindBranch:
		return set(i, &w.closed[p.index], false)
	case args.Kind == grid.FaultGeneratorTrip && p.kind == grid.KindGen:
		return set(i, &w.gens[p.index].on, false)
	case args.Kind == grid.FaultSensorStuck:
		was, stuck := w.stuck[i]
		if !stuck {
			w.stuck[i] = w.measure(i, nil)
		}
		return outcome{ok: true, code: codeDone, undo: func() { w.hold(i, was) }}
	case args.Kind == grid.FaultClear:
		was := w.stuck[i]
		w.hold(i, nil)
		return outcome{ok: true, code: codeDone, undo: func() { w.hold(i, was) }}
	}
	return refused(codeArguments, "fault %.32q cannot strike %s", args.Kind, p.id)
}

// hold sticks the sensors of a point at readings; nil frees them.
func (w *world) hold(i int, readings []reading) {
	if readings == nil {
		delete(w.stuck, i)
		return
	}
	w.stuck[i] = readings
}

// maxArgs bounds the arguments of a command, in bytes.
const maxArgs = 1024

// number reads the one number of a request; name "" wants none. bad says what is wrong, "" if nothing.
func number(raw []byte, name string) (v float64, bad string) {
	if len(raw) > maxArgs {
		return 0, fmt.Sprintf("the arguments have %d bytes, the limit is %d", len(raw), maxArgs)
	}
	fields := map[string]*float64{}
	if len(raw) > 0 && json.Unmarshal(raw, &fields) != nil {
		return 0, "the arguments are not an object of numbers"
	}
	if name == "" {
		if len(fields) != 0 {
			return 0, "the command takes no arguments"
		}
		return 0, ""
	}
	if p := fields[name]; len(fields) == 1 && p != nil && !math.IsNaN(*p) {
		return *p, ""
	}
	return 0, fmt.Sprintf("want exactly one argument, the number %q", name)
}

// tapRange is what a tap changer can do.
type tapRange struct{ min, max, step float64 }

// position returns the tap that is nearest to ratio, to six decimals: what the position indicator shows.
func (r tapRange) position(ratio float64) float64 {
	if r.step <= 0 {
		return ratio
	}
	tap := r.min + math.Round((ratio-r.min)/r.step)*r.step
	return min(math.Round(tap*1e6)/1e6, r.max)
}
