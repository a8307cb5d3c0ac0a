package gate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"go.yaml.in/yaml/v3"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of a limits file.
const (
	maxLimitsBytes = 1 << 20
	maxEntries     = 10_000
	maxRules       = 64
	maxAge         = 7 * 24 * time.Hour
	maxWindow      = 7 * 24 * time.Hour
)

// ParseLimits reads limits from JSON, or from YAML with the same fields. It refuses unknown and repeated fields, numbers
// that are not finite, and rules that say nothing or two things; the error is of kind Invalid and names the entry.
func ParseLimits(data []byte) (*Limits, error) {
	const op = "gate.limits"
	if len(data) > maxLimitsBytes {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(data), maxLimitsBytes)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var doc any // yaml refuses repeated keys, and aliases that expand without end
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not YAML").Because(err)
		}
		asJSON, err := json.Marshal(doc)
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the YAML has no JSON form").Because(err)
		}
		data = asJSON
	}
	canonical, err := receipt.Canonical(data, receipt.Limits{Bytes: 2 * maxLimitsBytes})
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	if canonical[0] != '{' {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not an object").WithFix("write an object with the field commands")
	}
	if err := plainKeys(canonical); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(canonical))
	dec.DisallowUnknownFields()
	var l Limits
	if err := dec.Decode(&l); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not a limits file").Because(err)
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return &l, nil
}

// plainKeys refuses every key but a-z and _: the decoder folds case, and a key in other letters could hide behind one
// that a reader of the file sees.
func plainKeys(canonical []byte) error {
	dec := json.NewDecoder(bytes.NewReader(canonical))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "gate.limits", "", "not JSON").Because(err)
	}
	var walk func(v any) error
	walk = func(v any) error {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				if err := walk(e); err != nil {
					return err
				}
			}
		case map[string]any:
			for key, e := range v {
				for _, c := range []byte(key) {
					if c != '_' && (c < 'a' || c > 'z') {
						return vaultmesh.Errorf(vaultmesh.Invalid, "gate.limits", fmt.Sprintf("%.64q", key), "no such field")
					}
				}
				if err := walk(e); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(doc)
}

func (l *Limits) check() error {
	if l.Undeclared == "" {
		l.Undeclared = "refuse"
	}
	if l.Undeclared != "refuse" && l.Undeclared != "allow" {
		return badLimit("undeclared", "%.32q is neither refuse nor allow", l.Undeclared)
	}
	if len(l.Commands) > maxEntries {
		return badLimit("commands", "%d entries, the limit is %d", len(l.Commands), maxEntries)
	}
	ids := map[string]bool{} // a rate's identity must be unique over entries that name the same command
	for i, c := range l.Commands {
		where := fmt.Sprintf("commands[%d]", i)
		if c.Model == "" || len(c.Model) > maxText || !isCommandName(c.Command) {
			return badLimit(where, "want a model and a command's name")
		}
		if len(c.Rules) > maxRules {
			return badLimit(where, "%d rules, the limit is %d", len(c.Rules), maxRules)
		}
		for _, r := range c.Rules {
			id := rateID(c, r)
			if ids[id] {
				return badLimit(where, "the rule %q occurs twice for the command", r.Name)
			}
			ids[id] = true
			if err := r.check(where); err != nil {
				return err
			}
		}
	}
	return nil
}

func rateID(c CommandLimit, r Rule) string { return c.Model + "/" + c.Command + "/" + r.Name }

func (r Rule) check(where string) error {
	if !isRuleName(r.Name) {
		return badLimit(where, "the rule's name %.64q is not of a-z, 0-9 and -", r.Name)
	}
	where += " " + r.Name
	kinds := 0
	for _, set := range []bool{r.Range != nil, r.Ramp != nil, r.Interlock != nil, r.Rate != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return badLimit(where, "%d kinds are set, want exactly one of range, ramp, interlock, rate", kinds)
	}
	switch {
	case r.Range != nil:
		if !isCommandName(r.Range.Arg) || r.Range.Min == nil && r.Range.Max == nil {
			return badLimit(where, "a range needs an argument and a min or a max")
		}
		for _, b := range []*Bound{r.Range.Min, r.Range.Max} {
			if b != nil {
				if err := b.check(where); err != nil {
					return err
				}
			}
		}
	case r.Ramp != nil:
		if !isCommandName(r.Ramp.Arg) || !isCommandName(r.Ramp.Property) {
			return badLimit(where, "a ramp needs an argument and a property")
		}
		if err := r.Ramp.Max.check(where); err != nil {
			return err
		}
		return r.Ramp.Fresh.check(where)
	case r.Interlock != nil:
		if !isCommandName(r.Interlock.Property) {
			return badLimit(where, "an interlock needs a property")
		}
		if e := r.Interlock.Equals; len(e) > 0 && (e[0] == '{' || e[0] == '[' || e[0] == 'n') {
			return badLimit(where, "equals is not a boolean, a number or a string")
		}
		return r.Interlock.Fresh.check(where)
	case r.Rate != nil:
		if r.Rate.Per != "twin" && r.Rate.Per != "principal" {
			return badLimit(where, "per %.32q is neither twin nor principal", r.Rate.Per)
		}
		if w := time.Duration(r.Rate.Window); r.Rate.Max == 0 || w < time.Second || w > maxWindow {
			return badLimit(where, "want a max of at least 1 and a window of 1s to %s", maxWindow)
		}
	}
	return nil
}

func (b Bound) check(where string) error {
	if (b.Const != nil) == (b.Nameplate != "") {
		return badLimit(where, "a bound needs either const or nameplate")
	}
	if b.Nameplate != "" && !isCommandName(b.Nameplate) || b.Const != nil && b.Scale != nil {
		return badLimit(where, "nameplate is not a property's name, or scale stands beside const")
	}
	for _, p := range []*float64{b.Const, b.Scale} {
		if p != nil && (math.IsNaN(*p) || math.IsInf(*p, 0)) {
			return badLimit(where, "a bound is not finite")
		}
	}
	return nil
}

func (f Fresh) check(where string) error {
	if d := time.Duration(f.MaxAge); d <= 0 || d > maxAge {
		return badLimit(where, "want a max_age above 0 and of at most %s", maxAge)
	}
	if f.AgeOf != "" && f.AgeOf != "value" && f.AgeOf != "twin" {
		return badLimit(where, "age_of %.32q is neither value nor twin", f.AgeOf)
	}
	return nil
}

func badLimit(where, format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "gate.limits", where, format, args...)
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; the form is that of time.ParseDuration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "duration", fmt.Sprintf("%.32q", b), "want a duration such as \"90s\"")
	}
	*d = Duration(v)
	return nil
}

// maxText bounds a short text: a model, a policy's words.
const maxText = 2 << 10

// isCommandName reports whether s is a name of a DTDL element: a letter, then letters, digits and _.
func isCommandName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

func isRuleName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
