package receipt

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// life is the history of one command: its receipts from the proposal on, with the bodies that judgements rest on.
type life struct {
	chain      []*entry
	proposed   ProposedBody
	assessed   *AssessedBody
	awaiting   []AwaitingBody
	approved   *ApprovedBody
	authorized *AuthorizedBody
	dispatched *DispatchedBody
	observed   *ObservedBody
	blocks     []vaultmesh.Digest // of the capability; nil where it does not verify
	at         map[string]*entry  // the last receipt of each state
	judged     bool               // every check about it was made
	ranFree    bool               // it is proved that the domain was not halted when it was authorized and dispatched, or it was not
	unrevoked  uint64             // size of the log as of which no block of its capability was revoked; 0 where that is not proved
}

func (l *life) last() string {
	state, _ := CommandState(l.chain[len(l.chain)-1].Kind)
	return state
}

// name of a check about this command.
func (l *life) name(family string) string {
	return family + "[" + strings.TrimPrefix(l.chain[0].Subject, "command/") + "]"
}

// judgeCommands runs the checks on every command. What one bundle must not do twice, like using a nonce, is judged over
// all of them.
func (j *judge) judgeCommands() {
	j.revocations()
	j.nonces = map[string]vaultmesh.CommandID{}
	a := j.approvals()
	for _, l := range j.commands {
		j.about = l
		if !j.settle(l.name("command.transitions"), l.transitions(), "%s, each allowed after the one before, from proposed to %s", counted(len(l.chain), "step"), l.last()) {
			j.skip(l, "command.binding", "command.halt", "policy.accepted", "approval.signature", "capability.chain", "capability.revocation")
			continue
		}
		if err := l.bind(); err != nil {
			j.fail(l.name("command.binding"), "%v", err)
			j.skip(l, "command.halt", "policy.accepted", "approval.signature", "capability.chain", "capability.revocation")
			continue
		}
		j.pass(l.name("command.binding"), "every receipt names %s %s on %s with arguments %s%s", l.proposed.Command, l.proposed.Name, l.proposed.Twin, l.proposed.ArgsDigest, l.boundTo())
		j.halt(l)
		j.policy(l)
		a.command(l)
		j.capability(l)
		j.observation(l)
		l.judged = true
	}
	j.about = nil
	if len(j.commands) == 0 {
		for _, family := range []string{"command.transitions", "command.binding", "command.halt", "policy.accepted", "capability.chain", "capability.revocation"} {
			j.empty(family, "the bundle holds no command")
		}
	}
	a.finish()
	j.tokens()
}

// skip lists the checks of a command that rest on one that does not hold.
func (j *judge) skip(l *life, families ...string) {
	for _, f := range families {
		j.fail(l.name(f), notJudged)
	}
}

// transitions checks the order of states against the table that the control plane uses as well.
func (l *life) transitions() error {
	state := ""
	for _, e := range l.chain {
		to, _ := CommandState(e.Kind)
		allowed := false
		for _, s := range transitions[state] {
			allowed = allowed || s == to
		}
		if !allowed {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "command", l.chain[0].Subject, "%q cannot follow %q", to, state)
		}
		state = to
	}
	return nil
}

// bind decodes every body and checks that all of them are about the one command that was proposed.
func (l *life) bind() error {
	l.at = map[string]*entry{}
	for _, e := range l.chain {
		ref, err := l.read(e)
		if err != nil {
			return err
		}
		state, _ := CommandState(e.Kind)
		l.at[state] = e
		if ref != l.proposed.CommandRef {
			return corrupt(e, "it is about %+v, the proposal about %+v", ref, l.proposed.CommandRef)
		}
	}
	first := l.chain[0]
	if first.Subject != CommandSubject(l.proposed.Command) {
		return corrupt(first, "the subject does not name command %s", l.proposed.Command)
	}
	if vaultmesh.Sum(l.proposed.Args) != l.proposed.ArgsDigest {
		return corrupt(first, "the digest of the arguments is not %s", l.proposed.ArgsDigest)
	}
	if err := l.bindSimulation(); err != nil {
		return err
	}
	return l.bindDispatch()
}

// read decodes the body by its kind and keeps it.
func (l *life) read(e *entry) (ref CommandRef, err error) {
	switch e.Kind {
	case CommandProposed:
		l.proposed, err = ReadBody[ProposedBody](&e.Receipt)
		ref = l.proposed.CommandRef
	case CommandAssessed:
		l.assessed, ref, err = keep(e, func(b *AssessedBody) CommandRef { return b.CommandRef })
	case CommandAwaitingApproval:
		var b AwaitingBody
		b, err = ReadBody[AwaitingBody](&e.Receipt)
		l.awaiting, ref = append(l.awaiting, b), b.CommandRef
	case CommandApproved:
		l.approved, ref, err = keep(e, func(b *ApprovedBody) CommandRef { return b.CommandRef })
	case CommandAuthorized:
		l.authorized, ref, err = keep(e, func(b *AuthorizedBody) CommandRef { return b.CommandRef })
	case CommandDispatched:
		l.dispatched, ref, err = keep(e, func(b *DispatchedBody) CommandRef { return b.CommandRef })
	case CommandAcknowledged, CommandRefused:
		var b ResponseBody
		b, err = ReadBody[ResponseBody](&e.Receipt)
		ref = b.CommandRef
		if err == nil && (l.dispatched == nil || b.Device != l.dispatched.Device) {
			err = corrupt(e, "device %s answered, the command was sent to another", b.Device)
		}
	case CommandAligned, CommandDiverged:
		l.observed, ref, err = keep(e, func(b *ObservedBody) CommandRef { return b.CommandRef })
	default:
		var b ReasonBody
		b, err = ReadBody[ReasonBody](&e.Receipt)
		ref = b.CommandRef
	}
	return ref, err
}

func keep[T any](e *entry, ref func(*T) CommandRef) (*T, CommandRef, error) {
	b, err := ReadBody[T](&e.Receipt)
	return &b, ref(&b), err
}

func corrupt(e *entry, format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, e.Kind, e.Subject, format, args...)
}

// What the gate says of a command; an assessment's Outcome is "assessed: " and one of them.
const (
	outcomeAllow    = "allow"
	outcomeDeny     = "deny"
	outcomeApproval = "needs_approval"
)

// assessedOutcome reads what the gate said from the receipt of an assessment; ok is false where it is none of the three.
func assessedOutcome(text string) (said string, ok bool) {
	said, ok = strings.CutPrefix(text, "assessed: ")
	return said, ok && isOutcome(said)
}

func isOutcome(said string) bool {
	return said == outcomeAllow || said == outcomeDeny || said == outcomeApproval
}

// bindSimulation checks that every verdict is unaltered and about exactly this command, and that the outcome of the
// assessment was obeyed.
func (l *life) bindSimulation() error {
	if l.assessed == nil {
		return nil
	}
	e := l.at["assessed"]
	said, ok := assessedOutcome(e.Outcome)
	if !ok {
		return corrupt(e, "the outcome %.80q is none that the gate has: allow, deny or needs_approval", e.Outcome)
	}
	if l.authorized != nil && said != outcomeAllow && (said != outcomeApproval || l.approved == nil) {
		return corrupt(e, "the gate said %q and the command was authorized without", said)
	}
	if err := l.bindVerdict(e, l.assessed.Simulation, l.assessed.Verdict); err != nil || l.authorized == nil {
		return err
	}
	b, at := l.authorized, l.at["authorized"]
	if (l.approved == nil) != b.Challenge.IsZero() || l.approved != nil && b.Challenge != l.approved.Challenge {
		return corrupt(at, "it rests on challenge %q, which is not the approved one", b.Challenge)
	}
	if b.Simulation == l.assessed.Simulation && len(b.Verdict) == 0 {
		return nil
	}
	if b.Simulation.IsZero() {
		return corrupt(at, "it rests on no simulation, the assessment on %s", l.assessed.Simulation)
	}
	return l.bindVerdict(at, b.Simulation, b.Verdict)
}

// bindVerdict checks that doc is the verdict id and about this command; both are absent where nothing was simulated.
func (l *life) bindVerdict(e *entry, id vaultmesh.Digest, doc json.RawMessage) error {
	if id.IsZero() != (len(doc) == 0) {
		return corrupt(e, "it names simulation %q and holds a verdict of %d bytes", id, len(doc))
	}
	if id.IsZero() {
		return nil
	}
	found, query, err := readVerdict(doc)
	if err != nil {
		return vaultmesh.Wrap(err, e.Kind, e.Subject)
	}
	if found != id {
		return corrupt(e, "the verdict has digest %s, the receipt names %s", found, id)
	}
	if string(query["twin"]) != quote(string(l.proposed.Twin)) || string(query["command"]) != quote(l.proposed.Name) || !bytes.Equal(query["args"], l.proposed.Args) {
		return corrupt(e, "the simulation was of %.80s on %.80s or of other arguments", query["command"], query["twin"])
	}
	return nil
}

// readVerdict returns the digest of a verdict, which is over its canonical form with an empty member id, after it has
// compared it with the id that the verdict states, and the members of the query that the verdict answers. Names are
// matched exactly, which decoding into a struct would not do.
func readVerdict(doc json.RawMessage) (id vaultmesh.Digest, query map[string]json.RawMessage, err error) {
	var verdict map[string]json.RawMessage
	if err := json.Unmarshal(doc, &verdict); err != nil {
		return id, nil, vaultmesh.Errorf(vaultmesh.Invalid, "verdict", "", "not a JSON object").Because(err)
	}
	if err := json.Unmarshal(verdict["query"], &query); err != nil {
		return id, nil, vaultmesh.Errorf(vaultmesh.Invalid, "verdict", "query", "not the query of a simulation").Because(err)
	}
	stated := string(verdict["id"])
	verdict["id"] = json.RawMessage(`""`)
	canonical, err := Body(verdict)
	if err != nil {
		return id, nil, err
	}
	if id = vaultmesh.Sum(canonical); stated != quote(id.String()) {
		return id, nil, vaultmesh.Errorf(vaultmesh.Corrupt, "verdict", "", "its content has digest %s, it says %.80s", id, stated)
	}
	return id, query, nil
}

// quote returns s as it stands in canonical JSON.
func quote(s string) string { return string(appendString(nil, s)) }

// bindDispatch checks that nothing was sent after the proposal had expired.
func (l *life) bindDispatch() error {
	if l.dispatched == nil {
		return nil
	}
	e := l.at["dispatched"]
	if e.Time.After(l.proposed.Expires) || l.dispatched.Expires.After(l.proposed.Expires) {
		return corrupt(e, "sent at %s to be done by %s; the proposal expired at %s", e.Time.Format(TimeFormat), l.dispatched.Expires.Format(TimeFormat), l.proposed.Expires.Format(TimeFormat))
	}
	return nil
}

// boundTo says in words what else the receipts share.
func (l *life) boundTo() string {
	text := ""
	if l.assessed != nil && !l.assessed.Simulation.IsZero() {
		text += "; verdict " + l.assessed.Simulation.String() + " is about exactly that"
	}
	if l.dispatched != nil {
		text += "; sent to " + string(l.dispatched.Device) + " at " + l.at["dispatched"].Time.Format(time.RFC3339Nano) + ", after it was authorized"
	}
	return text
}

// policy checks which policies decided.
func (j *judge) policy(l *life) {
	name := l.name("policy.accepted")
	for _, e := range l.chain {
		if !e.Policy.IsZero() && len(j.pins.policies) > 0 && !j.pins.policies[e.Policy] {
			j.fail(name, "%s was decided under policy %s, which the trust file does not accept", e.Kind, e.Policy)
			return
		}
	}
	if l.at["authorized"] != nil && l.at["assessed"].Policy.IsZero() {
		j.fail(name, "the command was authorized without a policy")
		return
	}
	if len(j.pins.policies) == 0 {
		j.pass(name, "any policy is accepted: the trust file pins none")
		return
	}
	j.pass(name, "every policy that decided is one of the %d pinned", len(j.pins.policies))
}
