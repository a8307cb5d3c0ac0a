package witness_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// rig is a log with some witnesses and a feeder between them, and a clock that the test turns.
type rig struct {
	t       *testing.T
	log     *tree
	servers []*witness.Server
	fronts  []*front
	policy  *receipt.WitnessPolicy

	mu      sync.Mutex
	now     time.Time
	kept    []witness.Head
	reports []receipt.ConflictBody
	held    [][]byte
	keepErr error
}

// front stands before a witness and can break it.
type front struct {
	mu      sync.Mutex
	next    http.Handler
	instead http.HandlerFunc // nil: the witness itself
	calls   []string         // bodies of add-checkpoint
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	h := http.Handler(f.next)
	if f.instead != nil {
		h = f.instead
	}
	if r.Method == http.MethodPost {
		f.calls = append(f.calls, string(body))
	}
	f.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (f *front) set(h http.HandlerFunc) { f.mu.Lock(); f.instead = h; f.mu.Unlock() }

func (f *front) asked() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.calls) }

func newRig(t *testing.T, witnesses int, quorum string) *rig {
	t.Helper()
	r := &rig{t: t, log: newTree(t, "example.com/log", "1"), now: time.Now()}
	var policy, names strings.Builder
	for i := range witnesses {
		signer, vkey := key(t, fmt.Sprintf("witness.example/w%d", i+1))
		s := serve(t, witness.ServerOptions{Signer: signer, Logs: []note.Verifier{r.log.verify}})
		f := &front{next: s}
		web := httptest.NewServer(f)
		t.Cleanup(web.Close)
		r.servers, r.fronts = append(r.servers, s), append(r.fronts, f)
		fmt.Fprintf(&policy, "witness w%d %s %s/\n", i+1, vkey, web.URL)
		fmt.Fprintf(&names, " w%d", i+1)
	}
	fmt.Fprintf(&policy, "group g %s%s\nquorum g\n", quorum, names.String())
	var err error
	if r.policy, err = receipt.ParseWitnessPolicy([]byte(policy.String())); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) clock() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now }

func (r *rig) pass(d time.Duration) { r.mu.Lock(); r.now = r.now.Add(d); r.mu.Unlock() }

func (r *rig) feeder() *witness.Feeder {
	r.t.Helper()
	f, err := witness.NewFeeder(witness.FeederOptions{Origin: "example.com/log", Log: r.log, Policy: r.policy, Timeout: 10 * time.Second, AlarmAfter: time.Minute, Now: r.clock, Logger: quiet(),
		Keep: func(_ context.Context, h witness.Head) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.keepErr == nil {
				r.kept = append(r.kept, h)
			}
			return r.keepErr
		},
		Report: func(_ context.Context, c receipt.ConflictBody, ours, held []byte) error {
			if vaultmesh.Sum(ours) != c.Ours {
				r.t.Error("the note is not the one that is reported")
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.reports, r.held = append(r.reports, c), append(r.held, held)
			return nil
		},
		Own: func(signed []byte) error { _, err := note.Open(signed, note.VerifierList(r.log.verify)); return err },
	}, witness.Head{})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func TestFeeder(t *testing.T) {
	r := newRig(t, 3, "2")
	f := r.feeder()
	f.Round(t.Context()) // an empty log has nothing to show
	if r.fronts[0].asked() != 0 {
		t.Fatal("an empty log asked")
	}
	r.log.grow(7, "main")
	f.Round(t.Context())
	r.log.grow(30, "main")
	f.Round(t.Context())
	f.Round(t.Context()) // nothing new: nobody is asked
	if len(r.kept) != 2 || r.kept[0].Size != 7 || r.kept[1].Size != 37 {
		t.Fatalf("kept %v", r.kept)
	}
	for _, h := range r.kept {
		if got := r.policy.Cosigners(h.Note); !slices.Equal(got, []string{"w1", "w2", "w3"}) {
			t.Fatalf("size %d is cosigned by %v", h.Size, got)
		}
		if n, err := note.Open(h.Note, note.VerifierList(r.log.verify)); err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 3 {
			t.Fatalf("the log's own signature is lost: %v", err)
		}
	}
	if n := r.fronts[0].asked(); n != 2 {
		t.Errorf("%d requests for two checkpoints", n)
	}
	// One of three is out: the quorum of two holds. Two are out: it does not, and in time that is an alarm.
	r.fronts[0].set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	r.log.grow(1, "main")
	f.Round(t.Context())
	if h, _ := f.Latest(); h.Size != 38 {
		t.Fatalf("two of three: witnessed %d", h.Size)
	}
	r.fronts[1].set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/other")
		w.WriteHeader(302)
	})
	r.log.grow(1, "main")
	f.Round(t.Context())
	if h, _ := f.Latest(); h.Size != 38 || f.Overdue() {
		t.Fatalf("one of three: witnessed %d, alarm %v", h.Size, f.Overdue())
	}
	r.pass(2 * time.Minute)
	r.log.grow(1, "main")
	f.Round(t.Context())
	if s := f.Status(); !s.Alarm || !f.Overdue() || s.Peers[1].Failures < 2 || s.Peers[0].Error == "" || s.Size != 38 {
		t.Fatalf("no alarm: %+v", s)
	}
	if v := metric(t, f, "vaultmesh_witness_overdue"); v != 1 {
		t.Errorf("the metric of the alarm is %v", v)
	}
	r.fronts[0].set(nil)
	r.fronts[1].set(nil)
	r.pass(10 * time.Minute)
	f.Round(t.Context())
	if s := f.Status(); s.Alarm || s.Size != 40 {
		t.Fatalf("it did not recover: %+v", s)
	}
	if v := metric(t, f, "vaultmesh_witnessed_receipts"); v != 40 {
		t.Errorf("witnessed receipts %v", v)
	}
	// A new process knows nothing of the witnesses: each tells it its size.
	again := r.feeder()
	r.log.grow(3, "main")
	again.Round(t.Context())
	if h, _ := again.Latest(); h.Size != 43 {
		t.Fatalf("after a restart: %d", h.Size)
	}
	if calls := r.fronts[2].calls[len(r.fronts[2].calls)-2:]; !strings.HasPrefix(calls[0], "old 0\n") || !strings.HasPrefix(calls[1], "old 40\n") {
		t.Errorf("it asked with %.8q and %.8q", calls[0], calls[1])
	}
	if len(r.reports) != 0 {
		t.Errorf("conflicts %v", r.reports)
	}
}

// What cannot be kept is not witnessed.
func TestKeepFails(t *testing.T) {
	r := newRig(t, 1, "all")
	f := r.feeder()
	r.log.grow(3, "main")
	r.keepErr = vaultmesh.Errorf(vaultmesh.Unavailable, "test", "", "full")
	f.Round(t.Context())
	if _, ok := f.Latest(); ok {
		t.Fatal("witnessed without a record")
	}
	r.keepErr = nil
	f.Round(t.Context())
	if h, _ := f.Latest(); h.Size != 3 {
		t.Fatalf("it was not tried again: %d", h.Size)
	}
}

// A log that was rolled back, that forked, or that signed two trees of one size is told apart, each with the notes that
// prove it.
func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		found            string
		common, was, now int // leaves in common, then of each tree
		proved           bool
	}{
		{"rollback", 20, 0, -5, true},
		{"equivocation", 10, 10, 10, true},
		{"fork", 10, 10, 25, true},
	} {
		t.Run(c.found, func(t *testing.T) {
			r := newRig(t, 2, "all")
			r.log.grow(c.common, "main")
			r.log.grow(c.was, "first")
			r.feeder().Round(t.Context())
			seen := r.log.size()
			// The log comes back from a backup, or under another hand.
			r.log.leaves = slices.Clone(r.log.leaves[:c.common+min(c.now, 0)])
			r.log.grow(max(c.now, 0), "second")
			f := r.feeder()
			f.Round(t.Context())
			if len(r.reports) != 2 {
				t.Fatalf("%d reports: %+v", len(r.reports), r.reports)
			}
			b := r.reports[0]
			mine, _ := r.log.Head()
			if b.Found != c.found || b.TheirSize != seen || b.Size != mine.Size || b.Proved != c.proved || b.Ours != vaultmesh.Sum(mine.Note) || b.Theirs != vaultmesh.Sum(r.held[0]) || b.Theirs.IsZero() {
				t.Fatalf("%+v", b)
			}
			if s := f.Status(); !s.Alarm || s.Conflict != c.found {
				t.Fatalf("%+v", s)
			}
			if h, ok := f.Latest(); ok {
				t.Fatalf("witnessed %d in a conflict", h.Size)
			}
			if v := metric(t, f, "vaultmesh_witness_conflicts_total"); v != 2 {
				t.Errorf("metric %v", v)
			}
			kept, err := witness.Conflicts(dirOf(r.servers[0]))
			if want := map[bool]int{true: 1}[c.found == "equivocation"]; err != nil || len(kept) != want {
				t.Errorf("the witness keeps %d proofs, %v; want %d", len(kept), err, want)
			}
		})
	}
}

// A witness that lies raises the alarm but proves nothing, gives no cosignature, and is believed again when it behaves.
func TestLyingWitness(t *testing.T) {
	for name, lie := range map[string]http.HandlerFunc{
		"a size beyond everything": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			fmt.Fprintln(w, 1<<60)
		},
		"a size that is none": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			fmt.Fprintln(w, "-1")
		},
		"no signature":     func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "") },
		"endless answer":   func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) },
		"a foreign note":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "\u2014 witness.example/w1 AAAA\n") },
		"always one less":  func(w http.ResponseWriter, r *http.Request) { lessThanAsked(w, r) },
		"proof never good": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(422) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, "all")
			r.log.grow(9, "main")
			f := r.feeder()
			r.fronts[0].set(lie)
			f.Round(t.Context())
			if h, ok := f.Latest(); ok {
				t.Fatalf("witnessed %d", h.Size)
			}
			for _, b := range r.reports {
				if b.Proved || !b.Theirs.IsZero() {
					t.Fatalf("a lie is proved: %+v", b)
				}
			}
			if r.fronts[0].asked() > 4 {
				t.Errorf("asked %d times in one round", r.fronts[0].asked())
			}
			r.fronts[0].set(nil)
			f.Round(t.Context()) // its pause is not over
			r.pass(time.Hour)
			f.Round(t.Context())
			if h, _ := f.Latest(); h.Size != 9 {
				t.Fatalf("it did not recover: %+v", f.Status())
			}
		})
	}
}

func lessThanAsked(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	q, _ := witness.ParseRequest(body)
	w.Header().Set("Content-Type", "text/x.tlog.size")
	w.WriteHeader(409)
	fmt.Fprintln(w, (q.Old+3)%7)
}

// A cosignature of another checkpoint, from the future, or of long before the request is refused.
func TestForeignCosignature(t *testing.T) {
	r := newRig(t, 1, "all")
	r.log.grow(9, "main")
	w := newTree(t, "example.com/log", "1")
	w.grow(4, "main")
	signer, _ := key(t, "witness.example/w1")
	other, err := note.Sign(&note.Note{Text: textOf(w.at(4).Note)}, signer)
	if err != nil {
		t.Fatal(err)
	}
	f := r.feeder()
	r.fronts[0].set(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(other[bytes.LastIndex(other, []byte("\n\n"))+2:])
	})
	f.Round(t.Context())
	if _, ok := f.Latest(); ok {
		t.Fatal("a cosignature of another checkpoint was taken")
	}
	r.fronts[0].set(nil)
	r.pass(-time.Hour) // to this clock the witness's is an hour ahead
	f = r.feeder()
	f.Round(t.Context())
	if _, ok := f.Latest(); ok {
		t.Fatal("a cosignature from the future was taken")
	}
	r.pass(time.Hour + 48*time.Hour) // and now two days behind
	f = r.feeder()
	f.Round(t.Context())
	if _, ok := f.Latest(); ok {
		t.Fatal("a cosignature of long before the request was taken")
	}
}

func textOf(signed []byte) string {
	b, _ := receipt.CheckpointBody(signed)
	return string(b)
}

// Who needs a witnessed checkpoint of a size gets it when it is there, and is not kept waiting in an alarm.
func TestCover(t *testing.T) {
	r := newRig(t, 1, "all")
	f := r.feeder() // its interval is 10 s: only Cover makes it ask
	r.log.grow(3, "main")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	if h, ok := f.Cover(t.Context(), 2); !ok || h.Size != 3 {
		t.Fatalf("%d %v", h.Size, ok)
	}
	r.log.grow(3, "main")
	if h, ok := f.Cover(t.Context(), 6); !ok || h.Size != 6 {
		t.Fatalf("%d %v", h.Size, ok)
	}
	r.fronts[0].set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	r.log.grow(1, "main")
	gone, stop := context.WithCancel(t.Context())
	stop()
	if h, ok := f.Cover(gone, 7); ok || h.Size != 6 {
		t.Fatalf("%d %v", h.Size, ok)
	}
	cancel()
	<-done
	f.Round(t.Context())
	r.pass(time.Hour)
	f.Round(t.Context())
	if h, ok := f.Cover(t.Context(), 7); ok || h.Size != 6 || !f.Overdue() {
		t.Fatalf("in an alarm: %d %v", h.Size, ok)
	}
}

// Run works until it is told to stop, and leaves nothing behind.
func TestRunStops(t *testing.T) {
	r := newRig(t, 1, "all")
	r.log.grow(5, "main")
	f := r.feeder()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	asked := make(chan struct{})
	r.fronts[0].set(func(w http.ResponseWriter, q *http.Request) {
		close(asked)
		<-q.Context().Done() // it never answers
	})
	go func() { f.Run(ctx); close(done) }()
	<-asked
	cancel()
	<-done
}

func metric(t *testing.T, f *witness.Feeder, name string) (sum float64) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(f.Collectors()...)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.GetName() == name {
			for _, x := range m.GetMetric() {
				sum += x.GetGauge().GetValue() + x.GetCounter().GetValue()
			}
		}
	}
	return sum
}
