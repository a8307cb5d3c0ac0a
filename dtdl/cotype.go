package dtdl

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// types reads @type: exactly one class of the language, and any number of co-types.
func (b *builder) types(t *node, e *Element, allowed []string) (class string, ok bool) {
	var co []*node
	for _, item := range t.list() {
		if item.kind != '"' {
			b.fail(item.start, "badType", "@type", "found "+item.what(), "a string or an array of strings", "")
			return "", false
		}
		name := t.dialect.term("dtmi:dtdl:class:", item.text)
		switch {
		case slices.Contains(allowed, name) && (class == "" || class == name):
			class = name
		case classes[name] != nil:
			b.fail(item.start, "badType", "@type", "the type "+name+" does not belong here", strings.Join(allowed, ", "), "")
			return "", false
		default:
			co = append(co, item)
		}
	}
	if class == "" {
		b.fail(t.start, "missingType", "@type", "the element has no type of the language", strings.Join(allowed, ", "), near(t, allowed))
		return "", false
	}
	for _, item := range co {
		if !b.coType(item, class) {
			continue
		}
		e.coTypes = append(e.coTypes, item.text)
		if quantity(item) && e.semantic != "" {
			b.fail(item.start, "twoSemanticTypes", "@type", "the element is of the semantic types "+clip(e.semantic)+" and "+clip(item.text), "at most one semantic type", "")
		} else if quantity(item) {
			e.semantic = item.text
		}
	}
	return class, true
}

// near finds a type that was meant with another spelling.
func near(t *node, allowed []string) string {
	for _, item := range t.list() {
		for _, a := range allowed {
			if strings.EqualFold(item.text, a) {
				return "write " + strconv.Quote(a) + ": the language distinguishes upper and lower case"
			}
		}
	}
	return ""
}

func (b *builder) coType(item *node, class string) bool {
	d := item.dialect
	name := item.text
	if strings.HasPrefix(name, "dtmi:") {
		if !isDTMI(name) {
			b.fail(item.start, "badType", "@type", "the type is not a valid identifier", "a term or a DTMI", "")
			return false
		}
	}
	if d.version == 2 {
		return true
	}
	if a, ok := adjuncts[name]; ok && d.extensions[a.extension] >= a.from {
		if !slices.Contains(a.on, class) {
			b.fail(item.start, "badCoType", "@type", name+" cannot be a co-type of "+class, name+" on "+strings.Join(a.on, ", "), "")
			return false
		}
		return true
	}
	_, operations := d.extensions[iotOperations]
	switch {
	case quantity(item) && !slices.Contains(quantities, class):
		b.fail(item.start, "badCoType", "@type", "the semantic type "+clip(name)+" cannot be a co-type of "+class, "a semantic type on "+strings.Join(quantities, ", "), "")
		return false
	case quantity(item), d.undefined && (wordOnly(name) || isDTMI(name)), operations && (isTitle(name) || isDTMI(name)):
		return true
	}
	hint := fmt.Sprintf("a semantic type needs \"dtmi:dtdl:extension:quantitativeTypes;%d\" in @context", d.version-2)
	if a, ok := adjuncts[name]; ok {
		hint = fmt.Sprintf("it needs \"dtmi:dtdl:extension:%s;%d\" in @context", a.extension, max(a.from, d.version-2))
	}
	b.fail(item.start, "undefinedType", "@type", "the type "+strconv.QuoteToASCII(clip(name))+" is not defined", "a type of the language or of an extension in @context", hint)
	return false
}

// quantities are the classes that a semantic type of a quantity can be on; on an EnumValue it describes a unit.
var quantities = []string{"CommandRequest", "CommandResponse", "EnumValue", "Field", "MapValue", "Property", "Telemetry"}

// quantity reports whether a co-type is taken for a semantic type of the extension quantitativeTypes: every
// type is that no other extension may define.
func quantity(item *node) bool {
	d := item.dialect
	_, quantitative := d.extensions[quantitativeTypes]
	_, operations := d.extensions[iotOperations]
	return quantitative && !operations && !d.undefined && d.version > 2 && foreign(item.text) && (isTitle(item.text) || isDTMI(item.text))
}

// measured reports what an element of a semantic type lacks to be a quantity: a unit and, when the interface
// is linked, a numeric schema.
func (b *builder) measured(n *node, e *Element, slot **Schema) {
	if e.semantic == "" {
		return
	}
	if n.get("unit") == nil {
		b.fail(n.start, "missingProperty", "unit", "an element of the semantic type "+clip(e.semantic)+" lacks a unit", "a unit such as \"watt\"", "")
	}
	b.d.quantities = append(b.d.quantities, schemaReference{reference{e.semantic, n.start}, slot, b.path})
}

func isTitle(s string) bool { return s != "" && s[0] >= 'A' && s[0] <= 'Z' && wordOnly(s) }

// extra keeps a property that an extension defines, and reports one that nothing defines.
func (b *builder) extra(d *dialect, e *Element, class string, m member) {
	known := d.undefined && slices.ContainsFunc(e.coTypes, foreign) && (wordOnly(m.key) || isDTMI(m.key))
	switch {
	case strings.HasPrefix(m.key, "@"):
		known = false
	case d.version == 2:
		known = true // the language itself lets v2 documents hold terms that it does not define
	case m.key == "unit":
		_, known = d.extensions[quantitativeTypes]
		known = known && len(e.coTypes) > 0
	}
	for _, t := range e.coTypes {
		known = known || slices.Contains(adjuncts[t].props, m.key)
	}
	if _, operations := d.extensions[iotOperations]; operations && len(e.coTypes) > 0 {
		known = known || wordOnly(m.key)
	}
	if m.key == "unit" && known {
		unit := single(m.value)
		if e.unit = unit.text; unit.kind != '"' && len(e.coTypes) > 0 {
			b.fail(m.value.start, "badUnit", m.key, "found "+m.value.what(), "the name of a unit, a string", "")
			return
		}
	}
	if known {
		e.extra = append(e.extra, extension{m.key, bytes.Clone(b.src.data[m.value.start:m.value.end])})
		return
	}
	expected := strings.Join(append([]string{"@type", "@id", "comment", "description", "displayName"}, classes[class]...), ", ")
	hint := ""
	for _, p := range classes[class] {
		if strings.EqualFold(p, m.key) {
			hint = "write " + strconv.Quote(p) + ": the language distinguishes upper and lower case"
		}
	}
	if m.key == "unit" {
		hint = fmt.Sprintf("a unit needs \"dtmi:dtdl:extension:quantitativeTypes;%d\" in @context and a semantic type such as \"Power\" in @type", d.version-2)
	}
	b.fail(m.at, "unknownProperty", m.key, class+" has no such property", expected, hint)
}
