// Package anchor owns how a checkpoint comes to be dated by somebody else: a durable job for each checkpoint and target,
// its steps, their retries, the money that they may cost, the schedule, and the anchors that came of it. It is on floor 2.
//
// It must not know how a target works (that is what [Target] hides), nor who may ask for an anchor. It calls nothing
// anchored that a target has not proved: sent is not anchored. Anchors are a set: none replaces another.
package anchor

import (
	"bytes"
	"context"
	"encoding/json"
	"math/big"
	"time"

	"vaultmesh.org/vaultmesh"
)

// State is where a job is. The way is queued → submitted → confirmed → final, or failed; a target without a middle (an
// RFC 3161 authority) goes from queued to final in one step. A re-organisation takes a confirmed job back to submitted.
type State string

// The states of a job.
const (
	Queued    State = "queued"    // nothing was sent; a transaction may already be built and signed in Memo
	Submitted State = "submitted" // sent, or perhaps sent: not anchored
	Confirmed State = "confirmed" // proved, and the target may still take it back
	Final     State = "final"     // proved, and as final as the target gets
	Failed    State = "failed"    // given up; Detail says why
)

// Done reports whether no step follows s.
func (s State) Done() bool { return s == Final || s == Failed }

// Anchored reports whether a job in s holds a proof that was verified.
func (s State) Anchored() bool { return s == Confirmed || s == Final }

// Job is one checkpoint on its way to one target. It is stored as JSON.
type Job struct {
	ID     string           `json:"id"`     // "<target>@<size>", and ".2" and so on where an earlier job of that size failed
	Target string           `json:"target"` // [Target.Name]
	Kind   string           `json:"kind"`   // [Target.Kind]
	Size   uint64           `json:"size,string"`
	Root   vaultmesh.Digest `json:"root"`
	Digest vaultmesh.Digest `json:"digest"` // what is anchored: SHA-256 over receipt.CheckpointBody of the checkpoint
	State  State            `json:"state"`
	Memo   json.RawMessage  `json:"memo,omitempty"`          // the target's own: signed transaction, nonce, block; at most 64 KiB
	Proof  []byte           `json:"proof,omitempty"`         // from Confirmed on: the target's proof, as it goes into a bundle
	Proved time.Time        `json:"proved,omitzero"`         // the time that the proof states
	Height uint64           `json:"height,omitempty,string"` // of the block that the proof is about; 0 where there are no blocks
	Block  string           `json:"block,omitempty"`         // its hash, in the target's usual text form
	Source string           `json:"source,omitempty"`        // who states the time: the TSA's certificate, the chain

	By        vaultmesh.Principal `json:"by,omitempty"`       // who asked for it; empty: the schedule
	Attempts  int                 `json:"attempts,omitempty"` // failed steps since the last one that succeeded; the framework's
	NotBefore time.Time           `json:"not_before,omitzero"`
	Created   time.Time           `json:"created"`
	Updated   time.Time           `json:"updated"`
	// Fee is the most that the job may still cost, and in the end what it has cost: a decimal integer in the target's
	// smallest unit (satoshi, wei); empty means nothing.
	Fee    string `json:"fee,omitempty"`
	Unit   string `json:"unit,omitempty"`   // of Fee
	Detail string `json:"detail,omitempty"` // one sentence for people: what it waits for, or why it failed
}

// Clone returns a copy that shares nothing with j.
func (j Job) Clone() Job {
	j.Memo, j.Proof = bytes.Clone(j.Memo), bytes.Clone(j.Proof)
	return j
}

// Proved is what a verified proof says.
type Proved struct {
	Time   time.Time // as the proof states it, UTC
	Height uint64    // of the block; 0 where there are no blocks
	Block  string    // its hash
	Source string    // who states the time
}

// Target is one way to have a checkpoint dated. Its methods are called by one goroutine at a time. A target keeps no
// memory of the jobs that it returned: a result can be lost in a crash, or be refused because the day's budget is spent.
type Target interface {
	// Name is the target's subject and metric label: "rfc3161/<authority>", "bitcoin", "ethereum".
	Name() string
	// Kind is the type of the proof in a bundle: "rfc3161", "bitcoin", "ethereum".
	Kind() string
	// Advance takes the job one step and returns the changed copy. The caller has made the job durable before the call
	// and makes the result durable before the next: a transaction is built and signed in one step (into Memo, with
	// Fee, the state still Queued), sent in a later one (sending is idempotent), so that a crash anywhere never pays
	// twice. What it may change: State, Memo, Proof, Fee, Detail, NotBefore (when to look again; the caller's default
	// otherwise). A step that finds nothing new returns the job as it is.
	//
	// An error leaves the job as it was. It is retried with back-off where vaultmesh.KindOf(err).Retryable(), and for a
	// few times otherwise, as long as the state is Queued and Memo is empty: what has been signed is never given up by
	// the caller, only by the target itself (State Failed), which alone can know that it will not be paid any more.
	Advance(ctx context.Context, j Job) (Job, error)
	// Proved verifies j.Proof over j.Digest with the same offline code that an auditor runs, and with the target's own
	// node. A job is never stored as Confirmed or Final without it. Kind Corrupt: the proof does not hold (any more);
	// Unavailable: it cannot be told now.
	Proved(ctx context.Context, j Job) (Proved, error)
}

// Payer is a target that costs money.
type Payer interface {
	Target
	// Budget is the most that all jobs of one UTC day may cost together, in the smallest unit, and that unit's name
	// ("satoshi"). nil means no limit. The caller accounts it durably: a job whose Fee does not fit into what is left
	// of the day is not stored, and so never sent; it is built anew on the next day. A Fee that sinks is given back when
	// the job is Final and not before; what was charged for a Memo that the target gave up, back to Queued, and does not
	// count in its new Fee, stays charged for good.
	Budget() (perDay *big.Int, unit string)
}
