package grid

import (
	"bytes"
	"math"
	"regexp"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// Bounds of a MATPOWER file.
const (
	maxMatpowerBytes   = 32 << 20
	maxMatpowerColumns = 64
)

const opMatpower = "grid.matpower"

// Columns of the tables, from 0, after the MATPOWER manual (appendix B).
const (
	busNumber, busType, busPd, busQd, busGs, busBs, busVm, busVa, busKV, busVMax, busVMin           = 0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12
	genBus, genP, genQ, genQMax, genQMin, genV, genStatus, genPMax, genPMin                         = 0, 1, 2, 3, 4, 5, 7, 8, 9
	branchFrom, branchTo, branchR, branchX, branchB, branchRate, branchRatio, branchShift, brStatus = 0, 1, 2, 3, 4, 5, 8, 9, 10
)

var (
	matpowerName  = regexp.MustCompile(`^function\s+mpc\s*=\s*([A-Za-z][A-Za-z0-9_]{0,63})`)
	matpowerBase  = regexp.MustCompile(`^mpc\.baseMVA\s*=\s*([^;\s]+)\s*;`)
	matpowerTable = regexp.MustCompile(`^mpc\.([A-Za-z_]+)\s*=\s*([\[{])\s*(.*)$`)
)

// ReadMatpower reads the name, the base and the tables bus, gen and branch of a MATPOWER case file of version 2, as
// data: one row a line, numbers only, nothing is evaluated. Other tables and statements are passed over. Only the
// limits of generators may be infinite. Errors name the line. The result is not checked as a whole; powerflow.Compile does that.
func ReadMatpower(data []byte) (*powerflow.Case, error) {
	if len(data) > maxMatpowerBytes {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, opMatpower, "", "%d bytes, the limit is %d", len(data), maxMatpowerBytes)
	}
	r := matpowerReader{}
	for line := range bytes.Lines(data) {
		r.line++
		text, _, _ := strings.Cut(string(line), "%")
		if err := r.take(strings.TrimSpace(text)); err != nil {
			return nil, err
		}
	}
	switch {
	case r.closing != "":
		return nil, r.fail("the table %s has no end", r.table)
	case len(r.c.Buses) == 0:
		return nil, r.fail("there is no table mpc.bus")
	case r.c.BaseMVA == 0:
		return nil, r.fail("there is no mpc.baseMVA")
	}
	return &r.c, nil
}

type matpowerReader struct {
	c       powerflow.Case
	line    int
	table   string // in which we are
	closing string // what ends it; "" outside of a table
}

func (r *matpowerReader) fail(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, opMatpower, "line "+strconv.Itoa(r.line), format, args...)
}

func (r *matpowerReader) take(text string) error {
	if r.closing == "" {
		if m := matpowerName.FindStringSubmatch(text); m != nil {
			r.c.Name = m[1]
		}
		if m := matpowerBase.FindStringSubmatch(text); m != nil {
			base, err := strconv.ParseFloat(m[1], 64)
			if err != nil || !(base > 0) || math.IsInf(base, 0) {
				return r.fail("baseMVA is %.40q, want a positive number", m[1])
			}
			r.c.BaseMVA = base
		}
		m := matpowerTable.FindStringSubmatch(text)
		if m == nil {
			return nil
		}
		r.table, text = m[1], m[3]
		r.closing = map[string]string{"[": "]", "{": "}"}[m[2]]
	}
	rows, _, end := strings.Cut(text, r.closing)
	for row := range strings.SplitSeq(rows, ";") {
		if err := r.row(strings.TrimSpace(row)); err != nil {
			return err
		}
	}
	if end {
		r.closing = ""
	}
	return nil
}

func (r *matpowerReader) row(text string) error {
	if text == "" || r.table != "bus" && r.table != "gen" && r.table != "branch" {
		return nil
	}
	fields := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' })
	if len(fields) > maxMatpowerColumns {
		return r.fail("%d columns, the limit is %d", len(fields), maxMatpowerColumns)
	}
	v := make([]float64, len(fields))
	for i, f := range fields {
		x, err := strconv.ParseFloat(f, 64)
		limit := r.table == "gen" && (i == genQMax || i == genQMin || i == genPMax || i == genPMin)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) && !limit {
			return r.fail("column %d of %s is %.40q, want a finite number", i+1, r.table, f)
		}
		v[i] = x
	}
	switch r.table {
	case "bus":
		return r.bus(v)
	case "gen":
		return r.gen(v)
	default:
		return r.branch(v)
	}
}

func (r *matpowerReader) columns(v []float64, want int, whole ...int) error {
	if len(v) < want {
		return r.fail("%s has %d columns, want at least %d", r.table, len(v), want)
	}
	for _, i := range whole {
		if v[i] != math.Trunc(v[i]) || math.Abs(v[i]) > 1<<31-1 {
			return r.fail("column %d of %s is %g, want a whole number", i+1, r.table, v[i])
		}
	}
	return nil
}

func (r *matpowerReader) bus(v []float64) error {
	if err := r.columns(v, busVMin+1, busNumber, busType); err != nil {
		return err
	}
	if len(r.c.Buses) == powerflow.MaxBuses {
		return r.fail("more than %d buses", powerflow.MaxBuses)
	}
	if v[busType] < 1 || v[busType] > 4 {
		return r.fail("bus type %g, want 1 to 4", v[busType])
	}
	r.c.Buses = append(r.c.Buses, powerflow.Bus{Number: int(v[busNumber]), Type: powerflow.BusType(v[busType]),
		LoadMW: v[busPd], LoadMVAr: v[busQd], ShuntMW: v[busGs], ShuntMVAr: v[busBs],
		BaseKV: v[busKV], VMin: v[busVMin], VMax: v[busVMax], Vm: v[busVm], Va: v[busVa]})
	return nil
}

func (r *matpowerReader) gen(v []float64) error {
	if err := r.columns(v, genPMin+1, genBus); err != nil {
		return err
	}
	if len(r.c.Gens) == powerflow.MaxGens {
		return r.fail("more than %d generators", powerflow.MaxGens)
	}
	r.c.Gens = append(r.c.Gens, powerflow.Gen{Bus: int(v[genBus]), P: v[genP], Q: v[genQ], QMin: v[genQMin], QMax: v[genQMax],
		PMin: v[genPMin], PMax: v[genPMax], V: v[genV], InService: v[genStatus] > 0})
	return nil
}

func (r *matpowerReader) branch(v []float64) error {
	if err := r.columns(v, brStatus+1, branchFrom, branchTo); err != nil {
		return err
	}
	if len(r.c.Branches) == powerflow.MaxBranches {
		return r.fail("more than %d branches", powerflow.MaxBranches)
	}
	r.c.Branches = append(r.c.Branches, powerflow.Branch{From: int(v[branchFrom]), To: int(v[branchTo]), R: v[branchR], X: v[branchX],
		B: v[branchB], RatingMVA: v[branchRate], Tap: v[branchRatio], ShiftDeg: v[branchShift], InService: v[brStatus] > 0})
	return nil
}
