package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/cmd/internal/audit"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

type stateCmd struct {
	Prove  stateProveCmd  `cmd:"" help:"Fetch a file that proves what the state held of a twin, or the head of a subject's receipts."`
	Verify stateVerifyCmd `cmd:"" help:"Verify such a file offline, and say what it proves."`
}

type stateProveCmd struct {
	asking
	Twin     string `arg:"" help:"Twin, which may be one that does not exist; or subject/…, such as subject/capability/<digest>."`
	Property string `arg:"" optional:"" help:"Property or telemetry of the twin; it is shown, and proved with the whole twin."`
	At       uint64 `help:"By the newest root whose receipt is below this size of the log; default: the newest root." placeholder:"SIZE"`
	Out      string `short:"o" help:"File to write." required:"" type:"path"`
}

// key returns the key of the state tree that was named.
func (c *stateProveCmd) key() (string, error) {
	key := c.Twin
	if !strings.Contains(key, "/") {
		key = state.TwinKey(vaultmesh.TwinID(key))
	}
	if c.Property != "" && !strings.HasPrefix(key, state.TwinKey("")) {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "state", c.Twin, "only twins have properties")
	}
	return key, state.CheckKey(key)
}

// Run fetches the proof and writes it.
func (c *stateProveCmd) Run(a *app, n *asked) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	file, err := n.BundleOf(a.ctx, httpapi.BundleQuery{State: []string{key}, StateAt: c.At})
	if err != nil {
		return err
	}
	b, err := receipt.DecodeBundle(file)
	if err != nil {
		return err
	}
	if err := c.within(b); err != nil {
		return err
	}
	proved, err := stateIn(b, key)
	if err != nil {
		return err
	}
	if err := writeFile("state", c.Out, file); err != nil {
		return err
	}
	return c.show(a, proved, func(s *sheet) {
		tellState(s, proved, c.Property)
		s.space()
		if c.At > 0 {
			s.fact("why this size", "of the roots whose receipts are below size %d of the log, receipt %d has the newest", c.At, proved.Receipt)
		}
		s.fact("written to", "%s", c.Out)
		s.verbatim(a.hint("state verify " + quoted(nearer(c.Out)) + " --trust FILE"))
	})
}

// within refuses a size that the log does not have: what was asked about then has not happened.
func (c *stateProveCmd) within(b *receipt.Bundle) error {
	note, _ := b.Find("checkpoint")
	lines := strings.SplitN(string(note.Data), "\n", 3)
	if len(lines) < 3 {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "state", "checkpoint", "the node's answer has no checkpoint")
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "state", "checkpoint", "the node's answer has a checkpoint without a size").Because(err)
	}
	if c.At > size {
		return vaultmesh.Errorf(vaultmesh.NotFound, "state", "at", "the log has size %d, you ask for its state at size %d", size, c.At).WithFix("give a size that it has had, or leave --at out for the newest root")
	}
	return nil
}

// stateIn reads what a bundle claims about a key. Only [receipt.Verify] says whether it is so.
func stateIn(b *receipt.Bundle, key string) (receipt.ProvedState, error) {
	for _, p := range b.Parts {
		if p.Type != receipt.PartState {
			continue
		}
		proof, err := state.Open(p.Data)
		if err != nil {
			return receipt.ProvedState{}, err
		}
		if proof.Key != key {
			continue
		}
		claim := receipt.ProvedState{Key: key, Present: proof.Present(), Receipt: proof.Receipt, Document: proof.Document}
		return claim, rootIn(b, &claim)
	}
	return receipt.ProvedState{}, vaultmesh.Errorf(vaultmesh.Corrupt, "state", key, "the node's answer has no state proof of it")
}

func rootIn(b *receipt.Bundle, claim *receipt.ProvedState) error {
	name := receipt.ReceiptPart(claim.Receipt, nil).Name
	for _, p := range b.Parts {
		if p.Name != name {
			continue
		}
		r, err := receipt.Open(p.Data)
		if err != nil {
			return err
		}
		body, err := receipt.ReadBody[receipt.StateBody](&r)
		claim.Size, claim.Time = body.Size, r.Time
		return err
	}
	return vaultmesh.Errorf(vaultmesh.Corrupt, "state", claim.Key, "the node's answer lacks receipt %d, which commits to the root", claim.Receipt)
}

type stateVerifyCmd struct {
	File     string `arg:"" help:"File that state prove wrote." type:"path"`
	Property string `arg:"" optional:"" help:"Property or telemetry that is of interest; default: all."`
	Trust    string `help:"Trust file: the keys that you pin." required:"" type:"path"`
	JSON     bool   `help:"Print what is proved as one JSON object."`
}

// Run judges the file and says what it proves: status 0 proved, 1 rejected, 2 the files cannot be used. Offline.
func (c *stateVerifyCmd) Run(a *app) error {
	trust, err := audit.ReadTrust(c.Trust)
	if err != nil {
		return err
	}
	file, err := audit.ReadBundle(a.ctx, c.File, os.Stdin)
	if err != nil {
		return err
	}
	r := receipt.Demand{Now: time.Now()}.Verify(file, trust)
	if !r.OK || len(r.States) == 0 {
		if c.JSON {
			fmt.Fprintln(a.out, string(r.JSON()))
		} else if err := r.Tree(a.out, false, newScreen(a.out).columns()); err != nil {
			return err
		}
		if r.OK {
			return vaultmesh.Errorf(vaultmesh.Invalid, "state", c.File, "the file holds no state proof").WithFix("make one with `vaultmesh state prove`")
		}
		return status(exitNo)
	}
	return show(a, c.JSON, map[string]any{"ok": true, "domain": r.Domain, "log_size": fmt.Sprint(r.LogSize), "states": r.States}, func(s *sheet) {
		s.painted(green, "PROVED", "by the log of domain %s at size %d", r.Domain, r.LogSize)
		for _, x := range r.States {
			tellState(s, x, c.Property)
		}
		s.space()
		for _, n := range r.NotProved {
			s.painted(yellow, "not proved", "%s", n)
		}
	})
}

// tellState says what was under a key, and of a twin's properties the named one, or all.
func tellState(s *sheet, x receipt.ProvedState, property string) {
	class, name, _ := strings.Cut(x.Key, "/")
	at := fmt.Sprintf("at size %d of the log (root in receipt %d of %s)", x.Size, x.Receipt, x.Time.Format(time.RFC3339))
	switch {
	case !x.Present:
		s.fact(class, "%s did not exist %s", name, at)
	case x.Document == nil:
		s.fact(class, "%s existed %s", name, at)
	case class == "subject":
		if h, err := state.OpenSubject(x.Document); err == nil {
			s.fact(class, "%s had %s, the last at index %d, %s", name, counted(int(h.Count), "receipt"), h.Index, at)
		}
	default:
		t, err := state.OpenTwin(x.Document)
		if err != nil {
			s.fact(class, "%s existed %s, with a document of another form", name, at)
			return
		}
		s.fact(class, "%s had version %d %s", name, t.Version, at)
		tellProperties(s, &t, property)
	}
}

// tellProperties says values exactly: they are what is proved.
func tellProperties(s *sheet, t *state.Twin, property string) {
	names := []string{property}
	if property == "" {
		names = t.Names()
	}
	s.table("name", "value", "kind", "quality", "measured")
	for _, name := range names {
		held := t.Property(name)
		for _, h := range held {
			measured := ""
			if h.Value.Quality != "" {
				measured = h.Value.Time.UTC().Format("2006-01-02 15:04:05.000Z")
			}
			s.row(name, string(h.Value.JSON), h.Kind, h.Value.Quality, measured)
		}
		if held == nil {
			s.row(name, "", "the twin held no such value")
		}
	}
	s.end()
}
