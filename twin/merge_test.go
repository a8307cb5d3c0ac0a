package twin

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

func TestMergeShowsValues(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	if tw := get(t, s, "line"); tw.Version != 0 || !tw.Seen.IsZero() || tw.Reported != nil || tw.Telemetry != nil {
		t.Fatalf("a new twin is %s", asJSON(tw))
	}
	m := sealed(&Message{Twin: "line", Device: "sub-1", Time: at(0), Properties: values("closed", "true"), Telemetry: values("flow", "1.5", "loading", "0.2"), Quality: map[string]Quality{"flow": Questionable}})
	must(t, s.Check(m))
	if got := merge(t, s, data, m, 7, 3); got != (Result{Changed: true}) {
		t.Fatalf("result %+v", got)
	}
	got := asJSON(get(t, s, "line"))
	for _, want := range []string{`"reported":{"closed":{"v":true,"q":"good","t":"2026-01-02T03:04:05Z"}}`, `"flow":{"v":1.5,"q":"questionable"`, `"version":"1"`, `"seen":"2026-01-02T03:04:05Z"`, `"nameplate":{"rating":120.5}`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	if v, ok := s.Value("line", "flow"); !ok || string(v.V) != "1.5" || v.Q != Questionable || !v.T.Equal(at(0)) {
		t.Errorf("value %v %v", v, ok)
	}
	for _, name := range []string{"state", "no such"} {
		if v, ok := s.Value("line", name); ok {
			t.Errorf("%s is %v", name, v)
		}
	}
}

func TestMergeOfLateAndDuplicateMessages(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	newest := message(1000, 0, values("closed", "true"), values("flow", "2"))
	late := message(500, 0, values("closed", "false", "tap", "1.05"), nil)
	older := message(400, 9, values("closed", "false"), nil)
	for i, c := range []struct {
		m       *Message
		want    Result
		version uint64
	}{
		{newest, Result{Changed: true}, 1},
		{newest, Result{Duplicate: true}, 1},
		{late, Result{Changed: true}, 2},
		{late, Result{Duplicate: true}, 2},
		{older, Result{}, 2},
		{older, Result{Duplicate: true}, 2},
		{newest, Result{Duplicate: true}, 2},
		{message(1000, 1, nil, values("flow", "3")), Result{Changed: true}, 3},
		{message(1000, 1, nil, values("flow", "4")), Result{Changed: true}, 4}, // the same time: the greater bytes win
		{message(1000, 1, nil, values("flow", "2.5")), Result{}, 4},
	} {
		if got := merge(t, s, data, c.m, vaultmesh.LogIndex(i), i); got != c.want {
			t.Errorf("step %d: %+v, want %+v", i, got, c.want)
		}
		if tw := get(t, s, "line"); tw.Version != c.version {
			t.Errorf("step %d: version %d, want %d", i, tw.Version, c.version)
		}
	}
	tw := get(t, s, "line")
	if string(tw.Reported["closed"].V) != "true" || string(tw.Reported["tap"].V) != "1.05" || string(tw.Telemetry["flow"].V) != "4" || !tw.Seen.Equal(at(1000)) {
		t.Errorf("state %s", asJSON(tw))
	}
	points, err := s.History(fakeReader(data), "line", "closed", at(0), at(2000), 0)
	must(t, err)
	if len(points) != 3 {
		t.Errorf("history %s", asJSON(points))
	}
}

func TestMergeErrorsLeaveEverything(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	good := message(0, 0, values("closed", "true"), nil)
	bad := map[vaultmesh.Kind]*Message{
		vaultmesh.NotFound: {Twin: "gone", Device: "sub-1", Time: at(0), Raw: []byte("x")},
		vaultmesh.Denied:   {Twin: "line", Device: "sub-2", Time: at(0), Raw: []byte("x")},
	}
	must(t, run(data, func(tx journal.Tx) error {
		for kind, m := range bad {
			if res, err := s.Merge(tx, m, 0, 0); vaultmesh.KindOf(err) != kind || res != (Result{}) {
				t.Errorf("%v: %+v %v", kind, res, err)
			}
		}
		if _, err := s.Merge(tx, good, 0, -1); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("a negative position: %v", err)
		}
		_, err := s.Merge(tx, good, 0, 0)
		return err
	}))
	if tw := get(t, s, "line"); tw.Version != 1 {
		t.Errorf("version %d", tw.Version)
	}
}

// Merge must hold up against what Check would have refused.
func TestMergeWithoutCheckIsSafe(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	m := &Message{Twin: "line", Device: "sub-1",
		Properties: map[string]json.RawMessage{"flow": []byte("1"), "rating": []byte("9"), "no such": []byte("1"), "closed": nil, "tap": []byte("{broken"), "label": []byte(`"ok"`)},
		Telemetry:  map[string]json.RawMessage{"closed": []byte("true"), "state": []byte("17")},
		Quality:    map[string]Quality{"label": 99}}
	if got := merge(t, s, data, m, 0, 0); !got.Changed {
		t.Fatal("nothing changed")
	}
	tw := get(t, s, "line")
	if len(tw.Reported) != 1 || tw.Reported["label"].Q != Invalid || len(tw.Telemetry) != 1 {
		t.Errorf("state %s", asJSON(tw))
	}
	// A value of another type under the same name is replaced by the next one.
	merge(t, s, data, message(0, 0, nil, values("state", `"open"`)), 0, 0)
	if v, _ := s.Value("line", "state"); string(v.V) != `"open"` {
		t.Errorf("state is %s", v.V)
	}
	again := newStore(t)
	must(t, again.Load(fakeReader(data)))
	if everything(again) != everything(s) {
		t.Error("a restart changes the state")
	}
}

func TestRollbackRestoresHeadAndReaders(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	merge(t, s, data, message(0, 0, nil, values("flow", "1")), 0, 0)
	before, size := everything(s), len(data)
	failed := errors.New("the operation fails")
	err := run(data, func(tx journal.Tx) error {
		for i := range 3 {
			if _, err := s.Merge(tx, message(10+i, 0, nil, values("flow", "2")), 1, i); err != nil {
				return err
			}
		}
		if err := s.Define(tx, Definition{ID: "bus-3", Model: "dtmi:test:Node;1"}); err != nil {
			return err
		}
		if err := s.SetDesired(tx, "line", values("tap", "1.1")); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if everything(s) != before || len(data) != size || s.Len() != 3 {
		t.Errorf("after the rollback: %s", everything(s))
	}
	// What was dropped can be done again, and the version goes on from where it was.
	if got := merge(t, s, data, message(10, 0, nil, values("flow", "2")), 1, 0); !got.Changed {
		t.Error("the dropped message counts as merged")
	}
	if tw := get(t, s, "line"); tw.Version != 2 {
		t.Errorf("version %d", tw.Version)
	}
}

// The journal runs several operations on one Tx and drops any of them.
func TestOperationsOfOneGroupSucceedAndFailTogether(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, data := newStore(t), map[string][]byte{}
		grid(t, s, data)
		tx := &fakeTx{data: data}
		last := "-"
		var version uint64
		for i := range rapid.IntRange(1, 12).Draw(rt, "operations") {
			undo, rollbacks, applied := len(tx.undo), len(tx.rollbacks), len(tx.applied)
			value := asJSON(i)
			for range rapid.IntRange(1, 3).Draw(rt, "messages") {
				version++
				if _, err := s.Merge(tx, message(int(version), 0, nil, values("flow", value)), 0, 0); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.Bool().Draw(rt, "fails") {
				for n := len(tx.undo); n > undo; n-- {
					tx.undo[n-1]()
				}
				for n := len(tx.rollbacks); n > rollbacks; n-- {
					tx.rollbacks[n-1]()
				}
				tx.undo, tx.rollbacks, tx.applied = tx.undo[:undo], tx.rollbacks[:rollbacks], tx.applied[:applied]
				continue
			}
			last = value
		}
		if tw := get(rt, s, "line"); tw.Version != 0 {
			rt.Fatal("shown before it was applied")
		}
		for _, f := range tx.applied {
			f()
		}
		again := newStore(t)
		must(rt, again.Load(fakeReader(data)))
		if everything(s) != everything(again) {
			rt.Fatalf("readers see %s, the journal holds %s", everything(s), everything(again))
		}
		if v, ok := s.Value("line", "flow"); ok != (last != "-") || ok && string(v.V) != last {
			rt.Fatalf("flow is %s, want %s", v.V, last)
		}
	})
}

// Whatever the order, and however often each is sent, the registers and the history end up the same.
func TestInterleavingsConverge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var messages []*Message
		for range rapid.IntRange(1, 12).Draw(rt, "messages") {
			ms, seq := rapid.IntRange(0, 4).Draw(rt, "time"), rapid.Uint16Range(0, 1).Draw(rt, "seq")
			p, tel := map[string]json.RawMessage{}, map[string]json.RawMessage{}
			if rapid.Bool().Draw(rt, "closed") {
				p["closed"] = json.RawMessage(rapid.SampledFrom([]string{"true", "false"}).Draw(rt, "closed is"))
			}
			for _, name := range []string{"flow", "loading"} {
				if rapid.Bool().Draw(rt, name) {
					tel[name] = json.RawMessage(rapid.SampledFrom([]string{"1", "1.0", "2"}).Draw(rt, name+" is"))
				}
			}
			m := &Message{Twin: "line", Device: "sub-1", Time: at(ms), Seq: seq, Properties: p, Telemetry: tel,
				Quality: map[string]Quality{"flow": Quality(rapid.IntRange(0, 2).Draw(rt, "quality"))}}
			messages = append(messages, sealed(m))
		}
		var want, wantHistory string
		for round := range 4 {
			s, data := newStore(t), map[string][]byte{}
			grid(t, s, data)
			order := append([]*Message(nil), messages...)
			if round > 0 {
				order = append(order, messages[:rapid.IntRange(0, len(messages)).Draw(rt, "doubled")]...)
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "shuffle"), 1))
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			changed := uint64(0)
			for _, m := range order {
				if merge(rt, s, data, m, 0, 0).Changed {
					changed++
				}
			}
			tw := get(rt, s, "line")
			if tw.Version != changed {
				rt.Fatalf("version %d after %d changes", tw.Version, changed)
			}
			entries, err := s.Entries(fakeReader(data), "line", at(0), at(100), 0)
			must(rt, err)
			got, gotHistory := asJSON([]any{tw.Reported, tw.Telemetry}), asJSON(entries)
			if round == 0 {
				want, wantHistory = got, gotHistory
			}
			if got != want || gotHistory != wantHistory {
				rt.Fatalf("round %d: %s and %s, want %s and %s", round, got, gotHistory, want, wantHistory)
			}
			again := newStore(t)
			must(rt, again.Load(fakeReader(data)))
			if everything(again) != everything(s) {
				rt.Fatal("a restart changes the state")
			}
		}
	})
}
