package lawchain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// someReceipts returns n drafts of several kinds, actors, twins and times that are a little out of order: about one in
// each step of time.
func someReceipts(r *rand.Rand, n int, step time.Duration) []receipt.Draft {
	out := make([]receipt.Draft, n)
	for i := range out {
		d := receipt.Draft{Actor: vaultmesh.Principal(fmt.Sprintf("agent:%d", r.IntN(5))), Body: []byte(`{}`),
			Time: start.Add(time.Duration(i)*step - time.Duration(r.Int64N(int64(5*step)))).Truncate(time.Microsecond)}
		switch twin := fmt.Sprintf("line-%d", r.IntN(6)); r.IntN(5) {
		case 0:
			d.Kind, d.Subject = receipt.TwinDefined, "twin/"+twin
		case 1:
			d.Kind, d.Subject, d.Body = receipt.CommandProposed, fmt.Sprintf("command/%d", r.IntN(30)), []byte(fmt.Sprintf(`{"args":{"twin":"no"},"twin":"%s"}`, twin))
		case 2:
			d.Kind, d.Subject, d.Body = receipt.CommandDenied, fmt.Sprintf("command/%d", r.IntN(30)), []byte(fmt.Sprintf(`{"reason":"\"","twin":"%s"}`, twin))
		case 3:
			d.Kind, d.Subject = receipt.TelemetryBatch, "telemetry/test"
		default:
			d.Kind, d.Subject = receipt.HaltSet, "halt/test"
		}
		out[i] = d
	}
	return out
}

// everything is all receipts of a log, to search by looking at each.
type everything []receipt.Receipt

func readAll(t *testing.T, l *lawchain.Log) everything {
	t.Helper()
	all := make(everything, l.Checkpoint().Size)
	for i := range all {
		raw, err := l.Receipt(vaultmesh.LogIndex(i))
		if err != nil {
			t.Fatal(err)
		}
		if all[i], err = receipt.Open(raw); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func (all everything) search(q lawchain.Search) []vaultmesh.LogIndex {
	type hit struct {
		at time.Time
		i  vaultmesh.LogIndex
	}
	var hits []hit
	for i := range all {
		r := &all[i]
		switch {
		case q.Subject != "" && r.Subject != q.Subject, q.Actor != "" && r.Actor != q.Actor, q.Twin != "" && receipt.TwinOf(&r.Draft) != q.Twin,
			len(q.Kinds) > 0 && !slices.Contains(q.Kinds, r.Kind), !q.From.IsZero() && r.Time.Before(q.From), !q.To.IsZero() && !r.Time.Before(q.To),
			q.Actor != "" && q.Subject == "" && len(q.Kinds) == 0 && r.Kind == receipt.TelemetryBatch:
			continue
		}
		hits = append(hits, hit{r.Time, vaultmesh.LogIndex(i)})
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if c := b.at.Compare(a.at); c != 0 && q.Subject == "" {
			return c
		}
		return int(b.i) - int(a.i)
	})
	var out []vaultmesh.LogIndex
	for _, h := range hits {
		out = append(out, h.i)
	}
	return out
}

// compare holds every search against a look at every receipt, and every subject's chain too.
func compare(t *testing.T, l *lawchain.Log, list []lawchain.Search) {
	t.Helper()
	all := readAll(t, l)
	for _, q := range list {
		if got, want := pages(t, l, q), all.search(q); !slices.Equal(got, want) {
			t.Fatalf("%+v\ngot  %v\nwant %v", q, got, want)
		}
	}
	chains := map[string][]vaultmesh.LogIndex{}
	for i := range all {
		chains[all[i].Subject] = append(chains[all[i].Subject], vaultmesh.LogIndex(i))
	}
	for subject, want := range chains {
		from := len(want) / 3
		for _, c := range []struct{ from, limit int }{{0, len(want) + 1}, {from, len(want)}, {from, 1}, {len(want), 1}} {
			got, err := l.Subject(subject, uint64(c.from), c.limit)
			if err != nil || !slices.Equal(got, want[c.from:min(len(want), c.from+c.limit)]) {
				t.Fatalf("%s from %d, %d: %v %v", subject, c.from, c.limit, got, err)
			}
		}
		if got, err := l.SubjectSince(subject, want[from], len(want)); err != nil || !slices.Equal(got, want[from:]) {
			t.Fatalf("%s since %d: %v %v", subject, want[from], got, err)
		}
	}
}

// pages reads a whole search page by page.
func pages(t *testing.T, l *lawchain.Log, q lawchain.Search) (out []vaultmesh.LogIndex) {
	t.Helper()
	for {
		a, err := l.Search(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Found {
			if raw, err := l.Receipt(f.Index); err != nil || !bytes.Equal(raw, f.Envelope) {
				t.Fatalf("receipt %d is not what the log holds: %v", f.Index, err)
			}
			out = append(out, f.Index)
		}
		if q.Cursor = a.Next; a.Next == "" {
			return out
		}
	}
}

func searches(r *rand.Rand, n int, step time.Duration) []lawchain.Search {
	out := []lawchain.Search{{}, {Kinds: receipt.ScrollKinds("automation")}, {Kinds: []string{receipt.TelemetryBatch}}, {Kinds: []string{receipt.HaltSet, receipt.TelemetryBatch}},
		{Subject: "command/none"}, {Twin: "none"}, {Actor: "agent:none"}}
	for range 60 {
		var q lawchain.Search
		if r.IntN(4) == 0 {
			q.Subject = []string{"halt/test", "telemetry/test", fmt.Sprintf("command/%d", r.IntN(30))}[r.IntN(3)]
		}
		if r.IntN(3) == 0 {
			q.Twin = vaultmesh.TwinID(fmt.Sprintf("line-%d", r.IntN(6)))
		}
		if r.IntN(3) == 0 {
			q.Actor = vaultmesh.Principal(fmt.Sprintf("agent:%d", r.IntN(5)))
		}
		if r.IntN(3) == 0 {
			q.Kinds = [][]string{{receipt.HaltSet}, {receipt.CommandProposed, receipt.CommandDenied, receipt.CommandProposed}, {receipt.TelemetryBatch, receipt.TwinDefined}}[r.IntN(3)]
		}
		if r.IntN(3) == 0 {
			q.From = start.Add(time.Duration(r.IntN(n)) * step)
		}
		if r.IntN(3) == 0 {
			q.To = start.Add(time.Duration(n/2+r.IntN(n)) * step)
		}
		if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
			q.From, q.To = q.To, q.From.Add(step)
		}
		q.Limit = 1 + r.IntN(40)
		out = append(out, q)
	}
	return out
}

// Every search finds what reading everything finds, in the same order, in pages of any size, while the log grows; also
// after a kill at any moment.
func TestSearch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, step := range []time.Duration{time.Second, time.Millisecond, 2 * time.Microsecond} { // of which the second and third share buckets
		t.Run(step.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, uint64(step)))
			const n = 700
			dir := t.TempDir()
			f := newLog(t, dir)
			defer func() { _ = f.j.Close() }()
			list := searches(r, n, step)
			drafts := someReceipts(r, n, step)
			for len(drafts) > 0 {
				some := min(1+r.IntN(200), len(drafts))
				switch r.IntN(4) {
				case 0: // each in a commit of its own, some of which fail
					for _, d := range drafts[:some] {
						if r.IntN(10) == 0 {
							f.fail(d, drafts[0])
						}
						f.append(t, journal.Lane(r.IntN(2)), d)
					}
				case 1: // killed, which leaves what is in the folder now
					f.append(t, journal.Commands, drafts[:some]...)
					killed := t.TempDir()
					if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
						t.Fatal(err)
					}
					if err := f.j.Close(); err != nil {
						t.Fatal(err)
					}
					dir = killed
					f = newLog(t, dir)
				default:
					f.append(t, journal.Lane(r.IntN(2)), drafts[:some]...)
				}
				drafts = drafts[some:]
				if r.IntN(3) == 0 {
					compare(t, f.l, list[7:7+r.IntN(8)])
				}
			}
			compare(t, f.l, list)
		})
	}
}

// fail appends in an operation that fails, so that all of it is taken back.
func (f fixture) fail(drafts ...receipt.Draft) {
	_ = f.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for range 150 { // whole tiles among them
			for _, d := range drafts {
				_, _, _ = f.l.Append(tx, d)
			}
		}
		return context.Canceled
	})
}

// A log that is older than its index is searched once the index was made, in bounded steps, also over restarts; and a log
// that an earlier development version wrote, with a record for every leaf and every place in a chain, is read, and goes on.
func TestSearchOlder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, n := range []int{512, 900} {
		dir := t.TempDir()
		f := newLog(t, dir)
		f.append(t, journal.Commands, someReceipts(r, n, time.Second)...)
		f.makeOlder(t)
		if err := f.j.Close(); err != nil {
			t.Fatal(err)
		}
		f = newLog(t, dir)
		f.append(t, journal.Commands, someReceipts(r, 10, time.Second)...)
		recent, tiles := n%256+10, n/256
		if a, err := f.l.Search(lawchain.Search{Limit: 1000}); err != nil || len(a.Found) != recent || a.Unindexed != uint64(256*tiles) {
			t.Fatalf("%d found, %d not indexed: %v", len(a.Found), a.Unindexed, err)
		}
		steps := 0
		for more := true; more; steps++ {
			var op journal.Op
			var err error
			if op, more, err = f.l.IndexOlder(); err != nil {
				t.Fatal(err)
			}
			if err := f.j.Submit(context.Background(), journal.Telemetry, op); err != nil {
				t.Fatal(err)
			}
			if steps == 2 { // a restart half way
				if err := f.j.Close(); err != nil {
					t.Fatal(err)
				}
				f = newLog(t, dir)
			}
		}
		if steps != tiles+1 { // the first deletes the records of the earlier form
			t.Errorf("made in %d steps", steps)
		}
		if op, more, err := f.l.IndexOlder(); op != nil || more || err != nil {
			t.Errorf("once more: %v %v", more, err)
		}
		compare(t, f.l, searches(r, n, time.Second)[:25])
		f.append(t, journal.Commands, someReceipts(r, 300, time.Second)...) // completes the tile that began before
		compare(t, f.l, searches(r, n, time.Second))
		before, err := f.l.RootAt(f.l.Checkpoint().Size)
		if err != nil || before != f.l.Checkpoint().Root {
			t.Fatalf("%v %v", before, err)
		}
		if err := f.j.Close(); err != nil {
			t.Fatal(err)
		}
		f = newLog(t, dir)
		singles := 0
		for _, prefix := range []string{"l/n/\x00", "l/i/"} {
			if err := f.j.Scan([]byte(prefix), append([]byte(prefix), 0xff), func(k, v []byte) (bool, error) {
				if i := binary.BigEndian.Uint64(k[len(k)-8:]); prefix != "l/i/" && i >= uint64(256*tiles) && len(v) == 32 {
					singles++
				}
				return true, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if singles != 0 {
			t.Errorf("%d records of the earlier form are left in the tile that was completed since", singles)
		}
		if err := f.j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// makeOlder gives the journal the form that an earlier development version wrote: no blocks, and a record for each receipt.
func (f fixture) makeOlder(t *testing.T) {
	t.Helper()
	var puts, deletes [][2][]byte
	for _, prefix := range []string{"l/f/", "l/n/\x00", "l/i/"} {
		if err := f.j.Scan([]byte(prefix), append([]byte(prefix), 0xff), func(k, _ []byte) (bool, error) {
			deletes = append(deletes, [2][]byte{bytes.Clone(k)})
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range readAll(t, f.l) {
		index := binary.BigEndian.AppendUint64(nil, uint64(i))
		puts = append(puts, [2][]byte{append([]byte("l/n/\x00"), index...), bytes.Clone(r.Leaf[:])},
			[2][]byte{binary.BigEndian.AppendUint64([]byte("l/i/"+r.Subject+"\x00"), r.Seq), index},
			[2][]byte{append([]byte("l/q/k/"+r.Kind+"\x00"), index...), {}})
	}
	if err := f.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for _, d := range deletes {
			tx.Delete(d[0])
		}
		for _, p := range puts {
			tx.Put(p[0], p[1])
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// What was dropped with its operation is not found.
func TestSearchDropped(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	f.append(t, journal.Commands, halt(1))
	_ = f.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		_, _, _ = f.l.Append(tx, halt(2))
		return context.Canceled
	})
	if a, err := f.l.Search(lawchain.Search{}); err != nil || len(a.Found) != 1 || a.Found[0].Index != 0 || a.Next != "" {
		t.Fatalf("%+v %v", a, err)
	}
}

func TestSearchRefuses(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	if a, err := f.l.Search(lawchain.Search{}); err != nil || len(a.Found) != 0 || a.Next != "" {
		t.Errorf("an empty log: %+v %v", a, err)
	}
	for name, q := range map[string]lawchain.Search{
		"limit":   {Limit: lawchain.MaxFound + 1},
		"less":    {Limit: -1},
		"kind":    {Kinds: []string{"command.sent"}},
		"twin":    {Twin: "a b"},
		"actor":   {Actor: "a\x00"},
		"range":   {From: start, To: start},
		"cursor":  {Cursor: "zz"},
		"shorter": {Cursor: "00"},
		"to":      {To: time.Unix(0, 0)}, // before all blocks of the index: it would be read whole
		"before":  {Cursor: "00000000000000000000000000000000"},
	} {
		if _, err := f.l.Search(q); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A search that finds little looks at a bounded number of receipts in one call and can be gone on with.
func TestSearchIsBounded(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	drafts := make([]receipt.Draft, 12_000)
	for i := range drafts {
		drafts[i] = receipt.Draft{Kind: receipt.TelemetryBatch, Subject: "telemetry/test", Actor: "node:a", Time: start.Add(time.Duration(i) * time.Millisecond), Body: []byte(`{}`)}
	}
	drafts[0].Actor = "node:b"
	for part := range slices.Chunk(drafts, 1000) {
		f.append(t, journal.Telemetry, part...)
	}
	q := lawchain.Search{Kinds: []string{receipt.TelemetryBatch}, Actor: "node:b"}
	a, err := f.l.Search(q)
	if err != nil || len(a.Found) != 0 || a.Next == "" {
		t.Fatalf("%d found, next %q: %v", len(a.Found), a.Next, err)
	}
	q.Cursor = a.Next
	if a, err = f.l.Search(q); err != nil || len(a.Found) != 1 || a.Found[0].Index != 0 || a.Next != "" {
		t.Fatalf("%d found, next %q: %v", len(a.Found), a.Next, err)
	}
}

// BenchmarkAppendSearchable appends receipts by the thousand in one operation: the cost of the index is in it.
func BenchmarkAppendSearchable(b *testing.B) {
	for _, kind := range []string{receipt.TelemetryBatch, receipt.CommandDenied} {
		b.Run(kind, func(b *testing.B) {
			f := newLog(b, b.TempDir())
			defer f.j.Close()
			d := receipt.Draft{Kind: kind, Subject: "telemetry/test", Actor: "node:a", Time: start, Body: []byte(`{"args_digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","command":"01J","name":"open","reason":"why","twin":"line-1"}`)}
			const group = 1000
			for b.Loop() {
				if err := f.j.Submit(context.Background(), journal.Telemetry, func(tx journal.Tx) error {
					for range group {
						d.Time = d.Time.Add(time.Microsecond)
						if _, _, err := f.l.Append(tx, d); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/group, "ns/receipt")
		})
	}
}
