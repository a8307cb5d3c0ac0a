package receipt

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// other is a further command of the story, proposed so long after its beginning.
type other struct {
	*story
	ref   CommandRef
	block vaultmesh.Digest
	after time.Duration
}

func (o other) step(kind string, actor vaultmesh.Principal, after time.Duration, body any) Ref {
	return o.add(kind, CommandSubject(o.ref.Command), actor, o.after+after, body, func(d *Draft) {
		if kind == CommandProposed {
			d.Capability = o.block
		} else {
			d.Policy = policy
		}
		if a, ok := body.(*AssessedBody); ok {
			d.Outcome = "assessed: allow"
			if len(a.Stages) > 0 {
				d.Outcome = "assessed: deny"
			}
		}
	})
}

func (o other) propose(args string) {
	b := &ProposedBody{CommandRef: o.ref, Args: json.RawMessage(args), IdempotencyKey: "key-" + string(o.ref.Command), Expires: t0.Add(o.after + time.Minute), Token: o.token().String()}
	o.step(CommandProposed, proposer, 0, b)
}

// tellThree adds to the approved command one that is aligned without approval and one that is denied.
func tellThree(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	var aligned MessageProof
	s.more = func(block vaultmesh.Digest) {
		args := `{"ratio":0.975}`
		ref := CommandRef{Twin: "transformer-5-8", Name: "setTap", ArgsDigest: vaultmesh.Sum([]byte(args))}

		a := other{s, ref, block, 5100 * time.Millisecond}
		a.ref.Command = "01JCME"
		verdict, id := sealVerdict(t, `{"query":{"twin":"transformer-5-8","command":"setTap","args":`+args+`},"outcome":"safe","reason":"no new or worsened violation","model":"acpf/1","id":""}`)
		a.propose(args)
		a.step(CommandAssessed, "node:dev", 0, &AssessedBody{CommandRef: a.ref, Simulation: id, Verdict: verdict, Expect: map[string]float64{"tap": 0.975}})
		a.step(CommandAuthorized, "node:dev", 0, &AuthorizedBody{CommandRef: a.ref, Simulation: id})
		a.step(CommandDispatched, "node:dev", 0, &DispatchedBody{CommandRef: a.ref, Device: "sub-5", Expires: t0.Add(10 * time.Second)})
		a.step(CommandAcknowledged, "device:sub-5", 10*time.Millisecond, &ResponseBody{CommandRef: a.ref, Device: "sub-5", Code: "done"})
		messages := [][2]string{{"vm/sub-5/tel/transformer-5-8", `{"t":"2026-01-02T03:04:10.231Z","seq":1,"properties":{"tap":0.975}}`}}
		seen := s.batch(1, messages)
		want := 0.975
		a.step(CommandAligned, "node:dev", 20*time.Millisecond, &ObservedBody{CommandRef: a.ref, Millis: 12.6,
			Observed: map[string]Observation{"tap": {Value: json.RawMessage("0.975"), Expected: &want, Time: time.Date(2026, 1, 2, 3, 4, 10, 231_000_000, time.UTC), Batch: &seen.Index}}})
		aligned = MessageProof{Batch: seen.Index, Topic: messages[0][0], Payload: []byte(messages[0][1])}

		d := other{s, ref, block, 5200 * time.Millisecond}
		d.ref.Command = "01JCMF"
		verdict, id = sealVerdict(t, `{"query":{"twin":"transformer-5-8","command":"setTap","args":`+args+`},"outcome":"unsafe","reason":"2 new violations, worst: bus-8","model":"acpf/1","id":""}`)
		d.propose(args)
		stages := json.RawMessage(`{"stages":[{"outcome":"needs_approval","reasons":[{"code":"x","text":"a person must look"}],"stage":"policy"},{"outcome":"deny","reasons":[{"code":"a","text":"2 new violations, worst: bus-8"},{"code":"b","text":"voltage of bus-8\u001b[2J would be 0.89 pu, the limit is 0.94"}],"stage":"what_if"}]}`)
		d.step(CommandAssessed, "node:dev", 0, &AssessedBody{CommandRef: d.ref, Simulation: id, Verdict: verdict, Stages: stages})
		d.step(CommandDenied, "node:dev", 0, &ReasonBody{CommandRef: d.ref, Stage: "what_if", Reason: "2 new violations, worst: bus-8"})
	}
	s.parts = func(parts []Part) []Part { return append(parts, MessagePart(aligned)) }
	return s
}

func humanForm(t *testing.T, r Report, all bool, width int) string {
	t.Helper()
	var b strings.Builder
	if err := r.Tree(&b, all, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const wantStory = `VERIFIED
What happened, by a log of 23 receipts that was time-stamped 2026-01-02T03:04:11Z:
  01JCMD  agent:dispatcher → transformer-4-9 setTap {"ratio":1.025}  aligned
    proposed 2026-01-02 03:04:06.123Z; policy 823412d1…; predicted safe (no new violation); approved
    by operator:alice 03:04:07.123Z and operator:bob 03:04:08.123Z; dispatched to sub-4
    03:04:08.123Z; the asset reported tap = 1.025 at 03:04:09.123Z, recorded 1250 ms after dispatch
  01JCME  agent:dispatcher → transformer-5-8 setTap {"ratio":0.975}  aligned
    proposed 2026-01-02 03:04:10.223Z; policy 823412d1…; predicted safe (no new or worsened
    violation); dispatched to sub-5 03:04:10.223Z; the asset reported tap = 0.975 at 03:04:10.231Z,
    recorded 13 ms after dispatch
  01JCMF  agent:dispatcher → transformer-5-8 setTap {"ratio":0.975}  denied
    proposed 2026-01-02 03:04:10.323Z; policy 823412d1…; predicted unsafe; denied 03:04:10.323Z at
    stage what_if: 2 new violations, worst: bus-8; voltage of bus-8�[2J would be 0.89 pu, the limit
    is 0.94; nothing was sent to a device
`

const wantSummary = `  ✓ 23 receipts of domain dev, unaltered and signed by keys that you trust, in the log
    vaultmesh.test/dev as it was at size 23
  ✓ 1 capability receipt, 18 command receipts, 1 domain receipt, 3 telemetry receipts existed at the
    latest at 2026-01-02T03:04:11Z by a time-stamping authority
  ✓ the whole life of 3 commands is shown, to a final state that nothing can follow
Not proved:
  · that the log was not cut short or written anew by whoever holds its key: you named no head of it
    (--head), and no pinned witness signed one
  · the time by Bitcoin (within some two hours), by Ethereum, by witnesses: the bundle has no such
    proof, or you pinned nothing to judge it by
  · that the holders of the capabilities asked for 2 commands themselves: the domain says that mTLS
    proved possession of their keys, and no signature shows it
  · that the domain was not halted when 2 commands went out: the bundle does not show all of
    halt/dev with a state proof
  · that the capabilities of 3 commands were not revoked before they were decided: no state proof is
    about them
`

func TestTreeTellsTheStory(t *testing.T) {
	s := tellThree(t)
	bundle, pinned := s.export(), trust(t, s)
	r := Verify(bundle, pinned)
	if !r.OK {
		t.Fatal(humanForm(t, r, true, 0))
	}
	story, rest, _ := strings.Cut(humanForm(t, r, false, 0), "Proved:\n")
	summary, checks, _ := strings.Cut(rest, "├─")
	if summary != wantSummary {
		t.Errorf("got\n%s", summary)
	}
	if story != wantStory {
		t.Errorf("got\n%s", story)
	}
	if want := "✓ approval.signature: 1 of 1 holds; for 2 commands no approval was asked for\n"; !strings.Contains(checks, want) {
		t.Errorf("the checks lack %q:\n%s", want, checks)
	}
	for _, width := range []int{60, 80, 100} {
		story, _, _ := strings.Cut(humanForm(t, r, false, width), "Proved:\n")
		for line := range strings.Lines(story) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d: %s", width, n, line)
			}
		}
		if !slices.Equal(strings.Fields(story), strings.Fields(wantStory)) {
			t.Errorf("width %d loses or breaks words:\n%s", width, story)
		}
	}
	if !reflect.DeepEqual(r, Verify(bundle, pinned)) {
		t.Error("a second verification says something else")
	}
}

func TestStatements(t *testing.T) {
	s := tellThree(t)
	bundle, pinned := s.export(), trust(t, s)
	r := Verify(bundle, pinned)
	for i := range bundle { // a report shares nothing with its input
		bundle[i] = 'x'
	}
	var again struct {
		Commands []map[string]any `json:"commands"`
		LogSize  string           `json:"log_size"`
		Stamped  time.Time        `json:"stamped"`
	}
	if err := json.Unmarshal(r.JSON(), &again); err != nil || len(again.Commands) != 3 {
		t.Fatalf("%v: %s", err, r.JSON())
	}
	if again.LogSize != "23" || !again.Stamped.Equal(time.Date(2026, 1, 2, 3, 4, 11, 0, time.UTC)) {
		t.Errorf("log_size %s, stamped %s", again.LogSize, again.Stamped)
	}
	members := func(c map[string]any) (names []string) {
		for n := range c {
			names = append(names, n)
		}
		slices.Sort(names)
		return names
	}
	for i, want := range []string{
		"align_ms approvals args command decided device dispatched ended ended_by name observed policy principal proposed receipts simulation state twin verified",
		"align_ms args command decided device dispatched ended ended_by name observed policy principal proposed receipts simulation state twin verified",
		"args command decided ended ended_by name policy principal proposed reasons receipts simulation stage state twin verified",
	} {
		if got := strings.Join(members(again.Commands[i]), " "); got != want {
			t.Errorf("command %d has the members\n%s, want\n%s", i, got, want)
		}
	}
	expected := 0.975
	want := Statement{
		Command: "01JCME", Verified: true, Principal: proposer, Twin: "transformer-5-8", Name: "setTap", Args: json.RawMessage(`{"ratio":0.975}`), State: "aligned",
		Proposed: t0.Add(5100 * time.Millisecond), Decided: t0.Add(5100 * time.Millisecond), Dispatched: t0.Add(5100 * time.Millisecond), Ended: t0.Add(5120 * time.Millisecond), EndedBy: "node:dev",
		Policy: policy, Simulation: &Simulated{"safe", "no new or worsened violation", "acpf/1"}, Device: "sub-5", Millis: 12.6, Receipts: 6,
		Observed: map[string]ReportedValue{"tap": {Value: json.RawMessage("0.975"), Time: time.Date(2026, 1, 2, 3, 4, 10, 231e6, time.UTC), Expected: &expected}}, // the message's time, not the receipt's
	}
	if !reflect.DeepEqual(r.Commands[1], want) {
		t.Errorf("got %+v\nwant %+v", r.Commands[1], want)
	}
}

// Whatever is wrong with a bundle as a whole, nothing about a command is said to be proved; what is wrong with one command
// leaves the others proved.
func TestStatementsOfRefusedBundles(t *testing.T) {
	spoilPart := func(prefix string) func(*story) {
		return func(s *story) {
			before := s.parts
			s.parts = func(parts []Part) []Part {
				parts = before(parts)
				i := slices.IndexFunc(parts, func(p Part) bool { return strings.HasPrefix(p.Name, prefix) })
				parts[i].Data = slices.Clone(parts[i].Data)
				parts[i].Data[len(parts[i].Data)/2] ^= 1
				return parts
			}
		}
	}
	body := func(f func(kind string, body any)) func(*story) { return func(s *story) { s.body = f } }
	for _, c := range []struct {
		name   string
		cheat  func(*story)
		pins   func(*Trust)
		proved []string
		listed int
	}{
		{name: "receipt altered", cheat: spoilPart("receipts/0000000003.dsse"), listed: 3},
		{name: "proof altered", cheat: spoilPart("receipts/0000000003.tlog"), listed: 3},
		{name: "checkpoint altered", cheat: spoilPart("checkpoint"), listed: 3},
		{name: "stamp altered", cheat: spoilPart("anchors/"), listed: 3},
		{name: "message altered", cheat: spoilPart("telemetry/"), listed: 3},
		{name: "manifest of another key", cheat: func(s *story) { s.key = newTestKey("thief") }, listed: 3},
		{name: "end missing", cheat: func(s *story) { s.skip = func(kind string) bool { return kind == CommandDenied } }, listed: 3},
		{name: "another domain's trust", pins: func(p *Trust) { p.Domain = "prod" }, listed: 3},
		{name: "one approval forged", cheat: body(func(kind string, b any) {
			if b, ok := b.(*ApprovedBody); ok {
				b.Approvals[1].Signature = make([]byte, 64)
			}
		}), proved: []string{"01JCME", "01JCMF"}, listed: 3},
		{name: "one reports another value", cheat: body(func(kind string, b any) {
			if b, ok := b.(*ObservedBody); ok && b.Command == "01JCME" {
				o := b.Observed["tap"]
				o.Value = json.RawMessage("0.98")
				b.Observed["tap"] = o
			}
		}), proved: []string{"01JCMD", "01JCMF"}, listed: 3},
		{name: "one was denied and authorized", cheat: body(func(kind string, b any) {
			if b, ok := b.(*AssessedBody); ok && b.Command == "01JCME" {
				b.Stages = json.RawMessage(`{}`)
			}
		}), proved: []string{"01JCMD", "01JCMF"}, listed: 3},
		{name: "capability is for another", cheat: func(s *story) { s.grant = func(g *capability.Grant) { g.Twins = []string{"transformer-4-*"} } }, proved: []string{"01JCMD"}, listed: 3},
	} {
		s := tellThree(t)
		if c.cheat != nil {
			c.cheat(s)
		}
		bundle, pinned := s.export(), trust(t, s)
		if c.pins != nil {
			c.pins(pinned)
		}
		r := Verify(bundle, pinned)
		if r.OK || len(r.Commands) != c.listed {
			t.Errorf("%s: ok %v, %d commands, want %d:\n%s", c.name, r.OK, len(r.Commands), c.listed, humanForm(t, r, false, 0))
			continue
		}
		var proved []string
		for _, s := range r.Commands {
			if s.Verified {
				proved = append(proved, string(s.Command))
			} else if !reflect.DeepEqual(s, Statement{Command: s.Command}) {
				t.Errorf("%s: an unproved command says %+v", c.name, s)
			}
		}
		if !slices.Equal(proved, c.proved) {
			t.Errorf("%s: %v are said to be proved, want %v\n%s", c.name, proved, c.proved, humanForm(t, r, false, 0))
		}
		text := humanForm(t, r, false, 0)
		for _, s := range r.Commands {
			if !strings.Contains(text, string(s.Command)) {
				t.Errorf("%s: the human form does not name %s", c.name, s.Command)
			}
		}
		if len(proved) == 0 && strings.Contains(text, "proposed 2026") {
			t.Errorf("%s: it tells what is not proved:\n%s", c.name, text)
		}
	}
}

func TestTreeWording(t *testing.T) {
	s := tellThree(t)
	bundle, pinned := s.export(), trust(t, s)
	foreign := trust(t, s)
	thief := newTestKey("thief")
	foreign.ReceiptKeys = []TrustedKey{{ID: thief.KeyID(), Public: thief.pub()}}
	for _, c := range []struct {
		name   string
		bundle []byte
		pins   *Trust
		want   []string
	}{
		{"cut", bundle[:len(bundle)/2], pinned, []string{"REFUSED: 1 check failed, 26 were not judged\nNot proved:\n  · anything about this file beyond what the checks below say\n├─ ✗ bundle.format: bundle: the file ends in the middle, after ", "\n└─ – not judged, because an earlier check does not hold: trust.keys, bundle.manifest, bundle.scope,\n"}},
		{"cut in its first bytes", bundle[:5], pinned, []string{"the file ends in the middle, after 5 bytes"}},
		{"more behind it", append(slices.Clone(bundle), '\n'), pinned, []string{"✗ bundle.format: bundle: read byte ", "data after the end"}},
		{"keys of another", bundle, foreign, []string{"REFUSED: 21 checks failed, 13 were not judged\n", "Nothing is proved about 3 commands of this file: 01JCMD, 01JCME, 01JCMF\n", "├─ ✗ receipt.signature: 3 of 23 hold\n",
			"│    ✗ 20 × signed with key " + newTestKey("receipt").KeyID() + ", which the trust file does not pin (first: receipt.signature[0])\n"}},
	} {
		text := humanForm(t, Verify(c.bundle, c.pins), false, 0)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it lacks %q:\n%s", c.name, want, text)
			}
		}
	}
	if text := humanForm(t, Verify(bundle, foreign), true, 0); strings.Count(text, "✗ receipt.signature[") != 20 {
		t.Errorf("with all, not every failure is listed:\n%s", text)
	}
	for n := range len(bundle) {
		if n%997 == 0 || n > len(bundle)-200 {
			if _, err := DecodeBundle(bundle[:n]); err == nil || !strings.Contains(err.Error(), "the file ends in the middle") {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
}

func TestEndingsInWords(t *testing.T) {
	base := Statement{Command: "c-1", Verified: true, Principal: "agent:a", Twin: "line-1", Name: "open", Args: json.RawMessage(`{}`), Proposed: t0, Ended: t0.Add(24 * time.Hour), EndedBy: "operator:ada"}
	for _, c := range []struct {
		edit func(s *Statement)
		want string
	}{
		{func(s *Statement) { s.State, s.Reasons = "rejected", []string{"not today"} }, "decided by no policy; not simulated; rejected by operator:ada 2026-01-03 03:04:05.123Z: not today; nothing was sent to a device"},
		{func(s *Statement) { s.State = "expired" }, "; expired 2026-01-03 03:04:05.123Z; nothing was sent to a device"},
		{func(s *Statement) { s.State, s.Device, s.Dispatched = "aligned", "sub-1", t0 }, "; dispatched to sub-1 03:04:05.123Z; aligned by the acknowledgement of sub-1 alone 2026-01-03 03:04:05.123Z, no value was expected"},
		{func(s *Statement) {
			s.State, s.Device, s.Dispatched, s.Reasons = "diverged", "sub-1", t0, []string{"closed stayed true"}
			s.Observed = map[string]ReportedValue{"b": {Value: json.RawMessage("2")}, "a": {Value: json.RawMessage("1"), Time: t0}}
		}, "; the asset did not follow 2026-01-03 03:04:05.123Z: closed stayed true; it reported a = 1 at 03:04:05.123Z, b = 2"},
		{func(s *Statement) { s.State, s.Reasons = "denied", []string{"1", "2", "3", "4", "5"} }, "; denied 2026-01-03 03:04:05.123Z: 1; 2; 3; and 2 more reasons; nothing was sent to a device"},
		{func(s *Statement) { s.State, s.Args = "cancelled", json.RawMessage(`"`+strings.Repeat("x", 500)+`"`) }, "cancelled by operator:ada"},
	} {
		s := base
		c.edit(&s)
		text := humanForm(t, Report{OK: true, Commands: []Statement{s}}, false, maxWidth)
		if !strings.Contains(text, c.want) {
			t.Errorf("got %s\nwant …%s", text, c.want)
		}
		if !strings.Contains(text, "without a time-stamp") {
			t.Errorf("%s does not say that nobody vouches for the times", text)
		}
		for line := range strings.Lines(humanForm(t, Report{OK: true, Commands: []Statement{s}}, false, 1)) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > minWidth {
				t.Errorf("longer than the least width: %s", line)
			}
		}
	}
}
