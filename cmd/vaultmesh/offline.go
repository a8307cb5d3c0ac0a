package main

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/node"
)

type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Compile a folder of policy and run its tests."`
}

type policyTestCmd struct {
	Dir string `arg:"" optional:"" help:"Folder of .rego and data files; none: the shipped policy." type:"existingdir"`
}

// Run tests a policy as the node would before it loads it.
func (c *policyTestCmd) Run(a *app) error {
	files, name := gate.DefaultPolicy(), "the shipped policy"
	if c.Dir != "" {
		var err error
		if files, err = gate.ReadPolicy(os.DirFS(c.Dir)); err != nil {
			return err
		}
		name = c.Dir
	}
	report, err := gate.TestPolicy(a.ctx, files)
	if err != nil {
		return err
	}
	failed := report.Failed()
	for _, t := range failed {
		fmt.Fprintf(a.out, "FAIL %s\n", t.Name)
	}
	fmt.Fprintf(a.out, "%s: %d tests, %d failed, digest %s\n", name, len(report.Tests), len(failed), files.Digest())
	if len(failed) > 0 {
		return status(exitNo)
	}
	return nil
}

type capabilityCmd struct {
	Show      capabilityShowCmd      `cmd:"" help:"Show what a credential may do."`
	Attenuate capabilityAttenuateCmd `cmd:"" help:"Make a narrower credential, offline."`
}

type capabilityShowCmd struct {
	As   string `help:"Credential file." required:"" type:"path" env:"VAULTMESH_AS"`
	JSON bool   `help:"Print one JSON object."`
}

// Run shows the blocks of a token; it never prints the key.
func (c *capabilityShowCmd) Run(a *app) error {
	cred, err := node.LoadCredential(c.As)
	if err != nil {
		return err
	}
	t, err := capability.Parse(cred.Token)
	if err != nil {
		return err
	}
	blocks := t.Blocks()
	if c.JSON {
		b, err := json.Marshal(map[string]any{"principal": cred.Principal, "blocks": blocks})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, string(b))
		return err
	}
	fmt.Fprintf(a.out, "%s\n", cred)
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "block\tactions\ttwins\tcommands\texpires\tdigest")
	for i, b := range blocks {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", i, orAll(b.Grant.Actions), orAll(b.Grant.Twins), orAll(b.Grant.Commands), b.Grant.Expires.Format(time.RFC3339), b.Digest)
	}
	return w.Flush()
}

func orAll(list []string) string {
	if list == nil {
		return "(as above)"
	}
	return strings.Join(list, ",")
}

type capabilityAttenuateCmd struct {
	As       string        `help:"Credential file to narrow." required:"" type:"path" env:"VAULTMESH_AS"`
	Out      string        `help:"New credential file." required:"" type:"path"`
	Actions  []string      `help:"Only these actions: read, simulate, command, approve, halt, admin."`
	Twins    []string      `help:"Only these twins; * stands for any text."`
	Commands []string      `help:"Only these commands."`
	Max      []string      `help:"Only up to this value: argument=number." placeholder:"ARG=NUMBER"`
	For      time.Duration `help:"Only for this long."`
	Uses     uint64        `help:"At most this many commands."`
}

// Run adds a block for a new key. Nothing is sent anywhere.
func (c *capabilityAttenuateCmd) Run(a *app) error {
	cred, err := node.LoadCredential(c.As)
	if err != nil {
		return err
	}
	t, err := capability.Parse(cred.Token)
	if err != nil {
		return err
	}
	g := capability.Grant{Actions: c.Actions, Twins: c.Twins, Commands: c.Commands, MaxUses: c.Uses}
	if c.For > 0 {
		g.Expires = time.Now().Add(c.For).UTC().Truncate(time.Second)
	}
	for _, m := range c.Max {
		name, text, ok := strings.Cut(m, "=")
		var v float64
		if _, err := fmt.Sscan(text, &v); !ok || err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "capability.attenuate", m, "want argument=number")
		}
		if g.Args == nil {
			g.Args = map[string]capability.Range{}
		}
		g.Args[name] = capability.Range{Max: &v}
	}
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	narrow, err := capability.Attenuate(t, cred.PrivateKey(), pub, g)
	if err != nil {
		return err
	}
	out := *cred
	out.Token, out.Key = narrow.String(), key.Seed()
	if err := out.Save(c.Out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s holds a narrower credential of %s\n", c.Out, cred.Principal)
	return err
}
