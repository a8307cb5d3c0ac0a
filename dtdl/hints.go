package dtdl

import (
	"slices"
	"strconv"
	"strings"
)

// otherNames are names that other languages give to schemas.
var otherNames = map[string]string{
	"bool": "boolean", "int": "integer", "int32": "integer", "int64": "long", "bigint": "long", "float32": "float", "float64": "double", "number": "double",
	"real": "double", "str": "string", "text": "string", "timestamp": "dateTime", "datetime": "dateTime", "guid": "uuid", "binary": "bytes", "geopoint": "point",
	"list": "Array", "struct": "Object", "record": "Object", "dictionary": "Map", "dict": "Map",
}

// schemaHint says what a word may mean that is neither an identifier nor a term.
func (p *parser) schemaHint(s *scope, word string) string {
	if len(p.errs.List) >= MaxErrors {
		return ""
	}
	if name, ok := otherNames[strings.ToLower(word)]; ok {
		if name[0] <= 'Z' {
			return `write an object with "@type": ` + strconv.Quote(name)
		}
		word = name
		if isSchemaTerm(s.dtdl, name) {
			return "write " + strconv.Quote(name)
		}
	}
	if name := nearest(word, func(yield func(string)) {
		for t := range s.dtdl.terms() {
			if isSchemaTerm(s.dtdl, t.name) {
				yield(t.name)
			}
		}
	}); name != "" {
		return "write " + strconv.Quote(name)
	}
	for v := int(s.version) + 1; v <= lastVersion; v++ {
		if c := contextOf(dtdlContextPrefix + strconv.Itoa(v)); c != nil && isSchemaTerm(c, word) {
			return "it exists from DTDL v" + strconv.Itoa(v) + " on: use " + strconv.Quote(c.id)
		}
	}
	return ""
}

// memberHint says what a word may mean where one of the values of an enum of the language is wanted, for example a unit
// of temperature: the nearest one, or else some of those that there are.
func (p *parser) memberHint(prop *supplementalProperty, word string) string {
	if len(p.errs.List) >= MaxErrors || prop.childOf == "" {
		return ""
	}
	family := standardOf(prop.childOf)
	if family == nil || len(family.parts) == 0 {
		return ""
	}
	if name := nearest(word, func(yield func(string)) {
		for _, id := range family.parts {
			yield(termOf(id))
		}
	}); name != "" {
		return "write " + strconv.Quote(name)
	}
	const some = 6
	var names []string
	for _, id := range family.parts[:min(some, len(family.parts))] {
		names = append(names, termOf(id))
	}
	more := ""
	if len(family.parts) > some {
		more = " and " + strconv.Itoa(len(family.parts)-some) + " more"
	}
	return "there are " + strings.Join(names, ", ") + more
}

func isSchemaTerm(c *contextTable, name string) bool {
	id, ok := c.lookup(name)
	if !ok {
		return false
	}
	e := standardOf(id)
	return e != nil && classes[e.class].supers.has(classSchema)
}

// typeHint says what a word of @type may mean that no context in force defines.
func (p *parser) typeHint(s *scope, word string, want classID) string {
	if len(p.errs.List) >= MaxErrors {
		return ""
	}
	if name := nearest(word, func(yield func(string)) {
		for c := range classes {
			if classes[want].definable[s.version-firstVersion].has(classID(c)) {
				yield(className(classID(c)))
			}
		}
	}); name != "" {
		return "write " + strconv.Quote(name)
	}
	isType := func(id string) bool { t := supplementalOf(id); return t != nil && t.versions.has(s.version) }
	if name := nearest(word, func(yield func(string)) {
		for _, a := range s.affiliates {
			for t := range a.terms() {
				if isType(t.id) {
					yield(t.name)
				}
			}
		}
	}); name != "" {
		return "write " + strconv.Quote(name)
	}
	return contextHint(word, isType)
}

// propertyHint says what a property may mean that no context in force defines.
func (p *parser) propertyHint(s *scope, e *elem, word string) string {
	if len(p.errs.List) >= MaxErrors {
		return ""
	}
	if name := nearest(word, func(yield func(string)) {
		for _, index := range classes[e.class].props {
			if properties[index].rule(s.version).allowed {
				yield(properties[index].name)
			}
		}
		for _, t := range e.types {
			for i := range t.props {
				yield(termOf(t.props[i].id))
			}
		}
	}); name != "" {
		return "write " + strconv.Quote(name)
	}
	owner := ""
	hint := contextHint(word, func(id string) bool {
		for t := range allSupplementals() {
			if !t.abstract && t.versions.has(s.version) && t.cotypes.has(e.class) && slices.ContainsFunc(t.props, func(p supplementalProperty) bool { return p.id == id }) {
				owner = termOf(t.id)
				return true
			}
		}
		return false
	})
	if hint != "" {
		hint += ", and a type that has the property, like " + strconv.Quote(owner) + ", to @type"
	}
	return hint
}

// contextHint names the newest context that defines the word as something useful.
func contextHint(word string, useful func(id string) bool) string {
	hint := ""
	for i := range contexts {
		if id, ok := contexts[i].lookup(word); ok && contexts[i].reserved == nil && useful(id) {
			hint = "add " + strconv.Quote(contexts[i].id) + " to @context"
		}
	}
	return hint
}

// nearest returns the candidate that differs from the word only in the case of letters, or in one letter.
func nearest(word string, candidates func(yield func(string))) string {
	best := ""
	candidates(func(c string) {
		switch {
		case c == word:
		case strings.EqualFold(c, word):
			best = c
		case best == "" && len(word) > 3 && oneApart(c, word):
			best = c
		}
	})
	return best
}

// oneApart reports whether two words differ in one letter: another one, one more, one less, or two exchanged.
func oneApart(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) != len(b) {
		return len(b) == len(a)+1 && a[i:] == b[i+1:]
	}
	if i == len(a) {
		return false
	}
	return a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
