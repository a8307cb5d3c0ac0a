package mcpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

type (
	listTwinsIn struct {
		Model  string             `json:"model,omitempty" jsonschema:"only twins of this model (a DTMI such as dtmi:org:vaultmesh:grid:Line;1) or of models that extend it" length:"0,2048"`
		Device vaultmesh.DeviceID `json:"device,omitempty" jsonschema:"only twins that this device speaks for" length:"0,128" id:"device"`
		Prefix string             `json:"prefix,omitempty" jsonschema:"only identifiers that begin with this, for example line-" length:"0,128" id:"prefix"`
		After  vaultmesh.TwinID   `json:"after,omitempty" jsonschema:"continue after this identifier: next_after of the page before" length:"0,128" id:"twin"`
		Limit  int                `json:"limit,omitempty" jsonschema:"how many twins at most, 1 to 200" default:"50" range:"1,200"`
		Values bool               `json:"values,omitempty" jsonschema:"true: with the present values of each twin" default:"false"`
	}
	twinSummary struct {
		ID     string           `json:"twin" jsonschema:"its identifier"`
		Model  string           `json:"model" jsonschema:"its model, a DTMI"`
		Device string           `json:"device" jsonschema:"the device that speaks for it; empty: none, so that it takes no commands"`
		Seen   time.Time        `json:"seen,omitzero" jsonschema:"time of its newest message; absent where there is none"`
		Values map[string]value `json:"values,omitempty" jsonschema:"reported properties and telemetry by name, where asked for"`
	}
	listTwinsOut struct {
		Twins []twinSummary `json:"twins" jsonschema:"in ascending order of the identifier"`
		After string        `json:"next_after,omitempty" jsonschema:"where more follow: send it as after"`
	}
)

var listTwins = define(tool{
	name: "list_twins", title: "List twins", hints: reads,
	description: "Lists the digital twins that you may read: identifier, model and device, in pages. Start here to find what exists. Filter by model, device or prefix instead of reading everything.",
}, func(ctx context.Context, _ *Server, c call, in listTwinsIn) (listTwinsOut, answer, error) {
	page, err := c.backend.Twins(ctx, c.caller, TwinFilter{Model: in.Model, Device: in.Device, Prefix: in.Prefix, After: in.After, Limit: in.Limit})
	if err != nil {
		return listTwinsOut{}, answer{}, err
	}
	out := listTwinsOut{Twins: []twinSummary{}, After: string(page.Next)}
	var b strings.Builder
	fmt.Fprintf(&b, "%d twins.", len(page.Twins))
	for i, t := range page.Twins[:min(len(page.Twins), in.Limit)] {
		s := twinSummary{ID: string(t.ID), Model: t.Model, Device: string(t.Device), Seen: t.Seen}
		if in.Values {
			s.Values = values(t.Reported)
			for name, v := range values(t.Telemetry) {
				s.Values[name] = v
			}
		}
		out.Twins = append(out.Twins, s)
		if i < 20 {
			fmt.Fprintf(&b, "\n- %s (%s)", s.ID, s.Model)
		}
	}
	if n := len(page.Twins) - 20; n > 0 {
		fmt.Fprintf(&b, "\n- and %d more in the structured answer", n)
	}
	if out.After != "" {
		fmt.Fprintf(&b, "\nMore follow: call list_twins with after=%q.", out.After)
	}
	return out, answer{text: b.String()}, nil
})

type (
	getTwinIn struct {
		Twin vaultmesh.TwinID `json:"twin" jsonschema:"the identifier of the twin, for example line-9-10" length:"1,128" id:"twin"`
	}
	relationship struct {
		Name   string `json:"name" jsonschema:"named by the model"`
		Target string `json:"target" jsonschema:"the other twin"`
	}
	getTwinOut struct {
		ID            string                     `json:"twin" jsonschema:"its identifier"`
		Model         string                     `json:"model" jsonschema:"its model, a DTMI"`
		Device        string                     `json:"device" jsonschema:"the device that speaks for it; empty: none, so that it takes no commands"`
		Version       string                     `json:"version" jsonschema:"grows with each change of its state"`
		Seen          time.Time                  `json:"seen,omitzero" jsonschema:"time of its newest message; absent where there is none"`
		Age           float64                    `json:"age_seconds,omitempty" jsonschema:"age of that message; commands on old data are refused"`
		Nameplate     map[string]json.RawMessage `json:"nameplate" jsonschema:"what does not change, by name"`
		Reported      map[string]value           `json:"reported" jsonschema:"properties as the device says they are, by name"`
		Telemetry     map[string]value           `json:"telemetry" jsonschema:"the latest measurement of each name"`
		Desired       map[string]json.RawMessage `json:"desired" jsonschema:"values that authorised commands have set, by name"`
		Relationships []relationship             `json:"relationships" jsonschema:"edges to other twins"`
		Commands      []CommandDoc               `json:"commands" jsonschema:"commands of the model with the schema of their arguments; empty where this node does not tell"`
	}
)

var getTwin = define(tool{
	name: "get_twin", title: "Read a twin", hints: reads,
	description: "Reads one twin: what its device reports, its latest measurements with time and quality, its nameplate, its relationships, and the commands that its model has. Read it before you simulate or propose.",
}, func(ctx context.Context, s *Server, c call, in getTwinIn) (getTwinOut, answer, error) {
	out, err := s.readTwin(ctx, c, in.Twin)
	if err != nil {
		return getTwinOut{}, answer{}, helped(err, suggest("list_twins", "see which twins exist", nil))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s is a %s", out.ID, out.Model)
	if out.Seen.IsZero() {
		b.WriteString("; it was never heard of.")
	} else {
		fmt.Fprintf(&b, ", heard of %.1f s ago.", out.Age)
	}
	for _, group := range []map[string]value{out.Reported, out.Telemetry} {
		for _, name := range sorted(group) {
			fmt.Fprintf(&b, "\n- %s = %s", name, clip(string(group[name].Value), 80))
			if q := group[name].Quality; q != "good" {
				fmt.Fprintf(&b, " (%s)", q)
			}
		}
	}
	if len(out.Commands) > 0 {
		names := make([]string, len(out.Commands))
		for i, d := range out.Commands {
			names[i] = d.Name
		}
		fmt.Fprintf(&b, "\nCommands: %s.", strings.Join(names, ", "))
	}
	return out, answer{text: b.String()}, nil
})

func (s *Server) readTwin(ctx context.Context, c call, id vaultmesh.TwinID) (getTwinOut, error) {
	t, err := c.backend.Twin(ctx, c.caller, id)
	if err != nil {
		return getTwinOut{}, err
	}
	out := getTwinOut{ID: string(t.ID), Model: t.Model, Device: string(t.Device), Version: decimal(t.Version), Seen: t.Seen, Nameplate: t.Nameplate,
		Reported: values(t.Reported), Telemetry: values(t.Telemetry), Desired: t.Desired, Relationships: []relationship{}, Commands: []CommandDoc{}}
	if !t.Seen.IsZero() {
		out.Age = max(0, s.opts.Now().Sub(t.Seen).Seconds())
	}
	if out.Nameplate == nil {
		out.Nameplate = map[string]json.RawMessage{}
	}
	if out.Desired == nil {
		out.Desired = map[string]json.RawMessage{}
	}
	for _, r := range t.Relationships {
		out.Relationships = append(out.Relationships, relationship{r.Name, string(r.Target)})
	}
	if s.opts.Commands != nil {
		docs, err := s.opts.Commands(ctx, t.Model)
		if err != nil {
			return getTwinOut{}, vaultmesh.Wrap(err, "model", t.Model)
		}
		out.Commands = append(out.Commands, docs...)
	}
	return out, nil
}

type (
	readHistoryIn struct {
		Twin  vaultmesh.TwinID `json:"twin" jsonschema:"the identifier of the twin" length:"1,128" id:"twin"`
		Name  string           `json:"name" jsonschema:"the property or telemetry, for example voltage" length:"1,128"`
		From  string           `json:"from,omitempty" jsonschema:"first time, RFC 3339 such as 2026-01-02T03:04:05Z; default: 15 minutes before to" length:"0,40"`
		To    string           `json:"to,omitempty" jsonschema:"end of the period, not included, RFC 3339; default: now" length:"0,40"`
		Limit int              `json:"limit,omitempty" jsonschema:"how many values at most, 1 to 1000, oldest first" default:"100" range:"1,1000"`
	}
	readHistoryOut struct {
		Twin   string    `json:"twin" jsonschema:"the twin"`
		Name   string    `json:"name" jsonschema:"the property or telemetry"`
		From   time.Time `json:"from" jsonschema:"first time asked for"`
		To     time.Time `json:"to" jsonschema:"end of the period"`
		Points []value   `json:"points" jsonschema:"oldest first"`
		More   bool      `json:"more" jsonschema:"there may be more: ask again with from set just after the last time"`
	}
)

// maxPoints is the longest history that a backend gives at once.
const maxPoints = 1000

// defaultPeriod is how far a history goes back where no beginning is given.
const defaultPeriod = 15 * time.Minute

var readHistory = define(tool{
	name: "read_history", title: "Read a history", hints: reads,
	description: "Reads the past values of one property or telemetry of a twin, oldest first, by default those of the last 15 minutes. Values carry their time at the source and their quality.",
}, func(ctx context.Context, s *Server, c call, in readHistoryIn) (readHistoryOut, answer, error) {
	to, err := moment("to", in.To, s.opts.Now())
	if err != nil {
		return readHistoryOut{}, answer{}, err
	}
	from, err := moment("from", in.From, to.Add(-defaultPeriod))
	if err != nil {
		return readHistoryOut{}, answer{}, err
	}
	if !from.Before(to) {
		return readHistoryOut{}, answer{}, vaultmesh.Errorf(vaultmesh.Invalid, "arguments", "from", "it is not before to").WithFix("send a period that begins before it ends")
	}
	points, err := c.backend.History(ctx, c.caller, in.Twin, in.Name, from, to, min(in.Limit+1, maxPoints))
	if err != nil {
		return readHistoryOut{}, answer{}, helped(err, suggest("get_twin", "see which names the twin has", map[string]any{"twin": in.Twin}))
	}
	// One more than the limit shows that there is more; the longest history leaves that open.
	out := readHistoryOut{Twin: string(in.Twin), Name: in.Name, From: from, To: to, Points: []value{}, More: len(points) > min(in.Limit, maxPoints-1)}
	for _, p := range points[:min(len(points), in.Limit)] {
		out.Points = append(out.Points, value{Value: p.V, Quality: qualities[p.Q], Time: p.T})
	}
	text := fmt.Sprintf("%s of %s has no value from %s to %s.", in.Name, in.Twin, from.Format(time.RFC3339), to.Format(time.RFC3339))
	if n := len(out.Points); n > 0 {
		first, last := out.Points[0], out.Points[n-1]
		text = fmt.Sprintf("%d values of %s of %s: first %s at %s, last %s at %s.", n, in.Name, in.Twin,
			clip(string(first.Value), 80), first.Time.UTC().Format(time.RFC3339), clip(string(last.Value), 80), last.Time.UTC().Format(time.RFC3339))
	}
	if out.More {
		text += " The limit cut it off: ask again with from set just after the last time."
	}
	return out, answer{text: text}, nil
})

// moment reads a time, or gives another where there is none.
func moment(name, text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise.UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1970 || t.Year() > 9998 {
		return time.Time{}, vaultmesh.Errorf(vaultmesh.Invalid, "arguments", name, "%s is no time", quoted(text)).WithFix("send RFC 3339, for example 2026-01-02T03:04:05Z")
	}
	return t.UTC(), nil
}
