// Package logs makes logs for tests: real ones in a real journal, with keys that are the same in every run, and the buckets
// in which they are published. It is on floor 7 and is used by tests only.
package logs

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
)

// Domain and Origin of every log made here.
const (
	Domain = "test"
	Origin = "vaultmesh.test/log"
)

// Start is the time of receipt 0; each next one is a second later.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// The keys of every log made here.
var (
	Receipts   = keys.Named("receipts of a test's log")
	Checkpoint = keys.Named("checkpoints of a test's log")
	Notes      = Checkpoint.Note(Origin) // Checkpoint, as it signs
)

// Trust pins both keys.
func Trust() *receipt.Trust {
	return &receipt.Trust{Domain: Domain, Log: receipt.TrustedLog{Origin: Origin, Key: Notes.Text},
		ReceiptKeys: []receipt.TrustedKey{{ID: Receipts.KeyID(), Public: Receipts.Pub()}}}
}

// Log is a journal with a log on it.
type Log struct {
	J *journal.Journal
	*lawchain.Log
	n int
}

// Change makes a log another than the usual one, in which exactly those receipts are signed that must be.
type Change func(*lawchain.Options, *journal.Options)

// Failpoint has f called at the points of a commit.
func Failpoint(f func(point string)) Change {
	return func(_ *lawchain.Options, o *journal.Options) { o.Failpoint = f }
}

// Open opens or makes a log in dir. The test closes its journal.
func Open(t testing.TB, dir string, changes ...Change) *Log {
	t.Helper()
	f, err := Reopen(dir, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Reopen is Open for a process that is not a test itself.
func Reopen(dir string, changes ...Change) (*Log, error) {
	of := lawchain.Options{Domain: Domain, Signer: Notes, Verifier: Notes.Verifier, Receipts: Receipts, Unsigned: func(kind string) bool { return !receipt.MustSign(kind) }}
	on := journal.Options{Ballast: -1}
	for _, change := range changes {
		change(&of, &on)
	}
	l := lawchain.New(of)
	on.Seal, on.OnDurable = l.Seal, l.Durable
	j, err := journal.Open(dir, on)
	if err != nil {
		return nil, err
	}
	if err := l.Load(j); err != nil {
		_ = j.Close()
		return nil, err
	}
	f := &Log{J: j, Log: l}
	if cp := l.Checkpoint(); cp != nil {
		f.n = int(cp.Size)
	}
	return f, nil
}

// Draft is the i-th receipt: signed ones of seven subjects, and unsigned ones of one.
func Draft(i int) receipt.Draft {
	d := receipt.Draft{Kind: receipt.HaltSet, Subject: fmt.Sprintf("halt/%d", i%7), Actor: "operator:ada", Time: Start.Add(time.Duration(i) * time.Second), Body: []byte(`{"reason":"test"}`)}
	if i%5 == 4 {
		d.Kind, d.Subject, d.Body = receipt.TelemetryBatch, receipt.TelemetrySubject(Domain), []byte(`{}`)
	}
	return d
}

// Grow appends the next n drafts in one commit.
func (f *Log) Grow(t testing.TB, n int) {
	t.Helper()
	drafts := make([]receipt.Draft, n)
	for i := range drafts {
		drafts[i] = Draft(f.n + i)
	}
	f.Put(t, drafts...)
}

// Put appends drafts in one commit.
func (f *Log) Put(t testing.TB, drafts ...receipt.Draft) {
	t.Helper()
	if err := f.Commit(drafts...); err != nil {
		t.Fatal(err)
	}
}

// Commit is Put for a process that is not a test itself.
func (f *Log) Commit(drafts ...receipt.Draft) error {
	err := f.J.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for _, d := range drafts {
			if _, _, err := f.Append(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		f.n += len(drafts)
	}
	return err
}

// Close closes the journal.
func (f *Log) Close(t testing.TB) {
	t.Helper()
	if err := f.J.Close(); err != nil {
		t.Fatal(err)
	}
}

// Note signs a checkpoint with the log's key, whatever it says.
func Note(t testing.TB, size uint64, root vaultmesh.Digest) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: Origin, Size: size, Hash: root[:]}.Marshal())}, Notes)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Bucket opens a bucket until the end of the test.
func Bucket(t testing.TB, address string) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// ErrBroken is why a Breaking bucket refuses.
var ErrBroken = errors.New("broken on purpose")

// Breaking is a bucket without object lock of which change number Left fails, before or After it has happened, and all that
// follow.
type Breaking struct {
	bucket.Bucket
	Left  int
	After bool
}

func (b *Breaking) change(f func() error) error {
	b.Left--
	if b.Left > 0 {
		return f()
	}
	if b.Left == 0 && b.After {
		_ = f()
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, "test", "", "no").Because(ErrBroken)
}

// Create is a change.
func (b *Breaking) Create(ctx context.Context, name string, data []byte, r bucket.Retention) error {
	return b.change(func() error { return b.Bucket.Create(ctx, name, data, r) })
}

// Replace is a change.
func (b *Breaking) Replace(ctx context.Context, name string, data []byte) error {
	return b.change(func() error { return b.Bucket.Replace(ctx, name, data) })
}

// Locks says that there is no object lock.
func (b *Breaking) Locks(context.Context) (bool, error) { return false, nil }

// Main runs the tests of a package and fails where one leaves a goroutine behind, but for the idle connections of the
// clouds' clients, which stay open for a while by design.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}
