package capability

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// key returns the private key of a name.
func key(name string) ed25519.PrivateKey {
	seed := vaultmesh.Sum([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func pub(name string) ed25519.PublicKey { return key(name).Public().(ed25519.PublicKey) }

func agentGrant() Grant {
	return Grant{
		Actions: []Verb{Read, Simulate, Command}, Twins: []string{"gen-*", "line-9-10"}, Commands: []string{"set*", "openBreaker"},
		Args:    map[string]Range{"setActivePower.megawatts": Between(0, 500), "setTap.mode": {OneOf: []string{"up", "down"}}},
		MaxUses: 10, NotBefore: t0, Expires: t0.Add(time.Hour), Audience: []vaultmesh.Domain{"grid.example"}, Roles: []string{"dispatcher", "planner"},
	}
}

func issue(t testing.TB, g Grant) Token {
	t.Helper()
	tok, err := Issue(key("root"), "agent:dispatcher", pub("agent"), g)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func verify(t testing.TB, tok Token) *Verified {
	t.Helper()
	v, err := Verify(tok, pub("root"), t0, "grid.example")
	if err != nil {
		t.Fatal(err)
	}
	return &v
}

func subject(err error) string {
	var e *vaultmesh.Error
	if errors.As(err, &e) {
		return e.Subject
	}
	return ""
}

func TestAllows(t *testing.T) {
	v := verify(t, issue(t, agentGrant()))
	command := func(twin vaultmesh.TwinID, name, args string) Action {
		return Action{Verb: Command, Twin: twin, Command: name, Args: json.RawMessage(args)}
	}
	for _, c := range []struct {
		name    string
		action  Action
		refuses string // subject of the error; empty for allowed
	}{
		{"in range", command("gen-10", "setActivePower", `{"megawatts":450}`), ""},
		{"lowest", command("gen-10", "setActivePower", `{"megawatts":0}`), ""},
		{"highest", command("gen-10", "setActivePower", `{"megawatts":5e2}`), ""},
		{"unbounded command", command("line-9-10", "openBreaker", ``), ""},
		{"string among", command("gen-1", "setTap", `{"mode":"up"}`), ""},
		{"read", Action{Verb: Read, Twin: "gen-1"}, ""},
		{"simulate", Action{Verb: Simulate, Twin: "gen-1", Command: "setVoltage"}, ""},

		{"above", command("gen-10", "setActivePower", `{"megawatts":500.0001}`), "args[setActivePower.megawatts]"},
		{"below", command("gen-10", "setActivePower", `{"megawatts":-1e-9}`), "args[setActivePower.megawatts]"},
		{"missing", command("gen-10", "setActivePower", `{}`), "args[setActivePower.megawatts]"},
		{"absent", command("gen-10", "setActivePower", ``), "args[setActivePower.megawatts]"},
		{"string for number", command("gen-10", "setActivePower", `{"megawatts":"500"}`), "args[setActivePower.megawatts]"},
		{"null", command("gen-10", "setActivePower", `{"megawatts":null}`), "args[setActivePower.megawatts]"},
		{"boolean", command("gen-10", "setActivePower", `{"megawatts":true}`), "args[setActivePower.megawatts]"},
		{"array", command("gen-10", "setActivePower", `{"megawatts":[100]}`), "args[setActivePower.megawatts]"},
		{"object", command("gen-10", "setActivePower", `{"megawatts":{"v":100}}`), "args[setActivePower.megawatts]"},
		{"infinite", command("gen-10", "setActivePower", `{"megawatts":1e999}`), "args[setActivePower.megawatts]"},
		{"NaN", command("gen-10", "setActivePower", `{"megawatts":NaN}`), "args"},
		{"huge integer", command("gen-10", "setActivePower", `{"megawatts":-99999999999999999999999999}`), "args[setActivePower.megawatts]"},
		{"twice", command("gen-10", "setActivePower", `{"megawatts":9000,"megawatts":1}`), "args"},
		{"other case", command("gen-10", "setActivePower", `{"Megawatts":1}`), "args[setActivePower.megawatts]"},
		{"escaped twice", command("gen-10", "setActivePower", `{"megawatts":1,"megawatt\u0073":9}`), "args"},
		{"trailing", command("gen-10", "setActivePower", `{"megawatts":1}{"megawatts":9000}`), "args"},
		{"not an object", command("gen-10", "setActivePower", `[1]`), "args"},
		{"not UTF-8", command("gen-10", "setActivePower", "{\"megawatts\":1,\"\xff\":2}"), "args"},
		{"too large", command("gen-10", "setActivePower", `{"megawatts":1,"x":"`+strings.Repeat("a", 65<<10)+`"}`), "args"},
		{"string not among", command("gen-1", "setTap", `{"mode":"left"}`), "args[setTap.mode]"},
		{"number for string", command("gen-1", "setTap", `{"mode":1}`), "args[setTap.mode]"},
		{"other twin", command("load-10", "setActivePower", `{"megawatts":1}`), "twins"},
		{"confusable twin", command("gеn-10", "setActivePower", `{"megawatts":1}`), "twins"}, // Cyrillic е
		{"twin as pattern", command("line-9-*", "openBreaker", ``), "twins"},
		{"other command", command("gen-10", "shed", `{}`), "commands"},
		{"no command", Action{Verb: Command, Twin: "gen-1"}, "commands"},
		{"no twin", Action{Verb: Command, Command: "setTap"}, "commands"},
		{"whole domain", Action{Verb: Read}, "twins"},
		{"verb not granted", Action{Verb: Approve, Twin: "gen-1", Command: "setTap"}, "actions"},
		{"verb unknown", Action{Verb: "everything", Twin: "gen-1"}, "actions"},
		{"verb empty", Action{Twin: "gen-1"}, "actions"},
	} {
		err := v.Allows(c.action)
		if (err == nil) != (c.refuses == "") || subject(err) != c.refuses {
			t.Errorf("%s: got %v, want refusal by %q", c.name, err, c.refuses)
		}
		if err != nil && vaultmesh.KindOf(err) != vaultmesh.Denied {
			t.Errorf("%s: kind %v", c.name, vaultmesh.KindOf(err))
		}
	}
}

func TestZeroValuesAllowNothing(t *testing.T) {
	var none *Verified
	for _, v := range []*Verified{none, {}} {
		if v.Allows(Action{Verb: Read, Twin: "x"}) == nil || v.ValidAt(t0) == nil {
			t.Error("an unverified capability allows something")
		}
	}
	if _, err := Verify(Token{}, pub("root"), t0, "d"); err == nil {
		t.Error("the zero token verifies")
	}
	empty := verify(t, issue(t, Grant{Expires: t0.Add(time.Hour)}))
	for _, verb := range verbs {
		if empty.Allows(Action{Verb: verb, Twin: "x", Command: "y"}) == nil || empty.Allows(Action{Verb: verb}) == nil {
			t.Errorf("a grant of nothing allows %s", verb)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	tok := issue(t, agentGrant())
	for _, c := range []struct {
		name   string
		root   string
		now    time.Time
		domain vaultmesh.Domain
		kind   vaultmesh.Kind
	}{
		{"other root", "mallory", t0, "grid.example", vaultmesh.Denied},
		{"too early", "root", t0.Add(-time.Microsecond), "grid.example", vaultmesh.Denied},
		{"expired", "root", t0.Add(time.Hour), "grid.example", vaultmesh.Expired},
		{"other audience", "root", t0, "grid2.example", vaultmesh.Denied},
		{"no domain", "root", t0, "", vaultmesh.Denied},
	} {
		if _, err := Verify(tok, pub(c.root), c.now, c.domain); err == nil || vaultmesh.KindOf(err) != c.kind {
			t.Errorf("%s: got %v, want kind %v", c.name, err, c.kind)
		}
	}
	v := verify(t, tok)
	if err := v.ValidAt(t0.Add(time.Hour)); vaultmesh.KindOf(err) != vaultmesh.Expired {
		t.Errorf("expired later: %v", err)
	}
	if d, revoked := v.Revoked(func(d vaultmesh.Digest) bool { return d == v.Blocks[0] }); !revoked || d != v.Digest() {
		t.Error("the revoked block was not found")
	}
}

func TestIssueRefuses(t *testing.T) {
	nan, inf, one := math.NaN(), math.Inf(1), 1.0
	for _, c := range []struct {
		name, field string
		change      func(*Grant)
	}{
		{"verb", "actions", func(g *Grant) { g.Actions = []Verb{"root"} }},
		{"glob characters", "twins", func(g *Grant) { g.Twins = []string{"gen-[0-9]"} }},
		{"not ASCII", "twins", func(g *Grant) { g.Twins = []string{"gеn-1"} }},
		{"wildcards", "commands", func(g *Grant) { g.Commands = []string{"*a*b*c*d*e*f*g*h*i"} }},
		{"empty pattern", "commands", func(g *Grant) { g.Commands = []string{""} }},
		{"long list", "twins", func(g *Grant) { g.Twins = make([]string, MaxList+1) }},
		{"no expiry", "expires", func(g *Grant) { g.Expires = time.Time{} }},
		{"expires first", "expires", func(g *Grant) { g.Expires = g.NotBefore }},
		{"empty audience", "audience", func(g *Grant) { g.Audience = []vaultmesh.Domain{} }},
		{"NaN", `args["x"]`, func(g *Grant) { g.Args = map[string]Range{"x": {Min: &nan}} }},
		{"infinite", `args["x"]`, func(g *Grant) { g.Args = map[string]Range{"x": {Max: &inf}} }},
		{"crossed", `args["x"]`, func(g *Grant) { g.Args = map[string]Range{"x": Between(2, 1)} }},
		{"no bound", `args["x"]`, func(g *Grant) { g.Args = map[string]Range{"x": {}} }},
		{"both kinds", `args["x"]`, func(g *Grant) { g.Args = map[string]Range{"x": {Min: &one, OneOf: []string{"a"}}} }},
		{"bad name", `args["a b"]`, func(g *Grant) { g.Args = map[string]Range{"a b": Between(0, 1)} }},
	} {
		g := agentGrant()
		c.change(&g)
		if _, err := Issue(key("root"), "agent:a", pub("a"), g); subject(err) != c.field {
			t.Errorf("%s: got %v, want an error about %s", c.name, err, c.field)
		}
	}
	if _, err := Issue(nil, "agent:a", pub("a"), agentGrant()); err == nil {
		t.Error("issued without a key")
	}
	if _, err := Issue(key("root"), "agent:a", nil, agentGrant()); err == nil {
		t.Error("issued for no holder")
	}
	if _, err := Issue(key("root"), "a b", pub("a"), agentGrant()); err == nil {
		t.Error("issued for a malformed principal")
	}
}

func TestAttenuateRefusesToWiden(t *testing.T) {
	tok := issue(t, agentGrant())
	for _, c := range []struct {
		name, field string
		g           Grant
	}{
		{"action", "actions", Grant{Actions: []Verb{Read, Admin}}},
		{"twin", "twins", Grant{Twins: []string{"load-1"}}},
		{"twin glob", "twins", Grant{Twins: []string{"ge*"}}},
		{"every twin", "twins", Grant{Twins: []string{"*"}}},
		{"command", "commands", Grant{Commands: []string{"closeBreaker"}}},
		{"role", "roles", Grant{Roles: []string{"operator"}}},
		{"audience", "audience", Grant{Audience: []vaultmesh.Domain{"other.example"}}},
		{"uses", "max_uses", Grant{MaxUses: 11}},
		{"earlier", "not_before", Grant{NotBefore: t0.Add(-time.Second), Expires: t0.Add(time.Second)}},
		{"later", "expires", Grant{Expires: t0.Add(time.Hour + time.Microsecond)}},
		{"maximum", "args[setActivePower.megawatts]", Grant{Args: map[string]Range{"setActivePower.megawatts": Between(0, 501)}}},
		{"minimum", "args[setActivePower.megawatts]", Grant{Args: map[string]Range{"setActivePower.megawatts": Between(-1, 10)}}},
		{"string", "args[setTap.mode]", Grant{Args: map[string]Range{"setTap.mode": {OneOf: []string{"up", "left"}}}}},
		{"type", "args[setTap.mode]", Grant{Args: map[string]Range{"setTap.mode": Between(0, 1)}}},
	} {
		if _, err := Attenuate(tok, key("agent"), pub("sub"), c.g); subject(err) != c.field || vaultmesh.KindOf(err) != vaultmesh.Denied {
			t.Errorf("%s: got %v, want a refusal about %s", c.name, err, c.field)
		}
	}
	if _, err := Attenuate(tok, key("root"), pub("sub"), Grant{}); err == nil {
		t.Error("attenuated with a key that is not the holder's")
	}
}

// TestWidenedBlockHasNoEffect signs the block that Attenuate refuses to make.
func TestWidenedBlockHasNoEffect(t *testing.T) {
	narrow := agentGrant()
	narrow.Twins, narrow.Actions = []string{"gen-1"}, []Verb{Read, Command}
	narrow.Commands, narrow.Args = []string{"setActivePower"}, map[string]Range{"megawatts": Between(0, 10)}
	wide := Grant{
		Actions: verbs, Twins: []string{"*"}, Commands: []string{"*"}, Args: map[string]Range{"megawatts": Between(-1e6, 1e6)}, MaxUses: 1e6,
		Expires: t0.Add(1e6 * time.Hour), Audience: []vaultmesh.Domain{"grid.example", "other.example"}, Roles: []string{"operator"},
	}
	forged, err := seal(issue(t, narrow), key("agent"), blockBody{Grant: wide}, pub("sub"))
	if err != nil {
		t.Fatal(err)
	}
	v := verify(t, forged)
	for _, a := range []Action{
		{Verb: Admin, Twin: "gen-1"}, {Verb: Read, Twin: "gen-2"}, {Verb: Read},
		{Verb: Command, Twin: "gen-1", Command: "shed", Args: json.RawMessage(`{"megawatts":1}`)},
		{Verb: Command, Twin: "gen-1", Command: "setActivePower", Args: json.RawMessage(`{"megawatts":11}`)},
	} {
		if v.Allows(a) == nil {
			t.Errorf("the widened block lets through %+v", a)
		}
	}
	if err := v.Allows(Action{Verb: Command, Twin: "gen-1", Command: "setActivePower", Args: json.RawMessage(`{"megawatts":10}`)}); err != nil {
		t.Error(err)
	}
	if len(v.Roles()) != 0 {
		t.Errorf("roles %v, want none: the blocks share none", v.Roles())
	}
	if v.ValidAt(t0.Add(2*time.Hour)) == nil {
		t.Error("the widened block prolongs the token")
	}
	if _, err := Verify(forged, pub("root"), t0, "other.example"); err == nil {
		t.Error("the widened block adds an audience")
	}
	if uses := v.Uses(); len(uses) != 2 || uses[0].Max != 10 {
		t.Errorf("uses %v", uses)
	}
}

func TestChain(t *testing.T) {
	tok := issue(t, agentGrant())
	holder := "agent"
	for i := 1; i < MaxBlocks; i++ {
		next := holder + "'"
		var err error
		if tok, err = Attenuate(tok, key(holder), pub(next), Grant{Expires: t0.Add(time.Hour - time.Duration(i)*time.Minute)}); err != nil {
			t.Fatal(err)
		}
		holder = next
	}
	v := verify(t, tok)
	if !v.Holder.Equal(pub(holder)) || len(v.Holders) != MaxBlocks || v.Principal != "agent:dispatcher" {
		t.Errorf("%+v", v)
	}
	if _, err := Attenuate(tok, key(holder), pub("x"), Grant{}); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("a sixth block: %v", err)
	}
	// A block of another chain does not fit, although its signer is the same holder.
	other := agentGrant()
	other.MaxUses = 11
	foreign, err := Attenuate(issue(t, other), key("agent"), pub("agent'"), Grant{})
	if err != nil {
		t.Fatal(err)
	}
	spliced := Token{blocks: []block{tok.blocks[0], foreign.blocks[1]}}
	if _, err := Verify(spliced, pub("root"), t0, "grid.example"); err == nil {
		t.Error("a block of another chain verifies")
	}
	// Without its last block the token still verifies, but for the holder before.
	cut := verify(t, Token{blocks: tok.blocks[:2]})
	if cut.Holder.Equal(pub(holder)) {
		t.Error("the shortened token names the last holder")
	}
}
