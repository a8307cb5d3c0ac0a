package dtdl

import (
	"cmp"
	"encoding/json"
	"hash/maphash"
	"slices"
	"sync"
)

// Set is a parsed, linked and checked set of interfaces. It never changes and is safe for concurrent use.
type Set struct {
	interfaces map[string]*Interface
	order      []*Interface // by identifier
	unresolved []string
	all        []Entity
	indexed    sync.Once
	byID       map[string]Entity // of all, made by the first lookup
}

// entities returns all elements by identifier.
func (s *Set) entities() map[string]Entity {
	s.indexed.Do(func() {
		s.byID = make(map[string]Entity, len(s.all))
		for _, e := range s.all {
			s.byID[e.ID()] = e
		}
	})
	return s.byID
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

// Lookup returns the element of the set with the identifier, written or assigned: an [*Interface], a
// [Content], a [*Schema], a [*Field], an [*EnumValue], a [*Payload] or a [*MapEntry]. The schemas and units
// that every set has are found too where the set uses them. It does not allocate; the first call makes an index.
func (s *Set) Lookup(id string) (Entity, bool) {
	e, ok := s.entities()[id]
	return e, ok
}

// Entities returns all elements that Lookup finds, in the order of their identifiers. The slice is the caller's.
func (s *Set) Entities() []Entity {
	byID := s.entities()
	out := make([]Entity, 0, len(byID))
	for _, id := range sortedNames(byID) {
		out = append(out, byID[id])
	}
	return out
}

// Unresolved returns the identifiers that a partial set refers to and does not hold, sorted. The slice is the
// caller's.
func (s *Set) Unresolved() []string { return slices.Clone(s.unresolved) }

// IsA reports whether model is base or extends it, directly or not. Unknown identifiers are not anything.
func (s *Set) IsA(model, base string) bool {
	i, ok := s.interfaces[model]
	if !ok {
		return false
	}
	b, ok := s.interfaces[base]
	return ok && (i == b || i.isA(b))
}

// isA reports whether i extends base. The limits of the language bound the number of ways up: chains of at most 10 or
// 12, and 1024 ways in all, or in v2 two from each interface.
func (i *Interface) isA(base *Interface) bool {
	for _, x := range i.extends {
		if x == base || x.isA(base) {
			return true
		}
	}
	return false
}

// Text is a localized text, by language tag.
type Text struct {
	phrases []phrase // sorted by language
}

// phrase is a text in one language.
type phrase struct{ lang, text string }

// In returns the text in the language, and if there is none the English one.
func (t Text) In(lang string) string {
	for _, tag := range [2]string{lang, defaultLanguage} {
		if i, ok := slices.BinarySearchFunc(t.phrases, tag, func(p phrase, tag string) int { return cmp.Compare(p.lang, tag) }); ok {
			return t.phrases[i].text
		}
	}
	return ""
}

// String returns the English text.
func (t Text) String() string { return t.In(defaultLanguage) }

// Languages returns the language tags, sorted. The slice is the caller's.
func (t Text) Languages() []string {
	var out []string
	for _, p := range t.phrases {
		out = append(out, p.lang)
	}
	return out
}

// Entity is any element of a set. Only types of this package implement it.
type Entity interface {
	ID() string
	Assigned() bool
	Class() string
	Version() int
	Comment() string
	DisplayName() Text
	Description() Text
	CoTypes() []string
	HasCoType(name string) bool
	Extension(name string) (json.RawMessage, bool)
	Extensions() []string
	SemanticType() string
	Unit() string
	UnitInfo() (*Unit, bool)
	element() *Element
}

// Element is what all elements of the language have in common.
type Element struct {
	id          string
	class       string
	comment     string
	displayName Text
	description Text
	coTypes     []string
	semantic    string // the one of coTypes that is a quantity
	unit        *Unit
	extra       []extension // in document order
	version     uint8
	assigned    bool
}

type extension struct {
	name string
	raw  json.RawMessage
}

func (e *Element) element() *Element { return e }

// ID returns the identifier: the one written in the document, or the one that the language's rules assign.
func (e *Element) ID() string { return e.id }

// Assigned reports whether the document gives the element no identifier, so that ID is an assigned one.
func (e *Element) Assigned() bool { return e.assigned }

// Class returns the class of the language: "Interface", "Property", "Object", "Double" and so on.
func (e *Element) Class() string { return e.class }

// Version is the major version of the language that the element is written in: 2, 3 or 4.
func (e *Element) Version() int { return int(e.version) }

// Comment returns the note for model authors.
func (e *Element) Comment() string { return e.comment }

// DisplayName returns the localized name for display.
func (e *Element) DisplayName() Text { return e.displayName }

// Description returns the localized description for display.
func (e *Element) Description() Text { return e.description }

// CoTypes returns the semantic and adjunct types beside the element's class: the term of a known one, and an
// unknown one as it is written. The slice is the caller's.
func (e *Element) CoTypes() []string { return slices.Clone(e.coTypes) }

// HasCoType reports whether the element has the semantic or adjunct type; it does not allocate.
func (e *Element) HasCoType(name string) bool { return slices.Contains(e.coTypes, name) }

// SemanticType returns the quantity that the element measures, for example "Velocity"; empty if there is none.
func (e *Element) SemanticType() string { return e.semantic }

// Unit returns the term of the unit of the element's values, for example "metrePerSecond"; empty if there is
// none.
func (e *Element) Unit() string {
	if e.unit == nil {
		return ""
	}
	return e.unit.name
}

// UnitInfo returns the unit of the element's values.
func (e *Element) UnitInfo() (*Unit, bool) { return e.unit, e.unit != nil }

// Extension returns the JSON text of a property that an extension of the language adds, by its term.
func (e *Element) Extension(name string) (json.RawMessage, bool) {
	for _, x := range e.extra {
		if x.name == name {
			return slices.Clone(x.raw), true
		}
	}
	return nil, false
}

// Extensions returns the names of the properties that extensions add, in document order. The slice is the caller's.
func (e *Element) Extensions() []string {
	out := make([]string, len(e.extra))
	for i, x := range e.extra {
		out[i] = x.name
	}
	return out
}

// Unit is a unit of measurement of the language's quantities.
type Unit struct {
	Element
	name, symbol, kind string
}

// Name returns the term, for example "metrePerSecond".
func (u *Unit) Name() string { return u.name }

// Symbol returns the symbol, for example "m/s".
func (u *Unit) Symbol() string { return u.symbol }

// Kind returns the name of the family of units, for example "VelocityUnit".
func (u *Unit) Kind() string { return u.kind }

// Interface describes the contents of a kind of twin.
type Interface struct {
	Element
	extends []*Interface
	order   []Content    // own in document order, then inherited in order of extends
	index   contentIndex // of order
	schemas []*Schema
	require []string // properties that an instance must have
}

// contentIndex finds contents by the hash of their name: at that place, or behind it where that is taken, it has
// the place in the list of contents, counted from 1. Its length is a power of two, and much of it is 0.
type contentIndex []int32

// shortList is the length of lists that are searched without an index.
const shortList = 8

// nameSeed makes names that collide in an index hard to find.
var nameSeed = maphash.MakeSeed()

func hashName(name string) uint32 { return uint32(maphash.String(nameSeed, name)) }

// content returns the content with the name, or nil.
func (i *Interface) content(name string) Content {
	if i.index == nil {
		for _, c := range i.order {
			if c.Name() == name {
				return c
			}
		}
		return nil
	}
	for at := hashName(name); ; at++ {
		c := i.at(at)
		if c == nil || c.Name() == name {
			return c
		}
	}
}

// contentNamed is content for a name that is no string yet; it does not allocate.
func (i *Interface) contentNamed(name []byte) Content {
	if i.index == nil {
		for _, c := range i.order {
			if c.Name() == string(name) {
				return c
			}
		}
		return nil
	}
	for at := uint32(maphash.Bytes(nameSeed, name)); ; at++ {
		c := i.at(at)
		if c == nil || c.Name() == string(name) {
			return c
		}
	}
}

// at returns the content at a place of the index, nil where that is free.
func (i *Interface) at(place uint32) Content {
	n := i.index[place&uint32(len(i.index)-1)]
	if n == 0 {
		return nil
	}
	return i.order[n-1]
}

// Extends returns the interfaces that i extends directly. The slice is the caller's.
func (i *Interface) Extends() []*Interface { return slices.Clone(i.extends) }

// Contents returns all contents, own ones in document order first, then inherited ones. The slice is the caller's.
func (i *Interface) Contents() []Content { return slices.Clone(i.order) }

// Schemas returns the reusable schemas that the interface itself declares. The slice is the caller's.
func (i *Interface) Schemas() []*Schema { return slices.Clone(i.schemas) }

// Content returns the content with the name, own or inherited. The lookups do not allocate.
func (i *Interface) Content(name string) (Content, bool) {
	c := i.content(name)
	return c, c != nil
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
	c, ok := i.content(name).(C)
	return c, ok
}

// Content is one of [*Property], [*Telemetry], [*Command], [*Relationship] and [*Component].
type Content interface {
	Entity
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
	hash  uint32 // of the name
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

// Required reports whether an instance must have the property. The language makes properties optional unless
// the extension "requirement" says otherwise.
func (p *Property) Required() bool { return p.HasCoType("Required") }

// Writable reports whether the state can be set from outside.
func (p *Property) Writable() bool { return p.writable }

// Validate reports whether raw is a value of the property.
func (p *Property) Validate(raw json.RawMessage) error {
	return instance{schema: p.schema}.validate("property", p.name, raw)
}

// Faults returns all that makes raw no value of the property, at most [MaxFaults]; nil if it is one.
func (p *Property) Faults(raw json.RawMessage) []Fault { return instance{schema: p.schema}.faults(raw) }

// Telemetry is data that a twin emits.
type Telemetry struct {
	named
	schema *Schema
}

// Schema returns the type of the values.
func (t *Telemetry) Schema() *Schema { return t.schema }

// Validate reports whether raw is a value of the telemetry.
func (t *Telemetry) Validate(raw json.RawMessage) error {
	return instance{schema: t.schema}.validate("telemetry", t.name, raw)
}

// Faults returns all that makes raw no value of the telemetry, at most [MaxFaults]; nil if it is one.
func (t *Telemetry) Faults(raw json.RawMessage) []Fault {
	return instance{schema: t.schema}.faults(raw)
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
	return instance{schema: p.schema}.validate(p.role, p.name, raw)
}

// Faults returns all that makes raw no valid payload, at most [MaxFaults]; nil if it is one.
func (p *Payload) Faults(raw json.RawMessage) []Fault {
	if p.nullable && isNull(raw) {
		return nil
	}
	return instance{schema: p.schema}.faults(raw)
}

// Relationship is a kind of link from a twin to other twins.
type Relationship struct {
	named
	target     string
	min, max   int
	properties []*Property
	writable   bool
}

// Target is the interface that targets must be; empty if any will do. It need not be in the set.
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

// Schema returns the interface of the component; nil where a partial set lacks it.
func (c *Component) Schema() *Interface { return c.schema }
