package control_test

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/private"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
	"vaultmesh.org/vaultmesh/test/logs"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

const valveModel = `{
 "@context": "dtmi:dtdl:context;4", "@id": "dtmi:test:Valve;1", "@type": "Interface",
 "contents": [
  {"@type": "Property", "name": "open", "schema": "boolean"},
  {"@type": "Property", "name": "position", "schema": "double"},
  {"@type": "Command", "name": "move", "request": {"name": "request", "schema": {"@type": "Object", "fields": [{"name": "to", "schema": "double"}]}}},
  {"@type": "Command", "name": "shut"},
  {"@type": "Command", "name": "blow"}
 ]}`

// testPolicy allows move, asks for two approvals of shut, and denies everything else.
const testPolicy = `package vaultmesh.gate
import rego.v1
default decision := {"outcome": "deny", "reasons": [{"code": "unknown", "text": "not in the policy", "fix": "ask for less"}]}
decision := {"outcome": "allow", "unsimulated_ok": true} if input.command == "move"
decision := {"outcome": "needs_approval", "unsimulated_ok": true, "reasons": [{"code": "two", "text": "two people must agree", "fix": "wait"}],
  "approvers": {"count": 2, "roles": ["operator"], "ttl_seconds": 60}} if input.command == "shut"
`

const testPolicyTest = `package vaultmesh.gate_test
import rego.v1
import data.vaultmesh.gate
test_default_denies if gate.decision.outcome == "deny" with input as {"command": "explode"}
`

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func key(name string) ed25519.PrivateKey { return keys.Named(name).PrivateKey }

func pub(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// valves expects of move that the valve reports the position; other commands cannot be simulated.
type valves struct{ w *world }

func (valves) Handles(_, command string) bool        { return command == "move" }
func (valves) Topology(whatif.View) vaultmesh.Digest { return vaultmesh.Sum([]byte("fixed")) }
func (v valves) Simulate(_ context.Context, view whatif.View, q whatif.Query) (whatif.Verdict, error) {
	if f := v.w.take(&v.w.simulating); f != nil {
		f()
	}
	var args struct{ To float64 }
	if err := json.Unmarshal(q.Args, &args); err != nil {
		return whatif.Verdict{}, err
	}
	r := whatif.Verdict{Query: q, Outcome: whatif.Safe, Reason: "fine", Taken: view.Time(), Topology: v.Topology(view), Model: "valves/1", Before: whatif.Summary{Converged: true}, After: whatif.Summary{Converged: true}, Expect: map[string]float64{"position": args.To}}
	if args.To > 90 {
		r.Outcome, r.Reason = whatif.Unsafe, "it would burst"
		r.New = []whatif.Violation{{Element: string(q.Twin), Limit: "pressure", Value: args.To, Bound: 90, Unit: "bar"}}
	}
	return whatif.Seal(r)
}

// world is a service on real parts: journal, log, twins, gate; only the device is a test's.
type world struct {
	t      testing.TB
	dir    string
	mu     sync.Mutex
	clock  time.Time
	j      *journal.Journal
	l      *lawchain.Log
	twins  *twin.Store
	gate   *gate.Gate
	s      *control.Service
	sent   chan control.Outbound
	unsent bool // the dispatcher keeps what it gets: the device is offline
	held   []control.Outbound
	models *dtdl.Set

	tolerance float64 // of every expected value

	simulating func() // called once, while the gate judges the next simulated command
	applied    func() // called once, when the next commit can be read and is not durable yet
}

// take returns a hook and forgets it.
func (w *world) take(hook *func()) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := *hook
	*hook = nil
	return f
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(time.Millisecond)
	return w.clock
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	w.clock = w.clock.Add(d)
	w.mu.Unlock()
}

func (w *world) Dispatch(o control.Outbound) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unsent {
		w.held = append(w.held, o)
		return
	}
	w.sent <- o
}

func (w *world) Withdraw(o control.Outbound) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		if h.Command == o.Command {
			return true
		}
	}
	return false
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), clock: epoch, sent: make(chan control.Outbound, 1024)}
	var err error
	if w.models, err = dtdl.Parse([]dtdl.Document{{Name: "valve", Data: []byte(valveModel)}}, dtdl.Options{}); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.define("valve-1", "valve-2")
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	log := logs.Open(w.t, filepath.Join(w.dir, "journal"), logs.Failpoint(func(point string) {
		if point != "applied" {
			return
		}
		if f := w.take(&w.applied); f != nil {
			f()
		}
	}))
	w.j, w.l = log.J, log.Log
	var err error
	w.twins = twin.NewStore(twin.Options{Models: w.models, Now: w.now})
	must(w.twins.Load(w.j))
	operators := gate.NewOperators()
	for _, name := range []string{"ada", "grace", "agent"} {
		must(operators.Enroll(gate.Operator{Principal: vaultmesh.Principal("operator:" + name), Key: pub(key(name)), Roles: []string{"operator"}}))
	}
	limits := gate.Limits{Commands: []gate.CommandLimit{}}
	for _, c := range []string{"move", "shut", "blow"} {
		limits.Commands = append(limits.Commands, gate.CommandLimit{Model: "dtmi:test:Valve;1", Command: c, Rules: []gate.Rule{
			{Name: "rate", Rate: &gate.Rate{Per: "twin", Max: 5, Window: gate.Duration(time.Hour)}},
		}})
	}
	w.gate, err = gate.New(gate.Options{Domain: "test", Limits: &limits, Simulator: valves{w}, Operators: operators,
		Policy:  gate.PolicyFiles{"policy.rego": []byte(testPolicy), "policy_test.rego": []byte(testPolicyTest)},
		Revoked: func(b vaultmesh.Digest) bool { return control.Revoked(w.j, b) }})
	must(err)
	texts, err := private.Open(filepath.Join(w.dir, "private"), crand.Reader)
	must(err)
	w.s, err = control.NewService(control.Options{
		Texts:   texts,
		Machine: &control.Machine{Domain: "test", Node: "node:test", Log: w.l, Desired: w.twins, MaxOpen: 4, MaxDenied: 30},
		Journal: w.j, Twins: w.twins, Gate: w.gate, CapabilityRoot: pub(key("root")), Simulator: valves{w},
		Tolerance: func(string, string, float64) float64 { w.mu.Lock(); defer w.mu.Unlock(); return w.tolerance },
		CheckArgs: func(_, command string, args json.RawMessage) error {
			i, _ := w.models.Interface("dtmi:test:Valve;1")
			c, ok := i.Command(command)
			if !ok {
				return vaultmesh.Errorf(vaultmesh.Invalid, "command", command, "no such command")
			}
			if c.Request() == nil {
				return nil
			}
			return c.Request().Validate(args)
		},
		Now: w.now, Rand: rand.NewChaCha8([32]byte{1}),
	})
	must(err)
	w.s.SetDispatcher(w)
	w.s.Start(context.Background())
}

func (w *world) close() {
	w.s.Close()
	w.gate.Close()
	w.twins.Close()
	if err := w.j.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) restart() {
	w.close()
	w.open()
}

func (w *world) define(ids ...vaultmesh.TwinID) {
	w.t.Helper()
	err := w.j.Submit(context.Background(), journal.Commands, func(tx journal.Tx) error {
		for _, id := range ids {
			if err := w.twins.Define(tx, twin.Definition{ID: id, Model: "dtmi:test:Valve;1", Device: "plc"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// report merges what the device says about a twin.
func (w *world) report(id vaultmesh.TwinID, properties string) {
	w.t.Helper()
	w.reportAt(id, w.now().Truncate(time.Microsecond), 0, properties)
}

func (w *world) reportAt(id vaultmesh.TwinID, at time.Time, seq uint16, properties string) {
	w.t.Helper()
	m := &twin.Message{Twin: id, Device: "plc", Time: at, Seq: seq, Raw: []byte(`{"properties":` + properties + `}`)}
	if err := json.Unmarshal([]byte(properties), &m.Properties); err != nil {
		w.t.Fatal(err)
	}
	if err := w.twins.Check(m); err != nil {
		w.t.Fatal(err)
	}
	err := w.j.Submit(context.Background(), journal.Telemetry, func(tx journal.Tx) error {
		leaf := receipt.MessageLeaf("vm/plc/tel/"+string(id), m.Raw)
		body, err := receipt.Body(receipt.BatchBody{Root: leaf, Count: 1, First: m.Time, Last: m.Time})
		if err != nil {
			return err
		}
		batch, _, err := w.l.Append(tx, receipt.Draft{Kind: receipt.TelemetryBatch, Subject: receipt.TelemetrySubject("test"), Actor: "node:test", Time: m.Time, Body: body})
		if err != nil {
			return err
		}
		_, err = w.twins.Merge(tx, m, batch, 0)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) caller(name string, g capability.Grant) control.Caller {
	w.t.Helper()
	kind := "operator:"
	if name == "agent" {
		kind = "agent:"
	}
	if g.Twins == nil {
		g.Twins, g.Commands = []string{"*"}, []string{"*"}
	}
	g.NotBefore, g.Expires = epoch.Add(-time.Hour), epoch.Add(1000*time.Hour)
	token, err := capability.Issue(key("root"), vaultmesh.Principal(kind+name), pub(key(name)), g)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := capability.Verify(token, pub(key("root")), epoch, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return control.Caller{Principal: v.Principal, Capability: &v, Token: token.String(), Key: v.Holder}
}

func (w *world) agent() control.Caller {
	return w.caller("agent", capability.Grant{Actions: []capability.Verb{capability.Read, capability.Simulate, capability.Command}})
}

func (w *world) operator(name string) control.Caller {
	return w.caller(name, capability.Grant{Actions: []capability.Verb{capability.Read, capability.Simulate, capability.Command, capability.Approve, capability.Halt, capability.Admin}})
}

func (w *world) propose(command, args, idem string) (control.Command, error) {
	return w.s.Propose(context.Background(), w.agent(), control.Proposal{Twin: "valve-1", Command: command, Args: json.RawMessage(args), IdempotencyKey: idem})
}

func (w *world) mustPropose(command, args, idem string, want control.State) control.Command {
	w.t.Helper()
	c, err := w.propose(command, args, idem)
	if err != nil {
		w.t.Fatal(err)
	}
	if c.State != want {
		w.t.Fatalf("%s is %s (%s), want %s", command, c.State, c.Reason, want)
	}
	return c
}

func (w *world) respond(id vaultmesh.CommandID, ok bool) error {
	return w.s.Respond(context.Background(), control.Response{Command: id, Device: "plc", OK: ok, Code: "done", Time: w.now()})
}

// wait returns the command once it has the state; the subscription makes it exact without sleeping.
func (w *world) wait(id vaultmesh.CommandID, want control.State) control.Command {
	w.t.Helper()
	sub := w.s.Subscribe(1024)
	defer sub.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		c, err := w.s.Command(ctx, w.operator("ada"), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if c.State == want {
			return c
		}
		select {
		case <-sub.C:
		case <-ctx.Done():
			w.t.Fatalf("command %s stays %s, want %s", id, c.State, want)
		}
	}
}

// history returns the kinds of the command's receipts in order and checks their chain.
func (w *world) history(id vaultmesh.CommandID) []string {
	w.t.Helper()
	// Commands are shown once their receipts are applied; the log shows those that are durable.
	if err := w.j.Settle(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	indexes, err := w.l.Subject(receipt.CommandSubject(id), 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	var kinds []string
	state := ""
	for _, i := range indexes {
		raw, err := w.l.Receipt(i)
		if err != nil {
			w.t.Fatal(err)
		}
		r, err := receipt.Open(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		next, _ := receipt.NextCommandStates(state)
		state, _ = receipt.CommandState(r.Kind)
		if !strings.Contains(" "+strings.Join(next, " ")+" ", " "+state+" ") {
			w.t.Fatalf("receipt %d: %s is not a legal next state", i, state)
		}
		kinds = append(kinds, state)
	}
	return kinds
}

func (w *world) expectHistory(id vaultmesh.CommandID, want ...string) {
	w.t.Helper()
	if got := w.history(id); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Fatalf("receipts of %s: %v, want %v", id, got, want)
	}
}

func (w *world) approve(name string, id vaultmesh.CommandID) (control.Command, error) {
	caller := w.operator(name)
	ch, err := w.s.Challenge(context.Background(), caller, id)
	if err != nil {
		return control.Command{}, err
	}
	return w.s.Approve(context.Background(), caller, id, control.Approval{Approver: caller.Principal, Key: receipt.KeyID(pub(key(name))), Signature: receipt.SignApproval(key(name), ch)})
}
