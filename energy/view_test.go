package energy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// cut is a view in memory. A clone shares the twins, so that a test changes only what it replaces.
type cut struct {
	ids   []vaultmesh.TwinID
	twins map[vaultmesh.TwinID]twin.Twin
	time  time.Time
}

func (v *cut) Get(id vaultmesh.TwinID) (twin.Twin, bool) { t, ok := v.twins[id]; return t, ok }
func (v *cut) Time() time.Time                           { return v.time }
func (v *cut) Each(fn func(twin.Twin) bool) {
	for _, id := range v.ids {
		if !fn(v.twins[id]) {
			return
		}
	}
}

func (v *cut) clone() *cut {
	c := &cut{ids: slices.Clone(v.ids), twins: map[vaultmesh.TwinID]twin.Twin{}, time: v.time}
	for id, t := range v.twins {
		c.twins[id] = t
	}
	return c
}

func (v *cut) put(t twin.Twin) {
	if _, ok := v.twins[t.ID]; !ok {
		v.ids = append(v.ids, t.ID)
		slices.SortFunc(v.ids, func(a, b vaultmesh.TwinID) int { return strings.Compare(string(a), string(b)) })
	}
	v.twins[t.ID] = t
}

// report replaces one reported property.
func (v *cut) report(id vaultmesh.TwinID, name string, value any) *cut {
	t := v.twins[id]
	t.Reported = copied(t.Reported)
	t.Reported[name] = val(value)
	v.put(t)
	return v
}

// edit replaces one twin by what fn makes of a copy with maps of its own.
func (v *cut) edit(id vaultmesh.TwinID, fn func(*twin.Twin)) *cut {
	t := v.twins[id]
	t.Reported, t.Telemetry = copied(t.Reported), copied(t.Telemetry)
	fn(&t)
	v.put(t)
	return v
}

func copied(m map[string]twin.Value) map[string]twin.Value {
	out := map[string]twin.Value{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

func val(v any) twin.Value {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return twin.Value{V: raw, T: now.Add(-time.Second)}
}

// shipped returns a case that package grid ships.
func shipped(t testing.TB, name string) *powerflow.Case {
	t.Helper()
	c, err := grid.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// live returns the twins of a case as the devices of its solved state would report them.
func live(t testing.TB, c *powerflow.Case) *cut {
	t.Helper()
	n, err := powerflow.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	sol, err := n.Solve(powerflow.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := &cut{twins: map[vaultmesh.TwinID]twin.Twin{}, time: now}
	x := grid.NewIndex(c)
	for _, d := range grid.Twins(c) {
		e, ok := x.Lookup(d.ID)
		if !ok {
			t.Fatalf("%s is in no list", d.ID)
		}
		tw := twin.Twin{Definition: d, Version: 1, Seen: now.Add(-500 * time.Millisecond),
			Reported: map[string]twin.Value{}, Telemetry: map[string]twin.Value{}}
		switch e.Kind {
		case grid.KindBus:
			tw.Telemetry[grid.Voltage] = val(sol.Vm[e.Index])
			tw.Telemetry[grid.Angle] = val(sol.Va[e.Index] * 180 / math.Pi)
		case grid.KindBranch:
			tw.Reported[grid.Closed] = val(c.Branches[e.Index].InService)
			if d.Model == grid.ModelTransformer {
				tap := c.Branches[e.Index].Tap
				if tap == 0 {
					tap = 1
				}
				tw.Reported[grid.Tap] = val(tap)
			}
		case grid.KindGen:
			g := &c.Gens[e.Index]
			tw.Reported[grid.Connected] = val(g.InService)
			tw.Reported[grid.ActivePowerSetpoint], tw.Reported[grid.VoltageSetpoint] = val(g.P), val(g.V)
		case grid.KindLoad:
			tw.Reported[grid.Connected], tw.Reported[grid.Shed] = val(true), val(0)
			tw.Telemetry[grid.ActivePower], tw.Telemetry[grid.ReactivePower] = val(c.Buses[e.Index].LoadMW), val(c.Buses[e.Index].LoadMVAr)
		case grid.KindShunt:
			tw.Reported[grid.Connected] = val(true)
		}
		v.put(tw)
	}
	// A twin of another profile is none of this simulator's business.
	v.put(twin.Twin{Definition: twin.Definition{ID: "account-7", Model: "dtmi:org:example:Account;1"}, Seen: now.Add(-time.Hour)})
	return v
}

func args(name string, v float64) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{%q:%v}`, name, v))
}
