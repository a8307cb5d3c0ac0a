package dtdl

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// maxNodes bounds the memory that the tree of one document takes.
const maxNodes = 1 << 20

// node is one JSON value of a document with its place.
type node struct {
	kind       byte  // one of { [ " 0 (a number) t f n
	start, end int32 // byte offsets in the document
	text       string
	*nested
	self [1]*node // the node as a list
}

// nested is what is in an object or an array.
type nested struct {
	members []member
	items   []*node
}

// nothing is in all other values. It is never written.
var nothing nested

type member struct {
	key   string
	at    int32 // offset of the key
	word  word  // the key, where the language knows it
	value *node
}

// get returns the member with the key, or nil.
func (n *node) get(w word) *member {
	for i := range n.members {
		if n.members[i].word == w {
			return &n.members[i]
		}
	}
	return nil
}

// values returns the items of an array, and anything else as its own single item: a set of one in JSON-LD.
func (m *member) values() []*node {
	if m.value.kind != '[' {
		return m.value.self[:]
	}
	if m.word.keyword() || isKeyword(m.key) || !slices.ContainsFunc(m.value.items, func(v *node) bool { return v.kind == '[' }) {
		return m.value.items
	}
	return flat(m.value, nil)
}

// plainContext reports whether a @context holds strings only.
func (m *member) plainContext() bool {
	return m.value.kind == '"' || m.value.kind == '[' && !slices.ContainsFunc(m.value.items, func(v *node) bool { return v.kind != '"' })
}

// flat appends the values in arrays within arrays, which JSON-LD takes for one list.
func flat(n *node, out []*node) []*node {
	for _, v := range n.items {
		if v.kind == '[' {
			out = flat(v, out)
		} else {
			out = append(out, v)
		}
	}
	return out
}

func (n *node) what() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}

// isKeyword reports whether a key is reserved by JSON-LD.
func isKeyword(key string) bool { return key != "" && key[0] == '@' }

// source is one document while it is read.
type source struct {
	index int
	name  string
	data  []byte
	text  string // a copy of data, of which the strings of nodes are parts
	lines []int  // offset of the begin of each line
}

func newSource(index int, d Document) *source {
	return &source{index: index, name: d.Name, data: bytes.TrimPrefix(d.Data, []byte("\xEF\xBB\xBF"))}
}

// position returns the place of an offset, both from 1. Lines are counted when the first error asks.
func (s *source) position(offset int) (line, column int) {
	if s.lines == nil {
		s.lines = append(s.lines, 0)
		for i, c := range s.data {
			if c == '\n' {
				s.lines = append(s.lines, i+1)
			}
		}
	}
	line = sort.SearchInts(s.lines, offset+1)
	return line, offset - s.lines[line-1] + 1
}

// reader builds the trees of documents. It stops at the first error of grammar of each. What nodes are made of
// is taken from slabs that all documents of a reader share.
type reader struct {
	scanner
	text     string
	count    int // nodes of the document
	nodes    slab[node]
	inner    slab[nested]
	members  slab[member]
	items    slab[*node]
	open     []member                            // of the objects that are not closed yet
	listed   []*node                             // of the arrays that are not closed yet
	odd      bool                                // a @context holds more than strings, or there is a @graph
	repeated func(key string, first, second int) // a keyword occurs twice in an object
}

// tree reads a whole document; at is the place of the error that why names.
func (r *reader) tree(src *source) (n *node, at int, why string) {
	r.scanner = scanner{data: src.data}
	r.text, r.count, r.odd, r.open, r.listed = src.text, 0, false, r.open[:0], r.listed[:0]
	r.space()
	n, why = r.node()
	if why == "" {
		r.space()
		if r.i < len(r.data) {
			why = "something follows the value"
		}
	}
	return n, r.i, why
}

func (r *reader) node() (*node, string) {
	if r.count++; r.count > maxNodes {
		return nil, fmt.Sprintf("the document has more than %d values", maxNodes)
	}
	n := r.nodes.one()
	n.kind, n.start, n.self[0], n.nested = r.peek(), int32(r.i), n, &nothing
	var why string
	switch {
	case n.kind == '{':
		why = r.object(n)
	case n.kind == '[':
		why = r.array(n)
	case n.kind == '"':
		n.text, why = r.string()
	case n.kind == '-' || isDigit(n.kind):
		n.kind = '0'
		var num number
		if num, why = r.num(); why == "" {
			n.text = r.text[r.i-len(num.text) : r.i]
		}
	default:
		why = r.skip()
	}
	n.end = int32(r.i)
	return n, why
}

func (r *reader) string() (string, string) {
	t, escaped, why := r.str()
	switch {
	case why != "":
		return "", why
	case escaped:
		return string(unescape(t)), ""
	}
	return r.text[r.i-1-len(t) : r.i-1], ""
}

func (r *reader) enter() string {
	if r.depth == MaxDocumentDepth {
		return fmt.Sprintf("arrays and objects are nested more than %d levels", MaxDocumentDepth)
	}
	r.depth++
	r.i++
	r.space()
	return ""
}

// keyword looks for an earlier member with the same keyword. Keywords are few, except in objects that are made
// to cost time; seen is their index there.
func (r *reader) keyword(before []member, m member, seen map[string]int) map[string]int {
	const few = 32
	first := -1
	switch {
	case len(before) < few:
		for i := range before {
			if before[i].key == m.key {
				first = int(before[i].at)
				break
			}
		}
	case seen == nil:
		seen = make(map[string]int)
		for i := range before {
			if f := &before[i]; isKeyword(f.key) {
				seen[f.key] = int(f.at)
			}
		}
		fallthrough
	default:
		if at, ok := seen[m.key]; ok {
			first = at
		} else {
			seen[m.key] = int(m.at)
		}
	}
	if first >= 0 && r.repeated != nil {
		r.repeated(m.key, first, int(m.at))
	}
	return seen
}

func (r *reader) array(n *node) string {
	if why := r.enter(); why != "" {
		return why
	}
	if r.peek() == ']' {
		r.close()
		return ""
	}
	first := len(r.listed)
	for {
		item, why := r.node()
		if why != "" {
			return why
		}
		r.listed = append(r.listed, item)
		if end, f := r.next(']'); f != nil {
			return "a comma or ] is missing"
		} else if end {
			n.nested = r.inner.one()
			n.items = r.items.copied(r.listed[first:])
			r.listed = r.listed[:first]
			return ""
		}
	}
}

func (r *reader) object(n *node) string {
	if why := r.enter(); why != "" {
		return why
	}
	if r.peek() == '}' {
		r.close()
		return ""
	}
	var keywords map[string]int
	first := len(r.open)
	for {
		m := member{at: int32(r.i)}
		var why string
		if m.key, why = r.string(); why != "" {
			return why
		}
		m.word = wordOf(m.key)
		r.space()
		if r.peek() != ':' {
			return "a colon is missing behind a key"
		}
		r.i++
		r.space()
		if m.value, why = r.node(); why != "" {
			return why
		}
		if isKeyword(m.key) {
			r.odd = r.odd || m.word == wordGraph || m.word == wordContext && !m.plainContext()
			keywords = r.keyword(r.open[first:], m, keywords)
		}
		r.open = append(r.open, m)
		if end, f := r.next('}'); f != nil {
			return "a comma or } is missing"
		} else if end {
			n.nested = r.inner.one()
			n.members = r.members.copied(r.open[first:])
			r.open = r.open[:first]
			return ""
		}
	}
}
