package dtdl

import (
	"encoding/json"
	"slices"
)

// Set is a parsed, linked and checked set of interfaces. It never changes and is safe for concurrent use.
type Set struct {
	interfaces map[string]*Interface
	order      []*Interface // by identifier
}

// Interface returns the interface with the identifier; it does not allocate.
func (s *Set) Interface(id string) (*Interface, bool) {
	i, ok := s.interfaces[id]
	return i, ok
}

// Interfaces returns all interfaces in the order of their identifiers. The slice is the caller's.
func (s *Set) Interfaces() []*Interface { return slices.Clone(s.order) }

// Len returns the number of interfaces.
func (s *Set) Len() int { return len(s.order) }

// IsA reports whether model is base or extends it, directly or not. Unknown identifiers are not anything.
func (s *Set) IsA(model, base string) bool {
	i, ok := s.interfaces[model]
	if !ok {
		return false
	}
	if model == base {
		return true
	}
	_, ok = i.ancestors[base]
	return ok
}

// Text is a localized text, by BCP 47 language tag.
type Text struct {
	langs []string // sorted
	texts []string
}

// In returns the text in the language, and if there is none the English one.
func (t Text) In(lang string) string {
	for _, tag := range [2]string{lang, "en"} {
		if i, ok := slices.BinarySearch(t.langs, tag); ok {
			return t.texts[i]
		}
	}
	return ""
}

// String returns the English text.
func (t Text) String() string { return t.In("en") }

// Languages returns the language tags, sorted. The slice is the caller's.
func (t Text) Languages() []string { return slices.Clone(t.langs) }

// Element is what all elements of the language have in common.
type Element struct {
	id          string
	comment     string
	displayName Text
	description Text
	coTypes     []string
	semantic    string // the one of coTypes that is a quantity
	unit        string
	extra       []extension // in document order
}

type extension struct {
	name string
	raw  json.RawMessage
}

// ID returns the identifier written in the document; empty if there is none.
func (e *Element) ID() string { return e.id }

// Comment returns the note for model authors.
func (e *Element) Comment() string { return e.comment }

// DisplayName returns the localized name for display.
func (e *Element) DisplayName() Text { return e.displayName }

// Description returns the localized description for display.
func (e *Element) Description() Text { return e.description }

// CoTypes returns the semantic and adjunct types beside the element's own, as written. The slice is the caller's.
func (e *Element) CoTypes() []string { return slices.Clone(e.coTypes) }

// HasCoType reports whether the element has the semantic or adjunct type; it does not allocate.
func (e *Element) HasCoType(name string) bool { return slices.Contains(e.coTypes, name) }

// Extension returns the JSON text of a property that an extension of the language adds.
func (e *Element) Extension(name string) (json.RawMessage, bool) {
	for _, x := range e.extra {
		if x.name == name {
			return slices.Clone(x.raw), true
		}
	}
	return nil, false
}

// Interface describes the contents of a kind of twin.
type Interface struct {
	Element
	version   int
	extends   []*Interface
	ancestors map[string]struct{}
	contents  map[string]Content // own and inherited, by name
	order     []Content          // own in document order, then inherited in order of extends
	schemas   []*Schema
}

// Version is the major version of the language that the interface is written in: 2, 3 or 4.
func (i *Interface) Version() int { return i.version }

// Extends returns the interfaces that i extends directly. The slice is the caller's.
func (i *Interface) Extends() []*Interface { return slices.Clone(i.extends) }

// Contents returns all contents, own ones in document order first, then inherited ones. The slice is the caller's.
func (i *Interface) Contents() []Content { return slices.Clone(i.order) }

// Schemas returns the reusable schemas that the interface itself declares. The slice is the caller's.
func (i *Interface) Schemas() []*Schema { return slices.Clone(i.schemas) }

// Content returns the content with the name, own or inherited. The lookups do not allocate.
func (i *Interface) Content(name string) (Content, bool) {
	c, ok := i.contents[name]
	return c, ok
}

// Property returns the property with the name, own or inherited.
func (i *Interface) Property(name string) (*Property, bool) { return lookup[*Property](i, name) }

// Telemetry returns the telemetry with the name, own or inherited.
func (i *Interface) Telemetry(name string) (*Telemetry, bool) { return lookup[*Telemetry](i, name) }

// Command returns the command with the name, own or inherited.
func (i *Interface) Command(name string) (*Command, bool) { return lookup[*Command](i, name) }

// Relationship returns the relationship with the name, own or inherited.
func (i *Interface) Relationship(name string) (*Relationship, bool) {
	return lookup[*Relationship](i, name)
}

// Component returns the component with the name, own or inherited.
func (i *Interface) Component(name string) (*Component, bool) { return lookup[*Component](i, name) }

func lookup[C Content](i *Interface, name string) (C, bool) {
	c, ok := i.contents[name].(C)
	return c, ok
}

// Content is one of [*Property], [*Telemetry], [*Command], [*Relationship] and [*Component].
type Content interface {
	Name() string
	// DefinedIn is the interface that declares the content; of an inherited one, the ancestor.
	DefinedIn() *Interface
	content() *named
}

// named is what all contents have in common.
type named struct {
	Element
	name  string
	owner *Interface
}

func (n *named) Name() string { return n.name }

func (n *named) DefinedIn() *Interface { return n.owner }

func (n *named) content() *named { return n }

// Property is state of a twin.
type Property struct {
	named
	schema   *Schema
	writable bool
}

// Schema returns the type of the values.
func (p *Property) Schema() *Schema { return p.schema }

// Unit returns the unit as written, for example "metrePerSecond"; empty if there is none.
func (p *Property) Unit() string { return p.unit }

// Writable reports whether the state can be set from outside.
func (p *Property) Writable() bool { return p.writable }

// Validate reports whether raw is a value of the property.
func (p *Property) Validate(raw json.RawMessage) error {
	return p.schema.validate("property", p.name, raw)
}

// Telemetry is data that a twin emits.
type Telemetry struct {
	named
	schema *Schema
}

// Schema returns the type of the values.
func (t *Telemetry) Schema() *Schema { return t.schema }

// Unit returns the unit as written; empty if there is none.
func (t *Telemetry) Unit() string { return t.unit }

// Validate reports whether raw is a value of the telemetry.
func (t *Telemetry) Validate(raw json.RawMessage) error {
	return t.schema.validate("telemetry", t.name, raw)
}

// Command is an operation that a twin can perform.
type Command struct {
	named
	request, response *Payload
}

// Request describes the input; nil if the command has none.
func (c *Command) Request() *Payload { return c.request }

// Response describes the output; nil if the command has none.
func (c *Command) Response() *Payload { return c.response }

// Payload is the request or the response of a command.
type Payload struct {
	Element
	name     string
	schema   *Schema
	nullable bool
	role     string // "request" or "response", for errors
}

// Name returns the programming name.
func (p *Payload) Name() string { return p.name }

// Schema returns the type of the payload.
func (p *Payload) Schema() *Schema { return p.schema }

// Nullable reports whether null, or no payload at all, is a valid payload.
func (p *Payload) Nullable() bool { return p.nullable }

// Validate reports whether raw is a valid payload. An empty raw stands for no payload.
func (p *Payload) Validate(raw json.RawMessage) error {
	if p.nullable && isNull(raw) {
		return nil
	}
	return p.schema.validate(p.role, p.name, raw)
}

// Relationship is a kind of link from a twin to other twins.
type Relationship struct {
	named
	target     string
	min, max   int
	properties []*Property
	writable   bool
}

// Target is the interface that targets must be; empty if any will do.
func (r *Relationship) Target() string { return r.target }

// Multiplicity returns the least and the greatest number of targets; max is 0 where there is no limit.
func (r *Relationship) Multiplicity() (minimum, maximum int) { return r.min, r.max }

// Writable reports whether the relationship can be changed from outside.
func (r *Relationship) Writable() bool { return r.writable }

// Properties returns the state of each link. The slice is the caller's.
func (r *Relationship) Properties() []*Property { return slices.Clone(r.properties) }

// Property returns the property of a link with the name.
func (r *Relationship) Property(name string) (*Property, bool) {
	for _, p := range r.properties {
		if p.name == name {
			return p, true
		}
	}
	return nil, false
}

// Component is an interface that is part of another one by value.
type Component struct {
	named
	schema *Interface
}

// Schema returns the interface of the component.
func (c *Component) Schema() *Interface { return c.schema }
