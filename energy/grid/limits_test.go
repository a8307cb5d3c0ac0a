package grid

import (
	"bytes"
	"flag"
	"math"
	"os"
	"testing"

	"vaultmesh.org/vaultmesh/energy/powerflow"
)

var update = flag.Bool("update", false, "write the derived figures into the case files")

// deriveLimits computes the figures of a shipped case that the archive does not have, or that its own solution would
// violate, from the base state. This is the rule that the heads of the case files state.
func deriveLimits(t *testing.T, c *powerflow.Case) {
	t.Helper()
	n, err := powerflow.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	sol, err := n.Solve(powerflow.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Branches {
		c.Branches[i].RatingMVA = math.Max(30, 5*math.Ceil(1.35*sol.Flows[i].MVA()/5))
	}
	for i := range c.Buses {
		c.Buses[i].VMin = math.Min(0.94, math.Floor(100*(sol.Vm[i]-0.005))/100)
		c.Buses[i].VMax = math.Max(1.06, math.Ceil(100*(sol.Vm[i]+0.005))/100)
	}
	for i := range c.Gens {
		g := &c.Gens[i]
		g.PMin, g.PMax = 0, g.P+100
		g.QMin = math.Min(g.QMin, 5*math.Floor(sol.GenQ[i]/5))
		g.QMax = math.Max(g.QMax, 5*math.Ceil(sol.GenQ[i]/5))
	}
}

// TestLimitsAreDerived holds the case files to their rule: go test -run TestLimitsAreDerived -update rewrites them.
func TestLimitsAreDerived(t *testing.T) {
	for _, name := range Cases() {
		t.Run(name, func(t *testing.T) {
			path := "cases/" + name + ".grid"
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			deriveLimits(t, c)
			head, _, _ := bytes.Cut(file, []byte(formatHeader))
			want := append(bytes.Clone(head), Format(c)...)
			if *update {
				if err := os.WriteFile(path, want, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(file, want) {
				t.Errorf("%s does not hold what the rule gives; run the test with -update", path)
			}
		})
	}
}
