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
	dialect    *dialect // in force here
	outer      *dialect // in force around
}

type member struct {
	key   string
	at    int // offset of the key
	value *node
}

// get returns the value of the member with the key. An empty array is no value, except for keywords.
func (n *node) get(key string) *node {
	for i := range n.members {
		if n.members[i].key != key {
			continue
		}
		if v := n.members[i].value; key[0] == '@' || !v.empty() {
			return v
		}
	}
	return nil
}

// empty reports whether n is an array of nothing, in JSON-LD the same as no value.
func (n *node) empty() bool { return n.kind == '[' && len(n.items) == 0 }

// list returns the items of an array, and anything else as its own single item: a set of one in JSON-LD.
func (n *node) list() []*node {
	if n.kind == '[' {
		return n.items
	}
	return []*node{n}
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

// source is one document while it is read.
type source struct {
	index int
	name  string
	data  []byte
	lines []int // offset of the begin of each line
}

func newSource(index int, d Document) *source {
	data := bytes.TrimPrefix(d.Data, []byte("\xEF\xBB\xBF"))
	lines := []int{0}
	for i, c := range data {
		if c == '\n' {
			lines = append(lines, i+1)
		}
	}
	return &source{index: index, name: d.Name, data: data, lines: lines}
}

func (s *source) position(offset int) (line, column int) {
	line = sort.SearchInts(s.lines, offset+1)
	return line, offset - s.lines[line-1] + 1
}

// reader builds the tree of a document. It stops at the first error of grammar; duplicate keys are reported
// and reading goes on.
type reader struct {
	scanner
	nodes  int
	report func(offset int, validation, key, detail string)
}

// tree reads the whole document; nil after an error of grammar, which is reported.
func (r *reader) tree() *node {
	r.space()
	n, why := r.node()
	if why == "" {
		r.space()
		if r.i < len(r.data) {
			why = "something follows the value"
		}
	}
	if why != "" {
		r.report(r.i, "notJson", "", why)
		return nil
	}
	return n
}

func (r *reader) node() (*node, string) {
	if r.nodes++; r.nodes > maxNodes {
		return nil, fmt.Sprintf("the document has more than %d values", maxNodes)
	}
	n := &node{kind: r.peek(), start: r.i}
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
	return string(t), why
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
		n.members = append(n.members, m)
		if end, f := r.next('}'); f != nil {
			return "a comma or } is missing"
		} else if end {
			r.duplicates(n)
			return ""
		}
	}
}

// duplicates reports keys that occur twice in an object and drops the later ones.
func (r *reader) duplicates(n *node) {
	seen := make(map[string]struct{}, len(n.members))
	n.members = slices.DeleteFunc(n.members, func(m member) bool {
		if _, twice := seen[m.key]; twice {
			r.report(m.at, "duplicateKey", m.key, "the key occurs twice in the object")
			return true
		}
		seen[m.key] = struct{}{}
		return false
	})
}
