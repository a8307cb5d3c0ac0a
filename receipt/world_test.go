package receipt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// story is a domain that runs one command through its whole life and exports it. The hooks let a test be a domain that
// cheats, or somebody who tampers with the export.
type story struct {
	t       *testing.T
	domain  vaultmesh.Domain
	key     testKey                      // signs receipts and the manifest
	body    func(kind string, body any)  // edits a body before it is encoded
	draft   func(d *Draft)               // edits a draft before it is encoded
	skip    func(kind string) bool       // leaves a receipt out of the log
	parts   func(parts []Part) []Part    // edits the export before its manifest is signed
	stamped func(note []byte) []byte     // what the authority is asked to stamp
	approve []string                     // who approves
	more    func(block vaultmesh.Digest) // tells further commands under the same capability

	envelopes [][]byte
	leaves    []vaultmesh.Digest
	links     map[string]Link
	at        map[string]Ref // last receipt of each kind
	noteKey   string
	noteV     string
	tsa       *testTSA
	grant     func(g *capability.Grant)
}

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, domain: "dev", key: newTestKey("receipt"), links: map[string]Link{}, at: map[string]Ref{}, approve: []string{"operator:alice", "operator:bob"}}
	var err error
	s.noteKey, s.noteV, err = note.GenerateKey(strings.NewReader(strings.Repeat("seed of the test log key", 4)), "vaultmesh.test/dev")
	if err != nil {
		t.Fatal(err)
	}
	s.tsa = sharedTSA(t)
	return s
}

func (s *story) add(kind, subject string, actor vaultmesh.Principal, after time.Duration, body any, edit func(*Draft)) Ref {
	s.t.Helper()
	if s.skip != nil && s.skip(kind) {
		return s.at[kind]
	}
	if s.body != nil {
		s.body(kind, body)
	}
	raw, err := Body(body)
	if err != nil {
		s.t.Fatal(kind, err)
	}
	d := Draft{Kind: kind, Subject: subject, Actor: actor, Time: t0.Add(after), Body: raw}
	if edit != nil {
		edit(&d)
	}
	if s.draft != nil {
		s.draft(&d)
	}
	var signer Signer = s.key
	if kind == TelemetryBatch {
		signer = nil
	}
	env, err := Encode(s.domain, d, s.links[d.Subject], signer)
	if err != nil {
		s.t.Fatal(kind, err)
	}
	ref := Ref{Index: vaultmesh.LogIndex(len(s.envelopes)), Leaf: LeafHash(env)}
	s.envelopes, s.leaves = append(s.envelopes, env), append(s.leaves, ref.Leaf)
	s.links[d.Subject] = Link{Seq: s.links[d.Subject].Seq + 1, Prev: &ref}
	s.at[kind] = ref
	return ref
}

const commandID = vaultmesh.CommandID("01JCMD")

var (
	args       = json.RawMessage(`{"ratio":1.025}`)
	commandRef = CommandRef{Command: commandID, Twin: "transformer-4-9", Name: "setTap", ArgsDigest: vaultmesh.Sum(args)}
	policy     = vaultmesh.Sum([]byte("policy"))
	proposer   = vaultmesh.Principal("agent:dispatcher")
)

// export tells the story and returns the bundle.
func (s *story) export() []byte {
	t := s.t
	t.Helper()
	s.add(DomainGenesis, DomainSubject(s.domain), "node:dev", 0, &GenesisBody{Origin: "vaultmesh.test/dev", LogKey: s.noteV, ReceiptKeys: [][]byte{s.key.pub()}, CapabilityKeys: [][]byte{newTestKey("root").pub()}}, nil)
	token := s.token()
	v, err := capability.Verify(token, newTestKey("root").pub(), t0, s.domain)
	if err != nil {
		t.Fatal(err)
	}
	s.add(CapabilityIssued, CapabilitySubject(v.Digest()), "operator:alice", 0, &CapabilityBody{Block: v.Digest(), Principal: proposer, Holder: newTestKey("agent").KeyID()}, nil)
	batch := s.batch(1, nil)
	verdict, simulation := sampleVerdict(t)
	command := CommandSubject(commandID)
	proposed := &ProposedBody{CommandRef: commandRef, Args: args, IdempotencyKey: "key-1", TwinVersion: 41, Expires: t0.Add(time.Minute), Token: token.String(), Reason: "voltage is low"}
	proposed.Target = &ProofTarget{Method: "mcp", Path: "propose_command", Body: vaultmesh.Sum(proposed.RequestText())}
	proposed.Proof = capability.SignProof(newTestKey("agent").PrivateKey, capability.Target{Domain: s.domain, Method: "mcp", Path: "propose_command", Body: proposed.Target.Body}, t0, "proof-nonce-0123456789")
	s.add(CommandProposed, command, proposer, time.Second, proposed, func(d *Draft) { d.Capability, d.Causes = v.Digest(), []Ref{s.at[CapabilityIssued]} })
	s.add(CommandAssessed, command, "node:dev", time.Second, &AssessedBody{CommandRef: commandRef, TwinVersion: 41, Simulation: simulation, Verdict: verdict, Expect: map[string]float64{"tap": 1.025}},
		func(d *Draft) {
			d.Policy, d.Decision, d.Outcome, d.Causes = policy, "decision-1", "assessed: needs_approval", []Ref{s.at[CommandProposed], batch}
		})
	challenge := Challenge{Domain: s.domain, Command: commandID, Principal: proposer, Twin: "transformer-4-9", Name: "setTap", Args: args, TwinVersion: 41, Policy: policy, Simulation: simulation, Expires: t0.Add(30 * time.Second), Nonce: "nonce-0123456789abcdef"}
	if s.body != nil {
		s.body("challenge", &challenge)
	}
	awaiting := AwaitingBody{CommandRef: commandRef, Challenge: challenge.Digest(), Count: 2, Roles: []string{"dispatcher"}, Until: t0.Add(30 * time.Second), Why: "a tap change needs two dispatchers"}
	s.add(CommandAwaitingApproval, command, "node:dev", time.Second, &awaiting, nil)
	var approvals []SignedApproval
	for i, who := range s.approve {
		key := newTestKey(who)
		approvals = append(approvals, SignedApproval{Approver: vaultmesh.Principal(who), Key: key.KeyID(), Signature: SignApproval(key.PrivateKey, challenge), Time: t0.Add(time.Duration(i+2) * time.Second)})
		if i == 0 {
			more := awaiting
			more.Approvals = approvals
			s.add(CommandAwaitingApproval, command, vaultmesh.Principal(who), 2*time.Second, &more, nil)
		}
	}
	s.add(CommandApproved, command, "operator:bob", 3*time.Second, &ApprovedBody{CommandRef: commandRef, Challenge: challenge.Digest(), Approvals: approvals}, nil)
	s.add(CommandAuthorized, command, "node:dev", 3*time.Second, &AuthorizedBody{CommandRef: commandRef, Simulation: simulation, Challenge: challenge.Digest()}, func(d *Draft) { d.Policy, d.Decision = policy, "decision-2" })
	s.add(CommandDispatched, command, "node:dev", 3*time.Second, &DispatchedBody{CommandRef: commandRef, Device: "sub-4", Expires: t0.Add(10 * time.Second)}, func(d *Draft) {
		if cause, ok := s.at[CommandAuthorized]; ok {
			d.Causes = []Ref{cause}
		}
	})
	s.add(CommandAcknowledged, command, "device:sub-4", 4*time.Second, &ResponseBody{CommandRef: commandRef, Device: "sub-4", Code: "done"}, nil)
	messages := [][2]string{}
	for i := range 5 {
		messages = append(messages, [2]string{"vm/sub-4/tel/transformer-4-9", fmt.Sprintf(`{"t":"2026-01-02T03:04:09.%06dZ","seq":%d,"properties":{"tap":1.025},"telemetry":{"loading":0.4}}`, 123453+i, i)})
	}
	seen := s.batch(5, messages)
	expected := 1.025
	observed := &ObservedBody{CommandRef: commandRef, Observed: map[string]Observation{"tap": {Value: json.RawMessage("1.025"), Expected: &expected, Time: t0.Add(4 * time.Second), Batch: &seen.Index, Position: 3}}, Millis: 1250.5}
	s.add(CommandAligned, command, "node:dev", 5*time.Second, observed, func(d *Draft) { d.Causes = []Ref{s.at[CommandDispatched], seen} })
	if s.more != nil {
		s.more(v.Digest())
	}
	return s.seal(challenge, seen, messages)
}

// seal signs the checkpoint, has it stamped and packs the bundle.
func (s *story) seal(challenge Challenge, seen Ref, messages [][2]string) []byte {
	s.t.Helper()
	root, err := BatchRoot(s.leaves) // the log and a batch are the same kind of tree
	if err != nil {
		s.t.Fatal(err)
	}
	checkpoint := s.checkpoint(uint64(len(s.leaves)), root)
	what, err := CheckpointBody(checkpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.stamped != nil {
		what = s.stamped(checkpoint)
	}
	parts := []Part{CheckpointPart(checkpoint), ChallengePart(challenge), TimestampPart(uint64(len(s.leaves)), 0, s.tsa.stamp(s.t, what, t0.Add(6*time.Second)))}
	for i, env := range s.envelopes {
		path, err := ProveMessage(s.leaves, i)
		if err != nil {
			s.t.Fatal(err)
		}
		parts = append(parts, ReceiptPart(vaultmesh.LogIndex(i), env), InclusionPart(vaultmesh.LogIndex(i), path, checkpoint))
	}
	path, err := ProveMessage(messageLeaves(messages), 3)
	if err != nil {
		s.t.Fatal(err)
	}
	parts = append(parts, MessagePart(MessageProof{Batch: seen.Index, Index: 3, Path: path, Topic: messages[3][0], Payload: []byte(messages[3][1])}))
	if s.parts != nil {
		parts = s.parts(parts)
	}
	bundle, err := EncodeBundle(s.domain, parts, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return bundle
}

func (s *story) checkpoint(size uint64, root vaultmesh.Digest) []byte {
	s.t.Helper()
	signer, err := note.NewSigner(s.noteKey)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: string(log.Checkpoint{Origin: "vaultmesh.test/dev", Size: size, Hash: root[:]}.Marshal())}, signer)
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

func (s *story) token() capability.Token {
	s.t.Helper()
	g := capability.Grant{Actions: []string{"read", "command"}, Twins: []string{"transformer-*"}, Commands: []string{"setTap"}, NotBefore: t0.Add(-time.Hour), Expires: t0.Add(time.Hour)}
	if s.grant != nil {
		s.grant(&g)
	}
	token, err := capability.Issue(newTestKey("root").PrivateKey, proposer, newTestKey("agent").pub(), g)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func (s *story) batch(n int, messages [][2]string) Ref {
	s.t.Helper()
	for i := len(messages); i < n; i++ {
		messages = append(messages, [2]string{"vm/sub-1/tel/bus-1", fmt.Sprint(i)})
	}
	root, err := BatchRoot(messageLeaves(messages))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.add(TelemetryBatch, TelemetrySubject(s.domain), "node:dev", 4*time.Second, &BatchBody{Root: root, Count: uint64(n), First: t0, Last: t0.Add(time.Second)}, nil)
}

func messageLeaves(messages [][2]string) []vaultmesh.Digest {
	var leaves []vaultmesh.Digest
	for _, m := range messages {
		leaves = append(leaves, MessageLeaf(m[0], []byte(m[1])))
	}
	return leaves
}

// trust is what an honest auditor pins for the story's domain.
func trust(t *testing.T, s *story) *Trust {
	t.Helper()
	operator := func(name string, roles ...string) TrustedOperator {
		return TrustedOperator{Principal: vaultmesh.Principal(name), Public: newTestKey(name).pub(), Roles: roles}
	}
	file := Trust{
		Domain: "dev", Log: TrustedLog{Origin: "vaultmesh.test/dev", Key: s.noteV},
		ReceiptKeys:     []TrustedKey{{ID: newTestKey("receipt").KeyID(), Public: newTestKey("receipt").pub()}},
		CapabilityRoots: []TrustedKey{{ID: newTestKey("root").KeyID(), Public: newTestKey("root").pub()}},
		Operators:       []TrustedOperator{operator("operator:alice", "dispatcher", "admin"), operator("operator:bob", "dispatcher"), operator("operator:carol", "viewer"), operator(string(proposer), "dispatcher")},
		TSARoots:        []string{s.tsa.rootPEM},
		Policies:        []vaultmesh.Digest{policy},
	}
	raw, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadTrust(raw)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func sampleVerdict(t *testing.T) (json.RawMessage, vaultmesh.Digest) {
	t.Helper()
	return sealVerdict(t, fmt.Sprintf(`{"query":{"twin":"transformer-4-9","command":"setTap","args":%s},"outcome":"safe","reason":"no new violation","id":""}`, args))
}

func sealVerdict(t *testing.T, text string) (json.RawMessage, vaultmesh.Digest) {
	t.Helper()
	doc, err := Canonical([]byte(text), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	id := vaultmesh.Sum(doc)
	return json.RawMessage(strings.Replace(string(doc), `"id":""`, `"id":"`+id.String()+`"`, 1)), id
}

// testTSA is a time-stamping authority with keys of its own, for this test binary.
type testTSA struct {
	rootPEM string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

var theTSA *testTSA

func sharedTSA(t *testing.T) *testTSA {
	t.Helper()
	if theTSA == nil {
		theTSA = newTestTSA(t, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}, true)
	}
	return theTSA
}

func newTestTSA(t *testing.T, usages []x509.ExtKeyUsage, critical bool) *testTSA {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: t0.Add(-time.Hour), NotAfter: t0.AddDate(100, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test stamper"}, NotBefore: t0.Add(-time.Hour), NotAfter: t0.AddDate(100, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature}
	var oids []asn1.ObjectIdentifier
	for _, u := range usages {
		oids = append(oids, map[x509.ExtKeyUsage]asn1.ObjectIdentifier{x509.ExtKeyUsageTimeStamping: {1, 3, 6, 1, 5, 5, 7, 3, 8}, x509.ExtKeyUsageClientAuth: {1, 3, 6, 1, 5, 5, 7, 3, 2}}[u])
	}
	eku, err := asn1.Marshal(oids)
	if err != nil {
		t.Fatal(err)
	}
	leaf.ExtraExtensions = []pkix.Extension{{Id: oidExtKeyUsage, Critical: critical, Value: eku}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(leafDER)
	if err != nil {
		t.Fatal(err)
	}
	return &testTSA{rootPEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})), cert: cert, key: key}
}

func (a *testTSA) stamp(t *testing.T, data []byte, at time.Time) []byte {
	t.Helper()
	sum := vaultmesh.Sum(data)
	ts := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, AddTSACertificate: true, Accuracy: time.Second}
	response, err := ts.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// newStoryWithLog is a story whose log has another name and key.
func newStoryWithLog(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	var err error
	if s.noteKey, s.noteV, err = note.GenerateKey(strings.NewReader(strings.Repeat("another seed of a log key", 4)), "vaultmesh.test/other"); err != nil {
		t.Fatal(err)
	}
	return s
}
