package receipt

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"
)

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                              `{}`,
		" {\"b\":1,\t\"a\":[ 1.0 , -0 ]}": `{"a":[1,0],"b":1}`,
		`{"a":0.10,"b":1e2,"c":1E-7}`:     `{"a":0.1,"b":100,"c":1e-7}`,
		`"\u0061\/\u00fc\u000a\u001F"`:    `"a/ü\n\u001f"`,
		`"\ud83d\ude00"`:                  `"😀"`,
		`{"\ue000":1,"😀":2}`:              "{\"😀\":2,\"\ue000\":1}",
		"{\"\ue000\":1,\"😀\":2,\"z\":3}":  "{\"z\":3,\"😀\":2,\"\ue000\":1}",
		`9007199254740991`:                `9007199254740991`,
		`[true,false,null,""]`:            `[true,false,null,""]`,
		`123456789012345.67`:              `123456789012345.67`,
	} {
		got, err := Canonical([]byte(in), Limits{})
		if err != nil || string(got) != want {
			t.Errorf("Canonical(%s) = %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                    "",
		"white space only":         " \n",
		"trailing data":            `{} {}`,
		"duplicate name":           `{"a":1,"a":2}`,
		"duplicate after escape":   `{"a":1,"\u0061":2}`,
		"duplicate, not adjacent":  `{"b":1,"a":1,"b":2}`,
		"2^53":                     `9007199254740992`,
		"2^53+1":                   `{"n":9007199254740993}`,
		"negative":                 `-9007199254740993`,
		"2^53 with a point":        `9007199254740993.0`,
		"2^53 with an exponent":    `9.007199254740993e15`,
		"infinite":                 `1e400`,
		"NaN":                      `NaN`,
		"leading zero":             `01`,
		"plus":                     `+1`,
		"bare point":               `1.`,
		"bare exponent":            `1e`,
		"hexadecimal":              `0x10`,
		"invalid UTF-8":            "\"\xff\"",
		"overlong UTF-8":           "\"\xc0\x80\"",
		"surrogate in UTF-8":       "\"\xed\xa0\x80\"",
		"lone high surrogate":      `"\ud83d"`,
		"lone low surrogate":       `"\ude00"`,
		"high twice":               `"\ud83d\ud83d"`,
		"control character":        "\"\x01\"",
		"unknown escape":           `"\x"`,
		"short escape":             `"\u12"`,
		"open string":              `"abc`,
		"open object":              `{"a":1`,
		"open array":               `[1,`,
		"trailing comma":           `[1,]`,
		"name without value":       `{"a"}`,
		"number as name":           `{1:2}`,
		"word":                     `tru`,
		"byte order mark":          "\xef\xbb\xbf{}",
		"deeper than the limit":    strings.Repeat("[", 33) + strings.Repeat("]", 33),
		"larger than the limit":    `"` + strings.Repeat("a", 65536) + `"`,
		"comment":                  `{} // x`,
		"NUL":                      "\x00",
		"capital literal":          `True`,
		"missing comma":            `[1 2]`,
		"missing colon":            `{"a" 1}`,
		"unterminated escape":      `"\`,
		"unterminated u escape":    `"\u`,
		"high surrogate at end":    `"\ud83d\`,
		"high surrogate, text":     `"\ud83dabcdef"`,
		"invalid second surrogate": `"\ud83d\uzzzz"`,
	} {
		if got, err := Canonical([]byte(in), Limits{}); err == nil {
			t.Errorf("%s: accepted as %s", name, got)
		}
	}
	if _, err := Canonical([]byte(strings.Repeat("[", 32)+strings.Repeat("]", 32)), Limits{}); err != nil {
		t.Errorf("depth 32: %v", err)
	}
}

// agree holds the scanner's opinion against the reference implementation of RFC 8785.
func agree(t interface{ Fatalf(string, ...any) }, raw []byte) {
	out, err := Canonical(raw, Limits{})
	reference, refErr := jcs.Transform(raw)
	if err != nil {
		return // the scanner may be stricter
	}
	if refErr != nil || !bytes.Equal(out, reference) {
		t.Fatalf("%q: ours %q, reference %q %v", raw, out, reference, refErr)
	}
	again, err := Canonical(out, Limits{Bytes: 1 << 20})
	if err != nil || !bytes.Equal(again, out) {
		t.Fatalf("%q is not a fixed point: %q %v", out, again, err)
	}
	s := scanner{data: out, maxDepth: MaxDepth}
	if canonical, err := s.document(); err != nil || !canonical {
		t.Fatalf("%q is canonical and not recognised: %v", out, err)
	}
}

func TestCanonicalAgreesWithReference(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) any {
		return rapid.OneOf(
			rapid.Float64Range(-1e15, 1e15).AsAny(), rapid.Float64().AsAny(), rapid.Int64().AsAny(), rapid.String().AsAny(), rapid.Bool().AsAny(),
			rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Float64Range(-1, 1))).AsAny(),
		).Draw(t, "value")
	})
	rapid.Check(t, func(t *rapid.T) {
		raw, err := json.Marshal(rapid.MapOf(rapid.String(), value).Draw(t, "object"))
		if err != nil {
			t.Skip("not JSON")
		}
		agree(t, raw)
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[1.0,-0,1e-7,"\ud83d\ude00\/"]}`, `{"a":1,"a":2}`, `9007199254740993`, "\"\xff\"", `[[[[]]]]`, `"\u00e9"`, `{"\ue000":1,"😀":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}
