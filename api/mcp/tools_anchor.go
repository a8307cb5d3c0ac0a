package mcpapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
)

type (
	anchorIn struct {
		Targets []string `json:"targets,omitempty" jsonschema:"where to: names such as bitcoin or rfc3161/authority, or a kind such as rfc3161 for all of it; leave it out for all targets that the node has" length:"0,64"`
		Key     string   `json:"idempotency_key" jsonschema:"an identifier that you choose for this one intention, letters and digits and . _ : @ -; send the same one when you retry or wait longer, so that nothing is paid twice" length:"1,128" id:"idempotency_key"`
		Until   string   `json:"wait_for,omitempty" jsonschema:"how far each job shall come before the answer, if wait_seconds allows: submitted is sent and not anchored, confirmed is proved, final is as settled as the target gets" default:"\"confirmed\"" enum:"submitted,confirmed,final"`
		Wait    int      `json:"wait_seconds,omitempty" jsonschema:"0 to 30: wait so long for that" default:"0" range:"0,30"`
	}
	anchorStatusIn struct {
		ID    string `json:"anchor_id,omitempty" jsonschema:"one anchor, for example bitcoin@1234; left out: the newest of all targets, and how much of the log each covers" length:"0,160"`
		Until string `json:"wait_for,omitempty" jsonschema:"with anchor_id: how far it shall come before the answer, if wait_seconds allows" default:"\"confirmed\"" enum:"submitted,confirmed,final"`
		Wait  int    `json:"wait_seconds,omitempty" jsonschema:"0 to 30, with anchor_id: wait so long for that" default:"0" range:"0,30"`
		Limit int    `json:"limit,omitempty" jsonschema:"how many at most, 1 to 100, newest first" default:"20" range:"1,100"`
	}
	anchorView struct {
		ID       string    `json:"anchor_id" jsonschema:"names the job"`
		Target   string    `json:"target" jsonschema:"where to"`
		Kind     string    `json:"kind" jsonschema:"rfc3161, bitcoin or ethereum"`
		Size     string    `json:"checkpoint_size" jsonschema:"the checkpoint covers every receipt below this index"`
		Digest   string    `json:"digest" jsonschema:"what is anchored: SHA-256 of the checkpoint's body"`
		State    string    `json:"state" jsonschema:"queued, submitted, confirmed, final or failed"`
		Anchored bool      `json:"anchored" jsonschema:"true only where the proof was verified: confirmed or final"`
		Time     time.Time `json:"time,omitzero" jsonschema:"the time that the proof states"`
		Height   string    `json:"height,omitempty" jsonschema:"of the block"`
		Block    string    `json:"block,omitempty" jsonschema:"hash of the block"`
		Source   string    `json:"source,omitempty" jsonschema:"who states the time"`
		Fee      string    `json:"fee,omitempty" jsonschema:"what it costs at most, in the end what it has cost, with its unit"`
		Detail   string    `json:"detail,omitempty" jsonschema:"what it waits for, or why it failed"`
		Attempts int       `json:"failed_attempts,omitempty" jsonschema:"steps that failed in a row; they are tried again"`
	}
	coverageView struct {
		Target   string  `json:"target" jsonschema:"where to"`
		Share    float64 `json:"share" jsonschema:"share of the log's receipts under a verified anchor, 0 to 1"`
		Anchored string  `json:"anchored_receipts" jsonschema:"how many that are"`
		Size     string  `json:"log_size" jsonschema:"how many receipts the log has"`
		Cadence  string  `json:"cadence,omitempty" jsonschema:"how often the schedule anchors while the log grows; absent: on demand only"`
		Warning  string  `json:"warning,omitempty" jsonschema:"worth a person's attention"`
	}
	anchorOut struct {
		Anchors []anchorView `json:"anchors" jsonschema:"one for each target"`
		Next    []suggestion `json:"next" jsonschema:"tool calls that make sense now"`
	}
	anchorStatusOut struct {
		Anchors []anchorView   `json:"anchors" jsonschema:"newest first"`
		Targets []coverageView `json:"targets" jsonschema:"how much of the log each target covers"`
		Next    []suggestion   `json:"next" jsonschema:"tool calls that make sense now"`
	}
)

var multiAnchor = define(tool{
	name: "multi_anchor", title: "Anchor the log now", hints: hints{idempotent: true, openWorld: true}, waits: maxWait,
	description: "Has the log's newest checkpoint dated by others, so that nobody can rewrite what it covers: time-stamp authorities (RFC 3161, seconds), Bitcoin and Ethereum (minutes to hours, may cost money within the node's caps). Needs the verb anchor. The schedule anchors without being asked; ask when something must be dated now. An anchor counts only when its proof was verified: submitted is not anchored.",
}, func(ctx context.Context, s *Server, c call, in anchorIn) (anchorOut, answer, error) {
	jobs, err := c.backend.AnchorNow(ctx, c.caller, anchor.Request{Targets: in.Targets, Key: in.Key})
	if err != nil {
		return anchorOut{}, answer{}, helped(err, suggest("anchor_status", "see the targets and what is under way", nil))
	}
	if in.Wait > 0 {
		if err := s.awaitAnchors(ctx, c, jobs, anchor.State(in.Until), time.Duration(in.Wait)*time.Second); err != nil {
			return anchorOut{}, answer{}, err
		}
	}
	out := anchorOut{Anchors: []anchorView{}}
	var b strings.Builder
	done := 0
	for _, j := range jobs {
		v := anchorViewed(j)
		out.Anchors = append(out.Anchors, v)
		if v.Anchored {
			done++
		}
	}
	fmt.Fprintf(&b, "%d of %d anchors are verified.", done, len(jobs))
	for _, v := range out.Anchors {
		writeAnchor(&b, v)
	}
	out.Next = follow(out.Anchors)
	writeNext(&b, out.Next)
	return out, answer{text: b.String()}, nil
})

var anchorStatus = define(tool{
	name: "anchor_status", title: "Follow anchors", hints: reads, waits: maxWait,
	description: "Reads one anchor, or the newest of all targets and the share of the log under a verified anchor at each. With anchor_id and wait_seconds it waits. An anchor is done when its state is final; submitted is not anchored.",
}, func(ctx context.Context, s *Server, c call, in anchorStatusIn) (anchorStatusOut, answer, error) {
	out := anchorStatusOut{Anchors: []anchorView{}, Targets: []coverageView{}}
	var b strings.Builder
	if in.ID != "" {
		j, err := c.backend.Anchor(ctx, c.caller, in.ID)
		if err != nil {
			return out, answer{}, helped(err, suggest("anchor_status", "see which anchors there are", nil))
		}
		jobs := []anchor.Job{j}
		if in.Wait > 0 {
			if err := s.awaitAnchors(ctx, c, jobs, anchor.State(in.Until), time.Duration(in.Wait)*time.Second); err != nil {
				return out, answer{}, err
			}
		}
		out.Anchors = append(out.Anchors, anchorViewed(jobs[0]))
		b.WriteString("One anchor.")
	} else {
		jobs, coverage, err := c.backend.Anchors(ctx, c.caller, anchor.Filter{Limit: in.Limit})
		if err != nil {
			return out, answer{}, err
		}
		fmt.Fprintf(&b, "%d targets, %d anchors.", len(coverage), len(jobs))
		for _, x := range coverage {
			out.Targets = append(out.Targets, coverageView{x.Target, x.Share, fmt.Sprint(x.Anchored), fmt.Sprint(x.Size), x.Cadence, clip(x.Warning, 512)})
			fmt.Fprintf(&b, "\n- %s covers %.1f%% of the log", x.Target, 100*x.Share)
			if x.Warning != "" {
				fmt.Fprintf(&b, "; WARNING: %s", clip(x.Warning, 512))
			}
		}
		for _, j := range jobs {
			out.Anchors = append(out.Anchors, anchorViewed(j))
		}
	}
	for i, v := range out.Anchors {
		if i < 20 {
			writeAnchor(&b, v)
		}
	}
	out.Next = follow(out.Anchors)
	writeNext(&b, out.Next)
	return out, answer{text: b.String()}, nil
})

// anchorRank orders the states by how far they are.
var anchorRank = map[anchor.State]int{anchor.Queued: 0, anchor.Submitted: 1, anchor.Confirmed: 2, anchor.Final: 3, anchor.Failed: 3}

// awaitAnchors replaces the jobs by newer forms until all have come as far as until, or the time is up, and tells the
// client what changes meanwhile.
func (s *Server) awaitAnchors(ctx context.Context, c call, jobs []anchor.Job, until anchor.State, most time.Duration) error {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	told := make([]anchor.State, len(jobs))
	for pause := firstPoll; ; pause = min(2*pause, slowPoll) {
		far := 0
		for _, j := range jobs {
			if anchorRank[j.State] >= anchorRank[until] {
				far++
			}
		}
		for i, j := range jobs {
			if j.State != told[i] {
				told[i] = j.State
				c.tell(ctx, far, len(jobs), fmt.Sprintf("%s is %s", j.ID, j.State))
			}
		}
		if far == len(jobs) {
			return nil
		}
		poll := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			poll.Stop()
			return ctx.Err()
		case <-deadline.C:
			poll.Stop()
			return nil
		case <-poll.C:
		}
		for i, j := range jobs {
			if anchorRank[j.State] >= anchorRank[until] {
				continue
			}
			newer, err := c.backend.Anchor(ctx, c.caller, j.ID)
			// The right to anchor does not include that to read: then the answer is what was known first.
			if vaultmesh.KindOf(err) == vaultmesh.Denied && err != nil {
				return nil
			}
			if err != nil {
				return err
			}
			jobs[i] = newer
		}
	}
}

func anchorViewed(j anchor.Job) anchorView {
	v := anchorView{ID: j.ID, Target: j.Target, Kind: j.Kind, Size: fmt.Sprint(j.Size), Digest: j.Digest.String(), State: string(j.State), Anchored: j.State.Anchored(),
		Time: j.Proved, Block: clip(j.Block, 128), Source: clip(j.Source, 256), Detail: clip(j.Detail, 512), Attempts: j.Attempts}
	if j.Height > 0 {
		v.Height = fmt.Sprint(j.Height)
	}
	if j.Fee != "" {
		v.Fee = j.Fee + " " + j.Unit
	}
	return v
}

func writeAnchor(b *strings.Builder, v anchorView) {
	fmt.Fprintf(b, "\n- %s: ", v.ID)
	switch anchor.State(v.State) {
	case anchor.Final:
		fmt.Fprintf(b, "FINAL, dated %s", v.Time.UTC().Format(time.RFC3339))
	case anchor.Confirmed:
		fmt.Fprintf(b, "CONFIRMED in block %s, dated %s; a re-organisation could still take it back", v.Height, v.Time.UTC().Format(time.RFC3339))
	case anchor.Submitted:
		b.WriteString("SUBMITTED, not yet anchored")
	case anchor.Failed:
		b.WriteString("FAILED, not anchored")
	default:
		b.WriteString("QUEUED, not yet anchored")
	}
	if v.Detail != "" && !v.Anchored {
		fmt.Fprintf(b, " (%s)", v.Detail)
	}
}

// follow suggests to wait for what is under way.
func follow(list []anchorView) []suggestion {
	next := []suggestion{}
	for _, v := range list {
		if v.State != string(anchor.Final) && v.State != string(anchor.Failed) && len(next) < 3 {
			next = append(next, suggest("anchor_status", "wait until it is anchored", map[string]any{"anchor_id": v.ID, "wait_seconds": 30}))
		}
	}
	return next
}
