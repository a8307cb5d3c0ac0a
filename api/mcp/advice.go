package mcpapi

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh/control"
)

// advise says in words what a command's state means for the agent that proposed it, and which tool calls make sense.
func advise(c control.Command, v commandView) (string, []suggestion) {
	id := map[string]any{"command_id": v.ID}
	wait := suggest("command_status", "wait until the state changes", map[string]any{"command_id": v.ID, "wait_seconds": 30})
	evidence := suggest("prove", "get the evidence of what was decided and done", map[string]any{"command_ids": []string{v.ID}})
	look := suggest("get_twin", "see what the asset reports now", map[string]any{"twin": v.Twin})
	var args any = v.Args
	simulate := suggest("simulate_command", "change the arguments until the outcome is safe; then propose with a new idempotency_key",
		map[string]any{"twin": v.Twin, "command": v.Command, "args": args})
	what := fmt.Sprintf("%s on %s", v.Command, v.Twin)

	switch c.State {
	case control.Denied:
		return denial(what, v), denialNext(v, simulate, look, evidence)
	case control.AwaitingApproval:
		return awaiting(what, v), []suggestion{wait}
	case control.Rejected:
		return fmt.Sprintf("REJECTED by a person: %s was not sent to the device. %s Do not propose the same again without a new reason.", what, said(c.Reason)),
			[]suggestion{look, evidence}
	case control.Expired:
		return fmt.Sprintf("EXPIRED: nobody decided in time, and %s was not sent to the device. If it is still needed, read the present state and propose it with a new idempotency_key.", what),
			[]suggestion{look}
	case control.Proposed, control.Assessed, control.Approved, control.Authorized:
		return fmt.Sprintf("UNDER WAY (%s): %s is decided on its way to the device. Nothing to do but wait.", v.State, what), []suggestion{wait}
	case control.Dispatched:
		return fmt.Sprintf("DISPATCHED: %s was sent to the device, which has not answered yet. It is not done before the state is aligned.", what), []suggestion{wait}
	case control.Acknowledged:
		return fmt.Sprintf("ACKNOWLEDGED: the device accepted %s; it does not report the new value yet. It is not done before the state is aligned.", what), []suggestion{wait}
	case control.Refused:
		return fmt.Sprintf("REFUSED by the device: %s was not done. %s Read device_response for the device's own words.", what, said(c.Reason)), []suggestion{look, evidence}
	case control.TimedOut:
		return fmt.Sprintf("TIMED OUT: the device did not answer in time. Whether %s was done is not known yet: wait for aligned or diverged, and do not propose it again meanwhile.", what),
			[]suggestion{wait, look}
	case control.Aligned:
		return fmt.Sprintf("ALIGNED: %s was done; the asset reported the commanded value %s after the dispatch.", what, milliseconds(v.AlignMS)), []suggestion{evidence}
	case control.Diverged:
		return fmt.Sprintf("DIVERGED: %s was sent, and the asset does not report the commanded value. Tell a person; do not assume either state.", what),
			[]suggestion{look, evidence}
	case control.Cancelled:
		return fmt.Sprintf("CANCELLED before the dispatch: %s was not sent to the device. %s", what, said(c.Reason)), []suggestion{evidence}
	case control.Halted:
		return fmt.Sprintf("HALTED: a person stopped the domain, and %s was not sent to the device. Propose nothing until halt_status says that the halt was cleared.", what),
			[]suggestion{suggest("halt_status", "see who halted the domain and why", nil)}
	default:
		return fmt.Sprintf("%s: %s.", v.State, what), []suggestion{suggest("command_status", "read it again", id)}
	}
}

func denial(what string, v commandView) string {
	var b strings.Builder
	fmt.Fprintf(&b, "DENIED by the gate: %s was not sent to the device.", what)
	for _, r := range v.Reasons {
		fmt.Fprintf(&b, "\n- %s: %s", r.Code, strings.TrimSuffix(r.Text, "."))
		if r.Fix != "" {
			fmt.Fprintf(&b, ". Fix: %s", strings.TrimSuffix(r.Fix, "."))
		}
		b.WriteString(".")
	}
	if p := v.Verdict; p != nil && p.NewCount > 0 {
		b.WriteString("\nThe simulation predicts:")
		writeViolations(&b, *p)
	}
	b.WriteString("\nThe same proposal will be denied again: change what the reasons name, or give the matter to a person.")
	return b.String()
}

func denialNext(v commandView, simulate, look, evidence suggestion) []suggestion {
	next := []suggestion{}
	for _, r := range v.Reasons {
		if strings.Contains(strings.ToLower(r.Code), "halt") {
			next = append(next, suggest("halt_status", "see who halted the domain and why", nil))
			break
		}
	}
	if v.Verdict != nil {
		next = append(next, simulate)
	}
	return append(next, look, evidence)
}

func awaiting(what string, v commandView) string {
	if v.Approval == nil {
		return fmt.Sprintf("AWAITING APPROVAL: %s waits for a person. You cannot approve it.", what)
	}
	a := v.Approval
	role := "any enrolled role"
	if len(a.Roles) > 0 {
		role = "the role " + strings.Join(a.Roles, " or ")
	}
	return fmt.Sprintf("AWAITING APPROVAL: %s was not sent to the device. %d of %d approvals are given; each comes from a different person with %s, until %s. Why: %s. "+
		"Ask such a person to run: %s. The person's own key signs; you cannot approve, and nothing you answer counts as an approval. Meanwhile poll command_status; do not propose it again.",
		what, a.Given, a.Count, role, a.Until.UTC().Format(time.RFC3339), strings.TrimSuffix(orNone(a.Why), "."), a.Run)
}

// writeViolations writes the new violations with the system before and after.
func writeViolations(b *strings.Builder, p prediction) {
	for _, x := range p.New[:min(len(p.New), 10)] {
		fmt.Fprintf(b, "\n- %s: %s would be %.4g %s, the bound is %.4g", x.Element, x.Limit, x.Value, x.Unit, x.Bound)
		if x.Outage != "" {
			fmt.Fprintf(b, " (if %s fails)", x.Outage)
		}
	}
	if p.NewCount > 10 {
		fmt.Fprintf(b, "\n- and %d more", p.NewCount-10)
	}
	if p.Before.Converged && p.After.Converged {
		fmt.Fprintf(b, "\nBefore → after: voltage %.4g…%.4g → %.4g…%.4g pu, highest loading %.0f %% → %.0f %%, load lost %.4g → %.4g MW.",
			p.Before.MinVoltage, p.Before.MaxVoltage, p.After.MinVoltage, p.After.MaxVoltage, 100*p.Before.MaxLoading, 100*p.After.MaxLoading, p.Before.LoadLostMW, p.After.LoadLostMW)
	}
}

func said(words string) string {
	if words == "" {
		return "No reason was given."
	}
	return "The reason given: " + quoted(words) + "."
}

func orNone(s string) string {
	if s == "" {
		return "not stated"
	}
	return s
}

func milliseconds(ms float64) string { return strconv.FormatFloat(ms, 'f', 1, 64) + " ms" }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
