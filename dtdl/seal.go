package dtdl

import (
	"slices"
	"strings"
	"sync"
)

// sealer turns checked elements into the graph that callers see.
type sealer struct {
	set      *Set
	inter    map[*elem]*Interface
	filled   map[*elem]struct{} // interfaces that have their contents
	schemas  map[*elem]*Schema
	contents map[*elem]Content
}

func (p *parser) seal() (*Set, error) {
	s := &sealer{
		set:      &Set{interfaces: make(map[string]*Interface), entities: make(map[string]Entity, len(p.order))},
		inter:    make(map[*elem]*Interface),
		filled:   make(map[*elem]struct{}),
		schemas:  make(map[*elem]*Schema),
		contents: make(map[*elem]Content, len(p.order)/2),
	}
	for _, e := range p.order {
		if e.class == classInterface {
			i := &Interface{Element: s.element(e)}
			s.inter[e] = i
			s.set.interfaces[e.id] = i
			s.set.entities[e.id] = i
			s.set.order = append(s.set.order, i)
		}
	}
	for _, e := range p.order {
		if e.class == classInterface {
			s.fill(e)
		}
	}
	slices.SortFunc(s.set.order, func(a, b *Interface) int { return strings.Compare(a.id, b.id) })
	s.set.unresolved = sortedNames(p.missing)
	return s.set, nil
}

// element makes what all elements have in common.
func (s *sealer) element(e *elem) Element {
	out := Element{id: e.id, assigned: e.assigned, class: className(e.class), version: e.version, comment: e.comment, displayName: e.text[0], description: e.text[1]}
	if n := len(e.types) + len(e.undefined); n > 0 {
		out.coTypes = make([]string, 0, n)
		for _, t := range e.types {
			name := termOf(t.id)
			out.coTypes = append(out.coTypes, name)
			if t.kind == semanticType {
				out.semantic = name
			}
		}
		out.coTypes = append(out.coTypes, e.undefined...)
	}
	for i := range e.added {
		v := &e.added[i]
		name := termOf(v.prop.id)
		out.extra = append(out.extra, extension{name, v.raw})
		if v.elem != nil && name == "unit" {
			if out.unit = standardUnits()[v.elem.id]; out.unit != nil {
				s.set.entities[out.unit.id] = out.unit
			}
		}
	}
	out.extra = append(out.extra, e.extra...)
	return out
}

func (s *sealer) named(e *elem) named {
	return named{Element: s.element(e), name: e.name, owner: s.inter[e.partition]}
}

func (s *sealer) fill(e *elem) {
	i := s.inter[e]
	if _, done := s.filled[e]; done {
		return
	}
	s.filled[e] = struct{}{}
	for _, x := range e.get("extends") {
		if base := s.inter[x]; base != nil {
			i.extends = append(i.extends, base)
		}
	}
	for _, x := range closure(e) {
		if x.class != 0 {
			if i.ancestors == nil {
				i.ancestors = make(map[string]struct{})
			}
			i.ancestors[x.id] = struct{}{}
		}
	}
	for _, c := range e.get("schemas") {
		i.schemas = append(i.schemas, s.schema(c))
	}
	list := e.get("contents")
	if x := e.one("extends"); x != nil && slices.Equal(list, x.get("contents")) && s.inter[x] != nil {
		s.fill(x) // it adds nothing to what it extends: both share what never changes
		i.order, i.contents, i.require = s.inter[x].order, s.inter[x].contents, s.inter[x].require
		return
	}
	i.order = make([]Content, 0, len(list))
	i.contents = make(map[string]Content, len(list))
	for _, c := range list {
		content := s.content(c)
		if content == nil {
			continue
		}
		i.order = append(i.order, content)
		i.contents[c.name] = content
		if p, ok := content.(*Property); ok && p.Required() {
			i.require = append(i.require, p.name)
		}
	}
}

// content makes a content once, however many interfaces inherit it.
func (s *sealer) content(e *elem) Content {
	if c, ok := s.contents[e]; ok {
		return c
	}
	var c Content
	switch e.class {
	case classProperty:
		c = s.property(e)
	case classTelemetry:
		c = &Telemetry{named: s.named(e), schema: s.schema(e.one("schema"))}
	case classCommand:
		c = &Command{named: s.named(e), request: s.payload(e.one("request"), "request"), response: s.payload(e.one("response"), "response")}
	case classRelationship:
		c = s.relationship(e)
	case classComponent:
		c = &Component{named: s.named(e), schema: s.inter[e.one("schema")]}
	default: // missing from a partial set
		return nil
	}
	s.contents[e] = c
	s.set.entities[e.id] = c
	return c
}

func (s *sealer) property(e *elem) *Property {
	return &Property{named: s.named(e), schema: s.schema(e.one("schema")), writable: e.writable}
}

func (s *sealer) relationship(e *elem) *Relationship {
	r := &Relationship{named: s.named(e), target: e.target, min: max(e.ranges[0], 0), max: max(e.ranges[1], 0), writable: e.writable}
	for _, v := range e.get("properties") {
		if v.class != classProperty {
			continue
		}
		p := s.property(v)
		r.properties = append(r.properties, p)
		s.set.entities[v.id] = p
	}
	return r
}

func (s *sealer) payload(e *elem, role string) *Payload {
	if e == nil || e.class == 0 {
		return nil
	}
	p := &Payload{Element: s.element(e), name: e.name, schema: s.schema(e.one("schema")), nullable: e.nullable, role: role}
	s.set.entities[e.id] = p
	return p
}

// schema makes a schema once. Schemas of v4 may contain themselves.
func (s *sealer) schema(e *elem) *Schema {
	if e == nil {
		return nil
	}
	if out, ok := s.schemas[e]; ok {
		return out
	}
	if out := standardSchemas()[e.id]; out != nil {
		s.schemas[e] = out
		s.set.entities[e.id] = out
		return out
	}
	out := &Schema{Element: s.element(e), kind: classKinds[e.class]}
	s.schemas[e] = out
	if e.class != 0 {
		s.set.entities[e.id] = out
	}
	switch out.kind {
	case Array:
		out.elem = s.schema(e.one("elementSchema"))
	case Map:
		out.key, out.value = s.mapEntry(e.one("mapKey")), s.mapEntry(e.one("mapValue"))
		if out.value != nil {
			out.elem = out.value.schema
		}
	case Object:
		s.fields(out, e)
	case Enum:
		s.enum(out, e)
	}
	return out
}

func (s *sealer) mapEntry(e *elem) *MapEntry {
	if e == nil || e.class == 0 {
		return nil
	}
	m := &MapEntry{Element: s.element(e), name: e.name, schema: s.schema(e.one("schema"))}
	s.set.entities[e.id] = m
	return m
}

func (s *sealer) fields(out *Schema, e *elem) {
	list := e.get("fields")
	out.fields = make([]Field, 0, len(list))
	out.byName = make(map[string]int, len(list))
	for _, f := range list {
		if f.class == 0 {
			continue
		}
		n := len(out.fields)
		out.byName[f.name] = n
		out.fields = append(out.fields, Field{Element: s.element(f), name: f.name, required: isRequired(f)})
		if out.fields[n].required {
			out.require = append(out.require, n)
		}
	}
	n := 0
	for _, f := range list {
		if f.class != 0 {
			out.fields[n].schema = s.schema(f.one("schema"))
			s.set.entities[f.id] = &out.fields[n]
			n++
		}
	}
}

func isRequired(e *elem) bool {
	return slices.ContainsFunc(e.types, func(t *supplemental) bool { return strings.HasPrefix(t.id, "dtmi:dtdl:extension:requirement:") })
}

func (s *sealer) enum(out *Schema, e *elem) {
	schema := e.one("valueSchema")
	out.integer = schema != nil && schema.class == classInteger
	list := e.get("enumValues")
	out.values = make([]EnumValue, 0, len(list))
	if out.integer {
		out.ints = make(map[int32]int, len(list))
	} else {
		out.strings = make(map[string]int, len(list))
	}
	for _, v := range list {
		if v.class == 0 {
			continue
		}
		value := EnumValue{Element: s.element(v), name: v.name}
		if out.integer {
			value.integer = int32(v.value.num)
			out.ints[value.integer] = len(out.values)
		} else {
			value.text = v.value.text
			out.strings[value.text] = len(out.values)
		}
		out.values = append(out.values, value)
		s.set.entities[v.id] = &out.values[len(out.values)-1]
	}
}

// classKinds gives the kind of a schema by its class.
var classKinds = [...]SchemaKind{
	classArray: Array, classBoolean: Boolean, classByte: Byte, classBytes: Bytes, classDate: Date, classDateTime: DateTime, classDecimal: Decimal,
	classDouble: Double, classDuration: Duration, classEnum: Enum, classFloat: Float, classInteger: Integer, classLong: Long, classMap: Map, classObject: Object,
	classShort: Short, classString: String, classTime: Time, classUnsignedByte: UnsignedByte, classUnsignedInteger: UnsignedInteger,
	classUnsignedLong: UnsignedLong, classUnsignedShort: UnsignedShort, classUuid: UUID,
}

// specialKinds gives the kind of the schemas of the language that are objects with rules of their own.
func specialKind(id string) SchemaKind {
	name, _, _ := strings.Cut(id, ";")
	if rest, ok := strings.CutPrefix(name, "dtmi:standard:schema:geospatial:"); ok {
		for k := Point; k <= MultiPolygon; k++ {
			if kindNames[k] == rest {
				return k
			}
		}
		return 0
	}
	if name == "dtmi:standard:schema:scaledDecimal" {
		return ScaledDecimal
	}
	return 0
}

// standardSchemas are the schemas that every set has and that are compiled once for all, by identifier.
var standardSchemas = sync.OnceValue(func() map[string]*Schema {
	out := make(map[string]*Schema)
	for i := range standardElements {
		e := &standardElements[i]
		if e.alias != "" || e.childOf != "" {
			continue
		}
		kind := specialKind(e.id)
		if kind == 0 && (int(e.class) >= len(classKinds) || classKinds[e.class] == 0 || classKinds[e.class].Complex()) {
			continue
		}
		if kind == 0 {
			kind = classKinds[e.class]
		}
		s := &Schema{kind: kind, Element: Element{id: e.id, class: className(e.class), version: e.version}}
		if e.display != "" {
			s.displayName = Text{[]string{defaultLanguage}, []string{e.display}}
		}
		out[e.id] = s
	}
	for id, s := range out {
		if s.kind == ScaledDecimal {
			_, version, _ := strings.Cut(id, ";")
			s.fields = []Field{
				{Element: Element{id: "dtmi:standard:schema:scaledDecimal:_fields:__scale;" + version, class: "Field", version: s.version}, name: "scale", schema: out["dtmi:dtdl:instance:Schema:short;"+version]},
				{Element: Element{id: "dtmi:standard:schema:scaledDecimal:_fields:__value;" + version, class: "Field", version: s.version}, name: "value", schema: out["dtmi:dtdl:instance:Schema:decimal;"+version]},
			}
			s.byName = map[string]int{"scale": 0, "value": 1}
		}
	}
	return out
})

// standardUnits are the units of all quantities, by identifier.
var standardUnits = sync.OnceValue(func() map[string]*Unit {
	out := make(map[string]*Unit)
	for i := range standardElements {
		e := &standardElements[i]
		u := &Unit{Element: Element{id: e.id, class: className(e.class), version: e.version}, name: termOf(e.id), symbol: e.symbol, kind: termOf(e.childOf)}
		if e.display != "" {
			u.displayName = Text{[]string{defaultLanguage}, []string{e.display}}
		}
		unit := e.class == classEnumValue && u.symbol != ""
		for _, t := range e.types {
			u.coTypes = append(u.coTypes, termOf(t))
			if supplementalOf(t).kind == unitType {
				u.kind, unit = termOf(t), true
			}
		}
		if unit {
			out[e.id] = u
		}
	}
	return out
})

// primitive returns the compiled schema of an element that every set has, or nil.
func primitive(e *elem) *Schema { return standardSchemas()[e.id] }
