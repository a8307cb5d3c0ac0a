package dtdl

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vaultmesh.org/vaultmesh/dtdl"
)

// BenchmarkOfficial measures both parsers on the three public ontologies in one run, in turns, in two ways, by the time
// of the processors that each process takes, so that what else the machine does counts little. Reading documents in
// parallel gains nothing by this measure.
//
// "first" is what one run of a program sees: in each turn both parsers are started anew, each in a process of its
// own, and parse every set once, one after the other; starting is not counted. The code of the official parser is
// compiled while it runs, which the first set pays for most.
//
// "warm" is what a program sees that has parsed the same set many times: both parsers stay up, and the first half of
// the turns is not counted.
//
// With -v the whole table is printed as docs/dtdl.md has it: the least and the median of each, and the median of the
// ratios of the turns, in each of which both parsers see the same load of the machine.
func BenchmarkOfficial(b *testing.B) {
	const turns = 4
	for b.Loop() {
		first := newTimes()
		for range turns {
			theirs, mine := startOracle(b), parseOnce(b)
			for _, name := range ontologies {
				first.add(name, theirs.ask(b, ontology(b, name)).MS, mine[name])
			}
		}
		warm := newTimes()
		o := startOracle(b)
		for _, name := range ontologies {
			set := ontology(b, name)
			docs := documents(set)
			for turn := range 12 * turns {
				theirs, mine := o.ask(b, set).MS, parse(b, docs)
				if turn >= 6*turns {
					warm.add(name, theirs, mine)
				}
			}
		}
		b.Logf("each set once, behind the start:\n%s", first)
		b.Logf("the same set again and again:\n%s", warm)
		first.report(b, "first")
		warm.report(b, "warm")
	}
	b.ReportMetric(0, "ns/op")
}

// times are milliseconds that both parsers took for a set.
type times map[string][2][]float64

func newTimes() times { return make(times) }

func (t times) add(name string, theirs, mine float64) {
	t[name] = [2][]float64{append(t[name][0], theirs), append(t[name][1], mine)}
}

// least returns the smallest of each.
func (t times) least(name string) (theirs, mine float64) {
	return slices.Min(t[name][0]), slices.Min(t[name][1])
}

func (t times) median(name string) (theirs, mine float64) {
	return middle(t[name][0]), middle(t[name][1])
}

// ratio is how many times as fast this package was in the middle one of the turns.
func (t times) ratio(name string) float64 {
	ratios := make([]float64, len(t[name][0]))
	for i := range ratios {
		ratios[i] = t[name][0][i] / t[name][1][i]
	}
	return middle(ratios)
}

func middle(list []float64) float64 { return slices.Sorted(slices.Values(list))[len(list)/2] }

func (t times) String() string {
	var b strings.Builder
	b.WriteString("| set | official parser, least (median) | this package, least (median) | times as fast by the least (median of turns) |\n|---|---|---|---|\n")
	for _, name := range ontologies {
		theirs, mine := t.least(name)
		theirsM, mineM := t.median(name)
		fmt.Fprintf(&b, "| %s | %.0f (%.0f) ms | %.2f (%.2f) ms | %.0f (%.0f) |\n", name, theirs, theirsM, mine, mineM, theirs/mine, t.ratio(name))
	}
	return b.String()
}

func (t times) report(b *testing.B, what string) {
	for _, name := range ontologies {
		b.ReportMetric(t.ratio(name), name+"-"+what)
	}
}

func documents(set []json.RawMessage) []dtdl.Document {
	docs := make([]dtdl.Document, len(set))
	for i, m := range set {
		docs[i] = dtdl.Document{Data: m}
	}
	return docs
}

// parse returns the milliseconds that a set takes, of all processors together.
func parse(t testing.TB, docs []dtdl.Document) float64 {
	start := processors(t)
	if _, err := dtdl.Parse(docs, dtdl.Options{}); err != nil {
		t.Fatal(err)
	}
	return processors(t) - start
}

// processors returns the milliseconds that the process has had of the processors.
func processors(t testing.TB) float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e6
}

// asProcess makes the test binary a program that parses every set once.
const asProcess = "VAULTMESH_DTDL_ONCE"

// parseOnce returns the milliseconds that each set takes in a new process.
func parseOnce(t testing.TB) map[string]float64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOnce$", "-test.v")
	cmd.Env = append(os.Environ(), asProcess+"=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	times := make(map[string]float64)
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, asProcess+" "); ok {
			if err := json.Unmarshal([]byte(text), &times); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(times) != len(ontologies) {
		t.Fatalf("no times: %s", out)
	}
	return times
}

// TestOnce is what the new process of parseOnce runs.
func TestOnce(t *testing.T) {
	if os.Getenv(asProcess) == "" {
		t.Skip("this is run by BenchmarkOfficial")
	}
	times := make(map[string]float64)
	for _, name := range ontologies {
		times[name] = parse(t, documents(ontology(t, name)))
	}
	text, err := json.Marshal(times)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s %s\n", asProcess, text)
}
