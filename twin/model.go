package twin

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

// ModelSet is what the store needs of the domain's models; [*dtdl.Set] is one. It must be safe for concurrent use, and a
// model must never change once it was returned.
type ModelSet interface {
	Interface(id string) (*dtdl.Interface, bool)
	IsA(model, base string) bool
}

var _ ModelSet = (*dtdl.Set)(nil)

// kind of a register.
type kind uint8

const (
	property kind = iota
	telemetry
)

func (k kind) String() string {
	if k == telemetry {
		return "telemetry"
	}
	return "property"
}

// slot is the place of one register of a twin: what may be stored there.
type slot struct {
	index int
	name  string
	kind  kind
	valid interface{ Validate(json.RawMessage) error }
}

// schema is a model compiled for merging: it gives each property and telemetry a slot. It is immutable and shared by all
// twins of the model.
type schema struct {
	model *dtdl.Interface
	slots []slot // by name, so that the same model always gives the same slots
	index map[string]*slot
}

// maxSlots bounds the registers of one twin.
const maxSlots = 4096

// schemas compiles each model once. It is safe for concurrent use.
type schemas struct {
	models ModelSet

	mu       sync.RWMutex
	compiled map[string]*schema // guarded by mu
}

func (c *schemas) get(model string) (*schema, error) {
	c.mu.RLock()
	s, ok := c.compiled[model]
	c.mu.RUnlock()
	if ok {
		return s, nil
	}
	i, ok := c.models.Interface(model)
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "twin.model", clip(model), "the domain has no such model").WithFix("load the DTDL interface, or correct the identifier")
	}
	s, err := compile(model, i)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.compiled[model]; ok {
		return first, nil
	}
	c.compiled[strings.Clone(model)] = s
	return s, nil
}

func compile(id string, i *dtdl.Interface) (*schema, error) {
	s := &schema{model: i}
	if visits := s.collect(i, "", 0); len(s.slots) > maxSlots || visits > maxSlots {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "twin.model", id, "more than %d properties, telemetries and components", maxSlots).WithFix("split the model into several twins")
	}
	slices.SortFunc(s.slots, func(a, b slot) int { return strings.Compare(a.name, b.name) })
	s.index = make(map[string]*slot, len(s.slots))
	for n := range s.slots {
		s.slots[n].index = n
		s.index[s.slots[n].name] = &s.slots[n]
	}
	return s, nil
}

// collect adds the contents of i; those of a component get its name and a dot in front. It returns how many interfaces it
// has visited, and gives up where they or the slots are too many.
func (s *schema) collect(i *dtdl.Interface, prefix string, visits int) int {
	visits++
	for _, c := range i.Contents() {
		if len(s.slots) > maxSlots || visits > maxSlots {
			break
		}
		switch c := c.(type) {
		case *dtdl.Property:
			s.slots = append(s.slots, slot{name: prefix + c.Name(), kind: property, valid: c})
		case *dtdl.Telemetry:
			s.slots = append(s.slots, slot{name: prefix + c.Name(), kind: telemetry, valid: c})
		case *dtdl.Component:
			visits = s.collect(c.Schema(), prefix+c.Name()+".", visits)
		}
	}
	return visits
}

// names returns the names of one kind for an error message, at most a dozen.
func (s *schema) names(k kind, except map[string]json.RawMessage) string {
	var out []string
	for _, sl := range s.slots {
		if _, fixed := except[sl.name]; sl.kind == k && !fixed {
			out = append(out, sl.name)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	if len(out) > 12 {
		out = append(out[:12], "…")
	}
	return strings.Join(out, ", ")
}

// clip shortens text from outside for an error message.
func clip(s string) string {
	if len(s) > vaultmesh.MaxID {
		return strings.ToValidUTF8(s[:vaultmesh.MaxID], "") + "…"
	}
	return s
}
