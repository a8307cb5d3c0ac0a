package control

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/private"
	"vaultmesh.org/vaultmesh/receipt"
)

// Log gives receipts their place, inside a journal operation.
type Log interface {
	Append(tx journal.Tx, d receipt.Draft) (vaultmesh.LogIndex, vaultmesh.Digest, error)
}

// DesiredState keeps what authorized commands want, inside a journal operation.
type DesiredState interface {
	SetDesired(tx journal.Tx, id vaultmesh.TwinID, values map[string]json.RawMessage) error
}

// Machine applies entries. It holds no state of its own: all of it is in the journal, so that a replica needs nothing
// but the entries. It reads no clock and draws no randomness.
type Machine struct {
	Domain  vaultmesh.Domain
	Node    vaultmesh.Principal // in whose name the domain decides
	Log     Log
	Desired DesiredState
	MaxOpen int // commands of one principal that have not ended; more are refused
	// MaxDenied bounds the denied commands of one principal in a minute; 0 is no bound. Each costs the log receipts for
	// ever, so whoever goes on is refused without any.
	MaxDenied int
	// DeliverWithin bounds the time from dispatch to action: a device that gets the command later does not act on it.
	DeliverWithin time.Duration
}

// Result of an entry.
type Result struct {
	Command  Command
	Replayed bool       // the idempotency key was used before for the same proposal: nothing was done
	Outbox   []Outbound // to be sent once the commit is durable
	Halt     HaltState
	Ended    []Command // commands that this entry halted
	Receipt  receipt.Ref
	record   *record // what the service watches
}

// Apply applies one entry inside a journal operation. An error means that nothing was changed.
func (m *Machine) Apply(tx journal.Tx, e Entry) (Result, error) {
	if e.Propose == nil { // whose text may be there already, if the proposal is repeated
		if err := keepText(tx, e); err != nil {
			return Result{}, err
		}
	}
	switch {
	case e.Propose != nil:
		return m.propose(tx, e, e.Propose)
	case e.Approve != nil:
		return m.approve(tx, e, e.Approve)
	case e.End != nil:
		return m.end(tx, e, e.End)
	case e.Deliver != nil:
		return m.deliver(tx, e.Deliver)
	case e.Respond != nil:
		return m.respond(tx, e, &e.Respond.Response)
	case e.Observe != nil:
		return m.observe(tx, e, e.Observe)
	case e.Halt != nil:
		return m.halt(tx, e, e.Halt)
	case e.Revoke != nil:
		return m.revoke(tx, e, e.Revoke)
	case e.Erase != nil:
		return m.erase(tx, e, e.Erase)
	}
	return Result{}, vaultmesh.Errorf(vaultmesh.Invalid, "control.apply", "", "the entry is empty")
}

// keepText keeps the text of an entry, if it has one.
func keepText(tx journal.Tx, e Entry) error {
	if e.Private == nil {
		return nil
	}
	return private.Put(tx, *e.Private)
}

func (m *Machine) propose(tx journal.Tx, e Entry, p *ProposeEntry) (Result, error) {
	earlier, ok, err := tx.Get(keyIdempotency(e.Actor, p.IdempotencyKey))
	if err != nil {
		return Result{}, err
	}
	if ok {
		c, err := load(tx, vaultmesh.CommandID(earlier))
		if err != nil {
			return Result{}, err
		}
		if c.Twin != p.Twin || c.Name != p.Command || string(c.Args) != string(p.Args) {
			return Result{}, vaultmesh.Errorf(vaultmesh.Conflict, "command.propose", p.IdempotencyKey, "the idempotency key was used for command %s with other contents", c.ID).
				WithFix("use a new idempotency key for a new command")
		}
		return Result{Command: c.Command, record: c, Replayed: true, Receipt: c.Last}, nil
	}
	if err := keepText(tx, e); err != nil {
		return Result{}, err
	}
	c := &record{
		Command: Command{ID: p.ID, Twin: p.Twin, Name: p.Command, Args: p.Args, Principal: e.Actor, Capability: p.Capability, IdempotencyKey: p.IdempotencyKey,
			Proposed: e.Time, Expires: p.Expires},
		Device: p.Device, Token: p.Token, Version: p.TwinVersion,
	}
	body := receipt.ProposedBody{CommandRef: ref(c), Args: p.Args, IdempotencyKey: p.IdempotencyKey, TwinVersion: p.TwinVersion, Expires: p.Expires,
		Token: p.Token, Proof: p.Proof, Target: p.Target, Reason: p.Reason}
	if err := m.step(tx, e, c, Proposed, e.Actor, p.Reason, body); err != nil {
		return Result{}, err
	}
	tx.Put(keyList(c.Last.Index), []byte(c.ID))
	tx.Put(keyIdempotency(e.Actor, p.IdempotencyKey), []byte(c.ID))
	j := p.Judgement
	if err := m.recheck(tx, e, c, &j); err != nil {
		return Result{}, err
	}
	return m.decide(tx, e, c, j)
}

// recheck asks again, in the order of the log, what only the ordered state can answer: halt, revocations, quotas, open
// commands. They can only turn an allow into a deny.
func (m *Machine) recheck(tx journal.Tx, e Entry, c *record, j *Judgement) error {
	if j.Outcome == gate.Deny {
		return nil
	}
	deny := func(code, text, fix string) {
		j.Outcome = gate.Deny
		j.Stage, _, _ = strings.Cut(code, ".")
		j.Reasons = append([]gate.Reason{{Code: code, Text: text, Fix: fix}}, j.Reasons...)
	}
	for _, b := range j.Blocks {
		if _, revoked, err := tx.Get(keyRevoked(b)); err != nil {
			return err
		} else if revoked {
			deny("capability.revoked", "the capability's block "+b.String()+" is revoked", "ask for a new token")
			return nil
		}
	}
	h, err := loadHalt(tx)
	if err != nil {
		return err
	}
	if h.Halted {
		why := ""
		if !receipt.IsPrivateRef(h.Reason) {
			why = ": " + h.Reason
		}
		deny("limits.halted", "the domain is halted by "+string(h.By)+why, "wait until an operator resumes the domain")
		return nil
	}
	if c.State == Proposed {
		open, _, err := loadCount(tx, openKey(c.Principal), 0, e.Time)
		if err != nil {
			return err
		}
		if m.MaxOpen > 0 && open >= uint64(m.MaxOpen) {
			deny("limits.open", "too many of this principal's commands have not ended", "wait for them to end, or cancel them")
			return nil
		}
	}
	if j.Outcome != gate.Allow {
		return nil
	}
	for _, q := range j.Counts {
		n, _, err := loadCount(tx, q.Key, q.Window, e.Time)
		if err != nil {
			return err
		}
		if n >= q.Max {
			deny("limits.rate", "the limit "+q.Rule+" is used up", "retry in the next window")
			return nil
		}
	}
	return nil
}

// deniedWindow is the time in which denied commands are counted.
const deniedWindow = time.Minute

// denials returns the count of a principal's denied commands and its window.
func denials(p vaultmesh.Principal, now time.Time) (key string, window int64) {
	return "denied/" + string(p), now.Truncate(deniedWindow).Unix()
}

// openKey is the count of a principal's commands that have not ended.
func openKey(p vaultmesh.Principal) string { return "open/" + string(p) }

// decide records the assessment of a proposal and its consequence.
func (m *Machine) decide(tx journal.Tx, e Entry, c *record, j Judgement) (Result, error) {
	c.Policy, c.Decision, c.Verdict, c.VerdictID, c.Expect, c.Tolerance, c.Desired = j.Policy, j.Decision, j.Verdict, j.VerdictID, j.Expect, j.Tolerance, j.Desired
	body := receipt.AssessedBody{CommandRef: ref(c), TwinVersion: c.Version, Simulation: j.VerdictID, Verdict: j.Verdict, Stages: j.Stages, Expect: j.Expect, Tolerance: j.Tolerance, Inputs: keepInputs(tx, j)}
	if err := m.step(tx, e, c, Assessed, m.Node, string(j.Outcome), body); err != nil {
		return Result{}, err
	}
	if j.Outcome == gate.NeedsApproval && j.Need != nil && len(j.Challenge) > 0 {
		ch, err := receipt.OpenChallenge(j.Challenge)
		if err != nil {
			return Result{}, err
		}
		c.Challenge = j.Challenge
		c.Needs = &Need{Count: j.Need.Count, Roles: j.Need.Roles, Digest: ch.Digest(), Until: ch.Expires, Why: j.Need.Why}
		body := receipt.AwaitingBody{CommandRef: ref(c), Challenge: ch.Digest(), Count: j.Need.Count, Roles: j.Need.Roles, Until: ch.Expires, Why: j.Need.Why}
		if err := m.step(tx, e, c, AwaitingApproval, m.Node, j.Need.Why, body); err != nil {
			return Result{}, err
		}
		if err := addCount(tx, openKey(c.Principal), 0, e.Time, 1); err != nil {
			return Result{}, err
		}
		return Result{Command: c.Command, record: c, Receipt: c.Last}, put(tx, c)
	}
	if j.Outcome != gate.Allow {
		return m.deny(tx, e, c, j)
	}
	if err := addCount(tx, openKey(c.Principal), 0, e.Time, 1); err != nil {
		return Result{}, err
	}
	return m.authorize(tx, e, c, j)
}

// deny ends a command with the gate's reasons.
func (m *Machine) deny(tx journal.Tx, e Entry, c *record, j Judgement) (Result, error) {
	reason := "the gate refused without a reason"
	if len(j.Reasons) > 0 {
		reason = j.Reasons[0].Text
	}
	wasOpen := c.State != Assessed && c.State != Proposed
	body := receipt.ReasonBody{CommandRef: ref(c), Reason: reason, Stage: j.Stage}
	if c.State == Approved {
		body.Inputs = keepInputs(tx, j)
	}
	if err := m.step(tx, e, c, Denied, m.Node, reason, body); err != nil {
		return Result{}, err
	}
	c.Reasons = j.Reasons
	key, window := denials(c.Principal, e.Time)
	if err := addCount(tx, key, window, e.Time, 1); err != nil {
		return Result{}, err
	}
	return Result{Command: c.Command, record: c, Receipt: c.Last}, m.close(tx, c, wasOpen)
}

// authorize lets a command go: authorized and dispatched, the desired state, the quotas and the outbox, all in one commit.
func (m *Machine) authorize(tx journal.Tx, e Entry, c *record, j Judgement) (Result, error) {
	auth := receipt.AuthorizedBody{CommandRef: ref(c), Simulation: j.VerdictID, Inputs: keepInputs(tx, j)}
	if c.Needs != nil {
		auth.Challenge = c.Needs.Digest
	}
	if j.VerdictID != c.VerdictID { // the gate simulated again at dispatch
		auth.Verdict = j.Verdict
	}
	if err := m.step(tx, e, c, Authorized, m.Node, "", auth); err != nil {
		return Result{}, err
	}
	for _, q := range j.Counts {
		if err := addCount(tx, q.Key, q.Window, e.Time, 1); err != nil {
			return Result{}, err
		}
	}
	if len(j.Desired) > 0 {
		if err := m.Desired.SetDesired(tx, c.Twin, j.Desired); err != nil {
			return Result{}, err
		}
	}
	expires := e.Time.Add(m.DeliverWithin)
	if c.Expires.Before(expires) {
		expires = c.Expires
	}
	if err := m.step(tx, e, c, Dispatched, m.Node, "", receipt.DispatchedBody{CommandRef: ref(c), Device: c.Device, Expires: expires}); err != nil {
		return Result{}, err
	}
	c.Dispatched = e.Time
	c.Outbox = uint64(c.Last.Index)
	o := Outbound{Seq: c.Outbox, Device: c.Device, Twin: c.Twin, Command: c.ID, Name: c.Name, Args: c.Args, Expires: expires}
	v, err := json.Marshal(o)
	if err != nil {
		return Result{}, vaultmesh.Errorf(vaultmesh.Internal, "command.dispatch", string(c.ID), "cannot store").Because(err)
	}
	tx.Put(keyOutbox(o.Device, o.Seq), v)
	return Result{Command: c.Command, record: c, Outbox: []Outbound{o}, Receipt: c.Last}, put(tx, c)
}

func (m *Machine) approve(tx journal.Tx, e Entry, a *ApproveEntry) (Result, error) {
	const op = "command.approve"
	c, err := load(tx, a.Command)
	if err != nil {
		return Result{}, err
	}
	if c.State != AwaitingApproval {
		return Result{}, vaultmesh.Errorf(vaultmesh.Conflict, op, string(c.ID), "the command is %s, it does not wait for an approval", c.State)
	}
	if len(c.Approvals) != a.Have {
		return Result{}, vaultmesh.Errorf(vaultmesh.Conflict, op, string(c.ID), "another approval came first").WithFix("try again")
	}
	if !e.Time.Before(c.Needs.Until) {
		return Result{}, vaultmesh.Errorf(vaultmesh.Expired, op, string(c.ID), "the time to approve ended at %s", c.Needs.Until.UTC().Format(receipt.TimeFormat)).WithFix("propose the command again")
	}
	ch, err := receipt.OpenChallenge(c.Challenge)
	if err != nil {
		return Result{}, err
	}
	if _, used, err := tx.Get(keyNonce(ch.Nonce)); err != nil || used {
		if err == nil {
			err = vaultmesh.Errorf(vaultmesh.Conflict, op, string(c.ID), "this challenge was already used")
		}
		return Result{}, err
	}
	c.Approvals = append(slices.Clone(c.Approvals), a.Approval)
	signed := make([]receipt.SignedApproval, len(c.Approvals))
	for i, x := range c.Approvals {
		signed[i] = receipt.SignedApproval{Approver: x.Approver, Key: x.Key, Signature: x.Signature, Time: x.Time}
	}
	if a.Judgement == nil {
		body := receipt.AwaitingBody{CommandRef: ref(c), Challenge: c.Needs.Digest, Count: c.Needs.Count, Roles: c.Needs.Roles, Until: c.Needs.Until, Why: c.Needs.Why, Approvals: signed}
		if err := m.step(tx, e, c, AwaitingApproval, a.Approval.Approver, "", body); err != nil {
			return Result{}, err
		}
		return Result{Command: c.Command, record: c, Receipt: c.Last}, put(tx, c)
	}
	tx.Put(keyNonce(ch.Nonce), []byte(c.ID))
	if err := m.step(tx, e, c, Approved, a.Approval.Approver, "", receipt.ApprovedBody{CommandRef: ref(c), Challenge: c.Needs.Digest, Approvals: signed}); err != nil {
		return Result{}, err
	}
	j := *a.Judgement
	if err := m.recheck(tx, e, c, &j); err != nil {
		return Result{}, err
	}
	if j.Outcome != gate.Allow {
		return m.deny(tx, e, c, j)
	}
	return m.authorize(tx, e, c, j)
}

func (m *Machine) end(tx journal.Tx, e Entry, x *EndEntry) (Result, error) {
	c, err := load(tx, x.Command)
	if err != nil {
		return Result{}, err
	}
	if err := m.step(tx, e, c, x.State, e.Actor, x.Reason, receipt.ReasonBody{CommandRef: ref(c), Reason: x.Reason}); err != nil {
		return Result{}, err
	}
	if x.State == TimedOut {
		m.withdraw(tx, c)
	}
	return Result{Command: c.Command, record: c, Receipt: c.Last}, m.close(tx, c, true)
}

func (m *Machine) deliver(tx journal.Tx, x *DeliverEntry) (Result, error) {
	c, err := load(tx, x.Command)
	if err != nil {
		return Result{}, err
	}
	m.withdraw(tx, c)
	return Result{Command: c.Command, record: c}, nil
}

// withdraw takes a command out of the outbox.
func (m *Machine) withdraw(tx journal.Tx, c *record) { tx.Delete(keyOutbox(c.Device, c.Outbox)) }

func (m *Machine) respond(tx journal.Tx, e Entry, r *Response) (Result, error) {
	const op = "command.respond"
	c, err := load(tx, r.Command)
	if err != nil {
		return Result{}, err
	}
	if c.Device != r.Device {
		return Result{}, vaultmesh.Errorf(vaultmesh.Denied, op, string(c.ID), "the command was sent to another device")
	}
	m.withdraw(tx, c)
	switch c.State {
	case Dispatched:
	case TimedOut, Acknowledged, Refused, Aligned, Diverged:
		return Result{Command: c.Command, record: c}, nil // a repeated or late answer changes nothing
	default:
		return Result{}, vaultmesh.Errorf(vaultmesh.Conflict, op, string(c.ID), "the command was never dispatched")
	}
	state := Acknowledged
	if !r.OK {
		state = Refused
	}
	c.Response = r.Body
	body := receipt.ResponseBody{CommandRef: ref(c), Device: r.Device, Code: r.Code, Detail: r.Detail, Response: r.Body}
	if err := m.step(tx, e, c, state, vaultmesh.Principal("device:"+string(r.Device)), r.Detail, body); err != nil {
		return Result{}, err
	}
	return Result{Command: c.Command, record: c, Receipt: c.Last}, m.close(tx, c, true)
}

func (m *Machine) observe(tx journal.Tx, e Entry, o *ObserveEntry) (Result, error) {
	c, err := load(tx, o.Command)
	if err != nil {
		return Result{}, err
	}
	if o.State != Aligned && o.State != Diverged {
		return Result{}, vaultmesh.Errorf(vaultmesh.Invalid, "command.observe", string(c.ID), "state %q", o.State)
	}
	c.AlignMillis = o.Millis
	observed, err := json.Marshal(o.Observed)
	if err != nil {
		return Result{}, vaultmesh.Errorf(vaultmesh.Internal, "command.observe", string(c.ID), "cannot store").Because(err)
	}
	c.Observed = observed
	for _, p := range o.Messages {
		tx.Put(keyMessage(p.Batch, p.Position), p.Raw)
	}
	body := receipt.ObservedBody{CommandRef: ref(c), Observed: o.Observed, Millis: o.Millis, Reason: o.Reason}
	if err := m.step(tx, e, c, o.State, m.Node, o.Reason, body); err != nil {
		return Result{}, err
	}
	return Result{Command: c.Command, record: c, Receipt: c.Last}, m.close(tx, c, true)
}

func (m *Machine) halt(tx journal.Tx, e Entry, x *HaltEntry) (Result, error) {
	h, err := loadHalt(tx)
	if err != nil {
		return Result{}, err
	}
	if h.Halted == x.Set {
		return Result{Halt: h}, nil
	}
	h = HaltState{Halted: x.Set, By: e.Actor, Reason: x.Reason, Since: e.Time}
	kind, outcome := receipt.HaltSet, "halted"
	if !x.Set {
		kind, outcome = receipt.HaltCleared, "running"
	}
	body, err := receipt.Body(receipt.HaltBody{Reason: x.Reason})
	if err != nil {
		return Result{}, err
	}
	index, leaf, err := m.Log.Append(tx, receipt.Draft{Kind: kind, Subject: receipt.HaltSubject(m.Domain), Actor: e.Actor, Time: e.Time, Outcome: outcome, Body: body})
	if err != nil {
		return Result{}, err
	}
	v, err := json.Marshal(h)
	if err != nil {
		return Result{}, vaultmesh.Errorf(vaultmesh.Internal, "halt", "", "cannot store").Because(err)
	}
	tx.Put(keyHalt, v)
	res := Result{Halt: h, Receipt: receipt.Ref{Index: index, Leaf: leaf}}
	if !x.Set {
		return res, nil
	}
	open, err := active(tx)
	if err != nil {
		return Result{}, err
	}
	for _, c := range open {
		held := c.State == AwaitingApproval || c.State == Approved || c.State == Authorized
		if !held && (c.State != Dispatched || !slices.Contains(x.Withdrawn, c.ID)) {
			continue
		}
		if err := m.step(tx, e, c, Halted, e.Actor, x.Reason, receipt.ReasonBody{CommandRef: ref(c), Reason: x.Reason}, res.Receipt); err != nil {
			return Result{}, err
		}
		m.withdraw(tx, c)
		if err := m.close(tx, c, true); err != nil {
			return Result{}, err
		}
		res.Ended = append(res.Ended, c.Command)
	}
	return res, nil
}

func (m *Machine) revoke(tx journal.Tx, e Entry, x *RevokeEntry) (Result, error) {
	v, ok, err := tx.Get(keyRevoked(x.Block))
	if err != nil {
		return Result{}, err
	}
	if ok && len(v) == 8+len(x.Block) {
		return Result{Replayed: true, Receipt: receipt.Ref{Index: vaultmesh.LogIndex(binary.BigEndian.Uint64(v)), Leaf: vaultmesh.Digest(v[8:])}}, nil
	}
	body, err := receipt.Body(receipt.CapabilityBody{Block: x.Block, Reason: x.Reason})
	if err != nil {
		return Result{}, err
	}
	index, leaf, err := m.Log.Append(tx, receipt.Draft{Kind: receipt.CapabilityRevoked, Subject: receipt.CapabilitySubject(x.Block), Actor: e.Actor, Time: e.Time, Outcome: "revoked", Body: body})
	if err != nil {
		return Result{}, err
	}
	tx.Put(keyRevoked(x.Block), append(binary.BigEndian.AppendUint64(nil, uint64(index)), leaf[:]...))
	return Result{Receipt: receipt.Ref{Index: index, Leaf: leaf}}, nil
}

// erase records that the key of a principal's private texts is destroyed.
func (m *Machine) erase(tx journal.Tx, e Entry, x *EraseEntry) (Result, error) {
	before, err := erasedBefore(tx, x.Principal)
	if err != nil {
		return Result{}, err
	}
	body, err := receipt.Body(receipt.ErasedBody{Principal: x.Principal, Texts: x.Kept - min(before, x.Kept), Reason: x.Reason})
	if err != nil {
		return Result{}, err
	}
	index, leaf, err := m.Log.Append(tx, receipt.Draft{Kind: receipt.DataErased, Subject: receipt.PrivateSubject(x.Principal), Actor: e.Actor, Time: e.Time, Outcome: "erased", Body: body})
	if err != nil {
		return Result{}, err
	}
	tx.Put(keyErased(x.Principal), binary.BigEndian.AppendUint64(nil, x.Kept))
	return Result{Receipt: receipt.Ref{Index: index, Leaf: leaf}}, nil
}

// erasedBefore returns how many private texts the principal had at the latest erasure.
func erasedBefore(r journal.Reader, p vaultmesh.Principal) (uint64, error) {
	v, ok, err := r.Get(keyErased(p))
	if err != nil || !ok {
		return 0, err
	}
	if len(v) != 8 {
		return 0, vaultmesh.Errorf(vaultmesh.Corrupt, "private.erase", string(p), "the stored count is damaged")
	}
	return binary.BigEndian.Uint64(v), nil
}

// keepInputs keeps what the gate saw with its decision and returns its digest.
func keepInputs(tx journal.Tx, j Judgement) vaultmesh.Digest {
	if len(j.Inputs) == 0 {
		return vaultmesh.Digest{}
	}
	d := vaultmesh.Sum(j.Inputs)
	tx.Put(keyInputs(d), j.Inputs)
	return d
}

// step appends the receipt of one transition, caused by the command's previous receipt, and moves the record.
func (m *Machine) step(tx journal.Tx, e Entry, c *record, to State, actor vaultmesh.Principal, reason string, body any, causes ...receipt.Ref) error {
	next, _ := receipt.NextCommandStates(string(c.State))
	if !slices.Contains(next, string(to)) {
		return vaultmesh.Errorf(vaultmesh.Conflict, "command", string(c.ID), "a command that is %s cannot become %s", c.State, to)
	}
	b, err := receipt.Body(body)
	if err != nil {
		return err
	}
	if c.State != "" {
		causes = append([]receipt.Ref{c.Last}, causes...)
	}
	index, leaf, err := m.Log.Append(tx, receipt.Draft{
		Kind: receipt.CommandKind(string(to)), Subject: receipt.CommandSubject(c.ID), Actor: actor, Time: e.Time, Capability: c.Capability,
		Policy: c.Policy, Decision: c.Decision, Outcome: outcome(to, reason), Causes: causes, Body: b,
	})
	if err != nil {
		return err
	}
	c.Last = receipt.Ref{Index: index, Leaf: leaf}
	c.State, c.Reason = to, reason
	c.History = append(slices.Clone(c.History), Transition{State: to, Time: e.Time, Actor: actor, Reason: reason, Receipt: index})
	return nil
}

// outcome is the receipt's result: the state, and the reason as far as it fits.
func outcome(s State, reason string) string {
	o := string(s)
	if reason != "" {
		o += ": " + reason
	}
	if len(o) > receipt.MaxText {
		o = o[:receipt.MaxText]
		for len(o) > 0 && o[len(o)-1]&0xc0 == 0x80 {
			o = o[:len(o)-1]
		}
		if len(o) > 0 && o[len(o)-1] >= 0xc0 {
			o = o[:len(o)-1]
		}
	}
	return o
}

// close stores a record and gives back the place of an ended command.
func (m *Machine) close(tx journal.Tx, c *record, wasOpen bool) error {
	if Ended(c.State) && wasOpen {
		if err := addCount(tx, openKey(c.Principal), 0, time.Time{}, -1); err != nil {
			return err
		}
	}
	return put(tx, c)
}

func ref(c *record) receipt.CommandRef {
	return receipt.CommandRef{Command: c.ID, Twin: c.Twin, Name: c.Name, ArgsDigest: vaultmesh.Sum(c.Args)}
}
