package receipt

import (
	"time"

	"vaultmesh.org/vaultmesh"
)

// AnchorRef begins the body of every receipt about an anchor: which checkpoint, and where to.
type AnchorRef struct {
	Target     string           `json:"target"`     // "rfc3161/<authority>", "bitcoin", "ethereum"
	Kind       string           `json:"kind"`       // of the proof: "rfc3161", "bitcoin", "ethereum"
	Job        string           `json:"job"`        // identifier of the node's own job
	Checkpoint vaultmesh.Digest `json:"checkpoint"` // what is anchored: SHA-256 over [CheckpointBody]
	Size       uint64           `json:"size,string"`
}

// AnchorBody is the body of anchor.verified: an anchor that was checked, not only sent. A target with blocks gives one
// when the anchor is confirmed, and one with Final when its block is as deep as the node's configuration asks.
type AnchorBody struct {
	AnchorRef
	Final  bool             `json:"final"`
	Time   time.Time        `json:"time"`                    // as the anchor states it
	Proof  vaultmesh.Digest `json:"proof"`                   // digest of the anchor's own proof: the time-stamp response, the SPV proof
	Height uint64           `json:"height,omitempty,string"` // of the block; absent where there are no blocks
	Block  string           `json:"block,omitempty"`         // its hash
	Source string           `json:"source,omitempty"`        // who states the time
	Fee    string           `json:"fee,omitempty"`           // in the target's smallest unit, at most
}

// AnchorRequestBody is the body of anchor.requested: the receipt's Actor asked for an anchor now.
type AnchorRequestBody struct {
	AnchorRef
}

// AnchorEndBody is the body of anchor.failed (no anchor came of the job) and of anchor.lost (an anchor that
// anchor.verified reported does not hold any more; Height and Block say which).
type AnchorEndBody struct {
	AnchorRef
	Reason string `json:"reason"`
	Height uint64 `json:"height,omitempty,string"`
	Block  string `json:"block,omitempty"`
	Final  bool   `json:"final,omitempty"` // the lost anchor had been reported as final
	Fee    string `json:"fee,omitempty"`   // what the job has cost, or may cost still
}
