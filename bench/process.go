package bench

import (
	"context"
	"net"
	"os/exec"
	"syscall"
	"time"

	"vaultmesh.org/vaultmesh"
)

// stopWithin bounds an orderly stop before a child is killed.
const stopWithin = 10 * time.Second

// child prepares a program that ends with ctx, and with this process whatever becomes of it. Ctrl-C is for the parent.
func child(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// process is a child that is stopped at the end, or with the context.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a program; its output is dropped.
func start(ctx context.Context, path string, args ...string) (*process, error) {
	p := &process{cmd: child(ctx, path, args...), done: make(chan struct{})}
	if err := p.cmd.Start(); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.start", path, "cannot start").Because(err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	return p, nil
}

// stop asks the child to end, and kills it when it does not.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// listening waits until the process accepts connections.
func (p *process) listening(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-t.C:
		case <-p.done:
			t.Stop()
			return vaultmesh.Errorf(vaultmesh.Unavailable, "bench.start", p.cmd.Path, "it ended before it listened")
		case <-ctx.Done():
			t.Stop()
			return vaultmesh.Errorf(vaultmesh.Unavailable, "bench.start", p.cmd.Path, "it does not listen on %s", addr).Because(ctx.Err())
		}
	}
}
