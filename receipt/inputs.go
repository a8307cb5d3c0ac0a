package receipt

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

// InputsFormat names the form of [Inputs].
const InputsFormat = "vaultmesh-inputs/v1"

// maxInputs bounds the text of inputs, in bytes.
const maxInputs = 256 << 10

// Inputs is everything that one assessment of the gate saw, large things by their digests. Its text form is RFC 8785 JSON
// with these members; the receipt of the decision holds the digest of that text.
//
// What only the order of the log can answer is asked once more when the decision is ordered: the halt switch, revocations,
// quotas. That can turn an allow into a deny, whose receipt says so, and is provable from the receipts before it.
type Inputs struct {
	Format      string              `json:"format"`  // InputsFormat
	Command     vaultmesh.CommandID `json:"command"` // and what it is: the digest of its arguments is in the receipt as well
	Twin        vaultmesh.TwinID    `json:"twin"`
	Name        string              `json:"name"`
	ArgsDigest  vaultmesh.Digest    `json:"args_digest"`
	Principal   vaultmesh.Principal `json:"principal"`
	Time        time.Time           `json:"time"`                // by which the gate judged
	Expires     time.Time           `json:"expires"`             // of the command
	TwinState   vaultmesh.Digest    `json:"twin_state"`          // of the twin's whole canonical document, see package proof/state
	TwinVersion uint64              `json:"twin_version,string"` // of the twin
	Topology    vaultmesh.Digest    `json:"topology,omitzero"`   // of the grid that was simulated; absent where nothing was
	Verdict     vaultmesh.Digest    `json:"verdict,omitzero"`    // identifier of the simulation's verdict
	Earlier     vaultmesh.Digest    `json:"earlier,omitzero"`    // the verdict that the approvers saw
	Policy      vaultmesh.Digest    `json:"policy,omitzero"`     // of the policy in force
	Decision    string              `json:"decision,omitempty"`  // commits to the policy, its input and its result
	Capability  InputCapability     `json:"capability"`
	Limits      []InputLimit        `json:"limits"` // quotas and what was used of them
	Halted      bool                `json:"halted"`
	Approvals   []SignedApproval    `json:"approvals"` // given so far
	Challenge   vaultmesh.Digest    `json:"challenge,omitzero"`
	Expect      map[string]float64  `json:"expect,omitempty"` // what the asset should report
	Stages      vaultmesh.Digest    `json:"stages"`           // of the canonical text of what each stage said
	Outcome     string              `json:"outcome"`          // "allow", "deny" or "needs_approval"
}

// InputCapability is the token that was presented: its blocks from the first to the last.
type InputCapability struct {
	Blocks []vaultmesh.Digest `json:"blocks"`
}

// InputLimit is one quota: at most Max commands counted under Key in the window that begins at Window.
type InputLimit struct {
	Rule   string `json:"rule"`
	Key    string `json:"key"`
	Max    uint64 `json:"max,string"`
	Used   uint64 `json:"used,string"`
	Window int64  `json:"window"` // Unix seconds; 0 for a quota that never starts again
}

// Encode returns the text form.
func (in *Inputs) Encode() ([]byte, error) {
	in.Format = InputsFormat
	if in.Limits == nil {
		in.Limits = []InputLimit{}
	}
	if in.Approvals == nil {
		in.Approvals = []SignedApproval{}
	}
	if in.Capability.Blocks == nil {
		in.Capability.Blocks = []vaultmesh.Digest{}
	}
	return Body(in)
}

// OpenInputs reads the text form and accepts no other form of it.
func OpenInputs(doc []byte) (Inputs, error) {
	const op = "inputs"
	if len(doc) > maxInputs {
		return Inputs{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(doc), maxInputs)
	}
	var in Inputs
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return Inputs{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "they cannot be read").Because(err)
	}
	if in.Format != InputsFormat {
		return Inputs{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "format %.40q, want %s", in.Format, InputsFormat)
	}
	text, err := in.Encode()
	if err != nil {
		return Inputs{}, vaultmesh.Wrap(err, op, "")
	}
	if !bytes.Equal(text, doc) {
		return Inputs{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "they are not in the one form in which they may be written")
	}
	return in, nil
}

// InputsOf returns the digest of the inputs that the body of a receipt names; zero where it names none.
func InputsOf(r *Receipt) vaultmesh.Digest {
	switch r.Kind {
	case CommandAssessed, CommandAuthorized, CommandDenied:
	default:
		return vaultmesh.Digest{}
	}
	var d vaultmesh.Digest
	if text := member(r.Body, "inputs"); text == "" || d.UnmarshalText([]byte(text)) != nil {
		return vaultmesh.Digest{}
	}
	return d
}

// matches reports whether the inputs are of the decision in r: the same command, arguments and policy, and an outcome that
// leads to it. What only the order of the log can answer may have turned it into a denial.
func (in *Inputs) matches(r *Receipt) error {
	const op = "inputs"
	var ref CommandRef
	if err := json.Unmarshal(r.Body, &ref); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "the body cannot be read").Because(err)
	}
	switch {
	case ref.Command != in.Command || ref.Twin != in.Twin || ref.Name != in.Name || ref.ArgsDigest != in.ArgsDigest:
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "they are of %s of %s on %s", in.Command, in.Name, in.Twin)
	case r.Kind != CommandDenied && r.Policy != in.Policy:
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "they are by the policy %s, the receipt by %s", in.Policy, r.Policy)
	case in.Time.After(r.Time):
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "they are of %s, after the decision", in.Time.Format(TimeFormat))
	case !isOutcome(in.Outcome), in.Halted && in.Outcome != outcomeDeny:
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "their outcome is %.40q, halted %v: no gate says that", in.Outcome, in.Halted)
	case r.Kind == CommandAuthorized && in.Outcome != outcomeAllow:
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "their outcome is %q, and the command was authorized", in.Outcome)
	}
	if said, ok := assessedOutcome(r.Outcome); r.Kind == CommandAssessed && (!ok || said != in.Outcome && said != outcomeDeny) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Subject, "their outcome is %q, the receipt says %.80q", in.Outcome, r.Outcome)
	}
	return nil
}

// fits compares the inputs of the decision e with what the other receipts of the command say.
func (l *life) fits(in *Inputs, e *entry) error {
	same := map[string]bool{
		"principal": in.Principal == l.chain[0].Actor, "time by which the command expires": in.Expires.Equal(l.proposed.Expires),
		"capability": l.blocks == nil || slices.Equal(in.Capability.Blocks, l.blocks),
	}
	switch e.Kind {
	case CommandAssessed:
		b := l.assessed
		same["verdict"], same["version of the twin"] = in.Verdict == b.Simulation, in.TwinVersion == b.TwinVersion
		same["expected values"], same["challenge"] = maps.Equal(in.Expect, b.Expect), in.Challenge.IsZero()
		same["stages"] = len(b.Stages) == 0 || in.Stages == vaultmesh.Sum(b.Stages)
	case CommandAuthorized:
		same["verdict"], same["challenge"] = in.Verdict == l.authorized.Simulation, in.Challenge == l.authorized.Challenge
		if l.approved != nil {
			same["verdict that the approvers saw"], same["approvals"] = in.Earlier == l.assessed.Simulation, sameApprovals(in.Approvals, l.approved.Approvals)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(same)) {
		if !same[what] {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "inputs", e.Subject, "%s at index %d has another %s than they have", e.Kind, e.index, what)
		}
	}
	return nil
}

func sameApprovals(a, b []SignedApproval) bool {
	return slices.EqualFunc(a, b, func(a, b SignedApproval) bool {
		return a.Approver == b.Approver && a.Key == b.Key && bytes.Equal(a.Signature, b.Signature)
	})
}
