package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bounds of a started program.
const (
	readyTimeout = 60 * time.Second
	readyEvery   = 20 * time.Millisecond
	lifetime     = 10 * time.Minute
)

// Process is a foreign program under test's control. It is killed, with the processes that it started, when the test
// ends.
type Process struct {
	Cmd *exec.Cmd
	Log string // file with its standard output and error

	exited chan struct{}
}

// Start starts cmd and waits until ready returns nil. The program's output goes to a file, whose end is printed where
// the program does not become ready or the test fails.
func Start(t testing.TB, cmd *exec.Cmd, ready func(ctx context.Context) error) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, Log: filepath.Join(t.TempDir(), filepath.Base(cmd.Path)+".log"), exited: make(chan struct{})}
	out, err := os.Create(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s does not start: %v", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait()
		_ = out.Close()
		close(p.exited)
	}()
	end := time.AfterFunc(lifetime, p.signal(syscall.SIGKILL))
	t.Cleanup(func() {
		end.Stop()
		p.Kill()
		if t.Failed() {
			p.print(t)
		}
	})
	p.await(t, ready)
	return p
}

// await polls ready: a foreign program has no other way to say that it serves.
func (p *Process) await(t testing.TB, ready func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-p.exited:
			t.Fatalf("%s ended before it was ready: %v", p.Cmd.Path, p.Cmd.ProcessState)
		case <-ctx.Done():
			t.Fatalf("%s is not ready after %v: %v", p.Cmd.Path, readyTimeout, err)
		}
	}
}

func (p *Process) signal(s syscall.Signal) func() {
	pid := p.Cmd.Process.Pid
	return func() { _ = syscall.Kill(-pid, s) }
}

// Kill ends the program at once, as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	select {
	case <-p.exited:
		return
	default:
	}
	p.signal(syscall.SIGKILL)()
	<-p.exited
}

// Stop asks the program to end and waits, at most for a moment; then it is killed.
func (p *Process) Stop() {
	select {
	case <-p.exited:
		return
	default:
	}
	p.signal(syscall.SIGTERM)()
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Pause makes the program slow beyond all bounds; it stands still when Pause returns.
func (p *Process) Pause() {
	p.signal(syscall.SIGSTOP)()
	for range 1000 {
		if stopped(p.Cmd.Process.Pid) {
			return
		}
		time.Sleep(time.Millisecond) // the kernel tells nobody but the parent's wait, which is taken
	}
}

// stopped reports whether every thread of the process stands still.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		// The state follows the name, which is in parentheses (proc(5)).
		stat, err := os.ReadFile(path)
		_, state, _ := strings.Cut(string(stat), ") ")
		if err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Resume undoes Pause.
func (p *Process) Resume() { p.signal(syscall.SIGCONT)() }

func (p *Process) print(t testing.TB) {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return
	}
	if len(text) > 4096 {
		text = text[len(text)-4096:]
	}
	t.Logf("the end of what %s said:\n%s", filepath.Base(p.Cmd.Path), text)
}

// Port returns a loopback TCP port that was free a moment ago.
func Port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Dial returns a check for [Start] that a TCP connection to the address is accepted.
func Dial(addr string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
