package dtdl

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// use is how an object stands in its parent.
type use struct {
	parent       *elem
	partition    *elem
	prop         string // of the parent
	member       *member
	class        classID // what the parent wants
	segment      string  // the property that names the element in an assigned identifier
	key          string  // the property by which the parent looks it up
	idRequired   bool
	typeRequired bool
	scoped       bool       // the contexts of the object are in force
	versions     versionSet // that the parent admits; 0 is any
}

func (u *use) parentID() string {
	if u.parent == nil {
		return ""
	}
	return u.parent.id
}

// element reads an object that defines an element, and what is nested in it. It reports whether that went
// well enough for the element to count as a value of its parent.
func (p *parser) element(outer *scope, n *node, u *use) bool {
	s := outer
	if !u.scoped {
		s = p.scope(outer, n)
	}
	if p.stop {
		return p.giveUp(u)
	}
	if !p.keywords(s, n, u) {
		return false
	}
	if u.versions != 0 && !u.versions.has(s.version) {
		p.report("disallowedVersionDefinition", p.contextPlace(s), place{}, Error{Element: u.parentID(), Property: u.prop, Value: strconv.Itoa(int(s.version)), Restriction: u.versions.String()})
	}
	e := p.newElem()
	e.version, e.limits, e.unit, e.src, e.node, e.parent, e.partition = s.version, s.limits, p.unit, p.src, n, u.parent, u.partition
	p.identify(s, e, u)
	if p.stop {
		return p.giveUp(u)
	}
	if !e.bad && !p.trying && p.defined(e, u) {
		return false
	}
	types := n.get(wordType)
	if types == nil && u.typeRequired {
		p.badType(e, u, "")
		return false
	}
	typed := p.types(s, e, types, u)
	if e.class == 0 {
		return false
	}
	e.bad = e.bad || !typed // what is in it is read all the same, for its errors
	e.mistyped = !typed
	p.members(s, e, types != nil)
	p.size(e)
	if e.bad {
		return typed
	}
	if !p.trying {
		if p.defined(e, u) { // by an element that is written inside it
			return false
		}
		p.dict[e.id] = e
	}
	p.order = append(p.order, e)
	if u.parent != nil {
		l := p.linked.one()
		*l = link{owner: u.parent, prop: u.prop, member: u.member, target: e.id, elem: e, key: u.key}
		p.refer(l)
	}
	return true
}

func (v versionSet) String() string {
	var b strings.Builder
	for n := uint8(lastVersion); n >= firstVersion; n-- {
		if v.has(n) {
			if b.Len() > 0 {
				b.WriteString(" ,")
			}
			b.WriteByte('0' + n)
		}
	}
	return b.String()
}

// giveUp ends the reading of an element of which not even the identifier is known. Its parent goes on, and
// counts it among its values.
func (p *parser) giveUp(u *use) bool {
	if u.parent == nil {
		return false
	}
	p.stop = false
	return true
}

// keywords checks the members of an element that JSON-LD reserves. It reports whether the object is more than
// a reference.
func (p *parser) keywords(s *scope, n *node, u *use) bool {
	if id := n.get(wordID); id != nil && len(n.members) == 1 {
		p.report("idReference", p.at(n), place{}, Error{Element: u.parentID(), Property: u.prop, Value: id.value.text})
		return false
	}
	for i := range n.members {
		m := &n.members[i]
		if !isKeyword(m.key) {
			continue
		}
		switch m.word {
		case wordContext, wordID, wordType:
		case wordGraph:
			p.report("graphDisallowed", p.keyAt(m), place{}, Error{Element: u.parentID(), Property: u.prop})
		default:
			if s.restricted() {
				p.report("keywordDisallowed", p.keyAt(m), place{}, Error{Element: u.parentID(), Property: u.prop, Value: m.key})
			}
		}
	}
	return true
}

// identify sets the identifier of an element, its own or one that is assigned to it. An element whose own one
// is wrong is left out of further checks.
func (p *parser) identify(s *scope, e *elem, u *use) {
	m := e.node.get(wordID)
	if m == nil {
		e.id, e.assigned = p.assign(s, e.node, u), true
		return
	}
	at, id := p.keyAt(m), m.value.text
	version := strconv.Itoa(int(s.version))
	e.id, e.bad = id, true
	switch most := idLengths[s.version-firstVersion][s.limits]; {
	case m.value.kind != '"' || id == "":
		p.quit("idNotString", at, Error{})
	case len(id) > most:
		p.report("idTooLong", at, place{}, Error{Value: id, Restriction: version, Expected: "at most " + strconv.Itoa(most) + " characters"})
	case strings.Contains(id, "#"): // a layer, of which the language has none: it is a part of what is not there
		p.quit("invalidId", at, Error{Value: id, Restriction: version})
	case !isUserDTMI(id, s.version):
		p.report("invalidId", at, place{}, Error{Value: id, Restriction: version})
	case s.reserved(id):
		p.report("reservedId", at, place{}, Error{Value: id, Restriction: s.reservedPrefixes()})
	default:
		e.bad = false
	}
}

// assign makes the identifier of an element that has none from that of its parent, the property it is a value
// of, and its name.
func (p *parser) assign(s *scope, n *node, u *use) string {
	if u.idRequired {
		p.quit("missingRequiredId", p.at(n), Error{Element: u.parentID(), Property: u.prop})
		return ""
	}
	segment := ""
	if u.segment != "" {
		m := nodeMember(n, u.segment)
		if m == nil {
			p.quit("missingDtmiSegPropertyValue", p.at(n), Error{Element: u.parentID(), Property: u.prop, Value: u.segment})
			return ""
		}
		v := p.anyLiteral(s, nil, u.segment, m)
		switch v.kind {
		case '"':
			segment = ":__" + v.text
		case '0':
			segment = ":__" + strings.ReplaceAll(strconv.FormatFloat(v.num, 'g', -1, 64), ".", "_")
		default:
			p.quit("dtmiSegPropertyNotStringOrNumber", p.at(n), Error{Element: u.parentID(), Property: u.prop, Value: u.segment})
			return ""
		}
	}
	prop, _, _ := strings.Cut(u.prop, ";")
	base, version, versioned := strings.Cut(u.parent.id, ";")
	if versioned {
		version = ";" + version
	}
	return base + ":_" + prop + segment + version
}

// nodeMember finds the member for a property by its term or its identifier.
func nodeMember(n *node, prop string) *member {
	for i := range n.members {
		m := &n.members[i]
		if m.key == prop || strings.HasPrefix(m.key, "dtmi:") && termOf(m.key) == prop {
			return m
		}
	}
	return nil
}

// defined reports whether another element already has the identifier, and says so.
func (p *parser) defined(e *elem, u *use) bool {
	first, ok := p.dict[e.id]
	if !ok {
		return false
	}
	if !e.assigned || u.segment == "" {
		if !e.assigned {
			p.report("duplicateDefinition", keyAt(first.src, idMember(first.node)), keyAt(e.src, idMember(e.node)), Error{Element: e.id})
		}
		return true
	}
	mine, theirs := nodeMember(e.node, u.segment), nodeMember(first.node, u.segment)
	value := ""
	if mine != nil {
		value = mine.value.text
	}
	p.report("nonUniquePropertyValue", keyAt(first.src, theirs), keyAt(e.src, mine), Error{Element: u.parentID(), Property: u.prop, AuxProperty: u.segment, Value: value})
	return true
}

func idMember(n *node) *member {
	if n == nil {
		return nil
	}
	return n.get(wordID)
}

// badType says that an element is not of what its parent wants.
func (p *parser) badType(e *elem, u *use, value string) {
	at := e.typePlace() // of one at the top of a document, which nothing is the parent of
	if u.member != nil {
		at = p.keyAt(u.member)
	}
	p.report("badType", at, e.place(), Error{Element: u.parentID(), Property: u.prop, Related: e.id, Value: value, Restriction: className(u.class)})
}

func className(c classID) string { return classes[c].name }

// types reads @type into the class and the supplemental types of an element.
func (p *parser) types(s *scope, e *elem, m *member, u *use) bool {
	var kinds []classID
	ok := true
	if m == nil {
		e.class = u.class
		kinds = append(kinds, u.class)
	} else {
		for _, v := range m.values() {
			if !p.oneType(s, e, v, u, &kinds) {
				ok = false
			}
		}
	}
	switch {
	case !ok:
		return false
	case e.class == 0:
		p.badType(e, u, "")
		return false
	case len(kinds) > 1:
		p.report("multipleMaterialTypes", e.typePlace(), place{}, Error{Element: e.id, Value: joinClasses(kinds, " and ")})
		return false
	}
	p.cotypes(e)
	return true
}

func (s classSet) join(with string) string {
	var list []classID
	for c := range classes {
		if s.has(classID(c)) {
			list = append(list, classID(c))
		}
	}
	return joinClasses(list, with)
}

func joinClasses(list []classID, with string) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = className(c)
	}
	return strings.Join(names, with)
}

// oneType takes one string of @type.
func (p *parser) oneType(s *scope, e *elem, v *node, u *use, kinds *[]classID) bool {
	text := v.text
	if v.kind != '"' {
		p.badType(e, u, v.what())
		return false
	}
	if c, of := materialClass(text); c != 0 {
		if !classes[u.class].definable[s.version-firstVersion].has(c) || of != 0 && of != s.version {
			p.badType(e, u, text)
			return false
		}
		p.material(e, c, kinds)
		return true
	}
	id, ok := s.id(text)
	if !ok {
		return p.unknownType(s, e, text, u)
	}
	t := supplementalOf(id)
	if t == nil {
		if s.complete() {
			p.report("typeIrrelevantDtmiOrTerm", e.typePlace(), place{}, Error{Element: e.id, Value: text, Restriction: strconv.Itoa(int(s.version))})
			return false
		}
		e.more().undefined = append(e.undefined, text)
		return true
	}
	if t.abstract {
		p.report("abstractSupplementalType", e.typePlace(), place{}, Error{Element: e.id, Type: termOf(id)})
		return false
	}
	if c := extensionClass[t.kind]; c != 0 {
		if !classes[u.class].extensible[s.version-firstVersion].has(c) {
			p.badType(e, u, text)
			return false
		}
		p.material(e, c, kinds)
	}
	if !e.hasExactly(id) {
		e.types = append(e.types, t)
	}
	return true
}

// extensionClass gives the class of elements whose type is itself an extension of a class.
var extensionClass = [...]classID{
	unitType: classUnit, unitAttribute: classUnitAttribute, latentType: classLatentType, namedLatentType: classNamedLatentType,
}

func (p *parser) material(e *elem, c classID, kinds *[]classID) {
	if most := interfaceIDLengths[e.version-firstVersion][e.limits]; c == classInterface && len(e.id) > most {
		p.report("idTooLongForType", keyAt(e.src, idMember(e.node)), place{}, Error{Value: e.id, Type: "Interface", Expected: "at most " + strconv.Itoa(most) + " characters"})
	}
	if e.class == 0 {
		e.class = c
	}
	if !slices.Contains(*kinds, c) {
		*kinds = append(*kinds, c)
	}
}

// unknownType takes a string of @type that is neither an identifier nor a term.
func (p *parser) unknownType(s *scope, e *elem, text string, u *use) bool {
	word := ""
	switch {
	case strings.HasPrefix(text, "dtmi:"):
		word = "typeInvalidDtmi"
	case s.version == 2:
	case strings.Contains(text, ":"):
		word = "typeNotDtmiNorTerm"
	case s.complete():
		word = "typeUndefinedTerm"
	}
	if word != "" {
		p.report(word, e.typePlace(), place{}, Error{Element: e.id, Value: text, Restriction: strconv.Itoa(int(s.version)), Hint: p.typeHint(s, text, u.class)})
		return false
	}
	e.more().undefined = append(e.undefined, text)
	return true
}

// cotypes checks the supplemental types of an element against its class and each other.
func (p *parser) cotypes(e *elem) {
	if len(e.types) == 0 {
		return
	}
	sources := make(map[string]*supplemental)
	for _, t := range e.types {
		if extensionClass[t.kind] != 0 {
			continue
		}
		admitted := t.cotypes.has(e.class) || slices.ContainsFunc(t.admits, e.hasExactly)
		switch {
		case !admitted:
			p.report("invalidCotype", e.typePlace(), place{}, Error{Element: e.id, Type: termOf(t.id), Restriction: t.cotypes.join(" or ")})
			continue
		case !t.versions.has(e.version):
			p.report("invalidCotypeVersion", e.typePlace(), place{}, Error{Element: e.id, Type: termOf(t.id), Restriction: t.versions.or()})
			continue
		}
		for i := range t.props {
			other := sources[t.props[i].id]
			if other != nil {
				p.report("conflictingSupplementalTypes", e.typePlace(), place{}, Error{Element: e.id, Type: termOf(other.id), Restriction: termOf(t.id), Property: termOf(t.props[i].id)})
				break
			}
			sources[t.props[i].id] = t
		}
		for _, r := range t.requires {
			if !e.hasExactly(r) {
				p.report("missingCocotype", e.typePlace(), place{}, Error{Element: e.id, Type: termOf(t.id), Restriction: termOf(r)})
			}
		}
	}
}

func (v versionSet) or() string {
	var parts []string
	for n := uint8(firstVersion); n <= lastVersion; n++ {
		if v.has(n) {
			parts = append(parts, string('0'+n))
		}
	}
	return strings.Join(parts, " or ")
}

// size bounds the text of an interface, interfaces that are written inside it excepted.
func (p *parser) size(e *elem) {
	if !classes[e.class].partition {
		return
	}
	most := interfaceBytes[e.version-firstVersion][e.limits]
	n := int(e.node.end - e.node.start)
	if most == 0 || n <= most {
		return
	}
	if n -= nestedInterfaces(e.node); n > most {
		at := e.place()
		p.report("partitionTooLarge", place{src: at.src, from: at.from}, place{}, Error{Element: e.id, Value: strconv.Itoa(n) + " bytes", Restriction: strconv.Itoa(most) + " bytes"})
	}
}

// nestedInterfaces is the size of the interfaces written inside an object.
func nestedInterfaces(n *node) int {
	total := 0
	inner := func(v *node) {
		if v.kind == '{' {
			if t := v.get(wordType); t != nil && slices.ContainsFunc(t.values(), func(t *node) bool { c, _ := materialClass(t.text); return c == classInterface }) {
				total += int(v.end - v.start)
				return
			}
		}
		total += nestedInterfaces(v)
	}
	for i := range n.members {
		inner(n.members[i].value)
	}
	for _, item := range n.items {
		inner(item)
	}
	return total
}

// units16 is the length of a string in UTF-16 code units, in which the language counts.
func units16(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}
