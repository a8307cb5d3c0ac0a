package powerflow_test

import (
	"math"
	"testing"

	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// The reference solutions are MATPOWER's, by Newton's method from the case file's voltages to 1e-8 pu, printed to 12
// digits (voltages) and 10 digits (flows).
const (
	voltageTolerance = 1e-6 // pu and rad
	flowTolerance    = 1e-4 // MW and MVAr
)

func TestAgreesWithMatpower(t *testing.T) {
	for _, c := range []struct {
		name  string
		flows bool
	}{
		{"case9", true}, {"case14", true}, {"case_ieee30", true}, {"case57", true}, {"case118", true}, {"case300", true},
		{"case1354pegase", true}, {"case2869pegase", true}, {"case9241pegase", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := matpowerNetwork(t, c.name)
			sol, err := n.Solve(powerflow.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var worstV, worstA, worstF float64
			for _, row := range table(t, c.name+"_bus") {
				i, ok := n.BusIndex(int(row[0]))
				if !ok {
					t.Fatalf("no bus %g", row[0])
				}
				worstV = max(worstV, math.Abs(sol.Vm[i]-row[1]))
				worstA = max(worstA, math.Abs(math.Remainder(sol.Va[i]-row[2]*math.Pi/180, 2*math.Pi)))
			}
			if c.flows {
				for _, row := range table(t, c.name+"_branch") {
					f := sol.Flows[int(row[0])-1]
					for j, x := range []float64{f.Pf, f.Qf, f.Pt, f.Qt} {
						worstF = max(worstF, math.Abs(x-row[3+j]))
					}
				}
			}
			t.Logf("%d buses, %d iterations, mismatch %.1e pu; largest difference %.1e pu, %.1e rad, %.1e MW", len(sol.Vm), sol.Iterations, sol.MaxMismatch, worstV, worstA, worstF)
			if worstV > voltageTolerance || worstA > voltageTolerance || worstF > flowTolerance {
				t.Errorf("differs by %g pu, %g rad, %g MW", worstV, worstA, worstF)
			}
		})
	}
}

// TestContingenciesAgreeWithMatpower compares every single outage. Outages for which the reference found no solution
// are only counted: whether one exists is not known.
func TestContingenciesAgreeWithMatpower(t *testing.T) {
	for _, name := range []string{"case118", "case300"} {
		t.Run(name, func(t *testing.T) {
			n := matpowerNetwork(t, name)
			base, err := n.Solve(powerflow.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := n.NewSolver().ContingencyAnalysis(t.Context(), base, powerflow.ContingencyOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			rows := table(t, name+"_n1")
			if len(got) != len(rows) {
				t.Fatalf("%d outages, want %d", len(got), len(rows))
			}
			count := map[powerflow.Outcome]int{}
			open := map[powerflow.Outcome]int{}
			for i, row := range rows {
				c := got[i]
				count[c.Outcome]++
				if c.Branch != int(row[0])-1 {
					t.Fatalf("outage %d is of branch %d, want %g", i, c.Branch, row[0]-1)
				}
				islanding, converged := row[3] == 1, row[4] == 1
				if islanding != (c.Outcome == powerflow.Islanding) {
					t.Errorf("branch %d: %v, want islanding %v", i+1, c.Outcome, islanding)
				}
				if !islanding && !converged {
					open[c.Outcome]++
				}
				if !converged {
					continue
				}
				if c.Outcome != powerflow.Secure {
					t.Errorf("branch %d: %v (%v), the reference has a solution", i+1, c.Outcome, c.Reason)
					continue
				}
				if math.Abs(c.VMin-row[5]) > 1.5e-6 || math.Abs(c.VMax-row[6]) > 1.5e-6 || math.Abs(c.MaxMVA-row[7]) > 1.5e-4 {
					t.Errorf("branch %d: voltages %.6f to %.6f, %.4f MVA; want %.6f to %.6f, %.4f", i+1, c.VMin, c.VMax, c.MaxMVA, row[5], row[6], row[7])
				}
				if c.MaxMVABranch != int(row[8])-1 {
					t.Errorf("branch %d: most loaded is branch %d, want %g", i+1, c.MaxMVABranch+1, row[8])
				}
			}
			t.Logf("%v; where the reference did not converge: %v", count, open)
		})
	}
}
