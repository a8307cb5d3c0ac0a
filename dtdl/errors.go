package dtdl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// Error is one fault of a document of a set. Its text reads
//
//	file.json:12:9: dtmi:com:example:Pump;1: "schema": "doubel" is not a schema; expected …; hint
type Error struct {
	Validation string // which rule, a stable word: "unknownProperty", "duplicateId", "notJson" …
	Document   string // the name that the caller gave
	Line       int    // from 1
	Column     int    // from 1, in bytes
	Element    string // the identifier of the nearest element, or a path to it; may be empty
	Property   string // the property of that element; may be empty
	Detail     string // what was found
	Expected   string // what the language wants there
	Hint       string // what to do; may be empty

	doc, offset int // the place in the set: the order of errors
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", e.Document, e.Line, e.Column)
	if e.Element != "" {
		b.WriteString(e.Element + ": ")
	}
	if e.Property != "" {
		fmt.Fprintf(&b, "%q: ", e.Property)
	}
	b.WriteString(e.Detail)
	if e.Expected != "" {
		b.WriteString("; expected " + e.Expected)
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Errors is everything that is wrong with a set, in the order of the documents and of the places in them,
// at most [MaxErrors]. It is a [vaultmesh.Error] of kind Invalid to [vaultmesh.KindOf].
type Errors struct {
	List    []*Error
	Omitted int // how many more there were
}

func (e *Errors) Error() string {
	var b strings.Builder
	for i, one := range e.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	if e.Omitted > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.Omitted)
	}
	return b.String()
}

// As lets errors.As see the whole as one error of kind Invalid.
func (e *Errors) As(target any) bool {
	t, ok := target.(**vaultmesh.Error)
	if !ok {
		return false
	}
	*t = vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.parse", "", "%s", e.Error())
	return true
}

func (e *Errors) add(one *Error) {
	if len(e.List) == MaxErrors {
		e.Omitted++
		return
	}
	e.List = append(e.List, one)
}

func (e *Errors) result() error {
	if len(e.List) == 0 {
		return nil
	}
	slices.SortStableFunc(e.List, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.doc, b.doc), cmp.Compare(a.offset, b.offset))
	})
	return e
}
