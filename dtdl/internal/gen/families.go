package main

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// What differs from one version of an extension to the next in little but the beginning of identifiers is written as
// text, which versions share: package dtdl says in tables.go how it is read.

// constant returns the name of the constant with the literal.
func (g *generator) constant(literal string) string {
	i := slices.Index(g.texts, literal)
	if i < 0 {
		i = len(g.texts)
		g.texts = append(g.texts, literal)
	}
	return "text" + strconv.Itoa(i)
}

// words returns a constant with words between spaces, which are broken into lines of source.
func (g *generator) words(list []string) string {
	const width = 150
	var lines []string
	line := ""
	for i, w := range list {
		if i < len(list)-1 {
			w += " "
		}
		if len(line)+len(w) > width {
			lines = append(lines, strconv.Quote(line))
			line = ""
		}
		line += w
	}
	lines = append(lines, strconv.Quote(line))
	text := strings.Join(lines, " +\n\t")
	if len(list) > 3 {
		text = g.constant(text)
	}
	return text
}

// lines returns a constant with lines.
func (g *generator) lines(list []string) string {
	text := strings.Join(list, "\n")
	if strings.Contains(text, "`") {
		g.fail("a table holds a backquote")
	}
	return g.constant("`" + text + "`")
}

// split cuts an identifier into what is up to its last colon, its last word, and its version with the semicolon.
func split(id string) (prefix, last, suffix string) {
	at := strings.LastIndexByte(id, ':') + 1
	last = id[at:]
	if i := strings.IndexByte(last, ';'); i >= 0 {
		last, suffix = last[:i], last[i:]
	}
	return id[:at], last, suffix
}

// terms writes the terms of a context.
func (g *generator) terms(terms map[string]string) {
	type group struct{ prefix, suffix string }
	groups := make(map[group][]string)
	var others []string
	for _, t := range sortedKeys(terms) {
		prefix, last, suffix := split(terms[t])
		if last == t {
			groups[group{prefix, suffix}] = append(groups[group{prefix, suffix}], t)
			continue
		}
		if t > last {
			g.fail("%s is not the first term of %s", t, terms[t]) // which is what its errors are to say
		}
		others = append(others, fmt.Sprintf("{%q, %s}", t, g.id(terms[t])))
	}
	keys := make([]group, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].prefix+keys[i].suffix < keys[j].prefix+keys[j].suffix })
	if len(keys) > 0 {
		g.printf(", groups: []termGroup{\n")
		for _, k := range keys {
			g.printf("{%q, %q, %s},\n", k.prefix, k.suffix, g.words(groups[k]))
		}
		g.printf("}")
	}
	if len(others) > 0 {
		g.printf(", others: []term{%s}", strings.Join(others, ", "))
	}
}

// element is an element that every set has.
type element struct {
	id, version, class, childOf, name, display, symbol, value, schema, alias string
	types, parts                                                             []string
}

// family returns what the identifiers of elements are written without.
func (e *element) family() (prefix, suffix string) {
	_, _, suffix = split(e.id)
	labels := strings.SplitAfter(e.id, ":")
	n := 2
	switch {
	case strings.HasPrefix(e.id, "dtmi:dtdl:extension:"):
		n = 5
	case strings.HasPrefix(e.id, "dtmi:dtdl:"):
		n = 3
	}
	return strings.Join(labels[:n], ""), suffix
}

func (g *generator) standardTable() {
	g.standard = make(map[string]element)
	for _, e := range g.digest.Elements {
		ctx := strs(e["@context"])
		if s := str(e, "@context"); s != "" {
			ctx = []string{s}
		}
		g.element(e, ctx, str(e, "@id"), "")
	}
	lines := make(map[string][]string) // by literals of the family
	for _, id := range sortedKeys(g.standard) {
		e := g.standard[id]
		prefix, suffix := e.family()
		key := fmt.Sprintf("%q, %q, %s", prefix, suffix, e.version)
		lines[key] = append(lines[key], e.line(prefix, suffix))
	}
	g.printf("var elementFamilies = [...]elementFamily{\n")
	for _, key := range sortedKeys(lines) {
		local := func(line string) string { s, _, _ := strings.Cut(line, "|"); return s }
		slices.SortFunc(lines[key], func(a, b string) int { return strings.Compare(local(a), local(b)) })
		g.printf("{%s, %s},\n", key, g.lines(lines[key]))
	}
	g.printf("}\n")
}

// line is the element in the columns of package dtdl.
func (e *element) line(prefix, suffix string) string {
	short := func(id string) string {
		rest, ok := strings.CutPrefix(id, prefix)
		if rest, end := strings.CutSuffix(rest, suffix); ok && end {
			return rest
		}
		if base, ok := strings.CutSuffix(id, ";"+e.version); ok {
			return base + ";%"
		}
		return id
	}
	list := func(ids []string) string {
		var out []string
		before := ""
		for _, id := range ids {
			s := short(id)
			if at := strings.LastIndexByte(s, ':') + 1; s[:at] == before {
				s = s[at:]
			} else {
				before = s[:at]
			}
			out = append(out, s)
		}
		return strings.Join(out, " ")
	}
	_, last, _ := split(e.id)
	text := func(s string) string {
		switch s {
		case last:
			return "="
		case smallWords(last):
			return "~"
		}
		return s
	}
	columns := []string{short(e.id), e.class, list(e.types), short(e.childOf), text(e.name), text(e.display), e.symbol, text(e.value), short(e.schema), short(e.alias), list(e.parts)}
	return strings.TrimRight(strings.Join(columns, "|"), "|")
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

// typeFamilies writes the supplemental types that are alike, and returns which these are.
func (g *generator) typeFamilies() map[string]bool {
	type member struct{ id, line string }
	families := make(map[string][]member) // by their literals
	for _, id := range sortedKeys(g.digest.SupplementalTypes) {
		s := g.digest.SupplementalTypes[id]
		if s.Abstract || len(s.Cocotypes)+len(s.Discotypes)+len(s.Altcotypes)+len(s.Constraints)+len(s.Siblings) > 0 || len(s.Properties) > 1 {
			continue
		}
		prefix, name, suffix := split(id)
		outer := g.body
		g.body = bytes.Buffer{}
		g.printf("prefix: %q, suffix: %q, like: supplemental{kind: %s, parent: %s, cotypes: %s, versions: %s", prefix, suffix, extensionKinds[s.ExtensionKind], g.id(s.Parent), g.set(s.Cotypes), versionBits(s.CotypeVersions))
		units, class, regular := "", false, true
		for p, prop := range s.Properties {
			which := &prop.ChildOf
			if *which == "" {
				which, class = &prop.Type, true
			}
			inner, unit, version := split(*which)
			*which = ""
			regular = version == suffix && !strings.Contains(unit, "#")
			g.printf(", props: []supplementalProperty{")
			g.supplementalProperty(p, prop)
			g.printf("}")
			units = inner
			name += " " + unit
		}
		g.printf("}")
		if units != "" {
			g.printf(", units: %q", units)
		}
		g.boolean("class", class)
		key := g.body.String()
		g.body = outer
		if regular {
			families[key] = append(families[key], member{id, name})
		}
	}
	alike := make(map[string]bool)
	var text strings.Builder
	for _, key := range sortedKeys(families) {
		const few = 8
		if len(families[key]) < few {
			continue
		}
		var lines []string
		for _, m := range families[key] {
			alike[m.id] = true
			lines = append(lines, m.line)
		}
		fmt.Fprintf(&text, "{%s, lines: %s},\n", key, g.lines(lines))
	}
	g.families = text.String()
	return alike
}
