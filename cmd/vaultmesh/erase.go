package main

import "vaultmesh.org/vaultmesh"

type eraseCmd struct {
	asking
	Principal vaultmesh.Principal `arg:"" help:"Whose texts: operator:ada."`
	Reason    string              `arg:"" help:"Why; it is recorded in the clear, so say nothing personal."`
}

// Run erases the private texts of a principal. It cannot be undone.
func (c *eraseCmd) Run(a *app, n *asked) error {
	e, err := n.Erase(a.ctx, c.Principal, c.Reason)
	if err != nil {
		return err
	}
	return c.show(a, e, func(s *sheet) {
		s.say("", "erased: the key of %s is destroyed, by receipt %d", e.Principal, e.Receipt.Index)
		s.say(yellow, "Copies of the data folder that were made before still hold the key: destroy them too.")
	})
}
