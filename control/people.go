package control

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/whatif"
)

// Challenge returns what an approver signs. What it shows is durable.
func (s *Service) Challenge(ctx context.Context, caller Caller, id vaultmesh.CommandID) (receipt.Challenge, error) {
	c, err := s.waiting("command.challenge", caller, id)
	if err != nil {
		return receipt.Challenge{}, err
	}
	ch, err := receipt.OpenChallenge(c.Challenge)
	if err != nil {
		return receipt.Challenge{}, err
	}
	return ch, s.o.Journal.Settle(ctx)
}

// waiting loads a command that waits for approval and asks whether the caller may approve it.
func (s *Service) waiting(op string, caller Caller, id vaultmesh.CommandID) (*record, error) {
	if err := vaultmesh.CheckID("command", string(id)); err != nil {
		return nil, err
	}
	c, err := load(s.o.Journal, id)
	if err != nil {
		return nil, err
	}
	if err := authorise(caller, capability.Action{Verb: capability.Approve, Twin: c.Twin, Command: c.Name, Args: c.Args}, s.o.Now()); err != nil {
		return nil, err
	}
	if c.State != AwaitingApproval {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, string(id), "the command is %s, it does not wait for an approval", c.State)
	}
	return c, nil
}

// Approve adds a person's signature. The one that completes the number asked for has the whole gate asked again, on
// the state of that moment; only then does the command go.
func (s *Service) Approve(ctx context.Context, caller Caller, id vaultmesh.CommandID, a Approval) (Command, error) {
	const op = "command.approve"
	c, err := s.waiting(op, caller, id)
	if err != nil {
		return Command{}, err
	}
	ch, err := receipt.OpenChallenge(c.Challenge)
	if err != nil {
		return Command{}, err
	}
	now := s.o.Now().UTC().Truncate(time.Microsecond)
	a.Time = now
	if err := s.checkApproval(caller, c, ch, a, now); err != nil {
		return Command{}, err
	}
	entry := &ApproveEntry{Command: id, Approval: a, Have: len(c.Approvals)}
	if len(c.Approvals)+1 >= c.Needs.Count {
		j, err := s.reassess(ctx, c, ch, append(slices.Clone(c.Approvals), a), now)
		if err != nil {
			return Command{}, err
		}
		entry.Judgement = &j
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Approve: entry})
	return s.shown(res.Command), err
}

// checkApproval refuses an approval that can never count before it changes anything.
func (s *Service) checkApproval(caller Caller, c *record, ch receipt.Challenge, a Approval, now time.Time) error {
	const op = "command.approve"
	if a.Approver != caller.Principal {
		return vaultmesh.Errorf(vaultmesh.Denied, op, string(c.ID), "the approval is in the name of %s, the request in the name of %s", a.Approver, caller.Principal)
	}
	if slices.ContainsFunc(c.Approvals, func(x Approval) bool { return x.Approver == a.Approver || x.Key == a.Key }) {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, string(c.ID), "%s has approved it already", a.Approver)
	}
	proposer, err := s.verified(c, now)
	if err != nil {
		return err
	}
	return s.o.Gate.CheckApproval(ch, c.Needs.Roles, proposer, gate.Approval(a), now)
}

// reassess asks the gate again with the approvals, on the state of now and with the proposer's own capability.
func (s *Service) reassess(ctx context.Context, c *record, ch receipt.Challenge, approvals []Approval, now time.Time) (Judgement, error) {
	view := s.o.Twins.Snapshot()
	t, ok := view.Get(c.Twin)
	if !ok {
		return Judgement{}, vaultmesh.Errorf(vaultmesh.NotFound, "command.approve", string(c.Twin), "the twin is gone")
	}
	v, err := s.verified(c, now)
	if err != nil {
		return deniedBy(gate.StageCapability, err), nil
	}
	r := gate.Request{ID: c.ID, Principal: c.Principal, Capability: v, Twin: t, Command: c.Name, Args: c.Args, View: view, Now: now, Expires: c.Expires, Challenge: &ch}
	for _, a := range approvals {
		r.Approvals = append(r.Approvals, gate.Approval(a))
	}
	if len(c.Verdict) > 0 {
		var verdict whatif.Verdict
		if err := json.Unmarshal(c.Verdict, &verdict); err != nil {
			return Judgement{}, vaultmesh.Errorf(vaultmesh.Corrupt, "command.approve", string(c.ID), "the stored verdict is damaged").Because(err)
		}
		r.Simulated = &verdict
	}
	j, err := s.assess(ctx, r)
	if err == nil && j.Outcome == gate.NeedsApproval {
		j = deniedBy(gate.StageApproval, vaultmesh.Errorf(vaultmesh.Stale, "command.approve", string(c.ID), "the gate now asks for other approvals than those given").WithFix("propose the command again"))
	}
	return j, err
}

// verified opens the proposer's token again: it may have expired or been revoked since.
func (s *Service) verified(c *record, now time.Time) (*capability.Verified, error) {
	t, err := capability.Parse(c.Token)
	if err != nil {
		return nil, err
	}
	v, err := capability.Verify(t, s.o.CapabilityRoot, now, s.o.Machine.Domain)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func deniedBy(stage string, err error) Judgement {
	reason := gate.Reason{Code: stage + "." + vaultmesh.KindOf(err).String(), Text: err.Error()}
	stages, _ := receipt.Body(map[string]any{"stages": []gate.StageResult{{Stage: stage, Outcome: gate.Deny, Reasons: []gate.Reason{reason}}}})
	return Judgement{Outcome: gate.Deny, Stage: stage, Reasons: []gate.Reason{reason}, Stages: stages}
}

// Reject ends a command that waits for approval.
func (s *Service) Reject(ctx context.Context, caller Caller, id vaultmesh.CommandID, reason string) (Command, error) {
	if _, err := s.waiting("command.reject", caller, id); err != nil {
		return Command{}, err
	}
	return s.endBy(ctx, caller, id, Rejected, reason)
}

// Cancel withdraws a command before its dispatch. The proposer may, and whoever may approve it.
func (s *Service) Cancel(ctx context.Context, caller Caller, id vaultmesh.CommandID, reason string) (Command, error) {
	if err := vaultmesh.CheckID("command", string(id)); err != nil {
		return Command{}, err
	}
	c, err := load(s.o.Journal, id)
	if err != nil {
		return Command{}, err
	}
	verb := capability.Approve
	if c.Principal == caller.Principal {
		verb = capability.Command
	}
	if err := authorise(caller, capability.Action{Verb: verb, Twin: c.Twin, Command: c.Name, Args: c.Args}, s.o.Now()); err != nil {
		return Command{}, err
	}
	return s.endBy(ctx, caller, id, Cancelled, reason)
}

func (s *Service) endBy(ctx context.Context, caller Caller, id vaultmesh.CommandID, state State, reason string) (Command, error) {
	if err := checkReason(reason); err != nil {
		return Command{}, err
	}
	reason, sealed, err := s.hide(caller.Principal, reason)
	if err != nil {
		return Command{}, err
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Private: sealed, End: &EndEntry{Command: id, State: state, Reason: reason}})
	return s.shown(res.Command), err
}

func checkReason(reason string) error {
	if reason == "" || len(reason) > 1024 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "reason", "", "it has %d bytes, want 1 to 1024", len(reason)).WithFix("say why: the reason is part of the evidence")
	}
	return nil
}

// Halt stops every dispatch at once, before it is recorded: nothing is handed to a device any more, and what did not
// reach its device is withdrawn. The order of the log decides about everything else.
func (s *Service) Halt(ctx context.Context, caller Caller, reason string) (HaltState, error) {
	if err := s.maySwitch(caller, reason); err != nil {
		return HaltState{}, err
	}
	s.halting.Add(1)
	defer s.halting.Add(-1)
	var withdrawn []vaultmesh.CommandID
	for _, c := range s.opened() {
		if c.State != Dispatched {
			continue
		}
		waiting, err := outbox(s.o.Journal, c.Device)
		if err != nil {
			return s.haltFailed(caller, reason, err)
		}
		for _, o := range waiting {
			if o.Command == c.ID && s.withdraw(o) {
				withdrawn = append(withdrawn, c.ID)
			}
		}
	}
	// A halt is never held up by what keeps its reason.
	ref, sealed, err := s.hide(caller.Principal, reason)
	if err != nil {
		s.o.Log.Error("the reason of a halt cannot be kept privately and is not recorded", "error", err)
		ref, sealed = reasonLost, nil
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Private: sealed, Halt: &HaltEntry{Set: true, Reason: ref, Withdrawn: withdrawn}})
	if err != nil {
		return s.haltFailed(caller, reason, err)
	}
	return s.shownHalt(res.Halt), nil
}

// haltFailed keeps the switch set in memory, until somebody resumes: whether the entry was ordered is not known, and
// stopped is the safe side.
func (s *Service) haltFailed(caller Caller, reason string, err error) (HaltState, error) {
	if h := s.halted.Load(); !h.Halted {
		s.halted.CompareAndSwap(h, &HaltState{Halted: true, By: caller.Principal, Reason: reason, Since: s.o.Now().UTC()})
	}
	s.o.Log.Error("the halt could not be recorded; dispatch stays stopped on this node", "error", err)
	return s.HaltState(), err
}

// Resume clears the stop switch and lets waiting commands go that have not expired.
func (s *Service) Resume(ctx context.Context, caller Caller, reason string) (HaltState, error) {
	if err := s.maySwitch(caller, reason); err != nil {
		return HaltState{}, err
	}
	reason, sealed, err := s.hide(caller.Principal, reason)
	if err != nil {
		return HaltState{}, err
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Private: sealed, Halt: &HaltEntry{Reason: reason}})
	return s.shownHalt(res.Halt), err
}

func (s *Service) maySwitch(caller Caller, reason string) error {
	if err := authorise(caller, capability.Action{Verb: capability.Halt}, s.o.Now()); err != nil {
		return err
	}
	return checkReason(reason)
}

// HaltState returns the stop switch as it is recorded. A halt that could not be recorded shows as well: it holds until
// the node ends or somebody resumes.
func (s *Service) HaltState() HaltState { return s.shownHalt(*s.halted.Load()) }

// Revoke makes every token that holds the block invalid, from the next request on.
func (s *Service) Revoke(ctx context.Context, caller Caller, block vaultmesh.Digest, reason string) (receipt.Ref, error) {
	if err := authorise(caller, capability.Action{Verb: capability.Admin}, s.o.Now()); err != nil {
		return receipt.Ref{}, err
	}
	if err := checkReason(reason); err != nil {
		return receipt.Ref{}, err
	}
	if block.IsZero() {
		return receipt.Ref{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.revoke", "block", "it is empty")
	}
	reason, sealed, err := s.hide(caller.Principal, reason)
	if err != nil {
		return receipt.Ref{}, err
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Private: sealed, Revoke: &RevokeEntry{Block: block, Reason: reason}})
	if err != nil {
		return receipt.Ref{}, err
	}
	return res.Receipt, nil
}

// Revoked reports whether a block was revoked; r is the journal.
func Revoked(r interface {
	Get(key []byte) ([]byte, bool, error)
}, block vaultmesh.Digest) bool {
	_, ok, err := r.Get(keyRevoked(block))
	return ok || err != nil // fails closed
}

// Signed returns the challenge of a command for which approvals were asked, nil for any other.
func (s *Service) Signed(id vaultmesh.CommandID) (*receipt.Challenge, error) {
	c, err := load(s.o.Journal, id)
	if err != nil || len(c.Challenge) == 0 {
		return nil, err
	}
	ch, err := receipt.OpenChallenge(c.Challenge)
	return &ch, err
}
