package main

import (
	"fmt"
	"os"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/cmd/internal/audit"
	"vaultmesh.org/vaultmesh/receipt"
)

type bundleCmd struct {
	Get     bundleGetCmd     `cmd:"" default:"withargs" help:"Fetch evidence into a file: of commands, of other subjects, of a receipt or a range of the log."`
	Extract bundleExtractCmd `cmd:"" help:"Take a bundle apart into files for tools that VaultMesh did not write; README.txt there says how. Verifies nothing."`
}

type bundleGetCmd struct {
	asking
	IDs      []vaultmesh.CommandID `arg:"" optional:"" name:"command" help:"Commands."`
	Out      string                `help:"File." required:"" type:"path"`
	Subject  []string              `help:"A subject's whole history (repeat): twin/…, capability/…, operator/…, halt/…, see the glossary."`
	Receipt  *uint64               `help:"One receipt, by its log index."`
	First    *uint64               `help:"First receipt of a range, by its log index." and:"range"`
	Last     *uint64               `help:"Last receipt of the range." and:"range"`
	From     time.Time             `help:"Receipts from this time on (RFC 3339)."`
	Until    time.Time             `help:"Receipts before this time."`
	Disclose bool                  `help:"Also hold the reasons that people gave, as far as they were not erased."`
	Head     uint64                `help:"Size of the log that the auditor knows: the bundle proves that it extends that log."`
}

// Run fetches evidence.
func (c *bundleGetCmd) Run(a *app, n *asked) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	b, err := n.BundleOf(a.ctx, q)
	if err != nil {
		return err
	}
	if err := writeFile("bundle", c.Out, b); err != nil {
		return err
	}
	return c.show(a, map[string]any{"bundle": c.Out, "bytes": len(b)}, func(s *sheet) {
		s.say("", "%s: %d bytes. Verify it with:", c.Out, len(b))
		s.verbatim(a.hint("verify " + quoted(nearer(c.Out)) + " --trust FILE"))
	})
}

func (c *bundleGetCmd) query() (httpapi.BundleQuery, error) {
	q := httpapi.BundleQuery{Scope: receipt.Scope{Commands: c.IDs, Subjects: c.Subject}, Head: c.Head, Disclose: c.Disclose}
	var ranges []receipt.Range
	if c.Receipt != nil {
		ranges = append(ranges, receipt.Range{First: vaultmesh.LogIndex(*c.Receipt), Last: vaultmesh.LogIndex(*c.Receipt)})
	}
	if c.First != nil {
		ranges = append(ranges, receipt.Range{First: vaultmesh.LogIndex(*c.First), Last: vaultmesh.LogIndex(*c.Last)})
	}
	if !c.From.IsZero() || !c.Until.IsZero() {
		ranges = append(ranges, receipt.Range{From: c.From, Until: c.Until})
	}
	if len(ranges) > 1 || len(ranges)+len(c.IDs)+len(c.Subject) == 0 {
		return q, vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "", "want commands, subjects, or one range").
			WithFix("name commands, or give --subject, --receipt, --first with --last, or --from with --until")
	}
	q.Ranges = ranges
	return q, nil
}

type bundleExtractCmd struct {
	Bundle string `arg:"" help:"Bundle file; - reads standard input." type:"path"`
	Dir    string `arg:"" help:"New folder." type:"path"`
	Trust  string `help:"Trust file, for the keys that foreign tools need." type:"path"`
}

// Run takes a bundle apart.
func (c *bundleExtractCmd) Run(a *app) error {
	var trust *receipt.Trust
	if c.Trust != "" {
		var err error
		if trust, err = audit.ReadTrust(c.Trust); err != nil {
			return err
		}
	}
	data, err := audit.ReadBundle(a.ctx, c.Bundle, os.Stdin)
	if err != nil {
		return err
	}
	b, err := receipt.DecodeBundle(data)
	if err != nil {
		return err
	}
	if err := audit.Extract(b, trust, c.Dir); err != nil {
		explain(a.errOut, err)
		return status(exitUnusable)
	}
	if trust == nil {
		fmt.Fprintln(a.errOut, "vaultmesh: warning:", audit.NoKeys)
	}
	_, err = fmt.Fprintf(a.out, "%d parts in %s; README.txt there has the commands for other tools\n", len(b.Parts), c.Dir)
	return err
}
