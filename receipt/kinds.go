package receipt

import (
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// The closed set of kinds. The comment names the Go type of the body (its JSON members are documented there), then
// the subject. A kind is never renamed or reused; a new meaning is a new kind.
const (
	DomainGenesis     = "domain.genesis"     // GenesisBody; DomainSubject. The first receipt of a log
	CharterAdopted    = "charter.adopted"    // CharterBody; DomainSubject
	TwinDefined       = "twin.defined"       // TwinBody; TwinSubject
	TelemetryBatch    = "telemetry.batch"    // BatchBody; TelemetrySubject. Unsigned: covered by the checkpoint
	HaltSet           = "halt.set"           // HaltBody; HaltSubject
	HaltCleared       = "halt.cleared"       // HaltBody; HaltSubject
	CapabilityIssued  = "capability.issued"  // CapabilityBody; CapabilitySubject
	CapabilityRevoked = "capability.revoked" // CapabilityBody; CapabilitySubject
	OperatorEnrolled  = "operator.enrolled"  // OperatorBody; OperatorSubject
	NodeStarted       = "node.started"       // NodeBody; NodeSubject
	StateRoot         = "state.root"         // StateBody; StateSubject
	DataErased        = "data.erased"        // ErasedBody; PrivateSubject
	AnchorRequested   = "anchor.requested"   // AnchorRequestBody; AnchorSubject
	AnchorVerified    = "anchor.verified"    // AnchorBody; AnchorSubject
	KeyRotated        = "key.rotated"        // KeyBody; KeySubject
	KeyRetired        = "key.retired"        // KeyBody; KeySubject
	KeyDelegated      = "key.delegated"      // KeyBody; KeySubject
	KeyRenewed        = "key.renewed"        // KeyBody; RenewalSubject. Unsigned: it carries signatures of its own
	WitnessConflict   = "witness.conflict"   // ConflictBody; WitnessSubject
	AnchorFailed      = "anchor.failed"      // AnchorEndBody; AnchorSubject
	AnchorLost        = "anchor.lost"        // AnchorEndBody; AnchorSubject

	// The life of a command, one kind for each state: "command." and the state. Subject: CommandSubject.
	// Every body begins with the members of CommandRef.
	CommandProposed         = "command.proposed"          // ProposedBody
	CommandAssessed         = "command.assessed"          // AssessedBody
	CommandDenied           = "command.denied"            // ReasonBody
	CommandAwaitingApproval = "command.awaiting_approval" // AwaitingBody
	CommandApproved         = "command.approved"          // ApprovedBody
	CommandRejected         = "command.rejected"          // ReasonBody
	CommandExpired          = "command.expired"           // ReasonBody
	CommandAuthorized       = "command.authorized"        // AuthorizedBody
	CommandDispatched       = "command.dispatched"        // DispatchedBody
	CommandAcknowledged     = "command.acknowledged"      // ResponseBody
	CommandRefused          = "command.refused"           // ResponseBody
	CommandTimedOut         = "command.timed_out"         // ReasonBody
	CommandAligned          = "command.aligned"           // ObservedBody
	CommandDiverged         = "command.diverged"          // ObservedBody
	CommandCancelled        = "command.cancelled"         // ReasonBody
	CommandHalted           = "command.halted"            // ReasonBody
)

// kindRules is what [Verify] asks of a kind.
type kindRules struct {
	// stream: a bundle may hold an excerpt of the subject's history. Of every other subject it must hold the history
	// from its first receipt.
	stream bool
	// unsigned: the checkpoint's signature suffices.
	unsigned bool
}

var kinds = map[string]kindRules{
	DomainGenesis: {}, CharterAdopted: {}, TwinDefined: {unsigned: true}, TelemetryBatch: {stream: true, unsigned: true},
	HaltSet: {}, HaltCleared: {}, CapabilityIssued: {}, CapabilityRevoked: {}, OperatorEnrolled: {},
	NodeStarted: {stream: true, unsigned: true}, AnchorVerified: {stream: true, unsigned: true},
	StateRoot: {stream: true}, DataErased: {},
	KeyRotated: {unsigned: true}, KeyRetired: {unsigned: true}, KeyDelegated: {unsigned: true}, KeyRenewed: {stream: true, unsigned: true}, WitnessConflict: {}, // statements about keys carry signatures of their own
	AnchorRequested: {stream: true}, AnchorFailed: {stream: true}, AnchorLost: {stream: true},
	CommandProposed: {}, CommandAssessed: {}, CommandDenied: {}, CommandAwaitingApproval: {}, CommandApproved: {},
	CommandRejected: {}, CommandExpired: {}, CommandAuthorized: {}, CommandDispatched: {}, CommandAcknowledged: {},
	CommandRefused: {}, CommandTimedOut: {}, CommandAligned: {}, CommandDiverged: {}, CommandCancelled: {}, CommandHalted: {},
}

// Kinds returns all kinds in alphabetical order.
func Kinds() []string {
	all := make([]string, 0, len(kinds))
	for k := range kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// MustSign reports whether receipts of the kind carry a signature of their own; of others, and of unknown kinds, the
// checkpoint's suffices.
func MustSign(kind string) bool {
	rules, known := kinds[kind]
	return known && !rules.unsigned
}

// CommandKind returns the kind of the receipt with which a command enters state, for example "command.proposed".
func CommandKind(state string) string { return "command." + state }

// CommandState is the inverse of [CommandKind]; ok is false for kinds that are not about a command.
func CommandState(kind string) (state string, ok bool) { return strings.CutPrefix(kind, "command.") }

// transitions is the life of a command as data: state to the states that may follow; "" is before the proposal. A state
// may follow itself where a receipt reports progress (one more approval of several).
var transitions = map[string][]string{
	"":                  {"proposed"},
	"proposed":          {"assessed", "denied", "expired", "cancelled", "halted"},
	"assessed":          {"awaiting_approval", "authorized", "denied", "expired", "cancelled", "halted"},
	"awaiting_approval": {"awaiting_approval", "approved", "rejected", "denied", "expired", "cancelled", "halted"},
	"approved":          {"authorized", "denied", "expired", "cancelled", "halted"},
	"authorized":        {"dispatched", "denied", "expired", "cancelled", "halted"},
	"dispatched":        {"acknowledged", "refused", "timed_out", "halted"}, // halted: withdrawn before it reached the device
	"acknowledged":      {"aligned", "diverged"},
	"timed_out":         {"aligned", "diverged"},
	"refused":           nil,
	"denied":            nil,
	"rejected":          nil,
	"expired":           nil,
	"aligned":           nil,
	"diverged":          nil,
	"cancelled":         nil,
	"halted":            nil,
}

// NextCommandStates returns the states that may follow state in a command's life, none for a terminal state, and
// ok=false for a word that is not a state. The state "" is before the proposal.
func NextCommandStates(state string) (next []string, ok bool) {
	next, ok = transitions[state]
	return slices.Clone(next), ok
}

// The subjects: a class, a slash, a name. A subject's receipts form a chain of their own, from seq 0.
func CommandSubject(id vaultmesh.CommandID) string { return "command/" + string(id) }

// TwinSubject is the subject of a twin's definitions.
func TwinSubject(id vaultmesh.TwinID) string { return "twin/" + string(id) }

// DomainSubject is the subject of genesis and charters.
func DomainSubject(d vaultmesh.Domain) string { return "domain/" + string(d) }

// HaltSubject is the subject of the domain's stop switch.
func HaltSubject(d vaultmesh.Domain) string { return "halt/" + string(d) }

// TelemetrySubject is the subject of the telemetry batches that a node ingested.
func TelemetrySubject(d vaultmesh.Domain) string { return "telemetry/" + string(d) }

// NodeSubject is the subject of a node's starts.
func NodeSubject(node vaultmesh.Principal) string { return "node/" + string(node) }

// OperatorSubject is the subject of an operator's enrolments.
func OperatorSubject(p vaultmesh.Principal) string { return "operator/" + string(p) }

// CapabilitySubject is the subject of one block of a capability: its issue and its revocation.
func CapabilitySubject(block vaultmesh.Digest) string { return "capability/" + block.String() }

// AnchorSubject is the subject of one anchor target, for example "bitcoin" or "rfc3161/authority".
func AnchorSubject(target string) string { return "anchor/" + target }

// KeySubject is the subject of what happens to the domain's keys after its genesis, but that a delegation is renewed.
func KeySubject(d vaultmesh.Domain) string { return "key/" + string(d) }

// RenewalSubject is the subject of renewed delegations. It is apart from [KeySubject] since it grows for as long as the
// domain lives, and a bundle needs no more of it than what vouched for its receipts.
func RenewalSubject(d vaultmesh.Domain) string { return "renewal/" + string(d) }

// WitnessSubject is the subject of conflicts with the witnesses of the domain's log.
func WitnessSubject(d vaultmesh.Domain) string { return "witness/" + string(d) }

// StateSubject is the subject of the roots of the domain's state tree.
func StateSubject(d vaultmesh.Domain) string { return "state/" + string(d) }

// PrivateSubject is the subject of the erasure of what is personal to a principal.
func PrivateSubject(p vaultmesh.Principal) string { return "private/" + string(p) }
