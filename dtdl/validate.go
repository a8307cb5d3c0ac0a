package dtdl

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// MaxFaults bounds what one call of Faults collects.
const MaxFaults = 100

// Fault is one thing that is wrong with an instance value.
type Fault struct {
	Path     string `json:"path"`               // where, as a JSON pointer (RFC 6901); "" is the value itself
	Detail   string `json:"detail"`             // what was found
	Expected string `json:"expected,omitempty"` // what the model wants there
}

// fault is what an instance value does wrong; the walk back adds where.
type fault struct {
	kind   vaultmesh.Kind
	path   []string // innermost first
	detail string
	want   string
	fatal  bool // the text cannot be read any further
}

func (f *fault) in(segment string) *fault {
	f.path = append(f.path, segment)
	return f
}

// pointer renders the path as a JSON pointer (RFC 6901), "" for the value itself.
func (f *fault) pointer() string {
	var b strings.Builder
	for i := len(f.path) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(f.path[i])))
	}
	return b.String()
}

// instance is what a value must be one of: exactly one field is set.
type instance struct {
	schema *Schema
	twin   *Interface
	link   *Relationship
}

// validate is the strict mode: it stops at the first fault.
func (in instance) validate(role, name string, raw json.RawMessage) error {
	f := tooLong(raw)
	if f == nil {
		sc := scanner{data: raw}
		if f = sc.document(in); f == nil {
			return nil
		}
	}
	subject := strings.TrimSpace(role + " " + name)
	if at := f.pointer(); at != "" {
		subject += " at " + strconv.QuoteToASCII(at)
	}
	e := vaultmesh.Errorf(f.kind, "dtdl.validate", subject, "%s", f.detail)
	if f.want != "" {
		e = e.WithFix("expected %s", f.want)
	}
	return e
}

// faults is the collecting mode: it goes on behind a fault, unless the text is no JSON.
func (in instance) faults(raw json.RawMessage) []Fault {
	c := &collector{}
	f := tooLong(raw)
	if f == nil {
		sc := scanner{data: raw, all: c}
		f = sc.document(in)
	}
	if f != nil {
		c.add(f)
	}
	return c.found
}

func tooLong(raw []byte) *fault {
	if len(raw) <= MaxValueBytes {
		return nil
	}
	return &fault{kind: vaultmesh.TooLarge, detail: fmt.Sprintf("the value has %d bytes", len(raw)), want: fmt.Sprintf("at most %d", MaxValueBytes), fatal: true}
}

func (sc *scanner) document(in instance) *fault {
	sc.space()
	f := sc.any(in)
	if f != nil && sc.all != nil && !f.fatal { // the rest may still be no JSON
		sc.all.add(f)
		sc.i, sc.depth = 0, 0
		sc.space()
		f = sc.jump()
	}
	if f != nil {
		return f
	}
	sc.space()
	if sc.i < len(sc.data) {
		return broken("something follows the value")
	}
	return nil
}

func (sc *scanner) any(in instance) *fault {
	switch {
	case in.twin != nil:
		return sc.twin(in.twin)
	case in.link != nil:
		return sc.linkProperties(in.link)
	}
	return sc.value(in.schema)
}

// collector keeps faults with their whole paths.
type collector struct {
	found []Fault
	path  []string // outermost first
}

func (c *collector) add(f *fault) {
	if len(c.found) == MaxFaults {
		return
	}
	for i := len(c.path) - 1; i >= 0; i-- {
		f = f.in(c.path[i])
	}
	c.found = append(c.found, Fault{f.pointer(), f.detail, f.want})
}

// note reports a fault behind which reading goes on: in strict mode it ends the walk.
func (sc *scanner) note(f *fault) *fault {
	if sc.all == nil || f == nil || f.fatal {
		return f
	}
	sc.all.add(f)
	return nil
}

// inner reads a value inside another one. In collecting mode a fault is kept, and reading goes on behind the
// value.
func (sc *scanner) inner(in instance, key string) *fault {
	if sc.all == nil {
		if f := sc.any(in); f != nil {
			return f.in(key)
		}
		return nil
	}
	c := sc.all
	c.path = append(c.path, key)
	start, depth := sc.i, sc.depth
	f := sc.any(in)
	if f != nil && !f.fatal {
		c.add(f)
		sc.i, sc.depth = start, depth
		f = sc.jump()
	}
	c.path = c.path[:len(c.path)-1]
	return f
}

// element reads an element of an array.
func (sc *scanner) element(s *Schema, index int) *fault {
	if sc.all == nil {
		if f := sc.value(s); f != nil {
			return f.in(strconv.Itoa(index))
		}
		return nil
	}
	return sc.inner(instance{schema: s}, strconv.Itoa(index))
}

// jump consumes one value of any type, whatever is in it.
func (sc *scanner) jump() *fault {
	closing := byte('}')
	switch sc.peek() {
	case '[':
		closing = ']'
	case '{':
	default:
		if why := sc.skip(); why != "" {
			return broken(why)
		}
		return nil
	}
	if sc.depth == MaxValueDepth {
		return tooDeep()
	}
	sc.depth++
	sc.i++
	sc.space()
	if sc.peek() == closing {
		sc.close()
		return nil
	}
	for {
		if closing == '}' {
			if _, f := sc.member(); f != nil {
				return f
			}
		}
		if f := sc.jump(); f != nil {
			return f
		}
		if end, f := sc.next(closing); end || f != nil {
			return f
		}
	}
}

func tooDeep() *fault {
	return &fault{kind: vaultmesh.TooLarge, detail: "arrays and objects are nested too deeply", want: fmt.Sprintf("at most %d levels", MaxValueDepth), fatal: true}
}

func broken(why string) *fault {
	return &fault{kind: vaultmesh.Invalid, detail: "not JSON: " + why, want: "one JSON value", fatal: true}
}

// mismatch reports what stands where a value of kind k should be.
func (sc *scanner) mismatch(k SchemaKind) *fault {
	return &fault{kind: vaultmesh.Invalid, detail: "found " + sc.found(), want: wants[k]}
}

func outside(k SchemaKind, detail string) *fault {
	return &fault{kind: vaultmesh.Invalid, detail: detail, want: wants[k]}
}

// wants teaches each kind by its range or by an example.
var wants = [...]string{
	Boolean: "a boolean, true or false", Byte: "a byte, a whole number from -128 to 127", Bytes: "bytes, a string in base64 with padding, like \"AQI=\"",
	Date: "a date like \"2026-01-31\"", DateTime: "a dateTime like \"2026-01-31T12:00:00Z\"", Decimal: "a decimal, a string like \"-12.50\"",
	Double: "a double, a finite number like 12.5", Duration: "a duration like \"PT1H30M\"", Float: "a float, a number within ±3.4028235e38 like 12.5",
	Integer: "an integer, a whole number from -2147483648 to 2147483647", Long: "a long, a whole number from -9223372036854775808 to 9223372036854775807",
	Short: "a short, a whole number from -32768 to 32767", String: "a string", Time: "a time with its offset like \"12:00:00Z\"",
	UnsignedByte: "an unsignedByte, a whole number from 0 to 255", UnsignedInteger: "an unsignedInteger, a whole number from 0 to 4294967295",
	UnsignedLong: "an unsignedLong, a whole number from 0 to 18446744073709551615", UnsignedShort: "an unsignedShort, a whole number from 0 to 65535",
	UUID: "a uuid like \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\"", ScaledDecimal: "a scaledDecimal like {\"scale\": 7, \"value\": \"1234.56\"}",
	Point: "a GeoJSON Point like {\"type\": \"Point\", \"coordinates\": [8.5, 47.4]}", MultiPoint: "a GeoJSON MultiPoint with an array of positions",
	LineString: "a GeoJSON LineString with two or more positions", MultiLineString: "a GeoJSON MultiLineString with arrays of two or more positions",
	Polygon:      "a GeoJSON Polygon with rings of four or more positions, each ring closed",
	MultiPolygon: "a GeoJSON MultiPolygon with polygons of closed rings", Array: "an array", Map: "an object of string keys to values", Object: "an object",
	Enum: "a value of the enum",
}

// spans gives the greatest magnitude of negative and of positive numbers by kind.
var spans = [...]struct{ negative, positive uint64 }{
	Byte: {1 << 7, 1<<7 - 1}, Short: {1 << 15, 1<<15 - 1}, Integer: {1 << 31, 1<<31 - 1}, Long: {1 << 63, 1<<63 - 1},
	UnsignedByte: {0, 1<<8 - 1}, UnsignedShort: {0, 1<<16 - 1}, UnsignedInteger: {0, 1<<32 - 1}, UnsignedLong: {0, 1<<64 - 1},
}

func (sc *scanner) value(s *Schema) *fault {
	switch s.kind {
	case 0:
		return &fault{kind: vaultmesh.Unavailable, detail: "the schema " + s.id + " is not in the set of models"}
	case Boolean:
		if sc.word("true") || sc.word("false") {
			return nil
		}
		return sc.mismatch(Boolean)
	case Double, Float:
		return sc.float(s.kind)
	case Byte, Short, Integer, Long, UnsignedByte, UnsignedShort, UnsignedInteger, UnsignedLong:
		_, _, f := sc.integer(s.kind)
		return f
	case Array:
		return sc.array(s)
	case Enum:
		return sc.enum(s)
	case Map:
		return sc.mapping(s)
	case Object, ScaledDecimal:
		return sc.object(s)
	case Point, MultiPoint, LineString, MultiLineString, Polygon, MultiPolygon:
		return sc.geometry(s.kind)
	}
	return sc.text(s.kind)
}

func (sc *scanner) float(k SchemaKind) *fault {
	if c := sc.peek(); c != '-' && !isDigit(c) {
		return sc.mismatch(k)
	}
	n, why := sc.num()
	if why != "" {
		return broken(why)
	}
	bits := 64
	if k == Float {
		bits = 32
	}
	if !n.finite(bits) {
		return outside(k, "the number is outside the range")
	}
	return nil
}

func (sc *scanner) integer(k SchemaKind) (negative bool, magnitude uint64, f *fault) {
	if c := sc.peek(); c != '-' && !isDigit(c) {
		return false, 0, sc.mismatch(k)
	}
	n, why := sc.num()
	if why != "" {
		return false, 0, broken(why)
	}
	if !n.whole {
		return false, 0, outside(k, "the number has a fraction or an exponent")
	}
	m, ok := n.magnitude()
	limit := spans[k].positive
	if n.negative {
		limit = spans[k].negative
		ok = ok && limit > 0 // an unsigned number has no sign, not even that of -0
	}
	if !ok || m > limit {
		return false, 0, outside(k, "the number is outside the range")
	}
	return n.negative, m, nil
}

// text validates the kinds whose values are JSON strings.
func (sc *scanner) text(k SchemaKind) *fault {
	if sc.peek() != '"' {
		return sc.mismatch(k)
	}
	t, escaped, why := sc.str()
	if why != "" {
		return broken(why)
	}
	if k == String {
		return nil
	}
	if escaped {
		t = unescape(t)
	}
	ok := false
	switch k {
	case Bytes:
		ok = isBase64(t)
	case Date:
		ok = isDate(t)
	case DateTime:
		ok = isDateTime(t)
	case Decimal:
		ok = isDecimal(t)
	case Duration:
		ok = isDuration(t)
	case Time:
		ok = isTime(t)
	case UUID:
		ok = isUUID(t)
	}
	if !ok {
		return outside(k, "the string is not of that form")
	}
	return nil
}

func (sc *scanner) enum(s *Schema) *fault {
	if s.integer {
		negative, m, f := sc.integer(Integer)
		if f != nil {
			return f
		}
		v := int64(m)
		if negative {
			v = -v
		}
		if _, ok := s.ints[int32(v)]; !ok {
			return s.notListed()
		}
		return nil
	}
	if sc.peek() != '"' {
		return sc.mismatch(String)
	}
	t, escaped, why := sc.str()
	if why != "" {
		return broken(why)
	}
	if escaped {
		t = unescape(t)
	}
	if _, ok := s.strings[string(t)]; !ok {
		return s.notListed()
	}
	return nil
}

func (s *Schema) notListed() *fault {
	var b strings.Builder
	b.WriteString("one of ")
	for i := range s.values {
		if i == 8 {
			fmt.Fprintf(&b, " … (%d in all)", len(s.values))
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if s.integer {
			fmt.Fprintf(&b, "%d", s.values[i].integer)
		} else {
			b.WriteString(strconv.QuoteToASCII(clip(s.values[i].text)))
		}
	}
	return &fault{kind: vaultmesh.Invalid, detail: "the value is not in the enum", want: b.String()}
}

// isNull reports whether raw is empty or the JSON null.
func isNull(raw json.RawMessage) bool {
	sc := scanner{data: raw}
	sc.space()
	if sc.i < len(raw) && !sc.word("null") {
		return false
	}
	sc.space()
	return sc.i == len(raw)
}
