package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// program is the vaultmesh binary under test.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "vaultmesh-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "vaultmesh")
		if out, err := exec.Command("go", "build", "-o", program, "vaultmesh.org/vaultmesh/cmd/vaultmesh").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build the program: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// site is one data folder and the configuration of its node.
type site struct {
	t      *testing.T
	dir    string
	cfg    node.Config
	config string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, cfg: rig.Config(t, dir)}
	s.write()
	return s
}

func (s *site) write() { s.config = rig.WriteConfig(s.t, s.dir, s.cfg) }

// launch starts the program on the site; env is added to its environment.
func (s *site) launch(env ...string) *rig.Process {
	s.t.Helper()
	return rig.Launch(s.t, program, env, "serve", "--config", s.config)
}

// start starts a node that must come up.
func (s *site) start() *rig.Process {
	s.t.Helper()
	p := s.launch()
	if _, err := p.Ready(); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// stop ends a node in order.
func (s *site) stop(p *rig.Process) {
	s.t.Helper()
	if code := p.Terminate(s.t); code != 0 {
		s.t.Fatalf("SIGTERM: exit status %d: %s", code, p.Words())
	}
}

// born makes a data folder of a node that ran once.
func (s *site) born() *site {
	s.t.Helper()
	s.stop(s.start())
	return s
}

// refused starts the program, which must end by itself with the status, and say each of the words.
func (s *site) refused(status int, env []string, words ...string) {
	s.t.Helper()
	refused(s.t, s.launch(env...), status, words...)
}

func refused(t *testing.T, p *rig.Process, status int, words ...string) {
	t.Helper()
	code, said := p.Exit(t), p.Words()
	if code != status {
		t.Errorf("exit status %d, want %d", code, status)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("it does not say %q", w)
		}
	}
	if strings.Contains(said, "goroutine ") {
		t.Error("it panicked")
	}
	if t.Failed() {
		t.Logf("it said: %s", said)
	}
}

// client speaks with one of the dev credentials.
func (s *site) client(name string) *rig.Client {
	s.t.Helper()
	c, err := rig.LoadClient(s.cfg.Data, name)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *site) fleet() *rig.Fleet {
	s.t.Helper()
	return rig.StartFleet(s.t, s.cfg.Grid.Case, s.cfg.Data, s.dir, s.cfg.MQTT.Listen, 200*time.Millisecond)
}

// whatToDo begins the line with which the program says how to go on.
const whatToDo = "what to do:"

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), rig.Within)
	t.Cleanup(cancel)
	return ctx
}

// kept finds every message that was acknowledged to the fleet.
func (s *site) kept(messages []rig.Message) {
	s.t.Helper()
	lost, err := rig.Lost(bounded(s.t), s.client(node.DevAgent), messages)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(lost) > 0 {
		s.t.Errorf("%d acknowledged values are lost, the first: %s", len(lost), lost[0])
	}
}
