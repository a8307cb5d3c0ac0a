package receipt

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
)

// CommandRef begins the body of every receipt of a command; it is the same in all of them.
type CommandRef struct {
	Command    vaultmesh.CommandID `json:"command"`
	Twin       vaultmesh.TwinID    `json:"twin"`
	Name       string              `json:"name"`        // of the command in the twin's model
	ArgsDigest vaultmesh.Digest    `json:"args_digest"` // vaultmesh.Sum of the canonical arguments
}

// ProposedBody is the body of command.proposed. The receipt's Actor is the proposer.
type ProposedBody struct {
	CommandRef
	Args           json.RawMessage `json:"args"` // canonical; ArgsDigest is its digest
	IdempotencyKey string          `json:"idempotency_key"`
	TwinVersion    uint64          `json:"twin_version,string"` // version of the twin when it was proposed
	Expires        time.Time       `json:"expires"`             // not dispatched after this
	Token          string          `json:"token,omitempty"`     // the capability as presented; it holds public keys only
	Proof          string          `json:"proof,omitempty"`     // the holder's signature over the request, see capability.SignProof
	Target         *ProofTarget    `json:"target,omitempty"`    // the request that Proof is about
	Reason         string          `json:"reason,omitempty"`    // the caller's own words
}

// ProofTarget is the request to which a proof of possession is bound: what capability.Target says, without the domain.
type ProofTarget struct {
	Method string           `json:"method"` // "POST", or "mcp" for a tool call
	Path   string           `json:"path"`   // the path with its query, or the tool's name
	Body   vaultmesh.Digest `json:"body"`   // digest of the exact bytes of the request's body
	// Request holds those bytes: a JSON object whose members twin, command, args, idempotency_key and reason are
	// the proposal's. It may be left out where the body was [ProposedBody.RequestText].
	Request []byte `json:"request,omitempty"`
}

// RequestText returns the canonical form of a request that proposes exactly this command: RFC 8785 JSON with the
// members args (left out if empty), command, idempotency_key, reason (left out if empty) and twin. A client that sends
// and signs these bytes makes its proof checkable from the receipt alone.
func (b *ProposedBody) RequestText() []byte {
	t := []byte{'{'}
	if len(b.Args) > 0 {
		t = append(append(append(t, `"args":`...), b.Args...), ',')
	}
	t = appendString(append(t, `"command":`...), b.Name)
	t = appendString(append(t, `,"idempotency_key":`...), b.IdempotencyKey)
	if b.Reason != "" {
		t = appendString(append(t, `,"reason":`...), b.Reason)
	}
	t = appendString(append(t, `,"twin":`...), string(b.Twin))
	return append(t, '}')
}

// AssessedBody is the body of command.assessed; the receipt's Policy and Decision are those of the gate, and its Outcome
// is what the gate said: "assessed: " and allow, deny or needs_approval.
type AssessedBody struct {
	CommandRef
	TwinVersion uint64             `json:"twin_version,string"`
	Simulation  vaultmesh.Digest   `json:"simulation,omitzero"` // the verdict's id; absent where nothing could be simulated
	Verdict     json.RawMessage    `json:"verdict,omitempty"`   // the whole verdict (whatif.Verdict), canonical
	Stages      json.RawMessage    `json:"stages,omitempty"`    // what each stage of the gate said
	Expect      map[string]float64 `json:"expect,omitempty"`    // values that the asset should report
	Tolerance   map[string]float64 `json:"tolerance,omitempty"` // how far what it reports may be from them to count as aligned; a boolean counts as 0 or 1
	Inputs      vaultmesh.Digest   `json:"inputs,omitzero"`     // of everything that the gate saw, see Inputs
}

// ReasonBody is the body of the kinds that need no more than a reason.
type ReasonBody struct {
	CommandRef
	Reason string `json:"reason,omitempty"`
	Stage  string `json:"stage,omitempty"` // the stage of the gate that refused
	// Inputs is of what the gate saw, of a denial after an approval; before one it is in the assessment.
	Inputs vaultmesh.Digest `json:"inputs,omitzero"`
}

// AwaitingBody is the body of command.awaiting_approval. With the first one Approvals is empty; one more follows for
// each approval that does not yet complete the number asked for.
type AwaitingBody struct {
	CommandRef
	Challenge vaultmesh.Digest `json:"challenge"` // digest of the challenge that must be signed
	Count     int              `json:"count"`     // how many different operators must approve
	Roles     []string         `json:"roles"`     // each approver has one of these
	Until     time.Time        `json:"until"`
	Why       string           `json:"why,omitempty"`
	Approvals []SignedApproval `json:"approvals,omitempty"`
}

// SignedApproval is one person's signature over the challenge.
type SignedApproval struct {
	Approver  vaultmesh.Principal `json:"approver"`
	Key       string              `json:"key"`       // KeyID of the operator's key
	Signature []byte              `json:"signature"` // see SignApproval
	Time      time.Time           `json:"time"`
}

// ApprovedBody is the body of command.approved: the signatures of all who approved.
type ApprovedBody struct {
	CommandRef
	Challenge vaultmesh.Digest `json:"challenge"`
	Approvals []SignedApproval `json:"approvals"`
}

// AuthorizedBody is the body of command.authorized: every precondition held at Time of the receipt.
type AuthorizedBody struct {
	CommandRef
	Simulation vaultmesh.Digest `json:"simulation,omitzero"` // the verdict that it rests on
	Verdict    json.RawMessage  `json:"verdict,omitempty"`   // that verdict, where the command was simulated again since it was assessed
	Challenge  vaultmesh.Digest `json:"challenge,omitzero"`  // the approved challenge, where approval was asked
	Inputs     vaultmesh.Digest `json:"inputs,omitzero"`     // of everything that the gate saw, see Inputs
}

// DispatchedBody is the body of command.dispatched.
type DispatchedBody struct {
	CommandRef
	Device  vaultmesh.DeviceID `json:"device"`
	Expires time.Time          `json:"expires"` // the device must not act after this
}

// ResponseBody is the body of command.acknowledged and command.refused: what the device answered.
type ResponseBody struct {
	CommandRef
	Device   vaultmesh.DeviceID `json:"device"`
	Code     string             `json:"code"`
	Detail   string             `json:"detail,omitempty"`
	Response json.RawMessage    `json:"response,omitempty"` // the response's body, canonical
}

// ObservedBody is the body of command.aligned and command.diverged. Where the assessment expects nothing, a command is
// aligned by its acknowledgement and Observed is empty.
type ObservedBody struct {
	CommandRef
	Observed map[string]Observation `json:"observed"`           // by the name of the property or telemetry
	Millis   float64                `json:"align_ms,omitempty"` // dispatched to observed
	Reason   string                 `json:"reason,omitempty"`
}

// Observation is one reported value and, where it came by a telemetry batch, which message of which batch proves it.
type Observation struct {
	Value     json.RawMessage     `json:"value"`
	Expected  *float64            `json:"expected,omitempty"`     // by the assessment
	Tolerance *float64            `json:"tolerance,omitempty"`    // how far the value may be from it, by the assessment
	Time      time.Time           `json:"time"`                   // at the source
	Batch     *vaultmesh.LogIndex `json:"batch,omitempty,string"` // log index of the telemetry.batch receipt
	Position  int                 `json:"position,omitempty"`     // index of the message within the batch
}

// BatchBody is the body of telemetry.batch: the RFC 6962 root over its messages' leaves, see [MessageLeaf].
//
// The members are in canonical order, so that this body, the one of the highest rate, is written in one pass.
type BatchBody struct {
	Count uint64           `json:"count,string"`
	First time.Time        `json:"first"` // earliest and latest time of the messages at their sources
	Last  time.Time        `json:"last"`
	Root  vaultmesh.Digest `json:"root"`
}

// encode returns what [Body] would without it.
func (b *BatchBody) encode() (json.RawMessage, error) {
	out := make([]byte, 0, 192)
	out = append(strconv.AppendUint(append(out, `{"count":"`...), b.Count, 10), `","first":"`...)
	out, err := b.First.AppendText(out)
	if err == nil {
		out, err = b.Last.AppendText(append(out, `","last":"`...))
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "receipt.body", "", "cannot be written as JSON").Because(err)
	}
	return append(appendDigest(append(out, `","root":`...), b.Root), '}'), nil
}

// GenesisBody is the body of domain.genesis: the keys with which the domain begins.
type GenesisBody struct {
	Origin         string   `json:"origin"`          // of the log's checkpoints
	LogKey         string   `json:"log_key"`         // verifier key of the log (signed-note vkey)
	ReceiptKeys    [][]byte `json:"receipt_keys"`    // ed25519 public keys
	CapabilityKeys [][]byte `json:"capability_keys"` // ed25519 public keys
}

// CharterBody is the body of charter.adopted.
type CharterBody struct {
	Charter vaultmesh.Digest `json:"charter"` // digest of the document
	Version string           `json:"version"`
}

// TwinBody is the body of twin.defined.
type TwinBody struct {
	Twin       vaultmesh.TwinID   `json:"twin"`
	Model      string             `json:"model"` // a DTMI
	Device     vaultmesh.DeviceID `json:"device,omitempty"`
	Definition vaultmesh.Digest   `json:"definition"` // digest of the canonical definition
}

// HaltBody is the body of halt.set and halt.cleared.
type HaltBody struct {
	Reason string `json:"reason"`
}

// CapabilityBody is the body of capability.issued and capability.revoked.
type CapabilityBody struct {
	Block     vaultmesh.Digest    `json:"block"`
	Principal vaultmesh.Principal `json:"principal,omitempty"`
	Holder    string              `json:"holder,omitempty"` // KeyID of the holder's key
	Expires   time.Time           `json:"expires,omitzero"`
	Reason    string              `json:"reason,omitempty"`
}

// OperatorBody is the body of operator.enrolled; it replaces what was enrolled before for the same operator.
type OperatorBody struct {
	Operator vaultmesh.Principal `json:"operator"`
	Key      []byte              `json:"key"` // ed25519 public key
	Roles    []string            `json:"roles"`
}

// NodeBody is the body of node.started.
type NodeBody struct {
	Node    vaultmesh.Principal `json:"node"`
	Version string              `json:"version"`
	Size    uint64              `json:"size,string"` // of the log when the node started
}

// Body returns v as a canonical body for [Draft]. Times within it are cut to the microsecond by the caller.
func Body(v any) (json.RawMessage, error) {
	if b, ok := v.(BatchBody); ok { // the one of the highest rate
		return b.encode()
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "receipt.body", "", "cannot be written as JSON").Because(err)
	}
	return Canonical(raw, Limits{Bytes: MaxEntry})
}

// ReadBody decodes a receipt's body into the type that its kind documents. It accepts only what [Body] would have
// written from the result: no unknown member, no other spelling.
func ReadBody[T any](r *Receipt) (T, error) {
	var v T
	if err := json.Unmarshal(r.Body, &v); err != nil {
		return v, vaultmesh.Errorf(vaultmesh.Invalid, "receipt.body", r.Kind, "not the documented body").Because(err)
	}
	again, err := Body(v)
	if err != nil {
		return v, err
	}
	if !bytes.Equal(again, r.Body) {
		return v, vaultmesh.Errorf(vaultmesh.Invalid, "receipt.body", r.Kind, "it has members that %T does not document, or in another form", v)
	}
	return v, nil
}
