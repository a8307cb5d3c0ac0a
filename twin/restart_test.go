package twin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// busy makes a store with every kind of state on a real journal: many operations, some of which fail, over both lanes.
func busy(t *testing.T, j *journal.Journal) *Store {
	t.Helper()
	s := newStore(t)
	submit(t, j, func(tx journal.Tx) error {
		ds := []Definition{{ID: "wide", Model: "dtmi:test:Wide;1", Device: "sub-1"}}
		for i := range 20 {
			ds = append(ds,
				Definition{ID: vaultmesh.TwinID(fmt.Sprintf("line-%d", i)), Model: "dtmi:test:Branch;1", Device: "sub-1", Nameplate: values("rating", fmt.Sprintf(" %d.50 ", i)), Relationships: []Relationship{{"from", vaultmesh.TwinID(fmt.Sprintf("bus-%d", i))}}},
				Definition{ID: vaultmesh.TwinID(fmt.Sprintf("bus-%d", i)), Model: "dtmi:test:Node;1", Device: "sub-1"})
		}
		return s.DefineAll(tx, ds)
	})
	dropped := errors.New("dropped")
	r := rand.New(rand.NewPCG(1, 2))
	var done sync.WaitGroup
	for i := range 400 {
		n, ms, flow := r.IntN(20), r.IntN(100), r.IntN(1000)
		lane, op := journal.Telemetry, func(tx journal.Tx) error {
			m := sealed(&Message{Twin: vaultmesh.TwinID(fmt.Sprintf("line-%d", n)), Device: "sub-1", Time: at(ms), Seq: uint16(i), Properties: values("closed", fmt.Sprint(flow%2 == 0)), Telemetry: values("flow", fmt.Sprint(flow), "state", `"<&>"`)})
			_, err := s.Merge(tx, m, vaultmesh.LogIndex(i), 0)
			return err
		}
		switch i % 8 {
		case 1:
			op = func(tx journal.Tx) error {
				m := sealed(&Message{Twin: "wide", Device: "sub-1", Time: at(ms), Seq: uint16(i), Telemetry: values(fmt.Sprintf("t%d", n), "1", fmt.Sprintf("t%d", n+20), "2")})
				_, err := s.Merge(tx, m, vaultmesh.LogIndex(i), 0)
				return err
			}
		case 2:
			lane, op = journal.Commands, func(tx journal.Tx) error {
				return s.SetDesired(tx, vaultmesh.TwinID(fmt.Sprintf("line-%d", n)), values("tap", fmt.Sprint(flow), "label", `"<é>"`))
			}
		case 3:
			lane, op = journal.Commands, func(tx journal.Tx) error {
				return s.Define(tx, Definition{ID: vaultmesh.TwinID(fmt.Sprintf("line-%d", n)), Model: []string{"dtmi:test:Switch;1", "dtmi:test:Branch;1"}[flow%2], Device: "sub-1", Relationships: []Relationship{{"near", vaultmesh.TwinID(fmt.Sprintf("bus-%d", flow%20))}}})
			}
		case 4:
			inner := op
			op = func(tx journal.Tx) error { return errors.Join(inner(tx), dropped) }
		}
		done.Add(1)
		go func() {
			defer done.Done()
			err := j.Submit(context.Background(), lane, op)
			for vaultmesh.KindOf(err).Retryable() && err != nil && !errors.Is(err, dropped) { // the lane was full
				runtime.Gosched()
				err = j.Submit(context.Background(), lane, op)
			}
			if err != nil && !errors.Is(err, dropped) {
				t.Error(err)
			}
		}()
	}
	done.Wait()
	return s
}

func TestRestartGivesTheSameState(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	s := busy(t, j)
	want := everything(s)
	must(t, j.Close())

	j = openJournal(t, dir)
	defer func() { must(t, j.Close()) }()
	again := newStore(t)
	must(t, again.Load(j))
	if got := everything(again); got != want {
		t.Fatalf("before: %s\nafter: %s", want, got)
	}
	s.Snapshot().Each(func(tw Twin) bool {
		for _, d := range []Direction{Outgoing, Incoming, Both} {
			a, errA := s.Neighbours(tw.ID, "", d)
			b, errB := again.Neighbours(tw.ID, "", d)
			if errA != nil || errB != nil || fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("%s: neighbours %v %v, %v %v", tw.ID, a, errA, b, errB)
			}
		}
		return true
	})
	// A duplicate of a message of the earlier life is still one.
	entries, err := again.Entries(j, "line-0", at(-1), at(1000), 0)
	must(t, err)
	if len(entries) == 0 {
		t.Fatal("no history")
	}
	last := entries[len(entries)-1]
	m, err := DecodePayload(last.Raw)
	must(t, err)
	m.Twin, m.Device, m.Time, m.Seq = "line-0", "sub-1", last.Time, last.Seq
	submit(t, j, func(tx journal.Tx) error {
		if res, err := again.Merge(tx, m, 0, 0); err != nil || !res.Duplicate {
			t.Errorf("after a restart: %+v %v", res, err)
		}
		return nil
	})
	if err := again.Load(j); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Errorf("a second load: %v", err)
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	merge(t, s, data, message(0, 0, values("closed", "true"), nil), 0, 0)
	must(t, run(data, func(tx journal.Tx) error { return s.SetDesired(tx, "line", values("tap", "1")) }))
	block := string(blockKey("line", 0))
	for name, c := range map[string]struct {
		key, value string
		text       string
	}{
		"definition":         {"t/d/line", `{"id":"line"`, "line"},
		"unknown field":      {"t/d/line", `{"id":"line","model":"dtmi:test:Node;1","color":1}`, "color"},
		"other twin":         {"t/d/line", `{"id":"bus-2","model":"dtmi:test:Node;1"}`, "another twin"},
		"block":              {block, string(data[block][:len(data[block])-1]), "line block 0"},
		"block key":          {"t/s/line", "", "malformed"},
		"state without twin": {string(blockKey("ghost", 0)), string(data[block]), "ghost"},
		"desired":            {"t/w/line", "\x01\x01\x00[]", "line"},
		"desired without":    {"t/w/ghost", string(data["t/w/line"]), "ghost"},
	} {
		damaged := fakeReader{}
		for k, v := range data {
			damaged[k] = v
		}
		damaged[c.key] = []byte(c.value)
		err := newStore(t).Load(damaged)
		if vaultmesh.KindOf(err) != vaultmesh.Corrupt || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
	}
	damaged := fakeReader{"t/d/line": []byte(`{"id":"line","model":"dtmi:test:Gone;1"}`)}
	if err := newStore(t).Load(damaged); vaultmesh.KindOf(err) != vaultmesh.NotFound || !strings.Contains(err.Error(), "dtmi:test:Gone;1") {
		t.Errorf("a missing model: %v", err)
	}
}
