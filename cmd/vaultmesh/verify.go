package main

import (
	"os"

	"vaultmesh.org/vaultmesh/cmd/internal/audit"
)

type verifyCmd struct {
	Bundle  string `arg:"" help:"Bundle file; - reads standard input." type:"path"`
	Trust   string `help:"Trust file: the keys that you pin." required:"" type:"path"`
	JSON    bool   `help:"Print one JSON object."`
	All     bool   `help:"Print every check and every command, not only families of checks."`
	Extract string `help:"Also write the parts to this folder, for other tools." type:"path"`

	Complete   bool     `help:"Ask that nothing of what the bundle is about was left out. Needs a head of the log that you know, or a witness policy in the trust file."`
	Subject    []string `help:"Ask that this subject is shown completely (repeat; command/…, twin/…, capability/…)."`
	ExpectSize uint64   `help:"Size of the log as you know it, by another way than the bundle."`
	ExpectRoot string   `help:"Root of the log at that size: sha256:…"`
	Head       string   `help:"File with a signed checkpoint that you know, instead of size and root." type:"path"`
	Require    []string `help:"Kinds of proof of time that must cover every receipt: rfc3161, bitcoin, ethereum, witness; or possession: the signature of each command's holder."`
	NoClock    bool     `help:"Do not refuse what claims to be later than this machine's clock."`
}

// Run judges a bundle: status 0 accepted, 1 rejected, 2 the files cannot be used.
func (c *verifyCmd) Run(a *app) error {
	code, err := audit.Audit{Bundle: c.Bundle, Trust: c.Trust, JSON: c.JSON, All: c.All, Extract: c.Extract, Complete: c.Complete, Subjects: c.Subject,
		Size: c.ExpectSize, Root: c.ExpectRoot, Head: c.Head, Require: c.Require, NoClock: c.NoClock, Stdin: os.Stdin, Out: a.out, Width: newScreen(a.out).columns()}.Run(a.ctx)
	if err != nil {
		explain(a.errOut, err)
	}
	if code != 0 {
		return status(code)
	}
	return nil
}
