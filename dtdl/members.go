package dtdl

import (
	"strconv"
	"strings"
)

// members reads the properties of an element. typed is whether it has @type.
func (p *parser) members(s *scope, e *elem, typed bool) {
	c := &classes[e.class]
	var seen [16]*member // by position in c.props
	var extended map[string]*member
	for i := range e.node.members {
		m := &e.node.members[i]
		if m.word.keyword() || m.word == noWord && isKeyword(m.key) {
			continue
		}
		if at := c.find(m, e.version); at >= 0 {
			prop := &properties[c.props[at]]
			if seen[at] != nil {
				p.report("duplicatePropertyName", p.keyAt(m), p.keyAt(seen[at]), Error{Element: e.id, Property: prop.name})
				continue
			}
			seen[at] = m
			p.property(s, e, prop, m)
		} else {
			if extended == nil {
				extended = make(map[string]*member)
			}
			p.other(s, e, m, typed, extended)
		}
	}
	for i, index := range c.props {
		prop := &properties[index]
		if r := prop.rule(e.version); r.allowed && r.min > 0 && seen[i] == nil {
			p.report(missingProperty[prop.kind], e.place(), place{}, Error{Element: e.id, Property: prop.name})
		}
	}
	p.required(e, extended)
}

var missingProperty = [...]string{
	objectProp: "missingObjectProperty", identifierProp: "missingIdentifierProperty", stringProp: "missingLiteralProperty", textProp: "missingLiteralProperty",
	integerProp: "missingLiteralProperty", booleanProp: "missingLiteralProperty", anyProp: "missingLiteralProperty",
}

// property reads a property of the element's class.
func (p *parser) property(s *scope, e *elem, prop *property, m *member) {
	r := prop.rule(e.version)
	switch prop.kind {
	case objectProp:
		partition := e
		if e.partition != nil && !classes[e.class].partition {
			partition = e.partition
		}
		p.objects(s, e, m, r.min, &use{parent: e, partition: partition, prop: prop.name, member: m, class: r.class, segment: prop.segment, key: prop.key,
			idRequired: r.idRequired, typeRequired: r.typeRequired, versions: r.versions}, prop.plural)
	case identifierProp:
		e.more().target = p.identifier(s, e, prop.name, m, r)
	case stringProp:
		text, ok := p.string(s, e, prop.name, m, stringRule{length: r.length[s.limits], form: r.form, min: r.min})
		switch {
		case !ok:
		case prop.name == "name":
			e.name, e.named = text, true
		case prop.name == "comment":
			e.more().comment = text
		case prop.name == "symbol":
			e.more().symbol = text
		}
	case textProp:
		t := p.text(s, e, prop.name, m, r.length[s.limits])
		if prop.name == "displayName" {
			e.text[0] = t
		} else {
			e.text[1] = t
		}
	case integerProp:
		n, ok := p.integer(s, e, prop.name, m, intRule{bounded: r.bounded, low: r.low, high: r.high, min: r.min})
		switch {
		case !ok:
		case prop.name == "minMultiplicity":
			e.ranges[0] = int32(n)
		case prop.name == "maxMultiplicity":
			e.ranges[1] = int32(n)
		}
	case booleanProp:
		on := p.boolean(s, e, prop.name, m)
		if prop.name == "writable" {
			e.writable = on
		} else {
			e.nullable = on
		}
	case anyProp:
		e.more().value = p.anyLiteral(s, e, prop.name, m)
	}
}

// objects reads the values of an object property: elements written in place, and references.
func (p *parser) objects(s *scope, e *elem, m *member, least int, u *use, plural bool) {
	n := 0
	for _, v := range m.values() {
		if !plural && n > 0 {
			p.report("objectMultipleValues", p.at(m.value), place{}, Error{Element: e.id, Property: u.prop})
			return
		}
		switch v.kind {
		case '"':
			id, ok := s.id(v.text)
			if !ok {
				p.report("badDtmiOrTerm", p.keyAt(m), p.at(v), Error{Element: e.id, Property: u.prop, Value: v.text, Restriction: strconv.Itoa(int(s.version)), Hint: p.schemaHint(s, v.text)})
				continue
			}
			l := p.linked.one()
			*l = link{owner: e, prop: u.prop, member: m, value: v, target: id, key: u.key, class: u.class, versions: u.versions}
			p.refer(l)
			n++
		case '{':
			if p.element(s, v, u) {
				n++
			}
		default:
			p.report("refNotStringOrObject", p.keyAt(m), p.at(v), Error{Element: e.id, Property: u.prop, found: v.what()})
		}
	}
	if n < least {
		p.report("objectCountBelowMin", p.keyAt(m), place{}, Error{Element: e.id, Property: u.prop, found: strconv.Itoa(n), Expected: "at least " + strconv.Itoa(least)})
	}
}

// refer keeps a reference, with what the supplemental types of its owner demand of it, for the next stages.
func (p *parser) refer(l *link) {
	p.links = append(p.links, l)
	for _, t := range l.owner.types {
		for ; t != nil; t = supplementalOf(t.parent) {
			for i := range t.rules {
				if r := &t.rules[i]; !r.inverse && r.property == l.prop {
					p.checks = append(p.checks, check{link: l, rule: r})
				}
			}
		}
	}
}

// other reads a member that is no property of the element's class: one of a supplemental type, or unknown.
func (p *parser) other(s *scope, e *elem, m *member, typed bool, seen map[string]*member) {
	id, known := s.id(m.key)
	if known {
		for _, t := range e.types {
			prop := t.property(id)
			if prop == nil {
				continue
			}
			if first := seen[id]; first != nil {
				p.report("duplicatePropertyName", p.keyAt(m), p.keyAt(first), Error{Element: e.id, Property: termOf(id)})
				return
			}
			seen[id] = m
			p.added(s, e, prop, m)
			return
		}
	}
	if e.mistyped {
		return
	}
	word := ""
	switch {
	case s.version == 2:
	case known:
		if s.complete() {
			word = "propertyIrrelevantDtmiOrTerm"
		}
	case strings.HasPrefix(m.key, "dtmi:"):
		word = "propertyInvalidDtmi"
	case strings.Contains(m.key, ":"):
		word = "propertyNotDtmiNorTerm"
	case s.complete():
		word = "propertyUndefinedTerm"
	}
	switch {
	case word != "":
		related := place{}
		if word == "propertyIrrelevantDtmiOrTerm" {
			related = e.typePlace()
		}
		p.report(word, p.keyAt(m), related, Error{Element: e.id, Property: m.key, Restriction: strconv.Itoa(int(s.version)), Hint: p.propertyHint(s, e, m.key)})
	case len(e.undefined) > 0:
		if first := seen[m.key]; first != nil {
			p.report("duplicatePropertyName", p.keyAt(m), p.keyAt(first), Error{Element: e.id, Property: m.key})
			return
		}
		seen[m.key] = m
		e.more().extra = append(e.extra, extension{m.key, append([]byte(nil), p.src.data[m.value.start:m.value.end]...)})
	case typed:
		p.report("noTypeThatAllows", p.keyAt(m), e.typePlace(), Error{Element: e.id, Property: m.key, Hint: p.propertyHint(s, e, m.key)})
	default:
		p.report("inferredTypeDoesNotAllow", p.keyAt(m), e.place(), Error{Element: e.id, Property: m.key, Type: className(e.class), Hint: p.propertyHint(s, e, m.key)})
	}
}

// added reads a property that a supplemental type adds to the element.
func (p *parser) added(s *scope, e *elem, prop *supplementalProperty, m *member) {
	v := addedValue{prop: prop, at: m, raw: append([]byte(nil), p.src.data[m.value.start:m.value.end]...)}
	name := prop.id
	least := 0
	if prop.required {
		least = 1
	}
	ok := true
	switch {
	case prop.class != "":
		p.addedElements(s, e, prop, m)
	case prop.datatype == "":
		v.text = p.iri(s, e, name, m, least)
		v.kind = '"'
	default:
		switch prop.datatype {
		case "string":
			v.kind = '"'
			v.text, ok = p.string(s, e, name, m, stringRule{length: prop.length, pattern: prop.pattern, min: least})
		case "duration":
			v.kind = '"'
			v.text, ok = p.duration(s, e, name, m, least)
		case "integer":
			var n int
			n, ok = p.integer(s, e, name, m, intRule{bounded: prop.bounded, low: prop.low, high: prop.high, min: least})
			v.kind, v.num = '0', float64(n)
		case "decimal":
			v.kind = '0'
			v.num, ok = p.numeric(s, e, name, m, least)
		case "boolean":
			v.kind, v.text = 'b', strconv.FormatBool(p.boolean(s, e, name, m))
		case "langString":
			v.kind, v.text = '"', p.text(s, e, name, m, prop.length).String()
		}
	}
	if ok {
		e.more().added = append(e.added, v)
	}
}

// addedElements reads elements that are values of a property of a supplemental type.
func (p *parser) addedElements(s *scope, e *elem, prop *supplementalProperty, m *member) {
	name := termOf(prop.id)
	n := 0
	for _, v := range m.values() {
		if !prop.plural && n > 0 {
			p.report("objectMultipleValues", p.at(m.value), place{}, Error{Element: e.id, Property: name})
			return
		}
		switch v.kind {
		case '"':
			id, ok := s.id(v.text)
			if !ok {
				p.report("badDtmiOrTerm", p.keyAt(m), p.at(v), Error{Element: e.id, Property: name, Value: v.text, Restriction: strconv.Itoa(int(s.version)), Hint: p.memberHint(prop, v.text)})
				continue
			}
			n++
			l := &link{owner: e, prop: prop.id, member: m, value: v, target: id, childOf: prop.childOf, added: true}
			p.refer(l)
			p.checks = append(p.checks, check{link: l, class: prop.class})
		case '{':
			t := supplementalOf(prop.class)
			if t == nil || extensionClass[t.kind] == 0 {
				p.report("refObjectNotAllowed", p.keyAt(m), p.at(v), Error{Element: e.id, Property: name})
				continue
			}
			if p.element(s, v, &use{parent: e, partition: e, prop: prop.id, member: m, class: extensionClass[t.kind], typeRequired: true}) {
				n++
			}
		default:
			p.report("refNotStringOrObject", p.keyAt(m), p.at(v), Error{Element: e.id, Property: name, found: v.what()})
		}
	}
	if n < prop.min {
		p.report("objectCountBelowMin", p.keyAt(m), place{}, Error{Element: e.id, Property: name, found: strconv.Itoa(n), Expected: "at least " + strconv.Itoa(prop.min)})
	}
}

// required reports the properties that supplemental types demand and the element lacks.
func (p *parser) required(e *elem, seen map[string]*member) {
	if e.mistyped {
		return
	}
	for _, t := range e.types {
		for i := range t.props {
			prop := &t.props[i]
			if !prop.required || seen[prop.id] != nil {
				continue
			}
			word := "missingSupplementalLiteralProperty"
			switch {
			case prop.class != "":
				word = "missingSupplementalObjectProperty"
			case prop.datatype == "":
				word = "missingSupplementalIdentifierProperty"
			}
			p.report(word, e.place(), place{}, Error{Element: e.id, Property: termOf(prop.id), Type: termOf(t.id)})
		}
	}
}
