package receipt

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// Bounds of a statement beyond those that receipts have anyway.
const (
	maxReasons = 32
	maxReason  = 1 << 10 // bytes of one text
)

// Statement says in one place what a bundle proves about one command. Where Verified is false, it holds nothing but the
// identifier that the file claims. Times are those of the signed receipts, in UTC, unless another source is named.
type Statement struct {
	Command    vaultmesh.CommandID      `json:"command"`
	Verified   bool                     `json:"verified"`             // every check about it holds, and every check about the bundle as a whole
	Principal  vaultmesh.Principal      `json:"principal,omitempty"`  // who proposed it
	Twin       vaultmesh.TwinID         `json:"twin,omitempty"`       // on what
	Name       string                   `json:"name,omitempty"`       // of the command in the twin's model
	Args       json.RawMessage          `json:"args,omitempty"`       // canonical
	State      string                   `json:"state,omitempty"`      // the final one, see NextCommandStates
	Proposed   time.Time                `json:"proposed,omitzero"`    // when
	Decided    time.Time                `json:"decided,omitzero"`     // when it was authorized, denied or rejected
	Dispatched time.Time                `json:"dispatched,omitzero"`  // zero: nothing was sent to a device
	Ended      time.Time                `json:"ended,omitzero"`       // when it reached State
	EndedBy    vaultmesh.Principal      `json:"ended_by,omitempty"`   // actor of the last receipt
	Policy     vaultmesh.Digest         `json:"policy,omitzero"`      // under which it was decided last
	Simulation *Simulated               `json:"simulation,omitempty"` // nil where nothing was simulated
	Approvals  []Approved               `json:"approvals,omitempty"`  // whose signatures hold, also where there were too few
	Stage      string                   `json:"stage,omitempty"`      // of the gate, that denied it
	Reasons    []string                 `json:"reasons,omitempty"`    // why it did not end as commanded; at most 32 of at most 1 KiB
	Device     vaultmesh.DeviceID       `json:"device,omitempty"`     // to which it was sent
	Observed   map[string]ReportedValue `json:"observed,omitempty"`   // what proved messages of that device report, by name of the property or telemetry
	Millis     float64                  `json:"align_ms,omitempty"`   // dispatched to observed
	Receipts   int                      `json:"receipts,omitempty"`   // length of its history
	// Unrevoked is the size of the log as of which it is proved that no block of the capability was revoked; 0 where
	// nothing is proved about that. The decision's index is below it where the proof covers the decision.
	Unrevoked uint64 `json:"unrevoked,omitempty,string"`
}

// Simulated is what the verdict predicted on which the last decision rests.
type Simulated struct {
	Outcome string `json:"outcome"` // "safe", "unsafe" or "refused"
	Reason  string `json:"reason,omitempty"`
	Model   string `json:"model,omitempty"` // name and version of the simulator
}

// Approved is a person whose signature over the command's challenge holds.
type Approved struct {
	Approver vaultmesh.Principal `json:"approver"`
	Time     time.Time           `json:"time,omitzero"`
}

// ReportedValue is a value from a proved message, with the message's own time and what the assessment expected.
type ReportedValue struct {
	Value     json.RawMessage `json:"value"`
	Time      time.Time       `json:"time,omitzero"`
	Expected  *float64        `json:"expected,omitempty"`
	Tolerance *float64        `json:"tolerance,omitempty"` // how far the value may be from it to count as aligned
}

// statements lists the commands of the bundle in the order of their proposals in the log.
func (j *judge) statements() []Statement {
	failed := map[*life]bool{}
	for _, c := range j.checks {
		if !c.OK {
			failed[c.about] = true // about nil: the bundle as a whole
		}
	}
	lives := map[string]*life{}
	for _, l := range j.commands {
		lives[l.chain[0].Subject] = l
	}
	var list []Statement
	listed := map[string]bool{}
	for _, e := range j.order {
		id, ok := strings.CutPrefix(e.Subject, CommandSubject(""))
		if _, isCommand := CommandState(e.Kind); !ok || !isCommand || listed[id] || vaultmesh.CheckID("command", id) != nil {
			continue
		}
		listed[id] = true
		s := Statement{Command: vaultmesh.CommandID(id)}
		if l := lives[e.Subject]; l != nil && l.judged && !failed[l] && !failed[nil] {
			s = j.statement(l)
		}
		list = append(list, s)
	}
	return list
}

// statement draws up what is proved about a command of which every check holds. Nothing in it is shared with the judge.
func (j *judge) statement(l *life) Statement {
	first, last := l.chain[0], l.chain[len(l.chain)-1]
	s := Statement{
		Command: l.proposed.Command, Verified: true, Principal: first.Actor, Twin: l.proposed.Twin, Name: l.proposed.Name, Args: bytes.Clone(l.proposed.Args),
		State: l.last(), Proposed: utc(first.Time), Ended: utc(last.Time), EndedBy: last.Actor, Receipts: len(l.chain), Simulation: l.simulated(),
		Unrevoked: l.unrevoked,
	}
	for _, state := range []string{"authorized", "rejected", "denied"} { // a later denial overrules
		if e := l.at[state]; e != nil {
			s.Decided = utc(e.Time)
		}
	}
	for _, e := range l.chain {
		if !e.Policy.IsZero() {
			s.Policy = e.Policy
		}
	}
	if l.dispatched != nil {
		s.Dispatched, s.Device = utc(l.at["dispatched"].Time), l.dispatched.Device
	}
	var approvals []SignedApproval
	if l.approved != nil {
		approvals = l.approved.Approvals
	} else if n := len(l.awaiting); n > 0 {
		approvals = l.awaiting[n-1].Approvals
	}
	for _, a := range approvals {
		s.Approvals = append(s.Approvals, Approved{Approver: a.Approver, Time: utc(a.Time)})
	}
	if l.observed != nil {
		s.Millis, s.Observed = l.observed.Millis, j.reported(l)
	}
	j.explain(l, &s)
	return s
}

// simulated reads the verdict that the last decision rests on, which bindVerdict compared with its digest.
func (l *life) simulated() *Simulated {
	if l.assessed == nil || l.assessed.Simulation.IsZero() && (l.authorized == nil || len(l.authorized.Verdict) == 0) {
		return nil
	}
	doc := l.assessed.Verdict
	if l.authorized != nil && len(l.authorized.Verdict) > 0 {
		doc = l.authorized.Verdict
	}
	verdict := membersOf(doc)
	return &Simulated{Outcome: verdict.text("outcome"), Reason: verdict.text("reason"), Model: verdict.text("model")}
}

// reported returns the observed values that a proved message holds. The time is the message's: that is proved, while
// the receipt only repeats it.
func (j *judge) reported(l *life) map[string]ReportedValue {
	values := map[string]ReportedValue{}
	for name, o := range l.observed.Observed {
		if l.dispatched == nil || j.observed(l, name, o) != nil {
			continue
		}
		m, _ := j.message(o)
		t, _ := messageTime(membersOf(m.Payload))
		v := ReportedValue{Value: bytes.Clone(o.Value), Time: t}
		if want, ok := l.assessed.Expect[name]; ok {
			v.Expected = &want
		}
		if allowed, ok := l.assessed.Tolerance[name]; ok {
			v.Tolerance = &allowed
		}
		values[name] = v
	}
	return values
}

// explain adds why the command did not end as commanded.
func (j *judge) explain(l *life, s *Statement) {
	add := func(text string) {
		if text = clipped(j.disclosed(text)); text != "" && len(s.Reasons) < maxReasons && !slices.Contains(s.Reasons, text) {
			s.Reasons = append(s.Reasons, text)
		}
	}
	last := l.chain[len(l.chain)-1]
	switch last.Kind {
	case CommandAligned:
	case CommandDiverged:
		add(l.observed.Reason)
	case CommandRefused:
		if b, err := ReadBody[ResponseBody](&last.Receipt); err == nil {
			add(strings.TrimPrefix(b.Code+": "+b.Detail, ": "))
		}
	default:
		b, err := ReadBody[ReasonBody](&last.Receipt)
		if err != nil {
			return
		}
		s.Stage = clipped(b.Stage)
		add(b.Reason)
		if last.Kind == CommandDenied && l.assessed != nil {
			for _, text := range deniedBy(b.Stage, l.assessed.Stages) {
				add(text)
			}
		}
	}
}

// deniedBy returns all that the stage said when it denied. What the gate's stages say is recorded as
// {"stages":[{"stage":…,"outcome":…,"reasons":[{"text":…},…]},…]}.
func deniedBy(stage string, doc json.RawMessage) (texts []string) {
	for _, said := range membersOf(doc).list("stages") {
		if said.text("stage") != stage || said.text("outcome") != "deny" {
			continue
		}
		for _, reason := range said.list("reasons") {
			texts = append(texts, reason.text("text"))
		}
	}
	return texts
}

// members is a JSON object whose names are matched exactly, which decoding into a struct would not do.
type members map[string]json.RawMessage

// membersOf returns the members of an object, and none of anything else.
func membersOf(doc json.RawMessage) members {
	var m members
	if json.Unmarshal(doc, &m) != nil {
		return nil
	}
	return m
}

func (m members) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil {
		return ""
	}
	return clipped(s)
}

func (m members) list(name string) []members {
	var list []json.RawMessage
	if json.Unmarshal(m[name], &list) != nil {
		return nil
	}
	out := make([]members, len(list))
	for i, doc := range list {
		out[i] = membersOf(doc)
	}
	return out
}

// clipped bounds a text at a whole character.
func clipped(s string) string {
	if len(s) <= maxReason {
		return s
	}
	end := maxReason - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// utc returns t in the form that the report has; a time beyond what JSON can say is none.
func utc(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
