package pgdt

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh/energy/grid"
)

// reading is one measured value.
type reading struct {
	name string
	v    float64
}

// property is one reported property: a number, or a switch.
type property struct {
	name   string
	v      float64
	on     bool
	binary bool
}

func switched(name string, on bool) property    { return property{name: name, on: on, binary: true} }
func numeric(name string, v float64) property   { return property{name: name, v: v} }
func degrees(rad float64) float64               { return math.Remainder(rad, 2*math.Pi) * 180 / math.Pi }
func (w *world) noise(r *rand.Rand) instruments { return instruments{w.cfg.Noise, r} }

// instruments add noise to what they measure.
type instruments struct {
	Noise
	r *rand.Rand
}

// gauss draws from the standard normal distribution, clipped at four standard deviations.
func (n instruments) gauss() float64 { return max(-4, min(4, n.r.NormFloat64())) }

func (n instruments) power(v float64) float64   { return v * (1 + n.Power*n.gauss()) }
func (n instruments) voltage(v float64) float64 { return v * (1 + n.Voltage*n.gauss()) }

// angle of a dead bus is 0, without noise.
func (n instruments) angle(deg float64, dead bool) float64 {
	if dead {
		return 0
	}
	return deg + n.Angle*n.gauss()
}

func (n instruments) frequency(hz float64) float64 {
	if hz == 0 {
		return 0
	}
	return hz + n.Frequency*n.gauss()
}

// measure appends the telemetry of a point to dst: with noise, or as it was when its sensors got stuck.
func (w *world) measure(i int, dst []reading) []reading {
	if held, ok := w.stuck[i]; ok {
		return append(dst, held...)
	}
	p, n := &w.points[i], w.noise(w.measured)
	switch p.kind {
	case grid.KindGrid:
		return append(dst,
			reading{grid.Frequency, n.frequency(w.freq.hz)}, reading{grid.TotalLoad, n.power(w.sol.LoadMW)},
			reading{grid.TotalGeneration, n.power(w.sol.GenMW)}, reading{grid.Losses, n.power(w.sol.LossesMW)})
	case grid.KindBus:
		return append(dst,
			reading{grid.Voltage, n.voltage(w.sol.Vm[p.index])},
			reading{grid.Angle, n.angle(degrees(w.sol.Va[p.index]), w.sol.Dead[p.index])})
	case grid.KindBranch:
		f := &w.sol.Flows[p.index]
		dst = append(dst,
			reading{grid.ActivePowerFrom, n.power(f.Pf)}, reading{grid.ReactivePowerFrom, n.power(f.Qf)},
			reading{grid.ActivePowerTo, n.power(f.Pt)}, reading{grid.ReactivePowerTo, n.power(f.Qt)})
		if rating := w.c.Branches[p.index].RatingMVA; rating > 0 {
			dst = append(dst, reading{grid.LoadingFraction, n.power(f.MVA() / rating)})
		}
		return dst
	case grid.KindGen:
		return append(dst, reading{grid.ActivePower, n.power(w.sol.GenP[p.index])}, reading{grid.ReactivePower, n.power(w.sol.GenQ[p.index])})
	case grid.KindLoad:
		mw, mvar := w.demand(p.index)
		if w.sol.Dead[p.index] {
			mw, mvar = 0, 0
		}
		return append(dst, reading{grid.ActivePower, n.power(mw)}, reading{grid.ReactivePower, n.power(mvar)})
	}
	q := 0.0
	if w.shunts[p.index] {
		q = w.c.Buses[p.index].ShuntMVAr * w.sol.Vm[p.index] * w.sol.Vm[p.index]
	}
	return append(dst, reading{grid.ReactivePower, n.power(q)})
}

// reports tells whether a point has reported properties at all; a bus has none.
func (w *world) reports(i int) bool { return w.points[i].kind != grid.KindBus }

// report appends the reported properties of a point to dst. They are positions and settings, which carry no noise.
func (w *world) report(i int, dst []property) []property {
	switch p := &w.points[i]; p.kind {
	case grid.KindGrid:
		return append(dst, numeric(grid.DeadBuses, float64(w.sol.DeadBuses)))
	case grid.KindBranch:
		dst = append(dst, switched(grid.Closed, w.closed[p.index]))
		if grid.IsTransformer(&w.c.Branches[p.index]) {
			dst = append(dst, numeric(grid.Tap, w.tap[p.index]))
		}
		return dst
	case grid.KindGen:
		u := &w.gens[p.index]
		return append(dst, switched(grid.Connected, u.on), numeric(grid.ActivePowerSetpoint, u.target), numeric(grid.VoltageSetpoint, u.v))
	case grid.KindLoad:
		return append(dst, switched(grid.Connected, true), numeric(grid.Shed, w.loads[p.index].shed))
	case grid.KindShunt:
		return append(dst, switched(grid.Connected, w.shunts[p.index]))
	}
	return dst
}

// timeLayout is the resolution that the node keeps.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// encode writes one message of the device contract. Numbers are finite and in the shortest form that reads back alike.
func encode(t time.Time, seq uint16, telemetry []reading, properties []property, questionable bool) []byte {
	b := make([]byte, 0, 96+40*(len(telemetry)+len(properties)))
	b = append(b, `{"t":"`...)
	b = t.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	if len(telemetry) > 0 {
		b = append(b, `,"telemetry":{`...)
		for i, r := range telemetry {
			b = appendName(b, i, r.name)
			b = appendNumber(b, r.v, measuredDigits)
		}
		b = append(b, '}')
	}
	if len(properties) > 0 {
		b = append(b, `,"properties":{`...)
		for i, p := range properties {
			b = appendName(b, i, p.name)
			if p.binary {
				b = strconv.AppendBool(b, p.on)
			} else {
				b = appendNumber(b, p.v, -1)
			}
		}
		b = append(b, '}')
	}
	if questionable && len(telemetry) > 0 {
		b = append(b, `,"q":{`...)
		for i, r := range telemetry {
			b = appendName(b, i, r.name)
			b = append(b, `"questionable"`...)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

func appendName(b []byte, i int, name string) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, `":`...)
}

// measuredDigits are more than any instrument has.
const measuredDigits = 9

// appendNumber writes v with so many significant digits, or, with -1, as many as it takes to read back the same. The
// exponent form of strconv is valid JSON. What is not finite has no form in JSON and is never measured; it becomes 0.
func appendNumber(b []byte, v float64, digits int) []byte {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, '0')
	}
	return strconv.AppendFloat(b, v, 'g', digits, 64)
}
