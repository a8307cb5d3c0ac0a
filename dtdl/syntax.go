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
	kind       byte // one of { [ " 0 (a number) t f n
	start, end int  // byte offsets in the document
	text       string
	members    []member
	items      []*node
	self       [1]*node // the node as a list
}

type member struct {
	key   string
	at    int // offset of the key
	value *node
}

// get returns the member with the key, or nil.
func (n *node) get(key string) *member {
	for i := range n.members {
		if n.members[i].key == key {
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
	if isKeyword(m.key) || !slices.ContainsFunc(m.value.items, func(v *node) bool { return v.kind == '[' }) {
		return m.value.items
	}
	return flat(m.value, nil)
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
	lines []int // offset of the begin of each line
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

// reader builds the tree of a document. It stops at the first error of grammar.
type reader struct {
	scanner
	nodes    int
	pool     []node
	repeated func(key string, first, second int) // a keyword occurs twice in an object
}

// tree reads the whole document; at is the place of the error that why names.
func (r *reader) tree() (n *node, at int, why string) {
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
	if r.nodes++; r.nodes > maxNodes {
		return nil, fmt.Sprintf("the document has more than %d values", maxNodes)
	}
	if len(r.pool) == 0 {
		r.pool = make([]node, min(max(len(r.data)/64, 8), 512))
	}
	n := &r.pool[0]
	r.pool = r.pool[1:]
	n.kind, n.start, n.self[0] = r.peek(), r.i, n
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
			n.text = string(num.text)
		}
	default:
		why = r.skip()
	}
	n.end = r.i
	return n, why
}

func (r *reader) string() (string, string) {
	t, escaped, why := r.str()
	if escaped {
		t = unescape(t)
	}
	return intern(t), why
}

// intern returns a string for t without an allocation where t is a word that most documents repeat.
func intern(t []byte) string {
	if len(t) <= longestWord {
		if w, ok := words[string(t)]; ok {
			return w
		}
	}
	return string(t)
}

// longestWord bounds what is looked up.
const longestWord = 24

var words = func() map[string]string {
	m := make(map[string]string)
	for _, w := range []string{"@context", "@id", "@type", "@value", "@language", "en", "boolean", "double", "float", "integer", "long", "string", "dateTime", "date", "duration", "time",
		"dtmi:dtdl:context;2", "dtmi:dtdl:context;3", "dtmi:dtdl:context;4"} {
		m[w] = w
	}
	for i := range classes {
		m[classes[i].name] = classes[i].name
	}
	for i := range properties {
		m[properties[i].name] = properties[i].name
	}
	return m
}()

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
func (r *reader) keyword(n *node, m member, seen map[string]int) map[string]int {
	const few = 32
	first := -1
	switch {
	case len(n.members) < few:
		if f := n.get(m.key); f != nil {
			first = f.at
		}
	case seen == nil:
		seen = make(map[string]int)
		for i := range n.members {
			if f := &n.members[i]; isKeyword(f.key) {
				seen[f.key] = f.at
			}
		}
		fallthrough
	default:
		if at, ok := seen[m.key]; ok {
			first = at
		} else {
			seen[m.key] = m.at
		}
	}
	if first >= 0 && r.repeated != nil {
		r.repeated(m.key, first, m.at)
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
	for {
		item, why := r.node()
		if why != "" {
			return why
		}
		n.items = append(n.items, item)
		if end, f := r.next(']'); f != nil {
			return "a comma or ] is missing"
		} else if end {
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
	for {
		m := member{at: r.i}
		var why string
		if m.key, why = r.string(); why != "" {
			return why
		}
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
			keywords = r.keyword(n, m, keywords)
		}
		if n.members == nil {
			n.members = make([]member, 0, 6)
		}
		n.members = append(n.members, m)
		if end, f := r.next('}'); f != nil {
			return "a comma or } is missing"
		} else if end {
			return ""
		}
	}
}
