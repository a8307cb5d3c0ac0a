package twin

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Each operation moves every twin to the same value, so a cut with two values is torn.
func TestSnapshotIsConsistentUnderConcurrentMerges(t *testing.T) {
	const twins, rounds = 150, 60 // more than one page
	j := openJournal(t, t.TempDir())
	defer func() { must(t, j.Close()) }()
	s := newStore(t)
	var ds []Definition
	for i := range twins {
		ds = append(ds, Definition{ID: vaultmesh.TwinID(fmt.Sprintf("bus-%03d", i)), Model: "dtmi:test:Node;1", Device: "sub-1"})
	}
	round := func(n int) journal.Op {
		return func(tx journal.Tx) error {
			for i := range ds {
				m := sealed(&Message{Twin: ds[i].ID, Device: "sub-1", Time: at(n), Telemetry: values("voltage", fmt.Sprint(n))})
				if _, err := s.Merge(tx, m, 0, 0); err != nil {
					return err
				}
			}
			return nil
		}
	}
	submit(t, j, func(tx journal.Tx) error { return s.DefineAll(tx, ds) })
	submit(t, j, round(0))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				cut := s.Snapshot()
				first := ""
				n := 0
				cut.Each(func(tw Twin) bool {
					n++
					v := string(tw.Telemetry["voltage"].V)
					if first == "" {
						first = v
					}
					if v != first || tw.ID != ds[n-1].ID {
						t.Errorf("%s has %s, the first has %s", tw.ID, v, first)
					}
					return v == first
				})
				if v, ok := cut.Value("bus-100", "voltage"); !ok || string(v.V) != first {
					t.Errorf("the cut changed from %s to %s", first, v.V)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	for n := 1; n < rounds; n++ {
		if err := j.Submit(context.Background(), journal.Telemetry, round(n)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestSnapshotIsImmutable(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	empty := s.Snapshot()
	grid(t, s, data)
	merge(t, s, data, message(0, 0, nil, values("flow", "1")), 0, 0)
	cut, same := s.Snapshot(), s.Snapshot()
	merge(t, s, data, message(1, 0, nil, values("flow", "2")), 0, 0)
	define(t, s, data, Definition{ID: "bus-3", Model: "dtmi:test:Node;1"})
	for _, c := range []*Snapshot{cut, same} {
		if tw := get(t, c, "line"); string(tw.Telemetry["flow"].V) != "1" || tw.Version != 1 {
			t.Errorf("the cut shows %s", asJSON(tw))
		}
		if _, ok := c.Get("bus-3"); ok || c.Len() != 3 {
			t.Error("the cut shows a later twin")
		}
	}
	if empty.Len() != 0 {
		t.Error("the empty cut is not empty")
	}
	if _, ok := empty.Get("line"); ok {
		t.Error("the empty cut shows a twin")
	}
	var ids []vaultmesh.TwinID
	s.Snapshot().Each(func(tw Twin) bool { ids = append(ids, tw.ID); return len(ids) < 3 })
	if fmt.Sprint(ids) != "[bus-1 bus-2 bus-3]" {
		t.Errorf("order %v", ids)
	}
	if !cut.Time().Equal(at(3600_000)) {
		t.Errorf("time %v", cut.Time())
	}
}

func TestReadersShareOneView(t *testing.T) {
	s, data := newStore(t), map[string][]byte{}
	grid(t, s, data)
	merge(t, s, data, message(0, 0, nil, values("flow", "1")), 0, 0)
	s.Snapshot().Get("line")
	if n := testing.AllocsPerRun(100, func() { s.Get("line") }); n > 0 {
		t.Errorf("%v allocations to read an unchanged twin", n)
	}
}
