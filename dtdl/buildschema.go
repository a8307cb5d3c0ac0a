package dtdl

import (
	"strconv"
)

// rootSchema reads the schema of a content or of a payload.
func (b *builder) rootSchema(n *node, slot **Schema, property bool) {
	v := n.get("schema")
	if v == nil {
		b.fail(n.start, "missingSchema", "schema", "the element has no schema", "a schema such as \"double\"", "")
		return
	}
	b.schema(v, "schema", slot)
	b.d.roots = append(b.d.roots, root{slot: slot, at: v.start, element: b.path, property: property})
}

// reusable reads one of the schemas of an interface.
func (b *builder) reusable(n *node) {
	s := b.complex(n, "schemas")
	if s == nil {
		return
	}
	if s.id == "" && n.get("@id") == nil {
		b.fail(n.start, "missingId", "@id", "the reusable schema has no identifier", "an identifier such as dtmi:com:example:Pump:curve;1", "")
	}
	b.d.Interface.schemas = append(b.d.Interface.schemas, s)
	slot := &b.d.Interface.schemas[len(b.d.Interface.schemas)-1]
	b.d.roots = append(b.d.roots, root{slot: slot, at: n.start, element: b.path})
}

// schema reads a term, an identifier, or a schema written in place, and fills slot now or when the
// interface is linked. slot must stay where it is.
func (b *builder) schema(n *node, property string, slot **Schema) {
	ref, ok := asReference(n)
	if !ok {
		*slot = b.complex(single(n), property)
		return
	}
	if s := ref.dialect.primitive(ref.text); s != nil {
		*slot = s
		return
	}
	if len(ref.text) < 5 || ref.text[:5] != "dtmi:" {
		b.fail(ref.start, "badSchema", property, strconv.QuoteToASCII(clip(ref.text))+" is not a schema of DTDL v"+strconv.Itoa(ref.dialect.version),
			"a primitive such as boolean, double, integer, string, dateTime, or the identifier of a schema of this interface", b.nearSchema(ref.text))
		return
	}
	if id, ok := b.identifier(ref, property, ref.dialect.limits.elementID); ok {
		b.d.schemas = append(b.d.schemas, schemaReference{reference{id, ref.start}, slot, b.path})
	}
}

func (b *builder) nearSchema(s string) string {
	for k := Boolean; k < Array; k++ {
		if kindNames[k] == s {
			return "it exists from DTDL v4 on: use \"dtmi:dtdl:context;4\""
		}
	}
	switch s {
	case "int", "int32", "Integer", "number":
		return "write \"integer\""
	case "bool", "Boolean":
		return "write \"boolean\""
	case "Double", "float64":
		return "write \"double\""
	case "String", "str":
		return "write \"string\""
	case "datetime", "timestamp":
		return "write \"dateTime\""
	}
	return ""
}

// complex reads an Array, Enum, Map or Object written in place; nil if it is none.
func (b *builder) complex(n *node, property string) *Schema {
	e, class, ok := b.element(n, property, true, "Array", "Enum", "Map", "Object")
	if !ok {
		return nil
	}
	s := &Schema{Element: e}
	b.d.elements++
	if e.id != "" {
		b.d.local[e.id] = s
	}
	switch class {
	case "Array":
		s.kind = Array
		b.required(n, "elementSchema", "a schema such as \"double\"", func(v *node) { b.schema(v, "elementSchema", &s.element) })
	case "Enum":
		s.kind = Enum
		b.enum(n, s)
	case "Map":
		s.kind = Map
		b.mapping(n, s)
	case "Object":
		s.kind = Object
		b.object(n, s)
	}
	return s
}

// required hands over the property if the element has it and reports its absence.
func (b *builder) required(n *node, property, expected string, read func(*node)) {
	if v := n.get(property); v != nil {
		read(v)
		return
	}
	b.fail(n.start, "missingProperty", property, "the element lacks this property", expected, "")
}

func (b *builder) mapping(n *node, s *Schema) {
	const schema = "a schema such as \"double\""
	b.required(n, "mapKey", "an object with \"name\" and \"schema\": \"string\"", func(v *node) {
		v = single(v)
		if _, _, ok := b.element(v, "mapKey", false, "MapKey"); !ok {
			return
		}
		s.key = b.name(v)
		b.required(v, "schema", "\"string\"", func(v *node) {
			ref, ok := asReference(v)
			if !ok || ref.dialect.primitive(ref.text) != builtin[String] {
				b.fail(v.start, "badMapKey", "schema", "the keys of a map are not strings", "\"string\"", "")
			}
		})
	})
	b.required(n, "mapValue", "an object with \"name\" and \"schema\"", func(v *node) {
		v = single(v)
		e, _, ok := b.element(v, "mapValue", false, "MapValue")
		if !ok {
			return
		}
		s.value = b.name(v)
		b.d.elements++
		defer b.within(s.value)()
		b.required(v, "schema", schema, func(v *node) { b.schema(v, "schema", &s.element) })
		b.measured(v, &e, &s.element)
	})
}

func (b *builder) object(n *node, s *Schema) {
	v := n.get("fields")
	s.byName = make(map[string]int)
	if v == nil {
		b.atLeastOne(n, "fields")
		return
	}
	items := v.list()
	if len(items) == 0 {
		b.atLeastOne(v, "fields")
	}
	b.atMost(v, "fields", len(items), n.dialect.limits.fields)
	s.fields = make([]Field, 0, len(items)) // the slots of the schemas must not move
	for _, item := range items {
		e, _, ok := b.element(item, "fields", false, "Field")
		if !ok {
			continue
		}
		f := Field{Element: e, name: b.name(item), required: e.HasCoType("Required")}
		b.d.elements++
		if _, twice := s.byName[f.name]; twice && f.name != "" {
			b.fail(item.start, "duplicateName", "name", "the object has two fields of the name "+strconv.Quote(f.name), "a unique name", "")
			continue
		}
		at := len(s.fields)
		s.fields = append(s.fields, f)
		s.byName[f.name] = at
		if f.required {
			s.require = append(s.require, at)
		}
		restore := b.within(f.name)
		b.required(item, "schema", "a schema such as \"double\"", func(v *node) { b.schema(v, "schema", &s.fields[at].schema) })
		b.measured(item, &e, &s.fields[at].schema)
		restore()
	}
}

// atLeastOne reports an empty set, which only DTDL v2 forbids.
func (b *builder) atLeastOne(n *node, property string) {
	if n.dialect.version == 2 {
		b.fail(n.start, "tooFew", property, "there are none", "at least one in DTDL v2", "")
	}
}

func (b *builder) enum(n *node, s *Schema) {
	b.required(n, "valueSchema", "\"integer\" or \"string\"", func(v *node) {
		ref, ok := asReference(v)
		var kind *Schema
		if ok {
			kind = ref.dialect.primitive(ref.text)
		}
		s.integer = kind == builtin[Integer]
		if !s.integer && kind != builtin[String] {
			b.fail(v.start, "badValueSchema", "valueSchema", "the values of an enum are neither integers nor strings", "\"integer\" or \"string\"", "")
		}
	})
	s.ints, s.strings = make(map[int32]int), make(map[string]int)
	v := n.get("enumValues")
	if v == nil {
		b.atLeastOne(n, "enumValues")
		return
	}
	items := v.list()
	if len(items) == 0 {
		b.atLeastOne(v, "enumValues")
	}
	b.atMost(v, "enumValues", len(items), n.dialect.limits.enumValues)
	names := make(map[string]struct{}, len(items))
	for _, item := range items {
		e, _, ok := b.element(item, "enumValues", false, "EnumValue")
		if !ok {
			continue
		}
		value := EnumValue{Element: e, name: b.name(item)}
		if _, twice := names[value.name]; twice && value.name != "" {
			b.fail(item.start, "duplicateName", "name", "the enum has two values of the name "+strconv.Quote(value.name), "a unique name", "")
			continue
		}
		names[value.name] = struct{}{}
		restore := b.within(value.name)
		b.enumValue(item, s, value)
		restore()
	}
}

func (b *builder) enumValue(n *node, s *Schema, value EnumValue) {
	at, twice := len(s.values), false
	v := n.get("enumValue")
	switch {
	case v == nil:
		b.fail(n.start, "missingProperty", "enumValue", "the value of the enum has no value on the wire", "an integer or a string", "")
		return
	case s.integer:
		i, ok := b.whole(n, "enumValue")
		if !ok {
			return
		}
		value.integer = int32(i)
		_, twice = s.ints[value.integer]
		s.ints[value.integer] = at
	default:
		t, ok := b.text(v, "enumValue", MaxInterfaceSize)
		if !ok {
			return
		}
		value.text = t
		_, twice = s.strings[t]
		s.strings[t] = at
	}
	if twice {
		b.fail(v.start, "duplicateValue", "enumValue", "the enum has two values that are the same on the wire", "a unique value", "")
		return
	}
	s.values = append(s.values, value)
}
