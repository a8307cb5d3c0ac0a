package grid

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// The file format of a case is text, one record a line: a word that says what it is, then its figures, separated by
// blanks. What follows a # is a comment; empty lines are free. Numbers are decimal; powers in MW and MVAr, impedances
// in pu on the base, voltages in pu, angles in degrees.
//
//	vaultmesh-grid 1
//	name <identifier>
//	base <MVA>
//	bus <number> <pq|pv|slack|isolated> <kV> <vMin> <vMax> <vm> <va> <load MW> <load MVAr> <shunt MW> <shunt MVAr>
//	gen <bus> <p> <q> <v> <pMin> <pMax> <qMin> <qMax> <on|off>
//	line <from> <to> <r> <x> <b> <rating MVA> <on|off>
//	transformer <from> <to> <r> <x> <b> <rating MVA> <ratio> <shift> <on|off>
//
// The first three records come first and once, in this order; a bus comes before what stands at it; otherwise the order
// is free, and it is the order of the case. A limit of a generator may be +Inf or -Inf, every other figure is finite.
// A transformer's ratio is 0 only where it has a phase shift and no ratio of its own.
const formatHeader = "vaultmesh-grid 1"

// Bounds of a case file.
const (
	maxCaseBytes = 64 << 20
	maxLineBytes = 1024
)

const opParse = "grid.parse"

var busTypes = map[string]powerflow.BusType{"pq": powerflow.PQ, "pv": powerflow.PV, "slack": powerflow.Slack, "isolated": powerflow.Isolated}

var busTypeNames = map[powerflow.BusType]string{powerflow.PQ: "pq", powerflow.PV: "pv", powerflow.Slack: "slack", powerflow.Isolated: "isolated"}

// Parse reads a case in the format of this package, strictly: errors name the line. Figures are checked as
// powerflow.Compile checks them only when the case is compiled.
func Parse(data []byte) (*powerflow.Case, error) {
	if len(data) > maxCaseBytes {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, opParse, "", "%d bytes, the limit is %d", len(data), maxCaseBytes)
	}
	p := caseParser{known: map[int]bool{}}
	for line := range bytes.Lines(data) {
		p.line++
		if len(line) > maxLineBytes {
			return nil, p.fail("%d bytes, the limit of a line is %d", len(line), maxLineBytes)
		}
		text, _, _ := strings.Cut(string(line), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if err := p.record(fields); err != nil {
			return nil, err
		}
	}
	if p.prologue < 3 || len(p.c.Buses) == 0 {
		return nil, p.fail("the file ends before its first bus")
	}
	return &p.c, nil
}

type caseParser struct {
	c        powerflow.Case
	line     int
	prologue int          // records of the prologue that were read
	known    map[int]bool // buses
	fields   []string     // what is left of the record
	err      error        // of the first field that could not be read
}

func (p *caseParser) fail(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, opParse, "line "+strconv.Itoa(p.line), format, args...)
}

func (p *caseParser) record(fields []string) error {
	word := fields[0]
	p.fields, p.err = fields[1:], nil
	if p.prologue < 3 {
		return p.begin(word, fields)
	}
	switch word {
	case "bus":
		p.bus()
	case "gen":
		p.gen()
	case "line":
		p.branch(false)
	case "transformer":
		p.branch(true)
	default:
		return p.fail("unknown record %.40q, want bus, gen, line or transformer", word)
	}
	if p.err == nil && len(p.fields) > 0 {
		return p.fail("%d figures more than a %s has", len(p.fields), word)
	}
	return p.err
}

func (p *caseParser) begin(word string, fields []string) error {
	switch {
	case p.prologue == 0:
		if strings.Join(fields, " ") != formatHeader {
			return p.fail("want %q", formatHeader)
		}
	case len(fields) != 2:
		return p.fail("want a word and one value")
	case p.prologue == 1:
		if word != "name" {
			return p.fail("%.40q, want name", word)
		}
		if err := vaultmesh.CheckID("case", fields[1]); err != nil {
			return p.fail("the name is not an identifier").(*vaultmesh.Error).Because(err)
		}
		p.c.Name = fields[1]
	default:
		if word != "base" {
			return p.fail("%.40q, want base", word)
		}
		if p.c.BaseMVA = p.number("base"); p.err == nil && p.c.BaseMVA <= 0 {
			return p.fail("base is %g MVA, want more than 0", p.c.BaseMVA)
		}
	}
	p.prologue++
	return p.err
}

// next takes the next field; after an error it takes nothing.
func (p *caseParser) next(what string) string {
	if p.err != nil {
		return ""
	}
	if len(p.fields) == 0 {
		p.err = p.fail("%s is missing", what)
		return ""
	}
	f := p.fields[0]
	p.fields = p.fields[1:]
	return f
}

func (p *caseParser) limit(what string) float64 {
	f := p.next(what)
	if p.err != nil {
		return 0
	}
	v, err := strconv.ParseFloat(f, 64)
	if err != nil || math.IsNaN(v) {
		p.err = p.fail("%s is %.40q, want a number", what, f)
	}
	return v
}

func (p *caseParser) number(what string) float64 {
	v := p.limit(what)
	if p.err == nil && math.IsInf(v, 0) {
		p.err = p.fail("%s is infinite", what)
	}
	return v
}

func (p *caseParser) whole(what string) int {
	f := p.next(what)
	if p.err != nil {
		return 0
	}
	v, err := strconv.ParseInt(f, 10, 32)
	if err != nil || v < 1 {
		p.err = p.fail("%s is %.40q, want a whole number from 1 to 2147483647", what, f)
	}
	return int(v)
}

func (p *caseParser) busRef(what string) int {
	n := p.whole(what)
	if p.err == nil && !p.known[n] {
		p.err = p.fail("%s is bus %d, which no line above describes", what, n)
	}
	return n
}

func (p *caseParser) service() bool {
	f := p.next("on or off")
	if p.err == nil && f != "on" && f != "off" {
		p.err = p.fail("%.40q, want on or off", f)
	}
	return f == "on"
}

func (p *caseParser) room(what string, n, limit int) {
	if p.err == nil && n >= limit {
		p.err = p.fail("more than %d %s", limit, what)
	}
}

func (p *caseParser) bus() {
	p.room("buses", len(p.c.Buses), powerflow.MaxBuses)
	b := powerflow.Bus{Number: p.whole("the bus number")}
	kind := p.next("the bus type")
	b.Type = busTypes[kind]
	switch {
	case p.err != nil:
	case p.known[b.Number]:
		p.err = p.fail("bus %d occurs twice", b.Number)
	case b.Type == 0:
		p.err = p.fail("the bus type is %.40q, want pq, pv, slack or isolated", kind)
	}
	b.BaseKV = p.number("kV")
	b.VMin, b.VMax = p.number("vMin"), p.number("vMax")
	b.Vm, b.Va = p.number("vm"), p.number("va")
	b.LoadMW, b.LoadMVAr = p.number("load MW"), p.number("load MVAr")
	b.ShuntMW, b.ShuntMVAr = p.number("shunt MW"), p.number("shunt MVAr")
	p.known[b.Number] = true
	p.c.Buses = append(p.c.Buses, b)
}

func (p *caseParser) gen() {
	p.room("generators", len(p.c.Gens), powerflow.MaxGens)
	g := powerflow.Gen{Bus: p.busRef("the generator's bus")}
	g.P, g.Q, g.V = p.number("p"), p.number("q"), p.number("v")
	g.PMin, g.PMax = p.limit("pMin"), p.limit("pMax")
	g.QMin, g.QMax = p.limit("qMin"), p.limit("qMax")
	g.InService = p.service()
	p.c.Gens = append(p.c.Gens, g)
}

func (p *caseParser) branch(transformer bool) {
	p.room("branches", len(p.c.Branches), powerflow.MaxBranches)
	b := powerflow.Branch{From: p.busRef("from"), To: p.busRef("to")}
	b.R, b.X, b.B = p.number("r"), p.number("x"), p.number("b")
	b.RatingMVA = p.number("rating")
	if transformer {
		b.Tap, b.ShiftDeg = p.number("ratio"), p.number("shift")
		if p.err == nil && (b.Tap < 0 || !IsTransformer(&b)) {
			p.err = p.fail("ratio %g and shift %g, want a ratio above 0, or 0 with a shift", b.Tap, b.ShiftDeg)
		}
	}
	b.InService = p.service()
	p.c.Branches = append(p.c.Branches, b)
}

// Format writes a case in the format of this package. For a case whose name is an identifier, whose bus numbers are
// positive and which powerflow.Compile accepts, Parse(Format(c)) gives c.
func Format(c *powerflow.Case) []byte {
	var w caseWriter
	w.record(formatHeader)
	w.record("name", c.Name)
	w.record("base", c.BaseMVA)
	w.note("bus number type kV vMin vMax | start vm va | load MW MVAr | shunt MW MVAr")
	for i := range c.Buses {
		b := &c.Buses[i]
		w.record("bus", b.Number, busTypeNames[b.Type], b.BaseKV, b.VMin, b.VMax, b.Vm, b.Va, b.LoadMW, b.LoadMVAr, b.ShuntMW, b.ShuntMVAr)
	}
	w.note("gen bus p q v pMin pMax qMin qMax")
	for i := range c.Gens {
		g := &c.Gens[i]
		w.record("gen", g.Bus, g.P, g.Q, g.V, g.PMin, g.PMax, g.QMin, g.QMax, g.InService)
	}
	w.note("line from to r x b rating; transformer from to r x b rating ratio shift")
	for i := range c.Branches {
		b := &c.Branches[i]
		if IsTransformer(b) {
			w.record("transformer", b.From, b.To, b.R, b.X, b.B, b.RatingMVA, b.Tap, b.ShiftDeg, b.InService)
		} else {
			w.record("line", b.From, b.To, b.R, b.X, b.B, b.RatingMVA, b.InService)
		}
	}
	return w.out
}

type caseWriter struct{ out []byte }

func (w *caseWriter) note(text string) {
	w.out = append(w.out, "\n# "+text+"\n"...)
}

func (w *caseWriter) record(fields ...any) {
	for i, f := range fields {
		if i > 0 {
			w.out = append(w.out, ' ')
		}
		switch v := f.(type) {
		case string:
			w.out = append(w.out, v...)
		case int:
			w.out = strconv.AppendInt(w.out, int64(v), 10)
		case float64:
			w.out = strconv.AppendFloat(w.out, v, 'g', -1, 64)
		case bool:
			w.out = append(w.out, map[bool]string{true: "on", false: "off"}[v]...)
		}
	}
	w.out = append(w.out, '\n')
}
