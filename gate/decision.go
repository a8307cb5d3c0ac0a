package gate

import (
	"encoding/json"
	"fmt"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Bounds of a decision document.
const (
	maxReasons   = 32
	maxApprovers = 16
	maxTTL       = 24 * time.Hour
)

// decision is a policy's answer after its shape was checked.
type decision struct {
	outcome       Outcome
	reasons       []Reason
	need          *Need
	n1            bool
	unsimulatedOK bool
}

// object reads the members of a policy's value one by one, and refuses a member that nobody asked for.
type object struct {
	where string
	m     map[string]any
	asked int
	err   error
}

func newObject(where string, v any) *object {
	m, ok := v.(map[string]any)
	o := &object{where: where, m: m}
	if !ok {
		o.fail("it is not an object")
	}
	return o
}

func (o *object) fail(format string, args ...any) {
	if o.err == nil {
		o.err = vaultmesh.Errorf(vaultmesh.Denied, "gate.policy", o.where, format, args...)
	}
}

func (o *object) get(name string, required bool) (any, bool) {
	v, ok := o.m[name]
	if ok {
		o.asked++
	} else if required {
		o.fail("%s is missing", name)
	}
	return v, ok
}

func (o *object) text(name string, required bool) string {
	v, ok := o.get(name, required)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok || len(s) > maxText {
		o.fail("%s is not a string of at most %d bytes", name, maxText)
	}
	return s
}

func (o *object) boolean(name string) bool {
	v, ok := o.get(name, false)
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		o.fail("%s is not a boolean", name)
	}
	return b
}

func (o *object) integer(name string, most int64) int64 {
	v, _ := o.get(name, true)
	number, ok := v.(json.Number)
	if !ok {
		o.fail("%s is not a number", name)
		return 0
	}
	n, err := number.Int64()
	if err != nil || n < 1 || n > most {
		o.fail("%s is not an integer from 1 to %d", name, most)
	}
	return n
}

func (o *object) list(name string, most int, required bool) []any {
	v, ok := o.get(name, required)
	if !ok {
		return nil
	}
	l, ok := v.([]any)
	if !ok || len(l) > most {
		o.fail("%s is not a list of at most %d", name, most)
		return nil
	}
	return l
}

func (o *object) end() error {
	if o.err == nil && o.asked != len(o.m) {
		o.fail("it has a member that is not known")
	}
	return o.err
}

// decodeDecision checks the shape of a policy's answer: every member of its type, none that is unknown.
func decodeDecision(v any) (decision, error) {
	o := newObject("decision", v)
	d := decision{outcome: Outcome(o.text("outcome", true)), n1: o.boolean("n1"), unsimulatedOK: o.boolean("unsimulated_ok")}
	for i, r := range o.list("reasons", maxReasons, false) {
		reason, err := decodeReason(fmt.Sprintf("reasons[%d]", i), r)
		if err != nil {
			return decision{}, err
		}
		d.reasons = append(d.reasons, reason)
	}
	approvers, given := o.get("approvers", false)
	if err := o.end(); err != nil {
		return decision{}, err
	}
	switch d.outcome {
	case Allow, Deny:
		if given {
			o.fail("approvers stand beside the outcome %s", d.outcome)
		}
	case NeedsApproval:
		need, err := decodeApprovers(approvers)
		if err != nil {
			return decision{}, err
		}
		d.need = &need
		if len(d.reasons) > 0 {
			d.need.Why = d.reasons[0].Text
		}
	default:
		o.fail("the outcome %.32q is none of allow, deny, needs_approval", d.outcome)
	}
	if o.err != nil {
		return decision{}, o.err
	}
	return d, nil
}

func decodeReason(where string, v any) (Reason, error) {
	o := newObject(where, v)
	r := Reason{Code: o.text("code", true), Text: o.text("text", true), Fix: o.text("fix", false)}
	if !isCode(r.Code) {
		o.fail("the code is not 1 to 64 of a-z, 0-9 and _")
	}
	r.Code = "policy." + r.Code
	return r, o.end()
}

func decodeApprovers(v any) (Need, error) {
	o := newObject("approvers", v)
	n := Need{Count: int(o.integer("count", maxApprovers)), TTL: time.Duration(o.integer("ttl_seconds", int64(maxTTL/time.Second))) * time.Second}
	for _, r := range o.list("roles", maxRoles, true) {
		role, ok := r.(string)
		if !ok || vaultmesh.CheckID("role", role) != nil {
			o.fail("a role is not an identifier")
			break
		}
		n.Roles = append(n.Roles, role)
	}
	if len(n.Roles) == 0 {
		o.fail("no role may approve")
	}
	return n, o.end()
}

func isCode(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
