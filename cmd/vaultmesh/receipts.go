package main

import (
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
func (c *receiptsSearchCmd) Run(a *app, n *asked) error {
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
		part, err := n.Search(a.ctx, c.Command, c.Scroll, lawchain.Search{Twin: c.Twin, Actor: c.Actor, Kinds: c.Kind, From: c.From, To: c.To,
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
		var err error
		if opened[i], err = receipt.Open(page.Receipts[i].Envelope); err != nil {
			return err
		}
	}
	return c.show(a, page, func(s *sheet) {
		tellReceipts(s, page, opened)
		if quiet {
			s.say(faint, "telemetry is left out: --kind %s shows it", receipt.TelemetryBatch)
		}
	})
}

func tellReceipts(s *sheet, page httpapi.SearchPage, opened []receipt.Receipt) {
	s.table("receipt", "time", "kind", "actor", "about", "outcome")
	for i, r := range opened {
		s.row(page.Receipts[i].Index, r.Time.Local().Format("2006-01-02 15:04:05.000"), r.Kind, r.Actor, about(&r), words(outcomeOf(&r)))
	}
	switch {
	case len(opened) == 0:
		s.say("", "none found: ask for a longer time or fewer conditions, and see that names are spelled as the log has them")
	case page.Next != "":
		s.say(faint, "… more with --cursor %s", page.Next)
	}
	if page.Unindexed > 0 {
		s.say(yellow, "… %d older receipts are still being indexed and are not found yet", page.Unindexed)
	}
}

// about is the subject, and of a command also the twin.
func about(r *receipt.Receipt) string {
	twin := receipt.TwinOf(&r.Draft)
	if id, ok := strings.CutPrefix(r.Subject, receipt.CommandSubject("")); ok && twin != "" {
		return string(twin) + " " + id
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
	type scroll struct {
		Name  string   `json:"name"`
		About string   `json:"about"`
		Kinds []string `json:"kinds"`
	}
	var list []scroll
	for _, s := range receipt.Scrolls() {
		list = append(list, scroll{s.Name, s.About, receipt.ScrollKinds(s.Name)})
	}
	return show(a, c.JSON, list, func(s *sheet) {
		for _, x := range list {
			s.say(bold, "%s", x.Name)
			s.say("", "%s", x.About)
			for _, k := range x.Kinds {
				s.verbatim(k)
			}
			s.space()
		}
	})
}
