package energy

import (
	"encoding/json"
	"testing"

	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/gate"
)

func TestLimitsAreWellFormed(t *testing.T) {
	raw, err := json.Marshal(Limits())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := gate.ParseLimits(raw)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, c := range parsed.Commands {
		declared[c.Model+" "+c.Command] = true
	}
	// Every command that can be simulated is declared, for its model or the one that it extends.
	for _, c := range commands {
		ok := false
		for _, m := range append([]string{grid.ModelBranch}, models()...) {
			ok = ok || declared[m+" "+c.name]
		}
		if !ok {
			t.Errorf("command %s has no hard limits", c.name)
		}
	}
}

func TestProfile(t *testing.T) {
	p := NewProfile(Options{})
	for _, c := range []struct {
		model, command string
		handled        bool
	}{
		{grid.ModelLine, grid.OpenBreaker, true},
		{grid.ModelTransformer, grid.SetTap, true},
		{grid.ModelLine, grid.SetTap, false},
		{grid.ModelGenerator, grid.SetVoltage, true},
		{grid.ModelShunt, grid.Connect, true},
		{grid.ModelCapacitors, grid.Connect, true},
		{grid.ModelLoad, grid.Connect, false},
		{grid.ModelGrid, grid.InjectFault, false},
		{"dtmi:org:example:Account;1", grid.Connect, false},
	} {
		if got := p.Simulator.Handles(c.model, c.command); got != c.handled {
			t.Errorf("Handles(%s, %s) = %v", c.model, c.command, got)
		}
	}
	for _, c := range []struct {
		model, name string
		tolerance   float64
		ok          bool
	}{
		{grid.ModelLine, grid.Closed, 0, true},
		{grid.ModelTransformer, grid.Tap, 1e-4, true},
		{grid.ModelGenerator, grid.ActivePowerSetpoint, 0.01, true},
		{grid.ModelLoad, grid.Closed, 0, false},
		{"dtmi:org:example:Account;1", grid.Closed, 0, false},
	} {
		if got, ok := p.Tolerance(c.model, c.name); ok != c.ok || ok && got != c.tolerance {
			t.Errorf("Tolerance(%s, %s) = %g, %v", c.model, c.name, got, ok)
		}
	}
	// A model that extends a grid model is one where the model set says so.
	own := "dtmi:org:example:OldLine;1"
	s := NewSimulator(Options{IsA: func(model, base string) bool { return model == base || model == own && base == grid.ModelLine }})
	if !s.Handles(own, grid.OpenBreaker) || NewSimulator(Options{}).Handles(own, grid.OpenBreaker) {
		t.Error("extended models are not recognised by IsA alone")
	}
}
