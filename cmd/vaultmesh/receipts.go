package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
)

type receiptsCmd struct {
	Search  receiptsSearchCmd  `cmd:"" default:"withargs" help:"Find receipts, newest first."`
	Scrolls receiptsScrollsCmd `cmd:"" help:"List the scrolls: views of the log by kinds of receipts."`
}

type receiptsSearchCmd struct {
	asking
	Twin    vaultmesh.TwinID    `help:"Definitions of this twin, and commands to it."`
	Command vaultmesh.CommandID `help:"This command."`
	Actor   vaultmesh.Principal `help:"What this principal did, such as operator:ada."`
	Kind    []string            `help:"Receipts of this kind (repeat), such as halt.set."`
	Scroll  string              `help:"Receipts of this scroll: automation, compliance, guardian, identity, mesh or observability."`
	From    time.Time           `help:"From this time on (RFC 3339)."`
	To      time.Time           `help:"Before this time."`
	Since   time.Duration       `help:"Instead of from: how far back, such as 10m."`
	Limit   int                 `help:"At most this many." default:"50"`
	Cursor  string              `help:"Go on where an earlier answer to the same search ended."`
}

// Run searches. A page that found less than asked and can go on goes on.
func (c *receiptsSearchCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Since > 0 {
		if !c.From.IsZero() {
			return vaultmesh.Errorf(vaultmesh.Invalid, "receipts", "", "--since and --from say the same").WithFix("give one of them")
		}
		c.From = time.Now().Add(-c.Since)
	}
	quiet := c.Twin == "" && c.Command == "" && c.Actor == "" && c.Scroll == "" && len(c.Kind) == 0
	if quiet { // telemetry is most of the log
		c.Kind = slices.DeleteFunc(receipt.Kinds(), func(k string) bool { return k == receipt.TelemetryBatch })
	}
	page := httpapi.SearchPage{Next: c.Cursor}
	for first := true; first || page.Next != "" && len(page.Receipts) < c.Limit; first = false {
		part, err := client.Search(a.ctx, c.Command, c.Scroll, lawchain.Search{Twin: c.Twin, Actor: c.Actor, Kinds: c.Kind, From: c.From, To: c.To,
			Limit: min(c.Limit-len(page.Receipts), lawchain.MaxFound), Cursor: page.Next})
		if err != nil {
			return err
		}
		page.Receipts, page.Next, page.Unindexed = append(page.Receipts, part.Receipts...), part.Next, part.Unindexed
	}
	if c.JSON {
		return c.show(a, page, nil)
	}
	opened := make([]receipt.Receipt, len(page.Receipts))
	for i := range page.Receipts {
		if opened[i], err = receipt.Open(page.Receipts[i].Envelope); err != nil {
			return err
		}
	}
	return c.show(a, page, func(w io.Writer) {
		printReceipts(w, page, opened)
		if quiet {
			fmt.Fprintf(w, "telemetry is left out: --kind %s shows it\n", receipt.TelemetryBatch)
		}
	})
}

func printReceipts(w io.Writer, page httpapi.SearchPage, opened []receipt.Receipt) {
	fmt.Fprintln(w, "receipt\ttime\tkind\tactor\tabout\toutcome")
	day := ""
	for i, r := range opened {
		at := r.Time.Local()
		text := at.Format("15:04:05.000")
		if d := at.Format("2006-01-02"); d != day {
			day, text = d, at.Format("2006-01-02 15:04:05.000")
		}
		fmt.Fprintf(w, "%d\t%23s\t%s\t%s\t%s\t%s\n", page.Receipts[i].Index, text, r.Kind, r.Actor, about(&r), clip(outcomeOf(&r), 60))
	}
	switch {
	case len(opened) == 0:
		fmt.Fprintln(w, "none found")
	case page.Next != "":
		fmt.Fprintf(w, "… more with --cursor %s\n", page.Next)
	}
	if page.Unindexed > 0 {
		fmt.Fprintf(w, "… %d older receipts are still being indexed and are not found yet\n", page.Unindexed)
	}
}

// about is the subject, and of a command also the twin.
func about(r *receipt.Receipt) string {
	twin := receipt.TwinOf(&r.Draft)
	if id, ok := strings.CutPrefix(r.Subject, receipt.CommandSubject("")); ok && twin != "" {
		return string(twin) + " (" + id + ")"
	}
	return r.Subject
}

// outcomeOf is the outcome without the state that the kind says already.
func outcomeOf(r *receipt.Receipt) string {
	if state, ok := receipt.CommandState(r.Kind); ok {
		return strings.TrimPrefix(strings.TrimPrefix(r.Outcome, state), ": ")
	}
	return r.Outcome
}

type receiptsScrollsCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists the scrolls. It asks no node.
func (c *receiptsScrollsCmd) Run(a *app) error {
	q := asking{JSON: c.JSON}
	type scroll struct {
		Name  string   `json:"name"`
		About string   `json:"about"`
		Kinds []string `json:"kinds"`
	}
	var list []scroll
	for _, s := range receipt.Scrolls() {
		list = append(list, scroll{s.Name, s.About, receipt.ScrollKinds(s.Name)})
	}
	return q.show(a, list, func(w io.Writer) {
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%s\n", s.Name, s.About)
			for _, k := range s.Kinds {
				fmt.Fprintf(w, "\t  %s\n", k)
			}
		}
	})
}
