package dtdl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// link is a value of an object property: an element, or the identifier of one.
type link struct {
	owner    *elem
	prop     string // a term, or the identifier of a property that a supplemental type adds
	member   *member
	value    *node // the string; nil for an element written in place
	target   string
	elem     *elem
	key      string     // the property by which the owner looks the value up
	class    classID    // that the owner wants; 0 is checked elsewhere
	versions versionSet // that the owner admits; 0 is any
	childOf  string     // the element in which the value must be defined
	added    bool       // the property is one of a supplemental type
	dangling bool       // it refers to what only a faulty part of the set may define
}

func (l *link) keyPlace() place { return keyAt(l.owner.src, l.member) }

func (l *link) valuePlace() place {
	if l.value == nil {
		return place{}
	}
	return at(l.owner.src, l.value)
}

// resolve finds the elements that links refer to: in the set, among those that every set has, and by the
// resolver.
func (p *parser) resolve() {
	p.unit = nil
	p.exclude()
	done := 0
	asked := make(map[string]struct{})
	for round := 0; ; round++ {
		missing := make(map[string][]*link)
		for ; done < len(p.links); done++ {
			p.find(p.links[done], missing)
		}
		if len(missing) == 0 {
			break
		}
		before := len(p.links)
		if !p.ask(missing, asked, round) {
			p.unresolved(missing)
			break
		}
		for _, name := range sortedNames(missing) {
			for _, l := range missing[name] {
				again := make(map[string][]*link)
				if p.find(l, again); len(again) > 0 {
					p.unresolved(again)
				}
			}
		}
		done = before
		if p.failed {
			p.exclude()
			done = 0
		}
	}
	p.unit = nil
	p.exclude()
}

// find gives a link its element, or counts it among the missing.
func (p *parser) find(l *link, missing map[string][]*link) {
	if l.elem != nil || l.owner.bad || l.dangling {
		return
	}
	if l.elem = p.dict[l.target]; l.elem != nil {
		return
	}
	if l.elem = p.standardElem(l.target); l.elem != nil {
		return
	}
	p.unit = l.owner.unit
	switch {
	case !l.added && !strings.HasPrefix(l.value.text, "dtmi:"):
		p.report("badType", l.keyPlace(), l.valuePlace(), Error{Element: l.owner.id, Property: l.prop, Related: l.target, Restriction: className(l.class)})
	case reservedAnywhere(l.target):
		p.report("undefinedReservedId", l.keyPlace(), l.valuePlace(), Error{Element: l.owner.id, Property: termOf(l.prop), Related: l.target})
	case p.mentioned(l.target):
		l.dangling = true
	default:
		missing[l.target] = append(missing[l.target], l)
	}
	p.unit = nil
}

// ask asks the resolver for missing elements and reads what it returns.
func (p *parser) ask(missing map[string][]*link, asked map[string]struct{}, round int) bool {
	if p.options.Resolver == nil {
		return false
	}
	if round >= MaxResolverRounds {
		p.own("tooLarge", place{}, Error{Value: fmt.Sprintf("%d questions", round), Restriction: fmt.Sprintf("%d questions to the resolver", MaxResolverRounds)})
		return false
	}
	var names []string
	for _, name := range sortedNames(missing) {
		if _, twice := asked[name]; !twice {
			asked[name] = struct{}{}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return false
	}
	docs, err := p.options.Resolver(names)
	if err != nil {
		p.own("resolverFailed", place{}, Error{Value: resolverError(err)})
		return false
	}
	p.read(docs)
	return true
}

func resolverError(err error) string {
	var e *vaultmesh.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

// unresolved reports references that nothing could resolve, or puts placeholders in a partial set.
func (p *parser) unresolved(missing map[string][]*link) {
	for _, name := range sortedNames(missing) {
		for _, l := range missing[name] {
			if p.options.Partial {
				l.elem = p.placeholder(name)
				continue
			}
			p.unit = l.owner.unit
			p.own("unresolvedReference", l.valuePlace(), Error{Element: l.owner.id, Property: termOf(l.prop), Related: name, Value: name})
		}
	}
	p.unit = nil
}

// placeholder stands for an element that a partial set lacks. It has no class.
func (p *parser) placeholder(id string) *elem {
	e := p.missing[id]
	if e == nil {
		if p.missing == nil {
			p.missing = make(map[string]*elem)
		}
		e = p.newElem()
		e.id = id
		p.missing[id] = e
	}
	return e
}

// standardElem returns an element that every set has, or nil.
func (p *parser) standardElem(id string) *elem {
	if e := p.standard[id]; e != nil {
		return e
	}
	s := standardOf(id)
	if s == nil {
		return nil
	}
	if s.id != id {
		e := p.standardElem(s.id)
		p.standard[id] = e
		return e
	}
	e := p.newElem()
	e.id, e.class, e.version, e.name, e.named = s.id, s.class, s.version, s.name, s.name != ""
	e.more().childOf, e.more().symbol = s.childOf, s.symbol
	p.standard[id] = e
	if s.display != "" {
		e.text[0] = Text{[]phrase{{defaultLanguage, s.display}}}
	}
	if s.value != "" {
		e.more().value = literal{kind: '"', text: s.value}
	}
	for _, t := range s.types {
		e.types = append(e.types, supplementalOf(t))
	}
	if s.schema != "" {
		prop := map[classID]string{classArray: "elementSchema", classEnum: "valueSchema"}[s.class]
		if prop == "" {
			prop = "schema"
		}
		e.set(prop, p.standardElem(s.schema))
	}
	for _, part := range s.parts {
		prop := "fields"
		if s.class == classEnum {
			prop = "enumValues"
		}
		e.set(prop, p.standardElem(part))
	}
	return e
}

// link sets the object properties of elements to what their links found.
func (p *parser) link() {
	for _, l := range p.links {
		p.unit = l.owner.unit
		p.one(l)
	}
	p.unit = nil
	p.exclude()
}

func (p *parser) one(l *link) {
	e, o := l.elem, l.owner
	if e.class == 0 { // missing from a partial set
		o.set(l.prop, e)
		return
	}
	if !classes[e.class].partition && e.partition != nil {
		from := o
		if !classes[o.class].partition && o.partition != nil {
			from = o.partition
		}
		if e.partition != from {
			p.report("crossPartitionReference", l.keyPlace(), e.place(), Error{Element: o.id, Property: l.prop, Related: l.target, Value: e.partition.id, Restriction: from.id})
		}
	}
	if l.class != 0 && !classes[l.class].concrete[o.version-firstVersion].has(e.class) {
		p.report("badType", l.keyPlace(), l.valuePlace(), Error{Element: o.id, Property: l.prop, Related: l.target, Value: className(e.class), Restriction: className(l.class)})
		return
	}
	if l.versions != 0 && l.value != nil && !l.versions.has(e.version) {
		p.report("disallowedVersionReference", l.keyPlace(), e.place(), Error{Element: o.id, Property: l.prop, Related: l.target, Value: strconv.Itoa(int(e.version)), Restriction: l.versions.String()})
	}
	if l.childOf != "" && e.childOf != l.childOf {
		relation := "top-level element"
		if e.childOf != "" {
			relation = "child of " + e.childOf
		} else if e.parent != nil {
			relation = "child of " + e.parent.id
		}
		p.report("wrongParent", l.keyPlace(), place{}, Error{Element: o.id, Property: l.prop, Related: l.target, Value: relation, Restriction: l.childOf})
	}
	if l.key != "" {
		if !e.named {
			p.report("missingDictKeyPropertyValue", l.keyPlace(), e.place(), Error{Element: o.id, Property: l.prop, Related: l.target, Value: l.key})
		} else if first := child(o, l.prop, e.name); first != nil && first != e {
			p.report("nonUniquePropertyValue", keyAt(first.src, first.member(l.key)), keyAt(e.src, e.member(l.key)), Error{Element: o.id, Property: l.prop, AuxProperty: l.key, Value: e.name})
			return
		}
	}
	if l.added {
		if v := o.extension(l.prop); v != nil {
			v.elem = e
		}
		return
	}
	if l.key != "" && slices.Contains(o.get(l.prop), e) {
		return
	}
	o.set(l.prop, e)
	if len(e.types) > 0 && !reservedAnywhere(l.target) {
		e.more().parents = append(e.parents, parentRef{o, l.prop})
	}
}

// child returns the value of an object property that has the name, or nil.
func child(e *elem, prop, name string) *elem {
	list := e.get(prop)
	if len(list) > indexed {
		return e.more().find(list, name)
	}
	for _, c := range list {
		if c.named && c.name == name {
			return c
		}
	}
	return nil
}

// indexed is the number of values from which on lookups by name use an index.
const indexed = 32

// find looks values up by name, of the one property of the element that has names for keys; the index follows what was appended since the last lookup.
func (w *rare) find(list []*elem, name string) *elem {
	if w.names == nil {
		w.names = make(map[string]*elem, len(list))
	}
	for ; w.counted < len(list); w.counted++ {
		if c := list[w.counted]; c.named {
			if _, ok := w.names[c.name]; !ok {
				w.names[c.name] = c
			}
		}
	}
	return w.names[name]
}
