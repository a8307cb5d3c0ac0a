package receipt

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
)

// maxScope bounds the text of a scope and maxScoped each of its lists.
const (
	maxScope  = 1 << 20
	maxScoped = 10_000
)

// Scope says what a bundle is about, and so what it claims to show completely. What a bundle holds beside it (batches,
// the domain's beginning, receipts that caused others) is support. Its text form is RFC 8785 JSON with the members
// commands, ranges and subjects, all there, each list sorted and without repetition:
//
//	{"commands":["01J…"],"ranges":[{"first":"12","from":"2026-…","last":"40","until":"2026-…"}],"subjects":["twin/bus-1"]}
//
// where from and until are "" for a range that was asked for by index.
type Scope struct {
	Commands []vaultmesh.CommandID `json:"commands"` // whole histories
	Ranges   []Range               `json:"ranges"`   // contiguous receipts, ascending and apart from each other
	Subjects []string              `json:"subjects"` // whole histories, other than those of commands
}

// Range is a contiguous part of the log, first and last included. Where it was asked for by time, it holds every receipt
// that claims a time from From on and before Until.
type Range struct {
	First vaultmesh.LogIndex `json:"first,string"`
	Last  vaultmesh.LogIndex `json:"last,string"`
	From  time.Time          `json:"from,omitzero"`
	Until time.Time          `json:"until,omitzero"`
}

// ScopePart holds the scope in its text form; the lists are sorted.
func ScopePart(s Scope) Part { return Part{Name: "scope", Type: PartScope, Data: s.encode()} }

func (s Scope) encode() []byte {
	commands, subjects, ranges := slices.Clone(s.Commands), slices.Clone(s.Subjects), slices.Clone(s.Ranges)
	slices.Sort(commands)
	slices.Sort(subjects)
	slices.SortFunc(ranges, func(a, b Range) int {
		if a.First < b.First {
			return -1
		}
		return 1
	})
	b := append([]byte(nil), `{"commands":[`...)
	for i, c := range slices.Compact(commands) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(c))
	}
	b = append(b, `],"ranges":[`...)
	for i, r := range ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	b = append(b, `],"subjects":[`...)
	for i, c := range slices.Compact(subjects) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, c)
	}
	return append(b, `]}`...)
}

func (r Range) append(b []byte) []byte {
	b = append(b, `{"first":"`...)
	b = strconv.AppendUint(b, uint64(r.First), 10)
	b = append(b, `","from":"`...)
	b = appendTime(b, r.From)
	b = append(b, `","last":"`...)
	b = strconv.AppendUint(b, uint64(r.Last), 10)
	b = append(b, `","until":"`...)
	b = appendTime(b, r.Until)
	return append(b, `"}`...)
}

// appendTime writes a time, and nothing where there is none.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return t.UTC().Truncate(time.Microsecond).AppendFormat(b, TimeFormat)
}

// OpenScope reads the text form of a scope and accepts no other form of it.
func OpenScope(doc []byte) (Scope, error) {
	if len(doc) > maxScope {
		return Scope{}, vaultmesh.Errorf(vaultmesh.TooLarge, "scope", "", "%d bytes, the limit is %d", len(doc), maxScope)
	}
	var s Scope
	r := reader{data: doc}
	r.literal(`{"commands":[`)
	r.list('"', func() { s.Commands = append(s.Commands, vaultmesh.CommandID(r.text())) })
	r.literal(`],"ranges":[`)
	r.list('{', func() { s.Ranges = append(s.Ranges, r.scopeRange()) })
	r.literal(`],"subjects":[`)
	r.list('"', func() { s.Subjects = append(s.Subjects, r.text()) })
	r.literal(`]}`)
	r.end()
	if r.err != nil {
		return Scope{}, vaultmesh.Wrap(r.err, "scope", "")
	}
	for i, c := range s.Ranges {
		if c.Last < c.First || i > 0 && c.First <= s.Ranges[i-1].Last || c.From.IsZero() != c.Until.IsZero() || c.Until.Before(c.From) {
			return Scope{}, vaultmesh.Errorf(vaultmesh.Invalid, "scope", "ranges", "range %d is empty, or overlaps the one before, or has half a time", i)
		}
	}
	if !bytes.Equal(s.encode(), doc) {
		return Scope{}, vaultmesh.Errorf(vaultmesh.Invalid, "scope", "", "it is not in the one form in which it may be written")
	}
	return s, nil
}

func (r *reader) scopeRange() (c Range) {
	r.literal(`{"first":"`)
	c.First = vaultmesh.LogIndex(r.uint(r.until('"')))
	r.literal(`,"from":"`)
	c.From = r.timeOrNone()
	r.literal(`,"last":"`)
	c.Last = vaultmesh.LogIndex(r.uint(r.until('"')))
	r.literal(`,"until":"`)
	c.Until = r.timeOrNone()
	r.literal(`}`)
	return c
}

func (r *reader) timeOrNone() time.Time {
	text := r.until('"')
	if len(text) == 0 {
		return time.Time{}
	}
	return r.time(text)
}

// list reads elements that begin with the byte, up to maxScoped.
func (r *reader) list(begin byte, element func()) {
	for n := 0; r.peek(begin); n++ {
		if n == maxScoped {
			r.fail("more than %d elements", maxScoped)
			return
		}
		element()
		if !r.peek(',') {
			return
		}
		r.literal(",")
		if !r.peek(begin) {
			r.fail("want an element after the comma")
		}
	}
}

// covers reports whether the index lies in one of the ranges.
func (s *Scope) covers(i vaultmesh.LogIndex) bool {
	_, found := slices.BinarySearchFunc(s.Ranges, i, func(r Range, i vaultmesh.LogIndex) int {
		switch {
		case r.Last < i:
			return -1
		case r.First > i:
			return 1
		default:
			return 0
		}
	})
	return found
}
