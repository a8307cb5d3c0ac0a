// Package capability owns what a holder of a key may do: grants, the signed chain of blocks that carries them,
// offline attenuation, and the proof that a request comes from the key's holder. It is on floor 1 and pure: no I/O,
// no clock, no goroutine; the time is passed in.
//
// It must not know how a token travels (HTTP, MCP), who keeps the revocation list, how uses are counted, or what a
// command does to an asset. It imports only the root package.
//
// A [Token] is a chain of one to [MaxBlocks] blocks. Block 0 is signed by the domain's capability root, block n by
// the holder that block n-1 names, so a holder narrows a token without asking anybody. A token holds public keys
// only: it is of no use to somebody who has the text but not the last holder's private key. Each block states a
// [Grant], and every block must allow an action: the effective grant is the intersection, whatever a later block says.
package capability

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Verb is what a grant's Actions list names.
type Verb = string

// The closed set of verbs.
const (
	Read     Verb = "read"     // twins, history, receipts
	Simulate Verb = "simulate" // ask what a command would do
	Command  Verb = "command"  // propose a command
	Approve  Verb = "approve"  // approve or reject a proposed command
	Halt     Verb = "halt"     // set the domain's stop switch
	Admin    Verb = "admin"    // issue, revoke, enrol, define
	Anchor   Verb = "anchor"   // have the log anchored now, which may cost money
)

var verbs = []Verb{Read, Simulate, Command, Approve, Halt, Admin, Anchor}

// Bounds of a grant; a token beyond them is refused whoever signed it.
const (
	MaxList    = 64  // entries in a list or in Args
	MaxPattern = 128 // bytes of a glob, a role, an allowed string
	maxStars   = 8   // wildcards in one glob
	maxArgName = 2*64 + 1
)

// Grant states what a block allows. In the first block a nil Actions, Twins or Commands grants nothing; in a later
// block a nil field adds no restriction. A non-nil empty list always grants nothing.
type Grant struct {
	// Actions are verbs of the closed set.
	Actions []Verb `json:"act,omitzero"`
	// Twins and Commands are globs over identifiers and command names. The only wildcard is *, which stands for
	// any run of characters, also the empty one.
	Twins    []string `json:"tw,omitzero"`
	Commands []string `json:"cmd,omitzero"`
	// Args bounds arguments of a command. A key is an argument's name ("megawatts", for every command) or
	// command.argument ("setTap.ratio", for that command only). An argument that is bounded must be there.
	Args map[string]Range `json:"arg,omitzero"`
	// MaxUses is the largest number of commands under this block and all that descend from it; 0 is no limit. The
	// count is kept by whoever orders the commands, under the block's digest: see [Verified.Uses].
	MaxUses uint64 `json:"n,omitzero"`
	// NotBefore (inclusive) and Expires (exclusive) have microsecond resolution. The first block must expire.
	NotBefore time.Time `json:"-"`
	Expires   time.Time `json:"-"`
	// Audience are the domains that may accept the token; nil in every block means any domain that trusts the root.
	Audience []vaultmesh.Domain `json:"aud,omitzero"`
	// Roles are handed to the policy. A later block can keep fewer, never add one.
	Roles []string `json:"rol,omitzero"`
}

// Range bounds one argument: a number in [Min, Max], either end open where nil, or a string that is one of OneOf. An
// argument of another JSON type is refused.
type Range struct {
	Min   *float64 `json:"min,omitzero"`
	Max   *float64 `json:"max,omitzero"`
	OneOf []string `json:"in,omitzero"`
}

// Between is the [Range] of the numbers from lo to hi, both included.
func Between(lo, hi float64) Range { return Range{Min: &lo, Max: &hi} }

// invalid is the error of a grant that cannot be put into a block.
func invalid(field, format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "capability.grant", field, format, args...)
}

// check reports the first field of g that is malformed. first says whether g belongs to block 0.
func (g *Grant) check(first bool) error {
	for _, v := range g.Actions {
		if !slices.Contains(verbs, v) {
			return invalid("actions", "%.32q is no verb", v).WithFix("use one of %s", strings.Join(verbs, ", "))
		}
	}
	lists := []struct {
		field string
		list  []string
	}{{"actions", g.Actions}, {"twins", g.Twins}, {"commands", g.Commands}, {"roles", g.Roles}}
	for _, l := range lists {
		if len(l.list) > MaxList {
			return invalid(l.field, "%d entries, the limit is %d", len(l.list), MaxList)
		}
		for _, s := range l.list {
			glob := l.field == "twins" || l.field == "commands"
			if err := checkPattern(l.field, s, glob); err != nil {
				return err
			}
		}
	}
	if g.Audience != nil && (len(g.Audience) == 0 || len(g.Audience) > MaxList) {
		return invalid("audience", "%d entries, want 1 to %d", len(g.Audience), MaxList).WithFix("leave it nil for any domain that trusts the root")
	}
	for _, d := range g.Audience {
		if err := vaultmesh.CheckID("capability.grant audience", string(d)); err != nil {
			return err
		}
	}
	if len(g.Args) > MaxList {
		return invalid("args", "%d entries, the limit is %d", len(g.Args), MaxList)
	}
	for name, r := range g.Args {
		if err := r.check(name); err != nil {
			return err
		}
	}
	if first && g.Expires.IsZero() {
		return invalid("expires", "a capability must expire").WithFix("set Expires; minutes for an agent, hours for a person")
	}
	if !g.Expires.IsZero() && !g.Expires.After(g.NotBefore) {
		return invalid("expires", "not later than not-before")
	}
	for _, t := range []time.Time{g.NotBefore, g.Expires} {
		if !t.IsZero() && (t.Year() < 1971 || t.Year() > 9999) {
			return invalid("expires", "the year %d is outside 1971 to 9999", t.Year())
		}
	}
	return nil
}

// checkPattern bounds a text of a grant: printable ASCII without quotes, and wildcards only where glob.
func checkPattern(field, s string, glob bool) error {
	if s == "" || len(s) > MaxPattern {
		return invalid(field, "an entry of %d bytes, want 1 to %d", len(s), MaxPattern)
	}
	stars := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '*' && glob:
			stars++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._:@-", c) >= 0:
		default:
			return invalid(field, "byte %d of %.64q is not allowed", i, s).WithFix("letters, digits, . _ : @ - and, in twins and commands, *")
		}
	}
	if stars > maxStars {
		return invalid(field, "%q has %d wildcards, the limit is %d", s, stars, maxStars)
	}
	return nil
}

func (r Range) check(name string) error {
	field := fmt.Sprintf("args[%.64q]", name)
	command, arg, qualified := strings.Cut(name, ".")
	if !qualified {
		arg = command
	}
	if len(name) > maxArgName || !isName(arg) || !isName(command) {
		return invalid(field, "not an argument's name").WithFix("write argument or command.argument, each a letter and then letters, digits and _")
	}
	if len(r.OneOf) > MaxList {
		return invalid(field, "%d allowed strings, the limit is %d", len(r.OneOf), MaxList)
	}
	for _, s := range r.OneOf {
		if len(s) > MaxPattern {
			return invalid(field, "an allowed string has %d bytes, the limit is %d", len(s), MaxPattern)
		}
	}
	number := r.Min != nil || r.Max != nil
	if number == (r.OneOf != nil) {
		return invalid(field, "want either a minimum or maximum, or a list of allowed strings")
	}
	for _, p := range []*float64{r.Min, r.Max} {
		if p != nil && (math.IsNaN(*p) || math.IsInf(*p, 0)) {
			return invalid(field, "a bound is not a finite number")
		}
	}
	if r.Min != nil && r.Max != nil && *r.Min > *r.Max {
		return invalid(field, "the minimum %g is above the maximum %g", *r.Min, *r.Max)
	}
	return nil
}

// isName reports whether s is a name of a DTDL element.
func isName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}
