// Package rig is what the tests of whole nodes share: node processes that can be killed, a client that signs requests by
// itself, a fleet of devices that records what was acknowledged and what it executed, and an auditor of the log. It is
// on floor 7.
//
// It must not reach into a running node: everything goes through the public faces, the data folder and signals, so that
// what is asserted is what an outside user gets.
package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"vaultmesh.org/vaultmesh/node"
)

// Within bounds every wait for something that must happen.
const Within = 30 * time.Second

// Process is a running node. Its methods are safe for concurrent use.
type Process struct {
	cmd    *exec.Cmd
	first  chan []byte   // capacity 1: the first line of standard output
	done   chan struct{} // closed when the process has ended
	stderr *tail
}

// Launch starts bin with args; extra is added to an environment that has no variable of VaultMesh. The process is killed
// when the test ends.
func Launch(t testing.TB, bin string, extra []string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(bin, args...), first: make(chan []byte, 1), done: make(chan struct{}), stderr: &tail{}}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "VAULTMESH_") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, extra...)
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		s := bufio.NewScanner(out)
		for sent := false; s.Scan(); sent = true {
			if !sent {
				p.first <- bytes.Clone(s.Bytes())
			}
		}
		_ = p.cmd.Wait() // the exit status is in ProcessState
	}()
	t.Cleanup(p.Kill)
	return p
}

// Ready is the first line of a node that serves.
type Ready struct {
	Ready bool   `json:"ready"`
	HTTP  string `json:"http"`
	MQTT  string `json:"mqtt"`
}

// ErrEnded says that a process ended before it was ready.
var ErrEnded = errors.New("the process ended before it was ready")

// Ready waits until the node serves.
func (p *Process) Ready() (Ready, error) {
	timer := time.NewTimer(Within)
	defer timer.Stop()
	select {
	case line := <-p.first:
		var r Ready
		if err := json.Unmarshal(line, &r); err != nil || !r.Ready {
			return Ready{}, fmt.Errorf("the first line is %q: %w", line, err)
		}
		return r, nil
	case <-p.done:
		select {
		case line := <-p.first: // it was ready for a moment
			var r Ready
			return r, json.Unmarshal(line, &r)
		default:
		}
		return Ready{}, fmt.Errorf("%w: %s", ErrEnded, p.Words())
	case <-timer.C:
		return Ready{}, fmt.Errorf("not ready within %v: %s", Within, p.Words())
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process as a crash would and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Terminate asks the process to end and returns its exit status.
func (p *Process) Terminate(t testing.TB) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.Exit(t)
}

// Exit waits for the end and returns the exit status, -1 where a signal ended it.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	timer := time.NewTimer(Within)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-timer.C:
		p.Kill()
		t.Fatalf("the process did not end within %v: %s", Within, p.Words())
		return -1
	}
}

// Words returns the end of what the process said on standard error.
func (p *Process) Words() string { return p.stderr.String() }

// tail keeps the last bytes that were written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// Write implements [io.Writer].
func (t *tail) Write(b []byte) (int, error) {
	const keep = 16 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > keep {
		t.b = append(t.b[:0], t.b[len(t.b)-keep:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// Config returns the configuration of a dev node on free ports of loopback with its data below dir.
func Config(t testing.TB, dir string) node.Config {
	t.Helper()
	c := node.Defaults("dev")
	c.Data, c.Grid.Case = filepath.Join(dir, "data"), "ieee14"
	c.HTTP.Listen, c.MQTT.Listen = FreeAddr(t), FreeAddr(t)
	c.Log.Interval = 100 * time.Millisecond
	return c
}

// WriteConfig writes the configuration file of c and returns its path.
func WriteConfig(t testing.TB, dir string, c node.Config) string {
	t.Helper()
	b, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "vaultmesh.yaml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// FreeAddr returns a port of 127.0.0.1 that was free a moment ago.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Eventually asks cond every few milliseconds until it is true, and fails the test where it is not in time.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(Within)
	defer late.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not within %v: %s", Within, what)
		}
	}
}

// Serve is a node as a program: a test binary that finds itself started as one calls it, so that a kill hits a real
// process that was built with the test's own instrumentation. It returns the exit status.
func Serve(config string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fail := func(err error) int {
		fmt.Fprintln(errOut, err)
		return 1
	}
	c, err := node.LoadConfig(config, "dev", os.Environ())
	if err != nil {
		return fail(err)
	}
	n, err := node.Start(ctx, c, slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return fail(err)
	}
	line, err := json.Marshal(Ready{Ready: true, HTTP: n.URL(), MQTT: n.MQTTAddr()})
	if err != nil {
		return fail(err)
	}
	fmt.Fprintln(out, string(line))
	select {
	case <-ctx.Done():
		err = n.Close()
	case err = <-n.Failed():
		_ = n.Close()
	}
	if err != nil {
		return fail(err)
	}
	return 0
}
