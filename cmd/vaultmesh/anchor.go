package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
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
func (c *anchorNowCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Key == "" {
		c.Key = "cli-" + strings.ToLower(rand.Text())
	}
	jobs, err := client.AnchorNow(a.ctx, anchor.Request{Targets: c.Target, Key: c.Key})
	if err != nil {
		return err
	}
	far := true
	if c.Wait != "" {
		if far, err = c.follow(a, client, jobs); err != nil {
			return err
		}
	}
	for i := range jobs {
		jobs[i].Proof = nil
		far = far && jobs[i].State != anchor.Failed
	}
	err = c.show(a, httpapi.AnchorList{Jobs: jobs}, func(w io.Writer) {
		printAnchors(w, jobs)
		if next := c.next(jobs); next != "" {
			fmt.Fprintf(w, "\n%s\n", next)
		}
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
func (c *anchorNowCmd) next(jobs []anchor.Job) string {
	waiting := slices.ContainsFunc(jobs, func(j anchor.Job) bool { return anchorRank[j.State] < anchorRank[anchor.Confirmed] })
	if !waiting {
		return ""
	}
	line := "vaultmesh anchor now --wait confirmed --key " + quoted(c.Key)
	for _, t := range c.Target {
		line += " --target " + quoted(t)
	}
	return "Not anchored yet: the node goes on by itself. Wait for it: " + line + "\nSee how far it is: vaultmesh anchor list"
}

// anchorRank orders the states by how far they are.
var anchorRank = map[anchor.State]int{anchor.Queued: 0, anchor.Submitted: 1, anchor.Confirmed: 2, anchor.Final: 3, anchor.Failed: 3}

// Following asks often at first, since a time-stamp takes a moment, and then ever less, since a block takes minutes.
const (
	firstLook = 50 * time.Millisecond
	slowLook  = 5 * time.Second
)

// follow replaces the jobs by newer forms until all are as far as asked, and tells on the error output what changes.
func (c *anchorNowCmd) follow(a *app, client *httpapi.Client, jobs []anchor.Job) (bool, error) {
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
			newer, err := client.Anchor(a.ctx, j.ID)
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

func printAnchors(w io.Writer, jobs []anchor.Job) {
	fmt.Fprintln(w, "anchor\tage\tfee\tstate")
	for _, j := range jobs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", j.ID, age(j.Created), strings.TrimSpace(j.Fee+" "+j.Unit), clip(anchorLine(j), 160))
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
func (c *anchorListCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	page, err := client.Anchors(a.ctx, anchor.Filter{Target: c.Target, State: c.State, Before: c.Before, Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, page, func(w io.Writer) {
		fmt.Fprintln(w, "target\tcovers\tof the log\tevery\toldest uncovered\tfees (today / all)\t")
		for _, t := range page.Targets {
			printCoverage(w, t)
		}
		fmt.Fprintln(w)
		printAnchors(w, page.Jobs)
		if page.More {
			fmt.Fprintf(w, "… more with --before %s\n", page.Jobs[len(page.Jobs)-1].ID)
		}
	})
}

func printCoverage(w io.Writer, t anchor.Coverage) {
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
	fmt.Fprintf(w, "%s\t%.1f %%\t%d of %d\t%s\t%s\t%s\t%s\n", t.Target, 100*t.Share, t.Anchored, t.Size, every, oldest, fees, t.Warning)
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
func (c *anchorShowCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	j, err := client.Anchor(a.ctx, c.ID)
	if err != nil {
		return err
	}
	if c.Proof != "" {
		if err := saveProof(c.Proof, j); err != nil {
			return err
		}
	}
	err = c.show(a, j, func(w io.Writer) {
		fmt.Fprintf(w, "anchor\t%s\n", j.ID)
		fmt.Fprintf(w, "state\t%s\n", anchorLine(j))
		fmt.Fprintf(w, "covers\tthe %d receipts under root %s\n", j.Size, j.Root)
		fmt.Fprintf(w, "what\t%s, over the checkpoint's body\n", j.Digest)
		for _, row := range [][2]string{{"block", j.Block}, {"dated by", j.Source}, {"fee", strings.TrimSpace(j.Fee + " " + j.Unit)}, {"asked by", string(j.By)}, {"detail", j.Detail}} {
			if row[1] != "" {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
		}
		if n := j.Attempts; n > 0 {
			fmt.Fprintf(w, "failed steps\t%d, next try %s\n", n, j.NotBefore.Local().Format("15:04:05"))
		}
		fmt.Fprintf(w, "made\t%s ago, changed %s ago\n", age(j.Created), age(j.Updated))
	})
	if err == nil && !j.State.Anchored() {
		err = status(exitNo)
	}
	return err
}

func saveProof(path string, j anchor.Job) error {
	if len(j.Proof) == 0 {
		return vaultmesh.Errorf(vaultmesh.Conflict, "anchor", j.ID, "it has no proof yet: it is %s", j.State).WithFix("wait for it with vaultmesh anchor now --wait confirmed")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "anchor", path, "cannot create the file").Because(err)
	}
	_, err = f.Write(j.Proof)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "anchor", path, "cannot write").Because(err)
	}
	return nil
}
