package dtdl

import (
	"encoding/json"
	"strconv"

	"vaultmesh.org/vaultmesh"
)

// Validate reports whether raw is a state of a whole twin of the interface: an object with the values of
// properties and, where they are kept, the last values of telemetries by name, and the states of components as
// objects of the same form. Members whose names begin with "$" are metadata of a store and are not looked
// into. Properties are optional unless the extension "requirement" says otherwise.
func (i *Interface) Validate(raw json.RawMessage) error {
	return instance{twin: i}.validate("twin of", i.id, raw)
}

// Faults returns all that makes raw no state of a twin of the interface, at most [MaxFaults]; nil if it is one.
func (i *Interface) Faults(raw json.RawMessage) []Fault { return instance{twin: i}.faults(raw) }

// Validate reports whether raw is the state of one link: an object with the values of the relationship's
// properties. Members whose names begin with "$" are metadata and are not looked into.
func (r *Relationship) Validate(raw json.RawMessage) error {
	return instance{link: r}.validate("relationship", r.name, raw)
}

// Faults returns all that makes raw no state of a link, at most [MaxFaults]; nil if it is one.
func (r *Relationship) Faults(raw json.RawMessage) []Fault { return instance{link: r}.faults(raw) }

// state reads an object whose members find looks up: what a member must be, or why there must be none.
func (sc *scanner) state(require []string, find func(name []byte) (instance, string)) *fault {
	if sc.peek() != '{' {
		return &fault{kind: vaultmesh.Invalid, detail: "found " + sc.found(), want: "an object"}
	}
	if f := sc.open('{', Object); f != nil {
		return f
	}
	seen := make(map[string]struct{})
	for first := true; ; first = false {
		if first && sc.peek() == '}' {
			sc.close()
			break
		}
		key, f := sc.member()
		if f != nil {
			return f
		}
		if f := sc.stateMember(string(key), seen, find); f != nil {
			return f
		}
		end, f := sc.next('}')
		if f != nil {
			return f
		}
		if end {
			break
		}
	}
	for _, name := range require {
		if _, ok := seen[name]; !ok {
			if f := sc.note(stateFault("the required property " + strconv.Quote(name) + " is missing")); f != nil {
				return f
			}
		}
	}
	return nil
}

func stateFault(detail string) *fault { return &fault{kind: vaultmesh.Invalid, detail: detail} }

func (sc *scanner) stateMember(name string, seen map[string]struct{}, find func(name []byte) (instance, string)) *fault {
	if _, twice := seen[name]; twice {
		if f := sc.note(stateFault("the member " + strconv.QuoteToASCII(clip(name)) + " occurs twice")); f != nil {
			return f
		}
	}
	seen[name] = struct{}{}
	if name != "" && name[0] == '$' {
		return sc.jump()
	}
	in, why := find([]byte(name))
	if why != "" {
		if f := sc.note(stateFault(why)); f != nil {
			return f
		}
		return sc.jump()
	}
	return sc.inner(in, name)
}

func (sc *scanner) twin(i *Interface) *fault {
	return sc.state(i.require, func(name []byte) (instance, string) {
		switch c := i.contentNamed(name).(type) {
		case *Property:
			return instance{schema: c.schema}, ""
		case *Telemetry:
			return instance{schema: c.schema}, ""
		case *Component:
			if c.schema == nil {
				return instance{}, "the model of the component " + strconv.Quote(c.name) + " is not in the set of models"
			}
			return instance{twin: c.schema}, ""
		case nil:
			return instance{}, "there is no property, telemetry or component " + strconv.QuoteToASCII(clip(string(name))) + " in the model"
		default:
			return instance{}, strconv.Quote(c.Name()) + " is a " + c.Class() + ", which has no value"
		}
	})
}

func (sc *scanner) linkProperties(r *Relationship) *fault {
	return sc.state(nil, func(name []byte) (instance, string) {
		if p, ok := r.Property(string(name)); ok {
			return instance{schema: p.schema}, ""
		}
		return instance{}, "the relationship has no property " + strconv.QuoteToASCII(clip(string(name)))
	})
}
