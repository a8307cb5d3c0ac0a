package httpapi

import (
	"context"
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// Commands is the decision service. Every method that takes a caller authorises it by the caller's capability and
// returns Denied where it refuses: verbs command (Propose, Cancel), simulate (Simulate), approve (Challenge, Approve,
// Reject), halt (Halt, Resume), read on the command's twin (Command, List), which this package asks once more. A result means that the decision is durable. All methods are safe for concurrent use.
type Commands interface {
	// Propose asks for a command. With an idempotency key that the principal used before for the same proposal it
	// returns the earlier command with Replayed set and does nothing; for another proposal it returns Conflict.
	Propose(ctx context.Context, caller control.Caller, p control.Proposal) (control.Command, error)
	// Simulate predicts a command without proposing it; n1 adds the N-1 check. p.IdempotencyKey is empty.
	Simulate(ctx context.Context, caller control.Caller, p control.Proposal, n1 bool) (whatif.Verdict, error)
	// Command returns one command, or NotFound.
	Command(ctx context.Context, caller control.Caller, id vaultmesh.CommandID) (control.Command, error)
	// List returns the newest first, at most f.Limit, which is 1 to 1000.
	List(ctx context.Context, caller control.Caller, f control.Filter) ([]control.Command, error)
	// Challenge returns what an approver signs; Conflict where the command does not wait for an approval.
	Challenge(ctx context.Context, caller control.Caller, id vaultmesh.CommandID) (receipt.Challenge, error)
	// Approve adds a signature. This package fills Approver with the caller's principal where the body names none,
	// and Time with the node's time; whether Approver, Key and caller fit each other is decided by the service.
	Approve(ctx context.Context, caller control.Caller, id vaultmesh.CommandID, a control.Approval) (control.Command, error)
	Reject(ctx context.Context, caller control.Caller, id vaultmesh.CommandID, reason string) (control.Command, error)
	// Cancel withdraws a command that was not dispatched yet; Conflict afterwards.
	Cancel(ctx context.Context, caller control.Caller, id vaultmesh.CommandID, reason string) (control.Command, error)
	Halt(ctx context.Context, caller control.Caller, reason string) (control.HaltState, error)
	Resume(ctx context.Context, caller control.Caller, reason string) (control.HaltState, error)
	HaltState() control.HaltState
}

// Twins reads the state of the domain. All methods are safe for concurrent use.
type Twins interface {
	Get(id vaultmesh.TwinID) (twin.Twin, bool)
	// Each calls fn for every twin whose identifier is greater than after, ascending, until fn returns false.
	Each(after vaultmesh.TwinID, fn func(twin.Twin) bool)
	// History returns the points of one property or telemetry in [from, to), oldest first, at most limit. NotFound
	// where the twin or the name does not exist.
	History(ctx context.Context, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]twin.Point, error)
}

// Evidence reads the domain's log. All methods are safe for concurrent use.
type Evidence interface {
	// Size is the number of durable receipts: every index below it can be read.
	Size() uint64
	// Receipt returns the exact envelope bytes that the leaf commits to, or NotFound.
	Receipt(ctx context.Context, index vaultmesh.LogIndex) ([]byte, error)
	// Subject returns the indexes of the receipts of a subject that are at least from, ascending, at most limit.
	Subject(ctx context.Context, subject string, from vaultmesh.LogIndex, limit int) ([]vaultmesh.LogIndex, error)
	// Checkpoint returns the newest signed note (C2SP tlog-checkpoint).
	Checkpoint(ctx context.Context) ([]byte, error)
	// Inclusion returns the RFC 6962 audit path of a leaf in the tree of that size; Invalid where index >= size,
	// NotFound where the log is smaller than size.
	Inclusion(ctx context.Context, index vaultmesh.LogIndex, size uint64) ([]vaultmesh.Digest, error)
	// Consistency returns the RFC 6962 consistency proof between two sizes, old <= new.
	Consistency(ctx context.Context, old, new uint64) ([]vaultmesh.Digest, error)
	// Tile returns a C2SP tlog-tiles resource by its path below the log's prefix, "tile/0/x001/234.p/5" or
	// "tile/entries/000", or "checkpoint" for the one that the published tiles lead to; the path is well-formed. NotFound
	// where the log is too small.
	Tile(ctx context.Context, path string) ([]byte, error)
	// State proves what the state held under a key at the newest root whose receipt is below size; 0: at the newest.
	// NotFound where there is no such root.
	State(ctx context.Context, key string, size uint64) (StateProof, error)
	// Search finds receipts; Invalid for the query.
	Search(ctx context.Context, q lawchain.Search) (lawchain.Answer, error)
	// Bundle returns the offline evidence that is asked for, as receipt.DecodeBundle reads it; NotFound where there is
	// nothing of it, TooLarge where it does not fit into one bundle.
	Bundle(ctx context.Context, q BundleQuery) ([]byte, error)
}

// BundleQuery says what a bundle shall be about.
type BundleQuery struct {
	// Scope names commands and other subjects, and ranges by index, or by time: where From is set, First and Last are
	// still to be found.
	receipt.Scope
	// State are keys of the state tree (package proof/state) of which the bundle shall prove what the state held, at the
	// newest root below StateAt; 0: at the newest.
	State   []string
	StateAt uint64
	// Disclose adds the private texts that the receipts commit to, as far as they were not erased and as the caller may
	// read the receipts' subjects.
	Disclose bool
	// Readable reports whether the caller may read the receipts of a subject. This package sets it; nil is no, for every
	// subject. A client leaves it alone.
	Readable func(subject string) bool
	// Head is a size of the log that the auditor knows; the bundle proves that it extends the log of that size. 0: none.
	Head uint64
}

// Device is the connection of one device.
type Device struct {
	ID       vaultmesh.DeviceID `json:"id"`
	Online   bool               `json:"online"`
	Since    time.Time          `json:"since,omitzero"`  // of the connection, or of its loss
	Accepted uint64             `json:"accepted,string"` // messages since the node started
	Refused  uint64             `json:"refused,string"`
}

// Refusal says why a message of a device was not accepted.
type Refusal struct {
	Time   time.Time `json:"time"`
	Topic  string    `json:"topic"`
	Code   string    `json:"code"` // a vaultmesh.Kind in words, or the broker's own code
	Reason string    `json:"reason"`
}

// Devices reads the broker's side of the domain. All methods are safe for concurrent use.
type Devices interface {
	// List returns the known devices in ascending order of their identifier.
	List(ctx context.Context) ([]Device, error)
	// Refusals returns the newest refusals of a device, newest first, at most limit; NotFound for an unknown device.
	Refusals(ctx context.Context, id vaultmesh.DeviceID, limit int) ([]Refusal, error)
}

// Capabilities revokes and erases. It authorises the caller by the verb admin and returns when it is durable.
type Capabilities interface {
	// Revoke makes every token that holds the block with this digest invalid. Revoking twice is no error.
	Revoke(ctx context.Context, caller control.Caller, block vaultmesh.Digest, reason string) (receipt.Ref, error)
	// Erase destroys the key of a principal's private texts. NotFound where nothing of it is left to erase.
	Erase(ctx context.Context, caller control.Caller, p vaultmesh.Principal, reason string) (receipt.Ref, error)
}

// The documents of twins, commands and verdicts on the wire are the shared types themselves; the shapes below exist
// on the wire only.
type (
	// Health is the answer of /healthz and /readyz.
	Health struct {
		Status string `json:"status"` // "ok" or "ready"
	}
	// TwinPage is one page of the twins. Next is the last identifier of the page where more follow, else empty.
	TwinPage struct {
		Twins []twin.Twin      `json:"twins"`
		Next  vaultmesh.TwinID `json:"next,omitempty"`
	}
	// History is one value over time. More says that the limit cut it off; ask again from the last time.
	History struct {
		Twin   vaultmesh.TwinID `json:"twin"`
		Name   string           `json:"name"`
		Points []twin.Point     `json:"points"`
		More   bool             `json:"more"`
	}
	// CommandList is a list of commands, newest first.
	CommandList struct {
		Commands []control.Command `json:"commands"`
	}
	// Receipt is one entry of the log: the exact bytes that the leaf commits to, and their statement for reading.
	Receipt struct {
		Index     vaultmesh.LogIndex `json:"index,string"`
		Leaf      vaultmesh.Digest   `json:"leaf"`
		Envelope  []byte             `json:"envelope"`  // DSSE, base64 in JSON so that no byte changes
		Statement json.RawMessage    `json:"statement"` // the in-toto statement inside; not what was signed
	}
	// ReceiptPage is one page of the receipts of a subject. Next is where more follow, else absent.
	ReceiptPage struct {
		Subject  string              `json:"subject"`
		Receipts []Receipt           `json:"receipts"`
		Next     *vaultmesh.LogIndex `json:"next,omitempty,string"`
	}
	// SearchPage is one page of a search, newest first. Next goes on where it ended; absent where there is no more.
	// Unindexed counts the receipts of an older log that cannot be found yet.
	SearchPage struct {
		Receipts  []Receipt `json:"receipts"`
		Next      string    `json:"next,omitempty"`
		Unindexed uint64    `json:"unindexed,omitempty,string"`
	}
	// StateProof is what the state held under one key at a root of the state tree, with its proof.
	StateProof struct {
		Key      string             `json:"key"`
		Present  bool               `json:"present"`
		Size     uint64             `json:"size,string"`    // of the log of which it is the state
		Receipt  vaultmesh.LogIndex `json:"receipt,string"` // that commits to the root
		Root     vaultmesh.Digest   `json:"root"`
		Entries  uint64             `json:"entries,string"`
		Time     time.Time          `json:"time"`               // of that receipt
		Document []byte             `json:"document,omitempty"` // what is under the key, base64 in JSON so that no byte changes
		Values   []StateValue       `json:"values,omitempty"`   // of the property that was asked for; none where the twin held none
		Proof    []byte             `json:"proof"`              // text of package proof/state, base64
	}
	// StateValue is one value that a twin's document holds under a name.
	StateValue struct {
		Kind    string          `json:"kind"` // "nameplate", "reported", "telemetry" or "desired"
		Value   json.RawMessage `json:"value"`
		Quality string          `json:"quality,omitempty"`
		Time    time.Time       `json:"time,omitzero"`
	}
	// Proof is an RFC 6962 proof, hashes from the leaf upward.
	Proof struct {
		Index  *vaultmesh.LogIndex `json:"index,omitempty,string"` // inclusion only
		Old    *uint64             `json:"old,omitempty,string"`   // consistency only
		Size   uint64              `json:"size,string"`
		Hashes []vaultmesh.Digest  `json:"hashes"`
	}
	// DeviceList is the list of the known devices.
	DeviceList struct {
		Devices []Device `json:"devices"`
	}
	// RefusalList says why messages of one device were refused, newest first.
	RefusalList struct {
		Device   vaultmesh.DeviceID `json:"device"`
		Refusals []Refusal          `json:"refusals"`
	}
	// Erasure is the erasure of a principal's private texts, and the receipt that proves it.
	Erasure struct {
		Principal vaultmesh.Principal `json:"principal"`
		Receipt   receipt.Ref         `json:"receipt"`
	}
	// Revocation is a revoked block and the receipt that proves it.
	Revocation struct {
		Block   vaultmesh.Digest `json:"block"`
		Receipt receipt.Ref      `json:"receipt"`
	}
)
