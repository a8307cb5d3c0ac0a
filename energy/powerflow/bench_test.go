package powerflow_test

import (
	"testing"

	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// benchmarkWarm changes every load by 1 % and solves again from the base state, the inputs' setting included. The
// load goes up and down in turn, so that no solve starts at its own solution.
func benchmarkWarm(b *testing.B, name string) {
	n := matpowerNetwork(b, name)
	s := n.NewSolver()
	var base, sol powerflow.Solution
	if err := s.Solve(powerflow.Options{}, &base); err != nil {
		b.Fatal(err)
	}
	buses := n.Case().Buses
	steps, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		w := 1.01
		if i++; i%2 == 0 {
			w = 0.99
		}
		for j := range buses {
			if err := s.SetLoad(j, w*buses[j].LoadMW, w*buses[j].LoadMVAr); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Solve(powerflow.Options{Warm: &base}, &sol); err != nil {
			b.Fatal(err)
		}
		steps += sol.Iterations
	}
	b.ReportMetric(float64(steps)/float64(i), "steps/op")
}

func BenchmarkWarm118(b *testing.B)  { benchmarkWarm(b, "case118") }
func BenchmarkWarm300(b *testing.B)  { benchmarkWarm(b, "case300") }
func BenchmarkWarm1354(b *testing.B) { benchmarkWarm(b, "case1354pegase") }
func BenchmarkWarm2869(b *testing.B) { benchmarkWarm(b, "case2869pegase") }
func BenchmarkWarm9241(b *testing.B) { benchmarkWarm(b, "case9241pegase") }

// benchmarkContingencies screens every stride-th branch in service, islanding outages left out, and reports the time
// of each outage; preparation at the base state is included.
func benchmarkContingencies(b *testing.B, name string, stride int) {
	n := matpowerNetwork(b, name)
	s := n.NewSolver()
	var base powerflow.Solution
	if err := s.Solve(powerflow.Options{}, &base); err != nil {
		b.Fatal(err)
	}
	all, err := s.ContingencyAnalysis(b.Context(), &base, powerflow.ContingencyOptions{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	var list []int
	for _, c := range all {
		if c.Outcome != powerflow.Islanding && c.Branch%stride == 0 {
			list = append(list, c.Branch)
		}
	}
	steps, runs := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		all, err = s.ContingencyAnalysis(b.Context(), &base, powerflow.ContingencyOptions{Branches: list}, all[:0])
		if err != nil {
			b.Fatal(err)
		}
		runs++
		for _, c := range all {
			steps += c.Iterations
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(runs*len(list)), "ns/outage")
	b.ReportMetric(float64(steps)/float64(runs*len(list)), "steps/outage")
}

func BenchmarkContingencies118(b *testing.B)  { benchmarkContingencies(b, "case118", 1) }
func BenchmarkContingencies300(b *testing.B)  { benchmarkContingencies(b, "case300", 1) }
func BenchmarkContingencies1354(b *testing.B) { benchmarkContingencies(b, "case1354pegase", 1) }
func BenchmarkContingencies9241(b *testing.B) { benchmarkContingencies(b, "case9241pegase", 40) }

func BenchmarkCompile9241(b *testing.B) {
	c := matpowerCase(b, "case9241pegase")
	for b.Loop() {
		if _, err := powerflow.Compile(c); err != nil {
			b.Fatal(err)
		}
	}
}
