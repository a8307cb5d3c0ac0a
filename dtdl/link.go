package dtdl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// linkState is how far an interface is on its way through the inheritance.
type linkState uint8

const (
	untouched linkState = iota
	inProgress
	linked
)

func (d *draft) fail(p *parser, at int, validation, element, property, detail, expected, hint string) {
	if element == "" {
		element = d.id
	}
	p.report(d.src, at, Error{Validation: validation, Element: element, Property: property, Detail: detail, Expected: expected, Hint: hint})
}

// link resolves what interfaces say of each other and checks what can only be seen of the whole set.
func (p *parser) link() {
	for _, d := range p.order {
		p.inherit(d)
	}
	for _, d := range p.order {
		p.components(d)
	}
	for _, d := range p.order {
		p.schemaReferences(d)
	}
	for _, d := range p.order {
		p.depths(d)
	}
}

// resolve finds the interface that d refers to; it reports and returns nil if there is none.
func (p *parser) resolve(d *draft, r reference, property string) *draft {
	target, ok := p.drafts[r.id]
	switch {
	case ok && target.version > d.version:
		d.fail(p, r.at, "versionTooNew", "", property, fmt.Sprintf("%s is written in DTDL v%d, and this interface in v%d", r.id, target.version, d.version),
			"an interface of the same version or an older one", fmt.Sprintf("use \"dtmi:dtdl:context;%d\" here", target.version))
		return nil
	case ok:
		return target
	}
	if _, other := p.ids[r.id]; other && !p.unread {
		d.fail(p, r.at, "notInterface", "", property, strconv.Quote(clip(r.id))+" is not an interface", "the identifier of an interface", "")
	} else if !p.unread { // otherwise it may well be defined in what could not be read
		d.fail(p, r.at, "unresolvedReference", "", property, "no document of the set defines "+strconv.Quote(clip(r.id)), "an interface of the set", "add the document that defines it")
	}
	return nil
}

// inherit links the interfaces that d extends, and then the contents of d.
func (p *parser) inherit(d *draft) {
	d.state = inProgress
	d.ancestors = make(map[string]struct{})
	for i, r := range d.bases {
		base := p.resolve(d, r, "extends")
		if base == nil {
			continue
		}
		if slices.ContainsFunc(d.bases[:i], func(o reference) bool { return o.id == r.id }) {
			continue
		}
		if base.state == inProgress {
			d.fail(p, r.at, "extendsCycle", "", "extends", "the interface extends itself through "+strconv.Quote(base.id), "no cycle", "")
			continue
		}
		if base.state == untouched {
			p.inherit(base)
		}
		d.extends = append(d.extends, base.Interface)
		d.depth = max(d.depth, base.depth+1)
		d.ancestors[base.id] = struct{}{}
		for id := range base.ancestors {
			d.ancestors[id] = struct{}{}
		}
	}
	d.state = linked
	if limit := d.dialect.limits.extendsDepth; d.depth > limit {
		d.fail(p, d.bases[0].at, "extendsTooDeep", "", "extends", fmt.Sprintf("the interface extends others over %d levels", d.depth), fmt.Sprintf("at most %d", limit), "")
		d.depth, d.ancestors = 0, nil // the set is refused: heirs need not report it again, nor carry it on
	}
	if len(d.ancestors) > MaxHierarchy {
		d.fail(p, d.bases[0].at, "tooManyExtended", "", "extends", fmt.Sprintf("the interface extends %d others", len(d.ancestors)), fmt.Sprintf("at most %d in the hierarchy", MaxHierarchy), "")
		d.ancestors = nil
	}
	p.flatten(d)
}

// flatten gathers own and inherited contents by name. A content that is inherited on two ways is one content.
func (p *parser) flatten(d *draft) {
	i := d.Interface
	before := p.inherited
	p.inherited += len(d.own) + len(d.ancestors)
	for _, base := range i.extends {
		p.inherited += len(base.order)
	}
	if p.inherited > MaxSetContents {
		if before <= MaxSetContents {
			d.fail(p, d.at, "tooLarge", "", "extends", "with this interface the contents of all interfaces are too many, inherited ones counted in each heir",
				fmt.Sprintf("at most %d in a set", MaxSetContents), "")
		}
		return
	}
	i.contents = make(map[string]Content, len(d.own))
	i.order = slices.Clip(slices.Clone(d.own))
	for _, c := range d.own {
		i.contents[c.Name()] = c
	}
	for _, base := range i.extends {
		for _, c := range base.order {
			have, twice := i.contents[c.Name()]
			if !twice {
				i.contents[c.Name()] = c
				i.order = append(i.order, c)
			}
			if !twice || have == c {
				continue
			}
			at := d.at
			if own, ok := d.places[c.Name()]; ok && have.DefinedIn() == i {
				at = own.at
			}
			d.fail(p, at, "duplicateName", "", "name", fmt.Sprintf("the content %q is inherited from %s, and %s has one too", c.Name(), c.DefinedIn().id, have.DefinedIn().id),
				"a name that no extended interface uses", "rename one of the two")
		}
	}
	total := d.elements
	for id := range d.ancestors {
		total += p.drafts[id].elements
	}
	if total > MaxElements {
		d.fail(p, d.at, "tooMany", "", "contents", fmt.Sprintf("the interface has %d elements, inherited ones included", total), fmt.Sprintf("at most %d", MaxElements), "")
	}
}

// components links the interfaces of components; such an interface may not have components itself, which
// excludes cycles too.
func (p *parser) components(d *draft) {
	for _, r := range d.parts {
		target := p.resolve(d, r.reference, "schema")
		if target == nil {
			continue
		}
		r.component.schema = target.Interface
		if at := slices.IndexFunc(target.order, func(c Content) bool { _, ok := c.(*Component); return ok }); at >= 0 {
			d.fail(p, r.at, "nestedComponent", d.id+"/"+r.component.name, "schema",
				fmt.Sprintf("%s has the component %q itself", target.id, target.order[at].Name()), "an interface without components", "make one of the two a relationship")
		}
	}
}

// schemaReferences links schemas that are named by an identifier of the same interface.
func (p *parser) schemaReferences(d *draft) {
	for _, r := range d.schemas {
		if s, ok := d.local[r.id]; ok {
			*r.slot = s
			continue
		}
		if _, elsewhere := p.ids[r.id]; elsewhere {
			d.fail(p, r.at, "notSchema", r.element, "schema", strconv.Quote(clip(r.id))+" is not a schema of this interface",
				"a schema that this interface itself defines", "schemas of other interfaces cannot be reused, not even of extended ones")
		} else {
			d.fail(p, r.at, "unresolvedReference", r.element, "schema", "this interface does not define the schema "+strconv.Quote(clip(r.id)),
				"a primitive, or a schema under \"schemas\"", "")
		}
	}
	for _, q := range d.quantities {
		if s := *q.slot; s != nil && !s.kind.Numeric() {
			d.fail(p, q.at, "notNumeric", q.element, "schema", "the semantic type "+clip(q.id)+" is on a schema of kind "+s.kind.String(), "a numeric schema such as \"double\"", "")
		}
	}
}

// depths checks how deep complex schemas are nested, and that before v4 none contains itself.
func (p *parser) depths(d *draft) {
	m := measure{limit: d.dialect.limits.schemaDepth, depth: make(map[*Schema]int), arrays: make(map[*Schema]bool)}
	for _, r := range d.roots {
		if *r.slot == nil {
			continue
		}
		m.recursive = false
		deep := m.of(*r.slot, 1)
		switch {
		case m.recursive && d.version < 4:
			d.fail(p, r.at, "selfReference", r.element, "schema", "the schema contains itself", "a finite schema", "schemas may contain themselves from DTDL v4 on")
		case deep > m.limit:
			d.fail(p, r.at, "schemaTooDeep", r.element, "schema", "complex schemas are nested too deeply", fmt.Sprintf("at most %d levels in DTDL v%d", m.limit, d.version), "")
		}
		if r.property && d.version == 2 && m.array(*r.slot) {
			d.fail(p, r.at, "arrayInProperty", r.element, "schema", "the schema of a property holds an array", "no array in DTDL v2", "use DTDL v3 or v4")
		}
	}
}

// measure finds the greatest number of complex schemas nested in each other. What contains itself counts
// once, since each way through it is as deep as the values are.
type measure struct {
	limit     int
	depth     map[*Schema]int // -1 while it is looked at
	recursive bool
	arrays    map[*Schema]bool // false while it is looked at
}

func (m *measure) of(s *Schema, level int) int {
	if s == nil || !s.kind.Complex() || level > m.limit+1 { // deeper is too deep already
		return 0
	}
	if deep, ok := m.depth[s]; ok {
		m.recursive = m.recursive || deep < 0
		return max(deep, 0)
	}
	m.depth[s] = -1
	deep := m.of(s.element, level+1)
	for i := range s.fields {
		deep = max(deep, m.of(s.fields[i].schema, level+1))
	}
	m.depth[s] = deep + 1
	return deep + 1
}

// array reports whether a schema is or holds an array, or a geometry, whose coordinates are arrays.
func (m *measure) array(s *Schema) bool {
	if s == nil {
		return false
	}
	if holds, ok := m.arrays[s]; ok {
		return holds
	}
	m.arrays[s] = false
	holds := s.kind == Array || s.kind.Geospatial() || m.array(s.element) ||
		slices.ContainsFunc(s.fields, func(f Field) bool { return m.array(f.schema) })
	m.arrays[s] = holds
	return holds
}

func sortByID(all []*Interface) {
	slices.SortFunc(all, func(a, b *Interface) int { return strings.Compare(a.id, b.id) })
}
