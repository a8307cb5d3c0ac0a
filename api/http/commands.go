package httpapi

import (
	"encoding/json"
	"net/http"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
)

// The bodies of the requests about commands.
type (
	// CommandRequest is the body of POST /v1/commands.
	CommandRequest struct {
		Twin    vaultmesh.TwinID `json:"twin"`
		Command string           `json:"command"`
		Args    json.RawMessage  `json:"args,omitempty"`
		Reason  string           `json:"reason,omitempty"` // the caller's own words, at most 1 KiB, recorded
		// IdempotencyKey is an identifier, fresh for each intent and the same for each retry. It is in the body, so that
		// the caller's proof covers it; an Idempotency-Key header may repeat it.
		IdempotencyKey string `json:"idempotency_key"`
	}
	// SimulationRequest is the body of POST /v1/simulations.
	SimulationRequest struct {
		Twin    vaultmesh.TwinID `json:"twin"`
		Command string           `json:"command"`
		Args    json.RawMessage  `json:"args,omitempty"`
		N1      bool             `json:"n1,omitempty"`
	}
	// ApprovalRequest is the body of POST /v1/commands/{id}/approve.
	ApprovalRequest struct {
		Approver  vaultmesh.Principal `json:"approver,omitempty"` // default: the caller
		Key       string              `json:"key"`                // see receipt.KeyID
		Signature []byte              `json:"signature"`          // see receipt.SignApproval
	}
	// ReasonRequest is the body of requests that need nothing but a reason.
	ReasonRequest struct {
		Reason string `json:"reason"` // 1 to 1024 bytes, recorded
	}
)

func (s *Server) postCommand(w http.ResponseWriter, q *request) error {
	var in CommandRequest
	if err := s.decode(q, &in); err != nil {
		return err
	}
	if err := checkKey(q.Request, in.IdempotencyKey); err != nil {
		return err
	}
	p := control.Proposal{Twin: in.Twin, Command: in.Command, Args: in.Args, IdempotencyKey: in.IdempotencyKey, Reason: in.Reason}
	if err := checkProposal(p); err != nil {
		return err
	}
	var err error
	if p.Opening, err = readOpening(q.Request); err != nil {
		return err
	}
	if q.caller.Target != nil {
		q.caller.Target.Request = q.body // what the proof in the receipt is about
	}
	cmd, err := s.opts.Commands.Propose(q.Context(), q.caller, p)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if cmd.Replayed {
		status = http.StatusOK
	}
	w.Header().Set("Location", "/v1/commands/"+string(cmd.ID))
	return writeJSON(w, status, cmd)
}

func checkProposal(p control.Proposal) error {
	if err := vaultmesh.CheckID("twin", string(p.Twin)); err != nil {
		return err
	}
	if p.Command == "" || len(p.Command) > vaultmesh.MaxID {
		return vaultmesh.Errorf(vaultmesh.Invalid, "command", "", "the name has %d bytes, want 1 to %d", len(p.Command), vaultmesh.MaxID).
			WithFix("give the name of a command of the twin's model")
	}
	if len(p.Args) > 0 && p.Args[0] != '{' {
		return vaultmesh.Errorf(vaultmesh.Invalid, "command", "args", "it is no JSON object").WithFix("name each argument")
	}
	if len(p.Reason) > 1024 {
		return checkReason(p.Reason)
	}
	return nil
}

// checkKey checks the idempotency key of the body, which a header may repeat and not contradict.
func checkKey(r *http.Request, key string) error {
	if err := vaultmesh.CheckID("idempotency_key", key); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "command", "idempotency_key", "it is missing or no identifier").Because(err).
			WithFix("send 1 to 128 letters, digits and . _ : @ -, fresh for each intent and the same for each retry")
	}
	for _, h := range r.Header.Values(KeyHeader) {
		if h != key {
			return vaultmesh.Errorf(vaultmesh.Invalid, "command", KeyHeader, "the header and the body name different keys")
		}
	}
	return nil
}

func (s *Server) postSimulation(w http.ResponseWriter, q *request) error {
	var in SimulationRequest
	if err := s.decode(q, &in); err != nil {
		return err
	}
	p := control.Proposal{Twin: in.Twin, Command: in.Command, Args: in.Args}
	if err := checkProposal(p); err != nil {
		return err
	}
	v, err := s.opts.Commands.Simulate(q.Context(), q.caller, p, in.N1)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

// states are the values of the filter; the empty one selects all.
var states = map[control.State]bool{
	"": true, control.Proposed: true, control.Assessed: true, control.Denied: true, control.AwaitingApproval: true,
	control.Approved: true, control.Rejected: true, control.Expired: true, control.Authorized: true,
	control.Dispatched: true, control.Acknowledged: true, control.Refused: true, control.TimedOut: true,
	control.Aligned: true, control.Diverged: true, control.Cancelled: true, control.Halted: true,
}

func (s *Server) getCommands(w http.ResponseWriter, q *request) error {
	p := params(q, "state", "twin", "principal", "limit")
	f := control.Filter{
		State: control.State(p.text("state", 32)), Twin: vaultmesh.TwinID(p.id("twin")),
		Principal: vaultmesh.Principal(p.id("principal")), Limit: p.limit(100, min(1000, s.limits.Page)),
	}
	if !states[f.State] {
		p.fail("state", "there is no such state", "use one of openapi.yaml's")
	}
	if p.err != nil {
		return p.err
	}
	all, err := s.opts.Commands.List(q.Context(), q.caller, f)
	if err != nil {
		return err
	}
	list := CommandList{Commands: make([]control.Command, 0, len(all))}
	var refused error
	for _, c := range all {
		if err := mayRead(q.caller, c.Twin); err != nil {
			refused = err
			continue
		}
		list.Commands = append(list.Commands, c)
	}
	if len(list.Commands) == 0 && refused != nil {
		return refused
	}
	return writeJSON(w, http.StatusOK, list)
}

// command returns the command of the path if the caller may read its twin.
func (s *Server) command(q *request) (control.Command, error) {
	id, err := pathID(q, "command")
	if err != nil {
		return control.Command{}, err
	}
	return s.readable(q, vaultmesh.CommandID(id))
}

func (s *Server) readable(q *request, id vaultmesh.CommandID) (control.Command, error) {
	c, err := s.opts.Commands.Command(q.Context(), q.caller, id)
	if err != nil {
		return control.Command{}, err
	}
	return c, mayRead(q.caller, c.Twin)
}

func (s *Server) getCommand(w http.ResponseWriter, q *request) error {
	c, err := s.command(q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

// getChallenge answers with the canonical text, the only form in which a challenge may be written and signed.
func (s *Server) getChallenge(w http.ResponseWriter, q *request) error {
	id, err := pathID(q, "command")
	if err != nil {
		return err
	}
	c, err := s.opts.Commands.Challenge(q.Context(), q.caller, vaultmesh.CommandID(id))
	if err != nil {
		return err
	}
	writeBytes(w, http.StatusOK, "application/json", c.Canonical())
	return nil
}

func (s *Server) postApprove(w http.ResponseWriter, q *request) error {
	id, err := pathID(q, "command")
	if err != nil {
		return err
	}
	var in ApprovalRequest
	if err := s.decode(q, &in); err != nil {
		return err
	}
	if in.Key == "" || len(in.Key) > 256 || len(in.Signature) == 0 || len(in.Signature) > 256 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "command.approve", id, "key and signature have 1 to 256 bytes").
			WithFix("sign the challenge of GET /v1/commands/%s/challenge", id)
	}
	a := control.Approval{Approver: in.Approver, Key: in.Key, Signature: in.Signature, Time: q.now}
	if a.Approver == "" {
		a.Approver = q.caller.Principal
	}
	if err := vaultmesh.CheckID("approver", string(a.Approver)); err != nil {
		return err
	}
	c, err := s.opts.Commands.Approve(q.Context(), q.caller, vaultmesh.CommandID(id), a)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

func (s *Server) postReject(w http.ResponseWriter, q *request) error {
	return s.withReason(w, q, func(id vaultmesh.CommandID, reason string) (control.Command, error) {
		return s.opts.Commands.Reject(q.Context(), q.caller, id, reason)
	})
}

func (s *Server) postCancel(w http.ResponseWriter, q *request) error {
	return s.withReason(w, q, func(id vaultmesh.CommandID, reason string) (control.Command, error) {
		return s.opts.Commands.Cancel(q.Context(), q.caller, id, reason)
	})
}

func (s *Server) withReason(w http.ResponseWriter, q *request, do func(vaultmesh.CommandID, string) (control.Command, error)) error {
	id, err := pathID(q, "command")
	if err != nil {
		return err
	}
	var in ReasonRequest
	if err := s.decode(q, &in); err != nil {
		return err
	}
	if err := checkReason(in.Reason); err != nil {
		return err
	}
	c, err := do(vaultmesh.CommandID(id), in.Reason)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

func (s *Server) getHalt(w http.ResponseWriter, q *request) error {
	// Whoever may do anything here may know that nothing can be done now.
	if len(q.caller.Capability.Verbs()) == 0 {
		return mayRead(q.caller, "")
	}
	return writeJSON(w, http.StatusOK, s.opts.Commands.HaltState())
}

func (s *Server) postHalt(w http.ResponseWriter, q *request) error {
	var in ReasonRequest
	if err := s.decode(q, &in); err != nil {
		return err
	}
	if err := checkReason(in.Reason); err != nil {
		return err
	}
	h, err := s.opts.Commands.Halt(q.Context(), q.caller, in.Reason)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h)
}

// deleteHalt takes its reason from the query: a DELETE with a body is dropped by some proxies.
func (s *Server) deleteHalt(w http.ResponseWriter, q *request) error {
	p := params(q, "reason")
	reason := p.text("reason", 1024)
	if p.err != nil {
		return p.err
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	h, err := s.opts.Commands.Resume(q.Context(), q.caller, reason)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h)
}

func (s *Server) postRevoke(w http.ResponseWriter, q *request) error {
	var in struct {
		Block  string `json:"block"`
		Reason string `json:"reason"`
	}
	if err := s.decode(q, &in); err != nil {
		return err
	}
	var block vaultmesh.Digest
	if err := block.UnmarshalText([]byte(in.Block)); err != nil || block.IsZero() {
		return vaultmesh.Errorf(vaultmesh.Invalid, "capability.revoke", "block", "it is no digest").
			WithFix(`write "sha256:" and 64 lower-case hexadecimal digits`)
	}
	if err := checkReason(in.Reason); err != nil {
		return err
	}
	// The service asks again; here it keeps a token without the verb from asking which digests are known.
	if err := q.caller.Capability.Allows(capability.Action{Verb: capability.Admin}); err != nil {
		return err
	}
	ref, err := s.opts.Capabilities.Revoke(q.Context(), q.caller, block, in.Reason)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Revocation{Block: block, Receipt: ref})
}
