package main

import (
	"crypto/rand"
	"fmt"
	"io"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

type eraseCmd struct {
	asking
	Principal vaultmesh.Principal `arg:"" help:"Whose texts: operator:ada."`
	Reason    string              `arg:"" help:"Why; it is recorded in the clear, so say nothing personal."`
}

// Run erases the private texts of a principal. It cannot be undone.
func (c *eraseCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	e, err := client.Erase(a.ctx, c.Principal, c.Reason)
	if err != nil {
		return err
	}
	return c.show(a, e, func(w io.Writer) {
		fmt.Fprintf(w, "erased: the key of %s is destroyed, by receipt %d\n", e.Principal, e.Receipt.Index)
		fmt.Fprintln(w, "Copies of the data folder that were made before still hold the key: destroy them too.")
	})
}

// withheld replaces the reason of a proposal by a commitment, so that the words can be erased later.
func withheld(p control.Proposal) (control.Proposal, error) {
	if p.Reason == "" {
		return p, nil
	}
	o := receipt.Opening{Text: p.Reason}
	if _, err := rand.Read(o.Salt[:]); err != nil {
		return p, err
	}
	p.Reason, p.Opening = receipt.PrivateRef(o.Commitment()), &o
	return p, nil
}
