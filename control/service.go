package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/private"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// Journal is where entries are ordered and kept.
type Journal interface {
	journal.Reader
	// SubmitAsync orders op; done is called once, in the order of the commits, when op's commit is durable or op failed.
	SubmitAsync(lane journal.Lane, op journal.Op, done func(error)) error
	// Settle returns when everything applied before the call is durable.
	Settle(ctx context.Context) error
}

// Gate judges commands.
type Gate interface {
	Assess(ctx context.Context, r gate.Request) (gate.Assessment, error)
	Rates(model, command string) []gate.RateLimit
	CheckApproval(c receipt.Challenge, roles []string, proposer *capability.Verified, a gate.Approval, now time.Time) error
}

// Dispatcher carries commands to devices. Dispatch does not block; what it cannot send now it finds again through
// Service.Pending. Withdraw reports whether the command was kept from the device for certain.
type Dispatcher interface {
	Dispatch(o Outbound)
	Withdraw(o Outbound) bool
}

// Options of a service. Durations have defaults; everything else is required unless it says otherwise.
type Options struct {
	Machine   *Machine
	Journal   Journal
	Twins     *twin.Store
	Gate      Gate
	Operators *gate.Operators
	// CapabilityRoot verifies tokens again at dispatch.
	CapabilityRoot ed25519.PublicKey
	Dispatcher     Dispatcher
	// Simulator answers Simulate; nil: nothing can be simulated.
	Simulator whatif.Simulator
	// Texts keeps the reasons that people give so that they can be erased; nil: they are part of the receipts.
	Texts *private.Store
	// CheckArgs validates the arguments of a command by the model.
	CheckArgs func(model, command string, args json.RawMessage) error
	// Tolerance is how far a reported value may be from the expected one to count as equal; nil means exact.
	Tolerance func(model, name string, expected float64) float64

	TTL           time.Duration // from proposal to the last moment of dispatch, which bounds the time to approve; default 15 min
	AnswerWithin  time.Duration // from dispatch to the device's answer; default 30 s
	AlignWithin   time.Duration // from dispatch to alignment; default 60 s
	MaxSimulating int           // concurrent calls of Simulate; default 2

	Now  func() time.Time
	Rand io.Reader // for command identifiers
	Log  *slog.Logger
}

// Service is what faces and devices call. A result means that the decision is durable. It is safe for concurrent use.
type Service struct {
	o       Options
	halted  atomic.Pointer[HaltState] // as of the newest durable entry about the switch
	halting atomic.Int64              // calls of Halt that are not yet recorded: they count as halted already
	slots   chan struct{}

	mu     sync.Mutex
	open   map[vaultmesh.CommandID]*record                       // guarded by mu: commands that have not ended
	byTwin map[vaultmesh.TwinID]map[vaultmesh.CommandID]struct{} // guarded by mu: those of open that wait for the asset
	wake   chan struct{}                                         // capacity 1: deadlines changed

	idMu sync.Mutex // guards Rand

	dispatcher atomic.Pointer[Dispatcher]

	loops  sync.WaitGroup
	stop   context.CancelFunc
	m      *metrics
	events subscribers
}

// NewService restores what is open from the journal. Start must follow.
func NewService(o Options) (*Service, error) {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.TTL, 15 * time.Minute}, {&o.AnswerWithin, 30 * time.Second}, {&o.AlignWithin, time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.MaxSimulating <= 0 {
		o.MaxSimulating = 2
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Machine.DeliverWithin = o.AnswerWithin
	s := &Service{o: o, slots: make(chan struct{}, o.MaxSimulating), open: map[vaultmesh.CommandID]*record{},
		byTwin: map[vaultmesh.TwinID]map[vaultmesh.CommandID]struct{}{}, wake: make(chan struct{}, 1), m: newMetrics()}
	h, err := loadHalt(o.Journal)
	if err != nil {
		return nil, err
	}
	s.halted.Store(&h)
	open, err := active(o.Journal)
	if err != nil {
		return nil, err
	}
	for _, c := range open {
		s.note(c)
	}
	return s, nil
}

// SetDispatcher plugs in the device edge, which is made after the service. Until then commands wait in the outbox.
func (s *Service) SetDispatcher(d Dispatcher) { s.dispatcher.Store(&d) }

func (s *Service) dispatch(o Outbound) {
	if d := s.dispatcher.Load(); d != nil {
		(*d).Dispatch(o)
	}
}

// withdraw reports whether the command certainly did not reach its device.
func (s *Service) withdraw(o Outbound) bool {
	d := s.dispatcher.Load()
	return d == nil || (*d).Withdraw(o)
}

// Start runs the watch over deadlines and alignment until Close.
func (s *Service) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	w := s.o.Twins.Watch(1 << 16)
	s.loops.Add(2)
	go func() { defer s.loops.Done(); defer w.Close(); s.watchTwins(ctx, w) }()
	go func() { defer s.loops.Done(); s.watchDeadlines(ctx) }()
}

// Close stops the watch. Commands that are under way go on after the next start.
func (s *Service) Close() {
	if s.stop != nil {
		s.stop()
	}
	s.loops.Wait()
}

// order submits an entry and returns when it is durable and what follows from it is done. If ctx ends first it returns
// its error; the entry and what follows from it do not depend on anybody waiting.
func (s *Service) order(ctx context.Context, e Entry) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	e.Time = s.o.Now().UTC().Truncate(time.Microsecond)
	var res Result
	done := make(chan error, 1)
	err := s.o.Journal.SubmitAsync(journal.Commands, func(tx journal.Tx) (err error) {
		res, err = s.o.Machine.Apply(tx, e)
		return err
	}, func(err error) {
		if err == nil {
			s.follow(e, res)
		}
		done <- err
	})
	if err != nil {
		return Result{}, err
	}
	select {
	case err := <-done:
		if err != nil {
			return Result{}, err
		}
		return res, nil
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// follow does what follows from a durable entry. It is called in the order of the log and does not block.
func (s *Service) follow(e Entry, res Result) {
	if e.Halt != nil {
		s.halted.Store(&res.Halt)
		s.events.publish(Event{Halt: &res.Halt})
	}
	for i := range res.Ended {
		s.forget(res.Ended[i].ID)
		s.m.transition(res.Ended[i].State)
		s.events.publish(Event{Command: &res.Ended[i]})
	}
	if res.record != nil {
		s.note(res.record)
	}
	if !res.Replayed && res.Command.ID != "" {
		s.m.transition(res.Command.State)
		s.events.publish(Event{Command: &res.Command})
	}
	for _, o := range res.Outbox {
		if !s.stopped() {
			s.dispatch(o)
		}
	}
}

// stopped reports whether nothing may be handed to a device: the domain is halted, or a halt is about to be recorded.
func (s *Service) stopped() bool { return s.halting.Load() > 0 || s.halted.Load().Halted }

// authorise asks the caller's capability.
func authorise(caller Caller, a capability.Action, now time.Time) error {
	if caller.Capability == nil {
		return vaultmesh.Errorf(vaultmesh.Denied, string(a.Verb), string(a.Twin), "no capability was presented").WithFix("send a capability token and a proof of possession")
	}
	if err := caller.Capability.ValidAt(now); err != nil {
		return err
	}
	return caller.Capability.Allows(a)
}

// Propose asks for a command. The result may already be denied, waiting for approval, or dispatched. The same
// idempotency key with the same contents returns the earlier command; with other contents it is a Conflict.
func (s *Service) Propose(ctx context.Context, caller Caller, p Proposal) (Command, error) {
	const op = "command.propose"
	start := time.Now()
	if err := checkProposal(&p); err != nil {
		return Command{}, err
	}
	if n := len(p.IdempotencyKey); n < 1 || n > vaultmesh.MaxID {
		return Command{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "idempotency_key", "it has %d bytes, want 1 to %d", n, vaultmesh.MaxID).WithFix("send a key that is unique for this command, and the same one when you retry")
	}
	if err := vaultmesh.CheckID("idempotency_key", p.IdempotencyKey); err != nil {
		return Command{}, err
	}
	if caller.Capability == nil {
		return Command{}, authorise(caller, capability.Action{Verb: capability.Command, Twin: p.Twin}, s.o.Now())
	}
	if err := s.checkOpening(&p); err != nil {
		return Command{}, err
	}
	if earlier, ok, err := s.o.Journal.Get(keyIdempotency(caller.Principal, p.IdempotencyKey)); err != nil {
		return Command{}, err
	} else if ok {
		return s.replay(ctx, caller, p, vaultmesh.CommandID(earlier))
	}
	if err := s.mayBeDenied(caller.Principal); err != nil {
		return Command{}, err
	}
	view := s.o.Twins.Snapshot()
	t, ok := view.Get(p.Twin)
	if !ok {
		return Command{}, vaultmesh.Errorf(vaultmesh.NotFound, op, string(p.Twin), "there is no such twin").WithFix("list the twins to see their identifiers")
	}
	if err := s.o.CheckArgs(t.Model, p.Command, p.Args); err != nil {
		return Command{}, err
	}
	if t.Device == "" {
		return Command{}, vaultmesh.Errorf(vaultmesh.Conflict, op, string(p.Twin), "no device speaks for this twin")
	}
	now := s.o.Now().UTC().Truncate(time.Microsecond)
	id, err := s.newID(now)
	if err != nil {
		return Command{}, err
	}
	expires := now.Add(s.o.TTL)
	j, err := s.assess(ctx, gate.Request{ID: id, Principal: caller.Principal, Capability: caller.Capability, Twin: t, Command: p.Command, Args: p.Args, View: view, Now: now, Expires: expires})
	if err != nil {
		return Command{}, err
	}
	sealed, err := s.withhold(caller, &p)
	if err != nil {
		return Command{}, err
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Private: sealed, Propose: &ProposeEntry{
		ID: id, Twin: p.Twin, TwinVersion: t.Version, Device: t.Device, Command: p.Command, Args: p.Args, IdempotencyKey: p.IdempotencyKey, Reason: p.Reason,
		Expires: expires, Capability: caller.Capability.Digest(), Token: caller.Token, Proof: caller.Proof, Target: caller.Target, Judgement: j,
	}})
	if err != nil {
		return Command{}, err
	}
	s.m.decided(time.Since(start))
	return s.shown(withReplay(res)), nil
}

// mayBeDenied refuses a principal who was denied too often, before anything is recorded.
func (s *Service) mayBeDenied(p vaultmesh.Principal) error {
	now := s.o.Now()
	key, window := denials(p, now)
	n, _, err := loadCount(s.o.Journal, key, window, now)
	if err == nil && s.o.Machine.MaxDenied > 0 && n >= uint64(s.o.Machine.MaxDenied) {
		err = vaultmesh.Errorf(vaultmesh.RateLimited, "command.propose", string(p), "%d commands were denied within a minute, which is the limit", n).WithFix("correct what the denials name, and retry in a minute")
	}
	return err
}

// replay answers a repeated proposal. It goes through the journal, so that the answer follows the commit of the first.
func (s *Service) replay(ctx context.Context, caller Caller, p Proposal, id vaultmesh.CommandID) (Command, error) {
	if err := authorise(caller, capability.Action{Verb: capability.Command, Twin: p.Twin, Command: p.Command, Args: p.Args}, s.o.Now()); err != nil {
		return Command{}, err
	}
	res, err := s.order(ctx, Entry{Actor: caller.Principal, Propose: &ProposeEntry{ID: id, Twin: p.Twin, Command: p.Command, Args: p.Args, IdempotencyKey: p.IdempotencyKey}})
	if err != nil {
		return Command{}, err
	}
	return s.shown(withReplay(res)), nil
}

func withReplay(r Result) Command {
	r.Command.Replayed = r.Replayed
	return r.Command
}

// checkProposal bounds the fields and makes the arguments canonical.
func checkProposal(p *Proposal) error {
	const op = "command.propose"
	if err := vaultmesh.CheckID("twin", string(p.Twin)); err != nil {
		return err
	}
	if err := vaultmesh.CheckID("command", p.Command); err != nil {
		return err
	}
	if len(p.Reason) > 1024 {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "reason", "%d bytes, the limit is 1024", len(p.Reason))
	}
	if len(p.Args) == 0 {
		p.Args = json.RawMessage("{}")
	}
	args, err := receipt.Canonical(p.Args, receipt.Limits{Bytes: 16 << 10, Depth: 16})
	if err != nil {
		return vaultmesh.Wrap(err, op, "args")
	}
	if args[0] != '{' {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "args", "want a JSON object").WithFix("send {} for a command without arguments")
	}
	p.Args = args
	return nil
}

// assess asks the gate and puts its answer into the form in which it is ordered.
func (s *Service) assess(ctx context.Context, r gate.Request) (Judgement, error) {
	r.Halted = s.stopped()
	limits := s.o.Gate.Rates(r.Twin.Model, r.Command)
	counts, used := make([]Count, 0, len(limits)+2), make([]uint64, 0, len(limits)+2)
	for _, l := range limits {
		who := string(r.Twin.ID)
		if l.Per == "principal" {
			who = string(r.Principal)
		}
		c := Count{Key: "rate/" + l.ID + "/" + who, Rule: l.ID, Max: l.Max, Window: r.Now.Truncate(l.Window).Unix()}
		n, _, err := loadCount(s.o.Journal, c.Key, c.Window, r.Now)
		if err != nil {
			return Judgement{}, err
		}
		counts, used = append(counts, c), append(used, n)
		r.Counts = append(r.Counts, gate.RateCount{Rule: l.ID, Count: n})
	}
	for _, u := range r.Capability.Uses() {
		c := Count{Key: "uses/" + u.Block.String(), Rule: "max_uses of the capability", Max: u.Max}
		n, _, err := loadCount(s.o.Journal, c.Key, c.Window, r.Now)
		if err != nil {
			return Judgement{}, err
		}
		counts, used = append(counts, c), append(used, n)
	}
	a, err := s.o.Gate.Assess(ctx, r)
	if err != nil {
		return Judgement{}, err
	}
	j := Judgement{Outcome: a.Outcome, Stage: a.Stage, Reasons: a.Reasons, Policy: a.Policy, Decision: a.Decision, Expect: a.Expect, Need: a.Need, Counts: counts, Blocks: r.Capability.Blocks}
	if j.Stages, err = receipt.Body(map[string]any{"stages": a.Stages}); err != nil {
		return Judgement{}, err
	}
	if a.Verdict != nil {
		if j.Verdict, err = receipt.Body(a.Verdict); err != nil {
			return Judgement{}, err
		}
		j.VerdictID = a.Verdict.ID
	}
	if a.Challenge != nil {
		j.Challenge = a.Challenge.Canonical()
	}
	for name, want := range a.Expect { // what counts as aligned is decided before the asset answers
		if j.Tolerance == nil {
			j.Tolerance = map[string]float64{}
		}
		j.Tolerance[name] = s.tolerance(r.Twin.Model, name, want)
	}
	j.Desired = desired(r.Twin, a.Expect)
	j.Inputs, err = inputs(&r, &a, &j, used)
	return j, err
}

// desired writes the expected values of reported properties in the JSON type in which the device reports them.
func desired(t twin.Twin, expect map[string]float64) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, v := range expect {
		now, ok := t.Reported[name]
		if !ok {
			continue
		}
		if s := string(now.V); s == "true" || s == "false" {
			out[name] = json.RawMessage("false")
			if v != 0 {
				out[name] = json.RawMessage("true")
			}
			continue
		}
		if b, err := json.Marshal(v); err == nil {
			out[name] = b
		}
	}
	return out
}

// Simulate predicts a command without proposing it. The verdict is not evidence of a decision and is not kept.
func (s *Service) Simulate(ctx context.Context, caller Caller, p Proposal, n1 bool) (whatif.Verdict, error) {
	const op = "simulate"
	if err := checkProposal(&p); err != nil {
		return whatif.Verdict{}, err
	}
	if err := authorise(caller, capability.Action{Verb: capability.Simulate, Twin: p.Twin, Command: p.Command, Args: p.Args}, s.o.Now()); err != nil {
		return whatif.Verdict{}, err
	}
	view := s.o.Twins.Snapshot()
	t, ok := view.Get(p.Twin)
	if !ok {
		return whatif.Verdict{}, vaultmesh.Errorf(vaultmesh.NotFound, op, string(p.Twin), "there is no such twin").WithFix("list the twins to see their identifiers")
	}
	if err := s.o.CheckArgs(t.Model, p.Command, p.Args); err != nil {
		return whatif.Verdict{}, err
	}
	if s.o.Simulator == nil || !s.o.Simulator.Handles(t.Model, p.Command) {
		return whatif.Verdict{}, vaultmesh.Errorf(vaultmesh.Invalid, op, p.Command, "this command cannot be simulated")
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return whatif.Verdict{}, vaultmesh.Errorf(vaultmesh.RateLimited, op, "", "%d simulations are running, which is the limit", cap(s.slots)).WithFix("retry in a moment")
	}
	return s.o.Simulator.Simulate(ctx, view, whatif.Query{Twin: p.Twin, Command: p.Command, Args: p.Args, N1: n1})
}

// Command returns one command. What it shows is durable.
func (s *Service) Command(ctx context.Context, caller Caller, id vaultmesh.CommandID) (Command, error) {
	if err := vaultmesh.CheckID("command", string(id)); err != nil {
		return Command{}, err
	}
	c, err := load(s.o.Journal, id)
	if err != nil {
		return Command{}, err
	}
	if err := authorise(caller, capability.Action{Verb: capability.Read, Twin: c.Twin}, s.o.Now()); err != nil {
		return Command{}, err
	}
	return s.shown(c.Command), s.o.Journal.Settle(ctx)
}

// List returns the commands that the caller may read, newest first. What it shows is durable.
func (s *Service) List(ctx context.Context, caller Caller, f Filter) ([]Command, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	if f.Limit > 1000 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "command.list", "limit", "%d, want 1 to 1000", f.Limit)
	}
	var out []Command
	now, looked := s.o.Now(), 0
	err := s.o.Journal.Scan([]byte(prefixList), prefixEnd(prefixList), func(_, v []byte) (bool, error) {
		c, err := load(s.o.Journal, vaultmesh.CommandID(v))
		if err != nil {
			return false, err
		}
		if (f.State == "" || c.State == f.State) && (f.Twin == "" || c.Twin == f.Twin) && (f.Principal == "" || c.Principal == f.Principal) &&
			authorise(caller, capability.Action{Verb: capability.Read, Twin: c.Twin}, now) == nil {
			out = append(out, s.shown(c.Command))
		}
		looked++
		return len(out) < f.Limit && looked < 100_000, nil
	})
	if err != nil {
		return nil, err
	}
	return out, s.o.Journal.Settle(ctx)
}

// Pending returns the commands that wait for the device, in order of dispatch; none while the domain is halted.
func (s *Service) Pending(d vaultmesh.DeviceID) ([]Outbound, error) {
	if s.stopped() {
		return nil, nil
	}
	return outbox(s.o.Journal, d)
}

// Delivered records that the device has the command. It returns when that is ordered, so that [Service.Pending] does not
// give the command again, and does not wait for the disk: if a crash undoes it, the command is sent once more and the
// device removes the duplicate by its identifier. So the device's answer, which follows at once, shares the commit.
func (s *Service) Delivered(ctx context.Context, id vaultmesh.CommandID, _ time.Time) error {
	e := Entry{Time: s.o.Now().UTC().Truncate(time.Microsecond), Actor: s.o.Machine.Node, Deliver: &DeliverEntry{Command: id}}
	ordered, failed := make(chan struct{}), make(chan error, 1)
	err := s.o.Journal.SubmitAsync(journal.Commands, func(tx journal.Tx) error {
		if _, err := s.o.Machine.Apply(tx, e); err != nil {
			return err
		}
		tx.OnApplied(func() { close(ordered) })
		return nil
	}, func(err error) {
		if err != nil {
			failed <- err
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-ordered:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Respond records the device's answer.
func (s *Service) Respond(ctx context.Context, r Response) error {
	if err := vaultmesh.CheckID("command", string(r.Command)); err != nil {
		return err
	}
	if len(r.Body) > 0 {
		body, err := receipt.Canonical(r.Body, receipt.Limits{Bytes: 8 << 10, Depth: 16})
		if err != nil {
			return vaultmesh.Wrap(err, "command.respond", "body")
		}
		r.Body = body
	}
	res, err := s.order(ctx, Entry{Actor: vaultmesh.Principal("device:" + string(r.Device)), Respond: &RespondEntry{Response: r}})
	if err != nil {
		return err
	}
	if res.Command.State == Acknowledged {
		s.look(ctx, res.Command.Twin)
	}
	return nil
}
