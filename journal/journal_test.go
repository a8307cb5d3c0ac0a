package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, o journal.Options) *journal.Journal {
	t.Helper()
	o.Ballast = -1
	j, err := journal.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func put(k, v string) journal.Op {
	return func(tx journal.Tx) error { tx.Put([]byte(k), []byte(v)); return nil }
}

func mustGet(t *testing.T, r journal.Reader, k string) string {
	t.Helper()
	v, ok, err := r.Get([]byte(k))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "-"
	}
	return string(v)
}

func TestCommitsSurviveReopen(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	for lane, k := range map[journal.Lane]string{journal.Commands: "a", journal.Telemetry: "b"} {
		if err := j.Submit(context.Background(), lane, put(k, "1")); err != nil {
			t.Fatal(err)
		}
	}
	commits := j.Commits()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, journal.Options{})
	defer j.Close()
	if mustGet(t, j, "a") != "1" || mustGet(t, j, "b") != "1" || j.Commits() != commits {
		t.Fatalf("after reopen: a=%s b=%s commits=%d, want %d", mustGet(t, j, "a"), mustGet(t, j, "b"), j.Commits(), commits)
	}
}

// A failed or panicking operation leaves nothing behind, and its neighbours in the group are committed.
func TestOperationsAreAtomic(t *testing.T) {
	j := open(t, t.TempDir(), journal.Options{})
	defer j.Close()
	var wg sync.WaitGroup
	boom := errors.New("boom")
	var undone, applied int
	results := make([]error, 3)
	for i, op := range []journal.Op{
		put("x", "1"),
		func(tx journal.Tx) error {
			tx.OnRollback(func() { undone++ })
			tx.OnApplied(func() { applied++ })
			tx.Put([]byte("x"), []byte("2"))
			tx.Put([]byte("y"), []byte("2"))
			return boom
		},
		func(tx journal.Tx) error { tx.Put([]byte("z"), []byte("3")); panic("broken") },
	} {
		wg.Add(1)
		if err := j.SubmitAsync(journal.Commands, op, func(err error) { results[i] = err; wg.Done() }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if results[0] != nil || !errors.Is(results[1], boom) || vaultmesh.KindOf(results[2]) != vaultmesh.Internal || results[2] == nil {
		t.Fatalf("results %v", results)
	}
	if mustGet(t, j, "x") != "1" || mustGet(t, j, "y") != "-" || mustGet(t, j, "z") != "-" || undone != 1 || applied != 0 {
		t.Fatalf("x=%s y=%s z=%s undone=%d applied=%d", mustGet(t, j, "x"), mustGet(t, j, "y"), mustGet(t, j, "z"), undone, applied)
	}
}

// Within an operation, reads see the store, the earlier operations of the group and the operation's own writes, as a
// plain map would.
func TestTxReadsAgreeWithAMap(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		j, err := journal.Open(filepath.Join(dir, fmt.Sprint(n)), journal.Options{Ballast: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		model := map[string]string{}
		key := rapid.StringMatching(`[a-f]`)
		for range rapid.IntRange(1, 6).Draw(t, "operations") {
			fail := rapid.Bool().Draw(t, "fail")
			steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [3]string {
				return [3]string{rapid.SampledFrom([]string{"put", "delete", "get", "scan"}).Draw(t, "do"), key.Draw(t, "key"), rapid.StringMatching(`[0-9]{1,3}`).Draw(t, "value")}
			}), 1, 12).Draw(t, "steps")
			next := map[string]string{}
			for k, v := range model {
				next[k] = v
			}
			var wrong string
			_ = j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
				for _, s := range steps {
					switch s[0] {
					case "put":
						tx.Put([]byte(s[1]), []byte(s[2]))
						next[s[1]] = s[2]
					case "delete":
						tx.Delete([]byte(s[1]))
						delete(next, s[1])
					case "get":
						v, ok, err := tx.Get([]byte(s[1]))
						want, has := next[s[1]]
						if err != nil || ok != has || string(v) != want {
							wrong = fmt.Sprintf("get %s = %q %v %v, want %q %v", s[1], v, ok, err, want, has)
						}
					case "scan":
						got := map[string]string{}
						last := ""
						err := tx.Scan([]byte("a"), []byte("g"), func(k, v []byte) (bool, error) {
							if string(k) <= last {
								wrong = "scan is out of order"
							}
							last = string(k)
							got[last] = string(v)
							return true, nil
						})
						if err != nil || fmt.Sprint(got) != fmt.Sprint(next) {
							wrong = fmt.Sprintf("scan = %v %v, want %v", got, err, next)
						}
					}
				}
				if fail {
					return errors.New("drop")
				}
				return nil
			})
			if wrong != "" {
				t.Fatal(wrong)
			}
			if !fail {
				model = next
			}
		}
		got := map[string]string{}
		if err := j.Scan([]byte("a"), []byte("g"), func(k, v []byte) (bool, error) { got[string(k)] = string(v); return true, nil }); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(model) {
			t.Fatalf("store %v, want %v", got, model)
		}
	})
}

func TestSnapshotIsImmutable(t *testing.T) {
	j := open(t, t.TempDir(), journal.Options{})
	defer j.Close()
	ctx := context.Background()
	if err := j.Submit(ctx, journal.Commands, put("k", "old")); err != nil {
		t.Fatal(err)
	}
	s := j.Snapshot()
	defer s.Close()
	if err := j.Submit(ctx, journal.Telemetry, put("k", "new")); err != nil {
		t.Fatal(err)
	}
	if mustGet(t, s, "k") != "old" || mustGet(t, j, "k") != "new" {
		t.Fatalf("snapshot %s, journal %s", mustGet(t, s, "k"), mustGet(t, j, "k"))
	}
}

// A full lane refuses at once and the other lane goes on.
func TestAdmissionControl(t *testing.T) {
	j := open(t, t.TempDir(), journal.Options{Queue: [2]int{8, 2}})
	defer j.Close()
	started, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 64)
	submit := func(lane journal.Lane, op journal.Op) error {
		return j.SubmitAsync(lane, op, func(err error) { done <- err })
	}
	if err := submit(journal.Telemetry, func(journal.Tx) error { close(started); <-release; return nil }); err != nil {
		t.Fatal(err)
	}
	<-started
	accepted, refused := 1, error(nil)
	for refused == nil {
		if refused = submit(journal.Telemetry, put("t", "1")); refused == nil {
			accepted++
		}
	}
	if vaultmesh.KindOf(refused) != vaultmesh.RateLimited || accepted > 3 {
		t.Fatalf("%d accepted, then %v", accepted, refused)
	}
	if err := submit(journal.Commands, put("c", "1")); err != nil {
		t.Fatal(err)
	}
	close(release)
	for range accepted + 1 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// The write-ahead log alone cannot tell a damaged last record from a torn one: the mark can.
func TestDamagedLastRecordIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	ctx := context.Background()
	for i := range 20 {
		if err := j.Submit(ctx, journal.Commands, put(fmt.Sprintf("key-%02d", i), "value")); err != nil {
			t.Fatal(err)
		}
	}
	// A copy taken now is what a killed process leaves: Close would move the write-ahead log into tables.
	crash := t.TempDir()
	if err := os.CopyFS(crash, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	intact := t.TempDir()
	if err := os.CopyFS(intact, os.DirFS(crash)); err != nil {
		t.Fatal(err)
	}
	j = open(t, intact, journal.Options{})
	if got := mustGet(t, j, "key-19"); got != "value" {
		t.Fatalf("intact copy: key-19 = %s", got)
	}
	_ = j.Close()

	wal, err := filepath.Glob(filepath.Join(crash, "db", "*.log"))
	if err != nil || len(wal) != 1 {
		t.Fatalf("write-ahead logs: %v %v", wal, err)
	}
	b, err := os.ReadFile(wal[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte("key-19"))
	b[at] ^= 0xff
	if err := os.WriteFile(wal[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = journal.Open(crash, journal.Options{Ballast: -1})
	if vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Fatalf("a journal whose last record is damaged opens with %v", err)
	}
	t.Log(err)
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	defer j.Close()
	_, err := journal.Open(dir, journal.Options{Ballast: -1})
	if vaultmesh.KindOf(err) != vaultmesh.Conflict {
		t.Fatalf("second open: %v", err)
	}
}

// Whatever the interleaving of the lanes, commit numbers are gapless, each group is sealed once, and the order in
// which operations are applied is the order of their numbers.
func TestLanesShareOneOrder(t *testing.T) {
	var sealed []uint64
	j := open(t, t.TempDir(), journal.Options{Seal: func(_ journal.Tx, n uint64) { sealed = append(sealed, n) }})
	ctx := context.Background()
	var wg sync.WaitGroup
	counter := []byte("counter")
	increment := func(tx journal.Tx) error {
		v, ok, err := tx.Get(counter)
		if err != nil {
			return err
		}
		n := uint64(0)
		if ok {
			n = binary.BigEndian.Uint64(v)
		}
		tx.Put(counter, binary.BigEndian.AppendUint64(nil, n+1))
		return nil
	}
	const each = 200
	for w := range 8 {
		wg.Go(func() {
			for range each {
				for err := error(vaultmesh.Errorf(vaultmesh.RateLimited, "", "", "")); vaultmesh.KindOf(err) == vaultmesh.RateLimited && err != nil; {
					err = j.Submit(ctx, journal.Lane(w%2), increment)
				}
			}
		})
	}
	wg.Wait()
	v, _, err := j.Get(counter)
	if err != nil || binary.BigEndian.Uint64(v) != 8*each {
		t.Fatalf("counter = %d, want %d (%v)", binary.BigEndian.Uint64(v), 8*each, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for i, n := range sealed {
		if n != uint64(i+1) {
			t.Fatalf("commit %d was sealed as number %d", i+1, n)
		}
	}
}

// A commit counts for Settle from before the first moment at which it can be read.
func TestSettleBeforeVisible(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var j *journal.Journal
	opened := make(chan struct{})
	passed := make(chan error, 1)
	j = open(t, t.TempDir(), journal.Options{Failpoint: func(point string) {
		if point == "built" {
			<-opened
			passed <- j.Settle(ctx)
		}
	}})
	close(opened)
	defer j.Close()
	if err := j.Submit(context.Background(), journal.Commands, put("k", "v")); err != nil {
		t.Fatal(err)
	}
	if err := <-passed; !errors.Is(err, context.Canceled) {
		t.Fatalf("settled just before the commit became visible, and not durable: %v", err)
	}
}

// What Settle has let pass is still there after a crash: it waits for the disk, not for the memory.
// Who settles finds what OnDurable shows: a log's checkpoint, say.
func TestSettleFollowsOnDurable(t *testing.T) {
	told, release := make(chan struct{}), make(chan struct{})
	j := open(t, t.TempDir(), journal.Options{OnDurable: func(uint64) { close(told); <-release }})
	defer j.Close()
	if err := j.SubmitAsync(journal.Commands, put("a", "1"), func(error) {}); err != nil {
		t.Fatal(err)
	}
	<-told // the commit is durable, and OnDurable has not returned
	late, cancel := context.WithCancel(context.Background())
	cancel()
	if err := j.Settle(late); !errors.Is(err, context.Canceled) {
		t.Errorf("settled before OnDurable was told: %v", err)
	}
	close(release)
	if err := j.Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestSettle(t *testing.T) {
	release := make(chan struct{})
	applied := make(chan struct{}, 1)
	j := open(t, t.TempDir(), journal.Options{Failpoint: func(point string) {
		switch point {
		case "applied":
			applied <- struct{}{}
		case "synced":
			<-release
		}
	}})
	defer j.Close()
	done := make(chan error, 1)
	if err := j.SubmitAsync(journal.Commands, put("k", "v"), func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	<-applied
	ctx, cancel := context.WithCancel(context.Background())
	early := make(chan error, 1)
	go func() { early <- j.Settle(ctx) }()
	cancel()
	if err := <-early; !errors.Is(err, context.Canceled) {
		t.Fatalf("settled before the commit was durable: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := j.Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
}
