package twin

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// flows returns the values of the points as text.
func flows(points []Point) string {
	var out []string
	for _, p := range points {
		out = append(out, string(p.V))
	}
	return strings.Join(out, " ")
}

func TestHistory(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	for _, i := range []int{3, 0, 5, 1, 4, 2} { // out of order
		m := message(i*1000, 0, nil, values("flow", fmt.Sprint(i)))
		if i == 4 {
			m = sealed(&Message{Twin: "line", Device: "sub-1", Time: at(4000), Telemetry: values("flow", "4"), Quality: map[string]Quality{"flow": Invalid}})
		}
		merge(t, s, data, m, vaultmesh.LogIndex(100+i), i)
	}
	merge(t, s, data, message(2500, 0, values("closed", "true"), nil), 0, 0)
	merge(t, s, data, sealed(&Message{Twin: "bus-1", Device: "sub-1", Time: at(2500), Telemetry: values("voltage", "1")}), 0, 0)
	r := fakeReader(data)
	for _, c := range []struct {
		from, to, limit int
		oldest, newest  string
	}{
		{0, 9000, 0, "0 1 2 3 4 5", "5 4 3 2 1 0"},
		{1000, 4000, 0, "1 2 3", "3 2 1"},
		{0, 9000, 2, "0 1", "5 4"},
		{-100_000_000, 4001, 3, "0 1 2", "4 3 2"},
		{6000, 9000, 0, "", ""},
	} {
		oldest, err := s.History(r, "line", "flow", at(c.from), at(c.to), c.limit)
		must(t, err)
		newest, err := s.Recent(r, "line", "flow", at(c.from), at(c.to), c.limit)
		must(t, err)
		if flows(oldest) != c.oldest || flows(newest) != c.newest {
			t.Errorf("%+v: %q and %q", c, flows(oldest), flows(newest))
		}
	}
	points, err := s.History(r, "line", "flow", at(4000), at(4001), 0)
	must(t, err)
	if len(points) != 1 || points[0].Q != Invalid || !points[0].T.Equal(at(4000)) {
		t.Fatalf("points %s", asJSON(points))
	}
	raw, batch, pos, err := s.Record(r, "line", points[0].Key)
	if err != nil || batch != 104 || pos != 4 || !bytes.Contains(raw, []byte(`"invalid"`)) {
		t.Errorf("record %s %d %d %v", raw, batch, pos, err)
	}
	entries, err := s.Entries(r, "line", at(2000), at(3001), 0)
	must(t, err)
	if len(entries) != 3 || entries[1].Key != KeyOf(message(2500, 0, values("closed", "true"), nil)) || entries[2].Batch != 103 || entries[2].Pos != 3 {
		t.Errorf("entries %s", asJSON(entries))
	}
}

func TestHistoryRefuses(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	merge(t, s, data, sealed(&Message{Twin: "line", Device: "sub-1", Time: at(0), Telemetry: values("flow", "1")}), 0, 0)
	r := fakeReader(data)
	for name, c := range map[string]struct {
		id       vaultmesh.TwinID
		field    string
		from, to time.Time
		limit    int
		kind     vaultmesh.Kind
	}{
		"twin":       {"gone", "flow", at(0), at(1), 1, vaultmesh.NotFound},
		"name":       {"line", "speed", at(0), at(1), 1, vaultmesh.NotFound},
		"empty":      {"line", "flow", at(1), at(1), 1, vaultmesh.Invalid},
		"negative":   {"line", "flow", at(0), at(1), -1, vaultmesh.Invalid},
		"many":       {"line", "flow", at(0), at(1), MaxPoints + 1, vaultmesh.Invalid},
		"unreadable": {"line", "flow", at(0), at(1), 1, vaultmesh.Corrupt},
	} {
		broken := NewStore(Options{Models: testModels(t), Now: time.Now, Decode: func([]byte) (*Message, error) {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "test", "", "broken")
		}})
		must(t, broken.Load(r))
		if _, err := broken.History(r, c.id, c.field, c.from, c.to, c.limit); vaultmesh.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want kind %v", name, err, c.kind)
		}
		if _, err := broken.Recent(r, c.id, c.field, c.from, c.to, c.limit); vaultmesh.KindOf(err) != c.kind {
			t.Errorf("%s, newest first: %v, want kind %v", name, err, c.kind)
		}
	}
	for name, c := range map[string]struct {
		id   vaultmesh.TwinID
		key  RecordKey
		kind vaultmesh.Kind
	}{
		"short key":  {"line", "00", vaultmesh.Invalid},
		"upper case": {"line", RecordKey(strings.Repeat("AB", recordKeySize)), vaultmesh.Invalid},
		"no record":  {"line", RecordKey(strings.Repeat("ab", recordKeySize)), vaultmesh.NotFound},
		"bad twin":   {"line\x00", RecordKey(strings.Repeat("ab", recordKeySize)), vaultmesh.Invalid},
	} {
		if _, _, _, err := s.Record(r, c.id, c.key); vaultmesh.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want kind %v", name, err, c.kind)
		}
	}
	if _, err := DecodePayload([]byte("{")); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("payload: %v", err)
	}
}

func TestPruneDropsOldHistoryOnly(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	var ds []Definition
	for i := range 2*pruneTwins + 7 {
		ds = append(ds, Definition{ID: vaultmesh.TwinID(fmt.Sprintf("bus-%d", i)), Model: "dtmi:test:Node;1", Device: "sub-1"})
	}
	define(t, s, data, ds...)
	for _, d := range ds {
		for i := range 3 {
			merge(t, s, data, sealed(&Message{Twin: d.ID, Device: "sub-1", Time: at(i), Telemetry: values("voltage", fmt.Sprint(i))}), 0, 0)
		}
	}
	before := everything(s)
	rounds := 0
	for more := true; more; rounds++ {
		must(t, run(data, func(tx journal.Tx) (err error) { more, err = s.Prune(tx, at(2)); return err }))
	}
	if rounds != 3 {
		t.Errorf("%d rounds", rounds)
	}
	for _, d := range ds {
		entries, err := s.Entries(fakeReader(data), d.ID, at(-1000), at(1000), 0)
		if err != nil || len(entries) != 1 || !entries[0].Time.Equal(at(2)) {
			t.Fatalf("%s: %v %v", d.ID, entries, err)
		}
	}
	if everything(s) != before {
		t.Error("pruning changed the state")
	}
	// A pruned message that comes again changes no register.
	if got := merge(t, s, data, sealed(&Message{Twin: "bus-0", Device: "sub-1", Time: at(0), Telemetry: values("voltage", "0")}), 0, 0); got != (Result{}) {
		t.Errorf("result %+v", got)
	}
}

func TestPruneOfOneLongHistoryIsBounded(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	must(t, run(data, func(tx journal.Tx) error {
		for i := range pruneRecords + 10 {
			if _, err := s.Merge(tx, message(i, 0, nil, values("flow", "1")), 0, 0); err != nil {
				return err
			}
		}
		return nil
	}))
	dropped := errors.New("dropped")
	for _, want := range []struct {
		fail bool
		left int
	}{{true, pruneRecords + 10}, {false, 10}, {false, 0}} {
		err := run(data, func(tx journal.Tx) error {
			if _, err := s.Prune(tx, at(1<<30)); err != nil {
				return err
			}
			if want.fail {
				return dropped
			}
			return nil
		})
		if err != nil && !want.fail {
			t.Fatal(err)
		}
		entries, err := s.Entries(fakeReader(data), "line", at(-1), at(1<<30), 0)
		if err != nil || len(entries) != want.left {
			t.Errorf("%d left, want %d: %v", len(entries), want.left, err)
		}
	}
}
