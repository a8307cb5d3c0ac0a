package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/capability"
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
	if err := freshFolder(dir); err != nil {
		return Result{}, err
	}
	s := &story{bin: bin, dir: dir, p: newProgress(out), switched: map[vaultmesh.TwinID]bool{}}
	defer s.p.close()
	defer s.end()
	s.result = Result{OK: true, Bundle: filepath.Join(dir, "bundle.json"), Trust: filepath.Join(dir, "trust.json"), Data: filepath.Join(dir, "data")}
	for _, part := range []struct {
		name string
		tell func(context.Context) (string, error)
	}{
		{"a node, a time-stamp authority and a grid start", s.start},
		{"an agent connects over MCP", s.connect},
		{"a safe command is allowed, dispatched, aligned", s.safe},
		{"what-if refuses a command that would break limits", s.refusedByWhatIf},
		{"policy refuses what an agent may not do", s.refusedByPolicy},
		{"a switching waits for a person", s.waits},
		{"a tampered approval is refused", s.tampered},
		{"a person signs, and it runs", s.signed},
		{"replays are refused and act never twice", s.replayed},
		{"kill -9 of the node in the middle, and recovery", s.killed},
		{"halt stops dispatch, resume lets it go on", s.halted},
		{"the evidence is bundled and verified offline", s.proved},
		{"a bundle with one byte changed is rejected", s.altered},
	} {
		s.p.begin(part.name)
		began := time.Now()
		detail, err := part.tell(ctx)
		step := Step{Name: part.name, OK: err == nil, Detail: detail, Millis: float64(time.Since(began).Microseconds()) / 1000}
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

// freshFolder makes dir, or empties one that an earlier story left; any other folder with contents is refused.
func freshFolder(dir string) error {
	const marker = ".vaultmesh-demo"
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
			return vaultmesh.Errorf(vaultmesh.Conflict, "demo", dir, "the folder has contents that are not a demo's").WithFix("name a new folder with --out")
		}
		if err := os.RemoveAll(dir); err != nil {
			return vaultmesh.Errorf(vaultmesh.Unavailable, "demo", dir, "cannot empty the folder").Because(err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "demo", dir, "cannot create the folder").Because(err)
	}
	return os.WriteFile(filepath.Join(dir, marker), nil, 0o600)
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
	if err := s.measured(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d devices speak MQTT over TLS for %d twins of %s; pinned keys in %s", s.w.Grid.Devices, s.w.Grid.Twins, s.w.Grid.Case, s.result.Trust), nil
}

// measured waits until the whole grid was measured, which a simulation needs.
func (s *story) measured(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		_, err := s.operator.Simulate(ctx, control.Proposal{Twin: grid.GenID(10, 0), Command: grid.SetActivePower, Args: json.RawMessage(`{"megawatts":445}`)}, false)
		if err != nil {
			return false, err
		}
		v, err := s.operator.Simulate(ctx, control.Proposal{Twin: grid.GenID(10, 0), Command: grid.SetActivePower, Args: json.RawMessage(`{"megawatts":445}`)}, false)
		return err == nil && v.Outcome != "refused", err
	})
}

// poll asks until done, ten times a second, as long as ctx holds.
func poll(ctx context.Context, done func() (bool, error)) error {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		ok, err := done()
		if err != nil && !vaultmesh.KindOf(err).Retryable() {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-t.C:
		}
	}
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

func (s *story) tampered(ctx context.Context) (string, error) {
	ch, err := s.operator.Challenge(ctx, s.twice)
	if err != nil {
		return "", err
	}
	key := s.person.PrivateKey()
	s.approval = control.Approval{Approver: s.person.Principal, Key: receipt.KeyID(public(key)), Signature: receipt.SignApproval(key, ch)}
	forged := ch
	forged.Twin = grid.ShuntID(34)
	later := ch
	later.Expires = ch.Expires.Add(time.Hour)
	flipped := bytes.Clone(s.approval.Signature)
	flipped[7] ^= 1
	for name, sig := range map[string][]byte{"another twin": receipt.SignApproval(key, forged), "a later expiry": receipt.SignApproval(key, later), "a flipped bit": flipped} {
		a := s.approval
		a.Signature = sig
		if _, err := s.operator.Approve(ctx, s.twice, a); vaultmesh.KindOf(err) != vaultmesh.Denied {
			return "", fmt.Errorf("an approval with %s was answered with %v", name, err)
		}
	}
	// The agent's own signature is worth nothing: it may not approve at all.
	agent, err := node.LoadCredential(s.w.Credential(node.DevAgent))
	if err != nil {
		return "", err
	}
	client, err := agent.Client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	self := control.Approval{Approver: agent.Principal, Key: receipt.KeyID(public(agent.PrivateKey())), Signature: receipt.SignApproval(agent.PrivateKey(), ch)}
	if _, err := client.Approve(ctx, s.twice, self); vaultmesh.KindOf(err) != vaultmesh.Denied {
		return "", fmt.Errorf("the agent approved its own command: %v", err)
	}
	c, err := s.operator.Command(ctx, s.twice)
	if err == nil && (c.State != control.AwaitingApproval || len(c.Approvals) != 0) {
		err = fmt.Errorf("the command is %s", c.State)
	}
	return "signatures over another twin, a later expiry, with a flipped bit, and by the agent itself: all refused, nothing changed", err
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

func (s *story) replayed(ctx context.Context) (string, error) {
	if _, err := s.operator.Approve(ctx, s.twice, s.approval); vaultmesh.KindOf(err) != vaultmesh.Conflict {
		return "", fmt.Errorf("a replayed approval was answered with %v", err)
	}
	before, err := s.operator.Checkpoint(ctx)
	if err != nil {
		return "", err
	}
	v, err := s.agent.propose(ctx, grid.GenID(10, 0), grid.SetActivePower, map[string]any{"megawatts": 440}, "story-safe", "retry")
	if err != nil {
		return "", err
	}
	if !v.Replayed || v.ID != s.commands[0] {
		return "", fmt.Errorf("a retry made command %s", v.ID)
	}
	if err := s.stolen(ctx); err != nil {
		return "", err
	}
	acts, err := s.acts()
	if err != nil {
		return "", err
	}
	if acts[s.twice] != 1 || acts[s.commands[0]] != 1 {
		return "", fmt.Errorf("the grid acted %d and %d times", acts[s.twice], acts[s.commands[0]])
	}
	return fmt.Sprintf("approval, proposal and HTTP request replayed, token used without its key: refused or answered with the first result (log at %d)", sizeOf(before)), nil
}

// stolen sends one signed request twice, and a stolen token with a stranger's signature.
func (s *story) stolen(ctx context.Context) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.person.CA))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	const where = "/v1/halt"
	target := capability.Target{Domain: s.person.Domain, Method: http.MethodGet, Path: where, Body: vaultmesh.Sum(nil)}
	ask := func(proof string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.person.URL+where, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set(httpapi.CapabilityHeader, s.person.Token)
		if proof != "" {
			req.Header.Set(httpapi.ProofHeader, proof)
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		return res.StatusCode, errors.Join(err, res.Body.Close())
	}
	good := capability.SignProof(s.person.PrivateKey(), target, time.Now(), "story-nonce-0123456789")
	agent, err := node.LoadCredential(s.w.Credential(node.DevAgent))
	if err != nil {
		return err
	}
	bad := capability.SignProof(agent.PrivateKey(), target, time.Now(), "story-nonce-9876543210")
	for _, x := range []struct {
		name, proof string
		want        int
	}{{"a signed request", good, 200}, {"the same request again", good, 401}, {"the token with another's signature", bad, 401}, {"the token alone", "", 401}} {
		status, err := ask(x.proof)
		if err != nil {
			return err
		}
		if status != x.want {
			return fmt.Errorf("%s was answered with status %d, want %d", x.name, status, x.want)
		}
	}
	return nil
}

// acts counts from the grid's own log how often it carried out each command.
func (s *story) acts() (map[vaultmesh.CommandID]int, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, "grid.log"))
	if err != nil {
		return nil, err
	}
	out := map[vaultmesh.CommandID]int{}
	for _, line := range strings.Split(string(b), "\n") {
		if !strings.Contains(line, "msg=command ") || !strings.Contains(line, "ok=true") {
			continue
		}
		for _, f := range strings.Fields(line) {
			if id, ok := strings.CutPrefix(f, "id="); ok {
				out[vaultmesh.CommandID(id)]++
			}
		}
	}
	return out, nil
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

// prefix checks that the checkpoint is a prefix of the present log, by an RFC 6962 consistency proof.
func (s *story) prefix(ctx context.Context, before []byte) error {
	v, err := note.NewVerifier(s.trust.Log.Key)
	if err != nil {
		return err
	}
	now, err := s.operator.Checkpoint(ctx)
	if err != nil {
		return err
	}
	a, _, _, err := log.ParseCheckpoint(before, s.trust.Log.Origin, v)
	if err != nil {
		return err
	}
	b, _, _, err := log.ParseCheckpoint(now, s.trust.Log.Origin, v)
	if err != nil {
		return err
	}
	hashes, err := s.operator.Consistency(ctx, a.Size, b.Size)
	if err != nil {
		return err
	}
	path := make([][]byte, len(hashes))
	for i := range hashes {
		path[i] = hashes[i][:]
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, a.Size, b.Size, path, a.Hash, b.Hash)
}

func sizeOf(checkpoint []byte) uint64 {
	var c log.Checkpoint
	if _, err := c.Unmarshal(checkpoint); err != nil {
		return 0
	}
	return c.Size
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

func (s *story) proved(ctx context.Context) (string, error) {
	b, err := s.operator.Bundle(ctx, s.commands...)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(s.result.Bundle, b, 0o644); err != nil {
		return "", err
	}
	r, err := s.verify(ctx, s.result.Bundle)
	if err != nil {
		return "", err
	}
	if !r.OK {
		return "", fmt.Errorf("rejected: %+v", r.Failed()[0])
	}
	detail := fmt.Sprintf("%d commands, %d bytes, %d checks hold", len(s.commands), len(b), len(r.Checks))
	foreign, err := s.openssl(ctx, b)
	return detail + foreign, err
}

// verify runs the verifier as an auditor would: a process with two files and nothing else.
func (s *story) verify(ctx context.Context, bundle string) (receipt.Report, error) {
	cmd := exec.CommandContext(ctx, s.bin, "verify", bundle, "--trust", s.result.Trust, "--json")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return receipt.Report{}, err
	}
	var r receipt.Report
	if err := json.Unmarshal(out, &r); err != nil {
		return receipt.Report{}, fmt.Errorf("the verifier said %q: %w", out, err)
	}
	if code := cmd.ProcessState.ExitCode(); (code == 0) != r.OK || code > 1 {
		return r, fmt.Errorf("the verifier ended with status %d and ok %v", code, r.OK)
	}
	return r, nil
}

// openssl has the timestamp checked by a tool that is not ours, where it is installed.
func (s *story) openssl(ctx context.Context, bundle []byte) (string, error) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		return "; openssl is not installed, so it was not asked about the time stamp", nil
	}
	b, err := receipt.DecodeBundle(bundle)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, "openssl")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, p := range b.Parts {
		name := map[string]string{"checkpoint": "checkpoint", "timestamps/0.tsr": "checkpoint.tsr"}[p.Name]
		if name != "" {
			if err := os.WriteFile(filepath.Join(dir, name), p.Data, 0o600); err != nil {
				return "", err
			}
		}
	}
	out, err := exec.CommandContext(ctx, tool, "ts", "-verify", "-data", filepath.Join(dir, "checkpoint"), "-in", filepath.Join(dir, "checkpoint.tsr"), "-CAfile", s.w.TSA.Roots).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Verification: OK")) {
		return "", fmt.Errorf("openssl ts -verify says %q (%w)", out, err)
	}
	return "; openssl ts -verify accepts the time stamp", nil
}

func (s *story) altered(ctx context.Context) (string, error) {
	b, err := os.ReadFile(s.result.Bundle)
	if err != nil {
		return "", err
	}
	b[len(b)/2] ^= 1
	bad := filepath.Join(s.dir, "bundle-altered.json")
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		return "", err
	}
	r, err := s.verify(ctx, bad)
	if err != nil {
		return "", err
	}
	if r.OK {
		return "", errors.New("it is accepted")
	}
	return fmt.Sprintf("byte %d of %d flipped: %s", len(b)/2, len(b), r.Failed()[0].Name), nil
}
