package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vaultmesh.org/vaultmesh"
)

// process is one child that says on its first line of output that it is ready. It is stopped by its own process
// identifier and never outlives its parent's orderly end.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended
	err  error         // valid after done
	log  string        // file of its standard error
}

// stopWithin bounds an orderly stop before the child is killed.
const stopWithin = 20 * time.Second

// launch starts the program with args and decodes its first line into ready. Standard error goes to dir/name.log.
func launch(ctx context.Context, dir, bin, name string, env []string, ready any, args ...string) (*process, error) {
	const op = "demo.launch"
	p := &process{name: name, done: make(chan struct{}), log: filepath.Join(dir, name+".log")}
	logFile, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "cannot open its log file").Because(err)
	}
	defer logFile.Close()
	p.cmd = exec.Command(bin, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = logFile
	// A child that loses its parent must not stay behind; Ctrl-C is for the parent alone.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, name, "no pipe").Because(err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "cannot start %s", bin).Because(err)
	}
	first := make(chan []byte, 1)
	go func() {
		defer close(p.done)
		s := bufio.NewScanner(stdout)
		s.Buffer(make([]byte, 0, 4096), 1<<20)
		for sent := false; s.Scan(); sent = true {
			if !sent {
				first <- append([]byte(nil), s.Bytes()...)
			}
		}
		p.err = p.cmd.Wait()
	}()
	select {
	case line := <-first:
		if err := json.Unmarshal(line, ready); err != nil {
			p.kill()
			return nil, vaultmesh.Errorf(vaultmesh.Internal, op, name, "its first line is not JSON").Because(err)
		}
		return p, nil
	case <-p.done:
		return nil, p.stillborn()
	case <-ctx.Done():
		p.kill()
		return nil, errors.Join(ctx.Err(), vaultmesh.Errorf(vaultmesh.Unavailable, op, name, "it was not ready in time: %s", p.lastWords()))
	}
}

// stillborn says why a child ended before it was ready, by its own last line.
func (p *process) stillborn() error {
	words := strings.TrimSpace(p.lastWords())
	kind, fix := vaultmesh.Unavailable, "see "+p.log
	switch {
	case strings.Contains(words, "another node has this data folder open"):
		kind, fix = vaultmesh.Conflict, "a node runs on this folder already: use it, or name another folder with --dir"
	case strings.Contains(words, "address already in use"):
		kind, fix = vaultmesh.Conflict, "name free ports with --http and --mqtt"
	}
	return vaultmesh.Errorf(kind, "start", p.name, "it ended before it was ready: %s", words).WithFix("%s", fix)
}

// kill ends the child at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks the child to end, and kills it when it does not.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.kill()
	}
}

// lastWords returns the last line of the child's log with something in it, and the line before where it is a hint.
func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := lines[len(lines)-1]
	if err != nil || last == "" {
		return "it left no word; its log is " + p.log
	}
	if strings.HasPrefix(last, "  what to do:") && len(lines) > 1 {
		last = lines[len(lines)-2]
	}
	return last
}
