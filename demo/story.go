package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

// storyWithin bounds the whole story.
const storyWithin = 3 * time.Minute

// story is the state of one telling.
type story struct {
	bin, dir string
	w        *World
	agent    *agent
	operator *httpapi.Client
	person   *node.Credential
	trust    *receipt.Trust
	p        *progress
	result   Result
	commands []vaultmesh.CommandID // those whose evidence is collected
	twice    vaultmesh.CommandID   // the approved command, for the replays
	approval control.Approval      // its approval
	switched map[vaultmesh.TwinID]bool
}

// Tell runs the story in dir and checks every step. Result.OK only where each was observed; the error is for what kept
// the story from being told at all. Progress goes to out.
func Tell(ctx context.Context, bin, dir string, out io.Writer) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, storyWithin)
	defer cancel()
	release, err := freshFolder(dir)
	if err != nil {
		return Result{}, err
	}
	defer release()
	s := &story{bin: bin, dir: dir, p: newProgress(out), switched: map[vaultmesh.TwinID]bool{}}
	defer s.p.close()
	defer s.end()
	s.result = Result{OK: true, Bundle: filepath.Join(dir, "bundle.json"), Trust: filepath.Join(dir, "trust.json"), Data: filepath.Join(dir, "data")}
	for _, part := range []struct {
		name string
		tell func(context.Context) (string, error)
	}{
		{"node, TSA and grid start", s.start},
		{"an agent connects (MCP)", s.connect},
		{"a safe command aligns", s.safe},
		{"what-if refuses", s.refusedByWhatIf},
		{"policy refuses", s.refusedByPolicy},
		{"switching waits for a person", s.waits},
		{"tampered approvals refused", s.tampered},
		{"a person signs, it runs", s.signed},
		{"replays act never twice", s.replayed},
		{"kill -9 and recovery", s.killed},
		{"halt and resume", s.halted},
		{"evidence verified offline", s.proved},
		{"altered evidence rejected", s.altered},
	} {
		s.p.begin(part.name)
		began := time.Now()
		detail, err := part.tell(ctx)
		step := Step{Name: part.name, OK: err == nil, Detail: detail, Millis: float64(time.Since(began).Microseconds()) / 1000}
		if err != nil && ctx.Err() != nil {
			return s.result, ctx.Err() // interrupted: neither held nor failed
		}
		if err != nil {
			step.Detail = strings.TrimSpace(detail + " " + err.Error())
		}
		s.p.end(step)
		s.result.Steps = append(s.result.Steps, step)
		if err != nil {
			s.result.OK = false
			break // what follows builds on it
		}
	}
	return s.result, nil
}

// freshFolder makes dir, or empties one that an earlier story left; any other folder with contents is refused, and so is
// one in which a story is being told. The folder is held until release.
func freshFolder(dir string) (release func(), err error) {
	const marker = ".vaultmesh-demo"
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Conflict, "demo", dir, "the folder has contents that are not a demo's").WithFix("name a new folder with --out")
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "demo", dir, "cannot create the folder").Because(err).WithFix("name another folder with --out")
	}
	lock, err := os.OpenFile(filepath.Join(dir, marker), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "demo", dir, "cannot write to the folder").Because(err).WithFix("name another folder with --out")
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, "demo", dir, "another demo is running in this folder").WithFix("wait for it, or name another folder with --out")
	}
	for _, e := range entries {
		if e.Name() == marker {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			_ = lock.Close()
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "demo", dir, "cannot empty the folder").Because(err)
		}
	}
	return func() { _ = lock.Close() }, nil
}

func (s *story) end() {
	s.agent.close()
	if s.operator != nil {
		s.operator.Close()
	}
	if s.w != nil {
		s.w.Stop()
	}
}

func (s *story) start(ctx context.Context) (string, error) {
	var err error
	if s.w, err = Start(ctx, Options{Bin: s.bin, Dir: s.dir, Step: 200 * time.Millisecond}); err != nil {
		return "", err
	}
	if s.person, err = node.LoadCredential(s.w.Credential(node.DevOperator)); err != nil {
		return "", err
	}
	if s.operator, err = s.person.Client(); err != nil {
		return "", err
	}
	raw, err := os.ReadFile(filepath.Join(s.w.Data(), "trust.json"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(s.result.Trust, raw, 0o644); err != nil {
		return "", err
	}
	if s.trust, err = receipt.LoadTrust(raw); err != nil {
		return "", err
	}
	if err := s.w.Measured(ctx, s.operator); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d devices speak MQTT over TLS for %d twins of %s; pinned keys in %s", s.w.Grid.Devices, s.w.Grid.Twins, s.w.Grid.Case, s.result.Trust), nil
}

func (s *story) connect(ctx context.Context) (string, error) {
	var err error
	if s.agent, err = connectAgent(ctx, s.bin, s.dir, s.w.Credential(node.DevAgent)); err != nil {
		return "", err
	}
	tools, err := s.agent.tools(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range tools {
		if strings.Contains(t, "approve") || strings.Contains(t, "resume") {
			return "", fmt.Errorf("the agent is offered %s", t)
		}
	}
	return fmt.Sprintf("%d tools, none of which approves: %s", len(tools), strings.Join(tools, ", ")), nil
}

func (s *story) safe(ctx context.Context) (string, error) {
	v, err := s.agent.propose(ctx, grid.GenID(10, 0), grid.SetActivePower, map[string]any{"megawatts": 440}, "story-safe", "relieve the export from bus 10")
	if err != nil {
		return "", err
	}
	s.commands = append(s.commands, v.ID)
	if v, err = s.agent.follow(ctx, v.ID, "aligned"); err != nil {
		return "", err
	}
	return fmt.Sprintf("gen-10 to 440 MW: %s; the asset reported it %.0f ms after dispatch", path(v), v.AlignMS), nil
}

// path is the command's life in words.
func path(v commandView) string {
	var states []string
	for _, h := range v.History {
		states = append(states, h.State)
	}
	return strings.Join(states, " → ")
}

func (s *story) refusedByWhatIf(ctx context.Context) (string, error) {
	// The line from bus 9 to bus 10 is the only way out for 450 MW.
	v, err := s.agent.propose(ctx, grid.LineID(9, 10, 0), grid.OpenBreaker, nil, "story-unsafe", "maintenance")
	if err != nil {
		return "", err
	}
	s.commands = append(s.commands, v.ID)
	if v.State != "denied" || v.Verdict == nil || v.Verdict.Outcome != "unsafe" || len(v.Verdict.New) == 0 {
		return "", fmt.Errorf("it is %s: %s", v.State, v.Summary)
	}
	x := v.Verdict.New[0]
	return fmt.Sprintf("opening line-9-10 would violate %d limits, first %s %s: %.2f %s over %.2f", v.Verdict.Count, x.Element, x.Limit, x.Value, x.Unit, x.Bound), nil
}

func (s *story) refusedByPolicy(ctx context.Context) (string, error) {
	v, err := s.agent.propose(ctx, grid.LoadID(59), grid.ShedLoad, map[string]any{grid.ArgFraction: 0.5}, "story-shed", "save energy")
	if err != nil {
		return "", err
	}
	s.commands = append(s.commands, v.ID)
	if v.State != "denied" || len(v.Reasons) == 0 || !strings.HasPrefix(v.Reasons[0].Code, "policy.") {
		return "", fmt.Errorf("it is %s: %s", v.State, v.Summary)
	}
	return fmt.Sprintf("shedding half of load-59: %s (%s)", v.Reasons[0].Text, v.Reasons[0].Code), nil
}

// switchable proposes to switch off the first capacitor bank without which the grid would survive every single loss.
func (s *story) switchable(ctx context.Context, key string) (commandView, vaultmesh.TwinID, error) {
	var tried []string
	for _, n := range []int{110, 107, 105, 74, 46, 34, 48, 44} {
		id := grid.ShuntID(n)
		var p prediction
		if err := s.agent.call(ctx, "simulate_command", map[string]any{"twin": id, "command": grid.Disconnect, "n1": true}, &p); err != nil {
			return commandView{}, id, err
		}
		if p.Outcome != "safe" || s.switched[id] {
			tried = append(tried, string(id))
			continue
		}
		s.switched[id] = true
		v, err := s.agent.propose(ctx, id, grid.Disconnect, nil, key, "capacitor inspection")
		if err == nil && v.State != "awaiting_approval" {
			err = fmt.Errorf("switching %s is %s: %s", id, v.State, v.Summary)
		}
		return v, id, err
	}
	return commandView{}, "", fmt.Errorf("no capacitor bank may be switched: %s", strings.Join(tried, ", "))
}

func (s *story) waits(ctx context.Context) (string, error) {
	v, id, err := s.switchable(ctx, "story-switch")
	if err != nil {
		return "", err
	}
	s.twice = v.ID
	s.commands = append(s.commands, v.ID)
	return fmt.Sprintf("switching %s off is safe, also after any single loss, and waits for an operator's signature", id), nil
}

func (s *story) signed(ctx context.Context) (string, error) {
	if _, err := s.operator.Approve(ctx, s.twice, s.approval); err != nil {
		return "", err
	}
	v, err := s.agent.follow(ctx, s.twice, "aligned")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s signed the digest of exactly this command: %s", s.person.Principal, path(v)), nil
}

// killed kills the node right after it has answered that a command is on its way, and while another waits for a person.
func (s *story) killed(ctx context.Context) (string, error) {
	waiting, _, err := s.switchable(ctx, "story-pending")
	if err != nil {
		return "", err
	}
	v, err := s.agent.propose(ctx, grid.GenID(10, 0), grid.SetActivePower, map[string]any{"megawatts": 445}, "story-killed", "back to schedule")
	if err != nil {
		return "", err
	}
	s.commands = append(s.commands, v.ID)
	before, err := s.operator.Checkpoint(ctx)
	if err != nil {
		return "", err
	}
	s.w.KillNode()
	down := time.Now()
	if err := s.w.StartNode(ctx); err != nil {
		return "", err
	}
	back := time.Since(down)
	if v, err = s.agent.follow(ctx, v.ID, "aligned"); err != nil {
		return "", err
	}
	again, err := s.agent.propose(ctx, grid.GenID(10, 0), grid.SetActivePower, map[string]any{"megawatts": 445}, "story-killed", "retry after the crash")
	if err != nil {
		return "", err
	}
	if again.ID != v.ID || !again.Replayed {
		return "", fmt.Errorf("a retry after the crash made command %s", again.ID)
	}
	if still, err := s.operator.Command(ctx, waiting.ID); err != nil || string(still.State) != waiting.State {
		return "", fmt.Errorf("the command that was %s before the crash is %s: %v", waiting.State, still.State, err)
	}
	if err := s.prefix(ctx, before); err != nil {
		return "", err
	}
	acts, err := s.acts()
	if err != nil {
		return "", err
	}
	for id, n := range acts {
		if n != 1 {
			return "", fmt.Errorf("the grid acted %d times on command %s", n, id)
		}
	}
	if acts[v.ID] != 1 {
		return "", fmt.Errorf("the grid did not act on command %s", v.ID)
	}
	return fmt.Sprintf("back in %d ms; the command it had promised aligned, the grid acted once on each, the log of %d receipts is a prefix of the new one", back.Milliseconds(), sizeOf(before)), nil
}

func (s *story) halted(ctx context.Context) (string, error) {
	if _, err := s.operator.Halt(ctx, "drill"); err != nil {
		return "", err
	}
	v, err := s.agent.propose(ctx, grid.GenID(25, 0), grid.SetActivePower, map[string]any{"megawatts": 215}, "story-halted", "schedule")
	if err != nil {
		return "", err
	}
	s.commands = append(s.commands, v.ID)
	if v.State != "denied" {
		return "", fmt.Errorf("while halted a command is %s", v.State)
	}
	if _, err := s.operator.Resume(ctx, "drill is over"); err != nil {
		return "", err
	}
	v, err = s.agent.propose(ctx, grid.GenID(25, 0), grid.SetActivePower, map[string]any{"megawatts": 215}, "story-resumed", "schedule")
	if err != nil {
		return "", err
	}
	s.commands = append(s.commands, v.ID)
	if _, err = s.agent.follow(ctx, v.ID, "aligned"); err != nil {
		return "", err
	}
	return "denied while halted; the same command aligned after resume", nil
}
