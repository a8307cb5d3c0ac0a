package pgdt

import "math"

// frequency is the state of one equivalent machine for the main island, the one with the largest load:
//
//	f∞ = f0·(1 - R·ΔP/S)        droop R = 5 % of all units in service, S = ΣpMax
//	df/dt = (f∞ - f)/T          T = 2·H·R: inertia H = 5 s behind the droop, 0.5 s
//	dP0/dt = ΔP/Ts              secondary control moves the reference of the balance, Ts = 30 s
//
// ΔP is the generation that the balancing unit gives beyond its reference P0. A step of the load thus makes the
// frequency dip by the droop within a second and return within two minutes. After Kundur, Power System Stability and
// Control, chapter 11, reduced to its first order. Swings between machines are not modelled.
type frequency struct {
	nominal   float64 // Hz
	hz        float64 // 0 while nothing is energised
	reference float64 // of the balance, MW
	slack     int     // bus that balanced the main island in the last step, -1 if none
}

const (
	droop         = 0.05
	inertia       = 5.0  // s
	secondaryTime = 30.0 // s
	// The most that protection lets pass before units disconnect, which is not modelled; Hz from nominal at 60 Hz.
	largestDeviation = 3.0
)

// settle starts at the nominal frequency with the balance as it is.
func (f *frequency) settle(w *world) {
	f.slack = -1
	if k := w.main(); k >= 0 {
		f.hz, f.slack, f.reference = f.nominal, w.sol.Islands[k].Slack, w.sol.Islands[k].SlackP
	}
}

// step moves the frequency on by s seconds.
func (f *frequency) step(w *world, s float64) {
	k := w.main()
	if k < 0 {
		f.hz, f.slack = 0, -1
		return
	}
	island := &w.sol.Islands[k]
	if f.slack != island.Slack {
		// Another unit balances, or power is back: its own schedule is the reference.
		if f.hz == 0 {
			f.hz = f.nominal
		}
		f.slack, f.reference = island.Slack, w.scheduled(island.Slack)
	}
	capacity := 0.0
	for g := range w.gens {
		if bus := w.busAt[w.c.Gens[g].Bus]; w.gens[g].on && w.sol.IslandOf[bus] == int32(k) {
			capacity += max(w.c.Gens[g].PMax, 0)
		}
	}
	imbalance := island.SlackP - f.reference
	settled := f.nominal
	if capacity > 0 {
		settled -= f.nominal * droop * imbalance / capacity
	}
	f.hz = settled + (f.hz-settled)*math.Exp(-s/(2*inertia*droop))
	f.hz = max(f.nominal-largestDeviation, min(f.nominal+largestDeviation, f.hz))
	f.reference += imbalance * (1 - math.Exp(-s/secondaryTime))
}

// main returns the island with the largest load, -1 if nothing is energised.
func (w *world) main() int {
	best := -1
	for k := range w.sol.Islands {
		if best < 0 || w.sol.Islands[k].LoadMW > w.sol.Islands[best].LoadMW {
			best = k
		}
	}
	return best
}

// scheduled returns the set-points of the units at a bus, MW.
func (w *world) scheduled(bus int) float64 {
	sum := 0.0
	for g := range w.gens {
		if w.gens[g].on && w.busAt[w.c.Gens[g].Bus] == bus {
			sum += w.gens[g].target
		}
	}
	return sum
}
