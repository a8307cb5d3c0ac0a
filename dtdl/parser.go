package dtdl

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// parser reads the documents of a set into elements, then links and checks them. What is built on a faulty
// part of the set is left out from stage to stage, so that one fault does not cause a cascade of errors.
type parser struct {
	*scratch
	helpers     []*parser // that read a part of the documents
	options     Options
	errs        Errors
	failed      bool // some error was reported
	src         *source
	docs        int
	bytes       int
	unit        *unit // being read
	stop        bool  // what is being read is given up
	unread      bool  // a document is not JSON: what it defines is not known
	scopes      map[string]*scope
	dict        map[string]*elem
	standard    map[string]*elem
	missing     map[string]*elem    // placeholders of a partial set
	mentions    map[string]struct{} // identifiers that faulty units write
	faulty      map[string]struct{} // elements with errors
	inherited   int                 // contents of all interfaces, inherited ones counted in each heir
	extended    int                 // steps of the search for what interfaces extend
	circleSteps int                 // of the search for circles of extends
	trying      bool                // the first error ends the reading, unsaid
	texts       slab[phrase]
	values      map[extensionValue]*elem         // of properties whose values differ among siblings
	byType      map[parentRef]map[string][]*elem // values of properties by their types
}

// unit is one object at the top of a document, with what is nested in it. An error anywhere makes it bad.
type unit struct {
	src  *source
	node *node
	bad  bool
	// broken is set where the unit was given up, so that it is not known what it defines.
	broken bool
	// incomplete is set where elements of the unit may have been left out before the last checks.
	incomplete bool
}

// elem is an element while it is read and checked.
type elem struct {
	id        string
	name      string
	node      *node
	src       *source
	unit      *unit
	parent    *elem
	partition *elem // the interface in which it is defined; nil for one at the top
	types     []*supplemental
	*rare
	pool    *slab[rare]
	text    [2]Text  // displayName, description
	ranges  [2]int32 // minMultiplicity, maxMultiplicity; -1 is none
	objects []object
	few     [1]object // most elements refer to one other
	self    [1]*elem  // the element as a list, not to be written behind
	out     Entity    // what callers see of it, once that is made

	class    classID
	version  uint8
	limits   limits
	assigned bool // the document gives no identifier
	named    bool
	writable bool
	nullable bool
	bad      bool // it is left out of further checks
	mistyped bool // its @type is wrong, so that its properties may be those of a type that is not told
	filled   bool // out has its contents

	walk walkState
}

// rare is what few elements have.
type rare struct {
	childOf   string   // of a standard element
	undefined []string // co-types that no table is for
	comment   string
	target    string
	value     literal
	symbol    string
	added     []addedValue     // of supplemental types
	extra     []extension      // of unknown types
	parents   []parentRef      // of an element with supplemental types
	excluded  [2]*elem         // the first descendant of an excluded class: Array, Component
	names     map[string]*elem // contents by name, where they are many
	counted   int              // how many of them names has
}

// plain is what all other elements have of it. It is never written.
var plain rare

// more returns what few elements have, to be written.
func (e *elem) more() *rare {
	if e.rare == &plain {
		e.rare = e.pool.one()
	}
	return e.rare
}

// literal is a string or a number.
type literal struct {
	kind byte // " 0 b or 0 for none
	text string
	num  float64
}

// object is the values of an object property.
type object struct {
	prop  string
	elems []*elem
}

// addedValue is the value of a property that a supplemental type adds.
type addedValue struct {
	prop *supplementalProperty
	literal
	elem *elem
	raw  []byte
	at   *member
}

// parentRef is a place that an element is a value of.
type parentRef struct {
	elem *elem
	prop string
}

func (e *elem) get(prop string) []*elem {
	for i := range e.objects {
		if e.objects[i].prop == prop {
			return e.objects[i].elems
		}
	}
	return nil
}

func (e *elem) one(prop string) *elem {
	if list := e.get(prop); len(list) > 0 {
		return list[0]
	}
	return nil
}

func (e *elem) set(prop string, v *elem) {
	for i := range e.objects {
		if e.objects[i].prop == prop {
			e.objects[i].elems = append(e.objects[i].elems, v)
			return
		}
	}
	if e.objects == nil {
		e.objects = e.few[:0]
	}
	e.objects = append(e.objects, object{prop, v.self[:]})
}

// put sets all values of a property.
func (e *elem) put(prop string, list []*elem) {
	for i := range e.objects {
		if e.objects[i].prop == prop {
			e.objects[i].elems = list
			return
		}
	}
	if e.objects == nil {
		e.objects = e.few[:0]
	}
	e.objects = append(e.objects, object{prop, list})
}

// member returns the member of the element's text that holds a property, or nil.
func (e *elem) member(prop string) *member {
	if e.node == nil {
		return nil
	}
	for i := range e.node.members {
		m := &e.node.members[i]
		if m.key == prop || len(m.key) > len(prop) && strings.HasPrefix(m.key, "dtmi:") && termOf(m.key) == prop || termOf(prop) == m.key {
			return m
		}
	}
	return nil
}

// newElem returns an empty element.
func (p *parser) newElem() *elem {
	e := p.elems.one()
	e.self[0] = e
	e.ranges = [2]int32{-1, -1}
	e.rare = &plain
	e.pool = &p.rares
	return e
}

// hasType reports whether the element is of the type, a material class of whatever version or a supplemental
// type.
func (e *elem) hasType(id string) bool {
	if rest, ok := strings.CutPrefix(id, "dtmi:dtdl:class:"); ok {
		name, _, _ := strings.Cut(rest, ";")
		if c := materialNames()[name]; c != 0 && classes[e.class].supers.has(c) {
			return true
		}
	}
	return slices.ContainsFunc(e.types, func(s *supplemental) bool { return s.isA(id) })
}

func (e *elem) hasExactly(id string) bool {
	return slices.ContainsFunc(e.types, func(s *supplemental) bool { return s.id == id })
}

// extension returns the value that the element gives to a property of a supplemental type.
func (e *elem) extension(id string) *addedValue {
	for i := range e.added {
		if e.added[i].prop.id == id {
			return &e.added[i]
		}
	}
	return nil
}

func newParser(o Options) *parser {
	return &parser{scratch: scratches.Get().(*scratch), options: o, scopes: make(map[string]*scope), dict: make(map[string]*elem), standard: make(map[string]*elem)}
}

// Places in the document that is being read.

func (p *parser) at(n *node) place      { return at(p.src, n) }
func (p *parser) keyAt(m *member) place { return place{src: p.src, from: int(m.at)} }
func (e *elem) place() place            { return at(e.src, e.node) }

// typePlace is that of @type, or of the whole element where it has none.
func (e *elem) typePlace() place {
	if e.node == nil {
		return place{}
	}
	if m := e.node.get(wordType); m != nil {
		return keyAt(e.src, m)
	}
	return place{}
}

func at(src *source, n *node) place {
	if n == nil {
		return place{}
	}
	return place{src, int(n.start), int(n.end)}
}

func keyAt(src *source, m *member) place {
	if m == nil {
		return place{}
	}
	return place{src: src, from: int(m.at)}
}

// quit reports an error behind which the object being read makes no sense: it is given up, at the top of a
// document with everything in it.
func (p *parser) quit(word string, at place, e Error) {
	p.report(word, at, place{}, e)
	p.stop = true
}

// read reads documents into units and elements.
func (p *parser) read(docs []Document) {
	if n := p.docs + len(docs); n > MaxDocuments {
		p.own("tooLarge", place{}, Error{Value: fmt.Sprintf("%d documents", n), Restriction: fmt.Sprintf("%d documents", MaxDocuments)})
		p.unread = true
		return
	}
	if p.trial(docs) {
		return
	}
	for _, d := range docs {
		p.unit = nil
		p.docs++
		p.bytes += len(d.Data)
		src := newSource(p.docs-1, d)
		switch {
		case len(d.Data) > MaxDocumentBytes:
			p.own("tooLarge", place{src: src}, Error{Value: fmt.Sprintf("%d bytes", len(d.Data)), Restriction: fmt.Sprintf("%d bytes in a document", MaxDocumentBytes)})
			p.unread = true
		case p.bytes > MaxSetBytes:
			p.own("tooLarge", place{src: src}, Error{Value: fmt.Sprintf("%d bytes", p.bytes), Restriction: fmt.Sprintf("%d bytes in a set", MaxSetBytes)})
			p.unread = true
			return
		default:
			p.document(src)
		}
	}
}

func (p *parser) document(src *source) {
	p.src, p.stop = src, false
	src.text = string(src.data)
	r := &p.reader
	r.repeated = func(key string, first, second int) {
		word, ok := repeatedKeywords[key]
		if !ok {
			word = "repeatedKeyword"
		}
		p.report(word, place{src: src, from: first}, place{src: src, from: second}, Error{Value: key})
		p.stop = true
	}
	n, offset, why := r.tree(src)
	if why != "" {
		p.own("notJson", place{src: src, from: offset}, Error{Value: why})
		p.unread = true
		return
	}
	if r.odd {
		p.malformed(n)
	}
	bad := p.stop
	if n.kind != '[' {
		p.oneUnit(src, n, bad)
	} else {
		for _, top := range n.items {
			p.oneUnit(src, top, bad)
		}
	}
	p.unit = nil
}

func (p *parser) oneUnit(src *source, top *node, bad bool) {
	p.unit = p.tops.one()
	*p.unit = unit{src: src, node: top, bad: bad, broken: bad}
	p.units = append(p.units, p.unit)
	if !bad {
		p.stop = false
		p.top(top)
		p.unit.broken = p.stop
	}
}

var repeatedKeywords = map[string]string{
	"@graph": "repeatedGraphProperty", "@context": "repeatedContextProperty", "@id": "repeatedIdProperty", "@type": "repeatedTypeProperty",
	"@value": "repeatedValueProperty", "@language": "repeatedLanguageProperty",
}

// top reads one object at the top of a document.
func (p *parser) top(n *node) {
	if n.kind != '{' {
		p.quit("notJsonObject", p.at(n), Error{found: n.what()})
		return
	}
	s := p.scope(nil, n)
	if p.stop {
		return
	}
	if g := n.get(wordGraph); g != nil {
		p.quit("topLevelGraphDisallowed", p.keyAt(g), Error{})
		return
	}
	id := n.get(wordID)
	if id == nil {
		p.quit("missingTopLevelId", p.at(n), Error{})
		return
	}
	if !p.rootable(n, s.version) {
		p.quit("typeNotRootable", p.at(n), Error{Value: id.value.text, Type: "Interface"})
		return
	}
	if s.restricted() {
		for i := range n.members {
			if m := &n.members[i]; isKeyword(m.key) && m.key != "@id" && m.key != "@type" && m.key != "@context" {
				p.quit("topLevelKeywordDisallowed", p.keyAt(m), Error{Value: m.key})
				return
			}
		}
	}
	p.element(s, n, &use{class: classEntity, typeRequired: true, idRequired: true, scoped: true})
}

func (p *parser) rootable(n *node, version uint8) bool {
	m := n.get(wordType)
	if m == nil {
		return false
	}
	return slices.ContainsFunc(m.values(), func(v *node) bool {
		c, of := materialClass(v.text)
		return v.kind == '"' && c != 0 && classes[c].rootable && (of == 0 || of == version)
	})
}

// exclude leaves out of the following stages every element that is at fault, and every one whose meaning
// depends on such an element: an interface on those it extends, whatever has a schema on the schema. What
// merely contains a faulty element is checked on.
func (p *parser) exclude() {
	if !p.failed {
		return
	}
	var queue []*elem
	spoil := func(e *elem) {
		if !e.bad {
			e.bad = true
			queue = append(queue, e)
		}
	}
	for _, e := range p.order {
		if _, ok := p.faulty[e.id]; ok || e.unit.broken {
			spoil(e)
		}
	}
	dependent := make(map[*elem][]*elem)
	for _, l := range p.links {
		switch {
		case l.dangling:
			spoil(l.owner)
		case l.elem != nil && l.depends():
			dependent[l.elem] = append(dependent[l.elem], l.owner)
			if l.elem.bad {
				spoil(l.owner)
			}
		}
	}
	for len(queue) > 0 {
		e := queue[0]
		queue = queue[1:]
		for _, d := range dependent[e] {
			spoil(d)
		}
	}
	p.links = slices.DeleteFunc(p.links, func(l *link) bool { return l.owner.bad || l.elem != nil && l.elem.bad })
	p.checks = slices.DeleteFunc(p.checks, func(c check) bool { return c.link.owner.bad || c.link.elem != nil && c.link.elem.bad })
	p.order = slices.DeleteFunc(p.order, func(e *elem) bool { return e.bad })
}

// depends reports whether the owner of the link means nothing without its value.
func (l *link) depends() bool {
	switch l.prop {
	case "contents", "fields", "enumValues", "schemas", "properties":
		return false
	}
	return true
}

// mentioned reports whether a faulty part of the set may define the identifier.
func (p *parser) mentioned(id string) bool {
	if p.unread {
		return true
	}
	if !p.failed {
		return false
	}
	if p.mentions == nil {
		p.mentions = make(map[string]struct{})
		for _, u := range p.units {
			if u.bad {
				p.mention(u.node)
			}
		}
	}
	_, ok := p.mentions[id]
	return ok
}

func (p *parser) mention(n *node) {
	if id := n.get(wordID); id != nil && id.value.text != "" {
		p.mentions[id.value.text] = struct{}{}
	}
	for i := range n.members {
		p.mention(n.members[i].value)
	}
	for _, item := range n.items {
		p.mention(item)
	}
}

// sortedNames returns the keys of a set in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	return names
}
