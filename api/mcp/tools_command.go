package mcpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

type (
	simulateIn struct {
		Twin    vaultmesh.TwinID `json:"twin" jsonschema:"the twin to act on" length:"1,128" id:"twin"`
		Command string           `json:"command" jsonschema:"a command of the twin's model, for example openBreaker" length:"1,128" id:"command"`
		Args    object           `json:"args,omitempty" jsonschema:"the command's arguments as a JSON object; leave it out where it takes none"`
		N1      bool             `json:"n1,omitempty" jsonschema:"true: also try every single outage after the command (slower)" default:"false"`
	}
	simulateOut struct {
		prediction
		Next []suggestion `json:"next" jsonschema:"tool calls that make sense now"`
	}
)

var simulateCommand = define(tool{
	name: "simulate_command", title: "Simulate a command", hints: reads,
	description: "Predicts what a command would do to the whole system, computed on the live twins, without doing it: the state before and after, and every limit that it would break. The gate runs the same simulation on each proposal and denies what is unsafe, so simulate first.",
}, func(ctx context.Context, _ *Server, c call, in simulateIn) (simulateOut, answer, error) {
	v, err := c.backend.Simulate(ctx, c.caller, control.Proposal{Twin: in.Twin, Command: in.Command, Args: in.Args.RawMessage}, in.N1)
	if err != nil {
		return simulateOut{}, answer{}, helped(err, suggest("get_twin", "see the twin's state and commands", map[string]any{"twin": in.Twin}))
	}
	out := simulateOut{prediction: predicted(v)}
	args := map[string]any{"twin": in.Twin, "command": in.Command, "args": json.RawMessage("{}")}
	if len(in.Args.RawMessage) > 0 {
		args["args"] = in.Args.RawMessage
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s on %s. %s", strings.ToUpper(out.Outcome), in.Command, in.Twin, out.Reason)
	writeViolations(&b, out.prediction)
	switch out.Outcome {
	case "safe":
		args["idempotency_key"] = "choose-one-for-this-command"
		out.Next = []suggestion{suggest("propose_command", "do it, with an idempotency_key of your own; the gate judges it again", args)}
	case "unsafe":
		out.Next = []suggestion{suggest("simulate_command", "change the arguments or the twin until the outcome is safe", args)}
	default:
		out.Next = []suggestion{suggest("get_twin", "see how old the data is; an old or missing value makes a prediction impossible", map[string]any{"twin": in.Twin})}
	}
	writeNext(&b, out.Next)
	return out, answer{text: b.String()}, nil
})

type proposeIn struct {
	Twin    vaultmesh.TwinID `json:"twin" jsonschema:"the twin to act on" length:"1,128" id:"twin"`
	Command string           `json:"command" jsonschema:"a command of the twin's model, for example openBreaker" length:"1,128" id:"command"`
	Args    object           `json:"args,omitempty" jsonschema:"the command's arguments as a JSON object; leave it out where it takes none"`
	Key     string           `json:"idempotency_key" jsonschema:"an identifier that you choose for this one intention, letters and digits and . _ : @ -; send the same one when you retry, so that a retry never acts twice, and a new one for a new intention" length:"1,128" id:"idempotency_key"`
	Reason  string           `json:"reason,omitempty" jsonschema:"why, in your own words; it is kept and shown to the people who approve" length:"0,1024"`
}

var proposeCommand = define(tool{
	name: proposeTool, title: "Propose a command", hints: hints{destructive: true, idempotent: true, openWorld: true},
	description: "Asks the gate to act on a real asset. The gate checks your capability, hard limits, policy and a simulation; then the command is dispatched, denied with reasons, or waits for people to approve. Every outcome is recorded with signed receipts. The answer says what to do next. Simulate first.",
}, func(ctx context.Context, s *Server, c call, in proposeIn) (commandView, answer, error) {
	p := control.Proposal{Twin: in.Twin, Command: in.Command, Args: in.Args.RawMessage, IdempotencyKey: in.Key, Reason: in.Reason}
	if receipt.IsPrivateRef(p.Reason) {
		p.Opening = c.caller.Opening
	}
	caller, err := s.possession(c, p)
	if err != nil {
		return commandView{}, answer{}, err
	}
	cmd, err := c.backend.Propose(ctx, caller, p)
	if err != nil {
		next := suggest("get_twin", "see the twin's state and commands", map[string]any{"twin": in.Twin})
		if vaultmesh.KindOf(err).Retryable() || vaultmesh.KindOf(err) == vaultmesh.Internal {
			next = suggest("list_commands", "see whether the command was recorded before you retry with the same idempotency_key", map[string]any{"twin": in.Twin})
		}
		return commandView{}, answer{}, helped(err, next)
	}
	v := viewed(cmd)
	return v, told(v), nil
})

// told puts a command into words.
func told(v commandView) answer {
	var b strings.Builder
	fmt.Fprintf(&b, "Command %s. ", v.ID)
	if v.Replayed {
		b.WriteString("This repeats an earlier proposal with the same idempotency_key; nothing new was done. ")
	}
	b.WriteString(v.Summary)
	writeNext(&b, v.Next)
	return answer{text: b.String()}
}

type statusIn struct {
	ID   vaultmesh.CommandID `json:"command_id" jsonschema:"the command" length:"1,128" id:"command"`
	Wait int                 `json:"wait_seconds,omitempty" jsonschema:"0 to 30: wait so long for the state to change or the command to end, instead of asking again and again" default:"0" range:"0,30"`
}

// Waiting asks often at first, because a command takes milliseconds, and then ever less, because people take minutes.
const (
	maxWait   = 30 * time.Second
	firstPoll = 5 * time.Millisecond
	slowPoll  = 500 * time.Millisecond
)

var commandStatus = define(tool{
	name: "command_status", title: "Follow a command", hints: reads, waits: maxWait,
	description: "Reads one command: its state in words, what to do next, its life so far with receipts. With wait_seconds it waits until the state changes or the command ends. A command is done only when its state is aligned.",
}, func(ctx context.Context, s *Server, c call, in statusIn) (commandView, answer, error) {
	cmd, err := c.backend.Command(ctx, c.caller, in.ID)
	if err == nil && in.Wait > 0 {
		cmd, err = s.await(ctx, c, cmd, time.Duration(in.Wait)*time.Second)
	}
	if err != nil {
		return commandView{}, answer{}, helped(err, suggest("list_commands", "see which commands there are", nil))
	}
	v := viewed(cmd)
	return v, told(v), nil
})

// await returns the command when its state is another than now, when it has ended, or when the time is up.
func (s *Server) await(ctx context.Context, c call, now control.Command, most time.Duration) (control.Command, error) {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	latest := now
	for pause := firstPoll; latest.State == now.State && !control.Ended(latest.State); pause = min(2*pause, slowPoll) {
		poll := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			poll.Stop()
			return control.Command{}, ctx.Err()
		case <-deadline.C:
			poll.Stop()
			return latest, nil
		case <-poll.C:
		}
		var err error
		if latest, err = c.backend.Command(ctx, c.caller, now.ID); err != nil {
			return control.Command{}, err
		}
	}
	return latest, nil
}

type (
	listCommandsIn struct {
		State     string              `json:"state,omitempty" jsonschema:"only commands in this state, for example awaiting_approval" enum:"proposed,assessed,denied,awaiting_approval,approved,rejected,expired,authorized,dispatched,acknowledged,refused,timed_out,aligned,diverged,cancelled,halted"`
		Twin      vaultmesh.TwinID    `json:"twin,omitempty" jsonschema:"only commands on this twin" length:"0,128" id:"twin"`
		Principal vaultmesh.Principal `json:"principal,omitempty" jsonschema:"only commands that this principal proposed" length:"0,128" id:"principal"`
		Limit     int                 `json:"limit,omitempty" jsonschema:"how many at most, 1 to 100, newest first" default:"20" range:"1,100"`
	}
	commandLine struct {
		ID        string          `json:"command_id" jsonschema:"names the command"`
		Twin      string          `json:"twin" jsonschema:"the twin it acts on"`
		Command   string          `json:"command" jsonschema:"the command of the twin's model"`
		Args      json.RawMessage `json:"args" jsonschema:"its arguments"`
		Principal string          `json:"principal" jsonschema:"who proposed it"`
		State     string          `json:"state" jsonschema:"its state"`
		Ended     bool            `json:"ended" jsonschema:"no further state follows"`
		Proposed  time.Time       `json:"proposed" jsonschema:"when it was proposed"`
		Key       string          `json:"idempotency_key" jsonschema:"the key it was proposed with"`
	}
	listCommandsOut struct {
		Commands []commandLine `json:"commands" jsonschema:"newest first"`
	}
)

var listCommands = define(tool{
	name: "list_commands", title: "List commands", hints: reads,
	description: "Lists commands, newest first, filtered by state, twin or principal. Use it to find what waits for approval, or whether a proposal whose answer you lost was recorded.",
}, func(ctx context.Context, _ *Server, c call, in listCommandsIn) (listCommandsOut, answer, error) {
	list, err := c.backend.Commands(ctx, c.caller, control.Filter{State: control.State(in.State), Twin: in.Twin, Principal: in.Principal, Limit: in.Limit})
	if err != nil {
		return listCommandsOut{}, answer{}, err
	}
	out := listCommandsOut{Commands: []commandLine{}}
	var b strings.Builder
	fmt.Fprintf(&b, "%d commands.", len(list))
	for i, x := range list[:min(len(list), in.Limit)] {
		l := commandLine{ID: string(x.ID), Twin: string(x.Twin), Command: x.Name, Args: x.Args, Principal: string(x.Principal), State: string(x.State),
			Ended: control.Ended(x.State), Proposed: x.Proposed, Key: x.IdempotencyKey}
		if len(l.Args) == 0 {
			l.Args = json.RawMessage("{}")
		}
		out.Commands = append(out.Commands, l)
		if i < 20 {
			fmt.Fprintf(&b, "\n- %s %s on %s by %s: %s", l.ID, l.Command, l.Twin, l.Principal, l.State)
		}
	}
	if n := len(list) - 20; n > 0 {
		fmt.Fprintf(&b, "\n- and %d more in the structured answer", n)
	}
	return out, answer{text: b.String()}, nil
})

type (
	nothing       struct{}
	haltStatusOut struct {
		Halted bool      `json:"halted" jsonschema:"true: nothing is dispatched"`
		By     string    `json:"by,omitempty" jsonschema:"who set the halt"`
		Reason string    `json:"reason,omitempty" jsonschema:"why, in that person's words"`
		Since  time.Time `json:"since,omitzero" jsonschema:"since when"`
	}
)

var haltStatus = define(tool{
	name: "halt_status", title: "Read the stop switch", hints: reads,
	description: "Says whether a person has halted the domain. While it is halted nothing is dispatched and proposals are denied. Only a person can set or clear the halt.",
}, func(ctx context.Context, _ *Server, c call, _ nothing) (haltStatusOut, answer, error) {
	h, err := c.backend.HaltState(ctx, c.caller)
	if err != nil {
		return haltStatusOut{}, answer{}, err
	}
	if !h.Halted {
		return haltStatusOut{}, answer{text: "The domain is not halted."}, nil
	}
	out := haltStatusOut{Halted: true, By: string(h.By), Reason: clip(h.Reason, 1024), Since: h.Since}
	return out, answer{text: fmt.Sprintf("HALTED by %s since %s. %s Propose nothing until a person clears it; you cannot.", out.By, out.Since.UTC().Format(time.RFC3339), said(out.Reason))}, nil
})

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
