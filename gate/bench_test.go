package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"vaultmesh.org/vaultmesh/twin"
)

// BenchmarkAssess is a whole assessment with the shipped policy and a simulator that answers at once.
func BenchmarkAssess(b *testing.B) {
	for _, bc := range []struct {
		name   string
		values int
	}{{"small", 0}, {"twin-of-30-values", 30}} {
		b.Run(bc.name, func(b *testing.B) {
			f := newFixture(b)
			r := f.setPower(b, `{"megawatts":400}`)
			v := twins()
			for i := range bc.values {
				v.twins["gen-1"].Telemetry[fmt.Sprintf("telemetry%02d", i)] = twin.Value{V: json.RawMessage("1.25"), T: t0}
			}
			r.View = v
			b.ReportAllocs()
			for b.Loop() {
				a, err := f.gate.Assess(context.Background(), r)
				if err != nil || a.Outcome != Allow {
					b.Fatal(a.Reasons, err)
				}
				f.sim.asked = f.sim.asked[:0]
			}
		})
	}
}

// BenchmarkPolicy is the policy's decision alone: input, evaluation, check of the result.
func BenchmarkPolicy(b *testing.B) {
	f := newFixture(b)
	j := &judged{Request: f.setPower(b, `{"megawatts":400}`)}
	if no := f.gate.capabilityStage(j); no != nil {
		b.Fatal(no)
	}
	p := f.gate.policy.Load()
	b.ReportAllocs()
	for b.Loop() {
		var a Assessment
		if _, no := f.gate.policyStage(context.Background(), j, p, &a); no != nil {
			b.Fatal(no)
		}
	}
}

// BenchmarkNew is what the gate adds to the start of a node: compiling the policy and running its tests.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		newFixture(b)
	}
}
