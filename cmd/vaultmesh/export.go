package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/cmd/internal/audit"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/receipt/export"
)

type exportCmd struct {
	COSE  exportCOSECmd  `cmd:"" name:"cose" help:"Make a COSE receipt (RFC 9942) of each receipt in a bundle. It needs the log's private key."`
	Check exportCheckCmd `cmd:"" help:"Verify a COSE receipt and the entry of the log that it is about."`
	PROV  exportPROVCmd  `cmd:"" name:"prov" help:"Write the history of a bundle's commands as W3C PROV in JSON-LD."`
}

// exporting names what is exported.
type exporting struct {
	Bundle string `arg:"" help:"Bundle file; - reads standard input." type:"path"`
	Trust  string `help:"Trust file: the keys that you pin. Only what they verify is exported." required:"" type:"path"`
}

func (e *exporting) load(a *app) ([]byte, *receipt.Trust, error) {
	t, err := audit.ReadTrust(e.Trust)
	if err != nil {
		return nil, nil, err
	}
	b, err := audit.ReadBundle(a.ctx, e.Bundle, os.Stdin)
	return b, t, err
}

type exportCOSECmd struct {
	exporting
	LogKey string `help:"File with the private key that signed the bundle's checkpoint: <data>/keys/log.key of the node." required:"" type:"path"`
	Out    string `short:"o" help:"Folder; it is made. INDEX.cose and INDEX.entry go into it." required:"" type:"path"`
}

// Run writes the receipts.
func (c *exportCOSECmd) Run(a *app) error {
	bundle, trust, err := c.load(a)
	if err != nil {
		return err
	}
	key, err := readLogKey(c.LogKey)
	if err != nil {
		return err
	}
	list, err := export.COSE(bundle, trust, key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "export", c.Out, "cannot make the folder").Because(err)
	}
	for _, r := range list {
		name := filepath.Join(c.Out, fmt.Sprintf("%010d", r.Index))
		for path, data := range map[string][]byte{name + ".cose": r.COSE, name + ".entry": r.Envelope} {
			if err := writeFile("export", path, data); err != nil {
				return err
			}
		}
	}
	s := newSheet(a.out)
	s.say("", "%s in %s. Verify one with:", counted(len(list), "COSE receipt"), c.Out)
	s.verbatim(a.hint("export check FILE.cose FILE.entry --trust " + quoted(nearer(c.Trust))))
	return s.flush()
}

// readLogKey reads the file of a log's signer key: the first line is the key as signed notes write it. Nobody but the
// file's owner may read it.
func readLogKey(path string) (ed25519.PrivateKey, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "export", path, "cannot open").Because(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, "export", path, "others than its owner may read it (mode %o)", st.Mode().Perm()).WithFix("chmod 600 %s", path)
	}
	text, err := readUpTo(path, 4096)
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.SplitN(line, "+", 5) // PRIVATE+KEY+name+hash+base64 of the type and the seed; base64 has + itself
	if len(fields) == 5 && fields[0] == "PRIVATE" && fields[1] == "KEY" {
		if b, err := base64.StdEncoding.DecodeString(fields[4]); err == nil && len(b) == 1+ed25519.SeedSize && b[0] == 1 {
			return ed25519.NewKeyFromSeed(b[1:]), nil
		}
	}
	return nil, vaultmesh.Errorf(vaultmesh.Invalid, "export", path, "not the signer key of a log").WithFix("name keys/log.key below the node's data folder, or after a rotation keys/log-….key")
}

type exportCheckCmd struct {
	Receipt string `arg:"" help:"COSE receipt." type:"path"`
	Entry   string `arg:"" help:"Entry of the log, byte for byte." type:"path"`
	Trust   string `help:"Trust file: the log's keys are taken from it." required:"" type:"path"`
}

// Run verifies with the log's pinned keys: status 0 accepted, 1 refused.
func (c *exportCheckCmd) Run(a *app) error {
	t, err := audit.ReadTrust(c.Trust)
	if err != nil {
		return err
	}
	text, err := readUpTo(c.Receipt, export.MaxCOSE)
	if err != nil {
		return err
	}
	entry, err := readUpTo(c.Entry, receipt.MaxEntry)
	if err != nil {
		return err
	}
	keys, _, err := t.Pinned()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key.Purpose != receipt.PurposeLog {
			continue
		}
		in, err := export.OpenInclusion(text, entry, key.Public)
		if err == nil && key.Until > 0 && in.Size > key.Until {
			continue // the trust file says that the key was retired before
		}
		if err == nil && in.Origin == key.Origin {
			_, err = fmt.Fprintf(a.out, "accepted: the entry is number %d of the first %d of the log %s, root %s\n", in.Index, in.Size, in.Origin, in.Root)
			return err
		}
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			return err
		}
	}
	fmt.Fprintf(a.errOut, "vaultmesh: refused: no pinned key of the log %s has signed that this entry is in it\n", t.Log.Origin)
	return status(exitNo)
}

type exportPROVCmd struct {
	exporting
	Out string `short:"o" help:"File; - writes to standard output." default:"-" type:"path"`
}

// Run writes the graph.
func (c *exportPROVCmd) Run(a *app) error {
	bundle, trust, err := c.load(a)
	if err != nil {
		return err
	}
	text, err := export.PROV(bundle, trust)
	if err != nil {
		return err
	}
	if c.Out == "-" {
		_, err = a.out.Write(text)
		return err
	}
	if err := writeFile("export", c.Out, text); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: %d bytes of JSON-LD\n", c.Out, len(text))
	return err
}
