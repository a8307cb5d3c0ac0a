// Package control owns the life of a command, from proposal to alignment, as a deterministic state machine that is
// applied from ordered entries, and the service around it that asks the gate, dispatches and watches. It is on floor 4.
//
// It must not know a protocol: devices and faces are behind interfaces declared here.
package control

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/receipt"
)

// State of a command. The transitions are the table in state.go.
type State string

// The states of a command's life.
const (
	Proposed         State = "proposed"
	Assessed         State = "assessed"
	Denied           State = "denied"
	AwaitingApproval State = "awaiting_approval"
	Approved         State = "approved"
	Rejected         State = "rejected"
	Expired          State = "expired"
	Authorized       State = "authorized"
	Dispatched       State = "dispatched"
	Acknowledged     State = "acknowledged"
	Refused          State = "refused"
	TimedOut         State = "timed_out"
	Aligned          State = "aligned"
	Diverged         State = "diverged"
	Cancelled        State = "cancelled"
	Halted           State = "halted"
)

// Transition is one step of a command's life, each proved by one receipt.
type Transition struct {
	State   State               `json:"state"`
	Time    time.Time           `json:"time"`
	Actor   vaultmesh.Principal `json:"actor"`
	Reason  string              `json:"reason,omitempty"`
	Receipt vaultmesh.LogIndex  `json:"receipt,string"`
}

// Command is the record of one command. Shapes: Args is canonical JSON of the command's request.
type Command struct {
	ID             vaultmesh.CommandID `json:"id"`
	Twin           vaultmesh.TwinID    `json:"twin"`
	Name           string              `json:"command"`
	Args           json.RawMessage     `json:"args"`
	Principal      vaultmesh.Principal `json:"principal"`
	Capability     vaultmesh.Digest    `json:"capability"`      // digest of the last block of the token
	IdempotencyKey string              `json:"idempotency_key"` // 1..128 bytes, unique for a principal
	State          State               `json:"state"`
	Reason         string              `json:"reason,omitempty"`
	Reasons        []gate.Reason       `json:"reasons,omitempty"` // why it was denied, for programs
	Proposed       time.Time           `json:"proposed"`
	Expires        time.Time           `json:"expires"` // not dispatched after this
	Policy         vaultmesh.Digest    `json:"policy"`
	Decision       string              `json:"decision,omitempty"`
	Verdict        json.RawMessage     `json:"verdict,omitempty"` // whatif.Verdict
	Needs          *Need               `json:"needs,omitempty"`
	Approvals      []Approval          `json:"approvals,omitempty"`
	Response       json.RawMessage     `json:"response,omitempty"` // what the device answered
	Observed       json.RawMessage     `json:"observed,omitempty"` // reported values that decided aligned or diverged
	AlignMillis    float64             `json:"align_ms,omitempty"` // dispatched to aligned
	History        []Transition        `json:"history"`
	Replayed       bool                `json:"replayed,omitempty"` // this answer repeats an earlier one for the same idempotency key
}

// Need says which approvals a command waits for.
type Need struct {
	Count  int              `json:"count"`
	Roles  []string         `json:"roles"`
	Digest vaultmesh.Digest `json:"digest"` // what a person signs; see gate.Challenge
	Until  time.Time        `json:"until"`
	Why    string           `json:"why"`
}

// Approval is a person's signature over the digest of a challenge.
type Approval struct {
	Approver  vaultmesh.Principal `json:"approver"`
	Key       string              `json:"key"` // identifier of the key, see receipt.KeyID
	Signature []byte              `json:"signature"`
	Time      time.Time           `json:"time"`
}

// Proposal is what a caller asks for.
type Proposal struct {
	Twin           vaultmesh.TwinID `json:"twin"`
	Command        string           `json:"command"`
	Args           json.RawMessage  `json:"args,omitempty"`
	IdempotencyKey string           `json:"idempotency_key"`
	Reason         string           `json:"reason,omitempty"` // the caller's own words, at most 1 KiB, recorded
	// Opening is set where Reason is a reference (receipt.PrivateRef): the caller's own words, kept so that they can be
	// erased. The reference and not the words is what the caller's proof is about.
	Opening *receipt.Opening `json:"-"`
}

// Withheld returns the proposal with a reference in the place of its reason, and the words beside it, so that they can be
// erased later. A client calls it before it signs the request: words that a holder signed are evidence for ever. A proposal
// without words is returned as it is.
func (p Proposal) Withheld(random io.Reader) (Proposal, error) {
	if p.Reason == "" || p.Opening != nil {
		return p, nil
	}
	o := receipt.Opening{Text: p.Reason}
	if _, err := io.ReadFull(random, o.Salt[:]); err != nil {
		return p, vaultmesh.Errorf(vaultmesh.Internal, "command.propose", "reason", "no random numbers").Because(err)
	}
	p.Reason, p.Opening = receipt.PrivateRef(o.Commitment()), &o
	return p, nil
}

// HaltState is the domain's stop switch.
type HaltState struct {
	Halted bool                `json:"halted"`
	By     vaultmesh.Principal `json:"by,omitempty"`
	Reason string              `json:"reason,omitempty"`
	Since  time.Time           `json:"since,omitzero"`
}

// Caller is an authenticated principal: a face builds it after it has verified the capability token and the proof of
// possession that binds the request to the token's holder.
type Caller struct {
	Principal  vaultmesh.Principal
	Capability *capability.Verified
	Token      string            // the token as presented; it names public keys only and goes into the proposal's receipt
	Proof      string            // the holder's signature over the request; empty where mTLS proved possession
	Key        ed25519.PublicKey // the holder's key
	// Target is the request that Proof is about; nil where there is no proof.
	Target *receipt.ProofTarget
	// Opening is what came beside the request and is no part of what Proof is about: the words behind a reference in it.
	Opening *receipt.Opening
}

// Filter selects commands; zero fields select all. Newest first.
type Filter struct {
	State     State
	Twin      vaultmesh.TwinID
	Principal vaultmesh.Principal
	Limit     int // 1..1000, default 100
}
