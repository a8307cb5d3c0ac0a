package receipt

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	fwitness "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// Bounds of a witness policy; C2SP tlog-policy asks for at least 32 of each.
const (
	MaxWitnessPolicy = 64 << 10 // bytes
	maxPolicyNames   = 64       // logs; witnesses; groups
)

// WitnessPolicy says which witnesses must have cosigned a checkpoint (C2SP tlog-policy). It is safe for concurrent use.
type WitnessPolicy struct {
	Logs      []string // verifier keys of the logs that it names; may be empty
	Witnesses []PolicyWitness
	Quorum    string // name of the witness or group that must be satisfied; "none" asks for no cosignature

	group fwitness.Group
}

// PolicyWitness is one witness of a policy.
type PolicyWitness struct {
	Name     string        // within the policy only
	URL      string        // prefix of its HTTP interface (C2SP tlog-witness), empty where the policy gives none
	Verifier note.Verifier // of its cosignatures
}

// Satisfied reports whether the witnesses that the policy asks for cosigned the checkpoint. That the log itself signed
// it is for the caller to check.
func (p *WitnessPolicy) Satisfied(signed []byte) bool {
	_, ok := p.completed(p.cosignatures(signed))
	return ok || !p.Asks()
}

// Cosigners returns the names of the policy's witnesses that cosigned the checkpoint, in the policy's order.
func (p *WitnessPolicy) Cosigners(signed []byte) []string {
	sigs := p.cosignatures(signed)
	var out []string
	for _, w := range p.Witnesses {
		if slices.ContainsFunc(sigs, func(c cosignature) bool { return c.Name == w.Name }) {
			out = append(out, w.Name)
		}
	}
	return out
}

// Asks reports whether the policy asks for any cosignature at all.
func (p *WitnessPolicy) Asks() bool { return p.group.N > 0 }

// ParseWitnessPolicy reads a policy in the text form of C2SP tlog-policy. It is stricter than the library beneath it,
// which would accept a threshold of 0, a member that counts twice, and one key under two names: each of them would
// let fewer witnesses pass than the text seems to ask for. Errors are of kind Invalid or TooLarge, name the line, and repeat
// neither keys nor addresses, which may hold a secret.
func ParseWitnessPolicy(text []byte) (*WitnessPolicy, error) {
	if len(text) > MaxWitnessPolicy {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "witness.policy", "", "%d bytes, at most %d", len(text), MaxWitnessPolicy)
	}
	r := &policyReader{p: &WitnessPolicy{}, witnesses: map[string]fwitness.Witness{}, groups: map[string]fwitness.Group{}, used: map[string]bool{}, keys: map[string]bool{}}
	for i, line := range bytes.Split(text, []byte("\n")) {
		r.line = i + 1
		if err := r.read(line); err != nil {
			return nil, err
		}
	}
	if r.p.Quorum == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "witness.policy", "", "it has no quorum line").WithFix(`end it with "quorum <name>" or "quorum none"`)
	}
	return r.p, nil
}

type policyReader struct {
	p         *WitnessPolicy
	line      int
	witnesses map[string]fwitness.Witness
	groups    map[string]fwitness.Group
	used      map[string]bool // names that are a member of a group
	keys      map[string]bool // key material of witnesses and logs
}

func (r *policyReader) bad(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "witness.policy", "line "+strconv.Itoa(r.line), format, args...)
}

func (r *policyReader) read(line []byte) error {
	for _, c := range line {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return r.bad("byte 0x%02x is not allowed", c)
		}
	}
	// White space is ASCII space and tab only; other octets are opaque.
	fields := strings.FieldsFunc(string(line), func(c rune) bool { return c == ' ' || c == '\t' })
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return nil
	}
	switch {
	case fields[0] == "log" && (len(fields) == 2 || len(fields) == 3):
		return r.log(fields[1])
	case fields[0] == "witness" && (len(fields) == 3 || len(fields) == 4):
		return r.witness(fields[1:])
	case fields[0] == "group" && len(fields) >= 4:
		return r.group(fields[1], fields[2], fields[3:])
	case fields[0] == "quorum" && len(fields) == 2:
		return r.quorum(fields[1])
	}
	if slices.Contains([]string{"log", "witness", "group", "quorum"}, fields[0]) {
		return r.bad("%s does not go with %d fields", fields[0], len(fields)-1)
	}
	return r.bad("want log, witness, group or quorum, each with its fields")
}

func (r *policyReader) log(key string) error {
	if _, err := note.NewVerifier(key); err != nil {
		return r.bad("what stands for the verifier key of a log is none")
	}
	if len(r.p.Logs) == maxPolicyNames || r.known("log", key) {
		return r.bad("more than %d logs, or one key twice", maxPolicyNames)
	}
	r.p.Logs = append(r.p.Logs, key)
	return nil
}

// known reports whether the key material behind a verifier key was named before under that keyword.
func (r *policyReader) known(keyword, key string) bool {
	_, rest, _ := strings.Cut(key, "+")
	_, material, _ := strings.Cut(rest, "+")
	b, err := base64.StdEncoding.DecodeString(material)
	if err != nil || len(b) == 0 {
		return true // never behind a verifier that was made of it
	}
	name := keyword + string(b[1:]) // the first byte is the type of signature, not the key
	was := r.keys[name]
	r.keys[name] = true
	return was
}

func (r *policyReader) name(name string) error {
	if name == "none" || r.defined(name) {
		return r.bad("the name %.80q is reserved or defined twice", name)
	}
	return nil
}

func (r *policyReader) defined(name string) bool {
	_, w := r.witnesses[name]
	_, g := r.groups[name]
	return w || g
}

func (r *policyReader) witness(fields []string) error {
	if err := r.name(fields[0]); err != nil {
		return err
	}
	v, err := fnote.NewVerifierForCosignatureV1(fields[1])
	if err != nil {
		return r.bad("what stands for the verifier key of the witness %.80q is none", fields[0])
	}
	if len(r.witnesses) == maxPolicyNames || r.known("witness", fields[1]) {
		return r.bad("more than %d witnesses, or one key twice", maxPolicyNames)
	}
	w := PolicyWitness{Name: fields[0], Verifier: v}
	if len(fields) == 3 {
		u, err := url.Parse(fields[2])
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return r.bad("what stands for the address of the witness %.80q is no HTTP address without user, query and fragment", fields[0])
		}
		w.URL = strings.TrimSuffix(fields[2], "/")
	}
	r.p.Witnesses = append(r.p.Witnesses, w)
	r.witnesses[w.Name] = fwitness.Witness{Key: v, URL: w.URL}
	return nil
}

func (r *policyReader) group(name, threshold string, members []string) error {
	if err := r.name(name); err != nil {
		return err
	}
	if len(r.groups) == maxPolicyNames {
		return r.bad("more than %d groups", maxPolicyNames)
	}
	n, err := strconv.Atoi(threshold)
	switch {
	case threshold == "any":
		n = 1
	case threshold == "all":
		n = len(members)
	case err != nil || strconv.Itoa(n) != threshold || n < 1 || n > len(members):
		return r.bad("the threshold %.80q is not all, any or a number from 1 to %d", threshold, len(members))
	}
	g := fwitness.Group{N: n}
	for _, m := range members {
		if r.used[m] {
			return r.bad("%.80q is a member twice: it would count twice", m)
		}
		r.used[m] = true
		if w, ok := r.witnesses[m]; ok {
			g.Components = append(g.Components, w)
		} else if sub, ok := r.groups[m]; ok {
			g.Components = append(g.Components, sub)
		} else {
			return r.bad("%.80q is not defined on an earlier line", m)
		}
	}
	r.groups[name] = g
	return nil
}

func (r *policyReader) quorum(name string) error {
	if r.p.Quorum != "" {
		return r.bad("a second quorum line")
	}
	r.p.Quorum = name
	if name == "none" {
		return nil
	}
	if w, ok := r.witnesses[name]; ok {
		r.p.group = fwitness.NewGroup(1, w)
	} else if g, ok := r.groups[name]; ok {
		r.p.group = g
	} else {
		return r.bad("%.80q is not defined on an earlier line", name)
	}
	return nil
}
