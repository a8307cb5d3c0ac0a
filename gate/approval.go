package gate

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/whatif"
)

// maxApprovals bounds the approvals of one request.
const maxApprovals = 64

// approvalStage issues the challenge where approvals are needed and none was issued, and checks the approvals where
// one was.
func (g *Gate) approvalStage(j *judged, d decision, policy vaultmesh.Digest, a *Assessment) []Reason {
	bad := func(code, text, fix string) []Reason {
		return []Reason{{Code: "approval." + code, Text: text, Fix: fix}}
	}
	if j.Challenge != nil {
		return g.approved(j, d, policy, a.Verdict)
	}
	if len(j.Approvals) > 0 {
		return bad("challenge_missing", "approvals came without the challenge that they sign", "report it: the node asks wrongly")
	}
	if d.need == nil {
		return nil
	}
	nonce := make([]byte, 16)
	if _, err := io.ReadFull(g.opt.Rand, nonce); err != nil {
		return []Reason{internal(StageApproval)}
	}
	expires := j.Now.Add(d.need.TTL)
	if !j.Expires.IsZero() && j.Expires.Before(expires) {
		expires = j.Expires
	}
	c := &receipt.Challenge{
		Domain: g.opt.Domain, Command: j.ID, Principal: j.Principal, Twin: j.twin.ID, Name: j.Command, Args: j.args,
		TwinVersion: j.twin.Version, Policy: policy, Expires: expires.UTC().Truncate(time.Microsecond), Nonce: hex.EncodeToString(nonce),
	}
	if a.Verdict != nil {
		c.Simulation = a.Verdict.ID
	}
	a.Challenge = c
	return nil
}

// approved checks that the signed challenge still describes the request, and that the approvals suffice.
func (g *Gate) approved(j *judged, d decision, policy vaultmesh.Digest, now *whatif.Verdict) []Reason {
	bad := func(code, text, fix string) []Reason {
		return []Reason{{Code: "approval." + code, Text: text, Fix: fix}}
	}
	const again = "propose the command again"
	c := j.Challenge
	same := c.Domain == g.opt.Domain && c.Command == j.ID && c.Principal == j.Principal && c.Twin == j.twin.ID && c.Name == j.Command && bytes.Equal(c.Args, j.args)
	switch {
	case !same:
		return bad("other_command", "the challenge was signed for another command, twin, proposer or other arguments", again)
	case !j.Now.Before(c.Expires):
		return bad("expired", "the time to approve and dispatch has passed", again)
	case c.Policy != policy:
		return bad("stale_policy", "the policy has changed since the command was approved", again)
	case c.TwinVersion > j.twin.Version:
		return bad("stale_twin", "the twin was defined anew since the command was approved", again)
	}
	if no := sameSimulation(j, d, now); no != nil {
		return no
	}
	if d.need == nil {
		return nil // what the approvals were asked for no longer applies, by the same policy
	}
	if len(j.Approvals) > maxApprovals {
		return bad("too_many", fmt.Sprintf("%d approvals, the limit is %d", len(j.Approvals), maxApprovals), "")
	}
	var no []Reason
	var who []vaultmesh.Principal
	var keys []string
	for _, ap := range j.Approvals {
		if err := g.CheckApproval(*c, d.need.Roles, j.Capability, ap, j.Now); err != nil {
			no = append(no, refusal("approval.invalid", err)...)
			continue
		}
		if slices.Contains(who, ap.Approver) || slices.Contains(keys, ap.Key) {
			no = append(no, Reason{Code: "approval.repeated", Text: fmt.Sprintf("%s approved twice", ap.Approver)})
			continue
		}
		who, keys = append(who, ap.Approver), append(keys, ap.Key)
	}
	if len(who) < d.need.Count {
		return append(bad("insufficient", fmt.Sprintf("%d of %d approvals are there", len(who), d.need.Count), "ask more operators to approve"), no...)
	}
	return nil
}

// sameSimulation checks that the topology that the approvers saw is the present one.
func sameSimulation(j *judged, d decision, now *whatif.Verdict) []Reason {
	bad := func(code, text string) []Reason {
		return []Reason{{Code: "approval." + code, Text: text, Fix: "propose the command again"}}
	}
	seen := j.Simulated
	switch {
	case j.Challenge.Simulation.IsZero() && now == nil:
		return nil
	case j.Challenge.Simulation.IsZero() || now == nil:
		return bad("stale_simulation", "whether the command can be simulated has changed since it was approved")
	case seen == nil || seen.ID != j.Challenge.Simulation:
		return bad("simulation_missing", "the verdict that the approvers saw is not at hand")
	}
	// The verdict may be as old as its challenge: what must not change is the topology.
	q := whatif.Query{Twin: j.twin.ID, Command: j.Command, Args: j.args, N1: d.n1}
	if err := seen.Check(q, j.Now, maxTTL, now.Topology); err != nil {
		no := refusal("approval.stale_topology", err)
		if vaultmesh.KindOf(err) == vaultmesh.Corrupt {
			no[0].Code = "approval.simulation_corrupt"
		}
		return no
	}
	return nil
}

// CheckApproval checks one approval of the challenge c: the approver is enrolled, has one of the roles and is not the
// proposer, by name or by any key of the proposer's capability; the signature is by the enrolled key over exactly c; the
// challenge has not expired. Control calls it when an approval comes in; Assess calls it again at dispatch. Errors are of
// kind Denied or Expired.
func (g *Gate) CheckApproval(c receipt.Challenge, roles []string, proposer *capability.Verified, ap Approval, now time.Time) error {
	refuse := func(format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Denied, "gate.approval", fmt.Sprintf("%.128s", ap.Approver), format, args...)
	}
	if proposer == nil || proposer.Principal != c.Principal {
		return refuse("the proposer's capability is not at hand")
	}
	if !now.Before(c.Expires) {
		return vaultmesh.Errorf(vaultmesh.Expired, "gate.approval", string(c.Command), "the time to approve has passed").WithFix("propose the command again")
	}
	if ap.Approver == c.Principal {
		return refuse("nobody approves a command of their own").WithFix("ask another operator")
	}
	o, ok := g.opt.Operators.Get(ap.Approver)
	if !ok {
		return refuse("not an enrolled operator").WithFix("enrol the operator's key first")
	}
	if !slices.ContainsFunc(o.Roles, func(r string) bool { return slices.Contains(roles, r) }) {
		return refuse("has none of the roles %v", roles).WithFix("ask an operator with one of these roles")
	}
	for _, held := range proposer.Holders {
		if held.Equal(o.Key) {
			return refuse("the key is one that proposed the command, under another name").WithFix("ask another operator")
		}
	}
	if ap.Key != receipt.KeyID(o.Key) {
		return refuse("the approval names a key that is not the enrolled one").WithFix("sign with the enrolled key")
	}
	if !ap.Time.IsZero() && ap.Time.Sub(now) > maxFuture {
		return refuse("the approval is dated in the future").WithFix("set the clock")
	}
	if err := receipt.VerifyApproval(o.Key, c, ap.Signature); err != nil {
		return refuse("the signature is not by the enrolled key over this very challenge").WithFix("sign the challenge that the node shows for this command").Because(err)
	}
	return nil
}
