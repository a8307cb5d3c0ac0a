package dtdl

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// text reads localized strings: one string, an array of strings with and without a language, or a map from
// languages to strings.
func (p *parser) text(s *scope, e *elem, name string, m *member, length int) Text {
	v := m.value
	if v.kind == '"' && (length == 0 || len(v.text) <= length) {
		one := p.texts.list(1)
		one[0] = phrase{defaultLanguage, v.text}
		return Text{one}
	}
	if t := p.plainText(v, length); t.phrases != nil {
		return t
	}
	t := &localized{p: p, s: s, e: e, name: name, length: length}
	if v.kind == '{' {
		t.byLanguage(v)
	} else {
		for _, v := range m.values() {
			t.tagged(v)
		}
	}
	return t.sorted()
}

// plainText reads a map from languages to strings in which nothing is wrong; of any other value it returns
// nothing.
func (p *parser) plainText(v *node, length int) Text {
	if len(v.members) == 0 || len(v.members) >= indexed {
		return Text{}
	}
	for i := range v.members {
		m := &v.members[i]
		if m.value.kind != '"' || length > 0 && len(m.value.text) > length || !isLanguage(m.key) {
			return Text{}
		}
	}
	out := p.texts.list(len(v.members))
	for n := range v.members {
		m := &v.members[n]
		at := n
		for ; at > 0 && out[at-1].lang >= m.key; at-- {
			if out[at-1].lang == m.key {
				return Text{}
			}
			out[at] = out[at-1]
		}
		out[at] = phrase{m.key, m.value.text}
	}
	return Text{out}
}

// localized collects the strings of one property.
type localized struct {
	p       *parser
	s       *scope
	e       *elem
	name    string
	length  int
	phrases []phrase
	places  []place
	index   map[string]int // of phrases by language, where there are many
}

func (t *localized) report(word string, at place, value string) {
	t.p.report(word, at, place{}, Error{Element: t.e.id, Property: t.name, Value: value})
}

func (t *localized) reportKind(word string, at place, n *node) {
	t.p.report(word, at, place{}, Error{Element: t.e.id, Property: t.name, found: n.what()})
}

func (t *localized) checkLength(text string, at place) {
	if t.length > 0 && len(text) > t.length && units16(text) > t.length {
		t.p.report("langStringValueTooLong", at, place{}, Error{Element: t.e.id, Property: t.name, Value: text, Expected: "at most " + strconv.Itoa(t.length) + " characters"})
	}
}

// add keeps a string; the second of a language is an error.
func (t *localized) add(word, lang, text string, at place) {
	if i := t.find(lang); i >= 0 {
		t.p.report(word, at, t.places[i], Error{Element: t.e.id, Property: t.name, Value: lang})
		return
	}
	t.phrases, t.places = append(t.phrases, phrase{lang, text}), append(t.places, at)
}

func (t *localized) find(lang string) int {
	if len(t.phrases) < indexed {
		return slices.IndexFunc(t.phrases, func(p phrase) bool { return p.lang == lang })
	}
	if t.index == nil {
		t.index = make(map[string]int)
	}
	for i := len(t.index); i < len(t.phrases); i++ {
		t.index[t.phrases[i].lang] = i
	}
	if i, ok := t.index[lang]; ok {
		return i
	}
	return -1
}

func (t *localized) sorted() Text {
	slices.SortFunc(t.phrases, func(a, b phrase) int { return cmp.Compare(a.lang, b.lang) })
	return Text{t.phrases}
}

// defaultLanguage is that of a string without one.
const defaultLanguage = "en"

// tagged takes a string, or an object with a string and its language.
func (t *localized) tagged(v *node) {
	p := t.p
	switch v.kind {
	case '"':
		t.checkLength(v.text, p.at(v))
		t.add("langStringElementCodeNotUnique", defaultLanguage, v.text, p.at(v))
		return
	case '{':
	default:
		t.reportKind("langStringElementNotStringOrObject", p.at(v), v)
		return
	}
	lang := defaultLanguage
	if m := v.get(wordLanguage); m != nil {
		if m.value.kind != '"' || m.value.text == "" {
			t.reportKind("langStringElementCodeNotString", p.keyAt(m), m.value)
			return
		}
		if lang = m.value.text; !isLanguage(lang) {
			t.report("langStringElementInvalidCode", p.keyAt(m), lang)
		}
	}
	text := ""
	switch m := v.get(wordValue); {
	case m == nil:
		t.report("langStringElementNoValue", p.at(v), "")
	case m.value.kind != '"':
		t.reportKind("langStringElementValueNotString", p.keyAt(m), m.value)
		return
	default:
		text = m.value.text
		defer t.checkLength(text, p.at(m.value))
	}
	for i := range v.members {
		m := &v.members[i]
		word, value := "", ""
		switch m.key {
		case "@language", "@value":
		case "@context":
			word = "langStringElementContext"
		case "@id":
			word = "langStringElementId"
		case "@graph":
			word = "langStringElementGraph"
		case "@type":
			if t.s.restricted() {
				word = "langStringElementType"
			}
		default:
			if !isKeyword(m.key) {
				word, value = "langStringElementInvalidProp", m.key
			} else if t.s.restricted() {
				word, value = "langStringElementKeyword", m.key
			}
		}
		if word != "" {
			t.report(word, p.keyAt(m), value)
		}
	}
	t.add("langStringElementCodeNotUnique", lang, text, p.at(v))
}

// byLanguage takes a map from languages to strings.
func (t *localized) byLanguage(v *node) {
	p := t.p
	lang, value := v.get(wordLanguage), v.get(wordValue)
	taggedValue := lang != nil && value != nil && value.value.kind == '"' && len(v.members) == 2
	if taggedValue {
		t.report("langTagValueInLangMap", p.at(v), fmt.Sprintf("{ %q: %q }", lang.value.text, value.value.text))
	}
	for i := range v.members {
		m := &v.members[i]
		if isKeyword(m.key) {
			if !taggedValue {
				t.report("langMapObjKeyword", p.keyAt(m), m.key)
			}
			continue
		}
		if !isLanguage(m.key) {
			t.report("langStringInvalidCode", p.keyAt(m), m.key)
		}
		text := ""
		if m.value.kind != '"' {
			t.report("langStringValueNotString", p.keyAt(m), m.key)
		} else {
			text = m.value.text
			t.checkLength(text, p.at(m.value))
		}
		t.add("langStringCodeNotUnique", m.key, text, p.keyAt(m))
	}
}

// isLanguage reports whether s is a language, with a script and a region or without: "de", "zh-Hans-CN", "es-419".
func isLanguage(s string) bool {
	n := 0
	for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
		n++
	}
	if n < 2 || n > 4 {
		return false
	}
	s = s[n:]
	if len(s) >= 5 && s[0] == '-' && s[1] >= 'A' && s[1] <= 'Z' && lower(s[2]) && lower(s[3]) && lower(s[4]) {
		s = s[5:]
	}
	switch {
	case len(s) == 3 && s[0] == '-':
		return upper(s[1]) && upper(s[2])
	case len(s) == 4 && s[0] == '-':
		return isDigit(s[1]) && isDigit(s[2]) && isDigit(s[3])
	}
	return s == ""
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' }

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }
