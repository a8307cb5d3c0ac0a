package dtdl

import (
	"slices"
	"strconv"
	"strings"
)

// walkState is what the walks over the descendants of an element keep in it, so that every element is walked
// once however many ways lead to it.
type walkState struct {
	counts  [2]int64 // of the ancestors, of the contents; 0 is not known, otherwise one more
	heights [2]int32 // of the chains of extends, of the schemas; 0 is not known, otherwise one more
	heir    int32    // the first of the heirs of an interface
	open    int32    // how many that it extends have no height yet
	own     int32    // of an interface: how many of its contents are not inherited
	typed   bool     // of an interface: contents have supplemental types
	busy    uint8    // a bit for each walk that is under way
	looked  uint8    // a bit for each of excluded that is known
}

// The walks.
const (
	walkExtends = iota
	walkContents
)

// cap64 bounds counts, which grow exponentially over shared descendants.
const cap64 = 1 << 40

// inherit gives each interface the contents of all that it extends, and checks the chains of extends.
func (p *parser) inherit() {
	var interfaces []*elem
	for _, e := range p.order {
		if e.class == classInterface {
			interfaces = append(interfaces, e)
		}
	}
	ordered := extendsHeights(interfaces)
	for _, e := range interfaces {
		e.walk.own = int32(len(e.get("contents")))
	}
	if !p.failed && len(ordered) == len(interfaces) && p.inheritPlainly(ordered) {
		for _, e := range interfaces {
			if e.walk.typed {
				e.adopt()
			}
		}
		return
	}
	for _, e := range interfaces {
		p.unit = e.unit
		c := importControl(e.version)
		if p.chain(e, c.depth[e.limits]) && (c.count[e.limits] == 0 || p.descendants(e, c, walkExtends, 0) <= int64(c.count[e.limits])) {
			p.importContents(e)
		}
	}
}

func importControl(version uint8) *control {
	for i := range controls {
		if c := &controls[i]; c.version == version && c.imports != "" {
			return c
		}
	}
	return nil
}

// cyclic is the height of what leads into a circle.
const cyclic = 1 << 30

// extendsHeight is the length of the longest chain of extends, cyclic where one leads into a circle.
func extendsHeight(e *elem) int { return int(e.walk.heights[0]) }

// maxChain bounds the recursion along chains that are far beyond every limit of the language.
const maxChain = 10_000

// extendsHeights sets the heights of all interfaces, from those that extend nothing upwards, and returns those
// that do not lead into a circle, each behind all that it extends.
func extendsHeights(interfaces []*elem) []*elem {
	// The heirs of an interface are a list in two arrays: its first heir, and behind each heir the next.
	type heir struct {
		elem *elem
		next int32
	}
	heirs := make([]heir, 1, len(interfaces)+1)
	ordered := make([]*elem, 0, len(interfaces))
	for _, e := range interfaces {
		e.walk.heights[0] = cyclic
		for _, x := range e.get("extends") {
			if x.class != 0 {
				heirs = append(heirs, heir{e, x.walk.heir})
				x.walk.heir = int32(len(heirs) - 1)
				e.walk.open++
			}
		}
		if e.walk.open == 0 {
			ordered = append(ordered, e)
		}
	}
	for done := 0; done < len(ordered); done++ {
		e := ordered[done]
		e.walk.heights[0] = 0
		for _, x := range e.get("extends") {
			e.walk.heights[0] = max(e.walk.heights[0], x.walk.heights[0]+1)
		}
		for h := e.walk.heir; h != 0; h = heirs[h].next {
			if heir := heirs[h].elem; heir.walk.open > 1 {
				heir.walk.open--
			} else {
				ordered = append(ordered, heir)
			}
		}
	}
	return ordered
}

// chain checks that an interface does not extend itself nor too long a chain.
func (p *parser) chain(e *elem, limit int) bool {
	if extendsHeight(e) <= limit {
		return true
	}
	if extendsHeight(e) >= cyclic { // one that only leads to a circle is not reported
		if len(p.errs.List) < MaxErrors && p.inCircle(e) {
			p.report("recursiveStructureNarrow", e.place(), place{}, Error{Element: e.id, Property: "'extends'"})
		}
		p.failed = true
		return false
	}
	deep := e
	for range limit + 1 {
		left := extendsHeight(deep)
		for _, x := range deep.get("extends") {
			if extendsHeight(x) >= left-1 {
				deep = x
				break
			}
		}
	}
	p.report("excessiveDepthNarrow", e.place(), deep.place(), Error{Element: e.id, Property: "'extends'", Related: deep.id, Expected: levels(limit)})
	return false
}

func levels(n int) string { return "at most " + strconv.Itoa(n) + " levels" }

// inCircle reports whether an interface extends itself in a circle. The work of all such questions about a set
// is bounded; beyond that an interface that leads into a circle counts as part of it.
func (p *parser) inCircle(e *elem) bool {
	seen := map[*elem]bool{}
	queue := []*elem{e}
	for len(queue) > 0 {
		x := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, x := range x.get("extends") {
			if p.circleSteps++; x == e || p.circleSteps > maxCircleSteps {
				return true
			}
			if !seen[x] && extendsHeight(x) >= cyclic {
				seen[x] = true
				queue = append(queue, x)
			}
		}
	}
	return false
}

// maxCircleSteps bounds the search for the members of circles.
const maxCircleSteps = 200_000

// closure returns what an interface extends, directly or not, nearest branch first. The work of all closures of a
// set is bounded; beyond that they are cut short, which is an error.
func (p *parser) closure(e *elem) []*elem {
	var out []*elem
	seen := make(map[*elem]struct{})
	var walk func(e *elem)
	walk = func(e *elem) {
		for _, x := range e.get("extends") {
			if p.extended++; p.extended > MaxSetContents {
				if p.extended == MaxSetContents+1 {
					p.own("tooLarge", e.place(), Error{Element: e.id, Value: "more interfaces that are extended", Restriction: strconv.Itoa(MaxSetContents) + ", counted in each heir"})
				}
				return
			}
			if _, twice := seen[x]; !twice {
				seen[x] = struct{}{}
				out = append(out, x)
				walk(x)
			}
		}
	}
	walk(e)
	return out
}

// inheritPlainly gives interfaces, each of which comes behind all that it extends, their contents. Where
// anything is at fault it takes all back and reports false.
func (p *parser) inheritPlainly(ordered []*elem) bool {
	for i, e := range ordered {
		c := importControl(e.version)
		ok := extendsHeight(e) <= c.depth[e.limits] && (c.count[e.limits] == 0 || p.descendants(e, c, walkExtends, 0) <= int64(c.count[e.limits]))
		if !ok || !p.inheritFrom(e, e.get("extends")) {
			for _, e := range ordered[:i] {
				if list := e.get("contents"); list != nil {
					e.put("contents", list[:e.walk.own:e.walk.own])
				}
			}
			p.inherited = 0
			return false
		}
	}
	return true
}

// someWork is the number of comparisons from which on an index is worth while.
const someWork = 2048

// inheritFrom gives an interface the contents of those that it extends, which have all of theirs. It reports
// false, and gives nothing, where a name is taken.
func (p *parser) inheritFrom(e *elem, bases []*elem) bool {
	own := e.get("contents")
	for _, c := range own {
		if !c.named {
			return false
		}
		e.walk.typed = e.walk.typed || len(c.types) > 0
	}
	total, work := len(own), 0
	for _, x := range bases {
		list := x.get("contents")
		work += total * len(list)
		total += len(list)
		e.walk.typed = e.walk.typed || x.walk.typed
	}
	if p.inherited += total - len(own); p.inherited > MaxSetContents {
		return false
	}
	switch {
	case total == len(own):
		return true
	case len(own) == 0 && len(bases) == 1:
		e.put("contents", slices.Clip(bases[0].get("contents"))) // both share what never changes
		return true
	}
	var index map[string]*elem
	if work > someWork {
		index = make(map[string]*elem, total)
		for _, c := range own {
			index[c.name] = c
		}
	}
	list := append(p.lists.list(total)[:0], own...)
	for _, x := range bases {
		before := list
		for _, c := range x.get("contents") {
			first := index[c.name]
			if index == nil {
				first = sameName(before, c)
			} else if first == nil {
				index[c.name] = c
			}
			switch first {
			case nil:
				list = append(list, c)
			case c:
			default:
				return false
			}
		}
	}
	e.put("contents", slices.Clip(list))
	return true
}

// sameName returns the first of a list with the name of an element, or nil.
func sameName(list []*elem, c *elem) *elem {
	for _, x := range list {
		if len(x.name) == len(c.name) && x.name == c.name {
			return x
		}
	}
	return nil
}

// adopt notes the interface as a parent of what it inherits.
func (e *elem) adopt() {
	for _, c := range e.get("contents")[e.walk.own:] {
		if len(c.types) > 0 {
			c.more().parents = append(c.parents, parentRef{e, "contents"})
		}
	}
}

func (p *parser) importContents(e *elem) {
	for _, x := range p.closure(e) {
		contents := x.get("contents")
		for _, c := range contents[:x.walk.own] {
			if !c.named {
				continue
			}
			first := child(e, "contents", c.name)
			switch {
			case first == nil:
				if p.inherited++; p.inherited > MaxSetContents {
					if p.inherited == MaxSetContents+1 {
						p.own("tooLarge", e.place(), Error{Element: e.id, Value: "more contents", Restriction: strconv.Itoa(MaxSetContents) + " contents of all interfaces, inherited ones counted in each heir"})
					}
					return
				}
				e.set("contents", c)
				if len(c.types) > 0 {
					c.more().parents = append(c.parents, parentRef{e, "contents"})
				}
			case first != c:
				p.report("nonUniqueImportedPropertyValue", keyAt(first.src, first.member("name")), keyAt(c.src, c.member("name")),
					Error{Element: e.id, Related: x.id, Property: "contents", AuxProperty: "name", Value: c.name})
			}
		}
	}
}

// control checks one demand on the descendants of an element.
func (p *parser) control(e *elem, c *control) {
	switch {
	case c.exclude != 0:
		p.exclusion(e, c)
	case c.datatype != "":
		p.datatype(e, c)
	}
	if c.count[e.limits] > 0 {
		p.count(e, c)
	}
	if c.depth[e.limits] > 0 && c.imports == "" {
		p.depth(e, c)
	}
}

// propsText names the properties of a control as errors do.
func (c *control) propsText() string { return "'" + strings.Join(c.props, "' or '") + "'" }

// exclusion looks for a descendant of a class that is not allowed there.
func (p *parser) exclusion(e *elem, c *control) {
	which := 0
	if c.narrow {
		which = 1
	}
	if x := excluded(e, c, which, 0); x != nil {
		p.report("excludedType", e.place(), x.place(), Error{Element: e.id, Property: c.propsText(), Related: x.id, Restriction: className(c.exclude), Type: className(c.root)})
	}
}

func excluded(e *elem, c *control, which, depth int) *elem {
	if depth > maxChain {
		return nil
	}
	bit := uint8(1) << which
	if e.walk.looked&bit != 0 {
		return e.excluded[which]
	}
	e.walk.looked |= bit
	for i := range e.objects {
		counts := slices.Contains(c.props, e.objects[i].prop)
		if c.narrow && !counts {
			continue
		}
		for _, v := range e.objects[i].elems {
			x := v
			if !counts || v.class != c.exclude {
				x = excluded(v, c, which, depth+1)
			}
			if x != nil {
				e.more().excluded[which] = x
				return x
			}
		}
	}
	return nil
}

// datatype checks that the values of an enum are of its valueSchema.
func (p *parser) datatype(e *elem, c *control) {
	schema := e.one(c.datatype)
	if schema == nil {
		return
	}
	for _, v := range e.get("enumValues") {
		if v.class == 0 || v.value.kind == 0 {
			continue
		}
		ok, name := true, termOf(schema.id)
		switch schema.class {
		case classInteger:
			ok = v.value.kind == '0' && isInt32(&node{kind: '0', text: v.value.text})
		case classString:
			ok = v.value.kind == '"'
		case classBoolean:
			ok = v.value.kind == 'b'
		}
		if !ok {
			p.report("nonConformantDatatype", keyAt(v.src, v.member("enumValue")), keyAt(e.src, e.member(c.datatype)),
				Error{Element: v.id, Property: "enumValue", Related: e.id, Restriction: c.datatype, Value: v.value.String(), Type: name, found: v.value.quoted()})
		}
	}
}

// count bounds the number of descendants.
func (p *parser) count(e *elem, c *control) {
	which := walkContents
	if c.imports != "" {
		which = walkExtends
	}
	n := p.descendants(e, c, which, 0)
	if most := c.count[e.limits]; n > int64(most) {
		p.report("excessiveCount", e.place(), place{}, Error{Element: e.id, Property: c.propsText(), found: strconv.FormatInt(n, 10), Expected: "at most " + strconv.Itoa(most)})
	}
}

// descendants counts the values of the control's properties below an element, each as often as ways lead to it.
func (p *parser) descendants(e *elem, c *control, which, depth int) int64 {
	if depth > maxChain {
		return 0
	}
	w := &e.walk
	if w.counts[which] != 0 {
		return w.counts[which] - 1
	}
	bit := uint8(2) << which
	if w.busy&bit != 0 {
		if !c.selfAllowed && c.imports == "" { // circles of extends are reported elsewhere
			p.report("recursiveStructureNarrow", e.place(), place{}, Error{Element: e.id, Property: c.propsText()})
		}
		return 0
	}
	w.busy |= bit
	var n int64
	for i := range e.objects {
		if !slices.Contains(c.props, e.objects[i].prop) {
			continue
		}
		for _, v := range e.objects[i].elems {
			n = min(n+p.descendants(v, c, which, depth+1)+1, cap64)
		}
	}
	w.busy &^= bit
	w.counts[which] = n + 1
	return n
}

// schemaHeight is the number of schemas below one another, cyclic where there is a circle.
func schemaHeight(e *elem) int { return nesting(e, 0) }

func nesting(e *elem, depth int) int {
	w := &e.walk
	if w.heights[1] != 0 {
		return int(w.heights[1]) - 1
	}
	if w.busy&8 != 0 || depth > maxChain {
		return cyclic
	}
	w.busy |= 8
	h := 0
	for i := range e.objects {
		step := schemaStep(e.objects[i].prop)
		for _, v := range e.objects[i].elems {
			h = max(h, nesting(v, depth+1)+step)
		}
	}
	w.busy &^= 8
	h = min(h, cyclic)
	w.heights[1] = int32(h) + 1
	return h
}

// schemaStep is 1 for properties that lead one level down.
func schemaStep(prop string) int {
	if prop == "schema" || prop == "elementSchema" {
		return 1
	}
	return 0
}

// maxDescent bounds the steps that one search for a chain of schemas takes.
const maxDescent = 20_000

// depth checks how deep schemas are nested, and that they do not contain themselves where that is not allowed.
func (p *parser) depth(e *elem, c *control) {
	limit := c.depth[e.limits]
	if schemaHeight(e) <= limit {
		return
	}
	d := &descent{limit: limit, selfAllowed: c.selfAllowed, steps: maxDescent}
	if d.fits(e, 0) {
		for _, x := range d.circles {
			p.report("recursiveStructureWide", x.place(), place{}, Error{Element: x.id})
		}
		return
	}
	deepest := d.path[0]
	p.report("excessiveDepthWide", e.place(), deepest.place(), Error{Element: e.id, Related: deepest.id, Expected: levels(limit)})
}

// descent searches for a chain of schemas beyond the limit. It goes only where one can be: a circle is found
// when the way back from beyond the limit passes the same element twice, and is no chain.
type descent struct {
	limit       int
	selfAllowed bool
	steps       int
	path        []*elem // from beyond the limit upwards
	circles     []*elem
}

func (d *descent) fits(e *elem, depth int) bool {
	if d.steps--; d.steps < 0 || depth+schemaHeight(e) <= d.limit {
		return true
	}
	if depth == d.limit {
		for i := range e.objects {
			if schemaStep(e.objects[i].prop) == 1 && len(e.objects[i].elems) > 0 {
				d.path = append(d.path, e)
				return false
			}
		}
	}
	for i := range e.objects {
		step := schemaStep(e.objects[i].prop)
		for _, v := range e.objects[i].elems {
			if d.fits(v, depth+step) {
				continue
			}
			if slices.Contains(d.path, e) {
				if !d.selfAllowed && !slices.Contains(d.circles, e) {
					d.circles = append(d.circles, e)
				}
				d.path = d.path[:0]
				return true
			}
			d.path = append(d.path, e)
			return false
		}
	}
	return true
}
