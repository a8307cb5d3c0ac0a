package receipt

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/gowebpki/jcs"

	"vaultmesh.org/vaultmesh"
)

// scanner checks one JSON text (RFC 8259) in a single pass and notes whether it is in canonical form already. It is
// what makes Encode cheap: a canonical body is recognised without being built again.
type scanner struct {
	data     []byte
	pos      int
	depth    int
	maxDepth int
	loose    bool // something was seen that canonical form does not allow
	// plainNames refuses member names other than [a-z0-9_]*: encoding/json takes other spellings of a name for it
	// (capitals, and letters that fold to ASCII), so a strict reader of such names must see only plain ones.
	plainNames bool
}

func (s *scanner) document() (canonical bool, err error) {
	s.space()
	if err := s.value(); err != nil {
		return false, err
	}
	s.space()
	if s.pos != len(s.data) {
		return false, s.errorf("data after the end of the document")
	}
	return !s.loose, nil
}

func (s *scanner) errorf(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "json", "byte "+strconv.Itoa(s.pos), format, args...)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
			s.loose = true
		default:
			return
		}
	}
}

// next returns the byte at the cursor, 0 at the end; a NUL byte is never valid where next is asked.
func (s *scanner) next() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) value() error {
	switch c := s.next(); {
	case c == '{' || c == '[':
		if s.depth++; s.depth > s.maxDepth {
			return vaultmesh.Errorf(vaultmesh.TooLarge, "json", "byte "+strconv.Itoa(s.pos), "nested deeper than %d", s.maxDepth)
		}
		s.pos++
		var err error
		if c == '{' {
			err = s.object()
		} else {
			err = s.array()
		}
		s.depth--
		return err
	case c == '"':
		_, err := s.str()
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case s.pos >= len(s.data):
		return s.errorf("the document ends where a value should be")
	default:
		return s.errorf("%q cannot begin a value", c)
	}
}

func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.errorf("want %s", word)
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) object() error {
	var last []byte // content of the previous name, while everything is canonical
	for n := 0; ; n++ {
		s.space()
		if n == 0 && s.next() == '}' {
			s.pos++
			return nil
		}
		if s.next() != '"' {
			return s.errorf("want a member's name")
		}
		name, err := s.str()
		if err != nil {
			return err
		}
		if s.plainNames && !plain(name) {
			return s.errorf("unknown member %.64q", name)
		}
		if !s.loose {
			if n > 0 {
				switch order := compareNames(last, name); {
				case order == 0:
					return s.errorf("the name %.64q occurs twice", name)
				case order > 0:
					s.loose = true
				}
			}
			last = name
		}
		s.space()
		if s.next() != ':' {
			return s.errorf("want a colon after the name")
		}
		s.pos++
		s.space()
		if err := s.value(); err != nil {
			return err
		}
		s.space()
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.errorf("want a comma or a closing brace")
		}
	}
}

func plain(name []byte) bool {
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

func (s *scanner) array() error {
	for n := 0; ; n++ {
		s.space()
		if n == 0 && s.next() == ']' {
			s.pos++
			return nil
		}
		if err := s.value(); err != nil {
			return err
		}
		s.space()
		switch s.next() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.errorf("want a comma or a closing bracket")
		}
	}
}

// str passes a string and returns what stands between the quotes, escapes unresolved.
func (s *scanner) str() ([]byte, error) {
	s.pos++
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, s.errorf("a control character must be escaped")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && n <= 1 {
				return nil, s.errorf("not UTF-8")
			}
			s.pos += n
		}
	}
	return nil, s.errorf("a string does not end")
}

// escape passes one escape sequence; canonical form has only those that are needed, in their shortest form.
func (s *scanner) escape() error {
	s.pos++
	c := s.next()
	s.pos++
	switch c {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return nil
	case '/':
		s.loose = true
		return nil
	case 'u':
	default:
		return s.errorf("unknown escape")
	}
	u, err := s.hex4()
	if err != nil {
		return err
	}
	digits := s.data[s.pos-4 : s.pos]
	if u >= 0x20 || shortEscape[u] != 0 || digits[3] >= 'A' && digits[3] <= 'F' {
		s.loose = true
	}
	switch {
	case u >= 0xdc00 && u <= 0xdfff:
		return s.errorf("a low surrogate without a high one")
	case u >= 0xd800 && u <= 0xdbff:
		if s.next() != '\\' || s.pos+1 >= len(s.data) || s.data[s.pos+1] != 'u' {
			return s.errorf("a high surrogate without a low one")
		}
		s.pos += 2
		if u, err = s.hex4(); err != nil {
			return err
		}
		if u < 0xdc00 || u > 0xdfff {
			return s.errorf("a high surrogate without a low one")
		}
	}
	return nil
}

func (s *scanner) hex4() (uint32, error) {
	if len(s.data)-s.pos < 4 {
		return 0, s.errorf("want four hexadecimal digits")
	}
	var u uint32
	for _, c := range s.data[s.pos : s.pos+4] {
		switch {
		case c >= '0' && c <= '9':
			u = u<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			u = u<<4 | uint32(c-'a'+10)
		case c >= 'A' && c <= 'F':
			u = u<<4 | uint32(c-'A'+10)
		default:
			return 0, s.errorf("want four hexadecimal digits")
		}
	}
	s.pos += 4
	return u, nil
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}

func (s *scanner) number() error {
	start := s.pos
	if s.next() == '-' {
		s.pos++
	}
	zero := s.next() == '0'
	n := s.digits()
	if n == 0 || zero && n > 1 {
		return s.errorf("not a number")
	}
	integer := true
	if s.next() == '.' {
		s.pos++
		if integer = false; s.digits() == 0 {
			return s.errorf("digits must follow the decimal point")
		}
	}
	if c := s.next(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.next(); c == '+' || c == '-' {
			s.pos++
		}
		if integer = false; s.digits() == 0 {
			return s.errorf("digits must follow the exponent's letter")
		}
	}
	token := s.data[start:s.pos]
	if integer && n <= 15 {
		if zero && token[0] == '-' {
			s.loose = true
		}
		return nil
	}
	f, err := strconv.ParseFloat(string(token), 64)
	if err != nil || math.Abs(f) > maxSafe {
		s.pos = start
		return s.errorf("the number %.32s has magnitude 2^53 or more; send it as a string", token)
	}
	if !s.loose {
		text, err := jcs.NumberToJSON(f)
		if err != nil || text != string(token) {
			s.loose = true
		}
	}
	return nil
}

// compareNames orders two names, given as canonical string content, by UTF-16 code units (RFC 8785 section 3.2.3).
func compareNames(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 {
		ra, na := nextRune(a)
		rb, nb := nextRune(b)
		if ra != rb {
			return unitOrder(ra) - unitOrder(rb)
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) - len(b)
}

// nextRune returns the first character of canonical string content with its escape resolved, and its length.
func nextRune(b []byte) (rune, int) {
	if b[0] != '\\' {
		return utf8.DecodeRune(b)
	}
	switch b[1] {
	case 'b':
		return '\b', 2
	case 't':
		return '\t', 2
	case 'n':
		return '\n', 2
	case 'f':
		return '\f', 2
	case 'r':
		return '\r', 2
	case 'u':
		v, _ := strconv.ParseUint(string(b[2:6]), 16, 16)
		return rune(v), 6
	}
	return rune(b[1]), 2
}

// unitOrder maps a character to a number that sorts as its UTF-16 form does: characters beyond U+FFFF begin with a
// surrogate, so they sort before U+E000 to U+FFFF.
func unitOrder(r rune) int {
	switch {
	case r >= 0x10000:
		return int(r) + 0x10000
	case r >= 0xe000:
		return int(r) + 0x200000
	}
	return int(r)
}
