package dtdl

import (
	"slices"
	"strings"
	"sync/atomic"
)

// sealer turns checked elements into the graph that callers see. What an element has become is its out.
type sealer struct {
	set           *Set
	parser        *parser
	interfaces    slab[Interface]
	properties    slab[Property]
	telemetries   slab[Telemetry]
	commands      slab[Command]
	relationships slab[Relationship]
	components    slab[Component]
	schemas       slab[Schema]
	enumValues    slab[EnumValue]
	fieldLists    slab[Field]
	payloads      slab[Payload]
	entries       slab[MapEntry]
	lists         slab[Content]
	bases         slab[*Interface]
	words         slab[string]
	extensions    slab[extension]
	places        slab[int32]
}

func (p *parser) seal() (*Set, error) {
	s := &sealer{set: &Set{all: make([]Entity, 0, len(p.order)+len(p.standard))}, parser: p}
	var count [len(classes)]int
	for _, e := range p.order {
		count[e.class]++
	}
	s.interfaces.free = make([]Interface, count[classInterface])
	s.properties.free = make([]Property, count[classProperty])
	s.telemetries.free = make([]Telemetry, count[classTelemetry])
	s.relationships.free = make([]Relationship, count[classRelationship])
	s.set.interfaces = make(map[string]*Interface, count[classInterface])
	s.set.order = make([]*Interface, 0, count[classInterface])
	for _, e := range p.order {
		if e.class == classInterface {
			i := s.interfaces.one()
			s.element(&i.Element, e)
			s.set.interfaces[e.id] = i
			s.is(e, i)
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

// is notes what an element has become.
func (s *sealer) is(e *elem, out Entity) {
	e.out = out
	s.set.all = append(s.set.all, out)
}

// inter returns what an interface has become, nil for none.
func inter(e *elem) *Interface {
	if e == nil {
		return nil
	}
	i, _ := e.out.(*Interface)
	return i
}

// element fills in what all elements have in common.
func (s *sealer) element(out *Element, e *elem) {
	out.id, out.assigned, out.class, out.version = e.id, e.assigned, className(e.class), e.version
	out.comment, out.displayName, out.description = e.comment, e.text[0], e.text[1]
	if n := len(e.types) + len(e.undefined); n > 0 {
		out.coTypes = s.words.list(n)[:0]
		for _, t := range e.types {
			name := termOf(t.id)
			out.coTypes = append(out.coTypes, name)
			if t.kind == semanticType {
				out.semantic = name
			}
		}
		out.coTypes = append(out.coTypes, e.undefined...)
	}
	n := len(e.added) + len(e.extra)
	if n == 0 {
		return
	}
	out.extra = s.extensions.list(n)[:0]
	for i := range e.added {
		v := &e.added[i]
		name := termOf(v.prop.id)
		out.extra = append(out.extra, extension{name, v.raw})
		if v.elem != nil && name == "unit" {
			out.unit = s.unit(v.elem)
		}
	}
	out.extra = append(out.extra, e.extra...)
}

// unit returns the unit that every set has, nil where the element is none.
func (s *sealer) unit(e *elem) *Unit {
	if u, ok := e.out.(*Unit); ok {
		return u
	}
	u := standardUnit(e.id)
	if u != nil {
		s.is(e, u)
	}
	return u
}

func (s *sealer) named(out *named, e *elem) {
	s.element(&out.Element, e)
	out.name, out.owner = e.name, inter(e.partition)
}

func (s *sealer) fill(e *elem) {
	if e.filled {
		return
	}
	e.filled = true
	i := inter(e)
	if bases := e.get("extends"); len(bases) > 0 {
		i.extends = s.bases.list(len(bases))[:0]
		for _, x := range bases {
			if base := inter(x); base != nil {
				i.extends = append(i.extends, base)
			}
		}
	}
	for _, c := range e.get("schemas") {
		i.schemas = append(i.schemas, s.schema(c))
	}
	list := e.get("contents")
	if x := e.one("extends"); x != nil && inter(x) != nil && sameList(list, x.get("contents")) {
		s.fill(x) // it adds nothing to what it extends: both share what never changes
		base := inter(x)
		i.order, i.index, i.require = base.order, base.index, base.require
		return
	}
	i.order = s.lists.list(len(list))[:0]
	for _, c := range list {
		content := s.content(c)
		if content == nil {
			continue
		}
		i.order = append(i.order, content)
		if p, ok := content.(*Property); ok && p.Required() {
			i.require = append(i.require, p.name)
		}
	}
	i.index = s.index(i.order)
}

// sameList reports whether two lists have the same elements.
func sameList(a, b []*elem) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// index makes the index of a list of contents, none for a short one.
func (s *sealer) index(list []Content) contentIndex {
	if len(list) <= shortList {
		return nil
	}
	size := 2 * shortList
	for size < 2*len(list) {
		size *= 2
	}
	x := contentIndex(s.places.list(size))
	for n, c := range list {
		at := c.content().hash
		for x[int(at)&(size-1)] != 0 {
			at++
		}
		x[int(at)&(size-1)] = int32(n) + 1
	}
	return x
}

// content makes a content once, however many interfaces inherit it.
func (s *sealer) content(e *elem) Content {
	if e.out != nil {
		c, _ := e.out.(Content)
		return c
	}
	var c Content
	var n *named
	switch e.class {
	case classProperty:
		p := s.property(e)
		c, n = p, &p.named
	case classTelemetry:
		t := s.telemetries.one()
		s.named(&t.named, e)
		t.schema = s.schema(e.one("schema"))
		c, n = t, &t.named
	case classCommand:
		k := s.commands.one()
		s.named(&k.named, e)
		k.request, k.response = s.payload(e.one("request"), "request"), s.payload(e.one("response"), "response")
		c, n = k, &k.named
	case classRelationship:
		r := s.relationship(e)
		c, n = r, &r.named
	case classComponent:
		k := s.components.one()
		s.named(&k.named, e)
		k.schema = inter(e.one("schema"))
		c, n = k, &k.named
	default: // missing from a partial set
		return nil
	}
	n.hash = hashName(n.name)
	s.is(e, c)
	return c
}

func (s *sealer) property(e *elem) *Property {
	p := s.properties.one()
	s.named(&p.named, e)
	p.schema, p.writable = s.schema(e.one("schema")), e.writable
	return p
}

func (s *sealer) relationship(e *elem) *Relationship {
	r := s.relationships.one()
	s.named(&r.named, e)
	r.target, r.min, r.max, r.writable = e.target, int(max(e.ranges[0], 0)), int(max(e.ranges[1], 0)), e.writable
	for _, v := range e.get("properties") {
		if v.class != classProperty {
			continue
		}
		p := s.property(v)
		r.properties = append(r.properties, p)
		s.is(v, p)
	}
	return r
}

func (s *sealer) payload(e *elem, role string) *Payload {
	if e == nil || e.class == 0 {
		return nil
	}
	p := s.payloads.one()
	s.element(&p.Element, e)
	p.name, p.schema, p.nullable, p.role = e.name, s.schema(e.one("schema")), e.nullable, role
	s.is(e, p)
	return p
}

// schema makes a schema once. Schemas of v4 may contain themselves.
func (s *sealer) schema(e *elem) *Schema {
	if e == nil {
		return nil
	}
	if out, ok := e.out.(*Schema); ok {
		return out
	}
	if out := primitive(e); out != nil {
		s.is(e, out)
		return out
	}
	out := s.schemas.one()
	s.element(&out.Element, e)
	out.kind = classKinds[e.class]
	if e.out = out; e.class != 0 {
		s.is(e, out)
	}
	switch out.kind {
	case Array:
		out.elem = s.schema(e.one("elementSchema"))
	case Map:
		out.key, out.value = s.mapEntry(e.one("mapKey")), s.mapEntry(e.one("mapValue"))
		if out.value != nil {
			out.elem = out.value.schema
		} else {
			out.elem = s.schema(e.one("mapValue")) // missing from a partial set: nothing is a value
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
	m := s.entries.one()
	s.element(&m.Element, e)
	m.name, m.schema = e.name, s.schema(e.one("schema"))
	s.is(e, m)
	return m
}

func (s *sealer) fields(out *Schema, e *elem) {
	list := e.get("fields")
	out.fields = s.fieldLists.list(len(list))[:0]
	out.byName = make(map[string]int, len(list))
	for _, f := range list {
		if f.class == 0 {
			continue
		}
		n := len(out.fields)
		out.byName[f.name] = n
		out.fields = out.fields[:n+1]
		field := &out.fields[n]
		s.element(&field.Element, f)
		field.name, field.required = f.name, isRequired(f)
		s.is(f, field)
		if field.required {
			out.require = append(out.require, n)
		}
	}
	n := 0
	for _, f := range list {
		if f.class != 0 {
			out.fields[n].schema = s.schema(f.one("schema"))
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
	out.values = s.enumValues.list(len(list))[:0]
	if out.integer {
		out.ints = make(map[int32]int, len(list))
	} else {
		out.strings = make(map[string]int, len(list))
	}
	for _, v := range list {
		if v.class == 0 {
			continue
		}
		n := len(out.values)
		out.values = out.values[:n+1]
		value := &out.values[n]
		s.element(&value.Element, v)
		value.name = v.name
		if out.integer {
			value.integer = int32(v.value.num)
			out.ints[value.integer] = n
		} else {
			value.text = v.value.text
			out.strings[value.text] = n
		}
		s.is(v, value)
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

// once returns what the cache holds, or else what is made first.
func once[T any](cache *atomic.Pointer[T], make func() *T) *T {
	if v := cache.Load(); v != nil {
		return v
	}
	cache.CompareAndSwap(nil, make())
	return cache.Load()
}

// standardSchema returns the compiled schema that all sets share of an element that every set has, nil where that is none.
func standardSchema(e *standardElement) *Schema {
	if e == nil || e.alias != "" || e.childOf != "" {
		return nil
	}
	kind := specialKind(e.id)
	if kind == 0 && (int(e.class) >= len(classKinds) || classKinds[e.class] == 0 || classKinds[e.class].Complex()) {
		return nil
	}
	if kind == 0 {
		kind = classKinds[e.class]
	}
	return once(&e.compiled, func() *Schema {
		s := &Schema{kind: kind, Element: Element{id: e.id, class: className(e.class), version: e.version, displayName: englishText(e.display)}}
		if kind != ScaledDecimal {
			return s
		}
		_, version, _ := strings.Cut(e.id, ";")
		s.byName = make(map[string]int)
		for n, f := range [][2]string{{"scale", "short"}, {"value", "decimal"}} {
			id := "dtmi:standard:schema:scaledDecimal:_fields:__" + f[0] + ";" + version
			s.byName[f[0]] = n
			s.fields = append(s.fields, Field{Element: Element{id: id, class: "Field", version: s.version}, name: f[0],
				schema: standardSchema(findStandard("dtmi:dtdl:instance:Schema:" + f[1] + ";" + version))})
		}
		return s
	})
}

func englishText(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{[]phrase{{defaultLanguage, text}}}
}

// standardUnit returns the unit with the identifier, nil if there is none.
func standardUnit(id string) *Unit {
	e := findStandard(id)
	if e == nil {
		return nil
	}
	kind, unit := termOf(e.childOf), e.class == classEnumValue && e.symbol != ""
	for _, t := range e.types {
		if supplementalOf(t).kind == unitType {
			kind, unit = termOf(t), true
		}
	}
	if !unit {
		return nil
	}
	return once(&e.unit, func() *Unit {
		u := &Unit{Element: Element{id: e.id, class: className(e.class), version: e.version, displayName: englishText(e.display)}, name: termOf(e.id), symbol: e.symbol, kind: kind}
		for _, t := range e.types {
			u.coTypes = append(u.coTypes, termOf(t))
		}
		return u
	})
}

// primitive returns the compiled schema of an element that every set has, or nil.
func primitive(e *elem) *Schema {
	if e.src != nil || e.class == 0 {
		return nil
	}
	return standardSchema(findStandard(e.id))
}
