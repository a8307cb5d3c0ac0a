package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// asking are the flags of every command that asks a node.
type asking struct {
	As   string `help:"Credential file; default: the dev node's operator." type:"path" env:"VAULTMESH_AS"`
	JSON bool   `help:"Print JSON."`
}

func (q *asking) credential() (*node.Credential, error) {
	path := q.As
	if path == "" {
		dir, err := node.DefaultDevData()
		if err != nil {
			return nil, err
		}
		path = node.CredentialPath(filepath.Join(dir, "data"), node.DevOperator)
		if _, err := os.Stat(path); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "credential", "", "no credential was named, and no dev node keeps one").
				WithFix("start one with `vaultmesh run`, or name a file with --as or VAULTMESH_AS")
		}
	}
	c, err := node.LoadCredential(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "credential", path, "there is no such file").WithFix("start a dev node with `vaultmesh run` and wait until it says that it is ready, or name another file with --as")
	}
	return c, err
}

func (q *asking) client() (*httpapi.Client, *node.Credential, error) {
	c, err := q.credential()
	if err != nil {
		return nil, nil, err
	}
	client, err := c.Client()
	return client, c, err
}

// show prints v as JSON, or lets text print it for people.
func (q *asking) show(a *app, v any, text func(w io.Writer)) error {
	if q.JSON {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, string(b))
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	text(w)
	return w.Flush()
}

type statusCmd struct{ asking }

// Run shows whether the node can commit, the stop switch, and what waits for a person. Status 0 if ready and not halted.
func (c *statusCmd) Run(a *app) error {
	client, cred, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	notReady := client.Ready(a.ctx)
	halt, err := client.HaltState(a.ctx)
	if err != nil {
		return err
	}
	waiting, err := client.List(a.ctx, control.Filter{State: control.AwaitingApproval, Limit: 1000})
	if err != nil {
		return err
	}
	witnesses, noWitnesses := client.Witnesses(a.ctx) // not every node asks witnesses, nor may every credential read that
	// Not every credential may read the whole domain's anchors, and not every node has any.
	anchors, err := client.Anchors(a.ctx, anchor.Filter{Limit: 1})
	if kind := vaultmesh.KindOf(err); err != nil && kind != vaultmesh.Denied && kind != vaultmesh.NotFound {
		return err
	}
	err = c.show(a, map[string]any{"ready": notReady == nil, "halt": halt, "awaiting_approval": waiting, "anchors": anchors.Targets, "witnesses": witnesses}, func(w io.Writer) {
		fmt.Fprintf(w, "node\t%s\tas %s\n", cred.URL, cred.Principal)
		if notReady == nil {
			fmt.Fprintln(w, "ready\tyes, it can commit")
		} else {
			fmt.Fprintf(w, "ready\tno: %v\n", notReady)
		}
		if halt.Halted {
			fmt.Fprintf(w, "halted\tby %s since %s: %s\tvaultmesh resume REASON\n", halt.By, halt.Since.Local().Format("15:04:05"), halt.Reason)
		} else {
			fmt.Fprintln(w, "halted\tno")
		}
		switch {
		case noWitnesses != nil:
		case witnesses.Conflict != "":
			fmt.Fprintf(w, "ALARM\ta witness holds another tree of this log (%s)\tvaultmesh witness status\n", witnesses.Conflict)
		case witnesses.Alarm:
			fmt.Fprintln(w, "ALARM\tno quorum of witnesses for too long\tvaultmesh witness status")
		default:
			fmt.Fprintf(w, "witnessed\t%d receipts\n", witnesses.Size)
		}
		fmt.Fprintf(w, "waiting\t%s for a person\n", map[bool]string{true: "1 command waits", false: fmt.Sprintf("%d commands wait", len(waiting))}[len(waiting) == 1])
		for _, x := range waiting {
			fmt.Fprintf(w, "\t%s %s %s by %s\tvaultmesh approve %s\n", x.Twin, x.Name, x.Args, x.Principal, x.ID)
		}
		for _, t := range anchors.Targets {
			fmt.Fprintf(w, "anchored\t%s: %.1f %% of the log\t%s\n", t.Target, 100*t.Share, t.Warning)
		}
	})
	if err == nil && (notReady != nil || halt.Halted) {
		err = status(exitNo)
	}
	return err
}

type twinsCmd struct {
	asking
	Prefix string             `help:"Only identifiers that begin so."`
	Model  string             `help:"Only twins of this model or one that extends it."`
	Device vaultmesh.DeviceID `help:"Only twins of this device."`
	Limit  int                `help:"At most this many." default:"1000"`
}

// Run lists twins.
func (c *twinsCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	page, err := client.Twins(a.ctx, httpapi.TwinQuery{Prefix: c.Prefix, Model: c.Model, Device: c.Device, Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, page, func(w io.Writer) {
		fmt.Fprintln(w, "twin\tmodel\tdevice\tage\tvalues")
		for _, t := range page.Twins {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, shortModel(t.Model), t.Device, age(t.Seen), clip(values(t), 100))
		}
		if page.Next != "" {
			fmt.Fprintf(w, "… more after %s\n", page.Next)
		}
	})
}

type twinCmd struct {
	asking
	ID vaultmesh.TwinID `arg:"" help:"Twin."`
}

// Run shows one twin.
func (c *twinCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	t, err := client.Twin(a.ctx, c.ID)
	if err != nil {
		return err
	}
	describe, err := node.CommandDocs()
	if err != nil {
		return err
	}
	docs, err := describe(a.ctx, t.Model)
	if err != nil {
		return err
	}
	return c.show(a, t, func(w io.Writer) {
		fmt.Fprintf(w, "%s\t%s\tdevice %s\tversion %d\tseen %s ago\n\n", t.ID, t.Model, t.Device, t.Version, age(t.Seen))
		fmt.Fprintln(w, "name\tvalue\tdesired\tquality\tage\tkind")
		row := func(kind string, m map[string]twin.Value) {
			names := make([]string, 0, len(m))
			for n := range m {
				names = append(names, n)
			}
			sort.Strings(names)
			for _, n := range names {
				q, _ := m[n].Q.MarshalText()
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n, m[n].V, t.Desired[n], q, age(m[n].T), kind)
			}
		}
		row("reported", t.Reported)
		row("telemetry", t.Telemetry)
		names := make([]string, 0, len(t.Nameplate))
		for n := range t.Nameplate {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			fmt.Fprintf(w, "%s\t%s\t\t\t\tnameplate\n", n, t.Nameplate[n])
		}
		for _, d := range docs {
			fmt.Fprintf(w, "%s\t%s\t\t\t\tcommand\n", d.Name, d.Arguments)
		}
		for _, r := range t.Relationships {
			fmt.Fprintf(w, "%s\t→ %s\t\t\t\trelationship\n", r.Name, r.Target)
		}
	})
}

type historyCmd struct {
	asking
	Twin  vaultmesh.TwinID `arg:"" help:"Twin."`
	Name  string           `arg:"" help:"Property or telemetry."`
	Since time.Duration    `help:"How far back." default:"10m"`
	Limit int              `help:"At most this many points." default:"50"`
}

// Run shows one value over time.
func (c *historyCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	h, err := client.History(a.ctx, c.Twin, httpapi.HistoryQuery{Name: c.Name, From: time.Now().Add(-c.Since), To: time.Now().Add(time.Minute), Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, h, func(w io.Writer) {
		fmt.Fprintln(w, "time\tvalue\tquality")
		for _, p := range h.Points {
			q, _ := p.Q.MarshalText()
			fmt.Fprintf(w, "%s\t%s\t%s\n", p.T.Local().Format("15:04:05.000"), p.V, q)
		}
		if h.More {
			fmt.Fprintln(w, "… more")
		}
	})
}

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
func (c *simulateCmd) Run(a *app) error {
	args, err := c.arguments()
	if err != nil {
		return err
	}
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	v, err := client.Simulate(a.ctx, control.Proposal{Twin: c.Twin, Command: c.Command, Args: args}, c.N1)
	if err != nil {
		return err
	}
	if err := c.show(a, v, func(w io.Writer) { printVerdict(w, v) }); err != nil {
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
func (c *proposeCmd) Run(a *app) error {
	args, err := c.arguments()
	if err != nil {
		return err
	}
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Key == "" {
		c.Key = "cli-" + strings.ToLower(rand.Text())
	}
	p := control.Proposal{Twin: c.Twin, Command: c.Command, Args: args, IdempotencyKey: c.Key, Reason: c.Reason}
	if !c.Public {
		if p, err = withheld(p); err != nil {
			return err
		}
	}
	cmd, err := client.Propose(a.ctx, p)
	if err != nil {
		return err
	}
	if cmd, err = settle(a, client, cmd, c.Wait); err != nil {
		return err
	}
	return c.conclude(a, cmd)
}

// settle polls a command until nothing more happens by itself.
func settle(a *app, client *httpapi.Client, cmd control.Command, wait time.Duration) (control.Command, error) {
	deadline := time.Now().Add(wait)
	for !control.Ended(cmd.State) && cmd.State != control.AwaitingApproval && time.Now().Before(deadline) {
		select {
		case <-a.ctx.Done():
			return cmd, a.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		var err error
		if cmd, err = client.Command(a.ctx, cmd.ID); err != nil {
			return cmd, err
		}
	}
	return cmd, nil
}

// conclude prints a command and turns a bad end into status 1.
func (q *asking) conclude(a *app, cmd control.Command) error {
	if err := q.show(a, cmd, func(w io.Writer) { printCommand(w, cmd) }); err != nil {
		return err
	}
	switch cmd.State {
	case control.Denied, control.Refused, control.Diverged, control.TimedOut, control.Halted, control.Expired:
		return status(exitNo)
	}
	return nil
}

type commandsCmd struct {
	asking
	State control.State    `help:"Only in this state."`
	Twin  vaultmesh.TwinID `help:"Only on this twin."`
	Limit int              `help:"At most this many." default:"20"`
	IDs   bool             `name:"ids" help:"Print the identifiers alone, for scripts."`
}

// Run lists commands, newest first.
func (c *commandsCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	list, err := client.List(a.ctx, control.Filter{State: c.State, Twin: c.Twin, Limit: c.Limit})
	if err != nil {
		return err
	}
	if c.IDs {
		for _, x := range list {
			fmt.Fprintln(a.out, x.ID)
		}
		return nil
	}
	return c.show(a, list, func(w io.Writer) {
		fmt.Fprintln(w, "command\tage\tby\ttwin\tcommand\tstate\treason")
		for _, x := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s %s\t%s\t%s\n", x.ID, age(x.Proposed), x.Principal, x.Twin, x.Name, x.Args, x.State, clip(x.Reason, 60))
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
func (c *commandCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	cmd, err := client.Command(a.ctx, c.ID)
	if err != nil {
		return err
	}
	return c.show(a, cmd, func(w io.Writer) { printCommand(w, cmd) })
}

type approveCmd struct {
	one
	Wait time.Duration `help:"Wait this long for the command to end." default:"10s"`
}

// Run shows what is about to be signed, signs it with the credential's key, and sends the approval.
func (c *approveCmd) Run(a *app) error {
	client, cred, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ch, err := client.Challenge(a.ctx, c.ID)
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(a.out, "You sign that %s may run %s %s on %s (policy %s, simulation %s, until %s).\n", ch.Principal, ch.Name, ch.Args, ch.Twin,
			short(ch.Policy), short(ch.Simulation), ch.Expires.Local().Format("15:04:05"))
	}
	key := cred.PrivateKey()
	approval := control.Approval{Approver: cred.Principal, Key: receipt.KeyID(key.Public().(ed25519.PublicKey)), Signature: receipt.SignApproval(key, ch)}
	cmd, err := client.Approve(a.ctx, c.ID, approval)
	if err != nil {
		return err
	}
	if cmd, err = settle(a, client, cmd, c.Wait); err != nil {
		return err
	}
	return c.conclude(a, cmd)
}

type reasoned struct {
	one
	Reason string `arg:"" help:"Why; it is recorded."`
}

type rejectCmd struct{ reasoned }

// Run rejects a command that waits for approval.
func (c *rejectCmd) Run(a *app) error {
	return c.end(a, func(client *httpapi.Client) (control.Command, error) { return client.Reject(a.ctx, c.ID, c.Reason) })
}

type cancelCmd struct{ reasoned }

// Run withdraws a command.
func (c *cancelCmd) Run(a *app) error {
	return c.end(a, func(client *httpapi.Client) (control.Command, error) { return client.Cancel(a.ctx, c.ID, c.Reason) })
}

func (c *reasoned) end(a *app, do func(*httpapi.Client) (control.Command, error)) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	cmd, err := do(client)
	if err != nil {
		return err
	}
	return c.show(a, cmd, func(w io.Writer) { printCommand(w, cmd) })
}

type haltCmd struct {
	asking
	Reason string `arg:"" help:"Why; it is recorded."`
}

// Run sets the stop switch.
func (c *haltCmd) Run(a *app) error {
	return c.turn(a, func(client *httpapi.Client) (control.HaltState, error) { return client.Halt(a.ctx, c.Reason) })
}

type resumeCmd struct{ haltCmd }

// Run clears the stop switch.
func (c *resumeCmd) Run(a *app) error {
	return c.turn(a, func(client *httpapi.Client) (control.HaltState, error) { return client.Resume(a.ctx, c.Reason) })
}

func (c *haltCmd) turn(a *app, do func(*httpapi.Client) (control.HaltState, error)) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	h, err := do(client)
	if err != nil {
		return err
	}
	return c.show(a, h, func(w io.Writer) {
		word := "RUNNING"
		if h.Halted {
			word = "HALTED"
		}
		fmt.Fprintf(w, "%s by %s: %s\n", word, h.By, h.Reason)
	})
}

type devicesCmd struct {
	asking
	Device vaultmesh.DeviceID `arg:"" optional:"" help:"Show why messages of this device were refused."`
}

// Run lists the devices, or the refusals of one.
func (c *devicesCmd) Run(a *app) error {
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Device != "" {
		list, err := client.Refusals(a.ctx, c.Device, 0)
		if err != nil {
			return err
		}
		return c.show(a, list, func(w io.Writer) {
			fmt.Fprintln(w, "time\ttopic\tcode\treason")
			for _, r := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Time.Local().Format("15:04:05.000"), r.Topic, r.Code, r.Reason)
			}
		})
	}
	list, err := client.Devices(a.ctx)
	if err != nil {
		return err
	}
	return c.show(a, list, func(w io.Writer) {
		fmt.Fprintln(w, "device\tonline\tlast seen\trefused")
		for _, d := range list {
			fmt.Fprintf(w, "%s\t%v\t%s\t%d\n", d.ID, d.Online, age(d.Since), d.Refused)
		}
	})
}

type revokeCmd struct {
	asking
	Block  string `arg:"" help:"Digest of the block: see vaultmesh capability show."`
	Reason string `arg:"" help:"Why; it is recorded."`
}

// Run revokes a block and all that descends from it.
func (c *revokeCmd) Run(a *app) error {
	var d vaultmesh.Digest
	if err := d.UnmarshalText([]byte(c.Block)); err != nil {
		return err
	}
	client, _, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	r, err := client.Revoke(a.ctx, d, c.Reason)
	if err != nil {
		return err
	}
	return c.show(a, r, func(w io.Writer) { fmt.Fprintf(w, "revoked by receipt %d\n", r.Receipt.Index) })
}
