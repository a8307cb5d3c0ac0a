package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// maxDepth is the deepest nesting of a payload, the envelope's object included.
const maxDepth = 16

// maxMembers bounds the members of one object.
const maxMembers = 1024

// scanner checks one JSON text (RFC 8259) in a single pass without building values: what is a value to this package
// is a slice of the payload. It refuses what has no single meaning, duplicate names above all. encoding/json takes four
// times as long for the same and accepts duplicates.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

// newScanner checks what concerns the payload as a whole.
func newScanner(data []byte) (scanner, error) {
	if !utf8.Valid(data) {
		return scanner{}, vaultmesh.Errorf(vaultmesh.Invalid, "device.payload", "", "the payload is not valid UTF-8")
	}
	return scanner{data: data}, nil
}

func (s *scanner) errorf(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "device.payload", "byte "+strconv.Itoa(s.pos), format, args...)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, 0 at the end; a NUL byte begins no token.
func (s *scanner) peek() byte {
	s.space()
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// end reports an error unless only white space is left.
func (s *scanner) end() error {
	if s.space(); s.pos != len(s.data) {
		return s.errorf("data after the end of the document")
	}
	return nil
}

// object calls member with each name of an object (without its quotes, escapes not resolved), the cursor before the
// value. It refuses duplicate names.
func (s *scanner) object(member func(name []byte) error) error {
	if s.peek() != '{' {
		return s.errorf("want an object")
	}
	if s.depth++; s.depth > maxDepth {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "device.payload", "byte "+strconv.Itoa(s.pos), "nested deeper than %d", maxDepth)
	}
	s.pos++
	if s.peek() == '}' {
		s.pos++
		s.depth--
		return nil
	}
	var names nameSet
	for {
		s.space()
		name, err := s.str()
		if err != nil {
			return err
		}
		if err := names.add(s, name); err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.errorf("want a colon after the name")
		}
		s.pos++
		if err := member(name); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			s.depth--
			return nil
		default:
			return s.errorf("want a comma or the end of the object")
		}
	}
}

// nameSet finds duplicate names: few by comparison, many by a map.
type nameSet struct {
	few  [8][]byte
	n    int
	many map[string]struct{}
}

func (ns *nameSet) add(s *scanner, name []byte) error {
	if bytes.IndexByte(name, '\\') >= 0 { // "\u0061" is "a"
		resolved, err := unquote(name)
		if err != nil {
			return s.errorf("a name is not a valid string")
		}
		name = []byte(resolved)
	}
	if ns.n < len(ns.few) {
		for _, old := range ns.few[:ns.n] {
			if bytes.Equal(old, name) {
				return s.errorf("the name %.64q occurs twice", name)
			}
		}
		ns.few[ns.n] = name
		ns.n++
		return nil
	}
	if ns.many == nil {
		ns.many = make(map[string]struct{}, 32)
		for _, old := range ns.few {
			ns.many[string(old)] = struct{}{}
		}
	}
	if _, twice := ns.many[string(name)]; twice {
		return s.errorf("the name %.64q occurs twice", name)
	}
	if ns.n++; ns.n > maxMembers {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "device.payload", "byte "+strconv.Itoa(s.pos), "an object has more than %d members", maxMembers)
	}
	ns.many[string(name)] = struct{}{}
	return nil
}

// raw returns the bytes of the next value, which is checked in full.
func (s *scanner) raw() (json.RawMessage, error) {
	s.space()
	from := s.pos
	if err := s.value(); err != nil {
		return nil, err
	}
	return s.data[from:s.pos:s.pos], nil
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == '"':
		_, err := s.str()
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '{':
		return s.object(func([]byte) error { return s.value() })
	case c == '[':
		return s.array()
	case s.pos >= len(s.data):
		return s.errorf("the document ends where a value should be")
	default:
		return s.errorf("%q cannot begin a value", c)
	}
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.errorf("want %s", word)
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) array() error {
	if s.depth++; s.depth > maxDepth {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "device.payload", "byte "+strconv.Itoa(s.pos), "nested deeper than %d", maxDepth)
	}
	s.pos++
	if s.peek() == ']' {
		s.pos++
		s.depth--
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			s.depth--
			return nil
		default:
			return s.errorf("want a comma or the end of the array")
		}
	}
}

// str returns the content of the string at the cursor, escapes checked but not resolved.
func (s *scanner) str() ([]byte, error) {
	if s.pos >= len(s.data) || s.data[s.pos] != '"' {
		return nil, s.errorf("want a string")
	}
	s.pos++
	from := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[from : s.pos-1], nil
		case c < 0x20:
			return nil, s.errorf("a control character in a string")
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			s.pos++
		}
	}
	return nil, s.errorf("the document ends within a string")
}

// escape steps over one escape sequence; the cursor is on the backslash. A lone surrogate is refused.
func (s *scanner) escape() error {
	if s.pos+1 >= len(s.data) {
		return s.errorf("the document ends within an escape")
	}
	switch s.data[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
	default:
		return s.errorf("an unknown escape")
	}
	u, ok := s.hex(s.pos)
	if !ok {
		return s.errorf("want four hexadecimal digits")
	}
	switch {
	case u >= 0xd800 && u < 0xdc00:
		if low, ok := s.hex(s.pos + 6); !ok || low < 0xdc00 || low > 0xdfff {
			return s.errorf("a lone surrogate")
		}
		s.pos += 12
	case u >= 0xdc00 && u <= 0xdfff:
		return s.errorf("a lone surrogate")
	default:
		s.pos += 6
	}
	return nil
}

// hex reads \uXXXX at i.
func (s *scanner) hex(i int) (uint64, bool) {
	if i+6 > len(s.data) || s.data[i] != '\\' || s.data[i+1] != 'u' {
		return 0, false
	}
	u, err := strconv.ParseUint(string(s.data[i+2:i+6]), 16, 16)
	return u, err == nil
}

func (s *scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > from
}

func (s *scanner) number() error {
	if s.data[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.data) && s.data[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return s.errorf("not a number")
	}
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return s.errorf("no digits after the decimal point")
		}
	}
	if s.pos < len(s.data) && (s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return s.errorf("no digits in the exponent")
		}
	}
	return nil
}

// unquote resolves the escapes of a string's content.
func unquote(content []byte) (string, error) {
	if bytes.IndexByte(content, '\\') < 0 {
		return string(content), nil
	}
	var text string
	if err := json.Unmarshal(fmt.Appendf(nil, `"%s"`, content), &text); err != nil {
		return "", err
	}
	return text, nil
}
