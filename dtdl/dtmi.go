package dtdl

import (
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// Longest identifiers in bytes; a DTMI is ASCII.
const (
	MaxDTMI          = 4096 // any
	MaxUserDTMI      = 2048 // one that a document may define
	MaxInterfaceDTMI = 128  // that of an interface
)

// DTMI is a parsed digital twin model identifier, "dtmi:com:example:Pump;1.2". The version is optional and
// has one or two parts; a missing part is 0.
type DTMI struct {
	text     string
	path     string // labels joined by colons, without the scheme
	fragment string // with its '#'; empty if there is none
	major    int
	minor    int
	system   bool
}

// ParseDTMI reads an identifier after the grammar of DTDL v3 and v4: "dtmi:", labels of letters, digits and
// underscores that begin with a letter or an underscore and do not end with an underscore, a version of one
// or two numbers without leading zeros (at most 9 and 6 digits), and a fragment.
func ParseDTMI(s string) (DTMI, error) {
	d := DTMI{text: s}
	if why := d.parse(); why != "" {
		return DTMI{}, vaultmesh.Errorf(vaultmesh.Invalid, "dtmi", strconv.QuoteToASCII(clip(s)), "%s", why).
			WithFix("write it like dtmi:com:example:Pump;1")
	}
	return d, nil
}

func (d *DTMI) parse() string {
	if len(d.text) > MaxDTMI {
		return "it is longer than " + strconv.Itoa(MaxDTMI) + " characters"
	}
	rest, ok := strings.CutPrefix(d.text, "dtmi:")
	if !ok {
		return "it does not begin with \"dtmi:\""
	}
	if i := strings.IndexByte(rest, '#'); i >= 0 {
		d.fragment = rest[i:]
		rest = rest[:i]
		if f := d.fragment[1:]; f != "" {
			if !isLabel(f) {
				return "the fragment is not a name of letters, digits and underscores"
			}
			d.system = f[0] == '_'
		}
	}
	path, version, versioned := strings.Cut(rest, ";")
	for label := range strings.SplitSeq(path, ":") {
		if !isLabel(label) {
			return "the label " + strconv.QuoteToASCII(clip(label)) + " is not letters, digits and underscores that begin with a letter and end with a letter or digit"
		}
		d.system = d.system || label[0] == '_'
	}
	d.path = path
	if !versioned {
		return ""
	}
	major, minor, two := strings.Cut(version, ".")
	if d.major, ok = versionPart(major, 9); !ok {
		return "the version is not a number of 1 to 9 digits that begins with 1 to 9"
	}
	if d.minor, ok = versionPart(minor, 6); two && !ok {
		return "the minor version is not a number of 1 to 6 digits that begins with 1 to 9"
	}
	return ""
}

func versionPart(s string, digits int) (int, bool) {
	if s == "" || len(s) > digits || s[0] == '0' {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

func (d DTMI) String() string { return d.text }

// Major is the first part of the version, 0 if there is no version.
func (d DTMI) Major() int { return d.major }

// Minor is the second part of the version, 0 if there is none.
func (d DTMI) Minor() int { return d.minor }

// Labels returns the parts of the path, at least one.
func (d DTMI) Labels() []string { return strings.Split(d.path, ":") }

// Fragment is the part from '#' on, with it; empty if there is none.
func (d DTMI) Fragment() string { return d.fragment }

// Versionless is the identifier without its version, with its fragment.
func (d DTMI) Versionless() string { return "dtmi:" + d.path + d.fragment }

// IsSystem reports whether a label or the fragment begins with an underscore. Such identifiers are given by
// processors to elements without one and may not be written in a document.
func (d DTMI) IsSystem() bool { return d.system }

// IsReserved reports whether the language keeps the identifier for itself.
func (d DTMI) IsReserved() bool {
	return strings.HasPrefix(d.text, "dtmi:dtdl:") || strings.HasPrefix(d.text, "dtmi:standard:")
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isLabel reports whether s is a path segment; a leading underscore makes it a system segment.
func isLabel(s string) bool {
	return s != "" && !isDigit(s[0]) && s[len(s)-1] != '_' && wordOnly(s)
}

// isName reports whether s is a name after the language's grammar, of at most limit bytes.
func isName(s string, limit int) bool {
	return s != "" && len(s) <= limit && isLetter(s[0]) && s[len(s)-1] != '_' && wordOnly(s)
}

func wordOnly(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '_' {
			return false
		}
	}
	return true
}

// clip keeps what errors quote short.
func clip(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}
