// Package sample builds a domain small enough to read, with every kind of evidence there is: signed receipts of two
// commands, halts, a capability, telemetry, state roots and their proofs, checkpoints that witnesses cosigned, and proofs
// of time by an authority, Bitcoin and Ethereum. The chains are made here (a regression-test network, a private chain); the
// formats are the real ones. Knobs let a test be a domain that cheats. It is on floor 7 and is used by tests only.
package sample

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/lawchain/anchor/tsa"
	"vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/keys"
)

// Names of the sample.
const (
	Domain  = vaultmesh.Domain("sample")
	Origin  = "vaultmesh.test/sample"
	Command = vaultmesh.CommandID("01JSAMPLE1") // aligned, with two approvals
	Denied  = vaultmesh.CommandID("01JSAMPLE2") // denied by the what-if
)

// Start is when the domain begins.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Key is a key of the sample.
type Key = keys.Key

// NewKey returns the sample's key of that name.
func NewKey(name string) Key { return keys.Named("sample key " + name) }

// World is the domain under construction.
type World struct {
	T         testing.TB
	Key       Key // of receipts and manifests
	Envelopes [][]byte
	Leaves    []vaultmesh.Digest
	Heads     map[string]receipt.Link // what the next receipt of a subject links to
	At        map[string]receipt.Ref  // the last receipt of each kind
	Draft     func(d *receipt.Draft)  // edits what is appended, where not nil
	Block     vaultmesh.Digest        // of the capability
	Authority *tsa.Authority
	Witnesses []string // names of those who cosign
	Granter   string   // name of the key that signs capabilities; another than "root" takes over after the genesis

	LogKey Key // of checkpoints

	challenge receipt.Challenge
	messages  []message
	states    map[uint64]tree // by index of the state.root receipt
	clock     time.Time       // of the authority
	chain     *blocks
}

type message struct{ topic, payload string }

// New returns a world that has no receipt yet.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{T: t, Key: NewKey("receipts"), LogKey: NewKey("log"), Heads: map[string]receipt.Link{}, At: map[string]receipt.Ref{}, Witnesses: []string{"north", "south"}, Granter: "root", states: map[uint64]tree{}, clock: Start, chain: &blocks{}}
	var err error
	if w.Authority, err = tsa.NewAuthority(func() time.Time { return w.clock }); err != nil {
		t.Fatal(err)
	}
	return w
}

// LogVerifier is what trust files pin of the present key of the log.
func (w *World) LogVerifier() string { return w.LogKey.Note(Origin).Text }

// Add appends a receipt, so long after the start.
func (w *World) Add(kind, subject string, actor vaultmesh.Principal, after time.Duration, body any, edit func(*receipt.Draft)) receipt.Ref {
	w.T.Helper()
	raw, err := receipt.Body(body)
	if err != nil {
		w.T.Fatal(kind, err)
	}
	d := receipt.Draft{Kind: kind, Subject: subject, Actor: actor, Time: Start.Add(after), Body: raw}
	if edit != nil {
		edit(&d)
	}
	if w.Draft != nil {
		w.Draft(&d)
	}
	var signer receipt.Signer = w.Key
	if slices.Contains([]string{receipt.TelemetryBatch, receipt.TwinDefined, receipt.AnchorVerified}, kind) {
		signer = nil
	}
	env, err := receipt.Encode(Domain, d, w.Heads[d.Subject], signer)
	if err != nil {
		w.T.Fatal(kind, err)
	}
	ref := receipt.Ref{Index: vaultmesh.LogIndex(len(w.Envelopes)), Leaf: receipt.LeafHash(env)}
	w.Envelopes, w.Leaves = append(w.Envelopes, env), append(w.Leaves, ref.Leaf)
	w.Heads[d.Subject] = receipt.Link{Seq: w.Heads[d.Subject].Seq + 1, Prev: &ref}
	w.At[kind] = ref
	return ref
}

// Size is the number of receipts.
func (w *World) Size() uint64 { return uint64(len(w.Leaves)) }

// Genesis appends the first receipt of the domain.
func (w *World) Genesis() {
	w.T.Helper()
	w.Add(receipt.DomainGenesis, receipt.DomainSubject(Domain), "node:sample", 0, &receipt.GenesisBody{Origin: Origin, LogKey: w.LogVerifier(), ReceiptKeys: [][]byte{w.Key.Pub()}, CapabilityKeys: [][]byte{NewKey("root").Pub()}}, nil)
}

// Tell appends the whole story: what a domain does on its first day.
func (w *World) Tell() {
	w.T.Helper()
	w.Genesis()
	if w.Granter != "root" {
		old, next := NewKey("root"), NewKey(w.Granter)
		w.rotate(receipt.KeyStatement{Purpose: receipt.PurposeCapability, Key: next.Pub(), By: old.Pub()}, old.Sign, next.Sign, 0)
	}
	for _, twin := range []vaultmesh.TwinID{"transformer-4-9", "bus-9"} {
		w.Add(receipt.TwinDefined, receipt.TwinSubject(twin), "node:sample", 0, &receipt.TwinBody{Twin: twin, Model: "dtmi:test:x;1", Device: "sub-4", Definition: vaultmesh.Sum([]byte(twin))}, nil)
	}
	token, block := w.token()
	w.Block = block
	w.Add(receipt.CapabilityIssued, receipt.CapabilitySubject(block), "operator:alice", time.Second, &receipt.CapabilityBody{Block: block, Principal: Proposer, Holder: NewKey("agent").KeyID()}, nil)
	w.Aligned(token, 2*time.Second)
	w.Add(receipt.HaltSet, receipt.HaltSubject(Domain), "operator:bob", 9*time.Second, &receipt.HaltBody{Reason: "a drill"}, nil)
	w.Add(receipt.HaltCleared, receipt.HaltSubject(Domain), "operator:bob", 10*time.Second, &receipt.HaltBody{Reason: "the drill is over"}, nil)
	w.deny(token, 11*time.Second)
	w.Root(12 * time.Second)
}

// Proposer is the agent of the sample.
const Proposer = vaultmesh.Principal("agent:dispatcher")

var (
	args   = json.RawMessage(`{"ratio":1.025}`)
	policy = vaultmesh.Sum([]byte("policy"))
)

func ref(id vaultmesh.CommandID) receipt.CommandRef {
	return receipt.CommandRef{Command: id, Twin: "transformer-4-9", Name: "setTap", ArgsDigest: vaultmesh.Sum(args)}
}

func (w *World) token() (capability.Token, vaultmesh.Digest) {
	w.T.Helper()
	token, err := capability.Issue(NewKey(w.Granter).PrivateKey, Proposer, NewKey("agent").Pub(), capability.Grant{Actions: []string{"read", "command"}, Twins: []string{"transformer-*"}, Commands: []string{"setTap"},
		NotBefore: Start.Add(-time.Hour), Expires: Start.Add(time.Hour)})
	if err != nil {
		w.T.Fatal(err)
	}
	v, err := capability.Verify(token, NewKey(w.Granter).Pub(), Start, Domain)
	if err != nil {
		w.T.Fatal(err)
	}
	return token, v.Digest()
}

func (w *World) propose(id vaultmesh.CommandID, token capability.Token, at time.Duration) {
	p := &receipt.ProposedBody{CommandRef: ref(id), Args: args, IdempotencyKey: "key-" + string(id), TwinVersion: 41, Expires: Start.Add(at + time.Minute), Token: token.String(), Reason: "voltage is low"}
	p.Target = &receipt.ProofTarget{Method: "mcp", Path: "propose_command", Body: vaultmesh.Sum(p.RequestText())}
	p.Proof = capability.SignProof(NewKey("agent").PrivateKey, capability.Target{Domain: Domain, Method: "mcp", Path: "propose_command", Body: p.Target.Body}, Start.Add(at), "proof-nonce-"+string(id))
	w.Add(receipt.CommandProposed, receipt.CommandSubject(id), Proposer, at, p, func(d *receipt.Draft) { d.Capability = w.Block })
}

func (w *World) verdict(outcome, reason string) (json.RawMessage, vaultmesh.Digest) {
	w.T.Helper()
	doc, err := receipt.Canonical([]byte(fmt.Sprintf(`{"query":{"twin":"transformer-4-9","command":"setTap","args":%s},"outcome":%q,"reason":%q,"model":"acpf/1","id":""}`, args, outcome, reason)), receipt.Limits{})
	if err != nil {
		w.T.Fatal(err)
	}
	id := vaultmesh.Sum(doc)
	return json.RawMessage(strings.Replace(string(doc), `"id":""`, `"id":"`+id.String()+`"`, 1)), id
}

// Aligned appends a command that two people approved and that the asset followed, beginning at a time.
func (w *World) Aligned(token capability.Token, at time.Duration) {
	w.T.Helper()
	subject, r := receipt.CommandSubject(Command), ref(Command)
	w.propose(Command, token, at)
	verdict, simulation := w.verdict("safe", "no new violation")
	w.Add(receipt.CommandAssessed, subject, "node:sample", at, &receipt.AssessedBody{CommandRef: r, TwinVersion: 41, Simulation: simulation, Verdict: verdict, Expect: map[string]float64{"tap": 1.025}},
		func(d *receipt.Draft) {
			d.Policy, d.Decision, d.Outcome = policy, "decision-1", "assessed: needs_approval"
		})
	w.challenge = receipt.Challenge{Domain: Domain, Command: Command, Principal: Proposer, Twin: r.Twin, Name: r.Name, Args: args, TwinVersion: 41, Policy: policy, Simulation: simulation, Expires: Start.Add(at + 30*time.Second), Nonce: "nonce-0123456789abcdef"}
	waiting := receipt.AwaitingBody{CommandRef: r, Challenge: w.challenge.Digest(), Count: 2, Roles: []string{"dispatcher"}, Until: w.challenge.Expires, Why: "a tap change needs two dispatchers"}
	w.Add(receipt.CommandAwaitingApproval, subject, "node:sample", at, &waiting, nil)
	var approvals []receipt.SignedApproval
	for _, who := range []string{"operator:alice", "operator:bob"} {
		at += time.Second
		key := NewKey(who)
		approvals = append(approvals, receipt.SignedApproval{Approver: vaultmesh.Principal(who), Key: key.KeyID(), Signature: receipt.SignApproval(key.PrivateKey, w.challenge), Time: Start.Add(at)})
		if len(approvals) == 1 {
			more := waiting
			more.Approvals = slices.Clone(approvals)
			w.Add(receipt.CommandAwaitingApproval, subject, vaultmesh.Principal(who), at, &more, nil)
		}
	}
	w.Add(receipt.CommandApproved, subject, "operator:bob", at, &receipt.ApprovedBody{CommandRef: r, Challenge: w.challenge.Digest(), Approvals: approvals}, nil)
	w.Add(receipt.CommandAuthorized, subject, "node:sample", at, &receipt.AuthorizedBody{CommandRef: r, Simulation: simulation, Challenge: w.challenge.Digest()}, func(d *receipt.Draft) { d.Policy = policy })
	w.Add(receipt.CommandDispatched, subject, "node:sample", at, &receipt.DispatchedBody{CommandRef: r, Device: "sub-4", Expires: Start.Add(at + 10*time.Second)}, nil)
	at += time.Second
	w.Add(receipt.CommandAcknowledged, subject, "device:sub-4", at, &receipt.ResponseBody{CommandRef: r, Device: "sub-4", Code: "done"}, nil)
	seen := Start.Add(at)
	w.messages = []message{{"vm/sub-4/tel/bus-9", `{"t":"` + seen.Format(receipt.TimeFormat) + `","seq":1,"telemetry":{"voltage":1.01}}`},
		{"vm/sub-4/tel/transformer-4-9", `{"t":"` + seen.Format(receipt.TimeFormat) + `","seq":2,"properties":{"tap":1.025}}`}}
	root, err := receipt.BatchRoot(w.messageLeaves())
	if err != nil {
		w.T.Fatal(err)
	}
	batch := w.Add(receipt.TelemetryBatch, receipt.TelemetrySubject(Domain), "node:sample", at, &receipt.BatchBody{Root: root, Count: uint64(len(w.messages)), First: seen, Last: seen}, nil)
	expected := 1.025
	w.Add(receipt.CommandAligned, subject, "node:sample", at, &receipt.ObservedBody{CommandRef: r, Millis: 1000, Observed: map[string]receipt.Observation{"tap": {Value: json.RawMessage("1.025"), Expected: &expected, Time: seen, Batch: &batch.Index, Position: 1}}}, nil)
}

func (w *World) deny(token capability.Token, at time.Duration) {
	w.T.Helper()
	subject, r := receipt.CommandSubject(Denied), ref(Denied)
	w.propose(Denied, token, at)
	verdict, simulation := w.verdict("unsafe", "2 new violations, worst: bus-8")
	w.Add(receipt.CommandAssessed, subject, "node:sample", at, &receipt.AssessedBody{CommandRef: r, TwinVersion: 42, Simulation: simulation, Verdict: verdict}, func(d *receipt.Draft) { d.Policy, d.Outcome = policy, "assessed: deny" })
	w.Add(receipt.CommandDenied, subject, "node:sample", at, &receipt.ReasonBody{CommandRef: r, Stage: "what_if", Reason: "2 new violations, worst: bus-8"}, func(d *receipt.Draft) { d.Policy = policy })
}

func (w *World) messageLeaves() []vaultmesh.Digest {
	var leaves []vaultmesh.Digest
	for _, m := range w.messages {
		leaves = append(leaves, receipt.MessageLeaf(m.topic, []byte(m.payload)))
	}
	return leaves
}

// RootOf returns the root of the first n receipts.
func (w *World) RootOf(n uint64) vaultmesh.Digest {
	w.T.Helper()
	root, err := receipt.BatchRoot(w.Leaves[:n]) // the log and a batch are the same kind of tree
	if err != nil {
		w.T.Fatal(err)
	}
	return root
}

// Checkpoint returns the signed note of a size, cosigned by the witnesses so long after the start.
func (w *World) Checkpoint(size uint64, after time.Duration) []byte {
	w.T.Helper()
	root := w.RootOf(size)
	return w.Sign(string(log.Checkpoint{Origin: Origin, Size: size, Hash: root[:]}.Marshal()), after)
}

// Sign signs the text of a checkpoint as the log and its witnesses do.
func (w *World) Sign(text string, after time.Duration) []byte {
	w.T.Helper()
	signers := []note.Signer{w.LogKey.Note(Origin)}
	for _, name := range w.Witnesses {
		signers = append(signers, cosigner{NewKey("witness " + name), name, Start.Add(after)})
	}
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		w.T.Fatal(err)
	}
	return signed
}

// Policy is a witness policy of two of three.
func (w *World) Policy() string {
	text := ""
	for _, name := range []string{"north", "south", "east"} {
		text += "witness " + name + " " + cosigner{NewKey("witness " + name), name, Start}.verifierKey() + "\n"
	}
	return text + "group all-of-them 2 north south east\nquorum all-of-them\n"
}

// Trust is what an honest auditor pins.
func (w *World) Trust() *receipt.Trust {
	w.T.Helper()
	operator := func(name string, roles ...string) receipt.TrustedOperator {
		return receipt.TrustedOperator{Principal: vaultmesh.Principal(name), Public: NewKey(name).Pub(), Roles: roles}
	}
	pin := func(k Key) []receipt.TrustedKey { return []receipt.TrustedKey{{ID: k.KeyID(), Public: k.Pub()}} }
	t := &receipt.Trust{
		Domain: Domain, Log: receipt.TrustedLog{Origin: Origin, Key: w.LogVerifier()}, ReceiptKeys: pin(NewKey("receipts")), CapabilityRoots: pin(NewKey("root")),
		Operators: []receipt.TrustedOperator{operator("operator:alice", "dispatcher"), operator("operator:bob", "dispatcher")},
		TSARoots:  []string{string(w.Authority.RootPEM())}, Policies: []vaultmesh.Digest{policy}, WitnessPolicy: w.Policy(),
		Bitcoin:  &bitcoin.Params{Network: bitcoin.Regtest, Blocks: w.chain.bitcoin, PinnedOnly: len(w.chain.bitcoin) > 0},
		Ethereum: &ethereum.Params{ChainID: ChainID, Contracts: []ethereum.Address{Contract}, Blocks: w.chain.pinned},
	}
	raw, err := json.Marshal(t)
	if err != nil {
		w.T.Fatal(err)
	}
	if t, err = receipt.LoadTrust(raw); err != nil {
		w.T.Fatal(err)
	}
	return t
}

// cosigner makes cosignatures of C2SP tlog-cosignature with a time of the test's choice.
type cosigner struct {
	key  Key
	name string
	at   time.Time
}

var _ note.Signer = cosigner{}

// Name implements [note.Signer].
func (c cosigner) Name() string { return "witness.test/" + c.name }

// KeyHash implements [note.Signer].
func (c cosigner) KeyHash() uint32 {
	v, err := fnote.NewVerifierForCosignatureV1(c.verifierKey())
	if err != nil {
		panic(err)
	}
	return v.KeyHash()
}

func (c cosigner) verifierKey() string {
	text, err := note.NewEd25519VerifierKey(c.Name(), c.key.Pub())
	if err != nil {
		panic(err)
	}
	if text, err = fnote.VKeyToCosignatureV1(text); err != nil {
		panic(err)
	}
	return text
}

// Sign implements [note.Signer].
func (c cosigner) Sign(msg []byte) ([]byte, error) {
	stamp := uint64(c.at.Unix())
	var b []byte
	for i := range 8 {
		b = append(b, byte(stamp>>(56-8*i)))
	}
	return append(b, ed25519.Sign(c.key.PrivateKey, append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", stamp)), msg...))...), nil
}

// RotateReceipts appends the receipt with which the key of receipts hands over to the key of that name, and goes on with it.
func (w *World) RotateReceipts(name string, after time.Duration) {
	w.T.Helper()
	next := NewKey(name)
	w.rotate(receipt.KeyStatement{Purpose: receipt.PurposeReceipt, Key: next.Pub(), By: w.Key.Pub()}, w.Key.Sign, next.Sign, after)
	w.Key = next
}

// RotateLog appends the receipt with which the log's key hands over to the key of that name, and goes on with it.
func (w *World) RotateLog(name string, after time.Duration) {
	w.T.Helper()
	next := NewKey("log " + name)
	w.rotate(receipt.KeyStatement{Purpose: receipt.PurposeLog, Origin: Origin, Key: next.Pub(), By: w.LogKey.Pub()}, w.LogKey.Sign, next.Sign, after)
	w.LogKey = next
}

func (w *World) rotate(s receipt.KeyStatement, by, possess func([]byte) ([]byte, error), after time.Duration) {
	w.T.Helper()
	s.Act, s.Reason = receipt.KeyRotated, "its time has come"
	w.key(s, by, possess, after)
}

func (w *World) key(s receipt.KeyStatement, by, possess func([]byte) ([]byte, error), after time.Duration) {
	w.T.Helper()
	s.Domain, s.Time = Domain, Start.Add(after)
	body, err := receipt.SignKey(s, by, possess)
	if err != nil {
		w.T.Fatal(err)
	}
	w.Add(s.Act, receipt.KeySubject(Domain), "node:sample", after, &body, nil)
}

// RetireReceipts appends the receipt with which the present key of receipts retires an old one.
func (w *World) RetireReceipts(old Key, after time.Duration) {
	w.T.Helper()
	w.retire(receipt.KeyStatement{Purpose: receipt.PurposeReceipt, Key: old.Pub(), By: w.Key.Pub()}, w.Key.Sign, after)
}

// RetireLog appends the receipt with which the present key of the log retires an old one.
func (w *World) RetireLog(old Key, after time.Duration) {
	w.T.Helper()
	w.retire(receipt.KeyStatement{Purpose: receipt.PurposeLog, Origin: Origin, Key: old.Pub(), By: w.LogKey.Pub()}, w.LogKey.Sign, after)
}

func (w *World) retire(s receipt.KeyStatement, by func([]byte) ([]byte, error), after time.Duration) {
	w.T.Helper()
	s.Act, s.Reason = receipt.KeyRetired, "it was stolen"
	w.key(s, by, nil, after)
}
