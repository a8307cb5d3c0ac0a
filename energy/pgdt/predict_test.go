package pgdt

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// memoryTx is a commit without a disk: the twin store keeps what it needs in memory.
type memoryTx struct{ applied []func() }

func (tx *memoryTx) Get([]byte) ([]byte, bool, error)                          { return nil, false, nil }
func (tx *memoryTx) Scan(_, _ []byte, _ func(_, _ []byte) (bool, error)) error { return nil }
func (tx *memoryTx) Put(_, _ []byte)                                           {}
func (tx *memoryTx) Delete([]byte)                                             {}
func (tx *memoryTx) OnRollback(func())                                         {}
func (tx *memoryTx) OnApplied(f func())                                        { tx.applied = append(tx.applied, f) }

func (tx *memoryTx) commit() {
	for _, f := range tx.applied {
		f()
	}
	tx.applied = nil
}

var _ journal.Tx = (*memoryTx)(nil)

// governed is a world with the twins that a node would keep of it.
type governed struct {
	*world
	store *twin.Store
	now   time.Time
}

func govern(t testing.TB, name string, change func(*Config)) *governed {
	t.Helper()
	g := &governed{world: newTestWorld(t, name, change), now: noon}
	set, err := dtdl.Parse(grid.Models(), dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g.store = twin.NewStore(twin.Options{Models: set, Now: func() time.Time { return g.now }})
	tx := &memoryTx{}
	if err := g.store.DefineAll(tx, grid.Twins(g.c)); err != nil {
		t.Fatal(err)
	}
	tx.commit()
	g.tell(t)
	return g
}

// tell brings what every device would say now into the store.
func (g *governed) tell(t testing.TB) {
	t.Helper()
	g.now = g.now.Add(time.Second)
	tx := &memoryTx{}
	for i := range g.points {
		raw := encode(g.now, 0, g.measure(i, nil), g.report(i, nil), g.stale != nil)
		m := &twin.Message{Twin: g.points[i].id, Device: g.points[i].device, Time: g.now, Raw: raw}
		var body struct {
			Telemetry, Properties map[string]json.RawMessage
		}
		if err := json.Unmarshal(raw, &body); err != nil {
			t.Fatal(err)
		}
		m.Telemetry, m.Properties = body.Telemetry, body.Properties
		if err := g.store.Check(m); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if _, err := g.store.Merge(tx, m, 0, i); err != nil {
			t.Fatal(err)
		}
	}
	tx.commit()
}

// What the simulator foretells from the twins is what the grid then does: the two share no state, only the messages.
func TestPredictionsComeTrue(t *testing.T) {
	steady := func(c *Config) { quiet(c); c.Ramp = 100 }
	for _, c := range []struct {
		grid, name string
		change     func(*Config)
		cmd        client.Command
		before     func(*governed)
		lossesMW   float64 // largest difference
		voltage    float64
	}{
		{"ieee14", "set-point", steady, order("1", "gen-2", grid.SetActivePower, `{"megawatts":60}`), nil, 1e-3, 1e-6},
		{"ieee14", "voltage", steady, order("1", "gen-3", grid.SetVoltage, `{"perUnit":1.02}`), nil, 1e-3, 1e-6},
		{"ieee14", "line out", steady, order("1", "line-2-4", grid.OpenBreaker, ""), nil, 1e-3, 1e-6},
		{"ieee14", "tap", steady, order("1", "transformer-4-7", grid.SetTap, `{"ratio":1.0}`), nil, 1e-3, 1e-6},
		{"ieee14", "shed", steady, order("1", "load-3", grid.ShedLoad, `{"fraction":0.5}`), nil, 1e-3, 1e-6},
		{"ieee14", "unit cut off", steady, order("1", "transformer-7-8", grid.OpenBreaker, ""), nil, 1e-3, 1e-6},
		{"ieee14", "slack lost", steady, order("1", "gen-1", grid.Disconnect, ""), nil, 1e-3, 1e-6},
		{"ieee118", "line out", steady, order("1", "line-23-25", grid.OpenBreaker, ""), nil, 1e-3, 1e-6},
		{"ieee118", "bus dead", steady, order("1", "line-12-117", grid.OpenBreaker, ""), nil, 1e-3, 1e-6},
		{"ieee118", "bus back", steady, order("1", "line-12-117", grid.CloseBreaker, ""), func(g *governed) {
			g.do(t, "line-12-117", grid.OpenBreaker, "")
			g.mustStep(t)
			g.tell(t)
		}, 1e-3, 1e-6},
		// With noise on every measured load the prediction is as good as the measurements.
		{"ieee118", "noisy", func(c *Config) { c.Demand.Walk, c.Demand.Amplitude, c.Ramp = 0, 0, 100 },
			order("1", "gen-10", grid.SetActivePower, `{"megawatts":400}`), nil, 1, 1e-3},
	} {
		t.Run(c.grid+" "+c.name, func(t *testing.T) {
			g := govern(t, c.grid, c.change)
			if c.before != nil {
				c.before(g)
			}
			q := whatif.Query{Twin: c.cmd.Twin, Command: c.cmd.Name, Args: c.cmd.Args}
			v, err := energy.NewSimulator(energy.Options{}).Simulate(context.Background(), g.store.Snapshot(), q)
			if err != nil || v.Outcome == whatif.Refused {
				t.Fatal(v.Reason, err)
			}
			i := g.byID[c.cmd.Twin]
			if o := g.apply(g.points[i].device, c.cmd); !o.ok {
				t.Fatalf("%+v", o)
			}
			g.mustStep(t)
			if d := math.Abs(g.sol.LossesMW - v.After.LossesMW); d > c.lossesMW {
				t.Errorf("losses: foretold %g MW, came %g", v.After.LossesMW, g.sol.LossesMW)
			}
			low := math.Inf(1)
			for b, vm := range g.sol.Vm {
				if !g.sol.Dead[b] {
					low = math.Min(low, vm)
				}
			}
			if math.Abs(low-v.After.MinVoltage) > c.voltage {
				t.Errorf("least voltage: foretold %g, came %g", v.After.MinVoltage, low)
			}
			if g.sol.DeadBuses != v.After.DeadBuses || len(g.sol.Islands) != v.After.Islands {
				t.Errorf("foretold %d dead buses and %d islands, came %d and %d", v.After.DeadBuses, v.After.Islands, g.sol.DeadBuses, len(g.sol.Islands))
			}
			g.tell(t)
			tw, _ := g.store.Get(c.cmd.Twin)
			for name, want := range v.Expect {
				got, ok := reportedNumber(tw, name)
				tolerance, known := energy.NewSimulator(energy.Options{}).Tolerance(tw.Model, name)
				if !ok || !known || math.Abs(got-want) > tolerance {
					t.Errorf("%s: expected %g, reported %g", name, want, got)
				}
			}
		})
	}
}

func reportedNumber(t twin.Twin, name string) (float64, bool) {
	switch raw := string(t.Reported[name].V); raw {
	case "true":
		return 1, true
	case "false":
		return 0, true
	default:
		var v float64
		err := json.Unmarshal([]byte(raw), &v)
		return v, err == nil
	}
}

// A grid whose own physics has no solution marks what it says, and no command is judged on that.
func TestQuestionableStateIsNotJudged(t *testing.T) {
	g := govern(t, "ieee14", quiet)
	g.c.Buses[13].LoadMW = 1e5
	if g.step(stepTime) == nil {
		t.Fatal("the impossible was solved")
	}
	i := g.byID["load-14"]
	raw := encode(g.now, 1, g.measure(i, nil), nil, g.stale != nil)
	var body struct {
		Q map[string]string `json:"q"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || body.Q[grid.ActivePower] != "questionable" {
		t.Fatalf("%s: %v", raw, err)
	}
	m := &twin.Message{Twin: "load-14", Device: "sub-14", Time: g.now.Add(1), Raw: raw,
		Telemetry: map[string]json.RawMessage{grid.ActivePower: json.RawMessage("14.9")}, Quality: map[string]twin.Quality{grid.ActivePower: twin.Questionable}}
	tx := &memoryTx{}
	if _, err := g.store.Merge(tx, m, 0, 0); err != nil {
		t.Fatal(err)
	}
	tx.commit()
	v, err := energy.NewSimulator(energy.Options{}).Simulate(context.Background(), g.store.Snapshot(), whatif.Query{Twin: "gen-2", Command: grid.Connect})
	if err != nil || v.Outcome != whatif.Refused {
		t.Fatalf("%s (%s): %v", v.Outcome, v.Reason, err)
	}
}

// The cost of a what-if on the store of a node, after every twin has just changed.
func BenchmarkSimulateOnStore(b *testing.B) {
	g := govern(b, "ieee118", nil)
	s := energy.NewSimulator(energy.Options{})
	q := whatif.Query{Twin: "gen-10", Command: grid.SetActivePower, Args: json.RawMessage(`{"megawatts":440}`)}
	for b.Loop() {
		b.StopTimer()
		g.tell(b)
		b.StartTimer()
		if v, err := s.Simulate(context.Background(), g.store.Snapshot(), q); err != nil || v.Outcome == whatif.Refused {
			b.Fatal(v.Reason, err)
		}
	}
}
