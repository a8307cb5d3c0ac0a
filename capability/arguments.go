package capability

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a command's arguments.
const (
	maxArguments = 256
	maxArgBytes  = 64 << 10
)

// maxNumber is the largest magnitude of a bounded number: beyond it two integers can be one float64, and the value
// that is compared is not the value that is sent.
const maxNumber = 1 << 53

// arguments are the members of a command's request by exact name.
type arguments map[string]json.RawMessage

// decodeArguments decodes a JSON object; a name that occurs twice is refused, since two readers could take two values.
func decodeArguments(raw json.RawMessage) (arguments, error) {
	if len(raw) == 0 {
		return arguments{}, nil
	}
	if len(raw) > maxArgBytes || !utf8.Valid(raw) {
		return nil, denied("args", "the arguments are larger than %d bytes or not UTF-8", maxArgBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, denied("args", "the arguments are not a JSON object")
	}
	out := arguments{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, denied("args", "the arguments are not a JSON object")
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, denied("args", "the argument %.64q is not JSON", name)
		}
		if _, twice := out[name]; twice || len(out) == maxArguments {
			return nil, denied("args", "the argument %.64q occurs twice, or there are more than %d", name, maxArguments)
		}
		out[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, denied("args", "the arguments are not a JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, denied("args", "data after the arguments")
	}
	return out, nil
}

// within checks every range that applies to command; block is for the error's text.
func (a arguments) within(command string, ranges map[string]Range, block int) error {
	keys := make([]string, 0, len(ranges))
	for key := range ranges {
		keys = append(keys, key)
	}
	sort.Strings(keys) // so that the same action gives the same error
	for _, key := range keys {
		name := key
		if of, arg, qualified := strings.Cut(key, "."); qualified {
			if of != command {
				continue
			}
			name = arg
		}
		value, ok := a[name]
		if !ok {
			return denied("args["+key+"]", "block %d bounds an argument that is missing", block)
		}
		if why := ranges[key].refuses(value); why != "" {
			return denied("args["+key+"]", "block %d: %s", block, why)
		}
	}
	return nil
}

// refuses says why value is not in r; empty where it is.
func (r Range) refuses(value json.RawMessage) string {
	if r.OneOf != nil {
		var s string
		if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &s) != nil {
			return "the argument is not a string"
		}
		if !slices.Contains(r.OneOf, s) {
			return "the argument is not one of the strings granted"
		}
		return ""
	}
	if len(value) == 0 || value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return "the argument is not a number"
	}
	x, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsNaN(x) || math.Abs(x) > maxNumber {
		return "the argument is not a finite number of at most 2^53"
	}
	if r.Min != nil && x < *r.Min {
		return "the argument is below the minimum granted"
	}
	if r.Max != nil && x > *r.Max {
		return "the argument is above the maximum granted"
	}
	if r.Min == nil && r.Max == nil {
		return "the bound is empty"
	}
	return ""
}
