package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"vaultmesh.org/vaultmesh/dtdl"
)

// screen writes for people: as wide as the terminal is, and in colour where it is one and NO_COLOR is not set.
// All that comes from documents goes through clean: a model must not move somebody's cursor.
type screen struct {
	w        io.Writer
	width    int
	terminal bool // somebody looks: the width binds
	colour   bool
}

const (
	plainWidth = 120 // of what is no terminal
	leastWidth = 40
	mostWidth  = 200
)

// The colours, as parameters of SGR (ECMA-48).
const (
	red    = "31;1"
	green  = "32"
	yellow = "33"
	blue   = "36"
	bold   = "1"
	faint  = "2"
)

func newScreen(w io.Writer) screen {
	s := screen{w: w, width: plainWidth}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.terminal = true
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.width = width
		}
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		s.width = n
	}
	s.width = max(leastWidth, min(mostWidth, s.width))
	return s
}

// columns is the width that binds, 0 where none does.
func (s screen) columns() int {
	if !s.terminal {
		return 0
	}
	return s.width
}

func (s screen) paint(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s screen) line(parts ...string) { fmt.Fprintln(s.w, strings.Join(parts, "")) }

// wrap writes a paragraph with a label, broken at spaces to the width.
func (s screen) wrap(label, colour, text string) {
	const indent = "  "
	room := s.width - len(indent) - cells(label)
	head := indent + s.paint(colour, label)
	for _, row := range breakLines(clean(text), room) {
		s.line(head, row)
		head = indent + strings.Repeat(" ", cells(label))
	}
}

// breakLines breaks a text at spaces; a word that is longer than the room stays whole.
func breakLines(text string, room int) []string {
	var rows []string
	row := ""
	for _, word := range strings.Fields(text) {
		switch {
		case row == "":
			row = word
		case cells(row)+1+cells(word) <= room:
			row += " " + word
		default:
			rows, row = append(rows, row), word
		}
	}
	return append(rows, row)
}

// errors writes all errors of a set, each with its line, and a summary.
func (s screen) errors(v verdict, docs []dtdl.Document) {
	text := make(map[string][]byte, len(docs))
	for _, d := range docs {
		text[d.Name] = d.Data
	}
	files := map[string]bool{}
	for _, e := range v.Errors {
		files[e.Document] = true
		place := clean(e.Document)
		if e.Line > 0 {
			place += fmt.Sprintf(":%d:%d", e.Line, e.Column)
		}
		head := e.Detail
		if place != "" {
			head = place + ": " + head
		}
		rows := breakLines(clean(head), s.width)
		rows[0] = s.paint(bold, rows[0])
		for _, row := range rows {
			s.line(row)
		}
		s.source(text[e.Document], e.Line, e.Column)
		if e.Element != "" {
			s.wrap("in        ", faint, e.Element)
		}
		if e.Related != "" || e.RelatedLine > 0 && (e.RelatedTo != e.Document || e.RelatedLine != e.Line) {
			where := e.Related
			if e.RelatedLine > 0 {
				where = strings.TrimSpace(fmt.Sprintf("%s at %s:%d", where, e.RelatedTo, e.RelatedLine))
			}
			s.wrap("see also  ", faint, where)
		}
		if e.Expected != "" {
			s.wrap("expected  ", blue, e.Expected)
		}
		if e.Hint != "" {
			s.wrap("hint      ", green, e.Hint)
		}
		s.wrap("rule      ", faint, e.ValidationID)
		s.line()
	}
	total := len(v.Errors) + v.Omitted
	summary := fmt.Sprintf("invalid: %s in %d of %s", counted(total, "error"), len(files), counted(len(docs), "file"))
	if v.Omitted > 0 {
		summary += fmt.Sprintf("; %d of them are not shown", v.Omitted)
	}
	s.line(s.paint(red, summary))
}

// source writes the line of a document with a mark under the place: columns count bytes from 1.
func (s screen) source(data []byte, line, column int) {
	if line < 1 || column < 1 {
		return
	}
	for n := 1; n < line; n++ {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return
		}
		data = rest
	}
	row, _, _ := bytes.Cut(data, []byte("\n"))
	if column > len(row)+1 {
		return
	}
	row = bytes.TrimRight(row, "\r")
	at := min(column-1, len(row))
	number := fmt.Sprintf("%5d | ", line)
	before, token, after := string(row[:at]), string(row[at:at+tokenLength(row[at:])]), ""
	after = string(row[at+len(token):])
	before, token, after = window(clean(before), clean(token), clean(after), s.width-len(number))
	s.line(s.paint(faint, number), before, s.paint(red, token), after)
	s.line(s.paint(faint, "      | "), strings.Repeat(" ", cells(before)), s.paint(red, strings.Repeat("^", max(1, cells(token)))))
}

// tokenLength is the length of the JSON token at the beginning of b: a string, a word or a number, or one sign.
func tokenLength(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if b[0] == '"' {
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(b)
	}
	n := 0
	for n < len(b) && (b[n] == '-' || b[n] == '+' || b[n] == '.' || b[n] >= '0' && b[n] <= '9' || b[n] >= 'a' && b[n] <= 'z' || b[n] >= 'A' && b[n] <= 'Z') {
		n++
	}
	if n == 0 {
		_, n = utf8.DecodeRune(b)
	}
	return n
}

// window cuts a line to the room that there is, so that the token is seen.
func window(before, token, after string, room int) (string, string, string) {
	const more = "…"
	if cells(token) > room/2 {
		token = head(token, room/2-1) + more
	}
	if trimmed := strings.TrimLeft(before, " "); cells(before)-cells(trimmed) > 8 {
		before = "        " + trimmed // deep indentation says nothing
	}
	if spare := room - cells(token) - min(cells(after), room/4); cells(before) > spare {
		runes := []rune(before)
		for len(runes) > 0 && cells(string(runes))+1 > spare {
			runes = runes[1:]
		}
		before = more + string(runes)
	}
	if spare := room - cells(before) - cells(token); cells(after) > spare {
		after = head(after, spare-1) + more
	}
	return before, token, after
}

// head returns the beginning of s that n cells hold.
func head(s string, n int) string {
	used := 0
	for i, r := range s {
		if used += runeCells(r); used > n {
			return s[:i]
		}
	}
	return s
}

// clean replaces what a terminal would act on, and what is no text.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '·'
		}
		return r
	}, s)
}

func cells(s string) int {
	n := 0
	for _, r := range s {
		n += runeCells(r)
	}
	return n
}

// runeCells is how many columns a terminal gives to a character: two to those of East Asian scripts and emoji
// (the wide blocks of Unicode Standard Annex 11), none to marks that stand on another one.
func runeCells(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}
