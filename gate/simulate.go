package gate

import (
	"context"
	"fmt"
	"runtime/debug"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/whatif"
)

// maxShown is how many violated limits become reasons of their own.
const maxShown = 16

type simulated struct {
	verdict  whatif.Verdict
	topology vaultmesh.Digest
	err      error
	panicked bool
}

// simulate asks the simulator within the time allowed. A simulator that does not heed its context is left behind, still
// holding its slot, so that at most MaxSimulations can hang; Close waits for it.
func (g *Gate) simulate(ctx context.Context, sim whatif.Simulator, view whatif.View, q whatif.Query) (whatif.Verdict, vaultmesh.Digest, []Reason) {
	bad := func(code, text, fix string) (whatif.Verdict, vaultmesh.Digest, []Reason) {
		return whatif.Verdict{}, vaultmesh.Digest{}, []Reason{{Code: "what_if." + code, Text: text, Fix: fix}}
	}
	ctx, cancel := context.WithTimeout(ctx, g.opt.SimulationTimeout)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
	default:
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			return bad("busy", "too many simulations run already", "ask again later")
		}
	}
	done := make(chan simulated, 1)
	g.sims.Add(1)
	go func() {
		defer g.sims.Done()
		defer func() { <-g.slots }()
		defer func() {
			if v := recover(); v != nil {
				g.opt.Log.Error("the simulator panicked", "panic", fmt.Sprintf("%.200v", v), "stack", string(debug.Stack()))
				done <- simulated{panicked: true}
			}
		}()
		var s simulated
		s.verdict, s.err = sim.Simulate(ctx, view, q)
		if s.err == nil {
			s.topology = sim.Topology(view)
		}
		done <- s
	}()
	select {
	case s := <-done:
		switch {
		case s.panicked:
			return whatif.Verdict{}, vaultmesh.Digest{}, []Reason{internal(StageWhatIf)}
		case ctx.Err() != nil:
			return bad("timeout", "the simulation did not end in time", "ask again later")
		case s.err != nil:
			return whatif.Verdict{}, vaultmesh.Digest{}, refusal("what_if.error", s.err)
		}
		return s.verdict, s.topology, nil
	case <-ctx.Done():
		return bad("timeout", "the simulation did not end in time", "ask again later")
	}
}

// judge turns an outcome into reasons; none where it is safe.
func judge(v whatif.Verdict) []Reason {
	switch v.Outcome {
	case whatif.Safe:
		// A verdict that contradicts itself is no ground to act on.
		if len(v.New) > 0 || !v.After.Converged {
			return []Reason{{Code: "what_if.contradiction", Text: "the verdict says safe and names new violations or no convergence", Fix: "report it: the simulator answers wrongly"}}
		}
		return nil
	case whatif.Unsafe:
		no := []Reason{{Code: "what_if.unsafe", Text: fmt.Sprintf("%.500s", v.Reason), Fix: "choose another command or smaller steps, and simulate first"}}
		for i, n := range v.New {
			if i == maxShown {
				no = append(no, Reason{Code: "what_if.more", Text: fmt.Sprintf("%d more limits do not hold", max(v.NewTotal, len(v.New))-maxShown)})
				break
			}
			text := fmt.Sprintf("%s of %.128s would be %s %s, the limit is %s", n.Limit, n.Element, vaultmesh.Figure(n.Value, n.Bound), n.Unit, vaultmesh.Figure(n.Bound, n.Value))
			if n.Outage != "" {
				text += fmt.Sprintf(" after the loss of %.128s", n.Outage)
			}
			no = append(no, Reason{Code: "what_if.violation", Text: text})
		}
		return no
	case whatif.Refused:
		return []Reason{{Code: "what_if.refused", Text: fmt.Sprintf("%.500s", v.Reason), Fix: "wait for good and fresh data, then ask again"}}
	}
	return []Reason{{Code: "what_if.outcome", Text: fmt.Sprintf("the simulator's outcome %.32q is not known", v.Outcome), Fix: "report it: the simulator answers wrongly"}}
}
