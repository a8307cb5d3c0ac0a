package dtdl

import (
	"slices"
	"strconv"
	"strings"
)

// check is what a supplemental type demands of a value of an object property.
type check struct {
	link  *link
	rule  *constraint
	class string // or: the type that the property is declared with
}

// check checks linked elements: against the demands of supplemental types, and against the restrictions of
// their classes that concern more than one element.
func (p *parser) check() {
	for _, u := range p.units {
		u.incomplete = u.bad
	}
	for i := range p.checks {
		p.unit = p.checks[i].link.owner.unit
		p.value(&p.checks[i])
	}
	p.inherit()
	references := make(map[reference]*elem)
	for _, e := range p.order {
		p.unit = e.unit
		p.restrictions(e)
		p.siblings(e, references)
		p.parents(e)
	}
	for i := range p.checks {
		if c := &p.checks[i]; c.rule != nil && c.rule.parentOf != "" {
			p.unit = c.link.owner.unit
			p.overridden(c)
		}
	}
	p.unit = nil
}

// value checks the type and the identity of a value.
func (p *parser) value(c *check) {
	e, o := c.link.elem, c.link.owner
	if e.class == 0 {
		return
	}
	types, text, values, valuesText := []string{c.class}, termOf(c.class), []string(nil), ""
	if c.rule != nil {
		types, text, values, valuesText = c.rule.types, c.rule.typesText, c.rule.values, c.rule.valuesText
	}
	if len(types) > 0 && !slices.ContainsFunc(types, e.hasType) {
		p.report("notRequiredType", c.link.keyPlace(), place{}, Error{Element: o.id, Property: c.link.prop, Related: e.id, Type: text})
	}
	if len(values) > 0 && !slices.Contains(values, e.id) {
		p.report("notRequiredValue", c.link.keyPlace(), place{}, Error{Element: o.id, Property: c.link.prop, Related: e.id, Restriction: valuesText})
	}
}

// restrictions checks one element.
func (p *parser) restrictions(e *elem) {
	for _, t := range e.types {
		for _, x := range t.excludes {
			if e.hasExactly(x) {
				p.report("disallowedCocotype", e.typePlace(), place{}, Error{Element: e.id, Type: termOf(t.id), Restriction: termOf(x)})
			}
		}
	}
	if len(e.objects) == 0 {
		return // all that follows is about these
	}
	for _, index := range classes[e.class].props {
		prop := &properties[index]
		if r := prop.rule(e.version); r.allowed && prop.kind == objectProp {
			p.objectRule(e, prop, r)
		}
	}
	for i := range controls {
		if c := &controls[i]; c.version == e.version && c.root == e.class {
			p.control(e, c)
		}
	}
}

func (p *parser) objectRule(e *elem, prop *property, r *rule) {
	list := e.get(prop.name)
	if prop.key == "" {
		for _, u := range r.unique {
			p.uniqueAmong(e, prop.name, u, list)
		}
	}
	if r.max > 0 && prop.plural && len(list) > r.max && distinct(list) > r.max {
		p.report("objectCountAboveMax", keyAt(e.src, e.member(prop.name)), place{}, Error{Element: e.id, Property: prop.name, found: strconv.Itoa(len(list)), Expected: "at most " + strconv.Itoa(r.max)})
	}
	if len(r.values) == 0 && len(e.added) == 0 {
		return
	}
	for _, v := range list {
		if len(r.values) > 0 && !slices.Contains(r.values, v.id) {
			p.report("incorrectPropertyValue", keyAt(e.src, e.member(prop.name)), place{}, Error{Element: e.id, Property: prop.name, Value: termOf(v.id), Restriction: termsText(r.values)})
		}
		p.conforms(e, prop.name, v)
	}
}

// termsText lists the terms of identifiers once each.
func termsText(ids []string) string {
	var out []string
	for _, id := range ids {
		if t := "'" + termOf(id) + "'"; !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " or ")
}

func distinct(list []*elem) int {
	if len(list) < 2 {
		return len(list)
	}
	seen := make(map[*elem]struct{}, len(list))
	for _, e := range list {
		seen[e] = struct{}{}
	}
	return len(seen)
}

// uniqueAmong reports values of a property that agree in what must differ.
func (p *parser) uniqueAmong(e *elem, prop, key string, list []*elem) {
	if len(list) < 2 {
		return
	}
	seen := make(map[string]*elem, len(list))
	for _, v := range list {
		text, ok := v.uniqueText(key)
		if !ok {
			continue
		}
		first, twice := seen[text]
		switch {
		case !twice:
			seen[text] = v
		case first != v:
			p.report("nonUniquePropertyValue", keyAt(first.src, first.member(key)), keyAt(v.src, v.member(key)), Error{Element: e.id, Property: prop, AuxProperty: key, Value: text})
		}
	}
}

// uniqueText is the value of a literal property as errors show it.
func (e *elem) uniqueText(key string) (string, bool) {
	if key == "name" {
		return e.name, e.named
	}
	return e.value.String(), e.value.kind != 0
}

func (l literal) String() string {
	if l.kind == '0' {
		return strconv.FormatFloat(l.num, 'g', -1, 64)
	}
	return l.text
}

// quoted is the literal as it is written in JSON.
func (l literal) quoted() string {
	if l.kind == '"' {
		return strconv.Quote(clip(l.text))
	}
	return l.String()
}

// conforms checks values that supplemental types say are instances of a schema.
func (p *parser) conforms(e *elem, prop string, schema *elem) {
	for i := range e.added {
		v := &e.added[i]
		if v.prop.instance != prop {
			continue
		}
		s := primitive(schema)
		if s == nil {
			continue
		}
		raw := []byte(v.String())
		if v.kind == '"' {
			raw = v.raw
		}
		if err := s.Validate(raw); err != nil {
			p.report("nonConformantPropertyValue", at(e.src, v.at.value), keyAt(e.src, e.member(prop)), Error{Element: e.id, Property: termOf(v.prop.id), Restriction: prop, Value: v.String(), Expected: "a value of " + termOf(schema.id)})
		}
	}
}

// reference is a sibling that an element refers to, by the value of a property that no two may share.
type reference struct {
	parent *elem
	prop   string
	key    string
	path   string
}

// siblings checks what supplemental types demand of the sibling that an element refers to by name, and of
// values that differ among siblings.
func (p *parser) siblings(e *elem, seen map[reference]*elem) {
	for _, t := range e.types {
		for i := range t.props {
			if t.props[i].unique {
				p.uniqueExtension(e, &t.props[i])
			}
		}
		for t := t; t != nil; t = supplementalOf(t.parent) {
			for i := range t.siblings {
				for _, parent := range e.parents {
					p.sibling(e, t, &t.siblings[i], parent, seen)
				}
			}
		}
	}
}

// extensionValue is a value that no two siblings may give to a property.
type extensionValue struct {
	parent parentRef
	id     string
	literal
}

func (p *parser) uniqueExtension(e *elem, prop *supplementalProperty) {
	mine := e.extension(prop.id)
	if mine == nil {
		return
	}
	for _, parent := range e.parents {
		key := extensionValue{parent, prop.id, mine.literal}
		first, twice := p.values[key]
		if !twice {
			if p.values == nil {
				p.values = make(map[extensionValue]*elem)
			}
			p.values[key] = e
			continue
		}
		p.report("nonUniquePropertyValue", keyAt(e.src, mine.at), keyAt(first.src, first.extension(prop.id).at), Error{Element: parent.elem.id, Property: parent.prop, AuxProperty: prop.id, Value: mine.String()})
	}
}

func (p *parser) sibling(e *elem, t *supplemental, r *siblingRule, parent parentRef, seen map[reference]*elem) {
	key := e.extension(r.keyref)
	if key == nil {
		return
	}
	target := child(parent.elem, parent.prop, key.text)
	if target == nil {
		return
	}
	keyref := termOf(r.keyref)
	at, other := keyAt(e.src, key.at), target.place()
	fields := Error{Element: e.id, Property: keyref, Related: target.id, AuxProperty: r.key, Value: key.text}
	path := ""
	if v := e.extension(r.path); v != nil {
		path = v.text
	}
	if v := e.extension(r.unique); v != nil {
		ref := reference{parent.elem, parent.prop, key.text, v.text}
		if first, twice := seen[ref]; twice && first != e {
			p.report("multipleReference", first.place(), e.place(), Error{Element: parent.elem.id, Property: parent.prop, Related: r.unique,
				AuxProperty: "'" + keyref + "' and '" + termOf(r.unique) + "'", Value: "'" + key.text + "' and '" + termOf(v.text) + "'"})
		} else {
			seen[ref] = e
		}
	}
	if len(r.types) > 0 && !slices.ContainsFunc(r.types, target.hasType) {
		fields.Type = r.typesText
		p.report("notSiblingRequiredType", at, other, fields)
	}
	if r.not != "" && target.hasType(r.not) {
		fields.Type = termOf(r.not)
		p.report("disallowedType", at, other, fields)
	}
	if r.path == "" || path == "" || slices.ContainsFunc(target.types, func(s *supplemental) bool { return s.property(path) != nil }) {
		return
	}
	fields.Type, fields.Restriction = className(target.class), termOf(path)
	word := "noMatchingSupplementalProperty"
	if classes[target.class].byName(termOf(path)) != nil {
		word = "matchingPropertyNotSupplemental"
	}
	p.report(word, at, other, fields)
}

// overridden checks that the schema of an override is that of the property it overrides.
func (p *parser) overridden(c *check) {
	e := c.link.owner
	key, path := e.extension(c.rule.keyref), e.extension(c.rule.parentOf)
	if key == nil || path == nil {
		return
	}
	for _, parent := range e.parents {
		target := child(parent.elem, parent.prop, key.text)
		if target == nil {
			continue
		}
		for _, t := range target.types {
			prop := t.property(path.text)
			if prop == nil || prop.childOf == c.link.target {
				continue
			}
			p.report("siblingPropertyMismatch", c.link.keyPlace(), place{}, Error{Element: e.id, Property: c.link.prop, Value: termOf(c.link.target), Restriction: termOf(prop.childOf)})
		}
	}
}

// parents checks what supplemental types demand of the elements that an element is a value of, and of its
// siblings there.
func (p *parser) parents(e *elem) {
	for _, t := range e.types {
		for i := range t.rules {
			r := &t.rules[i]
			if !r.inverse {
				continue
			}
			for _, parent := range e.parents {
				if parent.prop == r.property {
					p.parent(e, t, r, parent)
				}
			}
		}
	}
}

func (p *parser) parent(e *elem, t *supplemental, r *constraint, parent parentRef) {
	at := e.typePlace()
	if len(r.types) > 0 && !slices.ContainsFunc(r.types, parent.elem.hasType) {
		p.report("parentMissingCotype", at, place{}, Error{Element: e.id, Property: parent.prop, Type: termOf(t.id), Restriction: r.typesText})
	}
	if r.noneOther != "" {
		for _, s := range p.children(parent, r.noneOther) {
			if len(p.errs.List) < MaxErrors && s != e && (r.noneOther != t.id || e.id < s.id) {
				p.report("siblingDuplicatesCotype", at, s.typePlace(), Error{Element: e.id, Related: s.id, Property: parent.prop, Type: termOf(t.id), Restriction: termOf(r.noneOther)})
			}
		}
	}
	if r.someOther != "" && !parent.elem.unit.incomplete && !slices.ContainsFunc(p.children(parent, r.someOther), func(s *elem) bool { return s != e }) {
		p.report("siblingMissingCotype", at, place{}, Error{Element: e.id, Property: parent.prop, Type: termOf(t.id), Restriction: termOf(r.someOther)})
	}
}

// children returns the values of a property that have a supplemental type.
func (p *parser) children(parent parentRef, id string) []*elem {
	byType, ok := p.byType[parent]
	if !ok {
		byType = make(map[string][]*elem)
		for _, s := range parent.elem.get(parent.prop) {
			for _, t := range s.types {
				byType[t.id] = append(byType[t.id], s)
			}
		}
		if p.byType == nil {
			p.byType = make(map[parentRef]map[string][]*elem)
		}
		p.byType[parent] = byType
	}
	return byType[id]
}
