package dtdl

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

const dtdlContextPrefix = "dtmi:dtdl:context;"

// scope is the contexts in force at an element. It never changes once it is made, and one parser uses it.
type scope struct {
	dtdl       *contextTable
	version    uint8
	limits     limits
	limitsFrom string // the context that set the limits
	affiliates []*contextTable
	open       bool              // a context is in force that no table is for
	at         place             // of the context of the language
	unit       *unit             // in which that is
	found      map[string]string // terms that were looked up, with their identifiers
}

// contextPlace returns the place of the context of the language that is in force. Units with the same contexts
// share a scope, which only knows the place in the first of them.
func (p *parser) contextPlace(s *scope) place {
	if s.unit == p.unit {
		return s.at
	}
	at := s.at
	for _, part := range p.unit.node.get(wordContext).values() {
		if strings.HasPrefix(part.text, dtdlContextPrefix) {
			at = p.at(part)
		}
	}
	return at
}

// complete reports whether all contexts are known, so that every other term is a mistake.
func (s *scope) complete() bool { return !s.open }

// restricted reports whether keywords of JSON-LD that the language has no use for are errors.
func (s *scope) restricted() bool { return s.version >= 3 }

// id returns the identifier that a string stands for: itself, or that of a term of a context in force.
func (s *scope) id(text string) (string, bool) {
	if strings.HasPrefix(text, "dtmi:") {
		return text, isReference(text, s.version, s.limits)
	}
	if strings.IndexByte(text, ':') >= 0 { // no context defines prefixes
		return "", false
	}
	if id, ok := s.found[text]; ok {
		return id, true
	}
	id, ok := s.dtdl.lookup(text)
	for i := 0; i < len(s.affiliates) && !ok; i++ {
		id, ok = s.affiliates[i].lookup(text)
	}
	if ok {
		if s.found == nil {
			s.found = make(map[string]string)
		}
		s.found[text] = id
	}
	return id, ok
}

// reserved reports whether the contexts in force keep the identifier for themselves.
func (s *scope) reserved(id string) bool {
	return hasReserved(s.dtdl, id) || slices.ContainsFunc(s.affiliates, func(a *contextTable) bool { return hasReserved(a, id) })
}

func hasReserved(c *contextTable, id string) bool {
	return slices.ContainsFunc(c.reserved, func(p string) bool { return strings.HasPrefix(id, p) })
}

// reservedAnywhere reports whether any context keeps the identifier for itself.
func reservedAnywhere(id string) bool {
	for i := range contexts {
		if hasReserved(&contexts[i], id) {
			return true
		}
	}
	return false
}

func (s *scope) reservedPrefixes() string {
	var all []string
	for _, p := range s.dtdl.reserved {
		all = append(all, "'"+p+"'")
	}
	for _, a := range s.affiliates {
		for _, p := range a.reserved {
			all = append(all, "'"+p+"'")
		}
	}
	return strings.Join(all, ", ")
}

// isReference reports whether an identifier may be referred to in a version.
func isReference(id string, version uint8, l limits) bool {
	return len(id) <= idLengths[version-firstVersion][l] && isUserDTMI(id, version)
}

// isUserDTMI reports whether id has the syntax of identifiers that documents of a version write: no label
// that begins with an underscore, no fragment, and in v2 exactly a major version.
func isUserDTMI(id string, version uint8) bool {
	d := DTMI{text: id}
	if d.parse() != "" || d.system || d.fragment != "" {
		return false
	}
	return version > 2 || d.major > 0 && d.minor == 0
}

// contextOf returns the context with the identifier, or nil.
func contextOf(id string) *contextTable {
	i, ok := slices.BinarySearchFunc(contexts[:], id, func(c contextTable, id string) int { return cmp.Compare(c.id, id) })
	if !ok {
		return nil
	}
	return &contexts[i]
}

// contextVersions lists the versions that there are of a context.
func contextVersions(versionless string) []string {
	var out []string
	for i := range contexts {
		if rest, ok := strings.CutPrefix(contexts[i].id, versionless+";"); ok {
			out = append(out, rest)
		}
	}
	return out
}

// scope returns the contexts in force at an object: those around it, changed by its own @context. It stops
// the document where the context cannot be told.
func (p *parser) scope(outer *scope, n *node) *scope {
	m := n.get(wordContext)
	if m == nil {
		if outer == nil {
			p.quit("missingContext", p.at(n), Error{})
		}
		return outer
	}
	parts := m.values()
	if len(parts) == 0 {
		if outer == nil {
			p.quit("emptyContext", p.keyAt(m), Error{})
		}
		return outer
	}
	text := p.src.text[m.value.start:m.value.end]
	if outer == nil {
		if s, ok := p.scopes[text]; ok {
			return s
		}
	}
	s := p.newScope(outer, parts)
	if outer == nil && !p.stop && len(p.scopes) < 256 {
		p.scopes[text] = s
	}
	return s
}

func (p *parser) newScope(outer *scope, parts []*node) *scope {
	s := &scope{unit: p.unit}
	if outer != nil {
		*s = *outer
		s.at, s.unit, s.found = p.contextPlace(outer), p.unit, nil
		s.affiliates = slices.Clone(outer.affiliates)
	}
	i := p.leadingAffiliates(s, parts)
	if p.stop {
		return nil
	}
	if i = p.dtdlContexts(s, parts, i); p.stop {
		return nil
	}
	if s.dtdl == nil {
		p.quit("missingDtdlContext", p.at(parts[0]), Error{})
		return nil
	}
	if last := parts[len(parts)-1]; last.kind == '{' {
		p.quit("disallowedLocalContext", p.at(last), Error{Restriction: strconv.Itoa(int(s.version))})
		return nil
	}
	allow := p.options.AllowUndefinedExtensions || s.version == 2
	if p.options.DisallowUndefinedExtensions {
		allow = false
	}
	for _, part := range parts[i:] {
		if p.affiliate(s, part, s.version, allow); p.stop {
			return nil
		}
	}
	return s
}

// leadingAffiliates takes the contexts before that of the language, which imply its version.
func (p *parser) leadingAffiliates(s *scope, parts []*node) int {
	i := 0
	for ; i < len(parts) && parts[i].kind == '"' && !p.stop; i++ {
		c := contextOf(parts[i].text)
		if c == nil || c.version == 0 {
			break
		}
		p.affiliate(s, parts[i], uint8(c.version), p.options.AllowUndefinedExtensions && !p.options.DisallowUndefinedExtensions)
	}
	return i
}

// dtdlContexts takes the contexts of the language from parts[i] on, and the limits behind a limitless one.
func (p *parser) dtdlContexts(s *scope, parts []*node, i int) int {
	for i < len(parts) && parts[i].kind == '"' && strings.HasPrefix(parts[i].text, dtdlContextPrefix) {
		limitless := p.dtdlContext(s, parts[i])
		if p.stop {
			return i
		}
		i++
		if !limitless {
			s.limits, s.limitsFrom = coreLimits, s.dtdl.id
			continue
		}
		if i == len(parts) || !p.limitContext(s, parts[i]) {
			if !p.stop {
				p.quit("missingLimitContext", p.at(parts[i-1]), Error{Value: parts[i-1].text, Restriction: strconv.Itoa(int(s.version))})
			}
			return i
		}
		i++
	}
	return i
}

// dtdlContext puts a version of the language in force and reports whether its limits are to follow.
func (p *parser) dtdlContext(s *scope, part *node) (limitless bool) {
	at, text := p.at(part), part.text
	d, err := ParseDTMI(text)
	if err != nil {
		p.quit("invalidContextSpecifier", at, Error{Value: text})
		return false
	}
	version := strconv.Itoa(d.major)
	switch f := d.fragment; {
	case f != "" && f != "#limitless" && f != "#limits":
		p.quit("invalidContextFragment", at, Error{Value: text})
	case f != "" && d.major != 4:
		p.quit("disallowedContextFragment", at, Error{Value: text, Restriction: version})
	case d.major == 0:
		p.quit("missingContextVersion", at, Error{Value: text})
	case f == "#limits":
		p.quit("misplacedLimitContext", at, Error{Value: text})
	}
	if p.stop {
		return false
	}
	c := contextOf(dtdlContextPrefix + version)
	switch {
	case c == nil || d.minor != 0:
		p.quit("unrecognizedContextVersion", at, Error{Value: text, Restriction: strings.Join(contextVersions("dtmi:dtdl:context"), " or ")})
	case p.options.MaxVersion != 0 && d.major > p.options.MaxVersion:
		p.quit("disallowedContextVersion", at, Error{Value: text, Restriction: strconv.Itoa(p.options.MaxVersion)})
	default:
		s.dtdl, s.version, s.at = c, uint8(d.major), at
	}
	return d.fragment == "#limitless"
}

// limitContext takes limits from a context, if it is one of limits for the version in force.
func (p *parser) limitContext(s *scope, part *node) bool {
	if part.kind != '"' {
		return false
	}
	at, text := p.at(part), part.text
	if !strings.HasPrefix(text, "dtmi:") {
		p.quit("nonDtmiContextSpecifier", at, Error{Value: text})
		return false
	}
	d, err := ParseDTMI(text)
	fragmentless, _, _ := strings.Cut(text, "#")
	version := strconv.Itoa(int(s.version))
	switch {
	case err != nil:
		p.quit("invalidContextSpecifier", at, Error{Value: text})
	case d.major == 0:
		p.quit("missingContextVersion", at, Error{Value: text})
	case !isReference(fragmentless, s.version, coreLimits):
		p.quit("invalidContextSpecifierForVersion", at, Error{Value: text, Restriction: version})
	case strings.HasPrefix(text, dtdlContextPrefix):
		if d.fragment != "" && d.fragment != "#limitless" && d.fragment != "#limits" {
			p.quit("invalidContextFragment", at, Error{Value: text})
			return false
		}
		if d.fragment == "#limitless" || d.major != int(s.version) {
			return false
		}
		s.limits, s.limitsFrom = coreLimits, text
		return true
	case d.fragment != "":
		p.quit("invalidContextSpecifier", at, Error{Value: text})
	}
	if p.stop {
		return false
	}
	c := contextOf(text)
	if c == nil || c.limitsOf != int(s.version) {
		return false
	}
	if !p.options.acceptsLimits(d) {
		p.quit("disallowedLimitContext", at, Error{Value: text, Restriction: p.options.limitsText(version)})
		return false
	}
	s.limits, s.limitsFrom = c.limits, c.id
	return true
}

// acceptsLimits reports whether a limit context is among those that the options admit.
func (o *Options) acceptsLimits(d DTMI) bool {
	if o.Limits == nil {
		return true
	}
	for _, text := range o.Limits {
		a, err := ParseDTMI(text)
		if err == nil && a.path == d.path && (a.major == 0 || a.major == d.major && a.minor <= d.minor) {
			return true
		}
	}
	return false
}

func (o *Options) limitsText(version string) string {
	var b strings.Builder
	b.WriteString(strconv.Quote(dtdlContextPrefix + version + "#limits"))
	for _, l := range o.Limits {
		b.WriteString(" or " + strconv.Quote(l))
	}
	return b.String()
}

// affiliate puts the context of an extension in force, or keeps in mind that one is not known.
func (p *parser) affiliate(s *scope, part *node, version uint8, allowUndefined bool) {
	at, text := p.at(part), part.text
	if part.kind != '"' {
		p.quit("localContextNotLast", at, Error{})
		return
	}
	d, err := ParseDTMI(text)
	switch {
	case strings.HasPrefix(text, dtdlContextPrefix):
		p.quit("dtdlContextFollowsAffiliate", at, Error{Value: text})
	case !strings.HasPrefix(text, "dtmi:"):
		p.quit("nonDtmiContextSpecifier", at, Error{Value: text})
	case err != nil || d.fragment != "":
		p.quit("invalidContextSpecifier", at, Error{Value: text})
	case !isReference(text, version, coreLimits):
		p.quit("invalidContextSpecifierForVersion", at, Error{Value: text, Restriction: strconv.Itoa(int(version))})
	case d.major == 0:
		p.quit("missingContextVersion", at, Error{Value: text})
	}
	if p.stop {
		return
	}
	c := contextOf(text)
	switch known := contextVersions("dtmi:" + d.path); {
	case c != nil && c.limitsOf != 0:
		p.quit("misplacedLimitContext", at, Error{Value: text})
	case c != nil:
		s.affiliates = slices.DeleteFunc(s.affiliates, func(a *contextTable) bool {
			before, _, _ := strings.Cut(a.id, ";")
			return before == "dtmi:"+d.path
		})
		s.affiliates = append(s.affiliates, c)
	case allowUndefined:
		s.open = true
	case len(known) > 0:
		p.quit("unresolvableContextVersion", at, Error{Value: text, Restriction: strings.Join(known, " or ")})
	default:
		p.quit("unresolvableContextSpecifier", at, Error{Value: text})
	}
}
