package receipt

import (
	"bytes"
	"maps"
	"slices"

	"vaultmesh.org/vaultmesh"
)

// approvalJudge checks the approvals of all commands of a bundle: a challenge and its nonce serve one command only.
type approvalJudge struct {
	*judge
	challenges map[vaultmesh.Digest]Challenge
	used       map[vaultmesh.Digest]bool
	nonces     map[string]vaultmesh.CommandID
	asked      int
}

func (j *judge) approvals() *approvalJudge {
	a := &approvalJudge{judge: j, challenges: map[vaultmesh.Digest]Challenge{}, used: map[vaultmesh.Digest]bool{}, nonces: map[string]vaultmesh.CommandID{}}
	for _, p := range j.byType[PartChallenge] {
		c, err := OpenChallenge(p.Data)
		if err == nil && ChallengePart(c).Name != p.Name {
			err = vaultmesh.Errorf(vaultmesh.Corrupt, "challenge", "", "it has digest %s", c.Digest())
		}
		if err != nil {
			j.fail("approval.signature["+p.Name+"]", "%v", err)
			continue
		}
		a.challenges[c.Digest()] = c
	}
	return a
}

// finish refuses challenges that no command of the bundle asked for.
func (a *approvalJudge) finish() {
	unused := slices.DeleteFunc(slices.Collect(maps.Keys(a.challenges)), func(d vaultmesh.Digest) bool { return a.used[d] })
	slices.SortFunc(unused, func(x, y vaultmesh.Digest) int { return bytes.Compare(x[:], y[:]) })
	for _, d := range unused {
		a.fail("approval.signature", "no command of the bundle asks for the challenge %s", d)
	}
	if a.asked == 0 && len(a.challenges) == 0 {
		a.empty("approval.signature", "no command of the bundle asked for approval")
	}
}

// matchChallenge finds the challenge that the command asks for and compares it with the proposal and the assessment.
func (a *approvalJudge) matchChallenge(l *life) (Challenge, error) {
	want := l.awaiting[0]
	c, ok := a.challenges[want.Challenge]
	if !ok {
		return c, vaultmesh.Errorf(vaultmesh.NotFound, "approval", string(l.proposed.Command), "the bundle lacks the challenge %s", want.Challenge)
	}
	a.used[want.Challenge] = true
	if other, twice := a.nonces[c.Nonce]; twice {
		return c, vaultmesh.Errorf(vaultmesh.Corrupt, "approval", string(l.proposed.Command), "its nonce was used for command %s already", other)
	}
	a.nonces[c.Nonce] = c.Command
	assessed := l.at["assessed"]
	p := l.proposed
	switch {
	case c.Domain != a.trust.Domain, c.Command != p.Command, c.Twin != p.Twin, c.Name != p.Name, c.Principal != l.chain[0].Actor, !bytes.Equal(c.Args, p.Args):
		return c, vaultmesh.Errorf(vaultmesh.Corrupt, "approval", string(p.Command), "the challenge is about another proposal")
	case c.Policy != assessed.Policy || c.Simulation != l.assessed.Simulation || c.TwinVersion != l.assessed.TwinVersion:
		return c, vaultmesh.Errorf(vaultmesh.Corrupt, "approval", string(p.Command), "the challenge is about another policy, simulation or version of the twin than was assessed")
	}
	for _, b := range l.awaiting {
		if b.Challenge != want.Challenge || b.Count != want.Count || !slices.Equal(b.Roles, want.Roles) || !b.Until.Equal(want.Until) {
			return c, vaultmesh.Errorf(vaultmesh.Corrupt, "approval", string(p.Command), "what was asked for changed while approvals came in")
		}
	}
	return c, nil
}

// command checks one command's approvals: each signature, who gave it, when, and that there are enough.
func (a *approvalJudge) command(l *life) {
	name := l.name("approval.signature")
	if len(l.awaiting) == 0 {
		a.pass(name, noApproval)
		return
	}
	a.asked++
	c, err := a.matchChallenge(l)
	if err != nil {
		a.fail(name, "%v", err)
		return
	}
	for i, b := range l.awaiting {
		if err := a.signatures(l, c, b.Approvals, l.at["awaiting_approval"]); err != nil {
			a.fail(name, "at request %d: %v", i, err)
			return
		}
	}
	if l.approved == nil {
		a.pass(name, "approval was asked for and not given")
		return
	}
	want := l.awaiting[0]
	if l.approved.Challenge != want.Challenge || want.Count < 1 || len(l.approved.Approvals) < want.Count {
		a.fail(name, "%s of challenge %s, want %d of %s", counted(len(l.approved.Approvals), "approval"), l.approved.Challenge, want.Count, want.Challenge)
		return
	}
	err = a.signatures(l, c, l.approved.Approvals, l.at["approved"])
	a.settle(name, err, "%s with a role of %v, of %d that were asked for, signed challenge %s: this proposal, policy %s, simulation %q, before %s",
		counted(len(l.approved.Approvals), "operator"), want.Roles, want.Count, want.Challenge, c.Policy, c.Simulation, c.Expires.Format(TimeFormat))
}

func (a *approvalJudge) signatures(l *life, c Challenge, approvals []SignedApproval, at *entry) error {
	seen := map[vaultmesh.Principal]bool{}
	for _, s := range approvals {
		o, ok := a.pins.operators[s.Key]
		switch {
		case !ok || o.Principal != s.Approver:
			return vaultmesh.Errorf(vaultmesh.Denied, "approval", string(s.Approver), "key %s is not pinned for this operator", s.Key)
		case s.Approver == c.Principal:
			return vaultmesh.Errorf(vaultmesh.Denied, "approval", string(s.Approver), "the proposer approved the own command")
		case seen[s.Approver]:
			return vaultmesh.Errorf(vaultmesh.Denied, "approval", string(s.Approver), "the same person is counted twice")
		case !slices.ContainsFunc(l.awaiting[0].Roles, func(role string) bool { return slices.Contains(o.Roles, role) }):
			return vaultmesh.Errorf(vaultmesh.Denied, "approval", string(s.Approver), "the operator has none of the roles %v", l.awaiting[0].Roles)
		case s.Time.After(c.Expires) || s.Time.After(l.awaiting[0].Until) || at.Time.After(c.Expires):
			return vaultmesh.Errorf(vaultmesh.Expired, "approval", string(s.Approver), "given at %s, the challenge expired at %s", s.Time.Format(TimeFormat), c.Expires.Format(TimeFormat))
		}
		seen[s.Approver] = true
		if err := VerifyApproval(o.Public, c, s.Signature); err != nil {
			return vaultmesh.Wrap(err, "approval", string(s.Approver))
		}
	}
	return nil
}
