package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// sheet lays out what a command tells people: facts under labels, tables and sentences, in the order in which they are
// said. On a terminal they fit its width: texts wrap at spaces, and a table that is too wide folds its columns into
// several lines a row. A word is never broken, so that identifiers and digests can be copied. Elsewhere each fact and
// each row is one whole line, for the program behind the pipe.
type sheet struct {
	screen
	out   io.Writer
	text  bytes.Buffer // what is laid out
	facts []fact       // whose labels' width is not yet known
	head  []string     // of the open table
	rows  [][]string
}

type fact struct {
	colour, label, value string
	whole                bool // never broken: people copy it
}

const (
	gap       = 2  // cells between columns
	fold      = 4  // indentation of a row's further lines
	readable  = 24 // a column of prose is not made narrower than this,
	narrowest = 14 // or where this keeps each row on one line, than this
)

func newSheet(out io.Writer) *sheet {
	s := &sheet{screen: newScreen(out), out: out}
	s.w = &s.text
	return s
}

// fact says something under a label. Facts that follow each other have their values in one column.
func (s *sheet) fact(label, format string, args ...any) { s.painted("", label, format, args...) }

// painted is a fact whose label has a colour.
func (s *sheet) painted(colour, label, format string, args ...any) {
	s.endTable()
	s.facts = append(s.facts, fact{colour: colour, label: clean(label), value: clean(fmt.Sprintf(format, args...))})
}

// say writes a paragraph.
func (s *sheet) say(colour, format string, args ...any) {
	s.end()
	text := clean(fmt.Sprintf(format, args...))
	rows := []string{text}
	if s.terminal {
		rows = breakLines(text, s.width)
	}
	for _, row := range rows {
		s.line(s.paint(colour, row))
	}
}

// verbatim writes a line that people copy whole, such as a command; among facts it stands below the last one's value.
func (s *sheet) verbatim(line string) {
	s.endTable()
	s.facts = append(s.facts, fact{value: clean(line), whole: true})
}

// space leaves a line empty.
func (s *sheet) space() {
	s.end()
	s.line()
}

// table begins a table.
func (s *sheet) table(names ...string) {
	s.end()
	s.head = names
}

// row adds a row to the open table.
func (s *sheet) row(cells ...any) {
	row := make([]string, len(s.head))
	for i := range row {
		if i >= len(cells) {
			break
		}
		if text, ok := cells[i].(json.RawMessage); ok {
			cells[i] = string(text)
		}
		row[i] = clean(fmt.Sprint(cells[i]))
	}
	s.rows = append(s.rows, row)
}

// end lays out what is open.
func (s *sheet) end() {
	s.endFacts()
	s.endTable()
}

// flush writes all.
func (s *sheet) flush() error {
	s.end()
	_, err := s.out.Write(s.text.Bytes())
	s.text.Reset()
	return err
}

func (s *sheet) endFacts() {
	label := 0
	for _, f := range s.facts {
		label = max(label, cells(f.label))
	}
	if s.terminal {
		label = min(label, readable)
	}
	for _, f := range s.facts {
		indent := strings.Repeat(" ", label+gap)
		head := s.paint(f.colour, f.label) + indent[min(len(indent), cells(f.label)):]
		rows := s.broken(f, s.width-label-gap)
		if s.terminal && (widest(rows) > s.width-label-gap || cells(f.label) > label) {
			if f.label != "" {
				s.line(s.paint(f.colour, f.label))
			}
			head, indent = "  ", "  "
			rows = s.broken(f, s.width-gap)
		}
		for _, row := range rows {
			if f.whole {
				row = s.paint(blue, row)
			}
			s.line(strings.TrimRight(head+row, " "))
			head = indent
		}
	}
	s.facts = nil
}

func (s *sheet) broken(f fact, room int) []string {
	if !s.terminal || f.whole {
		return []string{f.value}
	}
	return breakLines(f.value, room)
}

func (s *sheet) endTable() {
	if s.head == nil {
		return
	}
	all := append([][]string{s.head}, s.rows...)
	natural, least := extent(all, math.MaxInt), extent(all, readable)
	lanes := [][]int{every(len(s.head))}
	if s.terminal && total(natural) > s.width {
		columns := filled(s.rows, len(s.head))
		lanes = s.lanes(columns, least)
		if narrow := extent(all, narrowest); len(lanes) > 1 && len(s.lanes(columns, narrow)) == 1 {
			least, lanes = narrow, [][]int{columns}
		}
	}
	for n, row := range all {
		colour := ""
		if n == 0 {
			colour = bold
		}
		for k, lane := range lanes {
			indent := 0
			if k > 0 {
				indent = fold
			}
			s.lane(row, lane, s.widths(lane, natural, least, indent), indent, colour)
		}
	}
	s.head, s.rows = nil, nil
}

// extent is the width of each column that holds its longest word, and its texts up to that of prose.
func extent(rows [][]string, prose int) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], min(cells(cell), max(prose, widest(strings.Fields(cell)))))
		}
	}
	return widths
}

// lanes deals the columns out to lines of a row, as many to a line as it holds.
func (s *sheet) lanes(columns, least []int) [][]int {
	var lanes [][]int
	used := 0
	for _, c := range columns {
		if n := len(lanes) - 1; n < 0 || used+gap+least[c] > s.width {
			used = least[c]
			if n >= 0 {
				used += fold
			}
			lanes = append(lanes, []int{c})
		} else {
			lanes[n] = append(lanes[n], c)
			used += gap + least[c]
		}
	}
	return lanes
}

// widths gives each column of a lane its least width, and what is left first to those that want the least more.
func (s *sheet) widths(lane, natural, least []int, indent int) []int {
	w := make([]int, len(lane))
	spare := s.width - indent - gap*(len(lane)-1)
	for i, c := range lane {
		w[i] = least[c]
		if !s.terminal {
			w[i] = natural[c]
		}
		spare -= w[i]
	}
	order := every(len(lane))
	slices.SortStableFunc(order, func(i, j int) int { return natural[lane[i]] - w[i] - natural[lane[j]] + w[j] })
	for _, i := range order {
		more := max(0, min(spare, natural[lane[i]]-w[i]))
		w[i] += more
		spare -= more
	}
	return w
}

// lane writes the columns of one lane of a row, each wrapped to its width.
func (s *sheet) lane(row []string, lane, width []int, indent int, colour string) {
	wrapped := make([][]string, len(lane))
	height := 0
	for i, c := range lane {
		wrapped[i] = []string{row[c]}
		if cells(row[c]) > width[i] {
			wrapped[i] = breakLines(row[c], width[i])
		}
		if row[c] != "" {
			height = max(height, len(wrapped[i]))
		}
	}
	for y := range height {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", indent))
		for i := range lane {
			text := ""
			if y < len(wrapped[i]) {
				text = wrapped[i][y]
			}
			b.WriteString(text + strings.Repeat(" ", max(0, width[i]-cells(text))+gap))
		}
		s.line(s.paint(colour, strings.TrimRight(b.String(), " ")))
	}
}

func widest(list []string) int {
	n := 0
	for _, text := range list {
		n = max(n, cells(text))
	}
	return n
}

// total is the width of columns side by side.
func total(widths []int) int {
	n := gap * (len(widths) - 1)
	for _, w := range widths {
		n += w
	}
	return n
}

func every(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// filled are the columns that have a value in some row.
func filled(rows [][]string, n int) []int {
	return slices.DeleteFunc(every(n), func(c int) bool {
		return len(rows) > 0 && !slices.ContainsFunc(rows, func(row []string) bool { return row[c] != "" })
	})
}

// figures rounds a value for people where it is a number; of everything else it is the JSON.
func figures(v json.RawMessage) string {
	var x float64
	if strings.ContainsAny(string(v), ".eE") && json.Unmarshal(v, &x) == nil {
		return vaultmesh.Figure(x)
	}
	return string(v)
}
