package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/logs"
)

// logFolder names the variable that makes this binary a process that only writes a log.
const logFolder = "CHAOS_LOG_FOLDER"

const (
	logSubmitters = 8
	logSubjects   = 5
	publishEvery  = 5 * time.Millisecond
	longestLife   = 150 * time.Millisecond
	longestSpeech = 400 // lines
)

// openLog opens the log below dir. Its keys are the same in every process: what is tested is memory, not secrecy.
func openLog(dir string) (*logs.Log, error) { return logs.Reopen(filepath.Join(dir, "journal")) }

// writeLog appends and publishes until it is killed, and says on out what was acknowledged: "a index leaf", and which
// checkpoints it showed: "c size root". It returns only with an error.
func writeLog(dir string, out io.Writer) error {
	l, err := openLog(dir)
	if err != nil {
		return err
	}
	b, err := bucket.NewFolder(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	p := tiles.New(tiles.Options{Log: l.Log, Bucket: b, Interval: publishEvery, Grace: publishEvery, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err := p.Check(context.Background()); err != nil {
		return err
	}
	go p.Run(context.Background())
	failed := make(chan error)
	var mu sync.Mutex // one write a line
	for who := range logSubmitters {
		go func() {
			for n := 0; ; n++ {
				var index vaultmesh.LogIndex
				var leaf vaultmesh.Digest
				prepared, err := l.Prepare(receipt.Draft{Kind: receipt.HaltSet, Subject: fmt.Sprint("halt/", (who+n)%logSubjects), Actor: "node:chaos", Time: time.Now(), Body: []byte(`{"reason":"chaos"}`)})
				if err == nil {
					err = l.J.Submit(context.Background(), journal.Lane(n%2), func(tx journal.Tx) (err error) {
						index, leaf, err = l.AppendPrepared(tx, prepared)
						return err
					})
				}
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				_, _ = fmt.Fprintf(out, "a %d %s\n", index, leaf)
				if n%8 == 0 {
					cp := l.Checkpoint()
					_, _ = fmt.Fprintf(out, "c %d %s\n", cp.Size, cp.Root)
				}
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

// witnessed is what a process that was killed had said.
type witnessed struct {
	acked map[uint64]vaultmesh.Digest
	seen  map[uint64]vaultmesh.Digest
}

// TestLogKill kills a process that writes a log, at random instants of its life, its birth among them.
func TestLogKill(t *testing.T) { killLog(t, 8) }

// TestSoakLogKill is the same a thousand times.
func TestSoakLogKill(t *testing.T) {
	if !soaking() {
		t.Skip("set VAULTMESH_SOAK=1 to run it; it takes about five minutes")
	}
	killLog(t, 1000)
}

func killLog(t *testing.T, rounds int) {
	rng, dir := random(t), t.TempDir()
	all := witnessed{acked: map[uint64]vaultmesh.Digest{}, seen: map[uint64]vaultmesh.Digest{}}
	born := 0
	for round := range rounds {
		w := killOnce(t, rng, dir)
		if len(w.acked) > 0 {
			born++
		}
		for i, leaf := range w.acked {
			if have, ok := all.acked[i]; ok && have != leaf {
				t.Fatalf("round %d: index %d was acknowledged for two receipts", round, i)
			}
			all.acked[i] = leaf
		}
		for size, root := range w.seen {
			if have, ok := all.seen[size]; ok && have != root {
				t.Fatalf("round %d: two checkpoints of size %d: the log forked", round, size)
			}
			all.seen[size] = root
		}
		checkLog(t, round, dir, w)
	}
	size := checkLog(t, rounds, dir, all)
	judge(t, dir)
	t.Logf("rounds %d, lives that acknowledged something %d, acknowledged receipts %d, receipts %d, checkpoints shown %d, lost 0, forked 0", rounds, born, len(all.acked), size, len(all.seen))
	if born == 0 {
		t.Fatal("no process lived long enough to acknowledge a receipt: nothing was tested")
	}
}

// killOnce runs one process and returns what it said before its end.
func killOnce(t *testing.T, rng *rand.Rand, dir string) witnessed {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), logFolder+"="+dir)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	// Half of the processes die at a random instant, which may be before they say anything; half at a random line, so that a
	// busy machine does not kill them all in the cradle.
	die := func() { _ = cmd.Process.Signal(syscall.SIGKILL) }
	lastLine := 0
	if rng.IntN(2) == 0 {
		lastLine = 1 + rng.IntN(longestSpeech)
	} else {
		kill := time.AfterFunc(time.Duration(rng.Int64N(int64(longestLife))), die)
		defer kill.Stop()
	}
	w := witnessed{acked: map[uint64]vaultmesh.Digest{}, seen: map[uint64]vaultmesh.Digest{}}
	for lines, n := bufio.NewReader(out), 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that was cut short was not said
		}
		if n == lastLine {
			die()
		}
		var what string
		var n uint64
		var text string
		var d vaultmesh.Digest
		if _, err := fmt.Sscan(line, &what, &n, &text); err != nil || d.UnmarshalText([]byte(text)) != nil {
			t.Fatalf("the process said %q", line)
		}
		if what == "a" {
			w.acked[n] = d
		} else {
			w.seen[n] = d
		}
	}
	_ = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Fatalf("the process ended by itself: %v\n%s", cmd.ProcessState, complaint.String())
	}
	return w
}

// checkLog opens what is left as the next process would, and looks for everything that was said.
func checkLog(t *testing.T, round int, dir string, w witnessed) uint64 {
	t.Helper()
	l, err := openLog(dir)
	if err != nil {
		t.Fatalf("round %d: the journal does not open after a kill: %v", round, err)
	}
	defer func() { _ = l.J.Close() }()
	cp := l.Checkpoint()
	if cp == nil {
		if len(w.acked)+len(w.seen) > 0 {
			t.Fatalf("round %d: the log is empty, and %d receipts were acknowledged", round, len(w.acked))
		}
		return 0
	}
	for i, leaf := range w.acked {
		envelope, err := l.Receipt(vaultmesh.LogIndex(i))
		if err != nil || receipt.LeafHash(envelope) != leaf {
			t.Fatalf("round %d: receipt %d was acknowledged and is lost or another: %v", round, i, err)
		}
	}
	for size, root := range w.seen {
		hashes, err := l.Consistency(size, cp.Size)
		if err == nil {
			err = proof.VerifyConsistency(rfc6962.DefaultHasher, size, cp.Size, hashes, root[:], cp.Root[:])
		}
		if err != nil {
			t.Fatalf("round %d: the checkpoint of %d receipts that was shown is no prefix of the log of %d: %v", round, size, cp.Size, err)
		}
	}
	b, err := bucket.NewFolder(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tiles.New(tiles.Options{Log: l.Log, Bucket: b, Logger: slog.New(slog.DiscardHandler)}).Check(t.Context()); err != nil {
		t.Fatalf("round %d: what was published does not fit the journal: %v", round, err)
	}
	return cp.Size
}

// judge has the whole log checked: the journal, and what was published of it.
func judge(t *testing.T, dir string) {
	t.Helper()
	pins, err := fsck.PinTrust(logs.Trust())
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.OpenReadOnly(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	r, err := fsck.Journal(t.Context(), j, dir, fsck.Options{Pins: pins})
	if err != nil || r.Verdict != fsck.Sound {
		t.Fatalf("the journal: %+v %v", r, err)
	}
	b, err := bucket.NewFolder(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	r, err = fsck.Published(t.Context(), b, fsck.Options{Pins: pins})
	if err != nil || r.Verdict != fsck.Sound {
		t.Fatalf("what was published: %+v %v", r, err)
	}
}
