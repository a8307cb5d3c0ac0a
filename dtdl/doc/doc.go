// Package doc owns the pages that people read of a set of DTDL models: one HTML file with everything in it, and a
// Markdown file for repositories. It must not read files nor fetch anything. It is on floor 1.
//
// The HTML page has an index with a search, the inheritance as a drawing, and of each interface its own and its
// inherited contents with where they come from. It needs no network: styles, script and drawing are inside, and its
// content security policy (CSP Level 3) allows nothing else, whatever a model contains.
package doc

import (
	"fmt"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

// MaxContents bounds the contents of all interfaces on a page, inherited ones counted in each heir.
const MaxContents = 100_000

// Options are what a page says beside the models.
type Options struct {
	Title string // default: "Models"
	Intro string // a paragraph below the title, plain text
}

// page is a set as the templates want it.
type page struct {
	Title, Intro string
	Interfaces   []*iface
	Groups       []namespace // the index
	Schemas      []*named
	Units        []*unit
	Diagram      *diagram
	Counts       []count

	names map[string]string // by identifier of an interface: what it is called on the page
	set   *dtdl.Set
}

type count struct {
	N    int
	What string
}

type namespace struct {
	Name       string
	Interfaces []*iface
}

// ref is a link to an interface; one that is not in the set has a name only.
type ref struct {
	ID, Name string
	Here     bool
}

type iface struct {
	ref
	Title, Description, Comment string
	Version                     int
	Types                       []string
	Extends, Heirs              []ref
	Ancestors                   []ref // all, the nearest first
	Kinds                       []kind
	Schemas                     []ref
	UsedBy                      []use
	Own, Inherited              int
	Search                      string
}

// kind is all contents of one class.
type kind struct {
	Title     string
	Class     string
	Own       []row
	Inherited []heritage
	Count     int // of the inherited ones
}

type heritage struct {
	From ref
	Rows []row
}

type row struct {
	Anchor, Name, Title, Description, Comment string
	Schema                                    *schema
	Unit                                      *unit
	Quantity                                  string
	Flags                                     []string
	Request, Response                         *payload
	Target                                    *ref
	Links                                     string // how many a relationship may have
	Properties                                []row  // of a relationship's links
}

type payload struct {
	row
	Nullable bool
}

// schema is a type in words, or in parts where it has some.
type schema struct {
	Text      string // "double", "array of", "map of", "object", "enum of string"
	Ref       *ref   // a named one is shown in its own place
	Fields    []row
	Values    []enumValue
	Elem, Key *schema
}

type enumValue struct{ Name, Value, Description string }

// named is a schema with an identifier of its own.
type named struct {
	ref
	Title, Description, Comment string
	Schema                      *schema
	UsedBy                      []use
}

type unit struct {
	Name, Symbol, Kind, Anchor string
	UsedBy                     []use
}

// use is a content that refers to something.
type use struct {
	Of     ref
	What   string
	Anchor string
}

// build makes the page of a set.
func build(set *dtdl.Set, o Options) (*page, error) {
	p := &page{Title: o.Title, Intro: o.Intro, set: set, names: map[string]string{}}
	if p.Title == "" {
		p.Title = "Models"
	}
	all := set.Interfaces()
	total := 0
	for _, i := range all {
		total += len(i.Contents())
	}
	if total > MaxContents {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "dtdl.doc", "", "the interfaces have %d contents, a page takes %d", total, MaxContents).WithFix("make pages of parts of the set")
	}
	p.nameAll(all)
	b := builder{page: p, units: map[string]*unit{}, schemas: map[string]*named{}, used: map[string][]use{}, heirs: map[string][]ref{}}
	b.collect(all)
	counts := map[string]int{}
	for _, i := range all {
		p.Interfaces = append(p.Interfaces, b.iface(i, counts))
	}
	for _, i := range p.Interfaces {
		i.UsedBy = b.used[i.ID]
	}
	for _, s := range p.Schemas {
		s.UsedBy = b.used[s.ID]
	}
	for _, u := range b.units {
		p.Units = append(p.Units, u)
	}
	slices.SortFunc(p.Units, func(a, b *unit) int { return strings.Compare(a.Name, b.Name) })
	p.index()
	p.Diagram = draw(p.Interfaces)
	p.count(len(all), "interface", "interfaces")
	for _, c := range classes {
		p.count(counts[c.class], strings.ToLower(c.class), strings.ToLower(c.title))
	}
	p.count(len(p.Schemas), "schema", "schemas")
	p.count(len(p.Units), "unit", "units")
	return p, nil
}

func (p *page) count(n int, one, many string) {
	switch n {
	case 0:
	case 1:
		p.Counts = append(p.Counts, count{1, one})
	default:
		p.Counts = append(p.Counts, count{n, many})
	}
}

// classes is the order of contents on the page.
var classes = []struct{ class, title string }{
	{"Property", "Properties"}, {"Telemetry", "Telemetry"}, {"Command", "Commands"}, {"Relationship", "Relationships"}, {"Component", "Components"},
}

// nameAll calls each interface by the last label of its identifier, and with its version where several have that.
func (p *page) nameAll(all []*dtdl.Interface) {
	times := map[string]int{}
	for _, i := range all {
		times[lastLabel(i.ID())]++
	}
	for _, i := range all {
		name := lastLabel(i.ID())
		if times[name] > 1 {
			name = i.ID()[strings.LastIndexByte(i.ID(), ':')+1:]
		}
		p.names[i.ID()] = name
	}
}

func lastLabel(id string) string {
	name, _, _ := strings.Cut(id[strings.LastIndexByte(id, ':')+1:], ";")
	return name
}

func namespaceOf(id string) string {
	if i := strings.LastIndexByte(id, ':'); i > 0 {
		return id[:i]
	}
	return ""
}

func (p *page) ref(id string) ref {
	if name, ok := p.names[id]; ok {
		return ref{id, name, true}
	}
	return ref{id, id, false}
}

func (p *page) index() {
	at := map[string]int{}
	for _, i := range p.Interfaces {
		name := namespaceOf(i.ID)
		n, ok := at[name]
		if !ok {
			n = len(p.Groups)
			at[name] = n
			p.Groups = append(p.Groups, namespace{Name: name})
		}
		p.Groups[n].Interfaces = append(p.Groups[n].Interfaces, i)
	}
	for _, g := range p.Groups {
		slices.SortStableFunc(g.Interfaces, func(a, b *iface) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	}
	slices.SortFunc(p.Groups, func(a, b namespace) int { return strings.Compare(a.Name, b.Name) })
	p.Interfaces = p.Interfaces[:0:0]
	for _, g := range p.Groups {
		p.Interfaces = append(p.Interfaces, g.Interfaces...)
	}
}

// multiplicity says how many links a relationship may have.
func multiplicity(r *dtdl.Relationship) string {
	least, most := r.Multiplicity()
	switch {
	case most == 0 && least == 0:
		return "any number"
	case most == 0:
		return fmt.Sprintf("at least %d", least)
	case least == most:
		return fmt.Sprintf("exactly %d", most)
	case least == 0:
		return fmt.Sprintf("at most %d", most)
	}
	return fmt.Sprintf("%d to %d", least, most)
}
