package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/node"
)

type capabilityCmd struct {
	Show      capabilityShowCmd      `cmd:"" help:"Show what a credential may do."`
	Attenuate capabilityAttenuateCmd `cmd:"" help:"Make a narrower credential, offline."`
	Key       capabilityKeyCmd       `cmd:"" help:"Make a key."`
	Issue     capabilityIssueCmd     `cmd:"" help:"Issue a credential with the capability root of a data folder."`
}

type capabilityShowCmd struct {
	As   string `help:"Credential file." required:"" type:"path" env:"VAULTMESH_AS"`
	JSON bool   `help:"Print one JSON object."`
}

// Run shows the blocks of a token; it never prints the key.
func (c *capabilityShowCmd) Run(a *app) error {
	cred, t, err := holding(c.As)
	if err != nil {
		return err
	}
	blocks := t.Blocks()
	key := cred.PrivateKey().Public().(ed25519.PublicKey)
	return show(a, c.JSON, map[string]any{"principal": cred.Principal, "url": cred.URL, "public_key": []byte(key), "blocks": blocks}, func(s *sheet) {
		s.fact("principal", "%s at %s", cred.Principal, cred.URL)
		s.fact("public key", "%s", base64.StdEncoding.EncodeToString(key))
		for i, b := range blocks {
			s.space()
			s.say(bold, "block %d", i)
			s.fact("", "%s", b.Digest)
			s.end()
			tellGrant(s, b.Grant)
		}
	})
}

// holding reads a credential and the token in it.
func holding(path string) (*node.Credential, capability.Token, error) {
	cred, err := node.LoadCredential(path)
	if err != nil {
		return nil, capability.Token{}, err
	}
	t, err := capability.Parse(cred.Token)
	return cred, t, err
}

func tellGrant(s *sheet, g capability.Grant) {
	row := func(name, value string) {
		if value != "" {
			s.fact("  "+name, "%s", value)
		}
	}
	row("actions", orAll(g.Actions))
	row("twins", orAll(g.Twins))
	row("commands", orAll(g.Commands))
	for _, name := range sorted(g.Args) {
		if text, err := json.Marshal(g.Args[name]); err == nil {
			row("argument "+name, string(text))
		}
	}
	if g.MaxUses > 0 {
		row("uses", fmt.Sprint(g.MaxUses))
	}
	row("roles", strings.Join(g.Roles, ", "))
	if !g.Expires.IsZero() {
		row("expires", g.Expires.Local().Format(time.RFC3339))
	}
}

func orAll(list []string) string {
	if list == nil {
		return "(as above)"
	}
	return strings.Join(list, ", ")
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
	cred, t, err := holding(c.As)
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
	out.KeyFile = ""
	if err := out.SaveNew(c.Out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s holds a narrower credential of %s\n", c.Out, cred.Principal)
	return err
}

type capabilityIssueCmd struct {
	Data      string              `help:"Data folder of the node: its keys/capability.key signs; made where the node has not started yet." required:"" type:"path"`
	Domain    vaultmesh.Domain    `help:"Domain of the node." required:""`
	Principal vaultmesh.Principal `help:"To whom: agent:NAME, operator:NAME." required:""`
	URL       string              `help:"Where the node answers." required:"" placeholder:"https://HOST:PORT"`
	CA        string              `help:"PEM file of the CA of the node's certificate; none: the system's." type:"existingfile"`
	Out       string              `help:"New credential file." required:"" type:"path"`
	Actions   []string            `help:"Actions: read, simulate, command, approve, halt, admin." default:"read,simulate,command"`
	Holder    string              `help:"Public key of the holder, in base64; default: a new key, which the credential holds." placeholder:"BASE64"`
	KeyFile   string              `help:"With --holder: name of the key's file, beside the credential." default:"key"`
	Twins     []string            `help:"Twins; * stands for any text." default:"*"`
	Commands  []string            `help:"Commands; * stands for any text." default:"*"`
	Roles     []string            `help:"Roles that the policy reads."`
	For       time.Duration       `help:"How long it holds." default:"24h"`
}

// Run makes a token, and unless --holder names somebody else's key, a key for it. The node need not run: whoever has
// the root's key can issue, so keep that key offline where agents are.
func (c *capabilityIssueCmd) Run(a *app) error {
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		return vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", c.URL, "not an https address").WithFix("write https://HOST:PORT")
	}
	now := time.Now().UTC().Truncate(time.Second)
	g := capability.Grant{Actions: c.Actions, Twins: c.Twins, Commands: c.Commands, Roles: c.Roles, NotBefore: now.Add(-time.Minute), Expires: now.Add(c.For),
		Audience: []vaultmesh.Domain{c.Domain}}
	cred := node.Credential{Principal: c.Principal, Domain: c.Domain, URL: c.URL}
	var holder ed25519.PublicKey
	if c.Holder != "" {
		b, err := base64.StdEncoding.DecodeString(c.Holder)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", "holder", "want the 32 bytes of an ed25519 public key in base64").WithFix("make a key with `vaultmesh capability key FILE`, which prints it")
		}
		holder, cred.KeyFile = b, c.KeyFile
	} else {
		pub, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		holder, cred.Key = pub, key.Seed()
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", c.CA, "cannot read").Because(err)
		}
		cred.CA = string(pem)
	}
	token, err := node.IssueCapability(c.Data, c.Domain, c.Principal, holder, g)
	if err != nil {
		return err
	}
	cred.Token = token.String()
	if err := cred.SaveNew(c.Out); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: a credential of %s until %s\n", c.Out, c.Principal, g.Expires.Local().Format(time.RFC3339))
	if cred.KeyFile != "" {
		fmt.Fprintf(a.out, "  it holds no key: put it beside %s\n", cred.KeyFile)
	}
	if strings.HasPrefix(string(c.Principal), "operator:") {
		fmt.Fprintf(a.out, "  to approve, enrol the key in gate.operators: %s\n", base64.StdEncoding.EncodeToString(holder))
	}
	return nil
}

type capabilityKeyCmd struct {
	File string `arg:"" help:"New key file." type:"path"`
}

// Run makes a key on the machine of whoever will use it, and prints what may leave that machine.
func (c *capabilityKeyCmd) Run(a *app) error {
	pub, err := node.NewKeyFile(c.File)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: keep it; the public key is\n%s\n", c.File, base64.StdEncoding.EncodeToString(pub))
	return err
}
