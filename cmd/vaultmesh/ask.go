package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/twin"
)

// asking are the flags of every command that asks a node.
type asking struct {
	As   string `help:"Credential file; default: the dev node's operator." type:"path" env:"VAULTMESH_AS"`
	JSON bool   `help:"Print JSON."`
}

// asked is the node that a command asks, and the credential with which it does.
type asked struct {
	*httpapi.Client
	cred *node.Credential
}

// ProvideNode connects for a command whose Run wants a node; the connection is closed after it.
func (q *asking) ProvideNode(a *app) (*asked, error) {
	cred, err := q.credential()
	if err != nil {
		return nil, err
	}
	client, err := cred.Client()
	if err != nil {
		return nil, err
	}
	a.after = append(a.after, client.Close)
	return &asked{client, cred}, nil
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

// show prints v as JSON, exact and on one line, or lets text lay it out for people.
func show(a *app, asJSON bool, v any, text func(s *sheet)) error {
	if asJSON {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, string(b))
		return err
	}
	s := newSheet(a.out)
	text(s)
	return s.flush()
}

func (q *asking) show(a *app, v any, text func(s *sheet)) error { return show(a, q.JSON, v, text) }

type statusCmd struct{ asking }

// Run shows whether the node can commit, the stop switch, and what waits for a person. Status 0 if ready and not halted.
func (c *statusCmd) Run(a *app, n *asked) error {
	notReady := n.Ready(a.ctx)
	halt, err := n.HaltState(a.ctx)
	if err != nil {
		return err
	}
	waiting, err := n.List(a.ctx, control.Filter{State: control.AwaitingApproval, Limit: 1000})
	if err != nil {
		return err
	}
	witnesses, noWitnesses := n.Witnesses(a.ctx) // not every node asks witnesses, nor may every credential read that
	// Not every credential may read the whole domain's anchors, and not every node has any.
	anchors, err := n.Anchors(a.ctx, anchor.Filter{Limit: 1})
	if kind := vaultmesh.KindOf(err); err != nil && kind != vaultmesh.Denied && kind != vaultmesh.NotFound {
		return err
	}
	alarms, noAlarms := n.Alarms(a.ctx) // the same
	err = c.show(a, map[string]any{"ready": notReady == nil, "halt": halt, "alarms": alarms, "awaiting_approval": waiting, "anchors": anchors.Targets, "witnesses": witnesses}, func(s *sheet) {
		s.fact("node", "%s as %s", n.cred.URL, n.cred.Principal)
		if notReady == nil {
			s.fact("ready", "yes, it can commit")
		} else {
			s.painted(red, "ready", "no: %v", notReady)
		}
		if halt.Halted {
			s.painted(red, "halted", "by %s since %s: %s", halt.By, halt.Since.Local().Format("15:04:05"), halt.Reason)
			s.verbatim(a.hint("resume REASON"))
		} else {
			s.fact("halted", "no")
		}
		tellAlarms(s, alarms)
		if noWitnesses == nil {
			if noAlarms == nil {
				witnesses.Alarm, witnesses.Conflict = false, "" // said above
			}
			tellWitnessed(s, witnesses)
		}
		for _, t := range anchors.Targets {
			s.fact("anchored", "%s: %.1f %% of the log %s", t.Target, 100*t.Share, t.Warning)
		}
		if len(waiting) == 0 {
			s.fact("waiting", "no command waits for a person")
		} else {
			s.painted(yellow, "waiting", "for a person: %s", counted(len(waiting), "command"))
		}
		for _, x := range waiting {
			s.fact("", "%s %s %s by %s", x.Twin, x.Name, x.Args, x.Principal)
			s.verbatim(a.hint("approve " + string(x.ID)))
		}
	})
	if err == nil && (notReady != nil || halt.Halted) {
		err = status(exitNo)
	}
	return err
}

// tellAlarms says what a person must look at, and what to do.
func tellAlarms(s *sheet, alarms []httpapi.Alarm) {
	for _, x := range alarms {
		s.painted(red, "ALARM", "%s", strings.TrimSpace(x.Code+" "+x.Subject)+": "+x.Detail)
		s.fact("", "%s", x.Fix)
	}
}

type twinsCmd struct {
	asking
	Prefix string             `help:"Only identifiers that begin so."`
	Model  string             `help:"Only twins of this model or one that extends it."`
	Device vaultmesh.DeviceID `help:"Only twins of this device."`
	Limit  int                `help:"At most this many." default:"1000"`
}

// Run lists twins.
func (c *twinsCmd) Run(a *app, n *asked) error {
	page, err := n.Twins(a.ctx, httpapi.TwinQuery{Prefix: c.Prefix, Model: c.Model, Device: c.Device, Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, page, func(s *sheet) {
		s.table("twin", "model", "device", "age", "values")
		for _, t := range page.Twins {
			s.row(t.ID, shortModel(t.Model), t.Device, age(t.Seen), values(t))
		}
		switch {
		case page.Next != "":
			s.say(faint, "… more after %s: give a larger --limit, or --prefix", page.Next)
		case len(page.Twins) == 0:
			s.say("", "none found")
		}
	})
}

type twinCmd struct {
	asking
	ID vaultmesh.TwinID `arg:"" help:"Twin."`
}

// Run shows one twin.
func (c *twinCmd) Run(a *app, n *asked) error {
	t, err := n.Twin(a.ctx, c.ID)
	if err != nil {
		return err
	}
	docs, err := node.CommandDocs()(a.ctx, t.Model)
	if err != nil {
		return err
	}
	return c.show(a, t, func(s *sheet) {
		s.fact("twin", "%s", t.ID)
		s.fact("model", "%s", t.Model)
		s.fact("device", "%s, seen %s ago, version %d", t.Device, age(t.Seen), t.Version)
		s.space()
		s.table("name", "kind", "value", "desired", "quality", "age")
		row := func(kind string, m map[string]twin.Value) {
			for _, n := range sorted(m) {
				q, _ := m[n].Q.MarshalText()
				s.row(n, kind, figures(m[n].V), figures(t.Desired[n]), string(q), age(m[n].T))
			}
		}
		row("reported", t.Reported)
		row("telemetry", t.Telemetry)
		for _, n := range sorted(t.Nameplate) {
			s.row(n, "nameplate", figures(t.Nameplate[n]))
		}
		for _, r := range t.Relationships {
			s.row(r.Name, "relationship", "→ "+r.Target)
		}
		s.space()
		s.table("command", "arguments")
		for _, d := range docs {
			s.row(d.Name, arguments(d.Arguments))
		}
	})
}

// arguments says what a command takes: the members of the object that describes it.
func arguments(described json.RawMessage) string {
	var members map[string]string
	if json.Unmarshal(described, &members) != nil {
		return string(described)
	}
	var list []string
	for _, name := range sorted(members) {
		list = append(list, name+": "+members[name])
	}
	return strings.Join(list, "; ")
}

// sorted are the names in a map, in their order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

type historyCmd struct {
	asking
	Twin  vaultmesh.TwinID `arg:"" help:"Twin."`
	Name  string           `arg:"" help:"Property or telemetry."`
	Since time.Duration    `help:"How far back." default:"10m"`
	Limit int              `help:"At most this many points." default:"50"`
}

// Run shows one value over time.
func (c *historyCmd) Run(a *app, n *asked) error {
	h, err := n.History(a.ctx, c.Twin, httpapi.HistoryQuery{Name: c.Name, From: time.Now().Add(-c.Since), To: time.Now().Add(time.Minute), Limit: c.Limit})
	if err != nil {
		return err
	}
	return c.show(a, h, func(s *sheet) {
		s.table("time", "value", "quality")
		for _, p := range h.Points {
			q, _ := p.Q.MarshalText()
			s.row(p.T.Local().Format("15:04:05.000"), figures(p.V), string(q))
		}
		switch {
		case h.More:
			s.say(faint, "… more: give a larger --limit")
		case len(h.Points) == 0:
			s.say("", "none in the last %s: see how old the value is with `%s`", c.Since, a.hint("twin "+quoted(string(c.Twin))))
		}
	})
}

type devicesCmd struct {
	asking
	Device vaultmesh.DeviceID `arg:"" optional:"" help:"Show why messages of this device were refused."`
}

// Run lists the devices, or the refusals of one.
func (c *devicesCmd) Run(a *app, n *asked) error {
	if c.Device != "" {
		list, err := n.Refusals(a.ctx, c.Device, 0)
		if err != nil {
			return err
		}
		return c.show(a, list, func(s *sheet) {
			s.table("time", "topic", "code", "reason")
			for _, r := range list {
				s.row(r.Time.Local().Format("15:04:05.000"), r.Topic, r.Code, r.Reason)
			}
			if len(list) == 0 {
				s.say("", "no message of %s was refused", c.Device)
			}
		})
	}
	list, err := n.Devices(a.ctx)
	if err != nil {
		return err
	}
	return c.show(a, list, func(s *sheet) {
		s.table("device", "online", "last seen", "refused")
		for _, d := range list {
			s.row(d.ID, map[bool]string{true: "yes", false: "no"}[d.Online], age(d.Since), d.Refused)
		}
	})
}

type revokeCmd struct {
	asking
	Block  string `arg:"" help:"Digest of the block: see vaultmesh capability show."`
	Reason string `arg:"" help:"Why; it is recorded."`
}

// Run revokes a block and all that descends from it.
func (c *revokeCmd) Run(a *app, n *asked) error {
	var d vaultmesh.Digest
	if err := d.UnmarshalText([]byte(c.Block)); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "revoke", c.Block, "not the digest of a block").Because(err).WithFix("copy it from `vaultmesh capability show --as FILE`: sha256: and 64 hexadecimal digits")
	}
	r, err := n.Revoke(a.ctx, d, c.Reason)
	if err != nil {
		return err
	}
	return c.show(a, r, func(s *sheet) { s.say("", "revoked by receipt %d", r.Receipt.Index) })
}
