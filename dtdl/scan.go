package dtdl

import (
	"strconv"
	"unicode/utf8"
)

// scanner walks one JSON text strictly (RFC 8259, and no lone surrogates). It allocates only for faults and
// for strings with escapes.
type scanner struct {
	data  []byte
	i     int
	depth int
	all   *collector // in collecting mode
}

func (sc *scanner) space() {
	for sc.i < len(sc.data) {
		switch sc.data[sc.i] {
		case ' ', '\t', '\n', '\r':
			sc.i++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end.
func (sc *scanner) peek() byte {
	if sc.i < len(sc.data) {
		return sc.data[sc.i]
	}
	return 0
}

// word consumes the literal if it is next and ends there.
func (sc *scanner) word(w string) bool {
	if len(sc.data)-sc.i < len(w) || string(sc.data[sc.i:sc.i+len(w)]) != w {
		return false
	}
	sc.i += len(w)
	return true
}

// str consumes a string and returns what is between the quotes, and whether that holds escapes.
func (sc *scanner) str() (text []byte, escaped bool, why string) {
	if sc.peek() != '"' {
		return nil, false, "a string must begin with a quotation mark"
	}
	sc.i++
	start := sc.i
	for {
		for sc.i < len(sc.data) && plainByte[sc.data[sc.i]] {
			sc.i++
		}
		if sc.i == len(sc.data) {
			return nil, false, "a string does not end"
		}
		c := sc.data[sc.i]
		switch {
		case c == '"':
			text = sc.data[start:sc.i]
			sc.i++
			return text, escaped, ""
		case c == '\\':
			escaped = true
			if why := sc.escape(); why != "" {
				return nil, false, why
			}
		case c < 0x20:
			return nil, false, "a control character stands in a string without an escape"
		default:
			r, n := utf8.DecodeRune(sc.data[sc.i:])
			if r == utf8.RuneError && n == 1 {
				return nil, false, "the text is not UTF-8"
			}
			sc.i += n
		}
	}
}

// plainByte tells the bytes that stand for themselves in a string, by themselves.
var plainByte = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

func (sc *scanner) escape() string {
	sc.i++
	switch c := sc.peek(); c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		sc.i++
		return ""
	case 'u':
		sc.i++
		r, ok := sc.hex4()
		switch {
		case !ok:
			return "an escape \\u is not followed by four hexadecimal digits"
		case r >= 0xDC00 && r <= 0xDFFF:
			return "an escape names the second half of a surrogate pair without the first"
		case r >= 0xD800 && r <= 0xDBFF:
			if !sc.word(`\u`) {
				return "an escape names the first half of a surrogate pair without the second"
			}
			if low, ok := sc.hex4(); !ok || low < 0xDC00 || low > 0xDFFF {
				return "an escape names the first half of a surrogate pair without the second"
			}
		}
		return ""
	}
	return "a string holds an unknown escape"
}

func (sc *scanner) hex4() (rune, bool) {
	if len(sc.data)-sc.i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range sc.data[sc.i : sc.i+4] {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	sc.i += 4
	return r, true
}

// unescape decodes what str returned.
func unescape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	sc := scanner{data: text}
	for sc.i < len(text) {
		c := text[sc.i]
		sc.i++
		if c != '\\' {
			out = append(out, c)
			continue
		}
		c = text[sc.i]
		sc.i++
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := sc.hex4()
			if r >= 0xD800 && r <= 0xDBFF {
				sc.i += 2
				low, _ := sc.hex4()
				r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return out
}

// number is the shape of a JSON number.
type number struct {
	text     []byte
	whole    bool // no fraction and no exponent
	negative bool
	digits   int // of the integer part without leading zeros
	exponent int // saturated
}

// num consumes a number.
func (sc *scanner) num() (n number, why string) {
	start := sc.i
	if sc.peek() == '-' {
		n.negative = true
		sc.i++
	}
	first := sc.i
	sc.digits()
	switch {
	case sc.i == first:
		return n, "a number has no digits"
	case sc.data[first] == '0' && sc.i > first+1:
		return n, "a number has a leading zero"
	case sc.data[first] != '0':
		n.digits = sc.i - first
	}
	n.whole = true
	if sc.peek() == '.' {
		n.whole = false
		sc.i++
		if at := sc.i; sc.digits() == at {
			return n, "a number has no digits behind the point"
		}
	}
	if sc.peek()|0x20 == 'e' {
		n.whole = false
		sc.i++
		sign := 1
		switch sc.peek() {
		case '-':
			sign = -1
			sc.i++
		case '+':
			sc.i++
		}
		at := sc.i
		if sc.digits() == at {
			return n, "a number has no digits in its exponent"
		}
		for _, c := range sc.data[at:sc.i] {
			n.exponent = min(n.exponent*10+int(c-'0'), 1<<24)
		}
		n.exponent *= sign
	}
	n.text = sc.data[start:sc.i]
	return n, ""
}

// digits skips digits and returns where they end.
func (sc *scanner) digits() int {
	for sc.i < len(sc.data) && isDigit(sc.data[sc.i]) {
		sc.i++
	}
	return sc.i
}

// finite reports whether the number is finite as a float of 32 or 64 bits, after rounding to nearest.
func (n *number) finite(bits int) bool {
	limit := 308
	if bits == 32 {
		limit = 38
	}
	if n.digits+n.exponent <= limit { // below 10^limit whatever the digits are: no need to convert
		return true
	}
	_, err := strconv.ParseFloat(string(n.text), bits)
	return err == nil
}

// magnitude returns the absolute value of a whole number.
func (n *number) magnitude() (m uint64, ok bool) {
	if n.digits > 20 {
		return 0, false
	}
	for _, c := range n.text {
		if c == '-' {
			continue
		}
		d := uint64(c - '0')
		if m > (1<<64-1-d)/10 {
			return 0, false
		}
		m = m*10 + d
	}
	return m, true
}

// skip consumes one value of any type.
func (sc *scanner) skip() (why string) {
	switch c := sc.peek(); {
	case c == '"':
		_, _, why = sc.str()
		return why
	case c == '-' || isDigit(c):
		_, why = sc.num()
		return why
	case c == 't' && sc.word("true"), c == 'f' && sc.word("false"), c == 'n' && sc.word("null"):
		return ""
	}
	return "not a JSON value"
}

// found says what is next, for errors.
func (sc *scanner) found() string {
	switch c := sc.peek(); {
	case sc.i >= len(sc.data):
		return "nothing"
	case c == '"':
		return "a string"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '-' || isDigit(c):
		return "a number"
	}
	for _, w := range [3]string{"true", "false", "null"} {
		if probe := *sc; probe.word(w) {
			return w
		}
	}
	return "no JSON value"
}
