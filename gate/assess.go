package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/whatif"
)

// Assess decides on one command. It never returns Allow unless every stage was asked and none refused. The error is
// never needed to learn the outcome: it is not nil only where ctx ended, and then the outcome is Deny as well.
//
// At dispatch, a request with a Challenge is judged anew from the first stage on, on the present twins and policy; it
// is allowed only where the signed challenge still describes it: the same command under the same policy on the same
// topology, not expired, with enough valid approvals. Whether the challenge's nonce was used before is for control.
func (g *Gate) Assess(ctx context.Context, r Request) (Assessment, error) {
	a := Assessment{Outcome: Deny}
	j := &judged{Request: r}
	p := g.policy.Load() // one policy for the whole assessment, whatever is loaded meanwhile
	var d decision
	stages := []struct {
		name string
		ask  func() []Reason // a reason is a no
	}{
		{StageCapability, func() []Reason { return g.capabilityStage(j) }},
		{StageLimits, func() []Reason { return g.limitsStage(j) }},
		{StagePolicy, func() (no []Reason) { d, no = g.policyStage(ctx, j, p, &a); return no }},
		{StageWhatIf, func() []Reason { return g.whatIfStage(ctx, j, d, &a) }},
		{StageApproval, func() []Reason { return g.approvalStage(j, d, p.digest, &a) }},
	}
	var remarks []Reason // what stages said that did not refuse
	for _, s := range stages {
		a.Stage = s.name
		no := g.guarded(s.name, s.ask)
		if len(no) == 0 && ctx.Err() != nil {
			no = []Reason{{Code: s.name + ".interrupted", Text: "the assessment was interrupted", Fix: "ask again"}}
		}
		result := StageResult{Stage: s.name, Outcome: Allow, Reasons: no}
		switch {
		case len(no) > 0:
			result.Outcome = Deny
		case s.name == StagePolicy:
			result.Outcome, result.Reasons = d.outcome, d.reasons
			remarks = d.reasons
		case s.name == StageApproval && a.Challenge != nil:
			result.Outcome = NeedsApproval
		}
		a.Stages = append(a.Stages, result)
		if len(no) > 0 {
			a.Challenge = nil
			a.Reasons = append(no, remarks...)
			return a, vaultmesh.Wrap(ctx.Err(), "gate.assess", string(r.ID))
		}
	}
	a.Reasons = remarks
	a.Outcome = Allow
	if a.Challenge != nil {
		a.Outcome = NeedsApproval
	}
	return a, nil
}

// guarded runs a stage; a panic in it is a no.
func (g *Gate) guarded(stage string, ask func() []Reason) (no []Reason) {
	defer func() {
		if v := recover(); v != nil {
			g.opt.Log.Error("a stage of the gate panicked", "stage", stage, "panic", fmt.Sprintf("%.200v", v), "stack", string(debug.Stack()))
			no = []Reason{internal(stage)}
		}
	}()
	return ask()
}

func internal(stage string) Reason {
	return Reason{Code: stage + ".internal", Text: "the stage failed inside the node, so the answer is no", Fix: "report it with the time of the request"}
}

// refusal makes a reason of an error's own words.
func refusal(code string, err error) []Reason {
	r := Reason{Code: code, Text: fmt.Sprintf("%.500s", err.Error())}
	if e, ok := err.(*vaultmesh.Error); ok {
		r.Fix = e.Fix
		r.Text = e.Detail
		if e.Subject != "" {
			r.Text = e.Subject + ": " + e.Detail
		}
	}
	return []Reason{r}
}

// capabilityStage checks the request's shape and that the capability grants it; it fills in the parts of j.
func (g *Gate) capabilityStage(j *judged) []Reason {
	bad := func(code, text, fix string) []Reason {
		return []Reason{{Code: "capability." + code, Text: text, Fix: fix}}
	}
	if err := vaultmesh.CheckID("command", string(j.ID)); err != nil {
		return refusal("capability.request", err)
	}
	if err := vaultmesh.CheckID("twin", string(j.Request.Twin.ID)); err != nil {
		return refusal("capability.request", err)
	}
	if !isCommandName(j.Command) {
		return bad("request", "the command's name is malformed", "use a command of the twin's model")
	}
	if j.Now.IsZero() || j.View == nil {
		return bad("request", "the request has no time or no view of the twins", "report it: the node asks wrongly")
	}
	if !j.Expires.IsZero() && !j.Now.Before(j.Expires) {
		return bad("command_expired", "the command's time has passed", "propose it again")
	}
	if ahead := j.View.Time().Sub(j.Now); ahead > time.Second || -ahead > g.opt.MaxViewAge {
		return bad("view_stale", fmt.Sprintf("the cut of the twins is %s away from now", ahead), "ask again")
	}
	c := j.Capability
	if c == nil || c.Principal != j.Principal || j.Principal == "" {
		return bad("principal", "the capability is missing or names another principal", "use the token that was issued to you")
	}
	if c.Domain != g.opt.Domain {
		return bad("audience", "the capability was verified for another domain", "ask the twin's home domain")
	}
	if err := c.ValidAt(j.Now); err != nil {
		return refusal("capability.time", err)
	}
	if block, revoked := c.Revoked(g.opt.Revoked); revoked {
		return bad("revoked", "the capability's block "+block.String()+" is revoked", "ask for a new token")
	}
	j.args = j.Args
	if len(j.args) == 0 {
		j.args = json.RawMessage("{}")
	}
	canonical, err := receipt.Canonical(j.args, receipt.Limits{})
	if err != nil {
		return refusal("capability.args", err)
	}
	if !bytes.Equal(canonical, j.args) {
		return bad("args", "the arguments are not canonical JSON (RFC 8785)", "bring them into canonical form first")
	}
	if json.Unmarshal(j.args, &j.arg) != nil || j.arg == nil {
		return bad("args", "the arguments are not a JSON object", "give an object, {} where there are none")
	}
	if err := c.Allows(capability.Action{Verb: capability.Command, Twin: j.Request.Twin.ID, Command: j.Command, Args: j.args}); err != nil {
		return refusal("capability.grant", err)
	}
	t, ok := j.View.Get(j.Request.Twin.ID)
	if !ok || t.ID != j.Request.Twin.ID {
		return bad("twin", "the twin is not in the view", "name a twin of this domain")
	}
	j.twin, j.ancestors = t, g.ancestors(t.Model)
	return nil
}

// policyStage asks the policy p. The decision is only good where no reason is returned.
func (g *Gate) policyStage(ctx context.Context, j *judged, p *compiled, a *Assessment) (decision, []Reason) {
	bad := func(code, text, fix string) (decision, []Reason) {
		return decision{}, []Reason{{Code: "policy." + code, Text: text, Fix: fix}}
	}
	a.Policy = p.digest
	simulable := g.opt.Simulator != nil && g.opt.Simulator.Handles(j.twin.Model, j.Command)
	input, err := g.policyInput(j, simulable)
	if err != nil {
		return bad("input", "the policy's input cannot be built from the twin", "check the twin's values")
	}
	value, err := ast.InterfaceToValue(input)
	if err != nil {
		return bad("input", "the policy's input cannot be built from the twin", "check the twin's values")
	}
	evalCtx, cancel := context.WithTimeout(ctx, g.opt.PolicyTimeout)
	defer cancel()
	result, err := p.decide(evalCtx, value)
	switch {
	case evalCtx.Err() != nil:
		return bad("timeout", "the policy did not decide in time", "make the policy cheaper")
	case err == errUndefined:
		return bad("undefined", "the policy gave no decision", "define data.vaultmesh.gate.decision for every input")
	case err != nil:
		g.opt.Log.Error("the policy failed", "policy", p.digest, "error", fmt.Sprintf("%.500s", err))
		return bad("error", "the policy failed", "correct the policy; the node's log has the cause")
	}
	if a.Decision, err = decisionID(p.digest, input, result); err != nil {
		return bad("shape", "the policy's decision has no JSON form", "correct the policy")
	}
	d, err := decodeDecision(result)
	if err != nil {
		no := refusal("policy.shape", err)
		no[0].Fix = "correct the policy: its decision has not the documented shape"
		return decision{}, no
	}
	if d.outcome == Deny {
		if len(d.reasons) == 0 {
			return bad("denied", "the policy denies it", "ask who keeps the policy")
		}
		return decision{}, d.reasons
	}
	a.Need = d.need
	return d, nil
}

// decisionID commits to the policy, its input and its result.
func decisionID(policy vaultmesh.Digest, input map[string]any, result any) (string, error) {
	h := sha256.New()
	h.Write(policy[:])
	for _, v := range []any{input, result} {
		raw, err := json.Marshal(v) // sorts the members
		if err != nil {
			return "", err
		}
		h.Write(raw)
		h.Write([]byte{'\n'})
	}
	return vaultmesh.Digest(h.Sum(nil)).String(), nil
}

// whatIfStage simulates the command where it can be and requires a safe verdict that is really about it.
func (g *Gate) whatIfStage(ctx context.Context, j *judged, d decision, a *Assessment) []Reason {
	sim := g.opt.Simulator
	if sim == nil || !sim.Handles(j.twin.Model, j.Command) {
		if d.unsimulatedOK {
			return nil
		}
		return []Reason{{
			Code: "what_if.unavailable", Text: fmt.Sprintf("the effect of %s on a %s cannot be simulated, and the policy does not accept that", j.Command, j.twin.Model),
			Fix: "have the policy set unsimulated_ok for this command, or attach a simulator that handles it",
		}}
	}
	q := whatif.Query{Twin: j.twin.ID, Command: j.Command, Args: j.args, N1: d.n1}
	v, topology, no := g.simulate(ctx, sim, j.View, q)
	if no != nil {
		return no
	}
	now := j.Now
	if t := j.View.Time(); t.After(now) {
		now = t
	}
	if err := v.Check(q, now, g.opt.MaxViewAge, topology); err != nil {
		no := refusal("what_if.verdict", err)
		no[0].Text = "the simulator's verdict does not fit the command: " + no[0].Text
		return no
	}
	if off := v.Taken.Sub(j.View.Time()).Abs(); off > time.Millisecond {
		return []Reason{{Code: "what_if.verdict", Text: "the simulator's verdict is about another cut of the twins", Fix: "report it: the simulator answers wrongly"}}
	}
	a.Verdict, a.Expect = &v, v.Expect
	return judge(v)
}
