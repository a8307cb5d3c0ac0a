package capability

import (
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

const timeFormat = "2006-01-02T15:04:05.000000Z"

// Verified is a token whose signatures, times and audience held at one moment. It is immutable and safe for
// concurrent use. The zero Verified allows nothing.
type Verified struct {
	Principal vaultmesh.Principal // whom the root named; a later holder acts in this name
	Holder    ed25519.PublicKey   // the key that must prove possession: the last block's
	Holders   []ed25519.PublicKey // the keys of all blocks, in order
	Blocks    []vaultmesh.Digest  // the digest of each block; revoking one revokes all that descend from it
	Domain    vaultmesh.Domain    // the domain that it was verified for
	grants    []Grant
}

// Action is what somebody wants to do.
type Action struct {
	Verb Verb
	// Twin is the object; empty for the whole domain, which needs the glob * in every block.
	Twin vaultmesh.TwinID
	// Command and Args belong to the verbs simulate, command and approve, which need them. Args is a JSON object of
	// at most 64 KiB; empty counts as {}.
	Command string
	Args    json.RawMessage
}

// UseLimit is a block's bound on the number of commands.
type UseLimit struct {
	Block vaultmesh.Digest
	Max   uint64
}

// Verify checks every signature of t from root, and that t may be used in domain at now. Errors are of kind Denied,
// or Expired.
func Verify(t Token, root ed25519.PublicKey, now time.Time, domain vaultmesh.Domain) (Verified, error) {
	if len(t.blocks) == 0 || len(t.blocks) > MaxBlocks || len(root) != ed25519.PublicKeySize || domain == "" {
		return Verified{}, vaultmesh.Errorf(vaultmesh.Denied, "capability.verify", "", "no token, no root key or no domain")
	}
	v := Verified{Principal: t.blocks[0].body.Principal, Domain: domain}
	var before vaultmesh.Digest
	signer := root
	for i := range t.blocks {
		b := &t.blocks[i]
		m := message(before, b.payload)
		if !ed25519.Verify(signer, m, b.sig) {
			return Verified{}, vaultmesh.Errorf(vaultmesh.Denied, "capability.verify", "", "the signature of block %d does not verify", i).
				WithFix("use a token that this domain's capability root issued")
		}
		before = vaultmesh.Sum(m)
		signer = slices.Clone(ed25519.PublicKey(b.body.Holder))
		v.Blocks = append(v.Blocks, before)
		v.Holders = append(v.Holders, signer)
		v.grants = append(v.grants, b.grant)
	}
	v.Holder = signer
	for i := range v.grants {
		if a := v.grants[i].Audience; a != nil && !slices.Contains(a, domain) {
			return Verified{}, vaultmesh.Errorf(vaultmesh.Denied, "capability.verify", "audience", "the token is not for this domain")
		}
	}
	if err := v.ValidAt(now); err != nil {
		return Verified{}, err
	}
	return v, nil
}

// ValidAt checks the times of every block again, for instance when a command is dispatched long after its proposal.
// Errors are of kind Expired, or Denied where the token is not valid yet.
func (v *Verified) ValidAt(now time.Time) error {
	if v == nil || len(v.grants) == 0 {
		return denied("token", "the token was not verified")
	}
	for i := range v.grants {
		g := &v.grants[i]
		if now.Before(g.NotBefore) {
			return denied("not_before", "the token is not valid before %s", g.NotBefore.Format(timeFormat))
		}
		if !g.Expires.IsZero() && !now.Before(g.Expires) {
			return vaultmesh.Errorf(vaultmesh.Expired, "capability", "expires", "the token expired at %s", g.Expires.Format(timeFormat)).
				WithFix("ask for a new token")
		}
	}
	return nil
}

// Revoked returns the first block for which is reports true.
func (v *Verified) Revoked(is func(vaultmesh.Digest) bool) (vaultmesh.Digest, bool) {
	for _, d := range v.Blocks {
		if is(d) {
			return d, true
		}
	}
	return vaultmesh.Digest{}, false
}

// Digest names the token: the digest of its last block. It is zero for the zero Verified.
func (v *Verified) Digest() vaultmesh.Digest {
	if len(v.Blocks) == 0 {
		return vaultmesh.Digest{}
	}
	return v.Blocks[len(v.Blocks)-1]
}

// Uses returns the blocks that bound the number of commands; each must have a use left.
func (v *Verified) Uses() []UseLimit {
	var out []UseLimit
	for i := range v.grants {
		if n := v.grants[i].MaxUses; n > 0 {
			out = append(out, UseLimit{Block: v.Blocks[i], Max: n})
		}
	}
	return out
}

// Verbs returns the actions that every block grants, in the order of the first block.
func (v *Verified) Verbs() []Verb {
	return v.common(func(g *Grant) []string { return g.Actions })
}

// Roles returns the roles that every block grants, in the order of the first block.
func (v *Verified) Roles() []string {
	return v.common(func(g *Grant) []string { return g.Roles })
}

func (v *Verified) common(list func(*Grant) []string) []string {
	var out []string
	for i := range v.grants {
		l := list(&v.grants[i])
		switch {
		case i == 0:
			out = slices.Clone(l)
		case l != nil:
			out = slices.DeleteFunc(out, func(s string) bool { return !slices.Contains(l, s) })
		}
	}
	return out
}

// Allows reports whether every block grants a. The error is of kind Denied, its subject is the field that refuses,
// and its text says the block. The times are not checked again: see [Verified.ValidAt].
func (v *Verified) Allows(a Action) error {
	if v == nil || len(v.grants) == 0 {
		return denied("token", "the token was not verified")
	}
	if !slices.Contains(verbs, a.Verb) {
		return denied("actions", "%.32q is no verb", a.Verb)
	}
	withCommand := a.Verb == Simulate || a.Verb == Command || a.Verb == Approve
	if withCommand && (a.Twin == "" || a.Command == "") {
		return denied("commands", "the action %q needs a twin and a command", a.Verb)
	}
	var args arguments
	for i := range v.grants {
		g := &v.grants[i]
		first := i == 0
		if (first || g.Actions != nil) && !slices.Contains(g.Actions, a.Verb) {
			return ungranted("actions", "block %d does not grant the action %q", i, a.Verb)
		}
		if first || g.Twins != nil {
			switch {
			case a.Twin == "" && !slices.Contains(g.Twins, "*"):
				return denied("twins", "block %d does not grant the whole domain", i).WithFix("name a twin, or ask for a token with the twins *")
			case a.Twin != "" && !matchAny(g.Twins, string(a.Twin)):
				return ungranted("twins", "block %d does not grant the twin %.64q", i, a.Twin)
			}
		}
		if !withCommand {
			continue
		}
		if (first || g.Commands != nil) && !matchAny(g.Commands, a.Command) {
			return ungranted("commands", "block %d does not grant the command %.64q", i, a.Command)
		}
		if len(g.Args) == 0 {
			continue
		}
		if args == nil {
			var err error
			if args, err = decodeArguments(a.Args); err != nil {
				return err
			}
		}
		if err := args.within(a.Command, g.Args, i); err != nil {
			return err
		}
	}
	return nil
}

// ungranted refuses what another credential may be allowed.
func ungranted(field, format string, args ...any) *vaultmesh.Error {
	return denied(field, format, args...).WithFix("use a credential that grants it; `vaultmesh capability show` says what this one may do")
}

func denied(field, format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Denied, "capability", field, format, args...)
}
