package mcpapi

import (
	"bytes"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// ProofMeta is the member of a call's _meta in which a client over HTTP may send a proof of possession for the
// proposal alone: capability.SignProof over the target {domain, "mcp", "propose_command", SHA-256 of
// receipt.ProposedBody.RequestText}. It goes into the proposal's receipt in place of the proof of the HTTP request, which is
// about the whole message. Each proof is good once: a retry needs a new nonce.
const ProofMeta = "org.vaultmesh/proof"

const (
	proofSkew   = 30 * time.Second // clock difference allowed to a proof
	maxReplays  = 100_000          // proofs that are remembered
	proofMethod = "mcp"
	proposeTool = "propose_command"
)

// possession returns the caller with the proof that the proposal's receipt shall hold.
func (s *Server) possession(c call, p control.Proposal) (control.Caller, error) {
	caller := c.caller
	if !c.remote {
		return caller, nil
	}
	if c.proof == "" {
		// The proof of the HTTP request covers the whole message. An auditor finds the proposal in one tool call, not in a
		// batch; without a signature its receipt would look as if a client certificate had proved possession.
		if caller.Target == nil || len(caller.Target.Request) == 0 {
			caller.Proof, caller.Target = "", nil
		} else if text := bytes.TrimLeft(caller.Target.Request, " \t\r\n"); len(text) == 0 || text[0] != '{' {
			return control.Caller{}, vaultmesh.Errorf(vaultmesh.Invalid, "mcp.proof", ProofMeta, "a proposal in a batch needs a proof of its own").WithFix("send propose_command as a message of its own, or sign it and send the signature in _meta")
		}
		return caller, nil
	}
	const op = "mcp.proof"
	body := receipt.ProposedBody{Args: p.Args, IdempotencyKey: p.IdempotencyKey, Reason: p.Reason}
	body.Twin, body.Name = p.Twin, p.Command
	if len(body.Args) == 0 {
		body.Args = []byte("{}")
	}
	digest := vaultmesh.Sum(body.RequestText())
	now := s.opts.Now()
	nonce, err := capability.VerifyProof(c.proof, capability.Target{Domain: s.opts.Domain, Method: proofMethod, Path: proposeTool, Body: digest}, caller.Key, now, proofSkew)
	if err == nil {
		err = s.replays.Use(caller.Capability.Holders[0], caller.Key, nonce, now)
	}
	if err != nil {
		return control.Caller{}, vaultmesh.Wrap(err, op, ProofMeta)
	}
	caller.Proof = c.proof
	caller.Target = &receipt.ProofTarget{Method: proofMethod, Path: proposeTool, Body: digest}
	return caller, nil
}
