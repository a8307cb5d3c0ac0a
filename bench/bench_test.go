package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/twin"
)

// A closed journal leaves goroutines of Pebble's caches behind for a moment; goleak retries until they are gone.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// smoke runs a benchmark for a moment and checks the shape of what it says. Where a busy machine leaves nothing to measure
// in that moment, a longer one is tried.
func smoke(t *testing.T, name string) *Result {
	t.Helper()
	o := Options{Dir: t.TempDir(), For: 100 * time.Millisecond, Connections: 5, Window: 4, Rate: 500, Submitters: 16, Mosquitto: os.Getenv("MOSQUITTO")}
	r, err := Run(t.Context(), name, o)
	for o.For < 5*time.Second && (err != nil || slices.ContainsFunc(append([]Measurement{r.Measurement}, r.Parts...), func(m Measurement) bool { return m.Ratio <= 0 })) {
		o.For *= 4
		t.Logf("nothing was measured (%v): trying %s", err, o.For)
		r, err = Run(t.Context(), name, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	var line, text bytes.Buffer
	if err := r.WriteJSON(&line); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(line.String(), "\n"); n != 1 {
		t.Errorf("%d lines of JSON, want one", n)
	}
	var shape map[string]any
	if err := json.Unmarshal(line.Bytes(), &shape); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"name", "p50_ms", "p99_ms", "rate", "floor", "ratio", "ratio_of", "target", "met", "compared", "machine"} {
		if _, ok := shape[field]; !ok {
			t.Errorf("the JSON has no %q: %s", field, line.String())
		}
	}
	for _, m := range append([]Measurement{r.Measurement}, r.Parts...) {
		if m.Rate <= 0 || m.P50 <= 0 || m.P99 < m.P50 || m.Floor == nil || m.Ratio <= 0 || m.Target == "" {
			t.Errorf("not a measurement: %+v", m)
		}
	}
	for _, field := range []string{"cpu", "cores", "go", "os"} {
		if v := shape["machine"].(map[string]any)[field]; v == "" || v == nil || v == 0. {
			t.Errorf("the machine's %s is missing", field)
		}
	}
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), r.Compared) || !strings.Contains(text.String(), r.Floor.Name) {
		t.Errorf("the text does not say what was compared:\n%s", text.String())
	}
	left, err := os.ReadDir(o.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d folders are left behind (%v)", len(left), err)
	}
	return r
}

func TestPowerFlow(t *testing.T) {
	r := smoke(t, "powerflow")
	if r.Counts["solves"] == 0 || r.Counts["outages"] == 0 || r.Peer == nil {
		t.Errorf("counts %v, peer %v", r.Counts, r.Peer)
	}
}

func TestReceipts(t *testing.T) {
	r := smoke(t, "receipts")
	for _, kind := range []string{"signed", "unsigned", "open"} {
		if n := r.Counts["acknowledged_"+kind]; n == 0 || r.Counts["in_log_"+kind] != n {
			t.Errorf("%s: %d acknowledged, %d in the log", kind, n, r.Counts["in_log_"+kind])
		}
	}
	if r.Counts["verified"] == 0 {
		t.Error("nothing was verified")
	}
}

func TestIngest(t *testing.T) {
	r := smoke(t, "ingest")
	acknowledged := r.Counts["acknowledged"]
	if acknowledged == 0 || r.Counts["accepted"] != acknowledged || r.Counts["found"] != acknowledged || r.Counts["batches"] == 0 || r.Counts["floor_acknowledged"] == 0 {
		t.Errorf("counts do not add up: %v", r.Counts)
	}
	if (r.Peer == nil) != slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "mosquitto") }) {
		t.Errorf("peer %v and notes %q", r.Peer, r.Notes)
	}
}

func TestLoop(t *testing.T) {
	r := smoke(t, "loop")
	if n := r.Counts["proposed"]; n == 0 || r.Counts["aligned"]+r.Counts["ended_otherwise"] != n || r.Counts["receipts_checked"] != uint64(len(steps))*r.Counts["aligned"] {
		t.Errorf("counts do not add up: %v %q", r.Counts, r.Notes)
	}
}

func TestRunRefuses(t *testing.T) {
	for name, o := range map[string]Options{"nothing": {}, "loop": {Rate: -1}, "ingest": {Connections: 1 << 20}, "receipts": {For: time.Hour}, "powerflow": {For: time.Nanosecond}} {
		if _, err := Run(t.Context(), name, o); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, name := range Names() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dir := t.TempDir()
		if _, err := Run(ctx, name, Options{Dir: dir, For: time.Minute}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %d folders are left behind", name, len(left))
		}
	}
}

// What was acknowledged and is not in the history must be found out.
func TestFindMissesNothing(t *testing.T) {
	in, err := openTruth(t.TempDir(), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	models, err := dtdl.Parse(grid.Models(), dtdl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	twins := twin.NewStore(twin.Options{Models: models, Now: time.Now})
	defer twins.Close()
	if err := defineLines(t.Context(), in, twins, 1); err != nil {
		t.Fatal(err)
	}
	load := &traffic{publishers: []*publisher{newPublisher(0, time.Now().Truncate(time.Second))}, acked: []uint64{0}}
	if n, _, err := load.find(t.Context(), in, twins); n != 0 || err != nil {
		t.Fatalf("nothing was acknowledged: found %d, %v", n, err)
	}
	load.acked[0] = 1
	if _, _, err := load.find(t.Context(), in, twins); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("a message was lost and the search says %v", err)
	}
}

// Messages must be what the device contract says, distinct, and always the same.
func TestPublisher(t *testing.T) {
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p, again := newPublisher(7, base), newPublisher(7, base)
	seen := map[string]bool{}
	for _, n := range []uint64{0, 1, 2, 3, 4, fromCounter - 1, fromCounter, 3*fromCounter + 5, 65534, 65535} {
		b := string(p.next(n))
		if b != string(again.next(n)) || seen[b] {
			t.Errorf("message %d is not itself", n)
		}
		seen[b] = true
		var m struct {
			T         time.Time
			Telemetry map[string]float64
		}
		if err := json.Unmarshal(p.payloadOf(n), &m); err != nil {
			t.Fatal(err)
		}
		if !m.T.Equal(p.time(n)) || len(m.Telemetry) != 5 {
			t.Errorf("message %d says %s, want %s: %v", n, m.T, p.time(n), m.Telemetry)
		}
	}
	if packetID(65534) != 65535 || packetID(65535) != 1 {
		t.Error("packet identifiers do not go round")
	}
}
