package main

import (
	"crypto/ed25519"
	"encoding/base64"
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
	Issue     capabilityIssueCmd     `cmd:"" help:"Issue a credential with the capability root of a data folder."`
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

type capabilityIssueCmd struct {
	Data      string              `help:"Data folder of the node: its keys/capability.key signs." required:"" type:"existingdir"`
	Domain    vaultmesh.Domain    `help:"Domain of the node." required:""`
	Principal vaultmesh.Principal `help:"To whom: agent:NAME, operator:NAME." required:""`
	URL       string              `help:"Where the node answers." required:"" placeholder:"https://HOST:PORT"`
	CA        string              `help:"PEM file of the CA of the node's certificate; none: the system's." type:"existingfile"`
	Out       string              `help:"New credential file." required:"" type:"path"`
	Actions   []string            `help:"Actions: read, simulate, command, approve, halt, admin." default:"read,simulate,command"`
	Twins     []string            `help:"Twins; * stands for any text." default:"*"`
	Commands  []string            `help:"Commands; * stands for any text." default:"*"`
	Roles     []string            `help:"Roles that the policy reads."`
	For       time.Duration       `help:"How long it holds." default:"24h"`
}

// Run makes a key and a token for it. The node need not run: whoever holds the root's key can issue, so keep that key
// offline where agents are.
func (c *capabilityIssueCmd) Run(a *app) error {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	g := capability.Grant{Actions: c.Actions, Twins: c.Twins, Commands: c.Commands, Roles: c.Roles, NotBefore: now.Add(-time.Minute), Expires: now.Add(c.For),
		Audience: []vaultmesh.Domain{c.Domain}}
	token, err := node.IssueCapability(c.Data, c.Principal, pub, g)
	if err != nil {
		return err
	}
	cred := node.Credential{Principal: c.Principal, Domain: c.Domain, Token: token.String(), Key: key.Seed(), URL: c.URL}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", c.CA, "cannot read").Because(err)
		}
		cred.CA = string(pem)
	}
	if err := cred.Save(c.Out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: a credential of %s until %s\n  public key, for gate.operators: %s\n", c.Out, c.Principal, g.Expires.Format(time.RFC3339), base64.StdEncoding.EncodeToString(pub))
	return err
}
