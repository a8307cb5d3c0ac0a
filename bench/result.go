package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"vaultmesh.org/vaultmesh/bench/pace"
)

// Figure is a floor (the least that the work could cost) or a peer (another program that does the same).
type Figure struct {
	Name   string  `json:"name"`
	P50    float64 `json:"p50_ms,omitempty"`
	P99    float64 `json:"p99_ms,omitempty"`
	Rate   float64 `json:"rate,omitempty"`   // a second
	Source string  `json:"source,omitempty"` // of a published figure; empty where it was measured in this run
}

// figureOf names what t holds, done within elapsed.
func figureOf(t *pace.Times, name string, elapsed time.Duration) Figure {
	return Figure{Name: name, P50: t.P50(), P99: t.P99(), Rate: t.Rate(elapsed)}
}

// Measurement is one thing measured. Times are milliseconds, rates are per second.
type Measurement struct {
	Name    string  `json:"name"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Rate    float64 `json:"rate"`
	Floor   *Figure `json:"floor"`
	Peer    *Figure `json:"peer,omitempty"`
	Ratio   float64 `json:"ratio"`    // to the floor
	RatioOf string  `json:"ratio_of"` // what was divided by what
	Target  string  `json:"target"`
	Met     bool    `json:"met"`
}

// Result is what one benchmark found. The embedded measurement is its headline.
type Result struct {
	Measurement
	Compared string            `json:"compared"` // one sentence: what was compared with what
	Parts    []Measurement     `json:"parts,omitempty"`
	Counts   map[string]uint64 `json:"counts,omitempty"` // what was done and what was checked
	Notes    []string          `json:"notes,omitempty"`
	Machine  Machine           `json:"machine"`
}

// Machine is where it was measured.
type Machine struct {
	CPU   string  `json:"cpu"`
	Cores int     `json:"cores"` // that this process may use
	Go    string  `json:"go"`
	OS    string  `json:"os"`
	Load1 float64 `json:"load1,omitempty"` // run queue of the last minute: neighbours that share the cores
}

func thisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(b), &m.Load1)
	}
	return m
}

// WriteJSON writes r as one line.
func (r *Result) WriteJSON(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// WriteText writes r for a person: a sentence, a table and the notes.
func (r *Result) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n", r.Name, r.Compared)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "what\tp50 ms\tp99 ms\tper s\tratio\ttarget\tmet\t")
	for _, m := range append([]Measurement{r.Measurement}, r.Parts...) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", m.Name, number(m.P50), number(m.P99), number(m.Rate), number(m.Ratio), m.Target, mark(m.Met))
		m.Floor.row(t, "floor: ")
		m.Peer.row(t, "peer: ")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	said := map[string]bool{}
	for _, m := range append([]Measurement{r.Measurement}, r.Parts...) {
		if m.RatioOf != "" && !said[m.RatioOf] {
			said[m.RatioOf] = true
			fmt.Fprintf(w, "  ratio: %s\n", m.RatioOf)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
	_, err := fmt.Fprintf(w, "  on %s, %d cores, %s, %s, load %.1f\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Go, r.Machine.OS, r.Machine.Load1)
	return err
}

func (f *Figure) row(w io.Writer, label string) {
	if f == nil {
		return
	}
	name := label + f.Name
	if f.Source != "" {
		name += " (published)"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\t\t\t\n", name, number(f.P50), number(f.P99), number(f.Rate))
}

func mark(met bool) string {
	if met {
		return "yes"
	}
	return "no"
}

// number writes three significant digits, and nothing for what was not measured.
func number(v float64) string {
	switch {
	case v == 0 || math.IsNaN(v) || math.IsInf(v, 0):
		return ""
	case math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// over divides, and gives 0 where there is nothing to divide by: a ratio that was not measured.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
