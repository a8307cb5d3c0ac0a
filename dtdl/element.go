package dtdl

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// builder turns the tree of one interface into a draft.
type builder struct {
	*parser
	src  *source
	d    *draft
	path string // the element at hand, for errors
}

func (b *builder) fail(at int, validation, property, detail, expected, hint string) {
	b.report(b.src, at, Error{Validation: validation, Element: b.path, Property: property, Detail: detail, Expected: expected, Hint: hint})
}

// within names the element that the following errors are in; the result restores the name.
func (b *builder) within(name string) func() {
	outer := b.path
	if name != "" {
		b.path += "/" + clip(name)
	}
	return func() { b.path = outer }
}

// common are the properties of all elements.
var common = []string{"comment", "description", "displayName"}

// sameVersion are the properties whose values must be in the version of the element that has them.
var sameVersion = []string{"schemas", "request", "response", "enumValues", "fields", "mapKey", "mapValue"}

// element reads what all elements have in common. class is one of allowed; where typed is false @type may be
// left out and the first of allowed is meant. It is false where n is no such element.
func (b *builder) element(n *node, property string, typed bool, allowed ...string) (e Element, class string, ok bool) {
	want := "an object of type " + strings.Join(allowed, ", ")
	if n.kind != '{' {
		b.fail(n.start, "notElement", property, "found "+n.what(), want, "")
		return e, "", false
	}
	d := n.dialect
	if d == nil {
		return e, "", false // its context is at fault, which is reported
	}
	if o := n.outer; o != nil && (d.version > o.version || d.version < o.version && slices.Contains(sameVersion, property)) {
		b.fail(n.start, "badVersion", property, fmt.Sprintf("an element of DTDL v%d is in one of v%d", d.version, o.version), "the same version, or an older one for contents, schemas of contents and interfaces", "")
	}
	for i := range n.members {
		m := &n.members[i]
		if key := d.term("dtmi:dtdl:property:", m.key); key != m.key {
			if n.get(key) != nil {
				b.fail(m.at, "duplicateKey", key, "the property is there twice, by its term and by its identifier", "one of the two", "")
			}
			m.key = key
		}
	}
	t := n.get("@type")
	if t == nil && typed {
		b.fail(n.start, "missingType", "@type", "the element has no type", want, "")
		return e, "", false
	}
	class = allowed[0]
	if t != nil {
		if class, ok = b.types(t, &e, allowed); !ok {
			return e, "", false
		}
	}
	if id := n.get("@id"); id != nil {
		e.id, _ = b.define(id, class == "Interface")
	}
	for _, m := range n.members {
		switch key := m.key; {
		case key == "@type", key == "@id", m.value.empty() && slices.Contains(common, key):
		case key == "comment":
			e.comment, _ = b.text(m.value, m.key, 512)
		case key == "displayName":
			e.displayName = b.localized(m.value, m.key, d.limits.displayName)
		case key == "description":
			e.description = b.localized(m.value, m.key, d.limits.description)
		default:
			if !slices.Contains(classes[class], m.key) || m.key == "nullable" && d.version < 4 {
				b.extra(d, &e, class, m)
			}
		}
	}
	for _, t := range e.coTypes {
		if p := adjuncts[t].required; p != "" && d.version > 2 && n.get(p) == nil {
			b.fail(n.start, "missingProperty", p, "an element of type "+t+" lacks this property", "a value for it", "")
		}
	}
	return e, class, true
}

// define reads the @id of an element and enters it in the set.
func (b *builder) define(n *node, isInterface bool) (string, bool) {
	limit := n.dialect.limits.elementID
	if isInterface {
		limit = n.dialect.limits.interfaceID
	}
	id, ok := b.identifier(n, "@id", limit)
	if !ok {
		return "", false
	}
	if _, twice := b.ids[id]; twice {
		b.fail(n.start, "duplicateId", "@id", "the identifier "+strconv.Quote(clip(id))+" is already in use in the set", "a unique identifier", "give one of the two a new version or path")
		return "", false
	}
	b.ids[id] = struct{}{}
	return id, true
}

// identifier reads a DTMI that a document may define or refer to.
func (b *builder) identifier(n *node, property string, limit int) (string, bool) {
	if n.kind != '"' {
		b.fail(n.start, "notString", property, "found "+n.what(), "an identifier, a string", "")
		return "", false
	}
	s := n.text
	const expected, hint = "an identifier of letters, digits and underscores", "write it like dtmi:com:example:Pump;1"
	d, err := ParseDTMI(s)
	switch {
	case err != nil:
		d := DTMI{text: s}
		b.fail(n.start, "badDtmi", property, strconv.QuoteToASCII(clip(s))+" is not a DTMI: "+d.parse(), expected, hint)
	case d.IsSystem() || d.fragment != "":
		b.fail(n.start, "systemDtmi", property, strconv.Quote(clip(s))+" is a system identifier: a label begins with an underscore, or it has a fragment", expected, hint)
	case d.IsReserved():
		b.fail(n.start, "reservedId", property, strconv.Quote(clip(s))+" belongs to the language", "an identifier that does not begin with dtmi:dtdl: or dtmi:standard:", "")
	case n.dialect.version == 2 && (d.major == 0 || d.minor != 0):
		b.fail(n.start, "badDtmi", property, strconv.Quote(clip(s))+" has no version of one part", "a version such as ;1, which DTDL v2 requires", "")
	case len(s) > limit:
		b.fail(n.start, "idTooLong", property, fmt.Sprintf("the identifier has %d characters", len(s)), fmt.Sprintf("at most %d", limit), "")
	default:
		return s, true
	}
	return "", false
}

// single unwraps an array of one item, which JSON-LD does not distinguish from the item.
func single(n *node) *node {
	if n.kind == '[' && len(n.items) == 1 {
		return n.items[0]
	}
	return n
}

// literal unwraps a JSON-LD value object, {"@value": true, "@type": "xsd:boolean"}; the type may be left out.
func literal(n *node) *node {
	n = single(n)
	value := n.get("@value")
	if n.kind != '{' || value == nil {
		return n
	}
	for _, m := range n.members {
		switch t := single(m.value); {
		case m.key == "@value":
		case m.key == "@type" && t.kind == '"' && isValueType(t.text, value):
		default:
			return n
		}
	}
	return value
}

// valueTypes gives the kinds of node that a type of XML Schema goes with.
var valueTypes = map[string]string{"string": "\"", "boolean": "tf", "integer": "0"}

func isValueType(t string, value *node) bool {
	name, ok := strings.CutPrefix(t, "xsd:")
	if !ok {
		name, ok = strings.CutPrefix(t, "http://www.w3.org/2001/XMLSchema#")
	}
	return ok && strings.IndexByte(valueTypes[name], value.kind) >= 0
}

// text reads a string of at most limit characters.
func (b *builder) text(n *node, property string, limit int) (string, bool) {
	n = literal(n)
	if n.kind != '"' {
		b.fail(n.start, "notString", property, "found "+n.what(), "a string", "")
		return "", false
	}
	if c := utf8.RuneCountInString(n.text); c > limit {
		b.fail(n.start, "textTooLong", property, fmt.Sprintf("the text has %d characters", c), fmt.Sprintf("at most %d", limit), "")
		return "", false
	}
	return n.text, true
}

// localized reads a string, which is English, an object of language tags, or an array of strings and of
// objects with "@value" and "@language".
func (b *builder) localized(n *node, property string, limit int) (t Text) {
	texts := make(map[string]string)
	add := func(lang *node, tag string, value *node) {
		if !isLanguage(tag) {
			b.fail(lang.start, "badLanguage", property, strconv.QuoteToASCII(clip(tag))+" is not a language tag", "a tag of BCP 47 such as en or pt-BR", "")
			return
		}
		if value.kind != '"' {
			b.fail(value.start, "notString", property, "found "+value.what(), "a string", "")
			return
		}
		s, ok := b.text(value, property, limit)
		if _, twice := texts[tag]; ok && twice {
			b.fail(lang.start, "duplicateLanguage", property, "there are two texts in the language "+tag, "one text in each language", "")
		}
		texts[tag] = s
	}
	for _, item := range n.list() {
		lang := item.get("@language")
		switch {
		case n.kind == '[' && item.kind == '{' && lang != nil && len(item.members) == 2 && item.get("@value") != nil:
			add(lang, lang.text, item.get("@value"))
		case item.kind == '{' && item.get("@value") == nil && n.kind == '{':
			for _, m := range item.members {
				add(m.value, m.key, m.value)
			}
		default:
			add(item, "en", literal(item))
		}
	}
	t.langs = slices.Sorted(maps.Keys(texts))
	for _, tag := range t.langs {
		t.texts = append(t.texts, texts[tag])
	}
	return t
}

// isLanguage reports whether s has the form of a language tag: a language of 2 to 4 letters and further parts.
func isLanguage(s string) bool {
	for i, part := range strings.Split(s, "-") {
		if part == "" || len(part) > 8 || strings.Contains(part, "_") || !wordOnly(part) || i == 0 && (len(part) < 2 || !isName(part, 4)) {
			return false
		}
	}
	return true
}

// name reads the required name of an element.
func (b *builder) name(n *node) string {
	v := n.get("name")
	if v == nil {
		b.fail(n.start, "missingName", "name", "the element has no name", "a name such as activePower", "")
		return ""
	}
	s, ok := b.text(v, "name", MaxDTMI)
	if !ok {
		return ""
	}
	if limit := n.dialect.limits.name; !isName(s, limit) {
		b.fail(v.start, "badName", "name", strconv.QuoteToASCII(clip(s))+" is not a name",
			fmt.Sprintf("letters, digits and underscores, first a letter, last a letter or digit, at most %d", limit), "")
		return ""
	}
	return s
}

// boolean reads an optional boolean, false by default.
func (b *builder) boolean(n *node, property string) bool {
	v := n.get(property)
	if v == nil {
		return false
	}
	v = literal(v)
	if v.kind != 't' && v.kind != 'f' {
		b.fail(v.start, "notBoolean", property, "found "+v.what(), "true or false", "")
	}
	return v.kind == 't'
}

// whole reads an optional integer of 32 bits.
func (b *builder) whole(n *node, property string) (value int, ok bool) {
	v := n.get(property)
	if v == nil {
		return 0, false
	}
	v = literal(v)
	i, err := strconv.ParseInt(v.text, 10, 32)
	if v.kind != '0' || err != nil {
		b.fail(v.start, "notInteger", property, "found "+v.what()+" that is not an integer of 32 bits", "a whole number", "")
		return 0, false
	}
	return int(i), true
}
