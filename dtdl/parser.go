package dtdl

import (
	"fmt"
)

// parser reads the documents of a set one by one into drafts, then links them.
type parser struct {
	options   Options
	errs      Errors
	ids       map[string]struct{} // every identifier that a document defines
	drafts    map[string]*draft
	order     []*draft // in document order
	unread    bool     // a document could not be read: what it defines is not known
	inherited int      // contents of all interfaces, inherited ones counted in each heir
}

// draft is an interface with what is still open in it.
type draft struct {
	*Interface
	dialect dialect
	src     *source
	at      int
	bases   []reference
	parts   []partReference
	schemas []schemaReference
	local   map[string]*Schema // complex schemas with an identifier
	roots   []root             // schemas to check for depth

	quantities []schemaReference // schemas that must be numeric, by semantic type
	own        []Content
	places     map[string]place // of own contents by name
	elements   int
	state      linkState
	depth      int // of extends
}

type place struct {
	src *source
	at  int
}

// reference is an identifier that another document may define.
type reference struct {
	id string
	at int
}

type partReference struct {
	reference
	component *Component
}

type schemaReference struct {
	reference
	slot    **Schema
	element string
}

// root is a place that holds a schema: that of a content, or a reusable one.
type root struct {
	slot     **Schema
	at       int
	element  string
	property bool // it is the schema of a Property
}

func newParser(o Options) *parser {
	return &parser{options: o, ids: make(map[string]struct{}), drafts: make(map[string]*draft)}
}

func (p *parser) report(src *source, at int, e Error) {
	e.Document, e.doc, e.offset = src.name, src.index, at
	e.Line, e.Column = src.position(at)
	p.errs.add(&e)
}

func (p *parser) read(docs []Document) {
	if len(docs) > MaxDocuments {
		p.tooLarge(docs[MaxDocuments], MaxDocuments, fmt.Sprintf("the set has %d documents", len(docs)), fmt.Sprintf("at most %d", MaxDocuments))
		return
	}
	total := 0
	for i, d := range docs {
		total += len(d.Data)
		switch {
		case len(d.Data) > MaxDocumentBytes:
			p.tooLarge(d, i, fmt.Sprintf("the document has %d bytes", len(d.Data)), fmt.Sprintf("at most %d", MaxDocumentBytes))
		case total > MaxSetBytes:
			p.tooLarge(d, i, fmt.Sprintf("with this document the set has %d bytes", total), fmt.Sprintf("at most %d", MaxSetBytes))
			return
		default:
			p.document(newSource(i, d))
		}
	}
}

func (p *parser) tooLarge(d Document, i int, detail, expected string) {
	p.unread = true
	p.report(&source{index: i, name: d.Name, lines: []int{0}}, 0, Error{Validation: "tooLarge", Detail: detail, Expected: expected})
}

func (p *parser) document(src *source) {
	r := reader{scanner: scanner{data: src.data}, report: func(at int, validation, key, detail string) {
		p.report(src, at, Error{Validation: validation, Property: key, Detail: detail, Expected: "JSON after RFC 8259 in UTF-8"})
	}}
	n := r.tree()
	if n == nil {
		p.unread = true
		return
	}
	for _, item := range n.list() {
		b := builder{parser: p, src: src}
		if item.kind != '{' {
			b.fail(item.start, "notInterface", "", "found "+item.what(), "an interface, a JSON object", "")
			continue
		}
		b.contexts(item, nil)
		b.iface(item)
	}
}

// seal hands over the finished model.
func (p *parser) seal() *Set {
	s := &Set{interfaces: make(map[string]*Interface, len(p.order)), order: make([]*Interface, 0, len(p.order))}
	for _, d := range p.order {
		s.interfaces[d.id] = d.Interface
		s.order = append(s.order, d.Interface)
	}
	sortByID(s.order)
	return s
}
