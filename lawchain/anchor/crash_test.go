package anchor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/test/logs"
)

// crashChild is this test binary as a node of its own: it asks for an anchor and works until it is final. at names where
// it is killed: "synced:3", or empty.
func crashChild(dir, at string) {
	name, count, _ := strings.Cut(at, ":")
	n, _ := strconv.Atoi(count)
	hit := func(point string) {
		if point != name {
			return
		}
		if n--; n == 0 {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	die := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	l, err := logs.Reopen(filepath.Join(dir, "journal"), logs.Failpoint(hit))
	if err != nil {
		die(err)
	}
	if l.Checkpoint() == nil {
		if err := l.Commit(logs.Draft(0), logs.Draft(1), logs.Draft(2)); err != nil {
			die(err)
		}
	}
	c := newChain("bitcoin")
	c.dir = filepath.Join(dir, "sent")
	// The network's memory is the folder.
	files, err := os.ReadDir(c.dir)
	if err != nil {
		die(err)
	}
	for _, f := range files {
		c.blocks[f.Name()], c.head = c.head+1, c.head+3
	}
	c.before = func(step string, _ Job) error { hit("before " + step); return nil }
	c.after = func(step string) { hit("after " + step) }
	e, err := New(Options{Log: l.Log, Journal: l.J, Actor: "node:test", Plans: []Plan{{Target: c, Burst: 100}}, Logger: slog.New(slog.DiscardHandler), Poll: time.Millisecond, RetryMin: time.Millisecond})
	if err != nil {
		die(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	jobs, err := e.Request(ctx, Request{Key: "once", By: "operator:ada"})
	if err != nil {
		die(err)
	}
	go e.Run(ctx)
	got, err := e.Wait(ctx, jobs[0].ID, Final, nil)
	if err != nil || got.State != Final {
		die(fmt.Errorf("%v %w", got, err))
	}
	if err := l.J.Close(); err != nil {
		die(err)
	}
	os.Exit(0)
}

// The process is killed at every point of every commit of a job's life, and before and after everything that the target
// does; then it is started again. One transaction is sent, one job is made, each receipt is written once.
func TestKilledEverywhere(t *testing.T) {
	points := []string{"built", "applied", "synced", "marked", "before build", "after build", "before send", "after send", "before look", "after look", "before prove"}
	runs := 0
	for _, point := range points {
		for n := 1; ; n++ {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "sent"), 0o700); err != nil {
				t.Fatal(err)
			}
			killed := crashRun(t, dir, fmt.Sprintf("%s:%d", point, n))
			if !killed && n == 1 {
				t.Fatalf("the point %q is never reached", point)
			}
			if killed && crashRun(t, dir, "") {
				t.Fatal("it was killed by nobody")
			}
			checkCrashed(t, dir, fmt.Sprintf("%s:%d", point, n))
			runs++
			if !killed {
				break
			}
		}
	}
	t.Logf("%d lives, killed at %d kinds of points", runs, len(points))
}

// crashRun runs the child and reports whether it was killed.
func crashRun(t *testing.T, dir, at string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "ANCHOR_CRASH_DIR="+dir, "ANCHOR_CRASH_AT="+at)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
		return true
	}
	t.Fatalf("at %s: %v\n%s", at, err, out)
	return false
}

func checkCrashed(t *testing.T, dir, at string) {
	t.Helper()
	sent, err := os.ReadDir(filepath.Join(dir, "sent"))
	if err != nil || len(sent) != 1 {
		t.Fatalf("killed at %s: %d transactions were sent: %v %v", at, len(sent), sent, err)
	}
	w := &world{TB: t, dir: filepath.Join(dir, "journal"), clock: newClock(), opts: Options{Plans: []Plan{{Target: newChain("bitcoin")}}}}
	w.open()
	defer func(j *journal.Journal) { _ = j.Close() }(w.j)
	list, _, err := w.e.Jobs(t.Context(), Filter{})
	if err != nil || len(list) != 1 || list[0].State != Final || list[0].Fee != "100" {
		t.Fatalf("killed at %s: %+v %v", at, list, err)
	}
	w.same("receipts, killed at "+at, w.told("bitcoin"), []string{"requested", "verified", "verified"})
	c := w.coverage("bitcoin")
	w.same("accounts, killed at "+at, fmt.Sprint(c.Spent, " ", c.Jobs[Final], " ", c.Anchored), "100 1 3")
}
