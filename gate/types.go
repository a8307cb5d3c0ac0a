package gate

import (
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// Request is one command to assess. It is assessed twice: when it is proposed, and again at dispatch; then with
// Challenge, Approvals and Simulated set where approvals were needed.
type Request struct {
	ID         vaultmesh.CommandID // goes into the challenge
	Principal  vaultmesh.Principal
	Capability *capability.Verified
	Twin       twin.Twin       // as it is in View
	Command    string          // a command of the twin's model
	Args       json.RawMessage // canonical JSON object (RFC 8785), valid by the model; empty counts as {}
	View       whatif.View     // the cut of the live twins that decides
	Now        time.Time
	Expires    time.Time // the command is not dispatched after this; bounds the time to approve
	Halted     bool      // the domain's stop switch

	// Counts holds, for each rate rule that [Gate.Rates] returns for the command, how many commands were counted in
	// the rule's window before this one. A rule without its count is a refusal.
	Counts []RateCount

	// Challenge is the one that was signed, as [Assessment.Challenge] gave it; Approvals are the signatures over it;
	// Simulated is the verdict that the approvers saw, nil where the challenge names none.
	Challenge *receipt.Challenge
	Approvals []Approval
	Simulated *whatif.Verdict
}

// Approval is a person's signature over a challenge. Its fields are those of control.Approval.
type Approval struct {
	Approver  vaultmesh.Principal `json:"approver"`
	Key       string              `json:"key"` // receipt.KeyID of the approver's key
	Signature []byte              `json:"signature"`
	Time      time.Time           `json:"time"`
}

// RateCount is the number of commands counted under one rule: by twin or by principal, as the rule says.
type RateCount struct {
	Rule  string `json:"rule"` // RateLimit.ID
	Count uint64 `json:"count,string"`
}

// Outcome of an assessment. The zero Outcome is none of them and must be taken for Deny.
type Outcome string

// The outcomes.
const (
	Allow         Outcome = "allow"
	Deny          Outcome = "deny"
	NeedsApproval Outcome = "needs_approval"
)

// The stages, in their order.
const (
	StageCapability = "capability"
	StageLimits     = "limits"
	StagePolicy     = "policy"
	StageWhatIf     = "what_if"
	StageApproval   = "approval"
)

// Reason says why, for a program and for a person. Code is "<stage>.<cause>" with lower-case letters, digits and _;
// policies choose their own after "policy.".
type Reason struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Fix  string `json:"fix,omitempty"`
}

// StageResult is what one stage said. Outcome Allow means: go on.
type StageResult struct {
	Stage   string   `json:"stage"`
	Outcome Outcome  `json:"outcome"`
	Reasons []Reason `json:"reasons,omitempty"`
}

// Need says which approvals are missing.
type Need struct {
	Count int           `json:"count"` // distinct approvers, with distinct keys
	Roles []string      `json:"roles"` // each approver has one of them
	Why   string        `json:"why"`
	TTL   time.Duration `json:"ttl_ns"`
}

// Assessment is the gate's decision with everything that a receipt of it needs.
type Assessment struct {
	Outcome Outcome  `json:"outcome"`
	Stage   string   `json:"stage"`   // the last stage that was asked
	Reasons []Reason `json:"reasons"` // of all stages asked; the deciding one's come first
	// Policy is the digest of the policy in force; Decision commits to the policy, its input and its result. Both are
	// zero where the policy was not asked.
	Policy   vaultmesh.Digest `json:"policy"`
	Decision string           `json:"decision,omitempty"`
	Need     *Need            `json:"need,omitempty"` // where the policy asks for approvals
	// Challenge is what the approvers sign, with a fresh nonce; set where Outcome is NeedsApproval. Control stores it,
	// accepts each nonce once, and hands it back at dispatch.
	Challenge *receipt.Challenge `json:"-"`
	Verdict   *whatif.Verdict    `json:"verdict,omitempty"`
	Expect    map[string]float64 `json:"expect,omitempty"` // from the verdict: what the asset should report
	Stages    []StageResult      `json:"stages"`
}
