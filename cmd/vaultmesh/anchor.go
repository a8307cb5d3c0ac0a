package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
)

// anchorCmd is about others that date the log.
type anchorCmd struct {
	Now      anchorNowCmd      `cmd:"" help:"Ask to have the newest checkpoint anchored now; with --wait follow it until it is."`
	List     anchorListCmd     `cmd:"" help:"How much of the log each target covers, and the newest anchors."`
	Show     anchorShowCmd     `cmd:"" help:"Show one anchor; with --proof write its proof into a file."`
	Bitcoin  anchorBitcoinCmd  `cmd:"" help:"Prepare anchoring in Bitcoin, and pin its blocks."`
	Ethereum anchorEthereumCmd `cmd:"" help:"Prepare anchoring in an Ethereum chain, and pin its blocks."`
}

type anchorNowCmd struct {
	asking
	Target []string      `help:"Where to: a name (bitcoin, rfc3161/main) or a kind (rfc3161). Repeat it for several; default: everywhere." placeholder:"NAME"`
	Wait   string        `help:"Wait until each anchor is submitted (sent, not anchored), confirmed (proved) or final." enum:",submitted,confirmed,final" default:"" placeholder:"STATE"`
	Within time.Duration `help:"Stop waiting after this time; the node goes on." default:"10m"`
	Key    string        `help:"Idempotency key; default: a fresh one. Give the same key to retry."`
}

// Run asks for anchors. Status 0: asked, and with --wait each is as far as that; 1: one failed or is not that far.
func (c *anchorNowCmd) Run(a *app, n *asked) error {
	c.Key = keyOr(c.Key)
	jobs, err := n.AnchorNow(a.ctx, anchor.Request{Targets: c.Target, Key: c.Key})
	if err != nil {
		return err
	}
	far := true
	if c.Wait != "" {
		if far, err = c.follow(a, n, jobs); err != nil {
			return err
		}
	}
	for i := range jobs {
		jobs[i].Proof = nil
		far = far && jobs[i].State != anchor.Failed
	}
	err = c.show(a, httpapi.AnchorList{Jobs: jobs}, func(s *sheet) {
		tellAnchors(s, jobs)
		c.next(a, s, jobs)
	})
	if err != nil {
		return err
	}
	if !far {
		return status(exitNo)
	}
	return nil
}

// next says how to go on where an anchor is not yet one: with the key, it is the same request, which pays nothing twice.
func (c *anchorNowCmd) next(a *app, s *sheet, jobs []anchor.Job) {
	waiting := slices.ContainsFunc(jobs, func(j anchor.Job) bool { return anchorRank[j.State] < anchorRank[anchor.Confirmed] })
	if !waiting {
		return
	}
	line := a.hint("anchor now --wait confirmed --key " + quoted(c.Key))
	for _, t := range c.Target {
		line += " --target " + quoted(t)
	}
	s.space()
	s.say("", "Not anchored yet: the node goes on by itself. Wait for it:")
	s.verbatim(line)
	s.say("", "See how far it is:")
	s.verbatim(a.hint("anchor list"))
}

// anchorRank orders the states by how far they are.
var anchorRank = map[anchor.State]int{anchor.Queued: 0, anchor.Submitted: 1, anchor.Confirmed: 2, anchor.Final: 3, anchor.Failed: 3}

// Following asks often at first, since a time-stamp takes a moment, and then ever less, since a block takes minutes.
const (
	firstLook = 50 * time.Millisecond
	slowLook  = 5 * time.Second
)

// follow replaces the jobs by newer forms until all are as far as asked, and tells on the error output what changes.
func (c *anchorNowCmd) follow(a *app, n *asked, jobs []anchor.Job) (bool, error) {
	want := anchorRank[anchor.State(c.Wait)]
	deadline := time.Now().Add(c.Within)
	told := make([]string, len(jobs))
	for pause := firstLook; ; pause = min(pause*3/2, slowLook) {
		far := true
		for i, j := range jobs {
			if line := fmt.Sprintf("%s  %s", j.ID, anchorLine(j)); line != told[i] {
				told[i] = line
				fmt.Fprintf(a.errOut, "%s  %s\n", time.Now().Format("15:04:05"), line)
			}
			far = far && anchorRank[j.State] >= want
		}
		if far || time.Now().After(deadline) {
			return far, nil
		}
		select {
		case <-a.ctx.Done():
			return false, a.ctx.Err()
		case <-time.After(pause):
		}
		for i, j := range jobs {
			if anchorRank[j.State] >= want {
				continue
			}
			newer, err := n.Anchor(a.ctx, j.ID)
			if err != nil && vaultmesh.KindOf(err).Retryable() && time.Now().Before(deadline) {
				continue
			}
			if err != nil {
				return false, err
			}
			jobs[i] = newer
		}
	}
}

// anchorLine says in a few words how far an anchor is. Submitted is never called anchored.
func anchorLine(j anchor.Job) string {
	switch j.State {
	case anchor.Final:
		return "FINAL: anchored, dated " + j.Proved.UTC().Format(time.RFC3339) + height(j)
	case anchor.Confirmed:
		return "confirmed: anchored" + height(j) + ", dated " + j.Proved.UTC().Format(time.RFC3339) + ", may still be taken back"
	case anchor.Submitted:
		return "submitted, not yet anchored: " + j.Detail
	case anchor.Failed:
		return "FAILED, not anchored: " + j.Detail
	default:
		return "queued, not yet anchored: " + j.Detail
	}
}

func height(j anchor.Job) string {
	if j.Height == 0 {
		return ""
	}
	return fmt.Sprintf(" in block %d", j.Height)
}

func tellAnchors(s *sheet, jobs []anchor.Job) {
	s.table("anchor", "age", "fee", "state")
	for _, j := range jobs {
		s.row(j.ID, age(j.Created), strings.TrimSpace(j.Fee+" "+j.Unit), anchorLine(j))
	}
	if len(jobs) == 0 {
		s.say("", "no anchors")
	}
}

type anchorListCmd struct {
	asking
	Target string       `help:"Only this target, or kind of target." placeholder:"NAME"`
	State  anchor.State `help:"Only anchors in this state."`
	Before string       `help:"Only those made before this one." placeholder:"ID"`
	Limit  int          `help:"At most this many." default:"20"`
}

// Run lists the targets and the anchors. Status 0.
func (c *anchorListCmd) Run(a *app, n *asked) error {
	page, err := n.Anchors(a.ctx, anchor.Filter{Target: c.Target, State: c.State, Before: c.Before, Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, page, func(s *sheet) {
		s.table("target", "covers", "of the log", "every", "oldest uncovered", "fees (today / all)", "warning")
		for _, t := range page.Targets {
			rowCoverage(s, t)
		}
		s.space()
		tellAnchors(s, page.Jobs)
		if page.More {
			s.say(faint, "… more with --before %s", page.Jobs[len(page.Jobs)-1].ID)
		}
	})
}

func rowCoverage(s *sheet, t anchor.Coverage) {
	every, oldest, fees := t.Cadence, "none", ""
	if every == "" {
		every = "on demand"
	}
	if !t.Oldest.IsZero() {
		oldest = age(t.Oldest) + " old"
	}
	if t.Unit != "" {
		fees = fmt.Sprintf("%s / %s %s", orZero(t.Today), orZero(t.Spent), t.Unit)
	}
	s.row(t.Target, fmt.Sprintf("%.1f %%", 100*t.Share), fmt.Sprintf("%d of %d", t.Anchored, t.Size), every, oldest, fees, t.Warning)
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

type anchorShowCmd struct {
	asking
	ID    string `arg:"" help:"Anchor: <target>@<size>."`
	Proof string `help:"Write the proof into this file, for other tools; it must not exist." type:"path" placeholder:"FILE"`
}

// Run shows one anchor. Status 0 if it is anchored, else 1.
func (c *anchorShowCmd) Run(a *app, n *asked) error {
	j, err := n.Anchor(a.ctx, c.ID)
	if err != nil {
		return err
	}
	if c.Proof != "" {
		if err := saveProof(c.Proof, j); err != nil {
			return err
		}
	}
	err = c.show(a, j, func(s *sheet) {
		s.fact("anchor", "%s", j.ID)
		s.fact("state", "%s", anchorLine(j))
		s.fact("covers", "the %d receipts under root", j.Size)
		s.verbatim(j.Root.String())
		s.fact("what", "over the checkpoint's body, its digest")
		s.verbatim(j.Digest.String())
		for _, row := range [][2]string{{"block", j.Block}, {"dated by", j.Source}, {"fee", strings.TrimSpace(j.Fee + " " + j.Unit)}, {"asked by", string(j.By)}, {"detail", j.Detail}} {
			if row[1] != "" {
				s.fact(row[0], "%s", row[1])
			}
		}
		if n := j.Attempts; n > 0 {
			s.fact("failed steps", "%d, next try %s", n, j.NotBefore.Local().Format("15:04:05"))
		}
		s.fact("made", "%s ago, changed %s ago", age(j.Created), age(j.Updated))
	})
	if err == nil && !j.State.Anchored() {
		err = status(exitNo)
	}
	return err
}

func saveProof(path string, j anchor.Job) error {
	if len(j.Proof) == 0 {
		return vaultmesh.Errorf(vaultmesh.Conflict, "anchor", j.ID, "it has no proof yet: it is %s", j.State).WithFix("wait for it with `vaultmesh anchor now --wait confirmed`")
	}
	return writeNew("anchor", path, j.Proof)
}

// extending are the arguments of making a proof of a chain lead to a later block, which an auditor then pins.
type extending struct {
	Proof string `arg:"" help:"The proof: bitcoin.json or ethereum.json of a bundle." type:"path"`
	To    uint64 `help:"Height of the later block; default: as late as the nodes and the proof's form allow." placeholder:"N"`
	Out   string `short:"o" help:"File to write; it must not exist." required:"" type:"path"`
}

// extend has a proof made longer by a chain's own code, which also says what is known of it, and writes it.
func (c *extending) extend(a *app, op string, limit int64, longer func(proof []byte, s *sheet) ([]byte, error)) error {
	proof, err := readUpTo(c.Proof, limit)
	if err != nil {
		return err
	}
	s := newSheet(a.out)
	if proof, err = longer(proof, s); err != nil {
		return err
	}
	if err := writeNew(op, c.Out, proof); err != nil {
		return err
	}
	s.fact("written", "%s", c.Out)
	return s.flush()
}

func tellPin(s *sheet, pin string) {
	s.fact("pin", "after comparing it with other sources:")
	s.verbatim(pin)
}
