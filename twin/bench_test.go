package twin

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// countingTx takes writes as the journal does, and applies the operation when told.
type countingTx struct {
	fakeReader
	bytes   int
	applied []func()
}

func (tx *countingTx) Put(key, value []byte) { tx.bytes += len(key) + len(value) }
func (tx *countingTx) Delete([]byte)         {}
func (tx *countingTx) OnRollback(func())     {}
func (tx *countingTx) OnApplied(f func())    { tx.applied = append(tx.applied, f) }

func (tx *countingTx) commit() {
	for _, f := range tx.applied {
		f()
	}
	clear(tx.applied)
	tx.applied = tx.applied[:0]
}

const batchSize = 64

// benchMessages returns messages of 3 values of the line with 200 raw bytes.
func benchMessages() []*Message {
	out := make([]*Message, batchSize)
	for i := range out {
		m := message(0, 0, values("closed", "true"), values("flow", fmt.Sprintf("%.3f", 1.5*float64(i)), "loading", "0.731"))
		m.Raw = append(m.Raw, make([]byte, 200-min(200, len(m.Raw)))...)
		out[i] = m
	}
	return out
}

func benchMerge(b *testing.B, watchers int) {
	s, data := newStore(b), map[string][]byte{}
	grid(b, s, data)
	for range watchers {
		defer s.Watch(16).Close()
	}
	messages, tx := benchMessages(), &countingTx{}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		m := messages[n%batchSize]
		m.Time = start.Add(time.Duration(n) * time.Microsecond)
		if _, err := s.Merge(tx, m, 1, 2); err != nil {
			b.Fatal(err)
		}
		if n++; n%batchSize == 0 {
			tx.commit()
		}
	}
	b.ReportMetric(float64(tx.bytes)/float64(n), "stored-B/op")
}

func BenchmarkMerge(b *testing.B)            { benchMerge(b, 0) }
func BenchmarkMergeWithWatcher(b *testing.B) { benchMerge(b, 1) }

func BenchmarkCheck(b *testing.B) {
	s, data := newStore(b), map[string][]byte{}
	grid(b, s, data)
	m := message(3600_000, 0, values("closed", "true"), values("flow", "1.25", "loading", "0.731"))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Check(m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloor is what a merge cannot do without: the digest of the raw bytes and the memory for what is stored.
func BenchmarkFloor(b *testing.B) {
	raw := benchMessages()[0].Raw
	b.ReportAllocs()
	for b.Loop() {
		sum := vaultmesh.Sum(raw)
		buf := make([]byte, 0, 360)
		floor = append(append(buf, sum[:]...), raw...)
	}
}

var floor []byte

// BenchmarkGet reads a twin once after each change.
func BenchmarkGet(b *testing.B) {
	s, data := newStore(b), map[string][]byte{}
	grid(b, s, data)
	merge(b, s, data, message(0, 0, values("closed", "true"), values("flow", "1.25", "loading", "0.731")), 0, 0)
	b.Run("changed", func(b *testing.B) {
		b.ReportAllocs()
		st := s.published("line")
		for b.Loop() {
			st.view.Store(nil)
			s.Get("line")
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Get("line")
		}
	})
}

func population(b *testing.B, twins int) (*Store, *countingTx) {
	s, tx := newStore(b), &countingTx{}
	for i := range twins {
		must(b, s.Define(tx, Definition{ID: vaultmesh.TwinID(fmt.Sprintf("line-%d", i)), Model: "dtmi:test:Switch;1", Device: vaultmesh.DeviceID(fmt.Sprintf("sub-%d", i/10))}))
		if i%batchSize == 0 {
			tx.commit()
		}
	}
	tx.commit()
	return s, tx
}

// BenchmarkSnapshot merges one value into one of many twins and takes a cut, which copies the page at the next merge.
func BenchmarkSnapshot(b *testing.B) {
	for _, twins := range []int{500, 100_000} {
		b.Run(fmt.Sprintf("twins=%d", twins), func(b *testing.B) {
			s, tx := population(b, twins)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				m := &Message{Twin: "line-7", Device: "sub-0", Time: at(n), Telemetry: map[string]json.RawMessage{"flow": json.RawMessage("1")}, Raw: []byte("x")}
				if _, err := s.Merge(tx, m, 0, 0); err != nil {
					b.Fatal(err)
				}
				tx.commit()
				s.Snapshot()
			}
		})
	}
}

// BenchmarkMemory reports the heap of a twin with 8 registers that is merged into 5 times, before and after it was read.
func BenchmarkMemory(b *testing.B) {
	const twins = 50_000
	for b.Loop() {
		var before, hot, read runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, tx := population(b, twins)
		for round := range 5 {
			for i := range twins {
				m := &Message{
					Twin: vaultmesh.TwinID(fmt.Sprintf("line-%d", i)), Device: vaultmesh.DeviceID(fmt.Sprintf("sub-%d", i/10)), Time: at(round), Raw: []byte("x"),
					Properties: values("closed", "true", "tap", "1.05", "label", `"north"`, "rating", "120.5"),
					Telemetry:  values("flow", "1.2345", "loading", "0.731", "state", `"open"`, "wear", "0.001"),
				}
				if _, err := s.Merge(tx, m, 0, 0); err != nil {
					b.Fatal(err)
				}
				if i%batchSize == 0 {
					tx.commit()
				}
			}
		}
		tx.commit()
		runtime.GC()
		runtime.ReadMemStats(&hot)
		s.Snapshot().Each(func(Twin) bool { return true })
		runtime.GC()
		runtime.ReadMemStats(&read)
		b.ReportMetric(float64(hot.HeapAlloc-before.HeapAlloc)/twins, "B/twin")
		b.ReportMetric(float64(read.HeapAlloc-before.HeapAlloc)/twins, "B/twin-read")
		runtime.KeepAlive(s)
	}
}

// BenchmarkJournal merges on a real journal, one operation of 64 messages at a time, durable.
func BenchmarkJournal(b *testing.B) {
	j := openJournal(b, b.TempDir())
	defer j.Close()
	s := newStore(b)
	submit(b, j, func(tx journal.Tx) error {
		return s.Define(tx, Definition{ID: "line", Model: "dtmi:test:Branch;1", Device: "sub-1"})
	})
	messages := benchMessages()
	n := 0
	for b.Loop() {
		submit(b, j, func(tx journal.Tx) error {
			for i := range messages {
				messages[i].Time = start.Add(time.Duration(n) * time.Microsecond)
				n++
				if _, err := s.Merge(tx, messages[i], 1, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}
