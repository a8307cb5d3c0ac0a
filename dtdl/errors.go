package dtdl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// Beginnings of [Error.ValidationID].
const (
	// OfficialErrors begins the identifiers that the language's own parser gives to the same errors.
	OfficialErrors = "dtmi:dtdl:parsingError:"
	// OwnErrors begins the identifiers of errors that the language's own parser has no identifier for: text
	// that is not JSON, bounds of this package, references that cannot be resolved.
	OwnErrors = "dtmi:org:vaultmesh:parsingError:"
)

// Error is one fault of a document of a set. Its text reads
//
//	file.json:12:9: dtmi:com:example:Pump;1: "schema": "doubel" is neither …; expected …; hint
//
// Fields that do not apply are empty.
type Error struct {
	ValidationID string `json:"validationId"`            // which rule, [OfficialErrors] or [OwnErrors] and a stable word
	Element      string `json:"primaryId,omitempty"`     // the element that is at fault; one without an identifier has the one that is assigned to it
	Related      string `json:"secondaryId,omitempty"`   // the other element that is involved
	Property     string `json:"property,omitempty"`      // the property of Element
	AuxProperty  string `json:"auxProperty,omitempty"`   // the property of Related or of a nested element
	Type         string `json:"type,omitempty"`          // the type that is demanded or at fault
	Value        string `json:"value,omitempty"`         // what was found
	Restriction  string `json:"restriction,omitempty"`   // what limits it
	Document     string `json:"file"`                    // the name that the caller gave
	Line         int    `json:"line"`                    // from 1; 0 where the error has no place
	Column       int    `json:"column"`                  // from 1, in bytes
	EndLine      int    `json:"endLine,omitempty"`       // of an object
	RelatedTo    string `json:"secondaryFile,omitempty"` // the document of the other place that is involved
	RelatedLine  int    `json:"secondaryLine,omitempty"`
	Detail       string `json:"message"`            // what is wrong
	Expected     string `json:"expected,omitempty"` // what the language wants there
	Hint         string `json:"hint,omitempty"`     // what to do

	doc, offset int    // the place in the set: the order of errors
	found       string // what stands there, for Detail
}

// Code is the last word of the ValidationID.
func (e *Error) Code() string { return e.ValidationID[strings.LastIndexByte(e.ValidationID, ':')+1:] }

func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "%s:%d:%d: ", e.Document, e.Line, e.Column)
	} else if e.Document != "" {
		b.WriteString(e.Document + ": ")
	}
	if e.Element != "" {
		b.WriteString(e.Element + ": ")
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

// place is a range of a document; the zero place is nowhere.
type place struct {
	src      *source
	from, to int
}

// report adds an error. The word is the end of an official ValidationID.
func (p *parser) report(word string, at, related place, e Error) {
	p.add(OfficialErrors+word, word, at, related, e)
}

// own adds an error that the official parser has no identifier for.
func (p *parser) own(word string, at place, e Error) {
	p.add(OwnErrors+word, word, at, place{}, e)
}

func (p *parser) add(id, word string, at, related place, e Error) {
	if p.unit != nil {
		p.unit.bad = true
	}
	p.failed = true
	if p.trying {
		return
	}
	if e.Element != "" {
		if p.faulty == nil {
			p.faulty = make(map[string]struct{})
		}
		p.faulty[e.Element] = struct{}{}
	}
	if len(p.errs.List) >= MaxErrors {
		p.errs.Omitted++
		return
	}
	e.ValidationID = id
	if at.src != nil {
		e.Document, e.doc, e.offset = at.src.name, at.src.index, at.from
		e.Line, e.Column = at.src.position(at.from)
		if at.to > at.from {
			e.EndLine, _ = at.src.position(at.to - 1)
		}
		if e.EndLine == e.Line {
			e.EndLine = 0
		}
	}
	if related.src != nil {
		e.RelatedTo = related.src.name
		e.RelatedLine, _ = related.src.position(related.from)
	}
	e.Value = clipValue(e.Value)
	e.explain(word)
	p.errs.add(&e)
}

// clipValue keeps what errors hold of a document short; an identifier is kept whole.
func clipValue(s string) string {
	if len(s) <= 2*MaxUserDTMI {
		return s
	}
	return strings.ToValidUTF8(s[:2*MaxUserDTMI], "") + "…"
}
