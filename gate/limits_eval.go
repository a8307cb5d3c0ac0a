package gate

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/twin"
)

// maxFuture is how far ahead of the node a source's clock may be: the twin store's default drift.
const maxFuture = 5 * time.Second

// maxNumber is the largest magnitude of a number in a rule: beyond 2^53 the value that is compared may not be the
// value that is sent.
const maxNumber = 1 << 53

// judged is what the stages after the first share: the request with its twin and arguments taken apart.
type judged struct {
	Request
	twin      twin.Twin                  // from the view
	ancestors []string                   // of the twin's model
	args      json.RawMessage            // canonical, "{}" where the request has none
	arg       map[string]json.RawMessage // the members of args
}

// entries returns the declarations of the command: those of the model itself and those of the models it extends.
func (l *Limits) entries(model string, ancestors []string, command string) []*CommandLimit {
	var out []*CommandLimit
	for i := range l.Commands {
		c := &l.Commands[i]
		if c.Command == command && (c.Model == model || slices.Contains(ancestors, c.Model)) {
			out = append(out, c)
		}
	}
	return out
}

// limitsStage asks the halt switch and every rule that applies; it reports all that refuse.
func (g *Gate) limitsStage(j *judged) []Reason {
	if j.Halted {
		return []Reason{{Code: "limits.halted", Text: "the domain is halted: no command leaves it", Fix: "an operator must clear the halt"}}
	}
	l := g.opt.Limits
	if l == nil {
		return []Reason{{Code: "limits.none", Text: "the node has no hard limits loaded", Fix: "load a limits file"}}
	}
	entries := l.entries(j.twin.Model, j.ancestors, j.Command)
	if len(entries) == 0 && l.Undeclared != "allow" {
		return []Reason{{
			Code: "limits.undeclared", Text: fmt.Sprintf("no hard limit declares the command %q of the model %q", j.Command, j.twin.Model),
			Fix: "declare it in the limits file, with an empty list of rules where nothing bounds it",
		}}
	}
	var out []Reason
	for _, c := range entries {
		for _, r := range c.Rules {
			if code, text, fix := j.refusedBy(c, r); code != "" {
				out = append(out, Reason{Code: "limits." + code, Text: r.Name + ": " + text, Fix: fix})
			}
		}
	}
	return out
}

func (j *judged) refusedBy(c *CommandLimit, r Rule) (code, text, fix string) {
	switch {
	case r.Range != nil:
		return j.outOfRange(r.Range)
	case r.Ramp != nil:
		return j.tooSteep(r.Ramp)
	case r.Interlock != nil:
		return j.interlocked(r.Interlock)
	case r.Rate != nil:
		return j.tooOften(rateID(*c, r), r.Rate)
	}
	return "rule_unknown", "the rule has no kind", "correct the limits file"
}

func (j *judged) outOfRange(r *Range) (code, text, fix string) {
	x, why := number(j.arg[r.Arg])
	if why != "" {
		return "argument", fmt.Sprintf("the argument %s %s", r.Arg, why), "give a finite number"
	}
	lo, hi := math.Inf(-1), math.Inf(1)
	if r.Min != nil {
		if lo, why = r.Min.value(j.twin); why != "" {
			return "bound", why, "correct the twin's definition"
		}
	}
	if r.Max != nil {
		if hi, why = r.Max.value(j.twin); why != "" {
			return "bound", why, "correct the twin's definition"
		}
	}
	if x < lo || x > hi {
		return "range", fmt.Sprintf("the argument %s is %s, outside %g to %g", r.Arg, vaultmesh.Figure(x, lo, hi), lo, hi), fmt.Sprintf("choose a value from %g to %g", lo, hi)
	}
	return "", "", ""
}

func (j *judged) tooSteep(r *Ramp) (code, text, fix string) {
	x, why := number(j.arg[r.Arg])
	if why != "" {
		return "argument", fmt.Sprintf("the argument %s %s", r.Arg, why), "give a finite number"
	}
	raw, why := j.fresh(r.Property, r.Fresh)
	if why != "" {
		return "stale", why, "wait until the asset reports again"
	}
	now, why := number(raw)
	if why != "" {
		return "reported", fmt.Sprintf("the reported property %s %s", r.Property, why), "check the asset"
	}
	most, why := r.Max.value(j.twin)
	if why != "" || most < 0 {
		return "bound", "the bound of the ramp is missing or negative; " + why, "correct the twin's definition or the limits file"
	}
	if d := math.Abs(x - now); d > most {
		return "ramp", fmt.Sprintf("the argument %s is %s, %s away from the reported %s of %s, more than %g", r.Arg, vaultmesh.Figure(x, now-most, now+most), vaultmesh.Figure(d, most), r.Property, vaultmesh.Figure(now), most),
			fmt.Sprintf("choose a value from %s to %s, then go on in steps", within(now-most, now), within(now+most, now))
	}
	return "", "", ""
}

// within writes an end of what is allowed, with so few digits that whoever types it is inside: rounded towards the middle.
func within(end, middle float64) string {
	rounded, err := strconv.ParseFloat(vaultmesh.Figure(end), 64)
	if err != nil || math.Abs(rounded-middle) > math.Abs(end-middle) {
		return fmt.Sprint(end)
	}
	return fmt.Sprint(rounded)
}

func (j *judged) interlocked(r *Interlock) (code, text, fix string) {
	raw, why := j.fresh(r.Property, r.Fresh)
	if why != "" {
		return "stale", why, "wait until the asset reports again"
	}
	if len(r.Equals) > 0 && !sameScalar(raw, r.Equals) {
		return "interlock", fmt.Sprintf("the reported property %s is %.64s, not %s", r.Property, raw, r.Equals), "bring the asset into that state first"
	}
	return "", "", ""
}

func (j *judged) tooOften(id string, r *Rate) (code, text, fix string) {
	var count *uint64
	for i := range j.Counts {
		if j.Counts[i].Rule != id {
			continue
		}
		if count != nil {
			return "rate_unknown", "the count was given twice", "report it: the node counts commands wrongly"
		}
		count = &j.Counts[i].Count
	}
	if count == nil {
		return "rate_unknown", "the number of earlier commands is not known", "report it: the node does not count commands"
	}
	if *count >= r.Max {
		return "rate", fmt.Sprintf("%d commands for each %s within %s are allowed, and %d were given", r.Max, r.Per, time.Duration(r.Window), *count),
			"wait, then ask again"
	}
	return "", "", ""
}

// fresh returns the reported property where it is good and young enough.
func (j *judged) fresh(property string, f Fresh) (json.RawMessage, string) {
	v, ok := j.twin.Reported[property]
	if !ok || len(v.V) == 0 {
		return nil, fmt.Sprintf("the asset has not reported %s", property)
	}
	if v.Q != twin.Good {
		return nil, fmt.Sprintf("the reported %s is not of good quality", property)
	}
	at := v.T
	if f.AgeOf == "twin" {
		at = j.twin.Seen
	}
	age := j.Now.Sub(at)
	switch {
	case v.T.IsZero() || at.IsZero() || age > time.Duration(f.MaxAge):
		return nil, fmt.Sprintf("the reported %s is out of date: older than %s", property, time.Duration(f.MaxAge))
	case age < -maxFuture || v.T.Sub(j.Now) > maxFuture:
		return nil, fmt.Sprintf("the reported %s is from the future", property)
	}
	return v.V, ""
}

// value returns the bound for t, or why there is none.
func (b Bound) value(t twin.Twin) (float64, string) {
	if b.Const != nil {
		return *b.Const, ""
	}
	x, why := number(t.Nameplate[b.Nameplate])
	if why != "" {
		return 0, fmt.Sprintf("the nameplate property %s %s", b.Nameplate, why)
	}
	if b.Scale != nil {
		x *= *b.Scale
	}
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0, fmt.Sprintf("the bound of %s is not finite", b.Nameplate)
	}
	return x, ""
}

// number reads a JSON number that is finite and of magnitude up to 2^53, or says what else it found.
func number(raw json.RawMessage) (float64, string) {
	if len(raw) == 0 {
		return 0, "is missing"
	}
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, "is not a number"
	}
	x, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(x) || math.Abs(x) > maxNumber {
		return 0, "is not a finite number of at most 2^53"
	}
	return x, ""
}

// sameScalar compares two JSON booleans, numbers or strings; different types are different.
func sameScalar(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	switch x := x.(type) {
	case bool:
		y, ok := y.(bool)
		return ok && x == y
	case float64:
		y, ok := y.(float64)
		return ok && x == y
	case string:
		y, ok := y.(string)
		return ok && x == y
	}
	return false
}

// Rates returns the rate limits that apply to a command of a model, for whoever counts.
func (g *Gate) Rates(model, command string) []RateLimit {
	if g.opt.Limits == nil {
		return nil
	}
	var out []RateLimit
	for _, c := range g.opt.Limits.entries(model, g.ancestors(model), command) {
		for _, r := range c.Rules {
			if r.Rate != nil {
				out = append(out, RateLimit{ID: rateID(*c, r), Per: r.Rate.Per, Max: r.Rate.Max, Window: time.Duration(r.Rate.Window)})
			}
		}
	}
	return out
}

func (g *Gate) ancestors(model string) []string {
	if g.opt.Ancestors == nil {
		return nil
	}
	return g.opt.Ancestors(model)
}
