package energy

import (
	"encoding/json"
	"math"
	"strings"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func TestTopologyExpiresVerdicts(t *testing.T) {
	s := NewSimulator(Options{})
	base := live(t, shipped(t, "ieee14"))
	q := whatif.Query{Twin: "gen-2", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 45)}
	v := simulate(t, s, base, q)
	changes := map[string]struct {
		change  func(*cut)
		expires bool
	}{
		"breaker opens":    {func(v *cut) { v.report("line-4-5", grid.Closed, false) }, true},
		"unit disconnects": {func(v *cut) { v.report("gen-3", grid.Connected, false) }, true},
		"shunt disconnects": {func(v *cut) {
			v.report("shunt-9", grid.Connected, false)
		}, true},
		"breaker becomes unknown": {func(v *cut) { v.edit("line-4-5", func(t *twin.Twin) { delete(t.Reported, grid.Closed) }) }, true},
		"nameplate changes": {func(v *cut) {
			v.edit("line-4-5", func(t *twin.Twin) {
				plate := map[string]json.RawMessage{}
				for k, raw := range t.Nameplate {
					plate[k] = raw
				}
				plate[grid.Rating] = json.RawMessage("1000")
				t.Nameplate = plate
			})
		}, true},
		"element goes": {func(v *cut) {
			delete(v.twins, "line-4-5")
			for i, id := range v.ids {
				if id == "line-4-5" {
					v.ids = append(v.ids[:i], v.ids[i+1:]...)
					break
				}
			}
		}, true},
		"load changes":  {func(v *cut) { v.edit("load-3", func(t *twin.Twin) { t.Telemetry[grid.ActivePower] = val(90) }) }, false},
		"tap moves":     {func(v *cut) { v.report("transformer-4-7", grid.Tap, 0.98) }, false},
		"time goes by":  {func(v *cut) { v.time = now.Add(1) }, false},
		"breaker again": {func(v *cut) { v.report("line-4-5", grid.Closed, true) }, false},
		"stranger comes": {func(v *cut) {
			v.put(twin.Twin{Definition: twin.Definition{ID: "account-8", Model: "dtmi:org:example:Account;1"}})
		}, false},
		"same definitions in other maps": {func(v *cut) {
			v.edit("line-4-5", func(t *twin.Twin) {
				plate := map[string]json.RawMessage{}
				for k, raw := range t.Nameplate {
					plate[k] = raw
				}
				t.Nameplate = plate
			})
		}, false},
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			changed := base.clone()
			c.change(changed)
			err := v.Check(q, changed.Time(), 1, s.Topology(changed))
			if c.expires != (vaultmesh.KindOf(err) == vaultmesh.Conflict && err != nil) {
				t.Fatalf("expires: want %v, got %v", c.expires, err)
			}
			if fresh := NewSimulator(Options{}).Topology(changed); fresh != s.Topology(changed) {
				t.Error("the digest depends on what the simulator saw before")
			}
		})
	}
}

func TestBadDefinitionsAreRefused(t *testing.T) {
	base := live(t, shipped(t, "ieee14"))
	plate := func(id vaultmesh.TwinID, name, raw string) func(*cut) {
		return func(v *cut) {
			v.edit(id, func(t *twin.Twin) {
				p := map[string]json.RawMessage{}
				for k, r := range t.Nameplate {
					p[k] = r
				}
				if raw == "" {
					delete(p, name)
				} else {
					p[name] = json.RawMessage(raw)
				}
				t.Nameplate = p
			})
		}
	}
	edges := func(id vaultmesh.TwinID, r ...twin.Relationship) func(*cut) {
		return func(v *cut) { v.edit(id, func(t *twin.Twin) { t.Relationships = r }) }
	}
	for name, c := range map[string]struct {
		change func(*cut)
		want   string
	}{
		"no reactance":        {plate("line-1-2", grid.X, ""), `no "x"`},
		"reactance as text":   {plate("line-1-2", grid.X, `"0.1"`), "not a finite number"},
		"hexadecimal":         {plate("line-1-2", grid.X, `0x1p-2`), "not a finite number"},
		"bus number 1.5":      {plate("bus-1", grid.Number, "1.5"), "not an integer"},
		"bus number too big":  {plate("bus-1", grid.Number, "1e300"), "not an integer"},
		"two buses 1":         {plate("bus-2", grid.Number, "1"), "cannot be built"},
		"no slack":            {plate("gen-1", grid.SlackUnit, "false"), "slack"},
		"no base":             {plate("grid", grid.BaseMVA, ""), "baseMVA"},
		"base 0":              {plate("grid", grid.BaseMVA, "0"), "cannot be built"},
		"line to nowhere":     {edges("line-1-2", twin.Relationship{Name: grid.FromBus, Target: "bus-1"}, twin.Relationship{Name: grid.ToBus, Target: "bus-99"}), "exactly one bus"},
		"line with one end":   {edges("line-1-2", twin.Relationship{Name: grid.FromBus, Target: "bus-1"}), "missing"},
		"line with two tails": {edges("line-1-2", twin.Relationship{Name: grid.FromBus, Target: "bus-1"}, twin.Relationship{Name: grid.FromBus, Target: "bus-2"}, twin.Relationship{Name: grid.ToBus, Target: "bus-2"}), "exactly one bus"},
		"no grid at all": {func(v *cut) {
			v.ids = []vaultmesh.TwinID{"account-7"}
		}, "exactly one"},
	} {
		t.Run(name, func(t *testing.T) {
			v := base.clone()
			c.change(v)
			s := NewSimulator(Options{})
			q := whatif.Query{Twin: "gen-2", Command: grid.Connect}
			got := simulate(t, s, v, q)
			if got.Outcome != whatif.Refused || !strings.Contains(got.Reason, c.want) {
				t.Fatalf("%s (%s), want refused (…%s…)", got.Outcome, got.Reason, c.want)
			}
			if !s.Topology(v).IsZero() {
				t.Error("a grid that cannot be built has a topology")
			}
		})
	}
}

// A dead bus shows no load; what comes back with it is its nominal demand.
func TestEnergisingADeadBus(t *testing.T) {
	c := shipped(t, "ieee118")
	base := live(t, c)
	// Bus 117 hangs on line 12-117 alone.
	dead := base.clone().report("line-12-117", grid.Closed, false).edit("load-117", func(t *twin.Twin) {
		t.Telemetry[grid.ActivePower], t.Telemetry[grid.ReactivePower] = val(0), val(0)
	}).edit("bus-117", func(t *twin.Twin) {
		t.Telemetry[grid.Voltage], t.Telemetry[grid.Angle] = val(0), val(0)
	})
	s := NewSimulator(Options{})
	open := simulate(t, s, base, whatif.Query{Twin: "line-12-117", Command: grid.OpenBreaker})
	if open.Outcome != whatif.Unsafe || open.New[0].Element != "bus-117" || math.Abs(open.New[0].Value-20) > 1e-9 || open.After.DeadBuses != 1 || open.After.LoadLostMW != 20 {
		t.Fatalf("cutting off bus 117 (20 MW): %s, %+v, after %+v", open.Outcome, open.New, open.After)
	}
	closing := simulate(t, s, dead, whatif.Query{Twin: "line-12-117", Command: grid.CloseBreaker})
	if closing.Outcome != whatif.Safe || closing.Before.LoadLostMW != 20 || closing.After.LoadLostMW != 0 || math.Abs(closing.After.LoadMW-closing.Before.LoadMW-20) > 1e-9 {
		t.Fatalf("%s (%s): before %+v after %+v", closing.Outcome, closing.Reason, closing.Before, closing.After)
	}
	unknown := dead.clone().edit("load-117", func(t *twin.Twin) {
		t.Nameplate = map[string]json.RawMessage{grid.Number: json.RawMessage("117")}
	})
	refused := simulate(t, s, unknown, whatif.Query{Twin: "line-12-117", Command: grid.CloseBreaker})
	if refused.Outcome != whatif.Refused || !strings.Contains(refused.Reason, "demand is not known") {
		t.Fatalf("%s (%s)", refused.Outcome, refused.Reason)
	}
	other := simulate(t, s, unknown, whatif.Query{Twin: "gen-10", Command: grid.SetActivePower, Args: args(grid.ArgMegawatts, 440)})
	if other.Outcome != whatif.Safe {
		t.Fatalf("a command elsewhere: %s (%s)", other.Outcome, other.Reason)
	}
}

// What comes back comes with the settings that it reports.
func TestConnectingTakesTheReportedSettings(t *testing.T) {
	base := live(t, shipped(t, "ieee14"))
	whole := simulate(t, NewSimulator(Options{}), base, whatif.Query{Twin: "gen-2", Command: grid.Connect})
	for _, c := range []struct {
		twin           vaultmesh.TwinID
		position, name string
		command        string
	}{
		{"gen-2", grid.Connected, grid.VoltageSetpoint, grid.Connect},
		{"transformer-4-7", grid.Closed, grid.Tap, grid.CloseBreaker},
	} {
		t.Run(string(c.twin), func(t *testing.T) {
			q := whatif.Query{Twin: c.twin, Command: c.command, N1: true}
			off := base.clone().report(c.twin, c.position, false)
			got := simulate(t, NewSimulator(Options{}), off, q)
			if got.Outcome == whatif.Refused || math.Abs(got.After.LossesMW-whole.Before.LossesMW) > 1e-3 || math.Abs(got.Before.LossesMW-whole.Before.LossesMW) < 0.01 {
				t.Fatalf("%s (%s): losses %g, then %g, want %g", got.Outcome, got.Reason, got.Before.LossesMW, got.After.LossesMW, whole.Before.LossesMW)
			}
			unknown := off.clone().edit(c.twin, func(t *twin.Twin) { delete(t.Reported, c.name) })
			if got := simulate(t, NewSimulator(Options{}), unknown, q); got.Outcome != whatif.Refused || !strings.Contains(got.Reason, "not known") {
				t.Fatalf("without %s: %s (%s)", c.name, got.Outcome, got.Reason)
			}
		})
	}
}

func TestClosingBetweenIslandsWarns(t *testing.T) {
	v := live(t, shipped(t, "ieee14")).report("transformer-7-8", grid.Closed, false)
	got := simulate(t, NewSimulator(Options{}), v, whatif.Query{Twin: "transformer-7-8", Command: grid.CloseBreaker})
	if got.Outcome != whatif.Safe || len(got.New) != 0 || len(got.Warnings) == 0 || got.Warnings[0].Limit != limitSynchronism {
		t.Fatalf("%s (%s): %+v, warnings %+v", got.Outcome, got.Reason, got.New, got.Warnings)
	}
}

func TestClosingAcrossALargeAngle(t *testing.T) {
	v := live(t, shipped(t, "ieee14")).report("line-13-14", grid.Closed, false)
	q := whatif.Query{Twin: "line-13-14", Command: grid.CloseBreaker}
	if got := simulate(t, NewSimulator(Options{}), v, q); got.Outcome != whatif.Safe {
		t.Fatal(got.Reason)
	}
	got := simulate(t, NewSimulator(Options{MaxClosingAngle: 0.1}), v, q)
	if got.Outcome != whatif.Unsafe || got.New[0].Limit != limitAngle {
		t.Fatalf("%s (%s)", got.Outcome, got.Reason)
	}
}

func TestSimulatorIsSafeForConcurrentUse(t *testing.T) {
	s := NewSimulator(Options{})
	views := []*cut{live(t, shipped(t, "ieee14")), live(t, shipped(t, "ieee30"))}
	q := whatif.Query{Twin: "gen-2", Command: grid.Connect, N1: true}
	want := []vaultmesh.Digest{simulate(t, s, views[0], q).ID, simulate(t, s, views[1], q).ID}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if got := simulate(t, s, views[i%2], q); got.ID != want[i%2] {
					t.Error("another verdict")
				}
			}
		})
	}
	wg.Wait()
}
