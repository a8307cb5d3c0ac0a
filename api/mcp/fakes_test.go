package mcpapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	story "vaultmesh.org/vaultmesh/test/sample"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// node is a backend whose answers a test chooses.
type node struct {
	mu       sync.Mutex
	calls    int
	err      error // answers every call, if set
	twins    []twin.Twin
	commands map[vaultmesh.CommandID]control.Command
	verdict  whatif.Verdict
	propose  func(caller control.Caller, p control.Proposal) (control.Command, error)
	halt     control.HaltState
	bundle   []byte
	trust    *receipt.Trust
	last     control.Caller
	anchors  anchorsOf
	searched lawchain.Search
	lies     bool
}

func (n *node) enter(c control.Caller) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	n.last = c
	return n.err
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

func (n *node) caller() control.Caller {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

func (n *node) Twins(_ context.Context, c control.Caller, f TwinFilter) (TwinPage, error) {
	if err := n.enter(c); err != nil {
		return TwinPage{}, err
	}
	var p TwinPage
	for _, t := range n.twins {
		if t.ID <= f.After || !strings.HasPrefix(string(t.ID), f.Prefix) || f.Model != "" && t.Model != f.Model || f.Device != "" && t.Device != f.Device {
			continue
		}
		if len(p.Twins) == f.Limit {
			p.Next = p.Twins[len(p.Twins)-1].ID
			break
		}
		p.Twins = append(p.Twins, t)
	}
	return p, nil
}

func (n *node) Twin(_ context.Context, c control.Caller, id vaultmesh.TwinID) (twin.Twin, error) {
	if err := n.enter(c); err != nil {
		return twin.Twin{}, err
	}
	for _, t := range n.twins {
		if t.ID == id {
			return t, nil
		}
	}
	return twin.Twin{}, vaultmesh.Errorf(vaultmesh.NotFound, "twin", string(id), "there is no such twin")
}

func (n *node) History(_ context.Context, c control.Caller, id vaultmesh.TwinID, name string, from, _ time.Time, limit int) ([]twin.Point, error) {
	if err := n.enter(c); err != nil {
		return nil, err
	}
	if name != "voltage" {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "history", name, "the twin %s has no such name", id)
	}
	var out []twin.Point
	for i := range limit {
		out = append(out, twin.Point{T: from.Add(time.Duration(i) * time.Second), V: json.RawMessage(fmt.Sprintf("1.%02d", i%100)), Q: twin.Quality(i % 3)})
	}
	return out, nil
}

func (n *node) Simulate(_ context.Context, c control.Caller, p control.Proposal, n1 bool) (whatif.Verdict, error) {
	if err := n.enter(c); err != nil {
		return whatif.Verdict{}, err
	}
	v := n.verdict
	v.Query = whatif.Query{Twin: p.Twin, Command: p.Command, Args: p.Args, N1: n1}
	return v, nil
}

func (n *node) Propose(_ context.Context, c control.Caller, p control.Proposal) (control.Command, error) {
	if err := n.enter(c); err != nil {
		return control.Command{}, err
	}
	return n.propose(c, p)
}

func (n *node) Command(_ context.Context, c control.Caller, id vaultmesh.CommandID) (control.Command, error) {
	if err := n.enter(c); err != nil {
		return control.Command{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	cmd, ok := n.commands[id]
	if !ok {
		return control.Command{}, vaultmesh.Errorf(vaultmesh.NotFound, "command", string(id), "there is no such command")
	}
	return cmd, nil
}

func (n *node) Commands(_ context.Context, c control.Caller, f control.Filter) ([]control.Command, error) {
	if err := n.enter(c); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []control.Command
	for _, id := range slices.Backward(sortedIDs(n.commands)) {
		if cmd := n.commands[id]; (f.State == "" || f.State == cmd.State) && len(out) < f.Limit {
			out = append(out, cmd)
		}
	}
	return out, nil
}

func sortedIDs(m map[vaultmesh.CommandID]control.Command) []vaultmesh.CommandID {
	var ids []vaultmesh.CommandID
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (n *node) HaltState(_ context.Context, c control.Caller) (control.HaltState, error) {
	return n.halt, n.enter(c)
}

func (n *node) Bundle(_ context.Context, c control.Caller, ids []vaultmesh.CommandID) ([]byte, error) {
	if err := n.enter(c); err != nil {
		return nil, err
	}
	if _, ok := n.commands[ids[0]]; !ok {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "command", string(ids[0]), "there is no such command")
	}
	return n.bundle, nil
}

func (n *node) Trust(context.Context) (*receipt.Trust, error) {
	if err := n.enter(control.Caller{}); err != nil {
		return nil, err
	}
	if n.trust == nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "trust", "", "no trust file is known here")
	}
	return n.trust, nil
}

func key(name string) ed25519.PrivateKey { return keys.Named(name).PrivateKey }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// caller makes an authenticated caller who may read, simulate and command the twins of the globs.
func caller(t testing.TB, principal vaultmesh.Principal, globs ...string) control.Caller {
	t.Helper()
	if len(globs) == 0 {
		globs = []string{"*"}
	}
	holder := key(string(principal))
	token, err := capability.Issue(key("root"), principal, holder.Public().(ed25519.PublicKey), capability.Grant{
		Actions: []string{capability.Read, capability.Simulate, capability.Command}, Twins: globs, Commands: []string{"*"}, Expires: start.Add(time.Hour)})
	must(t, err)
	v, err := capability.Verify(token, key("root").Public().(ed25519.PublicKey), start, "dev")
	must(t, err)
	return control.Caller{Principal: principal, Capability: &v, Token: token.String(), Key: v.Holder, Proof: "about-the-http-request"}
}

// sample is a backend with two twins, one command for each state, a safe verdict and evidence.
func sample(t testing.TB) *node {
	w := story.New(t)
	w.Genesis()
	parts, trust := w.All()
	n := &node{bundle: w.Pack(parts), trust: trust, commands: map[vaultmesh.CommandID]control.Command{},
		verdict: whatif.Verdict{ID: vaultmesh.Sum([]byte("v")), Outcome: whatif.Safe, Reason: "no limit is broken", Taken: start, Before: whatif.Summary{Converged: true}, After: whatif.Summary{Converged: true}}}
	for _, id := range []vaultmesh.TwinID{"bus:1", "line-1-2"} {
		n.twins = append(n.twins, twin.Twin{
			Definition: twin.Definition{ID: id, Model: "dtmi:org:vaultmesh:grid:Line;1", Device: "sub-1", Nameplate: map[string]json.RawMessage{"number": json.RawMessage("1")}, Relationships: []twin.Relationship{{Name: "from", Target: "bus:1"}}},
			Reported:   map[string]twin.Value{"closed": {V: json.RawMessage("true"), T: start}},
			Telemetry:  map[string]twin.Value{"voltage": {V: json.RawMessage("1.02"), Q: twin.Questionable, T: start}},
			Version:    7, Seen: start.Add(-2 * time.Second)})
	}
	for i, s := range states {
		c := control.Command{ID: vaultmesh.CommandID(fmt.Sprintf("cmd-%02d", i)), Twin: "line-1-2", Name: "openBreaker", Args: json.RawMessage(`{}`), Principal: "agent:a", IdempotencyKey: "k", State: s, Reason: "because", Proposed: start, Expires: start.Add(time.Minute),
			History: []control.Transition{{State: s, Time: start, Actor: "agent:a", Receipt: 1 << 60}}}
		switch s {
		case control.Denied:
			v := n.verdict
			v.Outcome, v.New = whatif.Unsafe, []whatif.Violation{{Element: "line-9-10", Limit: "loading", Value: 131, Bound: 100, Unit: "MVA"}}
			c.Verdict, _ = json.Marshal(v)
			c.Reasons = []gate.Reason{{Code: "whatif.unsafe", Text: "it would overload line-9-10", Fix: "shed load first"}}
		case control.AwaitingApproval:
			c.Needs = &control.Need{Count: 2, Roles: []string{"dispatcher"}, Until: start.Add(15 * time.Minute), Why: "breakers need two people"}
			c.Approvals = []control.Approval{{Approver: "operator:alice"}}
		}
		n.commands[c.ID] = c
	}
	n.propose = func(_ control.Caller, p control.Proposal) (control.Command, error) {
		c := n.commands[idOf(control.Dispatched)]
		c.Twin, c.Name, c.Args, c.IdempotencyKey = p.Twin, p.Command, p.Args, p.IdempotencyKey
		return c, nil
	}
	return n
}

var states = []control.State{control.Proposed, control.Assessed, control.Denied, control.AwaitingApproval, control.Approved, control.Rejected, control.Expired, control.Authorized, control.Dispatched,
	control.Acknowledged, control.Refused, control.TimedOut, control.Aligned, control.Diverged, control.Cancelled, control.Halted}

func idOf(s control.State) vaultmesh.CommandID {
	return vaultmesh.CommandID(fmt.Sprintf("cmd-%02d", slices.Index(states, s)))
}

func newServer(t testing.TB, n *node, edit func(*Options)) *Server {
	t.Helper()
	o := Options{Backend: n, Domain: "dev", Now: func() time.Time { return start }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Limits: Limits{Burst: 1 << 20},
		Authenticate: func(r *http.Request) (control.Caller, *http.Request, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return control.Caller{}, nil, vaultmesh.Errorf(vaultmesh.TooLarge, "body", "", "too large")
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			who := r.Header.Get("X-Test-Principal")
			if who == "" {
				return control.Caller{}, nil, vaultmesh.Errorf(vaultmesh.Denied, "authenticate", "VaultMesh-Capability", "the header is missing").WithFix("send the token")
			}
			who, globs, _ := strings.Cut(who, " ")
			return caller(t, vaultmesh.Principal(who), strings.Fields(globs)...), r, nil
		}}
	if edit != nil {
		edit(&o)
	}
	s, err := NewServer(o)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// as sends every request as a principal.
type as string

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Test-Principal", string(a))
	return http.DefaultTransport.RoundTrip(r)
}

func serveHTTP(t testing.TB, s *Server) string {
	t.Helper()
	h, err := s.Handler()
	must(t, err)
	web := httptest.NewServer(h)
	t.Cleanup(func() { s.Close(); web.Close(); http.DefaultTransport.(*http.Transport).CloseIdleConnections() })
	return web.URL
}

const oldest, newestOld, modern = "2024-11-05", "2025-11-25", "2026-07-28"

// connect makes a client of the SDK over a transport: "memory", "stdio" or "http".
func connect(t testing.TB, s *Server, transport, version string) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	var ct mcp.Transport
	switch transport {
	case "http":
		ct = &mcp.StreamableClientTransport{Endpoint: serveHTTP(t, s), HTTPClient: &http.Client{Transport: as("agent:a")}}
	case "stdio":
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.ServeStdio(context.Background(), inR, outW) }()
		ct = &mcp.IOTransport{Reader: outR, Writer: inW}
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Errorf("serving ended with %v", err)
			}
		})
	case "memory":
		a, b := mcp.NewInMemoryTransports()
		session, err := s.protocol(false).Connect(context.Background(), a, nil)
		must(t, err)
		t.Cleanup(func() { _ = session.Wait() })
		ct = b
	}
	cs, err := client.Connect(context.Background(), ct, &mcp.ClientSessionOptions{ProtocolVersion: version})
	must(t, err)
	t.Cleanup(func() { _ = cs.Close() })
	return cs
}
