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
	"time"

	"vaultmesh.org/vaultmesh/dtdl"
)

// BenchmarkOfficial measures both parsers on the three public ontologies in one run, in turns, in two ways: by the clock,
// and by the time of all processors that each process takes, in which what else the machine does counts little and
// reading documents in parallel gains nothing.
//
// "first" is what one run of a program sees: in each turn both parsers are started anew, each in a process of its
// own, and parse every set once, one after the other; starting is not counted. The code of the official parser is
// compiled while it runs, which the first set pays for most.
//
// "warm" is what a program sees that has parsed the same set many times: both parsers stay up, and the first half of
// the turns is not counted.
//
// With -v the whole tables are printed as docs/dtdl.md has them: the median of each, and the median of the ratios of the
// turns, in each of which both parsers see the same load of the machine.
func BenchmarkOfficial(b *testing.B) {
	const turns = 6
	for b.Loop() {
		first := newTimes()
		for range turns {
			mine := parseOnce(b) // the official parser goes on compiling in the background once it has started
			theirs := startOracle(b)
			var all [2]cost
			for _, name := range ontologies {
				took := [2]cost{theirs.ask(b, ontology(b, name)).Took, mine[name]}
				first.add(name, took)
				all[0].add(took[0])
				all[1].add(took[1])
			}
			first.add(together, all)
		}
		warm := newTimes()
		o := startOracle(b)
		for _, name := range ontologies {
			set := ontology(b, name)
			docs := documents(set)
			for turn := range 12 * turns {
				took := [2]cost{o.ask(b, set).Took, parse(b, docs)}
				if turn >= 6*turns {
					warm.add(name, took)
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

// together is the name of the row of all sets of one run.
const together = "all three"

// cost is what parsing a set took, in milliseconds.
type cost struct {
	Clock      float64 `json:"clock"`
	Processors float64 `json:"processors"`
}

func (c *cost) add(d cost) { c.Clock += d.Clock; c.Processors += d.Processors }

func byClock(c cost) float64 { return c.Clock }

func byProcessors(c cost) float64 { return c.Processors }

// times are what the official parser and this package took for a set in each turn.
type times map[string][][2]cost

func newTimes() times { return make(times) }

func (t times) add(name string, took [2]cost) { t[name] = append(t[name], took) }

// median returns the middle of the official parser's times, of this package's, and of their ratios turn by turn.
func (t times) median(name string, by func(cost) float64) (theirs, mine, ratio float64) {
	var of [3][]float64
	for _, took := range t[name] {
		x, y := by(took[0]), by(took[1])
		of[0], of[1], of[2] = append(of[0], x), append(of[1], y), append(of[2], x/y)
	}
	return middle(of[0]), middle(of[1]), middle(of[2])
}

func middle(list []float64) float64 { return slices.Sorted(slices.Values(list))[len(list)/2] }

func (t times) String() string {
	var b strings.Builder
	b.WriteString("| set | official parser | this package | times as fast | of processors: official parser | this package | times as fast |\n|---|---|---|---|---|---|---|\n")
	for _, name := range append(slices.Clone(ontologies), together) {
		if len(t[name]) == 0 {
			continue
		}
		theirs, mine, ratio := t.median(name, byClock)
		theirsP, mineP, ratioP := t.median(name, byProcessors)
		fmt.Fprintf(&b, "| %s | %.0f ms | %.2f ms | %.0f | %.0f ms | %.2f ms | %.0f |\n", name, theirs, mine, ratio, theirsP, mineP, ratioP)
	}
	return b.String()
}

func (t times) report(b *testing.B, what string) {
	for name := range t {
		_, _, ratio := t.median(name, byClock)
		b.ReportMetric(ratio, strings.ReplaceAll(name, " ", "-")+"-"+what)
	}
}

func documents(set []json.RawMessage) []dtdl.Document {
	docs := make([]dtdl.Document, len(set))
	for i, m := range set {
		docs[i] = dtdl.Document{Data: m}
	}
	return docs
}

// parse returns what a set takes.
func parse(t testing.TB, docs []dtdl.Document) cost {
	start, began := processors(t), time.Now()
	if _, err := dtdl.Parse(docs, dtdl.Options{}); err != nil {
		t.Fatal(err)
	}
	return cost{float64(time.Since(began)) / 1e6, processors(t) - start}
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

// parseOnce returns what each set takes in a new process.
func parseOnce(t testing.TB) map[string]cost {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOnce$", "-test.v")
	cmd.Env = append(os.Environ(), asProcess+"=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	times := make(map[string]cost)
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
	times := make(map[string]cost)
	for _, name := range ontologies {
		times[name] = parse(t, documents(ontology(t, name)))
	}
	text, err := json.Marshal(times)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s %s\n", asProcess, text)
}
