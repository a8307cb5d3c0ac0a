package dtdl

import (
	"iter"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Most of the metamodel is lists of terms, units and quantities that differ from one version of an extension to the
// next in little but the beginning of their identifiers. The tables have these as text, each list once: words between
// spaces, or lines, in both cases sorted. They are searched where they stand, so that they cost nothing before they
// are used.

// termGroup is terms whose identifiers are the term between two constant parts.
type termGroup struct{ prefix, suffix, terms string }

// entry returns the entry of a sorted text that begins with the key and ends there or with what follows cut; entries
// are separated by sep.
func entry(text, key string, sep, cut byte) (string, bool) {
	low, high := 0, len(text)
	for low < high {
		from := low + strings.LastIndexByte(text[low:(low+high)/2], sep) + 1
		to := high
		if i := strings.IndexByte(text[from:high], sep); i >= 0 {
			to = from + i
		}
		e := text[from:to]
		name := e
		if i := strings.IndexByte(e, cut); i >= 0 {
			name = e[:i]
		}
		switch {
		case name == key:
			return e, true
		case name < key:
			low = to + 1
		default:
			high = max(low, from-1)
		}
	}
	return "", false
}

func (g *termGroup) has(term string) bool {
	_, ok := entry(g.terms, term, ' ', ' ')
	return ok
}

// lookup returns the identifier of a term.
func (c *contextTable) lookup(name string) (string, bool) {
	for _, t := range c.others {
		if t.name == name {
			return t.id, true
		}
	}
	for i := range c.groups {
		if g := &c.groups[i]; g.has(name) {
			return g.prefix + name + g.suffix, true
		}
	}
	return "", false
}

// terms are all terms of a context.
func (c *contextTable) terms() iter.Seq[term] {
	return func(yield func(term) bool) {
		for _, t := range c.others {
			if !yield(t) {
				return
			}
		}
		for _, g := range c.groups {
			for name := range strings.FieldsSeq(g.terms) {
				if !yield(term{name, g.prefix + name + g.suffix}) {
					return
				}
			}
		}
	}
}

// termOf returns the term of an identifier, or the identifier where no context has one.
func termOf(id string) string {
	at := strings.LastIndexByte(id, ':') + 1
	end := len(id)
	if i := strings.IndexByte(id[at:], ';'); i >= 0 {
		end = at + i
	}
	for i := range contexts {
		for _, t := range contexts[i].others {
			if t.id == id {
				return t.name
			}
		}
	}
	for i := range contexts {
		for j := range contexts[i].groups {
			if g := &contexts[i].groups[j]; g.suffix == id[end:] && g.prefix == id[:at] && g.has(id[at:end]) {
				return id[at:end]
			}
		}
	}
	return id
}

// elementFamily is elements that every set has and whose identifiers begin and end alike. Each line is one of them:
//
//	local|class|types|childOf|name|display|symbol|value|schema|alias|parts
//
// Empty columns at the end are left out. Identifiers are without the beginning and the end of the family, others are
// whole with % for the version; in lists the beginning of the one before is left out. In name, display and value = is
// the last word of local, and in display ~ is that in small words.
type elementFamily struct {
	prefix, suffix string
	version        uint8
	lines          string
}

// The columns behind local.
const (
	columnClass = iota
	columnTypes
	columnChildOf
	columnName
	columnDisplay
	columnSymbol
	columnValue
	columnSchema
	columnAlias
	columnParts
	columns
)

// known are the elements that were looked up.
var known sync.Map // identifier to *standardElement

// findStandard returns the element with the identifier, nil if there is none.
func findStandard(id string) *standardElement {
	if e, ok := known.Load(id); ok {
		return e.(*standardElement)
	}
	for i := range elementFamilies {
		f := &elementFamilies[i]
		if local, ok := strings.CutPrefix(id, f.prefix); ok {
			if local, ok := strings.CutSuffix(local, f.suffix); ok {
				if line, ok := entry(f.lines, local, '\n', '|'); ok {
					e, _ := known.LoadOrStore(strings.Clone(id), f.element(line))
					return e.(*standardElement)
				}
			}
		}
	}
	return nil
}

// standardElements are all elements that every set has.
func standardElements() iter.Seq[*standardElement] {
	return func(yield func(*standardElement) bool) {
		for i := range elementFamilies {
			f := &elementFamilies[i]
			for line := range strings.SplitSeq(f.lines, "\n") {
				local, _, _ := strings.Cut(line, "|")
				if !yield(findStandard(f.prefix + local + f.suffix)) {
					return
				}
			}
		}
	}
}

// id completes an identifier of a line.
func (f *elementFamily) id(text string) string {
	switch {
	case text == "":
		return ""
	case strings.HasPrefix(text, "dtmi:"):
		return strings.ReplaceAll(text, "%", strconv.Itoa(int(f.version)))
	}
	return f.prefix + text + f.suffix
}

// ids completes a list of identifiers.
func (f *elementFamily) ids(text string) []string {
	var out []string
	before := ""
	for word := range strings.FieldsSeq(text) {
		if i := strings.LastIndexByte(word, ':') + 1; i > 0 {
			before, word = word[:i], word[i:]
		}
		out = append(out, f.id(before+word))
	}
	return out
}

func (f *elementFamily) element(line string) *standardElement {
	local, rest, _ := strings.Cut(line, "|")
	var column [columns]string
	for i := range column {
		column[i], rest, _ = strings.Cut(rest, "|")
	}
	last := local[strings.LastIndexByte(local, ':')+1:]
	text := func(s string) string {
		switch s {
		case "=":
			return last
		case "~":
			return smallWords(last)
		}
		return s
	}
	class, _ := materialClass(column[columnClass])
	return &standardElement{
		id: f.id(local), version: f.version, class: class, types: f.ids(column[columnTypes]), childOf: f.id(column[columnChildOf]), alias: f.id(column[columnAlias]),
		name: text(column[columnName]), display: text(column[columnDisplay]), symbol: column[columnSymbol], value: text(column[columnValue]),
		schema: f.id(column[columnSchema]), parts: f.ids(column[columnParts]),
	}
}

// smallWords takes a name in camel case apart.
func smallWords(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// typeFamily is supplemental types that are alike but for their name and the family of units of their one property: in
// each line the name, and behind a space that of the units.
type typeFamily struct {
	prefix, suffix string
	like           supplemental // of which id, and class or childOf of the property, are to be filled in
	units          string       // begins the identifier of the units
	class          bool         // these are the class of the property, otherwise its childOf
	lines          string
}

// knownTypes are the types of families that were looked up.
var knownTypes sync.Map // identifier to *supplemental

// find returns the type with the identifier, nil if the family has none.
func (f *typeFamily) find(id string) *supplemental {
	local, ok := strings.CutPrefix(id, f.prefix)
	if !ok {
		return nil
	}
	if local, ok = strings.CutSuffix(local, f.suffix); !ok {
		return nil
	}
	line, ok := entry(f.lines, local, '\n', ' ')
	if !ok {
		return nil
	}
	s := f.like
	s.id = strings.Clone(id)
	if _, units, ok := strings.Cut(line, " "); ok {
		prop := s.props[0]
		if units = f.units + units + f.suffix; f.class {
			prop.class = units
		} else {
			prop.childOf = units
		}
		s.props = []supplementalProperty{prop}
	}
	t, _ := knownTypes.LoadOrStore(s.id, &s)
	return t.(*supplemental)
}

// allSupplementals are all supplemental types, those of families last.
func allSupplementals() iter.Seq[*supplemental] {
	return func(yield func(*supplemental) bool) {
		for i := range supplementals {
			if !yield(&supplementals[i]) {
				return
			}
		}
		for i := range typeFamilies {
			f := &typeFamilies[i]
			for line := range strings.SplitSeq(f.lines, "\n") {
				name, _, _ := strings.Cut(line, " ")
				if !yield(f.find(f.prefix + name + f.suffix)) {
					return
				}
			}
		}
	}
}
