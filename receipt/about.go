package receipt

import (
	"strings"

	"vaultmesh.org/vaultmesh"
)

// TwinOf returns the twin that a receipt is about, for searches: that of its subject where it is a twin, and that of the
// body where it is a command; empty for any other.
func TwinOf(d *Draft) vaultmesh.TwinID {
	if id, ok := strings.CutPrefix(d.Subject, "twin/"); ok {
		return vaultmesh.TwinID(id)
	}
	if _, ok := CommandState(d.Kind); !ok {
		return ""
	}
	id := member(d.Body, "twin")
	if vaultmesh.CheckID("twin", id) != nil {
		return ""
	}
	return vaultmesh.TwinID(id)
}

// member returns the content of a string without escapes that a canonical object has under name at its top; empty where
// there is none. It looks at each byte at most once and allocates nothing but the result.
func member(object []byte, name string) string {
	depth := 0
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			start := i + 1
			for i = start; i < len(object) && object[i] != '"'; i++ {
				if object[i] == '\\' {
					i++
				}
			}
			if depth != 1 || i+2 >= len(object) || object[i+1] != ':' || object[i+2] != '"' || string(object[start:i]) != name {
				continue
			}
			start = i + 3
			for i = start; i < len(object) && object[i] != '"'; i++ {
				if object[i] == '\\' {
					return ""
				}
			}
			return string(object[start:min(i, len(object))])
		}
	}
	return ""
}
