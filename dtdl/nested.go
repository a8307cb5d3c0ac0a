package dtdl

import (
	"strconv"
)

// open consumes the bracket that begins an array or an object, and counts the nesting.
func (sc *scanner) open(bracket byte, k SchemaKind) *fault {
	if sc.peek() != bracket {
		return sc.mismatch(k)
	}
	if sc.depth == MaxValueDepth {
		return tooDeep()
	}
	sc.depth++
	sc.i++
	sc.space()
	return nil
}

// next is called behind an item: it consumes the comma, or the closing bracket and reports the end.
func (sc *scanner) next(closing byte) (end bool, f *fault) {
	sc.space()
	switch sc.peek() {
	case ',':
		sc.i++
		sc.space()
		return false, nil
	case closing:
		sc.close()
		return true, nil
	}
	return false, broken("a comma or a closing bracket is missing")
}

func (sc *scanner) close() {
	sc.i++
	sc.depth--
}

func (sc *scanner) array(s *Schema) *fault {
	if f := sc.open('[', Array); f != nil {
		return f
	}
	if sc.peek() == ']' {
		sc.close()
		return nil
	}
	for i := 0; ; i++ {
		if f := sc.element(s.elem, i); f != nil {
			return f
		}
		if end, f := sc.next(']'); end || f != nil {
			return f
		}
	}
}

// member consumes a key and its colon and returns the decoded key.
func (sc *scanner) member() ([]byte, *fault) {
	key, escaped, why := sc.str()
	if why != "" {
		return nil, broken(why)
	}
	if escaped {
		key = unescape(key)
	}
	sc.space()
	if sc.peek() != ':' {
		return nil, broken("a colon is missing behind a key")
	}
	sc.i++
	sc.space()
	return key, nil
}

func (sc *scanner) mapping(s *Schema) *fault {
	if f := sc.open('{', Map); f != nil {
		return f
	}
	if sc.peek() == '}' {
		sc.close()
		return nil
	}
	seen := make(map[string]struct{})
	for {
		key, f := sc.member()
		if f != nil {
			return f
		}
		k := string(key)
		if _, twice := seen[k]; twice {
			if f := sc.note(outside(Map, "the key "+strconv.QuoteToASCII(clip(k))+" occurs twice")); f != nil {
				return f
			}
		}
		seen[k] = struct{}{}
		if f := sc.inner(instance{schema: s.elem}, k); f != nil {
			return f
		}
		if end, f := sc.next('}'); end || f != nil {
			return f
		}
	}
}

func (sc *scanner) object(s *Schema) *fault {
	if f := sc.open('{', s.kind); f != nil {
		return f
	}
	var small [64]bool // enough for nearly all objects, and needs no allocation
	seen := small[:]
	if len(s.fields) > len(small) {
		seen = make([]bool, len(s.fields))
	}
	if sc.peek() == '}' {
		sc.close()
		return sc.required(s, seen)
	}
	for {
		key, f := sc.member()
		if f != nil {
			return f
		}
		if f := sc.field(s, key, seen); f != nil {
			return f
		}
		if end, f := sc.next('}'); f != nil {
			return f
		} else if end {
			return sc.required(s, seen)
		}
	}
}

// field reads the value of a member of an Object.
func (sc *scanner) field(s *Schema, key []byte, seen []bool) *fault {
	i, ok := s.byName[string(key)]
	if !ok {
		if f := sc.note(outside(s.kind, "there is no field "+strconv.QuoteToASCII(clip(string(key)))+" in the model")); f != nil {
			return f
		}
		return sc.jump()
	}
	if seen[i] {
		if f := sc.note(outside(s.kind, "the field "+strconv.Quote(s.fields[i].name)+" occurs twice")); f != nil {
			return f
		}
	}
	seen[i] = true
	return sc.inner(instance{schema: s.fields[i].schema}, s.fields[i].name)
}

// required looks for fields that must be there and are not.
func (sc *scanner) required(s *Schema, seen []bool) *fault {
	for _, i := range s.require {
		if !seen[i] {
			if f := sc.note(outside(s.kind, "the required field "+strconv.Quote(s.fields[i].name)+" is missing")); f != nil {
				return f
			}
		}
	}
	return nil
}
