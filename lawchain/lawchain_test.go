package lawchain_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a journal with a log on it.
type fixture struct {
	j *journal.Journal
	l *lawchain.Log
}

func newLog(t testing.TB, dir string) fixture {
	t.Helper()
	l := logs.Open(t, dir)
	return fixture{l.J, l.Log}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func halt(i int) receipt.Draft {
	return receipt.Draft{Kind: receipt.HaltSet, Subject: fmt.Sprintf("halt/%d", i%7), Actor: "operator:ada", Time: start.Add(time.Duration(i) * time.Second), Body: []byte(`{"reason":"test"}`)}
}

func (f fixture) append(t testing.TB, lane journal.Lane, drafts ...receipt.Draft) {
	t.Helper()
	err := f.j.Submit(context.Background(), lane, func(tx journal.Tx) error {
		for _, d := range drafts {
			if _, _, err := f.l.Append(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every proof that the log gives is accepted by the reference verifier, at every size that was ever signed.
func TestProofs(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	v := logs.Notes.Verifier
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var heads []*lawchain.Checkpoint
	for i := 0; i < 600; {
		n := 1 + rng.IntN(20)
		drafts := make([]receipt.Draft, n)
		for k := range drafts {
			drafts[k] = halt(i + k)
		}
		f.append(t, journal.Lane(rng.IntN(2)), drafts...)
		i += n
		cp := f.l.Checkpoint()
		if cp == nil || cp.Size != uint64(i) {
			t.Fatalf("after %d receipts the checkpoint is %+v", i, cp)
		}
		if c, _, _, err := log.ParseCheckpoint(cp.Note, v.Name(), v); err != nil || c.Size != cp.Size || vaultmesh.Digest(c.Hash) != cp.Root {
			t.Fatalf("checkpoint: %+v %v", c, err)
		}
		heads = append(heads, cp)
	}
	for range 300 {
		cp := heads[rng.IntN(len(heads))]
		i := vaultmesh.LogIndex(rng.Uint64N(cp.Size))
		e, err := f.l.Receipt(i)
		if err != nil {
			t.Fatal(err)
		}
		path, err := f.l.Inclusion(i, cp.Size)
		if err != nil {
			t.Fatal(err)
		}
		leaf := receipt.LeafHash(e)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), cp.Size, leaf[:], path, cp.Root[:]); err != nil {
			t.Fatal(err)
		}
		old := heads[rng.IntN(len(heads))]
		if old.Size > cp.Size {
			old, cp = cp, old
		}
		c, err := f.l.Consistency(old.Size, cp.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, cp.Size, c, old.Root[:], cp.Root[:]); err != nil {
			t.Fatal(err)
		}
	}
}

// The chain of a subject is gapless, and every receipt points to its predecessor.
func TestSubjectChains(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	for i := range 50 {
		f.append(t, journal.Commands, halt(i))
	}
	for s := range 7 {
		indexes, err := f.l.Subject(fmt.Sprintf("halt/%d", s), 0, 100)
		if err != nil || len(indexes) < 7 {
			t.Fatalf("subject %d: %v %v", s, indexes, err)
		}
		f.chain(t, indexes)
	}
}

// chain fails where the receipts of a subject are not one gapless chain.
func (f fixture) chain(t *testing.T, indexes []vaultmesh.LogIndex) {
	t.Helper()
	var prev *receipt.Ref
	for seq, i := range indexes {
		e, err := f.l.Receipt(i)
		if err != nil {
			t.Fatal(err)
		}
		r, err := receipt.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != uint64(seq) || (prev == nil) != (r.Prev == nil) || prev != nil && *r.Prev != *prev {
			t.Fatalf("receipt %d of %s: link %+v, want after %+v", seq, r.Subject, r.Link, prev)
		}
		prev = &receipt.Ref{Index: i, Leaf: r.Leaf}
	}
}

// A dropped operation leaves no trace in the tree or in a chain; its neighbours in the same group stay.
func TestRollback(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	f.append(t, journal.Commands, halt(0), halt(1))
	before := *f.l.Checkpoint()
	drop := errors.New("drop")
	err := f.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for i := range 5 {
			if _, _, err := f.l.Append(tx, halt(i)); err != nil {
				return err
			}
		}
		return drop
	})
	if !errors.Is(err, drop) {
		t.Fatal(err)
	}
	f.append(t, journal.Commands, halt(0))
	cp := f.l.Checkpoint()
	if cp.Size != before.Size+1 {
		t.Fatalf("size %d after a dropped operation, want %d", cp.Size, before.Size+1)
	}
	root, err := f.l.RootAt(before.Size)
	if err != nil || root != before.Root {
		t.Fatalf("the old root changed: %v %v", root, err)
	}
	if s, err := f.l.Subject("halt/0", 0, 10); err != nil || len(s) != 2 {
		t.Fatalf("chain %v %v", s, err)
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	f := newLog(t, dir)
	for i := range 300 {
		f.append(t, journal.Lane(i%2), halt(i))
	}
	want := *f.l.Checkpoint()
	if err := f.j.Close(); err != nil {
		t.Fatal(err)
	}
	f = newLog(t, dir)
	defer f.j.Close()
	if got := f.l.Checkpoint(); got.Size != want.Size || got.Root != want.Root || string(got.Note) != string(want.Note) {
		t.Fatalf("after a restart the checkpoint is %+v, want %+v", got, want)
	}
	f.append(t, journal.Commands, halt(300))
	c, err := f.l.Consistency(want.Size, want.Size+1)
	if err != nil {
		t.Fatal(err)
	}
	now := f.l.Checkpoint()
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, want.Size, now.Size, c, want.Root[:], now.Root[:]); err != nil {
		t.Fatal(err)
	}
}

// A page of a subject's receipts begins at any index, wherever that lies in the chain.
func TestSubjectSince(t *testing.T) {
	f := newLog(t, t.TempDir())
	defer f.j.Close()
	for i := range 40 {
		f.append(t, journal.Commands, halt(i))
	}
	all, err := f.l.Subject("halt/3", 0, 100)
	if err != nil || len(all) != 6 {
		t.Fatal(all, err)
	}
	for from := range vaultmesh.LogIndex(45) {
		var want []vaultmesh.LogIndex
		for _, i := range all {
			if i >= from && len(want) < 2 {
				want = append(want, i)
			}
		}
		if got, err := f.l.SubjectSince("halt/3", from, 2); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("from %d: %v %v, want %v", from, got, err, want)
		}
	}
	if got, err := f.l.SubjectSince("halt/none", 0, 2); err != nil || got != nil {
		t.Errorf("a subject without receipts: %v %v", got, err)
	}
}
