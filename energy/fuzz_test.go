package energy

import (
	"encoding/json"
	"math"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/whatif"
)

// number agrees with the standard decoder on every JSON value.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "-0", "1.5", "-1e-3", "1E+5", "1e999", "true", "null", `"1"`, "[1]", "{}", "123456789012345678901234567890123"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || len(raw) > 32 {
			return
		}
		var want *float64
		err := json.Unmarshal(raw, &want)
		got, ok := number(raw)
		if ok && (err != nil || want == nil || *want != got) {
			t.Fatalf("%q read as %g", raw, got)
		}
		if !ok && err == nil && want != nil && raw[0] != ' ' && raw[len(raw)-1] > ' ' && raw[0] > ' ' {
			t.Fatalf("%q not read as %g", raw, *want)
		}
	})
}

// No request makes the simulator fail: it judges or refuses, and its verdict is sealed and finite.
func FuzzSimulate(f *testing.F) {
	view := live(f, shipped(f, "ieee14"))
	s := NewSimulator(Options{})
	for _, c := range commands {
		f.Add("gen-2", c.name, []byte(`{"`+c.arg+`":1}`))
	}
	f.Add("transformer-4-7", grid.SetTap, []byte(`{"ratio":1e-9}`))
	f.Add("load-3", grid.ShedLoad, []byte(`{"fraction":-0}`))
	f.Add("grid", grid.InjectFault, []byte(`{"element":"x"}`))
	f.Fuzz(func(t *testing.T, id, command string, args []byte) {
		q := whatif.Query{Twin: vaultmesh.TwinID(id), Command: command, Args: args}
		v, err := s.Simulate(t.Context(), view, q)
		if err != nil {
			t.Fatal(err)
		}
		if v.ID.IsZero() || v.Outcome == "" || v.Reason == "" || math.IsNaN(v.After.LossesMW) {
			t.Fatalf("%+v", v)
		}
	})
}
