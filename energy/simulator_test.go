package energy

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func simulate(t testing.TB, s *Simulator, v whatif.View, q whatif.Query) whatif.Verdict {
	t.Helper()
	verdict, err := s.Simulate(context.Background(), v, q)
	if err != nil {
		t.Fatal(err)
	}
	if err := verdict.Check(q, v.Time(), 0, s.Topology(v)); err != nil && verdict.Outcome != whatif.Refused {
		t.Fatalf("a fresh verdict does not pass its own check: %v", err)
	}
	return verdict
}

// The state before a command that changes nothing is the state of the case: the twins carry the whole grid.
func TestStateIsThatOfTheCase(t *testing.T) {
	for _, name := range grid.Cases() {
		t.Run(name, func(t *testing.T) {
			c := shipped(t, name)
			n, err := powerflow.Compile(c)
			if err != nil {
				t.Fatal(err)
			}
			want, err := n.Solve(powerflow.Options{})
			if err != nil {
				t.Fatal(err)
			}
			v := simulate(t, NewSimulator(Options{}), live(t, c), whatif.Query{Twin: "gen-2", Command: grid.Connect})
			if name == "ieee118" {
				v = simulate(t, NewSimulator(Options{}), live(t, c), whatif.Query{Twin: "gen-10", Command: grid.Connect})
			}
			if v.Outcome != whatif.Safe || v.Before.DeadBuses != 0 || v.Before.Islands != 1 {
				t.Fatalf("%s: %s, before %+v", v.Outcome, v.Reason, v.Before)
			}
			if d := math.Abs(v.Before.LossesMW - want.LossesMW); d > 1e-4 {
				t.Errorf("losses differ by %g MW", d)
			}
			if d := math.Abs(v.Before.LoadMW - want.LoadMW); d > 1e-9 {
				t.Errorf("load differs by %g MW", d)
			}
			v.After.Iterations, v.Before.Iterations = 0, 0
			if d := math.Abs(v.After.LossesMW - v.Before.LossesMW); d > 1e-4 {
				t.Errorf("a command without effect changed the losses by %g MW", d)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	c14 := shipped(t, "ieee14")
	base := live(t, c14)
	cases := []struct {
		name    string
		query   whatif.Query
		view    func(*cut)
		outcome whatif.Outcome
		limit   string // of the worst new violation
		element string
		reason  string // part of it
		expect  map[string]float64
	}{
		{name: "small set-point change", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 45)},
			outcome: whatif.Safe, expect: map[string]float64{grid.ActivePowerSetpoint: 45}},
		{name: "set-point above pMax", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 170)},
			outcome: whatif.Unsafe, limit: "active_max", element: "gen-2"},
		{name: "voltage above the band of the bus", query: whatif.Query{Twin: "gen-2", Command: grid.SetVoltage, Args: args(grid.ArgPerUnit, 1.09)},
			outcome: whatif.Unsafe, limit: "voltage_max", element: "bus-2"},
		{name: "line opening that overloads", query: whatif.Query{Twin: "line-1-2", Command: grid.OpenBreaker},
			outcome: whatif.Unsafe, limit: "loading", element: "line-1-5"},
		{name: "opening that cuts off a generator", query: whatif.Query{Twin: "transformer-7-8", Command: grid.OpenBreaker},
			outcome: whatif.Unsafe, limit: "islanded", element: "bus-8"},
		{name: "opening what is open", query: whatif.Query{Twin: "line-13-14", Command: grid.OpenBreaker}, view: func(v *cut) { v.report("line-13-14", grid.Closed, false) },
			outcome: whatif.Safe, expect: map[string]float64{grid.Closed: 0}},
		{name: "last unit goes", query: whatif.Query{Twin: "gen-1", Command: grid.Disconnect}, view: func(v *cut) {
			for _, g := range []vaultmesh.TwinID{"gen-2", "gen-3", "gen-6", "gen-8"} {
				v.report(g, grid.Connected, false)
			}
		}, outcome: whatif.Refused, reason: "no solution"},
		{name: "shedding", query: whatif.Query{Twin: "load-3", Command: grid.ShedLoad, Args: args(grid.ArgFraction, 0.1)},
			outcome: whatif.Safe, expect: map[string]float64{grid.Shed: 0.1}},
		{name: "restore", query: whatif.Query{Twin: "load-14", Command: grid.RestoreLoad}, view: func(v *cut) {
			v.report("load-14", grid.Shed, 0.5)
			v.edit("load-14", func(t *twin.Twin) {
				t.Telemetry[grid.ActivePower], t.Telemetry[grid.ReactivePower] = val(14.9/2), val(2.5)
			})
		}, outcome: whatif.Safe, expect: map[string]float64{grid.Shed: 0}},
		{name: "tap to the nearest position", query: whatif.Query{Twin: "transformer-4-7", Command: grid.SetTap, Args: args(grid.ArgRatio, 0.98)},
			outcome: whatif.Safe, expect: map[string]float64{grid.Tap: 0.98125}},
		{name: "shunt off", query: whatif.Query{Twin: "shunt-9", Command: grid.Disconnect},
			outcome: whatif.Safe, expect: map[string]float64{grid.Connected: 0}},
		{name: "unknown twin", query: whatif.Query{Twin: "gen-99", Command: grid.Connect}, outcome: whatif.Refused, reason: "no element"},
		{name: "twin of another profile", query: whatif.Query{Twin: "account-7", Command: grid.Connect}, outcome: whatif.Refused, reason: "no element"},
		{name: "unknown command", query: whatif.Query{Twin: "gen-2", Command: "explode"}, outcome: whatif.Refused, reason: "cannot be simulated"},
		{name: "fault", query: whatif.Query{Twin: "grid", Command: grid.InjectFault, Args: json.RawMessage(`{"element":"line-1-2","kind":"branchTrip"}`)}, outcome: whatif.Refused, reason: "cannot be simulated"},
		{name: "tap of a line", query: whatif.Query{Twin: "line-1-2", Command: grid.SetTap, Args: args(grid.ArgRatio, 1)}, outcome: whatif.Refused, reason: "no tap changer"},
		{name: "tap out of range", query: whatif.Query{Twin: "transformer-4-7", Command: grid.SetTap, Args: args(grid.ArgRatio, 1.2)}, outcome: whatif.Refused, reason: "outside"},
		{name: "missing argument", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower}, outcome: whatif.Refused, reason: "megawatts"},
		{name: "argument of another type", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: json.RawMessage(`{"megawatts":"45"}`)}, outcome: whatif.Refused, reason: "megawatts"},
		{name: "infinite argument", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: json.RawMessage(`{"megawatts":1e999}`)}, outcome: whatif.Refused, reason: "megawatts"},
		{name: "argument too many", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: json.RawMessage(`{"megawatts":45,"force":1}`)}, outcome: whatif.Refused, reason: "exactly one"},
		{name: "argument where none is", query: whatif.Query{Twin: "line-1-2", Command: grid.OpenBreaker, Args: json.RawMessage(`{"force":true}`)}, outcome: whatif.Refused, reason: "no arguments"},
		{name: "arguments that are no object", query: whatif.Query{Twin: "line-1-2", Command: grid.OpenBreaker, Args: json.RawMessage(`[1]`)}, outcome: whatif.Refused, reason: "not a JSON object"},
		{name: "arguments that are no JSON", query: whatif.Query{Twin: "line-1-2", Command: grid.OpenBreaker, Args: json.RawMessage(`{`)}, outcome: whatif.Refused, reason: "not a JSON object"},
		{name: "arguments too long", query: whatif.Query{Twin: "line-1-2", Command: grid.OpenBreaker, Args: json.RawMessage(`{"x":"` + strings.Repeat("x", 2000) + `"}`)}, outcome: whatif.Refused, reason: "limit is 1024"},
		{name: "voltage collapse", query: whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 1e5)}, outcome: whatif.Refused, reason: "no solution"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := base.clone()
			if c.view != nil {
				c.view(v)
			}
			got := simulate(t, NewSimulator(Options{}), v, c.query)
			if got.Outcome != c.outcome || !strings.Contains(got.Reason, c.reason) {
				t.Fatalf("%s (%s), want %s (…%s…)\nnew: %+v", got.Outcome, got.Reason, c.outcome, c.reason, got.New)
			}
			if c.limit != "" && (len(got.New) == 0 || got.New[0].Limit != c.limit || got.New[0].Element != c.element) {
				t.Errorf("worst new violation is not %s of %s: %+v", c.limit, c.element, got.New)
			}
			for name, want := range c.expect {
				if x, ok := got.Expect[name]; !ok || math.Abs(x-want) > 1e-12 {
					t.Errorf("expect %v, want %s = %g", got.Expect, name, want)
				}
			}
			if (got.Outcome == whatif.Unsafe) != (len(got.New) > 0) {
				t.Errorf("%s with %d new violations", got.Outcome, len(got.New))
			}
			if (got.Outcome == whatif.Refused) != (got.Expect == nil) {
				t.Errorf("%s with expectations %v", got.Outcome, got.Expect)
			}
		})
	}
}

func TestRefusesUnusableInputs(t *testing.T) {
	base := live(t, shipped(t, "ieee14"))
	query := whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 45)}
	old := func(t *twin.Twin) {
		for k, v := range t.Telemetry {
			v.T = now.Add(-11 * time.Second)
			t.Telemetry[k] = v
		}
	}
	quality := func(m map[string]twin.Value, name string, q twin.Quality) {
		v := m[name]
		v.Q = q
		m[name] = v
	}
	cases := []struct {
		name   string
		id     vaultmesh.TwinID
		edit   func(*twin.Twin)
		reason string // "" where the input does not matter
	}{
		{"stale load", "load-5", old, "load-5 activePower is 11s old"},
		{"stale voltage is no input", "bus-5", old, ""},
		{"silent breaker", "line-1-2", func(t *twin.Twin) { t.Seen = now.Add(-10*time.Second - 1) }, "line-1-2 closed is 10s old"},
		{"property that changed long ago", "line-1-2", func(t *twin.Twin) {
			v := t.Reported[grid.Closed]
			v.T = now.Add(-100 * time.Hour)
			t.Reported[grid.Closed] = v
		}, ""},
		{"value from the future", "load-5", func(t *twin.Twin) {
			v := t.Telemetry[grid.ActivePower]
			v.T = now.Add(3 * time.Second)
			t.Telemetry[grid.ActivePower] = v
		}, ""},
		{"questionable load", "load-5", func(t *twin.Twin) { quality(t.Telemetry, grid.ActivePower, twin.Questionable) }, "quality questionable"},
		{"invalid breaker", "line-1-2", func(t *twin.Twin) { quality(t.Reported, grid.Closed, twin.Invalid) }, "quality invalid"},
		{"missing load", "load-5", func(t *twin.Twin) { delete(t.Telemetry, grid.ReactivePower) }, "load-5 has not reported reactivePower"},
		{"missing breaker", "line-1-2", func(t *twin.Twin) { delete(t.Reported, grid.Closed) }, "line-1-2 has not reported closed"},
		{"missing tap", "transformer-4-7", func(t *twin.Twin) { delete(t.Reported, grid.Tap) }, "transformer-4-7 has not reported tap"},
		{"mistyped breaker", "line-1-2", func(t *twin.Twin) { t.Reported[grid.Closed] = val(1) }, "not a boolean"},
		{"mistyped set-point", "gen-3", func(t *twin.Twin) { t.Reported[grid.VoltageSetpoint] = val("1.01") }, "not a finite number"},
		{"null", "gen-3", func(t *twin.Twin) { t.Reported[grid.VoltageSetpoint] = val(nil) }, "not a finite number"},
		{"absurd set-point", "gen-3", func(t *twin.Twin) { t.Reported[grid.VoltageSetpoint] = val(40) }, "describe no grid state"},
		{"set-point of a unit that is off", "gen-3", func(t *twin.Twin) {
			t.Reported[grid.Connected] = val(false)
			delete(t.Reported, grid.VoltageSetpoint)
		}, ""},
		{"tap of an open transformer", "transformer-4-7", func(t *twin.Twin) {
			t.Reported[grid.Closed] = val(false)
			delete(t.Reported, grid.Tap)
		}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := simulate(t, NewSimulator(Options{}), base.clone().edit(c.id, c.edit), query)
			if c.reason == "" {
				if got.Outcome == whatif.Refused {
					t.Fatalf("refused: %s", got.Reason)
				}
				return
			}
			if got.Outcome != whatif.Refused || !strings.Contains(got.Reason, c.reason) {
				t.Fatalf("%s (%s), want refused (…%s…)", got.Outcome, got.Reason, c.reason)
			}
		})
	}
	t.Run("everything is counted", func(t *testing.T) {
		v := base.clone()
		v.time = now.Add(time.Hour)
		got := simulate(t, NewSimulator(Options{}), v, query)
		if got.Outcome != whatif.Refused || !strings.Contains(got.Reason, "more inputs") || got.OldestData < time.Hour {
			t.Fatalf("%s (%s), oldest %s", got.Outcome, got.Reason, got.OldestData)
		}
	})
	t.Run("max age is an option", func(t *testing.T) {
		v := base.clone()
		v.time = now.Add(time.Hour)
		if got := simulate(t, NewSimulator(Options{MaxAge: 2 * time.Hour}), v, query); got.Outcome != whatif.Safe {
			t.Fatal(got.Reason)
		}
	})
	t.Run("closing a transformer whose tap is unknown", func(t *testing.T) {
		v := base.clone().report("transformer-4-7", grid.Closed, false).edit("transformer-4-7", func(t *twin.Twin) { delete(t.Reported, grid.Tap) })
		got := simulate(t, NewSimulator(Options{}), v, whatif.Query{Twin: "transformer-4-7", Command: grid.CloseBreaker})
		if got.Outcome != whatif.Refused || !strings.Contains(got.Reason, "tap is not known") {
			t.Fatalf("%s (%s)", got.Outcome, got.Reason)
		}
	})
}

func TestSimulateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := NewSimulator(Options{}).Simulate(ctx, live(t, shipped(t, "ieee14")), whatif.Query{Twin: "gen-2", Command: grid.Connect})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// The same cut gives the same verdict, whatever the simulator did before.
func TestVerdictIsReproducible(t *testing.T) {
	v := live(t, shipped(t, "ieee118"))
	q := whatif.Query{Twin: "gen-10", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 440), N1: true}
	s := NewSimulator(Options{})
	first := simulate(t, s, v, q)
	simulate(t, s, v.clone().report("line-8-9", grid.Closed, false), whatif.Query{Twin: "line-9-10", Command: grid.OpenBreaker, N1: true})
	simulate(t, s, v, whatif.Query{Twin: "load-59", Command: grid.ShedLoad, Args: args(grid.ArgFraction, 0.9), N1: true})
	if again := simulate(t, s, v, q); again.ID != first.ID {
		t.Errorf("the same simulator gave another verdict:\n%+v\n%+v", first, again)
	}
	if other := simulate(t, NewSimulator(Options{}), v, q); other.ID != first.ID {
		t.Error("another simulator gave another verdict")
	}
}
