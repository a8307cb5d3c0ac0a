package main

import (
	"encoding/json"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func shortModel(dtmi string) string {
	s := dtmi[strings.LastIndexByte(dtmi, ':')+1:]
	name, _, _ := strings.Cut(s, ";")
	return name
}

func age(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func values(t twin.Twin) string {
	var out []string
	for _, m := range []map[string]twin.Value{t.Reported, t.Telemetry} {
		for _, n := range sorted(m) {
			out = append(out, n+"="+figures(m[n].V))
		}
	}
	return strings.Join(out, " ")
}

func tellVerdict(s *sheet, v whatif.Verdict) {
	colour := green
	if v.Outcome != whatif.Safe {
		colour = red
	}
	s.say(colour, "%s: %s", strings.ToUpper(string(v.Outcome)), v.Reason)
	s.space()
	s.table("", "before", "after")
	for _, x := range []struct {
		name          string
		before, after float64
	}{
		{"lowest voltage, pu", v.Before.MinVoltage, v.After.MinVoltage},
		{"highest voltage, pu", v.Before.MaxVoltage, v.After.MaxVoltage},
		{"highest loading, %", 100 * v.Before.MaxLoading, 100 * v.After.MaxLoading},
		{"losses, MW", v.Before.LossesMW, v.After.LossesMW},
		{"load lost, MW", v.Before.LoadLostMW, v.After.LoadLostMW},
		{"energised islands", float64(v.Before.Islands), float64(v.After.Islands)},
		{"dead buses", float64(v.Before.DeadBuses), float64(v.After.DeadBuses)},
	} {
		s.row(x.name, vaultmesh.Figure(x.before), vaultmesh.Figure(x.after))
	}
	if v.Checked > 0 {
		s.row("N-1 outages checked", "", v.Checked)
	}
	if len(v.New) > 0 {
		s.space()
		s.table("violated after it", "limit", "value", "bound", "unit", "by the loss of")
		for _, x := range v.New {
			s.row(x.Element, x.Limit, vaultmesh.Figure(x.Value, x.Bound), vaultmesh.Figure(x.Bound, x.Value), x.Unit, x.Outage)
		}
	}
}

// colours of the states of a command that a person should see.
var stateColour = map[control.State]string{
	control.Aligned: green, control.AwaitingApproval: yellow, control.Denied: red, control.Refused: red, control.Rejected: red, control.Diverged: red,
	control.TimedOut: red, control.Halted: red, control.Expired: red,
}

func tellCommand(a *app, s *sheet, c control.Command) {
	s.fact("command", "%s", c.ID)
	s.fact("what", "%s %s %s", c.Twin, c.Name, c.Args)
	s.fact("by", "%s", c.Principal)
	state := string(c.State)
	if c.Reason != "" {
		state += ": " + c.Reason
	}
	s.painted(stateColour[c.State], "state", "%s", state)
	for _, r := range c.Reasons {
		if said := r.Text != c.Reason; said {
			s.fact("why", "%s (%s)", r.Text, r.Code)
		} else {
			s.fact("why", "%s", r.Code)
		}
		if r.Fix != "" {
			s.fact("what to do", "%s", r.Fix)
		}
	}
	if c.State == control.AwaitingApproval && c.Needs != nil {
		s.fact("needs", "%d of role %s until %s", c.Needs.Count, strings.Join(c.Needs.Roles, " or "), c.Needs.Until.Local().Format("15:04:05"))
		if c.Needs.Why != c.Reason {
			s.fact("", "%s", c.Needs.Why)
		}
		s.verbatim(a.hint("approve " + string(c.ID)))
	}
	tellPrediction(s, c.Verdict)
	if c.AlignMillis > 0 {
		s.fact("aligned", "after %.0f ms, by what the asset reported", c.AlignMillis)
		tellObserved(s, c.Observed)
	}
	s.space()
	s.table("time", "state", "receipt", "by", "reason")
	for _, h := range c.History {
		reason := h.Reason
		if reason == c.Reason && h.State == c.State {
			reason = "" // said above
		}
		s.row(h.Time.Local().Format("15:04:05.000"), h.State, h.Receipt, h.Actor, words(reason))
	}
}

// words are what somebody said, or of words that are withheld or erased that they were said.
func words(reason string) string {
	if receipt.IsPrivateRef(reason) {
		return "(withheld: only a commitment is recorded)"
	}
	return reason
}

// tellPrediction says what the simulation foresaw, and the first violations.
func tellPrediction(s *sheet, verdict json.RawMessage) {
	const shown = 5
	var v whatif.Verdict
	if len(verdict) == 0 || json.Unmarshal(verdict, &v) != nil {
		return
	}
	s.fact("simulated", "%s: %s", v.Outcome, v.Reason)
	for _, x := range v.New[:min(shown, len(v.New))] {
		after := ""
		if x.Outage != "" {
			after = " after the loss of " + x.Outage
		}
		s.fact("", "%s of %s would be %s %s, the bound is %s%s", x.Limit, x.Element, vaultmesh.Figure(x.Value, x.Bound), x.Unit, vaultmesh.Figure(x.Bound, x.Value), after)
	}
	if more := len(v.New) - shown; more > 0 {
		s.fact("", "… and %d more", more)
	}
}

// tellObserved says which reported values decided that a command is aligned.
func tellObserved(s *sheet, observed json.RawMessage) {
	var seen map[string]struct {
		Value json.RawMessage `json:"value"`
		Batch string          `json:"batch"`
	}
	if json.Unmarshal(observed, &seen) != nil {
		return
	}
	for _, name := range sorted(seen) {
		s.fact("", "%s = %s, in receipt %s", name, figures(seen[name].Value), seen[name].Batch)
	}
}

func short(d vaultmesh.Digest) string {
	if d.IsZero() {
		return "none"
	}
	return d.String()[:19]
}
