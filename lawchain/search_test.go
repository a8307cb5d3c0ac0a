package lawchain_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

// someReceipts returns n drafts of several kinds, actors, twins and times that are a little out of order.
func someReceipts(r *rand.Rand, n int) []receipt.Draft {
	out := make([]receipt.Draft, n)
	for i := range out {
		d := receipt.Draft{Actor: vaultmesh.Principal(fmt.Sprintf("agent:%d", r.IntN(5))), Body: []byte(`{}`),
			Time: start.Add(time.Duration(i)*time.Second - time.Duration(r.IntN(5000))*time.Millisecond)}
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

// slowSearch is the search by reading everything.
func slowSearch(t *testing.T, l *lawchain.Log, q lawchain.Search) []vaultmesh.LogIndex {
	t.Helper()
	type hit struct {
		at time.Time
		i  vaultmesh.LogIndex
	}
	var hits []hit
	for i := range vaultmesh.LogIndex(l.Checkpoint().Size) {
		raw, err := l.Receipt(i)
		if err != nil {
			t.Fatal(err)
		}
		r, err := receipt.Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case q.Subject != "" && r.Subject != q.Subject, q.Actor != "" && r.Actor != q.Actor, q.Twin != "" && receipt.TwinOf(&r.Draft) != q.Twin,
			len(q.Kinds) > 0 && !slices.Contains(q.Kinds, r.Kind), !q.From.IsZero() && r.Time.Before(q.From), !q.To.IsZero() && !r.Time.Before(q.To),
			q.Actor != "" && q.Subject == "" && len(q.Kinds) == 0 && r.Kind == receipt.TelemetryBatch:
			continue
		}
		hits = append(hits, hit{r.Time, i})
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

func searches(r *rand.Rand, n int) []lawchain.Search {
	out := []lawchain.Search{{}, {Kinds: receipt.ScrollKinds("automation")}, {Kinds: []string{receipt.TelemetryBatch}}, {Kinds: []string{receipt.HaltSet, receipt.TelemetryBatch}},
		{Subject: "command/none"}, {Twin: "none"}, {Actor: "agent:none"}}
	for range 120 {
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
			q.From = start.Add(time.Duration(r.IntN(n)) * time.Second)
		}
		if r.IntN(3) == 0 {
			q.To = start.Add(time.Duration(n/2+r.IntN(n)) * time.Second)
		}
		if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
			q.From, q.To = q.To, q.From.Add(time.Second)
		}
		q.Limit = 1 + r.IntN(40)
		out = append(out, q)
	}
	return out
}

// Every search finds what reading everything finds, in the same order, in pages of any size; also after the index was
// lost and made again, as for a log that is older than the index.
func TestSearch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	const n = 700
	dir := t.TempDir()
	f := newLog(t, dir)
	for _, d := range someReceipts(r, n) {
		f.append(t, journal.Lane(r.IntN(2)), d)
	}
	list := searches(r, n)
	compare := func(l *lawchain.Log) {
		t.Helper()
		for _, q := range list {
			if got, want := pages(t, l, q), slowSearch(t, l, q); !slices.Equal(got, want) {
				t.Fatalf("%+v\ngot  %v\nwant %v", q, got, want)
			}
		}
	}
	compare(f.l)

	// An older log: the records are gone, and new receipts come before they are made.
	var lost [][]byte
	if err := f.j.Scan([]byte("l/q/"), []byte("l/q0"), func(k, _ []byte) (bool, error) {
		lost = append(lost, bytes.Clone(k))
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := f.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for _, k := range lost {
			tx.Delete(k)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := f.j.Close(); err != nil {
		t.Fatal(err)
	}
	f = newLog(t, dir)
	for _, d := range someReceipts(r, 10) {
		f.append(t, journal.Commands, d)
	}
	if a, err := f.l.Search(lawchain.Search{}); err != nil || len(a.Found) != 10 || a.Unindexed != n {
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
		if steps == 1 { // a restart half way
			if err := f.j.Close(); err != nil {
				t.Fatal(err)
			}
			f = newLog(t, dir)
		}
	}
	if steps < 3 {
		t.Errorf("made in %d steps", steps)
	}
	defer f.j.Close()
	if op, more, err := f.l.IndexOlder(); op != nil || more || err != nil {
		t.Errorf("once more: %v %v", more, err)
	}
	compare(f.l)
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
