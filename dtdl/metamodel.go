package dtdl

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

//go:generate go run ./internal/gen -out metamodel_gen.go

// The tables of metamodel_gen.go are values of the types below. They are made from the language's own
// metamodel by the command internal/gen and never change at run time.

// classID names a material class of the metamodel: those that elements of a document are of.
type classID uint8

// classSet is a set of material classes.
type classSet uint64

func (s classSet) has(c classID) bool { return s>>c&1 == 1 }

// versionSet is a set of major versions of the language, bit 2 standing for v2.
type versionSet uint8

func (s versionSet) has(version uint8) bool { return s>>version&1 == 1 }

// The versions of the language.
const (
	firstVersion = 2
	lastVersion  = 4
	versions     = lastVersion - firstVersion + 1
)

// limits selects the bounds of an element: the language's own or those of a limit extension.
type limits uint8

const (
	coreLimits limits = iota
	aioLimits
	onvifLimits
	limitSpecs
)

// bound is a limit by [limits]; 0 is none.
type bound [limitSpecs]int

// class is a material class.
type class struct {
	name      string
	abstract  bool
	partition bool     // elements of it are units of a model: interfaces
	rootable  bool     // elements of it may stand at the top of a document
	supers    classSet // itself and all it is a subclass of
	props     []uint16 // indexes of properties

	// By version of the language, index 0 being v2.
	concrete   [versions]classSet // subclasses that elements may be of
	definable  [versions]classSet // those of them that documents may define, not only refer to
	extensible [versions]classSet // those that extensions derive classes from
}

// propKind is what the values of a property are.
type propKind uint8

const (
	objectProp     propKind = iota // elements, defined in place or referred to
	identifierProp                 // the identifier of an element that need not be in the set
	stringProp
	textProp // localized strings
	integerProp
	booleanProp
	anyProp // integer or string
)

// form is a pattern of strings.
type form uint8

const (
	anyForm  form = iota
	nameForm      // letters, digits and underscores, beginning with a letter, ending with a letter or digit
	dtmiForm      // an identifier in the syntax of the version
)

// property is a property of material classes.
type property struct {
	name    string
	kind    propKind
	plural  bool
	segment string // the property of a value that names it in identifiers that are assigned
	key     string // the property by which the values are looked up
	rules   [versions]rule
}

// rule is what one version of the language says of a property.
type rule struct {
	allowed      bool
	class        classID // of the values of an objectProp
	idRequired   bool
	typeRequired bool
	bounded      uint8 // 1: low counts, 2: high counts
	form         form
	versions     versionSet // in which values may be written
	min, max     int        // how many values; max 0 is no limit
	low, high    int        // of integers
	length       bound      // of strings, in UTF-16 code units
	values       []string   // the identifiers that values must be among
	unique       []string   // properties that differ in all values
}

// contextTable is one context: a version of the language or of an extension.
type contextTable struct {
	id       string
	version  int // the version of the language whose implied where the context stands first; 0 otherwise
	limits   limits
	limitsOf int // the version of the language that the limits are for; 0 where it is no limit context
	reserved []string
	groups   []termGroup
	others   []term // whose identifiers do not have the term in them
}

type term struct{ name, id string }

// extensionKind is what a supplemental type extends.
type extensionKind uint8

const (
	noExtension extensionKind = iota
	semanticType
	semanticUnit
	unitType
	unitAttribute
	adjunctType
	latentType
	namedLatentType
)

// supplemental is a type that elements have beside their class.
type supplemental struct {
	id       string
	kind     extensionKind
	abstract bool
	parent   string
	cotypes  classSet   // classes of elements that may have it
	versions versionSet // in which those elements are written
	requires []string   // types that an element with it must also have
	excludes []string   // types that an element with it must not have
	admits   []string   // types beside which elements of any class may have it
	props    []supplementalProperty
	rules    []constraint
	siblings []siblingRule
}

// supplementalProperty is a property that a supplemental type adds to an element.
type supplementalProperty struct {
	id       string
	datatype string // "string" … of a literal; empty for an identifier and for elements
	class    string // the type of elements
	childOf  string // the element in which the value must be defined
	instance string // the property whose value is the schema of this one's value
	pattern  string
	required bool
	plural   bool
	unique   bool // among siblings
	min      int
	length   int
	bounded  uint8 // 1: low counts, 2: high counts
	low      int
	high     int
}

// constraint is what a supplemental type demands of another property of its element.
type constraint struct {
	property   string
	inverse    bool     // of the element whose property holds this one
	types      []string // one of them
	typesText  string
	values     []string // one of them
	valuesText string
	noneOther  string // no sibling has this type
	someOther  string // a sibling has this type
	key        string // the sibling is the one whose property key …
	keyref     string // … has the value of this property
	parentOf   string // and the value must be the parent of what this property names
}

// siblingRule is what a supplemental type demands of the sibling that its element refers to.
type siblingRule struct {
	key, keyref string
	types       []string
	typesText   string
	not         string // a type that the sibling must not have
	path        string // the property that names a property which the sibling must have
	unique      string // no two elements refer to the same sibling by the same value of this property
}

// control is a demand on all descendants of an element.
type control struct {
	version      uint8
	root         classID
	props        []string // the properties that count
	narrow       bool     // only along these
	selfAllowed  bool
	exclude      classID // no value of props may be of it
	datatype     string  // values of props must be of the type that this property names
	imports      string  // the property whose values are inherited along props
	depth, count bound
}

// standardElement is an element that every set has.
type standardElement struct {
	id      string
	version uint8
	class   classID
	types   []string
	childOf string
	alias   string // the element that it stands for
	name    string
	display string
	symbol  string
	value   string   // of an EnumValue
	schema  string   // elementSchema, valueSchema, or schema of a Field
	parts   []string // fields or enumValues

	compiled atomic.Pointer[Schema] // what sets share of it, where it is a schema
	unit     atomic.Pointer[Unit]   // … or a unit
}

func (p *property) rule(version uint8) *rule { return &p.rules[version-firstVersion] }

// find returns the place in c.props of the property that a member of an object names in the version, by its term
// or by its identifier; -1 where the version has none of the name.
func (c *class) find(m *member, version uint8) int {
	w := m.word
	if w == noWord {
		rest, ok := strings.CutPrefix(m.key, "dtmi:dtdl:property:")
		if !ok {
			return -1
		}
		name, v, _ := strings.Cut(rest, ";")
		if len(v) != 1 || v[0] != '0'+version {
			return -1
		}
		if w = wordOf(name); w < firstPropertyWord {
			return -1
		}
	}
	for at, i := range c.props {
		if words.props[i] == w && properties[i].rule(version).allowed {
			return at
		}
	}
	return -1
}

// byName returns the property whatever the version is.
func (c *class) byName(name string) *property {
	for _, i := range c.props {
		if properties[i].name == name {
			return &properties[i]
		}
	}
	return nil
}

// supplementalOf returns the supplemental type with the identifier, or nil.
func supplementalOf(id string) *supplemental {
	if i, ok := slices.BinarySearchFunc(supplementals[:], id, func(s supplemental, id string) int { return cmp.Compare(s.id, id) }); ok {
		return &supplementals[i]
	}
	if id == "" {
		return nil
	}
	if t, ok := knownTypes.Load(id); ok {
		return t.(*supplemental)
	}
	for i := range typeFamilies {
		if t := typeFamilies[i].find(id); t != nil {
			return t
		}
	}
	return nil
}

// isA reports whether s is the type or derives from it.
func (s *supplemental) isA(id string) bool {
	for s != nil {
		if s.id == id || s.parent == id {
			return true
		}
		s = supplementalOf(s.parent)
	}
	return false
}

// property returns the property with the identifier that the type or an ancestor of it adds, or nil.
func (s *supplemental) property(id string) *supplementalProperty {
	for ; s != nil; s = supplementalOf(s.parent) {
		for i := range s.props {
			if s.props[i].id == id {
				return &s.props[i]
			}
		}
	}
	return nil
}

// standardOf returns the element that every set has, what an alias stands for included; nil if there is none.
func standardOf(id string) *standardElement {
	for range 4 {
		e := findStandard(id)
		if e == nil || e.alias == "" {
			return e
		}
		id = e.alias
	}
	return nil
}

// patterns are the regular expressions of the metamodel, compiled when first needed.
var patterns sync.Map // string to *regexp.Regexp

func matches(pattern, s string) bool {
	p, ok := patterns.Load(pattern)
	if !ok {
		p, _ = patterns.LoadOrStore(pattern, regexp.MustCompile(pattern))
	}
	return p.(*regexp.Regexp).MatchString(s)
}

// materialNames maps what may stand in @type for a material class: its name, or its identifier in a version.
var materialNames = sync.OnceValue(func() map[string]classID {
	m := make(map[string]classID)
	for c := range classes {
		if classes[c].name != "" {
			m[classes[c].name] = classID(c)
		}
	}
	return m
})

// materialClass returns the class that a string of @type names in some version; version 0 stands for any.
func materialClass(s string) (c classID, version uint8) {
	if rest, ok := strings.CutPrefix(s, "dtmi:dtdl:class:"); ok {
		name, v, ok := strings.Cut(rest, ";")
		if !ok || len(v) != 1 || v[0] < '0'+firstVersion || v[0] > '0'+lastVersion {
			return 0, 0
		}
		return materialNames()[name], v[0] - '0'
	}
	return materialNames()[s], 0
}
