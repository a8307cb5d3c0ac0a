package dtdl

import (
	"math"
	"net/url"
	"strconv"
	"strings"
)

// The rules that values of literal properties obey.
type (
	stringRule struct {
		length  int // 0 is no limit
		form    form
		pattern string
		min     int
	}
	intRule struct {
		bounded   uint8
		low, high int
		min       int
	}
)

// kindOfLiteral is how errors about one kind of literals are called.
type kindOfLiteral struct {
	word     string // begins the validation words
	noun     string // ends them
	datatype string // of XML Schema
	kind     byte   // of the JSON value
}

var (
	stringLiteral   = kindOfLiteral{"string", "String", "string", '"'}
	integerLiteral  = kindOfLiteral{"integer", "Integer", "integer", '0'}
	numericLiteral  = kindOfLiteral{"numeric", "Numeric", "decimal", '0'}
	booleanLiteral  = kindOfLiteral{"boolean", "Boolean", "boolean", 'b'}
	durationLiteral = kindOfLiteral{"duration", "String", "duration", '"'}
)

func (n *node) isKind(kind byte) bool {
	return n.kind == kind || kind == 'b' && (n.kind == 't' || n.kind == 'f')
}

// singular returns the only value of a literal property, or nil where there is none or a wrong number.
func (p *parser) singular(e *elem, name string, m *member, k kindOfLiteral, least int) *node {
	switch values := m.values(); {
	case len(values) > 1:
		p.report(k.word+"MultipleValues", p.at(m.value), place{}, Error{Element: idOf(e), Property: name})
		return nil
	case len(values) == 1:
		return values[0]
	case least > 0:
		p.report(k.word+"CountBelowMin", p.at(m.value), place{}, Error{Element: idOf(e), Property: name, found: "none", Expected: "at least " + strconv.Itoa(least)})
	}
	return nil
}

func idOf(e *elem) string {
	if e == nil {
		return ""
	}
	return e.id
}

// unwrap returns the JSON value of a literal, which may stand in a value object of JSON-LD. A literal of
// another kind is an error where strict is set, or where the object's @type demands this kind.
func (p *parser) unwrap(s *scope, e *elem, name string, v *node, k kindOfLiteral, noValue string, strict bool) *node {
	fail := func(word string) *node {
		p.report(word, p.at(v), place{}, Error{Element: idOf(e), Property: name, found: v.what()})
		return nil
	}
	if v.isKind(k.kind) {
		return v
	}
	if v.kind != '{' {
		if strict {
			return fail(k.word + "Not" + k.noun)
		}
		return nil
	}
	p.valueObject(s, e, name, v)
	value := v.get(wordValue)
	if value == nil {
		return fail(noValue + "ObjectNoValue")
	}
	declared := false
	if t := v.get(wordType); t != nil {
		types := t.values()
		if len(types) != 1 || types[0].kind != '"' {
			return fail("literalTypeNotSingular")
		}
		text := types[0].text
		if declared = text == "xsd:"+k.datatype || text == "http://www.w3.org/2001/XMLSchema#"+k.datatype; !declared {
			if strict {
				return fail(k.word + "TypeNot" + upperFirst(k.word))
			}
			return nil
		}
	}
	if !value.value.isKind(k.kind) || k.word == "integer" && !isInt32(value.value) {
		if strict || declared {
			return fail(k.word + "ValueNot" + k.noun)
		}
		return nil
	}
	return value.value
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// valueObject checks that an object which stands for a literal has nothing else in it.
func (p *parser) valueObject(s *scope, e *elem, name string, v *node) {
	for i := range v.members {
		m := &v.members[i]
		word, value := "", ""
		switch m.key {
		case "@value", "@type":
			continue
		case "@context":
			word = "valueObjectContext"
		case "@id":
			word = "valueObjectId"
		case "@graph":
			word = "valueObjectGraph"
		case "@language":
			if s.restricted() {
				word = "valueObjectLanguage"
			}
		default:
			if !isKeyword(m.key) {
				word, value = "valueObjectInvalidProp", m.key
			} else if s.restricted() {
				word, value = "valueObjectKeyword", m.key
			}
		}
		if word != "" {
			p.report(word, p.keyAt(m), place{}, Error{Element: idOf(e), Property: name, Value: value})
		}
	}
}

func (p *parser) string(s *scope, e *elem, name string, m *member, r stringRule) (string, bool) {
	v := p.singular(e, name, m, stringLiteral, r.min)
	if v == nil {
		return "", false
	}
	at := p.at(v)
	if v = p.unwrap(s, e, name, v, stringLiteral, "string", true); v == nil {
		return "", false
	}
	if r.length > 0 && len(v.text) > r.length && units16(v.text) > r.length {
		p.report("stringTooLong", at, place{}, Error{Element: e.id, Property: name, Value: v.text, Expected: "at most " + strconv.Itoa(r.length) + " characters"})
	}
	switch {
	case r.form == nameForm && !isName(v.text, len(v.text)):
		p.report("stringInvalid", at, place{}, Error{Element: e.id, Property: name, Value: v.text, Restriction: "letters, digits and underscores, beginning with a letter and ending with a letter or digit"})
	case r.pattern != "" && !matches(r.pattern, v.text):
		p.report("stringInvalid", at, place{}, Error{Element: e.id, Property: name, Value: v.text, Restriction: r.pattern})
	}
	return v.text, true
}

func (p *parser) duration(s *scope, e *elem, name string, m *member, least int) (string, bool) {
	v := p.singular(e, name, m, durationLiteral, least)
	if v == nil {
		return "", false
	}
	at := p.at(v)
	if v = p.unwrap(s, e, name, v, durationLiteral, "duration", true); v == nil {
		return "", false
	}
	if !isDuration([]byte(v.text)) {
		p.report("durationInvalid", at, place{}, Error{Element: e.id, Property: name, Value: v.text})
		return "", false
	}
	return v.text, true
}

// isInt32 reports whether a JSON number is a whole one of 32 bits, however it is written.
func isInt32(n *node) bool {
	f, err := strconv.ParseFloat(n.text, 64)
	return n.kind == '0' && err == nil && f == math.Trunc(f) && f >= math.MinInt32 && f <= math.MaxInt32
}

func (p *parser) integer(s *scope, e *elem, name string, m *member, r intRule) (int, bool) {
	v := p.singular(e, name, m, integerLiteral, r.min)
	if v == nil {
		return 0, false
	}
	at := p.at(v)
	if v.kind == '0' && !isInt32(v) {
		p.report("integerNotInteger", at, place{}, Error{Element: e.id, Property: name, found: v.text})
		return 0, false
	}
	if v = p.unwrap(s, e, name, v, integerLiteral, "integer", true); v == nil {
		return 0, false
	}
	f, _ := strconv.ParseFloat(v.text, 64)
	n := int(f)
	p.inRange(e, name, at, n, r)
	return n, true
}

func (p *parser) inRange(e *elem, name string, at place, n int, r intRule) {
	word, limit := "", ""
	low, high := r.bounded&1 != 0, r.bounded&2 != 0
	both := "[" + strconv.Itoa(r.low) + ", " + strconv.Itoa(r.high) + "]"
	switch {
	case low && high && r.low == r.high:
		if n != r.low {
			word, limit = "valueNotExact", strconv.Itoa(r.low)
		}
	case low && n < r.low && high:
		word, limit = "valueBelowRange", both
	case low && n < r.low:
		word, limit = "valueBelowMin", strconv.Itoa(r.low)
	case high && n > r.high && low:
		word, limit = "valueAboveRange", both
	case high && n > r.high:
		word, limit = "valueAboveMax", strconv.Itoa(r.high)
	}
	if word != "" {
		p.report(word, at, place{}, Error{Element: e.id, Property: name, Value: strconv.Itoa(n), Restriction: limit})
	}
}

func (p *parser) numeric(s *scope, e *elem, name string, m *member, least int) (float64, bool) {
	v := p.singular(e, name, m, numericLiteral, least)
	if v == nil {
		return 0, false
	}
	if v = p.unwrap(s, e, name, v, numericLiteral, "numeric", true); v == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil {
		p.report("numericNotNumeric", p.at(v), place{}, Error{Element: e.id, Property: name, Value: v.text})
	}
	return f, err == nil
}

func (p *parser) boolean(s *scope, e *elem, name string, m *member) bool {
	v := p.singular(e, name, m, booleanLiteral, 0)
	if v == nil {
		return false
	}
	v = p.unwrap(s, e, name, v, booleanLiteral, "boolean", true)
	return v != nil && v.kind == 't'
}

// anyLiteral reads a string, a number or a boolean. Without an element it reports nothing.
func (p *parser) anyLiteral(s *scope, e *elem, name string, m *member) literal {
	silent := e == nil
	fail := func(word string) literal {
		if !silent {
			p.report(word, p.at(m.value), place{}, Error{Element: e.id, Property: name, found: m.value.what()})
		}
		return literal{}
	}
	values := m.values()
	switch {
	case len(values) == 0:
		return fail("literalCountBelowMin")
	case len(values) > 1:
		return fail("literalMultipleValues")
	}
	v := values[0]
	if v.kind == '{' {
		return p.typedLiteral(s, e, name, v, silent, fail)
	}
	if l := literalOf(v); l.kind != 0 {
		return l
	}
	return fail("literalNotValid")
}

func literalOf(v *node) literal {
	switch v.kind {
	case '"':
		return literal{kind: '"', text: v.text}
	case '0':
		f, err := strconv.ParseFloat(v.text, 64)
		if err != nil {
			return literal{}
		}
		return literal{kind: '0', text: v.text, num: f}
	case 't', 'f':
		return literal{kind: 'b', text: strconv.FormatBool(v.kind == 't')}
	}
	return literal{}
}

// typedLiteral reads a value object whose @type may say which kind of literal is in it.
func (p *parser) typedLiteral(s *scope, e *elem, name string, v *node, silent bool, fail func(string) literal) literal {
	value := v.get(wordValue)
	if !silent {
		p.valueObject(s, e, name, v)
	}
	if value == nil {
		fail("literalObjectNoValue")
		return fail("literalNotValid")
	}
	t := v.get(wordType)
	if t == nil {
		if l := literalOf(value.value); l.kind != 0 {
			return l
		}
		return fail("literalNotValid")
	}
	types := t.values()
	if len(types) != 1 || types[0].kind != '"' {
		fail("literalTypeNotSingular")
		return fail("literalNotValid")
	}
	_, datatype, _ := strings.Cut(strings.Replace(types[0].text, "http://www.w3.org/2001/XMLSchema#", "xsd:", 1), "xsd:")
	for _, k := range [...]kindOfLiteral{stringLiteral, integerLiteral, numericLiteral, booleanLiteral} {
		if k.datatype != datatype {
			continue
		}
		if !value.value.isKind(k.kind) || k.word == "integer" && !isInt32(value.value) {
			if !silent {
				p.report(k.word+"ValueNot"+k.noun, p.at(v), place{}, Error{Element: e.id, Property: name, found: value.value.what()})
			}
			break
		}
		return literalOf(value.value)
	}
	return fail("literalNotValid")
}

// identifier reads the identifier of an element that need not be in the set.
func (p *parser) identifier(s *scope, e *elem, name string, m *member, r *rule) string {
	id := ""
	values := m.values()
	if len(values) > 1 {
		p.report("identifierMultipleValues", p.at(m.value), place{}, Error{Element: e.id, Property: name})
		return ""
	}
	if len(values) < r.min {
		p.report("identifierCountBelowMin", p.at(m.value), place{}, Error{Element: e.id, Property: name, Type: "DTMI"})
	}
	for _, v := range values {
		if v.kind != '"' {
			p.report("identifierNotString", p.at(v), place{}, Error{Element: e.id, Property: name, Type: "DTMI", found: v.what()})
			continue
		}
		var ok bool
		if id, ok = s.id(v.text); !ok {
			p.report("identifierNotDtmi", p.at(v), place{}, Error{Element: e.id, Property: name, Type: "DTMI", Value: v.text})
			continue
		}
		if most := r.length[s.limits]; most > 0 && len(id) > most {
			p.report("identifierTooLong", p.at(v), place{}, Error{Element: e.id, Property: name, Value: id, Expected: "at most " + strconv.Itoa(most) + " characters"})
		}
		if r.form == dtmiForm && !isUserDTMI(id, s.version) {
			p.report("identifierInvalid", p.at(v), place{}, Error{Element: e.id, Property: name, Value: id})
		}
	}
	return id
}

// iri reads an identifier of whatever scheme.
func (p *parser) iri(s *scope, e *elem, name string, m *member, least int) string {
	values := m.values()
	if len(values) > 1 {
		p.report("identifierMultipleValues", p.at(m.value), place{}, Error{Element: e.id, Property: name})
		return ""
	}
	if len(values) < least {
		p.report("identifierCountBelowMin", p.at(m.value), place{}, Error{Element: e.id, Property: name, Type: "URI"})
		return ""
	}
	for _, v := range values {
		if v.kind != '"' {
			p.report("identifierNotString", p.at(v), place{}, Error{Element: e.id, Property: name, Type: "URI", found: v.what()})
			return ""
		}
		if id, ok := s.id(v.text); ok {
			return id
		}
		if u, err := url.Parse(v.text); err == nil && u.IsAbs() && !strings.HasPrefix(v.text, "dtmi:") {
			return v.text
		}
		p.report("identifierNotUri", p.at(v), place{}, Error{Element: e.id, Property: name, Type: "URI", Value: v.text})
	}
	return ""
}
