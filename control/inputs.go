package control

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/receipt"
)

// inputs returns the canonical document of everything that the gate saw for an assessment; used says what was used of
// each of the judgement's counts. It is made outside of the
// journal's order, on the caller's own time.
func inputs(r *gate.Request, a *gate.Assessment, j *Judgement, used []uint64) ([]byte, error) {
	in := receipt.Inputs{
		Command: r.ID, Twin: r.Twin.ID, Name: r.Command, ArgsDigest: vaultmesh.Sum(r.Args), Principal: r.Principal, Time: r.Now, Expires: r.Expires,
		TwinState: vaultmesh.Sum(r.Twin.Document()), TwinVersion: r.Twin.Version, Policy: a.Policy, Decision: a.Decision,
		Capability: receipt.InputCapability{Blocks: j.Blocks}, Halted: r.Halted, Expect: a.Expect, Stages: vaultmesh.Sum(j.Stages), Outcome: string(a.Outcome),
	}
	if a.Verdict != nil {
		in.Topology, in.Verdict = a.Verdict.Topology, a.Verdict.ID
	}
	if r.Simulated != nil {
		in.Earlier = r.Simulated.ID
	}
	if r.Challenge != nil {
		in.Challenge = r.Challenge.Digest()
	}
	for _, x := range r.Approvals {
		in.Approvals = append(in.Approvals, receipt.SignedApproval{Approver: x.Approver, Key: x.Key, Signature: x.Signature, Time: x.Time})
	}
	for i, c := range j.Counts {
		in.Limits = append(in.Limits, receipt.InputLimit{Rule: c.Rule, Key: c.Key, Max: c.Max, Used: used[i], Window: c.Window})
	}
	return in.Encode()
}

// Inputs returns what a decision saw, by the digest in its receipt; ok is false where the decision was made before such
// documents were kept.
func (s *Service) Inputs(d vaultmesh.Digest) (doc []byte, ok bool, err error) {
	return s.o.Journal.Get(keyInputs(d))
}
