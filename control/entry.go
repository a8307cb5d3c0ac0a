package control

import (
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/lawchain/private"
	"vaultmesh.org/vaultmesh/receipt"
)

// Entry is one ordered input of the state machine. Everything that is not determined by the state (time, randomness,
// what the gate saw) is in the entry, so that every replica that applies the same entries in the same order reaches
// the same state and the same receipts. Exactly one of the pointers is set.
type Entry struct {
	Time  time.Time           `json:"time"`
	Actor vaultmesh.Principal `json:"actor"`

	Propose *ProposeEntry `json:"propose,omitempty"`
	Approve *ApproveEntry `json:"approve,omitempty"`
	End     *EndEntry     `json:"end,omitempty"`
	Deliver *DeliverEntry `json:"deliver,omitempty"`
	Respond *RespondEntry `json:"respond,omitempty"`
	Observe *ObserveEntry `json:"observe,omitempty"`
	Halt    *HaltEntry    `json:"halt,omitempty"`
	Revoke  *RevokeEntry  `json:"revoke,omitempty"`
	Erase   *EraseEntry   `json:"erase,omitempty"`

	// Private is a text of the actor's, encrypted; the entry holds a reference to it in its place.
	Private *private.Sealed `json:"private,omitempty"`
}

// ProposeEntry is a proposal with what the gate decided about it.
type ProposeEntry struct {
	ID             vaultmesh.CommandID  `json:"id"`
	Twin           vaultmesh.TwinID     `json:"twin"`
	TwinVersion    uint64               `json:"twin_version,string"`
	Device         vaultmesh.DeviceID   `json:"device"`
	Command        string               `json:"command"`
	Args           json.RawMessage      `json:"args"`
	IdempotencyKey string               `json:"idempotency_key"`
	Reason         string               `json:"reason,omitempty"`
	Expires        time.Time            `json:"expires"`
	Capability     vaultmesh.Digest     `json:"capability"`
	Token          string               `json:"token,omitempty"`
	Proof          string               `json:"proof,omitempty"`
	Target         *receipt.ProofTarget `json:"target,omitempty"`
	Judgement      Judgement            `json:"judgement"`
}

// Judgement is the gate's assessment in the form in which it is ordered and stored.
type Judgement struct {
	Outcome   gate.Outcome               `json:"outcome"`
	Stage     string                     `json:"stage"`
	Reasons   []gate.Reason              `json:"reasons,omitempty"`
	Policy    vaultmesh.Digest           `json:"policy"`
	Decision  string                     `json:"decision,omitempty"`
	Stages    json.RawMessage            `json:"stages,omitempty"`  // canonical
	Verdict   json.RawMessage            `json:"verdict,omitempty"` // canonical whatif.Verdict
	VerdictID vaultmesh.Digest           `json:"verdict_id"`
	Expect    map[string]float64         `json:"expect,omitempty"`
	Tolerance map[string]float64         `json:"tolerance,omitempty"` // of the values in Expect
	Desired   map[string]json.RawMessage `json:"desired,omitempty"`
	Need      *gate.Need                 `json:"need,omitempty"`
	Challenge json.RawMessage            `json:"challenge,omitempty"` // canonical receipt.Challenge
	Counts    []Count                    `json:"counts,omitempty"`
	Inputs    json.RawMessage            `json:"inputs,omitempty"` // canonical receipt.Inputs
	Blocks    []vaultmesh.Digest         `json:"blocks,omitempty"` // of the proposer's capability: one revoked meanwhile denies
}

// Count is a quota that an authorized command uses up: at most Max for Key in the window that begins at Window, or in
// the next one where that has begun by the time the command is ordered.
type Count struct {
	Key    string `json:"key"`
	Rule   string `json:"rule"`
	Max    uint64 `json:"max,string"`
	Window int64  `json:"window"` // Unix seconds; 0 for a quota that never starts again
}

// ApproveEntry adds one approval. Have is the number of approvals that it was judged with: another that came first
// makes it fail with Conflict. Judgement is set where this approval completes the number asked for.
type ApproveEntry struct {
	Command   vaultmesh.CommandID `json:"command"`
	Approval  Approval            `json:"approval"`
	Have      int                 `json:"have"`
	Judgement *Judgement          `json:"judgement,omitempty"`
}

// EndEntry moves a command to State without more than a reason: Rejected, Expired, Cancelled, TimedOut, Denied.
type EndEntry struct {
	Command vaultmesh.CommandID `json:"command"`
	State   State               `json:"state"`
	Reason  string              `json:"reason"`
}

// DeliverEntry says that the device has the command: it leaves the outbox.
type DeliverEntry struct {
	Command vaultmesh.CommandID `json:"command"`
}

// RespondEntry is the device's answer.
type RespondEntry struct {
	Response Response `json:"response"`
}

// ObserveEntry says how the asset behaved: State is Aligned or Diverged.
type ObserveEntry struct {
	Command  vaultmesh.CommandID            `json:"command"`
	State    State                          `json:"state"`
	Observed map[string]receipt.Observation `json:"observed"`
	Millis   float64                        `json:"millis,omitempty"`
	Reason   string                         `json:"reason,omitempty"`
	Messages []Message                      `json:"messages,omitempty"` // what Observed rests on, kept for ever
}

// Message is one telemetry message as the device sent it, with its place in the batch that proves it.
type Message struct {
	Batch    vaultmesh.LogIndex `json:"batch,string"`
	Position int                `json:"position"`
	Raw      []byte             `json:"raw"`
}

// HaltEntry sets or clears the domain's stop switch. Withdrawn are dispatched commands that did not reach their device.
type HaltEntry struct {
	Set       bool                  `json:"set"`
	Reason    string                `json:"reason"`
	Withdrawn []vaultmesh.CommandID `json:"withdrawn,omitempty"`
}

// RevokeEntry revokes every token that holds the block.
type RevokeEntry struct {
	Block  vaultmesh.Digest `json:"block"`
	Reason string           `json:"reason"`
}

// EraseEntry says that the key of a principal's private texts is destroyed. Kept is how many texts the principal had.
type EraseEntry struct {
	Principal vaultmesh.Principal `json:"principal"`
	Kept      uint64              `json:"kept,string"`
	Reason    string              `json:"reason"`
}

// Outbound is one authorized command on its way to a device.
type Outbound struct {
	Seq     uint64              `json:"seq,string"` // log index of the dispatched receipt: ascending in order of dispatch
	Device  vaultmesh.DeviceID  `json:"device"`
	Twin    vaultmesh.TwinID    `json:"twin"`
	Command vaultmesh.CommandID `json:"command"`
	Name    string              `json:"name"`
	Args    json.RawMessage     `json:"args,omitempty"`
	Expires time.Time           `json:"expires"`
}

// Response is what a device answered to a command; Device is the authenticated sender.
type Response struct {
	Command vaultmesh.CommandID `json:"command"`
	Device  vaultmesh.DeviceID  `json:"device"`
	OK      bool                `json:"ok"`
	Code    string              `json:"code"`
	Detail  string              `json:"detail,omitempty"`
	Body    json.RawMessage     `json:"body,omitempty"`
	Time    time.Time           `json:"time"`
}
