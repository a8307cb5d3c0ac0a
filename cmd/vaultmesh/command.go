package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/whatif"
)

type commanded struct {
	Twin    vaultmesh.TwinID `arg:"" help:"Twin."`
	Command string           `arg:"" help:"Command of the twin's model."`
	Args    string           `arg:"" optional:"" help:"Arguments, a JSON object." default:"{}"`
}

// arguments checks that what was typed is JSON, before it is sent anywhere.
func (c *commanded) arguments() (json.RawMessage, error) {
	if !json.Valid([]byte(c.Args)) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "command", c.Args, "the arguments are not JSON").WithFix(`write an object, for example '{"megawatts": 440}'`)
	}
	return json.RawMessage(c.Args), nil
}

type simulateCmd struct {
	asking
	commanded
	N1 bool `name:"n1" help:"Also check the loss of every single branch afterwards."`
}

// Run asks what a command would do. Status 0 safe, 1 not.
func (c *simulateCmd) Run(a *app, n *asked) error {
	args, err := c.arguments()
	if err != nil {
		return err
	}
	v, err := n.Simulate(a.ctx, control.Proposal{Twin: c.Twin, Command: c.Command, Args: args}, c.N1)
	if err != nil {
		return err
	}
	if err := c.show(a, v, func(s *sheet) { tellVerdict(s, v) }); err != nil {
		return err
	}
	if v.Outcome != whatif.Safe {
		return status(exitNo)
	}
	return nil
}

type proposeCmd struct {
	asking
	commanded
	Key    string        `help:"Idempotency key; default: a fresh one. Give the same key to retry."`
	Reason string        `help:"Why; it is recorded, so that it can be erased."`
	Public bool          `help:"Record the reason in the clear: part of the evidence for ever."`
	Wait   time.Duration `help:"Wait this long for the command to end or to need a person." default:"10s"`
}

// Run proposes a command and waits for it to settle. Status 0 unless it was denied, refused or diverged.
func (c *proposeCmd) Run(a *app, n *asked) error {
	args, err := c.arguments()
	if err != nil {
		return err
	}
	p := control.Proposal{Twin: c.Twin, Command: c.Command, Args: args, IdempotencyKey: keyOr(c.Key), Reason: c.Reason}
	if !c.Public {
		if p, err = p.Withheld(rand.Reader); err != nil {
			return err
		}
	}
	return c.conclude(a, n, c.Wait)(n.Propose(a.ctx, p))
}

// keyOr is an idempotency key: the one that was given, or a fresh one.
func keyOr(given string) string {
	if given == "" {
		return "cli-" + strings.ToLower(rand.Text())
	}
	return given
}

// settle polls a command until nothing more happens by itself.
func settle(a *app, n *asked, cmd control.Command, wait time.Duration) (control.Command, error) {
	deadline := time.Now().Add(wait)
	for !control.Ended(cmd.State) && cmd.State != control.AwaitingApproval && time.Now().Before(deadline) {
		select {
		case <-a.ctx.Done():
			return cmd, a.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		var err error
		if cmd, err = n.Command(a.ctx, cmd.ID); err != nil {
			return cmd, err
		}
	}
	return cmd, nil
}

// conclude returns what waits for a command to settle, prints it, and turns a bad end into status 1.
func (q *asking) conclude(a *app, n *asked, wait time.Duration) func(control.Command, error) error {
	return func(cmd control.Command, err error) error {
		if err == nil {
			cmd, err = settle(a, n, cmd, wait)
		}
		if err != nil {
			return err
		}
		if err := q.tell(a, cmd); err != nil {
			return err
		}
		switch cmd.State {
		case control.Denied, control.Refused, control.Diverged, control.TimedOut, control.Halted, control.Expired:
			return status(exitNo)
		}
		return nil
	}
}

// tell prints a command.
func (q *asking) tell(a *app, cmd control.Command) error {
	return q.show(a, cmd, func(s *sheet) { tellCommand(a, s, cmd) })
}

type commandsCmd struct {
	asking
	State control.State    `help:"Only in this state."`
	Twin  vaultmesh.TwinID `help:"Only on this twin."`
	Limit int              `help:"At most this many." default:"20"`
	IDs   bool             `name:"ids" help:"Print the identifiers alone, for scripts."`
}

// Run lists commands, newest first.
func (c *commandsCmd) Run(a *app, n *asked) error {
	list, err := n.List(a.ctx, control.Filter{State: c.State, Twin: c.Twin, Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, list, func(s *sheet) {
		if c.IDs {
			for _, x := range list {
				s.line(string(x.ID))
			}
			return
		}
		s.table("command", "age", "by", "twin", "what", "state", "reason")
		for _, x := range list {
			s.row(x.ID, age(x.Proposed), x.Principal, x.Twin, x.Name+" "+string(x.Args), x.State, x.Reason)
		}
		if len(list) == 0 {
			s.say("", "none found")
		}
	})
}

// one is a command by its identifier.
type one struct {
	asking
	ID vaultmesh.CommandID `arg:"" help:"Command."`
}

type commandCmd struct{ one }

// Run shows one command.
func (c *commandCmd) Run(a *app, n *asked) error {
	cmd, err := n.Command(a.ctx, c.ID)
	if err != nil {
		return err
	}
	return c.tell(a, cmd)
}

type approveCmd struct {
	one
	Wait time.Duration `help:"Wait this long for the command to end." default:"10s"`
}

// Run shows what is about to be signed, signs it with the credential's key, and sends the approval.
func (c *approveCmd) Run(a *app, n *asked) error {
	ch, err := n.Challenge(a.ctx, c.ID)
	if err != nil {
		return err
	}
	if !c.JSON {
		s := newSheet(a.out)
		s.say("", "You sign that %s may run %s %s on %s (policy %s, simulation %s, until %s).", ch.Principal, ch.Name, ch.Args, ch.Twin,
			short(ch.Policy), short(ch.Simulation), ch.Expires.Local().Format("15:04:05"))
		s.space()
		if err := s.flush(); err != nil {
			return err
		}
	}
	key := n.cred.PrivateKey()
	approval := control.Approval{Approver: n.cred.Principal, Key: receipt.KeyID(key.Public().(ed25519.PublicKey)), Signature: receipt.SignApproval(key, ch)}
	return c.conclude(a, n, c.Wait)(n.Approve(a.ctx, c.ID, approval))
}

type reasoned struct {
	one
	Reason string `arg:"" help:"Why; it is recorded."`
}

type rejectCmd struct{ reasoned }

// Run rejects a command that waits for approval.
func (c *rejectCmd) Run(a *app, n *asked) error {
	cmd, err := n.Reject(a.ctx, c.ID, c.Reason)
	if err != nil {
		return err
	}
	return c.tell(a, cmd)
}

type cancelCmd struct{ reasoned }

// Run withdraws a command.
func (c *cancelCmd) Run(a *app, n *asked) error {
	cmd, err := n.Cancel(a.ctx, c.ID, c.Reason)
	if err != nil {
		return err
	}
	return c.tell(a, cmd)
}

// turning is a turn of the stop switch.
type turning struct {
	asking
	Reason string `arg:"" help:"Why; it is recorded."`
}

type haltCmd struct{ turning }

// Run sets the stop switch.
func (c *haltCmd) Run(a *app, n *asked) error {
	h, err := n.Halt(a.ctx, c.Reason)
	if err != nil {
		return err
	}
	return c.show(a, h, func(s *sheet) { s.say(red, "HALTED by %s: %s", h.By, h.Reason) })
}

type resumeCmd struct{ turning }

// Run clears the stop switch.
func (c *resumeCmd) Run(a *app, n *asked) error {
	h, err := n.Resume(a.ctx, c.Reason)
	if err != nil {
		return err
	}
	return c.show(a, h, func(s *sheet) { s.say(green, "RUNNING by %s: %s", h.By, h.Reason) })
}
