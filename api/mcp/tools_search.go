package mcpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// Bounds of what one receipt and one proof add to an answer, in bytes; what is larger is left out and said to be.
const (
	maxBody     = 4 << 10
	maxDocument = 64 << 10
)

type (
	searchIn struct {
		Twin    vaultmesh.TwinID    `json:"twin,omitempty" jsonschema:"definitions of this twin and commands to it" length:"0,128" id:"twin"`
		Command vaultmesh.CommandID `json:"command_id,omitempty" jsonschema:"the life of this command" length:"0,128" id:"command"`
		Actor   vaultmesh.Principal `json:"actor,omitempty" jsonschema:"who acted, for example operator:ada" length:"0,128" id:"principal"`
		Kinds   []string            `json:"kinds,omitempty" jsonschema:"any of these kinds, for example command.denied or halt.set; not together with scroll" length:"0,32"`
		Scroll  string              `json:"scroll,omitempty" jsonschema:"a named view: automation, compliance, guardian and so on" length:"0,64"`
		From    string              `json:"from,omitempty" jsonschema:"first time, RFC 3339 such as 2026-01-02T03:04:05Z" length:"0,40"`
		To      string              `json:"to,omitempty" jsonschema:"end of the period, not included, RFC 3339" length:"0,40"`
		Bodies  bool                `json:"bodies,omitempty" jsonschema:"true: with what each receipt says, up to 4 KiB each" default:"false"`
		Limit   int                 `json:"limit,omitempty" jsonschema:"how many receipts at most, 1 to 50, newest first" default:"20" range:"1,50"`
		Cursor  string              `json:"cursor,omitempty" jsonschema:"next of an earlier answer to the same question" length:"0,64"`
	}
	foundReceipt struct {
		Index   string          `json:"index" jsonschema:"its place in the log"`
		Leaf    string          `json:"leaf" jsonschema:"RFC 6962 leaf hash, which inclusion proofs are about"`
		Kind    string          `json:"kind" jsonschema:"what happened"`
		Subject string          `json:"subject" jsonschema:"what it is about"`
		Actor   string          `json:"actor" jsonschema:"who acted"`
		Time    time.Time       `json:"time" jsonschema:"as the receipt claims it"`
		Outcome string          `json:"outcome,omitempty" jsonschema:"what came of it"`
		Signed  bool            `json:"signed" jsonschema:"whether it has a signature of its own; the checkpoint covers all"`
		Body    json.RawMessage `json:"body,omitempty" jsonschema:"what it says; absent unless asked for, and where it has more than 4 KiB"`
	}
	searchOut struct {
		Receipts  []foundReceipt `json:"receipts" jsonschema:"newest first"`
		Cursor    string         `json:"cursor,omitempty" jsonschema:"send it to go on; absent where there is no more. A page may be short or empty and go on"`
		Unindexed string         `json:"unindexed,omitempty" jsonschema:"receipts of an older log that cannot be found yet"`
		Next      []suggestion   `json:"next" jsonschema:"tool calls that make sense now"`
	}
)

var searchReceipts = define(tool{
	name: "search_receipts", title: "Search the log", hints: reads,
	description: "Finds receipts of what was commanded, decided and done, newest first: by twin, command, actor, kind or scroll, and time. It needs the right to read the twin, or the whole domain where no twin and no command is named. What it answers is the node's word; prove gives evidence.",
}, func(ctx context.Context, _ *Server, c call, in searchIn) (searchOut, answer, error) {
	q, err := in.search()
	if err != nil {
		return searchOut{}, answer{}, err
	}
	found, err := c.backend.Search(ctx, c.caller, q)
	if err != nil {
		return searchOut{}, answer{}, helped(err, suggest("list_commands", "see which commands there are", nil))
	}
	out := searchOut{Receipts: []foundReceipt{}, Cursor: found.Next, Next: []suggestion{}}
	if found.Unindexed > 0 {
		out.Unindexed = decimal(found.Unindexed)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d receipts.", len(found.Found))
	for _, f := range found.Found {
		r := f.Receipt
		x := foundReceipt{Index: decimal(uint64(f.Index)), Leaf: r.Leaf.String(), Kind: r.Kind, Subject: r.Subject, Actor: string(r.Actor), Time: r.Time, Outcome: clip(r.Outcome, 256), Signed: r.Signed()}
		if in.Bodies && len(r.Body) <= maxBody {
			x.Body = r.Body
		}
		out.Receipts = append(out.Receipts, x)
		fmt.Fprintf(&text, "\n%s %s %s %s by %s %s", x.Index, x.Time.UTC().Format(time.RFC3339), x.Kind, x.Subject, x.Actor, clip(x.Outcome, 80))
	}
	if out.Cursor != "" {
		again := in
		again.Cursor = out.Cursor
		out.Next = append(out.Next, suggest("search_receipts", "go on", again.arguments()))
	}
	if in.Command != "" && len(found.Found) > 0 {
		out.Next = append(out.Next, suggest("prove", "get evidence that verifies offline", map[string]any{"command_ids": []string{string(in.Command)}}))
	}
	writeNext(&text, out.Next)
	return out, answer{text: text.String()}, nil
})

// search makes the question of the log.
func (in *searchIn) search() (lawchain.Search, error) {
	q := lawchain.Search{Twin: in.Twin, Actor: in.Actor, Kinds: in.Kinds, Limit: in.Limit, Cursor: in.Cursor}
	if in.Command != "" {
		q.Subject = receipt.CommandSubject(in.Command)
	}
	if in.Scroll != "" {
		if q.Kinds = receipt.ScrollKinds(in.Scroll); q.Kinds == nil || len(in.Kinds) > 0 {
			var names []string
			for _, s := range receipt.Scrolls() {
				names = append(names, s.Name)
			}
			return q, vaultmesh.Errorf(vaultmesh.Invalid, "arguments", "scroll", "%s is no scroll, or kinds are given as well", quoted(in.Scroll)).WithFix("send one of %s, or kinds", strings.Join(names, ", "))
		}
	}
	var err error
	if q.From, err = moment("from", in.From, time.Time{}); err != nil {
		return q, err
	}
	q.To, err = moment("to", in.To, time.Time{})
	return q, err
}

// arguments are those of the same question again.
func (in *searchIn) arguments() map[string]any {
	out := map[string]any{"limit": in.Limit}
	for name, v := range map[string]string{"twin": string(in.Twin), "command_id": string(in.Command), "actor": string(in.Actor), "scroll": in.Scroll, "from": in.From, "to": in.To, "cursor": in.Cursor} {
		if v != "" {
			out[name] = v
		}
	}
	if len(in.Kinds) > 0 {
		out["kinds"] = in.Kinds
	}
	if in.Bodies {
		out["bodies"] = true
	}
	return out
}

type (
	proveStateIn struct {
		Twin     vaultmesh.TwinID `json:"twin,omitempty" jsonschema:"the twin whose state is proved; send this or subject" length:"0,128" id:"twin"`
		Property string           `json:"property,omitempty" jsonschema:"show the values that the twin held under this name, for example closed" length:"0,512"`
		Subject  string           `json:"subject,omitempty" jsonschema:"a subject of receipts, for example capability/sha256:…, whose head is proved, or that there is none; send this or twin" length:"0,256"`
		Size     string           `json:"at_size,omitempty" jsonschema:"size of the log, a decimal integer: the state at the newest root below it; default: the newest" length:"0,20"`
	}
	stateValue struct {
		Kind    string          `json:"kind" jsonschema:"nameplate, reported, telemetry or desired"`
		Value   json.RawMessage `json:"value" jsonschema:"the value"`
		Quality string          `json:"quality,omitempty" jsonschema:"of a measurement"`
		Time    time.Time       `json:"time,omitzero" jsonschema:"at the source"`
	}
	proveStateOut struct {
		Key      string       `json:"key" jsonschema:"key of the state tree"`
		Present  bool         `json:"present" jsonschema:"whether the state held anything under it; false is proved as well"`
		Size     string       `json:"size" jsonschema:"size of the log of which it is the state"`
		Receipt  string       `json:"receipt" jsonschema:"index of the receipt that commits to the root"`
		Root     string       `json:"root" jsonschema:"root of the state tree"`
		Entries  string       `json:"entries" jsonschema:"how many keys the state had"`
		Time     time.Time    `json:"time" jsonschema:"of that receipt"`
		Values   []stateValue `json:"values" jsonschema:"of the property; empty where none was asked for or held"`
		Document string       `json:"document,omitempty" jsonschema:"what is under the key, as JSON text; absent where it has more than 64 KiB"`
		Proof    string       `json:"proof,omitempty" jsonschema:"the proof as text, for vaultmesh state verify; absent where it has more than 64 KiB"`
	}
)

var proveState = define(tool{
	name: "prove_state", title: "Prove the state", hints: reads,
	description: "Proves what the domain's state held of a twin, or what the head of a subject's receipts was, or that there was none, at a root that the log commits to. The proof leads to the root and was checked here; that the log commits to the root is proved by a bundle with the state in it (vaultmesh state prove).",
}, func(ctx context.Context, _ *Server, c call, in proveStateIn) (proveStateOut, answer, error) {
	key, size, err := in.key()
	if err != nil {
		return proveStateOut{}, answer{}, err
	}
	p, err := c.backend.State(ctx, c.caller, key, size)
	if err != nil {
		return proveStateOut{}, answer{}, err
	}
	proof, err := state.Open(p.Proof)
	if err != nil {
		return proveStateOut{}, answer{}, err
	}
	document, present, err := state.Verify(p.Root, key, &proof)
	if err != nil {
		return proveStateOut{}, answer{}, err
	}
	out := proveStateOut{Key: key, Present: present, Size: decimal(p.Size), Receipt: decimal(uint64(p.Receipt)), Root: p.Root.String(), Entries: decimal(p.Entries), Time: p.Time, Values: []stateValue{}}
	text := fmt.Sprintf("%s was not in the state at size %s of the log (root %s, receipt %s, %s).", key, out.Size, out.Root, out.Receipt, out.Time.UTC().Format(time.RFC3339))
	if present {
		if len(document) <= maxDocument {
			out.Document = string(document)
		}
		text = strings.Replace(text, "was not in", "was in", 1)
	}
	if len(p.Proof) <= maxDocument {
		out.Proof = string(p.Proof)
	}
	if present && in.Property != "" {
		t, err := state.OpenTwin(document)
		if err != nil {
			return proveStateOut{}, answer{}, err
		}
		for _, h := range t.Property(in.Property) {
			out.Values = append(out.Values, stateValue{Kind: h.Kind, Value: h.Value.JSON, Quality: h.Value.Quality, Time: h.Value.Time})
			text += fmt.Sprintf("\n%s %s = %s", h.Kind, in.Property, clip(string(h.Value.JSON), 200))
		}
		if len(out.Values) == 0 {
			text += fmt.Sprintf("\nIt held nothing under %s.", quoted(in.Property))
		}
	}
	return out, answer{text: text}, nil
})

// key is what the question is about.
func (in *proveStateIn) key() (key string, size uint64, err error) {
	const op = "arguments"
	switch {
	case (in.Twin == "") == (in.Subject == ""):
		return "", 0, vaultmesh.Errorf(vaultmesh.Invalid, op, "twin", "want exactly one of twin and subject").WithFix(`send twin, or a subject such as "capability/sha256:…"`)
	case in.Property != "" && in.Twin == "":
		return "", 0, vaultmesh.Errorf(vaultmesh.Invalid, op, "property", "it goes with twin").WithFix("send twin instead of subject, or leave property out")
	}
	if in.Size != "" {
		if size, err = strconv.ParseUint(in.Size, 10, 63); err != nil || size == 0 {
			return "", 0, vaultmesh.Errorf(vaultmesh.Invalid, op, "at_size", "%s is no size of a log", quoted(in.Size)).WithFix("send a decimal integer from 1, or leave it out")
		}
	}
	key = state.TwinKey(in.Twin)
	if in.Subject != "" {
		key = state.SubjectKey(in.Subject)
	}
	return key, size, state.CheckKey(key)
}
