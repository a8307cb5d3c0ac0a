package httpapi

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is the time of every test.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const domain = vaultmesh.Domain("dev")

func key(name string) ed25519.PrivateKey { return keys.Named(name).PrivateKey }

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// grants are the tokens that the tests know by name.
var grants = map[string]capability.Grant{
	"operator": {Actions: []string{"read", "simulate", "command", "approve", "halt", "admin", "anchor"}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: epoch.Add(time.Hour)},
	"reader":   {Actions: []string{"read"}, Twins: []string{"line-*"}, Commands: []string{"*"}, Expires: epoch.Add(time.Hour)},
	"expired":  {Actions: []string{"read"}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: epoch.Add(-time.Minute)},
	"revoked":  {Actions: []string{"read"}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: epoch.Add(time.Hour)},
	"foreign":  {Actions: []string{"read"}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: epoch.Add(time.Hour), Audience: []vaultmesh.Domain{"elsewhere"}},
	"idle":     {Actions: []string{}, Twins: []string{"*"}, Commands: []string{"*"}, Expires: epoch.Add(time.Hour)},
}

func token(t testing.TB, name string) string {
	t.Helper()
	tok, err := capability.Issue(key("root"), vaultmesh.Principal("operator:"+name), public(key(name)), grants[name])
	if err != nil {
		t.Fatal(err)
	}
	return tok.String()
}

func revoked(t testing.TB) func(vaultmesh.Digest) bool {
	t.Helper()
	tok, err := capability.Parse(token(t, "revoked"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := capability.Verify(tok, public(key("root")), epoch, domain)
	if err != nil {
		t.Fatal(err)
	}
	return func(d vaultmesh.Digest) bool { return d == v.Digest() }
}

// world is a node in memory.
type world struct {
	mu        sync.Mutex
	commands  []control.Command
	halt      control.HaltState
	twins     map[vaultmesh.TwinID]twin.Twin
	envelopes [][]byte
	lastCall  control.Caller
	proposing func(ctx context.Context) error // runs in Propose, without the lock
	notReady  error
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{twins: map[vaultmesh.TwinID]twin.Twin{}}
	for _, id := range []vaultmesh.TwinID{"bus-1", "line-1-2", "line-2-3", "line-3-4"} {
		w.twins[id] = twin.Twin{
			Definition: twin.Definition{ID: id, Model: "dtmi:test:Line;1", Device: "sub-1", Nameplate: map[string]json.RawMessage{"number": json.RawMessage("1")},
				Relationships: []twin.Relationship{{Name: "from", Target: "bus-1"}}},
			Reported:  map[string]twin.Value{"closed": {V: json.RawMessage("true"), T: epoch}},
			Telemetry: map[string]twin.Value{"loading": {V: json.RawMessage("0.5"), Q: twin.Questionable, T: epoch}},
			Version:   7, Seen: epoch,
		}
	}
	for range 5 {
		w.grow(t)
	}
	return w
}

// grow appends a receipt to the log.
func (w *world) grow(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := uint64(len(w.envelopes))
	link := receipt.Link{Seq: n}
	if n > 0 {
		link.Prev = &receipt.Ref{Index: vaultmesh.LogIndex(n - 1), Leaf: receipt.LeafHash(w.envelopes[n-1])}
	}
	e, err := receipt.Encode(domain, receipt.Draft{Kind: "halt.set", Subject: receipt.HaltSubject(domain), Actor: "operator:operator", Time: epoch,
		Outcome: "a<b & c", Body: json.RawMessage(`{"reason":"test"}`)}, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.envelopes = append(w.envelopes, e)
}

func (w *world) touch(id vaultmesh.TwinID, version uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.twins[id]
	x.Version = version
	w.twins[id] = x
}

func (w *world) Propose(ctx context.Context, c control.Caller, p control.Proposal) (control.Command, error) {
	if w.proposing != nil {
		if err := w.proposing(ctx); err != nil {
			return control.Command{}, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastCall = c
	if err := c.Capability.Allows(capability.Action{Verb: capability.Command, Twin: p.Twin, Command: p.Command, Args: p.Args}); err != nil {
		return control.Command{}, err
	}
	for _, old := range w.commands {
		if old.IdempotencyKey == p.IdempotencyKey && old.Principal == c.Principal {
			if old.Name != p.Command || old.Twin != p.Twin {
				return control.Command{}, vaultmesh.Errorf(vaultmesh.Conflict, "command.propose", KeyHeader, "the key was used for another proposal")
			}
			old.Replayed = true
			return old, nil
		}
	}
	cmd := control.Command{ID: vaultmesh.CommandID("c-" + strconv.Itoa(len(w.commands)+1)), Twin: p.Twin, Name: p.Command, Args: p.Args, Principal: c.Principal,
		Capability: c.Capability.Digest(), IdempotencyKey: p.IdempotencyKey, State: control.AwaitingApproval, Proposed: epoch, Expires: epoch.Add(time.Minute),
		Needs:   &control.Need{Count: 1, Roles: []string{"supervisor"}, Until: epoch.Add(time.Minute), Why: "policy"},
		History: []control.Transition{{State: control.Proposed, Time: epoch, Actor: c.Principal, Receipt: 4}}}
	w.commands = append(w.commands, cmd)
	return cmd, nil
}

func (w *world) Simulate(_ context.Context, c control.Caller, p control.Proposal, n1 bool) (whatif.Verdict, error) {
	if err := c.Capability.Allows(capability.Action{Verb: capability.Simulate, Twin: p.Twin, Command: p.Command, Args: p.Args}); err != nil {
		return whatif.Verdict{}, err
	}
	if p.Command == "stale" {
		return whatif.Verdict{}, vaultmesh.Errorf(vaultmesh.Stale, "simulate", string(p.Twin), "the data is 9 s old")
	}
	return whatif.Verdict{ID: vaultmesh.Sum(nil), Query: whatif.Query{Twin: p.Twin, Command: p.Command, Args: p.Args, N1: n1}, Outcome: whatif.Unsafe,
		Reason: "it overloads", Taken: epoch, Topology: vaultmesh.Sum(nil), Model: "test/1", New: []whatif.Violation{{Element: "line-1-2", Limit: "loading", Value: 1.2, Bound: 1, Unit: "MVA"}},
		Checked: 3, Expect: map[string]float64{"tap": 1}}, nil
}

func (w *world) find(id vaultmesh.CommandID) (*control.Command, error) {
	for i := range w.commands {
		if w.commands[i].ID == id {
			return &w.commands[i], nil
		}
	}
	return nil, vaultmesh.Errorf(vaultmesh.NotFound, "command", string(id), "there is no such command")
}

func (w *world) Command(_ context.Context, _ control.Caller, id vaultmesh.CommandID) (control.Command, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.find(id)
	if err != nil {
		return control.Command{}, err
	}
	return *c, nil
}

func (w *world) List(_ context.Context, _ control.Caller, f control.Filter) ([]control.Command, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []control.Command
	for _, c := range slices.Backward(w.commands) {
		if (f.State == "" || f.State == c.State) && (f.Twin == "" || f.Twin == c.Twin) && len(out) < f.Limit {
			out = append(out, c)
		}
	}
	return out, nil
}

func (w *world) Challenge(_ context.Context, _ control.Caller, id vaultmesh.CommandID) (receipt.Challenge, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.find(id)
	if err != nil {
		return receipt.Challenge{}, err
	}
	return receipt.Challenge{Domain: domain, Command: id, Principal: c.Principal, Twin: c.Twin, Name: c.Name, Args: c.Args, TwinVersion: 7,
		Policy: vaultmesh.Sum(nil), Expires: epoch.Add(time.Minute), Nonce: "0123456789abcdef"}, nil
}

func (w *world) Approve(ctx context.Context, caller control.Caller, id vaultmesh.CommandID, a control.Approval) (control.Command, error) {
	ch, err := w.Challenge(ctx, caller, id)
	if err != nil {
		return control.Command{}, err
	}
	if err := receipt.VerifyApproval(caller.Key, ch, a.Signature); err != nil {
		return control.Command{}, err
	}
	return w.move(id, control.Approved, func(c *control.Command) { c.Approvals = append(c.Approvals, a) })
}

func (w *world) Reject(_ context.Context, _ control.Caller, id vaultmesh.CommandID, reason string) (control.Command, error) {
	return w.move(id, control.Rejected, func(c *control.Command) { c.Reason = reason })
}

func (w *world) Cancel(_ context.Context, _ control.Caller, id vaultmesh.CommandID, reason string) (control.Command, error) {
	return w.move(id, control.Cancelled, func(c *control.Command) { c.Reason = reason })
}

func (w *world) move(id vaultmesh.CommandID, to control.State, and func(*control.Command)) (control.Command, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.find(id)
	if err != nil {
		return control.Command{}, err
	}
	if c.State != control.AwaitingApproval {
		return control.Command{}, vaultmesh.Errorf(vaultmesh.Conflict, "command", string(id), "it is %s", c.State)
	}
	c.State = to
	and(c)
	return *c, nil
}

func (w *world) Halt(_ context.Context, c control.Caller, reason string) (control.HaltState, error) {
	if err := c.Capability.Allows(capability.Action{Verb: capability.Halt}); err != nil {
		return control.HaltState{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.halt = control.HaltState{Halted: true, By: c.Principal, Reason: reason, Since: epoch}
	return w.halt, nil
}

func (w *world) Resume(_ context.Context, _ control.Caller, reason string) (control.HaltState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.halt = control.HaltState{Reason: reason}
	return w.halt, nil
}

func (w *world) HaltState() control.HaltState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.halt
}

func (w *world) Revoke(_ context.Context, _ control.Caller, _ vaultmesh.Digest, _ string) (receipt.Ref, error) {
	return receipt.Ref{Index: 4, Leaf: vaultmesh.Sum(nil)}, nil
}

func (w *world) Erase(_ context.Context, _ control.Caller, p vaultmesh.Principal, _ string) (receipt.Ref, error) {
	if p == "operator:nobody" {
		return receipt.Ref{}, vaultmesh.Errorf(vaultmesh.NotFound, "private.erase", string(p), "nothing is kept")
	}
	return receipt.Ref{Index: 4, Leaf: vaultmesh.Sum(nil)}, nil
}

// The other services have methods of the same names, hence the types.
type (
	worldTwins    struct{ *world }
	worldEvidence struct{ *world }
	worldDevices  struct{ *world }
)

func (w worldTwins) Get(id vaultmesh.TwinID) (twin.Twin, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.twins[id]
	return t, ok
}

func (w worldTwins) Each(after vaultmesh.TwinID, fn func(twin.Twin) bool) {
	for _, id := range []vaultmesh.TwinID{"bus-1", "line-1-2", "line-2-3", "line-3-4"} {
		if t, ok := w.Get(id); ok && id > after && !fn(t) {
			return
		}
	}
}

func (w worldTwins) History(_ context.Context, id vaultmesh.TwinID, name string, from, _ time.Time, limit int) ([]twin.Point, error) {
	if name != "loading" {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "twin.history", string(id)+" "+name, "the model has no such name")
	}
	var out []twin.Point
	for i := range min(limit, 5) {
		out = append(out, twin.Point{T: from.Add(time.Duration(i) * time.Second), V: json.RawMessage("0.5")})
	}
	return out, nil
}

func (w worldEvidence) Size() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return uint64(len(w.envelopes))
}

func (w worldEvidence) Receipt(_ context.Context, i vaultmesh.LogIndex) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i >= vaultmesh.LogIndex(len(w.envelopes)) {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "receipt", strconv.FormatUint(uint64(i), 10), "the log has %d receipts", len(w.envelopes))
	}
	return w.envelopes[i], nil
}

func (w worldEvidence) Subject(_ context.Context, subject string, from vaultmesh.LogIndex, limit int) ([]vaultmesh.LogIndex, error) {
	var out []vaultmesh.LogIndex
	for i := from; i < vaultmesh.LogIndex(w.Size()) && len(out) < limit && subject == receipt.HaltSubject(domain); i++ {
		out = append(out, i)
	}
	return out, nil
}

func (w worldEvidence) Checkpoint(context.Context) ([]byte, error) {
	return []byte("dev\n5\nAAAA\n\n— dev sig\n"), nil
}

func (w worldEvidence) Inclusion(_ context.Context, _ vaultmesh.LogIndex, size uint64) ([]vaultmesh.Digest, error) {
	if size > w.Size() {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "log.inclusion", "", "the log has %d receipts", w.Size())
	}
	return []vaultmesh.Digest{vaultmesh.Sum(nil)}, nil
}

func (w worldEvidence) Consistency(context.Context, uint64, uint64) ([]vaultmesh.Digest, error) {
	return nil, nil
}

func (w worldEvidence) Tile(ctx context.Context, path string) ([]byte, error) {
	if path == "checkpoint" {
		return w.Checkpoint(ctx)
	}
	if path == "tile/0/000.p/5" || path == "tile/entries/x001/234" {
		return []byte{1, 2, 3}, nil
	}
	return nil, vaultmesh.Errorf(vaultmesh.NotFound, "log.tile", path, "the log is too small")
}

func (w worldEvidence) Bundle(_ context.Context, q BundleQuery) ([]byte, error) {
	if len(q.Commands) > 0 && q.Commands[0] == "c-2" {
		return nil, fmt.Errorf("open /secret/path: permission denied")
	}
	return []byte(`{"bundle":true}`), nil
}

func (w worldDevices) List(context.Context) ([]Device, error) {
	return []Device{{ID: "sub-1", Online: true, Since: epoch, Accepted: 3, Refused: 1}}, nil
}

func (w worldDevices) Refusals(_ context.Context, id vaultmesh.DeviceID, limit int) ([]Refusal, error) {
	if id != "sub-1" {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "device", string(id), "there is no such device")
	}
	return []Refusal{{Time: epoch, Topic: "vm/sub-1/tel/bus-1", Code: "stale", Reason: "it is old"}}[:min(1, limit)], nil
}

// options are those of a complete server over w.
func options(t testing.TB, w *world) Options {
	reg := prometheus.NewRegistry()
	return Options{
		Domain: domain, Root: public(key("root")), Revoked: revoked(t), Commands: w, Twins: worldTwins{w}, Evidence: worldEvidence{w}, Devices: worldDevices{w},
		Capabilities: w, Anchors: worldAnchors{w}, Feed: NewFeed(), Ready: func(context.Context) error { return w.notReady }, Gatherer: reg, Registerer: reg,
		Now: func() time.Time { return epoch }, Log: slog.New(slog.DiscardHandler),
	}
}

// serve starts a server that ends with the test.
func serve(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewUnstartedServer(s.Handler())
	hs.Start()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		hs.Close()
	})
	return s, hs.URL
}

// client asks the server at address as one of the grants.
func client(t testing.TB, address, name string) *Client {
	t.Helper()
	c, err := NewClient(Config{BaseURL: address, Domain: domain, Token: token(t, name), Key: key(name), Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// wantError fails unless err is of the kind and its text holds the words.
func wantError(t testing.TB, err error, kind vaultmesh.Kind, words ...string) {
	t.Helper()
	if err == nil || vaultmesh.KindOf(err) != kind {
		t.Fatalf("got %v, want an error of kind %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error %q does not say %q", err, w)
		}
	}
}
