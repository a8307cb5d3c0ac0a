package energy

import (
	"testing"

	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy/grid"
)

// TestEveryCommandOfTheGrid holds that each command of each model that a twin of a shipped grid has is bounded by hard
// limits and simulated; injectFault, a drill on the simulated fleet, has limits only.
func TestEveryCommandOfTheGrid(t *testing.T) {
	set, err := dtdl.Parse(grid.Models(), dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	limited := make(map[[2]string]bool)
	for _, c := range Limits().Commands {
		limited[[2]string{c.Model, c.Command}] = true
	}
	s := NewSimulator(Options{IsA: set.IsA})
	models, commands := make(map[string]bool), 0
	for _, name := range grid.Cases() {
		c, err := grid.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range grid.Twins(c) {
			models[d.Model] = true
		}
	}
	for model := range models {
		i, ok := set.Interface(model)
		if !ok {
			t.Fatalf("%s is not among the models", model)
		}
		for _, content := range i.Contents() {
			cmd, ok := content.(*dtdl.Command)
			if !ok {
				continue
			}
			commands++
			bounded := false
			for l := range limited {
				bounded = bounded || l[1] == cmd.Name() && set.IsA(model, l[0])
			}
			if drill := cmd.Name() == grid.InjectFault; !bounded || s.Handles(model, cmd.Name()) == drill {
				t.Errorf("%s %s: limits %v, simulated %v", model, cmd.Name(), bounded, s.Handles(model, cmd.Name()))
			}
		}
	}
	if commands < 15 {
		t.Errorf("only %d commands of %d models", commands, len(models))
	}
}
