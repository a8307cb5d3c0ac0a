package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	rootkey "vaultmesh.org/vaultmesh/lawchain/signer"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

// keyCmd is the ceremony of keys; docs/keys.md says who does what in which order.
type keyCmd struct {
	List   keyListCmd   `cmd:"" help:"List the keys of a domain whose node does not run."`
	Rotate keyRotateCmd `cmd:"" help:"Hand over to a new key. The node must not run."`
	Retire keyRetireCmd `cmd:"" help:"End the overlap of a rotation. The node must not run."`
	Root   keyRootCmd   `cmd:"" help:"Show the domain's root key, or make it inside its token."`
}

// offline are the flags of commands on the data folder of a node that does not run.
type offline struct {
	Config  string `help:"Configuration file (docs/configuration.md)." type:"existingfile" env:"VAULTMESH_CONFIG"`
	Profile string `help:"Profile where the file names none: dev or prod." default:"prod" enum:"dev,prod"`
	Data    string `help:"Data folder, over the file and the environment." type:"path"`
	JSON    bool   `help:"Print JSON."`
}

func (o *offline) load() (node.Config, error) {
	return node.LoadOffline(o.Config, o.Profile, o.Data, os.Environ())
}

// again is another command line on the same data folder, with the flags that say which it is.
func (o *offline) again(command string) string {
	for _, x := range [][2]string{{"--config", o.Config}, {"--data", o.Data}} {
		if x[1] != "" {
			command += " " + x[0] + " " + quoted(x[1])
		}
	}
	if o.Profile != "prod" {
		command += " --profile " + o.Profile
	}
	return command
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r))
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (o *offline) show(a *app, v any, text func(s *sheet)) error { return show(a, o.JSON, v, text) }

type keyListCmd struct{ offline }

// Run lists the keys that the log names, and the files that it does not name.
func (c *keyListCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	list, err := node.ListKeys(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	return c.show(a, map[string]any{"keys": list}, func(s *sheet) {
		s.table("purpose", "key", "state", "from", "until", "delegated until", "file")
		for _, k := range list {
			until, ends := "", ""
			if k.Until > 0 {
				until = fmt.Sprint(k.Until)
			}
			if !k.Expires.IsZero() {
				ends = k.Expires.Format(time.RFC3339)
			}
			s.row(k.Purpose, k.ID, k.State, k.From, until, ends, k.File)
		}
	})
}

type keyRotateCmd struct {
	offline
	Purpose string `arg:"" help:"${enum}." enum:"log,receipt,capability"`
	Reason  string `help:"Why, for the log; everybody who reads the log reads it."`
	Retire  bool   `help:"Retire the old key in the same commit, without an overlap: for a key that is lost or stolen."`
	ByRoot  bool   `help:"Let the domain's root speak instead of the old key, which may be lost."`
}

// Run rotates a key.
func (c *keyRotateCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	made, err := node.RotateKey(a.ctx, cfg, node.KeyChange{Purpose: c.Purpose, Reason: c.Reason, Retire: c.Retire, ByRoot: c.ByRoot}, a.log)
	if err != nil {
		return err
	}
	return c.show(a, made, func(s *sheet) {
		s.fact("new key", "%s", made.ID)
		s.fact("in", "%s", made.File)
		if made.LogKey != "" {
			s.fact("verifier key", "%s", made.LogKey)
		}
		switch {
		case c.Retire:
			s.fact("next", "start the node; give auditors its new trust.json, since who pinned the old key alone may be shown another history by whoever has it")
		case c.Purpose == receipt.PurposeLog:
			s.fact("next", "start the node: both keys sign. Give the verifier key to witnesses and auditors, then stop it and run:")
			s.verbatim(c.again(a.hint("key retire log")))
		case c.Purpose == receipt.PurposeCapability:
			s.fact("next", "issue credentials anew: those of the old root are worth nothing once the node starts")
		default:
			s.fact("next", "start the node; when auditors have its new trust.json, stop it and run:")
			s.verbatim(c.again(a.hint("key retire receipt")))
		}
	})
}

type keyRetireCmd struct {
	offline
	Purpose string `arg:"" help:"${enum}." enum:"log,receipt,capability"`
	Reason  string `help:"Why, for the log; everybody who reads the log reads it."`
	Force   bool   `help:"Retire the log's key although no quorum of its witnesses knows the new one: nothing is witnessed until they do."`
}

// Run ends an overlap.
func (c *keyRetireCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	retired, err := node.RetireKey(a.ctx, cfg, node.KeyRetirement{Purpose: c.Purpose, Reason: c.Reason, Force: c.Force}, a.log)
	if err != nil {
		return err
	}
	return c.show(a, map[string]any{"retired": retired}, func(s *sheet) {
		for _, k := range retired {
			s.fact("retired", "%s", k.ID)
			if k.File != "" {
				s.fact("destroy", "%s and its backups: nothing needs it any more", k.File)
			}
		}
	})
}

type keyRootCmd struct {
	offline
	Generate bool `help:"Make the key pair inside the token (provider pkcs11), or in a new file (provider file)."`
}

// Run shows the root's public key, which auditors pin.
func (c *keyRootCmd) Run(a *app) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	r := cfg.Keys.Root
	if r.Provider == "" {
		return vaultmesh.Errorf(vaultmesh.Invalid, "key.root", "", "the configuration names no root").WithFix("set keys.root.provider; see docs/keys.md")
	}
	if c.Generate {
		switch r.Provider {
		case "pkcs11":
			_, err = rootkey.Generate(rootkey.Config{Provider: r.Provider, Module: r.Module, Token: r.Token, PINFile: r.PINFile, Key: r.Key, Timeout: r.Timeout})
		case "file":
			_, err = node.NewKeyFile(r.Key)
		default:
			err = vaultmesh.Errorf(vaultmesh.Invalid, "key.root", r.Provider, "the key is made there").WithFix("vault write -f %s/keys/%s type=ed25519", strings.TrimSuffix(orDefault(r.Mount, "transit"), "/"), r.Key)
		}
		if err != nil {
			return err
		}
	}
	k, err := rootkey.Open(a.ctx, rootkey.Config{Provider: r.Provider, Key: r.Key, Module: r.Module, Token: r.Token, PINFile: r.PINFile, Address: r.Address, Mount: r.Mount,
		Namespace: r.Namespace, TokenFile: r.TokenFile, CA: r.CA, Timeout: r.Timeout})
	if err != nil {
		return err
	}
	defer k.Close()
	id := receipt.KeyID(k.Public())
	return c.show(a, map[string]any{"id": id, "public": []byte(k.Public()), "where": k.Where()}, func(s *sheet) {
		public := base64.StdEncoding.EncodeToString(k.Public())
		s.fact("root", "%s", id)
		s.fact("public", "%s", public)
		s.fact("in", "%s", k.Where())
		s.fact("pin it", "in a trust file, with:")
		s.verbatim(fmt.Sprintf(`"key_roots": [{"id": %q, "public": %q}]`, id, public))
	})
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
