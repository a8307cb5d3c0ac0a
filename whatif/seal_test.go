package whatif

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

var taken = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func sample() Verdict {
	return Verdict{
		Query:    Query{Twin: "gen-2", Command: "setActivePower", Args: json.RawMessage(`{"megawatts":40}`), N1: true},
		Outcome:  Unsafe,
		Reason:   "line-1-2 would be loaded above its rating",
		Taken:    taken,
		Topology: vaultmesh.Sum([]byte("topology")),
		Model:    "test/1",
		Before:   Summary{Converged: true, MinVoltage: 0.98, MaxVoltage: 1.06},
		After:    Summary{Converged: true, MinVoltage: 0.97, MaxVoltage: 1.06},
		New:      []Violation{{Element: "line-1-2", Limit: "loading", Value: 120, Bound: 100, Unit: "MVA"}},
		Expect:   map[string]float64{"activePowerSetpoint": 40},
	}
}

func sealed(t *testing.T, v Verdict) Verdict {
	t.Helper()
	s, err := Seal(v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheck(t *testing.T) {
	topology := vaultmesh.Sum([]byte("topology"))
	query := sample().Query
	now := taken.Add(3 * time.Second)
	cases := []struct {
		name    string
		verdict func(*Verdict) // after sealing
		query   func(*Query)
		now     time.Time
		topo    vaultmesh.Digest
		want    vaultmesh.Kind
		ok      bool
	}{
		{name: "the very command", ok: true},
		{name: "same arguments in another spelling", query: func(q *Query) { q.Args = json.RawMessage(`{ "megawatts": 4e1 }`) }, ok: true},
		{name: "without N-1", query: func(q *Query) { q.N1 = false }, ok: true},
		{name: "as old as allowed", now: taken.Add(5 * time.Second), ok: true},
		{name: "another twin", query: func(q *Query) { q.Twin = "gen-3" }, want: vaultmesh.Conflict},
		{name: "another command", query: func(q *Query) { q.Command = "setVoltage" }, want: vaultmesh.Conflict},
		{name: "other arguments", query: func(q *Query) { q.Args = json.RawMessage(`{"megawatts":41}`) }, want: vaultmesh.Conflict},
		{name: "no arguments", query: func(q *Query) { q.Args = nil }, want: vaultmesh.Conflict},
		{name: "broken arguments", query: func(q *Query) { q.Args = json.RawMessage(`{"megawatts":`) }, want: vaultmesh.Invalid},
		{name: "altered outcome", verdict: func(v *Verdict) { v.Outcome = Safe }, want: vaultmesh.Corrupt},
		{name: "altered violation", verdict: func(v *Verdict) { v.New = nil }, want: vaultmesh.Corrupt},
		{name: "altered query", verdict: func(v *Verdict) { v.Query.Args = json.RawMessage(`{"megawatts":41}`) }, want: vaultmesh.Corrupt},
		{name: "altered time", verdict: func(v *Verdict) { v.Taken = v.Taken.Add(time.Second) }, want: vaultmesh.Corrupt},
		{name: "not finite", verdict: func(v *Verdict) { v.After.LossesMW = math.NaN() }, want: vaultmesh.Corrupt},
		{name: "never sealed", verdict: func(v *Verdict) { v.ID = vaultmesh.Digest{} }, want: vaultmesh.Corrupt},
		{name: "too old", now: taken.Add(5*time.Second + 1), want: vaultmesh.Stale},
		{name: "from the future", now: taken.Add(-1), want: vaultmesh.Stale},
		{name: "topology changed", topo: vaultmesh.Sum([]byte("other")), want: vaultmesh.Conflict},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, q, at, topo := sealed(t, sample()), query, now, topology
			if c.verdict != nil {
				c.verdict(&v)
			}
			if c.query != nil {
				c.query(&q)
			}
			if !c.now.IsZero() {
				at = c.now
			}
			if !c.topo.IsZero() {
				topo = c.topo
			}
			err := v.Check(q, at, 5*time.Second, topo)
			if c.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || vaultmesh.KindOf(err) != c.want {
				t.Fatalf("got %v, want kind %s", err, c.want)
			}
		})
	}
}

func TestCommandsWithoutArguments(t *testing.T) {
	forms := []json.RawMessage{nil, {}, json.RawMessage("null"), json.RawMessage("{}"), json.RawMessage(" { } ")}
	for _, simulated := range forms {
		v := sample()
		v.Query.Args = simulated
		raw, err := json.Marshal(sealed(t, v))
		if err != nil {
			t.Fatal(err)
		}
		var back Verdict
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		for _, asked := range forms {
			q := v.Query
			q.Args = asked
			if err := back.Check(q, taken, 0, v.Topology); err != nil {
				t.Errorf("simulated with %q, asked with %q: %v", simulated, asked, err)
			}
		}
		if err := back.Check(sample().Query, taken, 0, v.Topology); vaultmesh.KindOf(err) != vaultmesh.Conflict {
			t.Errorf("simulated with %q, asked with arguments: %v", simulated, err)
		}
	}
}

func TestCheckNeedsN1(t *testing.T) {
	v := sample()
	v.Query.N1 = false
	v = sealed(t, v)
	err := v.Check(sample().Query, taken, time.Second, v.Topology)
	if vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("a verdict without N-1 was accepted where N-1 is required: %v", err)
	}
}

func TestSealRefuses(t *testing.T) {
	for name, alter := range map[string]func(*Verdict){
		"not a number":     func(v *Verdict) { v.Before.LossesMW = math.NaN() },
		"infinite":         func(v *Verdict) { v.Expect = map[string]float64{"tap": math.Inf(1)} },
		"broken arguments": func(v *Verdict) { v.Query.Args = json.RawMessage(`{`) },
		"negative age":     func(v *Verdict) { v.OldestData = -1 },
		"age too large":    func(v *Verdict) { v.OldestData = MaxOldestData + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			v := sample()
			alter(&v)
			if _, err := Seal(v); vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil {
				t.Fatalf("got %v, want Invalid", err)
			}
		})
	}
}

// A verdict travels inside receipts and approvals: its digest must survive JSON.
func TestSealSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := sample()
		v.Reason = rapid.String().Draw(t, "reason")
		v.OldestData = time.Duration(rapid.Int64Range(0, int64(MaxOldestData)).Draw(t, "age"))
		v.After.MaxLoading = rapid.Float64Range(-1e12, 1e12).Draw(t, "loading")
		s, err := Seal(v)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Verdict
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if err := back.Check(v.Query, taken, 0, v.Topology); err != nil {
			t.Fatal(err)
		}
	})
}
