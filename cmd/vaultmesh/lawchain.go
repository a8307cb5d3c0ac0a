package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/governance"
)

// lawchainCmd is about logs of others.
type lawchainCmd struct {
	Import lawchainImportCmd `cmd:"" help:"Judge a folder of signed governance files of the older Node implementation: what holds, and what nobody vouches for."`
}

type lawchainImportCmd struct {
	Dir  string   `arg:"" help:"The project's folder, or the governance folder in it. Nothing outside is read, and nothing is written."`
	Key  []string `help:"File with an ed25519 public key that you pin (PEM, or 32 bytes in base64). Repeat it for several." type:"path" sep:"none"`
	JSON bool     `help:"Print one JSON object."`
}

// Run judges the folder: status 0 clean, 1 there are findings, 2 it cannot be judged.
func (c *lawchainImportCmd) Run(a *app) error {
	r, err := c.judge()
	if err != nil {
		if c.JSON {
			if err := json.NewEncoder(a.out).Encode(map[string]any{"clean": false, "error": err.Error()}); err != nil {
				return err
			}
		}
		explain(a.errOut, err)
		return status(exitUnusable)
	}
	if c.JSON {
		err = json.NewEncoder(a.out).Encode(r)
	} else {
		err = tellGovernance(a.out, r)
	}
	if err == nil && !r.Clean {
		err = status(exitNo)
	}
	return err
}

func (c *lawchainImportCmd) judge() (*governance.Report, error) {
	var o governance.Options
	for _, path := range c.Key {
		key, err := readPublicKey(path)
		if err != nil {
			return nil, err
		}
		o.Keys = append(o.Keys, key)
	}
	return governance.Import(c.Dir, o)
}

// readPublicKey reads an ed25519 public key as openssl writes it, or its 32 bytes in base64.
func readPublicKey(path string) (ed25519.PublicKey, error) {
	const op = "lawchain.import"
	data, err := readUpTo(path, 4096)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		if key, ok := k.(ed25519.PublicKey); ok && err == nil {
			return key, nil
		}
	} else if raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil && len(raw) == ed25519.PublicKeySize {
		return raw, nil
	}
	return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "not an ed25519 public key in PEM or base64")
}

// tellGovernance prints a report for people.
func tellGovernance(out io.Writer, r *governance.Report) error {
	s := newSheet(out)
	count := map[governance.Signature]int{}
	for _, e := range r.Entries {
		count[e.Signature]++
	}
	s.fact("files", "%d: %d signatures hold, %d only without a later edit, %d are broken, %d files are not signed",
		len(r.Entries), count[governance.Holds], count[governance.Ratified], count[governance.Broken], count[governance.Missing])
	for _, k := range r.Keys {
		s.fact("key", "%s %s, %s", k.ID, map[bool]string{true: "pinned", false: "NOT PINNED"}[k.Pinned], counted(k.Files, "file"))
	}
	for _, c := range r.Charters {
		state := "is what " + plain(c.Entry) + " signs"
		switch {
		case c.Found == "":
			state = "is not there; " + plain(c.Entry) + " signs " + plain(c.Signed)
		case c.Drift:
			state = "DRIFTED: it is " + c.Found + ", and " + plain(c.Entry) + " signs " + plain(c.Signed)
		}
		s.fact("charter", "%s %s", plain(c.Spec), state)
	}
	s.fact("anchors", "%d receipts: %d simulated, %d pending, %d claimed without a proof, 0 proved", r.Anchors.Receipts, r.Anchors.Simulated, r.Anchors.Pending, r.Anchors.Unproved)
	if r.NotRead > 0 || r.NotReadMore {
		s.fact("not looked at", "%s", notRead(r))
	}
	if len(r.Findings) > 0 {
		s.space()
		s.table("finding", "file", "what")
		for _, f := range r.Findings {
			s.row(f.Code, plain(f.Path), plain(f.Detail))
		}
	}
	s.space()
	s.say(bold, "What no such folder can prove:")
	for _, l := range r.Limits {
		s.fact("-", "%s", l)
	}
	verdict, colour := counted(len(r.Findings), "finding"), red
	if r.Clean {
		verdict, colour = "clean: every signature holds under a pinned key, and nothing is claimed that is not so", green
	}
	if r.NotRead > 0 || r.NotReadMore {
		verdict += "; " + counted(r.NotRead, "file") + " not looked at"
	}
	s.space()
	s.say(colour, "%s", verdict)
	return s.flush()
}

// notRead says how many files nobody looked into, and names some.
func notRead(r *governance.Report) string {
	names := make([]string, 0, len(r.NotReadNames))
	for _, name := range r.NotReadNames[:min(3, len(r.NotReadNames))] {
		names = append(names, plain(name))
	}
	more := ""
	if r.NotRead > len(names) || r.NotReadMore {
		more = ", …"
	}
	text := counted(r.NotRead, "file") + ": " + strings.Join(names, ", ") + more
	if r.NotReadMore {
		text = "more than " + text
	}
	return text
}

// plain returns s, quoted where it holds what a terminal would act on.
func plain(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
