package receipt

import (
	"github.com/gowebpki/jcs"

	"vaultmesh.org/vaultmesh"
)

// MaxDepth is the deepest nesting of objects and arrays that is accepted anywhere in evidence.
const MaxDepth = 32

// maxSafe is 2^53 - 1: beyond it a double does not hold every integer, and canonical JSON would change a number
// silently (RFC 7493 section 2.2, RFC 8785 appendix D).
const maxSafe = 1<<53 - 1

// Limits bound what [Canonical] accepts. A zero field means its default.
type Limits struct {
	Bytes int // default 65536
	Depth int // default and most: MaxDepth
}

// Canonical returns the RFC 8785 form of one JSON document. It refuses what has no single meaning: invalid UTF-8, lone
// surrogates, duplicate names, numbers of magnitude 2^53 and more (send 64-bit integers as strings), trailing data,
// and what exceeds the limits. The result never shares memory with raw.
func Canonical(raw []byte, l Limits) ([]byte, error) {
	if l.Bytes <= 0 {
		l.Bytes = 65536
	}
	if l.Depth <= 0 || l.Depth > MaxDepth {
		l.Depth = MaxDepth
	}
	if len(raw) > l.Bytes {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "json", "", "the document has %d bytes, the limit is %d", len(raw), l.Bytes)
	}
	s := scanner{data: raw, maxDepth: l.Depth}
	canonical, err := s.document()
	if err != nil {
		return nil, err
	}
	if canonical {
		return append([]byte(nil), raw...), nil
	}
	out, err := jcs.Transform(raw)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "json", "", "no canonical form: %.200s", err.Error())
	}
	return out, nil
}
