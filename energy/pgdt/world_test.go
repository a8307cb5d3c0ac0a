package pgdt

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/energy/grid"
)

const stepTime = 500 * time.Millisecond

func config(t testing.TB, name string) *Config {
	t.Helper()
	c, err := grid.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Case: c, Seed: 7, Addr: "unused:1", Tokens: map[vaultmesh.DeviceID]string{"unused": "unused"}}
	if err := cfg.normalise(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newTestWorld(t testing.TB, name string, change func(*Config)) *world {
	t.Helper()
	cfg := config(t, name)
	if change != nil {
		change(cfg)
	}
	w, err := newWorld(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) do(t testing.TB, twin vaultmesh.TwinID, name, args string) outcome {
	t.Helper()
	i, ok := w.byID[twin]
	if !ok {
		t.Fatalf("no twin %s", twin)
	}
	return w.apply(w.points[i].device, client.Command{ID: "c", Twin: twin, Name: name, Args: json.RawMessage(args)})
}

func (w *world) mustStep(t testing.TB) {
	t.Helper()
	if err := w.step(stepTime); err != nil {
		t.Fatal(err)
	}
}

func (w *world) value(t testing.TB, twin vaultmesh.TwinID, name string) float64 {
	t.Helper()
	for _, r := range w.measure(w.byID[twin], nil) {
		if r.name == name {
			return r.v
		}
	}
	t.Fatalf("%s has no %s", twin, name)
	return 0
}

func quiet(c *Config) {
	c.Noise = Noise{}
	c.Demand.Amplitude, c.Demand.Walk = 0, 0
}

// shuntPower is what shunts consume; it is neither load nor loss.
func (w *world) shuntPower() float64 {
	sum := 0.0
	for i := range w.c.Buses {
		if w.shunts[i] {
			sum += w.c.Buses[i].ShuntMW * w.sol.Vm[i] * w.sol.Vm[i]
		}
	}
	return sum
}

func TestPowerBalancesAtEachStep(t *testing.T) {
	for _, name := range grid.Cases() {
		t.Run(name, func(t *testing.T) {
			w := newTestWorld(t, name, func(c *Config) { c.Demand.Speed = 3600 })
			for i := range 50 {
				w.mustStep(t)
				demand := 0.0
				for b := range w.c.Buses {
					p, _ := w.demand(b)
					demand += p
				}
				if d := math.Abs(w.sol.LoadMW - demand); d > 1e-6 {
					t.Fatalf("step %d: the load served differs from the demand by %g MW", i, d)
				}
				if d := math.Abs(w.sol.GenMW - w.sol.LoadMW - w.sol.LossesMW - w.shuntPower()); d > 1e-3 {
					t.Fatalf("step %d: the balance is off by %g MW", i, d)
				}
				if math.Abs(w.freq.hz-60) > 0.5 {
					t.Fatalf("step %d: %g Hz", i, w.freq.hz)
				}
			}
		})
	}
}

func TestTheFleetIsTheCase(t *testing.T) {
	w := newTestWorld(t, "ieee118", nil)
	defs := grid.Twins(w.c)
	if len(defs) != len(w.points) {
		t.Fatalf("%d points, %d twins", len(w.points), len(defs))
	}
	for _, d := range defs {
		i, ok := w.byID[d.ID]
		if !ok || w.points[i].device != d.Device {
			t.Errorf("%s: device %s, want %s", d.ID, w.points[i].device, d.Device)
		}
	}
}

func TestGeneratorsRampToTheirSetPoint(t *testing.T) {
	w := newTestWorld(t, "ieee14", quiet)
	if o := w.do(t, "gen-2", grid.SetActivePower, `{"megawatts":60}`); !o.ok {
		t.Fatal(o)
	}
	if p := w.report(w.byID["gen-2"], nil); p[1].name != grid.ActivePowerSetpoint || p[1].v != 60 {
		t.Fatalf("the set-point is not reported at once: %+v", p)
	}
	// 2 % of 140 MW a second: 1.4 MW in each half second, from 40 MW.
	for i := 1; i <= 20; i++ {
		w.mustStep(t)
		want := math.Min(60, 40+1.4*float64(i))
		if got := w.value(t, "gen-2", grid.ActivePower); math.Abs(got-want) > 1e-9 {
			t.Fatalf("step %d: %g MW, want %g", i, got, want)
		}
	}
}

func TestTripsMoveTheFlows(t *testing.T) {
	w := newTestWorld(t, "ieee14", quiet)
	before := w.value(t, "line-1-5", grid.ActivePowerFrom)
	o := w.do(t, "grid", grid.InjectFault, `{"element":"line-1-2","kind":"branchTrip"}`)
	if !o.ok || len(o.moved) != 1 || w.points[o.moved[0]].id != "line-1-2" {
		t.Fatalf("%+v", o)
	}
	w.mustStep(t)
	if got := w.value(t, "line-1-2", grid.ActivePowerFrom); got != 0 {
		t.Errorf("an open line carries %g MW", got)
	}
	if after := w.value(t, "line-1-5", grid.ActivePowerFrom); after < before+50 {
		t.Errorf("line-1-5 carried %g MW and now %g", before, after)
	}
	if o := w.do(t, "line-1-2", grid.CloseBreaker, `{}`); !o.ok {
		t.Fatal(o)
	}
	w.mustStep(t)
	if got := w.value(t, "line-1-5", grid.ActivePowerFrom); math.Abs(got-before) > 1 {
		t.Errorf("line-1-5 carries %g MW after the line came back, before the trip %g", got, before)
	}
}

func TestADeadIslandShowsNothing(t *testing.T) {
	w := newTestWorld(t, "ieee118", nil)
	w.do(t, "line-12-117", grid.OpenBreaker, "")
	w.mustStep(t)
	for _, v := range []float64{w.value(t, "bus-117", grid.Voltage), w.value(t, "bus-117", grid.Angle), w.value(t, "load-117", grid.ActivePower)} {
		if v != 0 {
			t.Errorf("a dead bus shows %g", v)
		}
	}
	if p := w.report(w.byID["grid"], nil); p[0].v != 1 {
		t.Errorf("dead buses: %+v", p)
	}
}

func TestBlackoutAndBack(t *testing.T) {
	w := newTestWorld(t, "ieee14", quiet)
	for _, g := range []vaultmesh.TwinID{"gen-1", "gen-2", "gen-3", "gen-6", "gen-8"} {
		w.do(t, g, grid.Disconnect, "{}")
	}
	w.mustStep(t)
	if w.sol.DeadBuses != 14 || w.sol.LoadMW != 0 || math.Abs(w.sol.LoadLostMW-259) > 1e-6 || w.value(t, "grid", grid.Frequency) != 0 || w.value(t, "line-1-2", grid.ActivePowerFrom) != 0 {
		t.Fatalf("dead %d, load %g, lost %g, %g Hz", w.sol.DeadBuses, w.sol.LoadMW, w.sol.LoadLostMW, w.freq.hz)
	}
	w.mustStep(t)
	for _, g := range []vaultmesh.TwinID{"gen-1", "gen-2", "gen-3", "gen-6", "gen-8"} {
		w.do(t, g, grid.Connect, "{}")
	}
	w.mustStep(t)
	if w.sol.DeadBuses != 0 || w.value(t, "bus-1", grid.Voltage) != 1.06 || w.freq.hz < 57 {
		t.Fatalf("dead %d, bus 1 at %g pu, %g Hz", w.sol.DeadBuses, w.value(t, "bus-1", grid.Voltage), w.freq.hz)
	}
}

func TestWithoutASolutionTheLastStateStays(t *testing.T) {
	w := newTestWorld(t, "ieee14", quiet)
	before := w.value(t, "bus-14", grid.Voltage)
	nominal := w.c.Buses[13].LoadMW
	w.c.Buses[13].LoadMW = 1e5 // no grid serves that
	if err := w.step(stepTime); err == nil {
		t.Fatal("the impossible was solved")
	}
	if got := w.value(t, "bus-14", grid.Voltage); got != before {
		t.Errorf("the voltage moved from %g to %g", before, got)
	}
	if w.stale == nil {
		t.Error("measurements are not marked")
	}
	w.c.Buses[13].LoadMW = nominal
	w.mustStep(t)
	if w.stale != nil {
		t.Error("measurements stay marked")
	}
}

func TestFrequencyDipsAndReturns(t *testing.T) {
	w := newTestWorld(t, "ieee14", quiet)
	w.mustStep(t)
	if math.Abs(w.freq.hz-60) > 1e-9 {
		t.Fatalf("at rest: %g Hz", w.freq.hz)
	}
	w.do(t, "gen-2", grid.Disconnect, "") // 40 MW of about 770 MW in service
	lowest := 60.0
	for range 4 {
		w.mustStep(t)
		lowest = math.Min(lowest, w.freq.hz)
	}
	capacity := 0.0
	for g := range w.gens {
		if w.gens[g].on {
			capacity += w.c.Gens[g].PMax
		}
	}
	if full := 60 * droop * 40 / capacity; 60-lowest < 0.6*full || 60-lowest > 1.3*full {
		t.Errorf("the frequency fell to %g Hz, the droop alone would make it %g", lowest, 60-full)
	}
	for range 480 {
		w.mustStep(t)
	}
	if math.Abs(w.freq.hz-60) > 0.005 {
		t.Errorf("after four minutes: %g Hz", w.freq.hz)
	}
}

func TestDemandFollowsTheDay(t *testing.T) {
	w := newTestWorld(t, "ieee14", func(c *Config) { c.Noise, c.Demand.Walk, c.Demand.Speed = Noise{}, 0, 3600 })
	low, high := math.Inf(1), math.Inf(-1)
	for range 48 {
		w.mustStep(t)
		low, high = math.Min(low, w.sol.LoadMW), math.Max(high, w.sol.LoadMW)
	}
	if d := math.Abs(w.sol.LoadMW - 259); d > 1e-6 {
		t.Errorf("after a whole day the load differs by %g MW from where it began", d)
	}
	if low > 259*0.96 || low < 259*0.88 || high > 259*1.06 {
		t.Errorf("the load went from %g to %g MW", low, high)
	}
}

// The documented noise: standard deviation within 5 % of the setting over 20,000 readings, mean within four standard
// errors, nothing beyond four standard deviations.
func TestNoiseStatistics(t *testing.T) {
	w := newTestWorld(t, "ieee14", nil)
	for _, c := range []struct {
		twin  vaultmesh.TwinID
		name  string
		truth float64
		sigma float64
	}{
		{"bus-4", grid.Voltage, w.sol.Vm[3], 0.0005 * w.sol.Vm[3]},
		{"bus-4", grid.Angle, degrees(w.sol.Va[3]), 0.01},
		{"line-1-2", grid.ActivePowerFrom, w.sol.Flows[0].Pf, 0.002 * w.sol.Flows[0].Pf},
		{"load-3", grid.ActivePower, 94.2, 0.002 * 94.2},
		{"grid", grid.Frequency, 60, 0.001},
	} {
		const n = 20_000
		var sum, squares float64
		for range n {
			d := (w.value(t, c.twin, c.name) - c.truth) / c.sigma
			if math.Abs(d) > 4+1e-9 {
				t.Fatalf("%s %s is %g standard deviations off", c.twin, c.name, d)
			}
			sum, squares = sum+d, squares+d*d
		}
		if mean := sum / n; math.Abs(mean) > 4/math.Sqrt(n) {
			t.Errorf("%s %s: mean %g standard deviations", c.twin, c.name, mean)
		}
		if s := math.Sqrt(squares / n); s < 0.95 || s > 1.05 {
			t.Errorf("%s %s: standard deviation %g of the setting", c.twin, c.name, s)
		}
	}
}

func TestSameSeedSameGrid(t *testing.T) {
	run := func(seed uint64) (out []float64) {
		w := newTestWorld(t, "ieee30", func(c *Config) { c.Seed = seed })
		for range 10 {
			w.mustStep(t)
			out = append(out, w.value(t, "bus-10", grid.Voltage), w.value(t, "load-7", grid.ActivePower))
		}
		return out
	}
	a, b, c := run(1), run(1), run(2)
	same := true
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("reading %d differs between two runs with one seed", i)
		}
		same = same && a[i] == c[i]
	}
	if same {
		t.Error("another seed made the same grid")
	}
}

func TestMessagesAreJSON(t *testing.T) {
	w := newTestWorld(t, "ieee118", nil)
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	for i := range w.points {
		raw := encode(at, 7, w.measure(i, nil), w.report(i, nil), true)
		var m struct {
			T          string             `json:"t"`
			Seq        uint16             `json:"seq"`
			Telemetry  map[string]float64 `json:"telemetry"`
			Properties map[string]any     `json:"properties"`
			Q          map[string]string  `json:"q"`
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if m.T != "2026-03-01T12:00:00.123456Z" || m.Seq != 7 || len(m.Telemetry) == 0 || len(m.Q) != len(m.Telemetry) {
			t.Fatalf("%s", raw)
		}
		if len(m.Properties) == 0 && w.points[i].kind != grid.KindBus {
			t.Fatalf("%s reports nothing", w.points[i].id)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no case":        func(c *Config) { c.Case = nil },
		"no address":     func(c *Config) { c.Addr = "" },
		"no identity":    func(c *Config) { c.Tokens = nil },
		"step too short": func(c *Config) { c.Step = time.Millisecond },
		"rate too high":  func(c *Config) { c.Rate = 1e9 },
		"rate not there": func(c *Config) { c.Rate = math.NaN() },
		"wild noise":     func(c *Config) { c.Noise.Power = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Case: config(t, "ieee14").Case, Addr: "localhost:1", Tokens: map[vaultmesh.DeviceID]string{"sub-1": "x"}}
			change(&cfg)
			if err := Run(t.Context(), cfg); vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil {
				t.Fatal(err)
			}
		})
	}
}
