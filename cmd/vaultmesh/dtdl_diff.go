package main

import (
	"fmt"
	"strings"

	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/dtdl/diff"
)

type dtdlDiffCmd struct {
	dialect
	Old  string `arg:"" help:"File or folder of the models as they were; - for standard input."`
	New  string `arg:"" help:"File or folder of the models as they are to be."`
	JSON bool   `help:"Print one JSON object."`
}

// Run compares two sets: status 0 compatible, 1 breaking for somebody, 2 unusable.
func (c *dtdlDiffCmd) Run(a *app) error {
	var sets [2]*dtdl.Set
	for i, path := range []string{c.Old, c.New} {
		set, docs, err := c.set([]string{path})
		if err != nil {
			return refuse(a, [2]string{"old", "new"}[i], docs, err, c.JSON)
		}
		sets[i] = set
	}
	r := diff.Compare(sets[0], sets[1])
	if c.JSON {
		if err := writeJSON(a.out, r); err != nil {
			return err
		}
	} else {
		newScreen(a.out).changes(r)
	}
	if r.Breaking {
		return status(exitNo)
	}
	return nil
}

// changes writes a report, interface by interface; what breaks somebody has a mark.
func (s screen) changes(r *diff.Report) {
	last := ""
	breaking := 0
	for i := range r.Changes {
		c := &r.Changes[i]
		if c.Interface != last {
			if last != "" {
				s.line()
			}
			s.line(s.paint(bold, clean(c.Interface)))
			last = c.Interface
		}
		mark, colour := "  ", green
		if c.Breaking() {
			mark, colour = "! ", red
			breaking++
		}
		if c.Kind == diff.Noted {
			colour = faint
		}
		where := clean(strings.TrimSpace(c.Element + " " + c.Path))
		if where != "" {
			where += ": "
		}
		label := fmt.Sprintf("%s%-9s ", mark, c.Kind)
		s.wrap(label, colour, where+c.What+betweenBrackets(c))
		s.wrap(strings.Repeat(" ", len(label)), faint, c.Why)
	}
	if len(r.Changes) > 0 {
		s.line()
	}
	for _, x := range r.Advice {
		s.wrap("version  ", yellow, fmt.Sprintf("%s should be %s: %s", x.Interface, x.Want, x.Why))
	}
	total := len(r.Changes) + r.Omitted
	switch {
	case total == 0:
		s.line(s.paint(green, "compatible: nothing differs"))
	case !r.Breaking:
		s.line(s.paint(green, fmt.Sprintf("compatible: %s, none of which breaks anybody", counted(total, "change"))))
	default:
		who := "readers and writers"
		if !r.BreaksWriters {
			who = "readers"
		} else if !r.BreaksReaders {
			who = "writers"
		}
		s.line(s.paint(red, fmt.Sprintf("breaking for %s: %d of %s", who, breaking, counted(total, "change"))))
	}
	if r.Omitted > 0 {
		s.line(fmt.Sprintf("%d changes are not shown", r.Omitted))
	}
}

// betweenBrackets writes what was and what is, where that is short and not said already.
func betweenBrackets(c *diff.Change) string {
	const short = 60
	if c.Path == "" && c.Kind != diff.Changed || c.Old == "" && c.New == "" || len(c.Old) > short || len(c.New) > short || c.Old != "" && strings.Contains(c.What, c.Old) || c.New != "" && strings.Contains(c.What, c.New) {
		return ""
	}
	switch {
	case c.Old == "":
		return " (" + c.New + ")"
	case c.New == "":
		return " (was " + c.Old + ")"
	}
	return " (" + c.Old + " → " + c.New + ")"
}
