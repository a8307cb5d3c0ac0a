package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
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
	return time.Since(t).Round(100 * time.Millisecond).String()
}

func values(t twin.Twin) string {
	var out []string
	for _, m := range []map[string]twin.Value{t.Reported, t.Telemetry} {
		names := make([]string, 0, len(m))
		for n := range m {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			out = append(out, n+"="+string(m[n].V))
		}
	}
	return strings.Join(out, " ")
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func printVerdict(w io.Writer, v whatif.Verdict) {
	fmt.Fprintf(w, "%s: %s\n\n", strings.ToUpper(string(v.Outcome)), v.Reason)
	fmt.Fprintln(w, "\tbefore\tafter")
	row := func(name, format string, before, after float64) {
		fmt.Fprintf(w, "%s\t"+format+"\t"+format+"\n", name, before, after)
	}
	row("lowest voltage, pu", "%.4f", v.Before.MinVoltage, v.After.MinVoltage)
	row("highest voltage, pu", "%.4f", v.Before.MaxVoltage, v.After.MaxVoltage)
	row("highest loading", "%.1f %%", 100*v.Before.MaxLoading, 100*v.After.MaxLoading)
	row("losses, MW", "%.2f", v.Before.LossesMW, v.After.LossesMW)
	row("load lost, MW", "%.1f", v.Before.LoadLostMW, v.After.LoadLostMW)
	row("energised islands", "%.0f", float64(v.Before.Islands), float64(v.After.Islands))
	row("dead buses", "%.0f", float64(v.Before.DeadBuses), float64(v.After.DeadBuses))
	if v.Checked > 0 {
		fmt.Fprintf(w, "N-1 outages checked\t\t%d\n", v.Checked)
	}
	if len(v.New) > 0 {
		fmt.Fprintln(w, "\nviolated after it\tlimit\tvalue\tbound\tunit\tby the loss of")
		for _, x := range v.New {
			fmt.Fprintf(w, "%s\t%s\t%.3f\t%.3f\t%s\t%s\n", x.Element, x.Limit, x.Value, x.Bound, x.Unit, x.Outage)
		}
	}
}

func printCommand(w io.Writer, c control.Command) {
	fmt.Fprintf(w, "%s\t%s %s %s\n", c.ID, c.Twin, c.Name, c.Args)
	fmt.Fprintf(w, "by\t%s\n", c.Principal)
	fmt.Fprintf(w, "state\t%s\t%s\n", c.State, c.Reason)
	for _, r := range c.Reasons {
		fmt.Fprintf(w, "why\t%s\t%s\n", r.Code, r.Text)
		if r.Fix != "" {
			fmt.Fprintf(w, "\t\twhat to do: %s\n", r.Fix)
		}
	}
	if c.State == control.AwaitingApproval && c.Needs != nil {
		fmt.Fprintf(w, "needs\t%d of role %s until %s\t%s\n", c.Needs.Count, strings.Join(c.Needs.Roles, " or "), c.Needs.Until.Local().Format("15:04:05"), c.Needs.Why)
		fmt.Fprintf(w, "\tvaultmesh approve %s\n", c.ID)
	}
	var v whatif.Verdict
	if len(c.Verdict) > 0 && json.Unmarshal(c.Verdict, &v) == nil {
		fmt.Fprintf(w, "simulated\t%s\t%s\n", v.Outcome, v.Reason)
		for i, x := range v.New {
			if i == 5 {
				fmt.Fprintf(w, "\t… and %d more\n", len(v.New)-i)
				break
			}
			fmt.Fprintf(w, "\t%s\t%s %.3f over %.3f %s %s\n", x.Element, x.Limit, x.Value, x.Bound, x.Unit, x.Outage)
		}
	}
	if c.AlignMillis > 0 {
		fmt.Fprintf(w, "aligned\tafter %.0f ms\t%s\n", c.AlignMillis, c.Observed)
	}
	fmt.Fprintln(w, "history")
	for _, h := range c.History {
		fmt.Fprintf(w, "\t%s\t%s\treceipt %d\t%s\n", h.Time.Local().Format("15:04:05.000"), h.State, h.Receipt, h.Actor)
	}
}

func short(d vaultmesh.Digest) string {
	if d.IsZero() {
		return "none"
	}
	return d.String()[:19]
}
