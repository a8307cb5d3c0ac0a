package receipt

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the human form.
const (
	maxTold      = 100 // commands
	maxToldWords = 240 // characters of one text
	maxToldWhy   = 3   // reasons
)

// tell writes what happened to each command, and which commands nothing is proved about.
func (r Report) tell(b *strings.Builder, all bool, width int) {
	var proved []Statement
	var others []string
	for _, s := range r.Commands {
		if s.Verified {
			proved = append(proved, s)
		} else {
			others = append(others, string(s.Command))
		}
	}
	if len(proved) > 0 {
		wrap(b, "", "", r.source(), width)
	}
	for i, s := range proved {
		if i == maxTold && !all {
			wrap(b, "  ", "  ", "… and "+counted(len(proved)-i, "more command"), width)
			break
		}
		s.tell(b, width)
	}
	if len(others) > 0 {
		names, more := others, ""
		if len(names) > maxTold && !all {
			names, more = names[:maxTold], fmt.Sprintf(" and %d more", len(others)-maxTold)
		}
		wrap(b, "", "  ", "Nothing is proved about "+counted(len(others), "command")+" of this file: "+strings.Join(names, ", ")+more, width)
	}
}

// source says what the account of the commands rests on.
func (r Report) source() string {
	text := "What happened, by a log of "
	if !r.OK {
		text = "What is proved nevertheless, by a log of "
	}
	text += counted(int(min(r.LogSize, 1<<62)), "receipt")
	if r.Stamped.IsZero() {
		return text + " without a time-stamp (the times are the domain's own):"
	}
	return text + " that was time-stamped " + r.Stamped.Format(time.RFC3339) + ":"
}

// tell writes one verified statement: who commanded what, and below it how it went.
func (s Statement) tell(b *strings.Builder, width int) {
	wrap(b, "  ", "    ", fmt.Sprintf("%s  %s → %s %s %s  %s", s.Command, s.Principal, s.Twin, s.Name, short(string(s.Args)), s.State), width)
	wrap(b, "    ", "    ", strings.Join(s.clauses(), "; "), width)
}

// clauses are the steps in their order.
func (s Statement) clauses() []string {
	out := []string{"proposed " + s.Proposed.Format("2006-01-02 15:04:05.000Z")}
	if s.Policy.IsZero() {
		out = append(out, "decided by no policy")
	} else {
		out = append(out, fmt.Sprintf("policy %x…", s.Policy[:4]))
	}
	out = append(out, s.predicted())
	if len(s.Approvals) > 0 {
		var by []string
		for _, a := range s.Approvals {
			by = append(by, string(a.Approver)+" "+s.clock(a.Time))
		}
		out = append(out, "approved by "+strings.Join(by, " and "))
	}
	if s.Device != "" {
		out = append(out, "dispatched to "+string(s.Device)+" "+s.clock(s.Dispatched))
	}
	out = append(out, s.ending())
	if s.Device == "" {
		out = append(out, "nothing was sent to a device")
	}
	return out
}

func (s Statement) predicted() string {
	switch {
	case s.Simulation == nil:
		return "not simulated"
	case s.Simulation.Reason == "" || slices.Contains(s.Reasons, s.Simulation.Reason): // the ending says it
		return "predicted " + s.Simulation.Outcome
	default:
		return "predicted " + s.Simulation.Outcome + " (" + short(s.Simulation.Reason) + ")"
	}
}

// ending says what became of the command, and why where it was not done.
func (s Statement) ending() string {
	at := s.clock(s.Ended)
	switch s.State {
	case "aligned":
		if len(s.Observed) == 0 {
			return "aligned by the acknowledgement of " + string(s.Device) + " alone " + at + ", no value was expected"
		}
		return "the asset reported " + s.values() + s.after()
	case "diverged":
		text := "the asset did not follow " + at + s.because()
		if len(s.Observed) > 0 {
			text += "; it reported " + s.values()
		}
		return text
	case "denied":
		text := "denied " + at
		if s.Stage != "" {
			text += " at stage " + short(s.Stage)
		}
		return text + s.because()
	case "expired":
		return "expired " + at + s.because()
	default:
		return s.State + " by " + string(s.EndedBy) + " " + at + s.because()
	}
}

func (s Statement) values() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(s.Observed)) {
		v := s.Observed[name]
		text := short(name) + " = " + short(string(v.Value))
		if !v.Time.IsZero() {
			text += " at " + s.clock(v.Time)
		}
		if got, ok := ReportedNumber(v.Value); v.Expected != nil && (!ok || got != *v.Expected) {
			text += " (expected " + strconv.FormatFloat(*v.Expected, 'g', -1, 64)
			if v.Tolerance != nil {
				text += ", give or take " + strconv.FormatFloat(*v.Tolerance, 'g', -1, 64)
			}
			text += ")"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func (s Statement) after() string {
	switch ms := s.Millis; {
	case ms <= 0:
		return ""
	case ms < 10:
		return ", recorded " + strconv.FormatFloat(ms, 'f', 1, 64) + " ms after dispatch"
	case ms < 10_000:
		return ", recorded " + strconv.FormatFloat(ms, 'f', 0, 64) + " ms after dispatch"
	default:
		return ", recorded " + strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s after dispatch"
	}
}

func (s Statement) because() string {
	if len(s.Reasons) == 0 {
		return ""
	}
	var list []string
	for _, reason := range s.Reasons[:min(len(s.Reasons), maxToldWhy)] {
		list = append(list, short(reason))
	}
	text := ": " + strings.Join(list, "; ")
	if more := len(s.Reasons) - len(list); more > 0 {
		text += "; and " + counted(more, "more reason")
	}
	return text
}

// clock writes a time of the day of the proposal without its date.
func (s Statement) clock(t time.Time) string {
	if t.Format(time.DateOnly) == s.Proposed.Format(time.DateOnly) {
		return t.Format("15:04:05.000Z")
	}
	return t.Format("2006-01-02 15:04:05.000Z")
}

// short bounds one text of the human form.
func short(s string) string {
	if r := []rune(s); len(r) > maxToldWords {
		return string(r[:maxToldWords-1]) + "…"
	}
	return s
}
