package governance

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf16"

	"github.com/gowebpki/jcs"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// object is a JSON object; its numbers are float64, as they were to the program that wrote it.
type object = map[string]any

// parse reads one JSON object strictly: what could be read in two ways (repeated names, numbers beyond 2^53, broken UTF-8)
// cannot have been signed with one meaning.
func parse(data []byte) (object, error) {
	canonical, err := receipt.Canonical(data, receipt.Limits{Bytes: maxFile})
	if err != nil {
		return nil, err
	}
	var o object
	if err := json.Unmarshal(canonical, &o); err != nil || o == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "governance.read", "", "not a JSON object")
	}
	return o, nil
}

// sorted writes a value as the older implementation did before it signed: names sorted, no white space, by JavaScript's
// JSON.stringify. That is RFC 8785 but for one thing: names that are array indexes come first, in the order of numbers,
// since JavaScript keeps the members of an object so.
func sorted(v any) ([]byte, error) { return appendSorted(nil, v) }

func appendSorted(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case float64:
		text, err := jcs.NumberToJSON(v)
		return append(b, text...), err
	case string:
		return appendString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendSorted(b, x); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case object:
		b = append(b, '{')
		for i, name := range names(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			if b, err = appendSorted(b, v[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, vaultmesh.Errorf(vaultmesh.Internal, "governance.sorted", "", "a value of type %T", v)
}

// names are an object's names in the order in which JavaScript keeps them after they were sorted.
func names(o object) []string {
	out := make([]string, 0, len(o))
	for name := range o {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		x, xi := arrayIndex(a)
		y, yi := arrayIndex(b)
		switch {
		case xi && yi:
			return int(min(max(int64(x)-int64(y), -1), 1))
		case xi:
			return -1
		case yi:
			return 1
		}
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	return out
}

// arrayIndex reports whether a name is a canonical array index of ECMAScript, 0 to 2^32 - 2.
func arrayIndex(s string) (uint32, bool) {
	if s == "" || len(s) > 10 || s[0] == '0' && len(s) > 1 || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}

// appendString writes a string with the escapes of JSON.stringify, which are those of RFC 8785.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if at := bytes.IndexByte([]byte("\b\t\n\f\r\"\\"), c); at >= 0 {
			b = append(b, '\\', `btnfr"\`[at])
		} else if c < 0x20 {
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"')
}
