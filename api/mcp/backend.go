package mcpapi

import (
	"context"
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// Backend is the node as tools see it: in the same process, or a client of a node elsewhere. All methods are safe for
// concurrent use, honour ctx, and return errors of type [vaultmesh.Error].
//
// Propose, Simulate and AnchorNow authorise the caller themselves, so that a refusal is receipted too. Reads over HTTP are
// authorised by this package before they are answered: verb read on the twin, on the command's twin, or for anchors and everything else that is about no one twin on the whole domain. Over standard
// input the caller is Options.Caller, and a backend that is a client presents its own credentials.
type Backend interface {
	// Twins returns a page in ascending order of identifiers; f.Limit is 1 to 200.
	Twins(ctx context.Context, caller control.Caller, f TwinFilter) (TwinPage, error)
	// Twin returns one twin, or NotFound.
	Twin(ctx context.Context, caller control.Caller, id vaultmesh.TwinID) (twin.Twin, error)
	// History returns the points of one property or telemetry in [from, to), oldest first, at most limit, which is 1
	// to 1000. NotFound where the twin or the name does not exist.
	History(ctx context.Context, caller control.Caller, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]twin.Point, error)

	// Simulate predicts a command without proposing it; n1 adds the N-1 check. p.IdempotencyKey is empty.
	Simulate(ctx context.Context, caller control.Caller, p control.Proposal, n1 bool) (whatif.Verdict, error)
	// Propose asks for a command. With an idempotency key that the principal used before for the same proposal it
	// returns the earlier command with Replayed set and does nothing; for another proposal it returns Conflict. A
	// result means that the decision is durable.
	Propose(ctx context.Context, caller control.Caller, p control.Proposal) (control.Command, error)
	// Command returns one command, or NotFound.
	Command(ctx context.Context, caller control.Caller, id vaultmesh.CommandID) (control.Command, error)
	// Commands returns those that the caller may read, newest first, at most f.Limit, which is 1 to 100.
	Commands(ctx context.Context, caller control.Caller, f control.Filter) ([]control.Command, error)
	HaltState(ctx context.Context, caller control.Caller) (control.HaltState, error)

	// Bundle returns the offline evidence of 1 to 20 commands, as receipt.DecodeBundle reads it.
	Bundle(ctx context.Context, caller control.Caller, ids []vaultmesh.CommandID) ([]byte, error)
	// Search finds receipts; q.Limit is 1 to 50, q.Subject empty or that of a command. Invalid for the query.
	Search(ctx context.Context, caller control.Caller, q lawchain.Search) (lawchain.Answer, error)
	// State proves what the state held under a key of the state tree at the newest root whose receipt is below size; 0: at
	// the newest. NotFound where there is no such root.
	State(ctx context.Context, caller control.Caller, key string, size uint64) (StateProof, error)
	// AnchorNow asks for anchors of the newest checkpoint and returns the jobs, durable and perhaps still queued. It
	// authorises the caller by the verb anchor for the whole domain. A retry with the same key gets the same jobs.
	AnchorNow(ctx context.Context, caller control.Caller, q anchor.Request) ([]anchor.Job, error)
	// Anchor returns one job, or NotFound.
	Anchor(ctx context.Context, caller control.Caller, id string) (anchor.Job, error)
	// Anchors returns the newest jobs first, at most f.Limit, and the standing of every target.
	Anchors(ctx context.Context, caller control.Caller, f anchor.Filter) ([]anchor.Job, []anchor.Coverage, error)

	// Trust returns the keys that the node itself names as its own, or NotFound where they are not known here.
	Trust(ctx context.Context) (*receipt.Trust, error)
}

// TwinFilter selects twins; zero fields select all.
type TwinFilter struct {
	Model  string             // a DTMI; twins of models that extend it count too
	Device vaultmesh.DeviceID // that speaks for the twin
	Prefix string             // of the identifier
	After  vaultmesh.TwinID   // only greater identifiers
	Limit  int
}

// TwinPage is one page of twins. Next is the last identifier of the page where more follow, else empty.
type TwinPage struct {
	Twins []twin.Twin      `json:"twins"`
	Next  vaultmesh.TwinID `json:"next,omitempty"`
}

// StateProof is a proof of the state at one root of the state tree.
type StateProof struct {
	Size    uint64             // of the log of which it is the state
	Receipt vaultmesh.LogIndex // that commits to the root
	Root    vaultmesh.Digest
	Entries uint64
	Time    time.Time // of that receipt
	Proof   []byte    // text of package proof/state
}

// CommandDoc describes a command of a model to an agent.
type CommandDoc struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Arguments   json.RawMessage `json:"arguments,omitempty"` // the schema of the request; absent where it takes none
}
