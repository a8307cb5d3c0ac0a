package e2e

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// SIGTERM under load ends the node in order; the fleet goes on where it was, and nothing is missing.
func TestTerminate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start()
	f := s.fleet()
	for range 3 {
		before := f.Acked.Load()
		rig.Eventually(t, "telemetry flows", func() bool { return f.Acked.Load() > before+100 })
		s.stop(p)
		if words := p.Words(); strings.Contains(words, "level=ERROR") {
			t.Errorf("an orderly stop logs errors: %s", words)
		}
		if _, err := os.Stat(filepath.Join(s.cfg.Data, "node.json")); err == nil {
			t.Error("node.json is left of a node that stopped in order")
		}
		p = s.start()
	}
	f.Quiet(t)
	for _, why := range f.Refusals() {
		t.Errorf("a message was refused: %s", why)
	}
	s.kept(f.Messages(0))
	s.stop(p)
}

// SIGTERM while a node starts ends it too.
func TestTerminateWhileStarting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.launch()
	code := p.Terminate(t)
	if code > 1 { // -1 is the signal itself, before the program took it over
		t.Errorf("exit status %d: %s", code, p.Words())
	}
	s.stop(s.start())
}

// A disk that is full makes the node refuse, not lie: what it acknowledged is there when there is space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", disk, "tmpfs", 0, "size=192m")
	s.cfg.Data = filepath.Join(disk, "data")
	s.write()
	p := s.start()
	t.Cleanup(p.Kill) // before the disk is unmounted
	f := s.fleet()
	agent := s.client(node.DevAgent)
	ready := func() error { return agent.Call(bounded(t), "GET", "/readyz", nil, nil) }
	rig.Eventually(t, "the node is ready and telemetry flows", func() bool { return ready() == nil && f.Acked.Load() > 200 })
	hog, err := os.Create(filepath.Join(disk, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	fill := func() {
		for size := 1 << 20; size > 0; size >>= 4 {
			for {
				if _, err := io.CopyN(hog, rand.Reader, int64(size)); err != nil {
					if !errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
					break
				}
			}
		}
	}
	fill()
	var refused error
	callers, turn := []*rig.Client{agent, s.client(node.DevOperator), s.client(node.DevSecond)}, 0
	rig.Eventually(t, "the node refuses a command because the disk is full", func() bool {
		// Refused commands are written too, up to a bound for each principal: that fills what the journal has in reserve.
		agent := callers[turn%len(callers)]
		turn++
		body := map[string]any{"twin": "gen-2", "command": "setVoltage", "args": map[string]any{"perUnit": 1.04}, "idempotency_key": rand.Text()}
		refused = agent.Call(bounded(t), "POST", "/v1/commands", body, nil)
		return refused != nil && rig.StatusOf(refused) != http.StatusTooManyRequests
	})
	problem, ok := refused.(*rig.Problem)
	if !ok || problem.Status != http.StatusServiceUnavailable || problem.Kind != "unavailable" || !strings.Contains(problem.Detail, "disk is full") || !strings.Contains(problem.Fix, "free space") {
		t.Errorf("the refusal is %v, want 503 unavailable that says the disk is full and what to do", refused)
	}
	rig.Eventually(t, "/readyz is false", func() bool { return rig.StatusOf(ready()) == http.StatusServiceUnavailable })
	select {
	case <-p.Done():
		t.Errorf("the node ended: %s", p.Words())
	default:
	}
	if !strings.Contains(p.Words(), "the disk is full") {
		t.Errorf("the log does not say that the disk is full: %s", p.Words())
	}
	acked := f.Messages(0)
	// Reads go on.
	s.kept(acked)
	if err := os.Remove(hog.Name()); err != nil {
		t.Fatal(err)
	}
	_ = hog.Close()
	if code := p.Terminate(t); code != 0 {
		t.Errorf("SIGTERM on a full disk: exit status %d: %s", code, p.Words())
	}
	p = s.start()
	t.Cleanup(p.Kill)
	rig.Eventually(t, "the node is ready again", func() bool { return ready() == nil })
	s.kept(acked)
	f.Quiet(t) // what was not acknowledged is sent again, and taken now
	s.kept(f.Messages(0))
	s.stop(p)
}
