package capability

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vaultmesh.org/vaultmesh"
)

var (
	twinGlobs    = rapid.SampledFrom([]string{"*", "gen-*", "gen-1", "gen-1*", "*-1", "g*-*", "line-*", "line-9-10"})
	commandGlobs = rapid.SampledFrom([]string{"*", "set*", "setTap", "set*Power", "openBreaker", "*Breaker"})
)

func drawGrant(t *rapid.T, label string) Grant {
	list := func(g *rapid.Generator[string], name string) []string {
		if rapid.Bool().Draw(t, label+name+"?") {
			return nil
		}
		return rapid.SliceOfN(g, 0, 3).Draw(t, label+name)
	}
	g := Grant{
		Actions: list(rapid.SampledFrom(verbs), "actions"), Twins: list(twinGlobs, "twins"), Commands: list(commandGlobs, "commands"),
		Roles: list(rapid.SampledFrom([]string{"a", "b", "c"}), "roles"), MaxUses: rapid.Uint64Range(0, 3).Draw(t, label+"uses"),
		Expires: t0.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, label+"expires")) * time.Hour),
	}
	for _, name := range []string{"x", "setTap.x"} {
		if rapid.Bool().Draw(t, label+name) {
			lo := rapid.Float64Range(-10, 10).Draw(t, label+"lo")
			g.Args = map[string]Range{name: Between(lo, lo+rapid.Float64Range(0, 10).Draw(t, label+"span"))}
		}
	}
	return g
}

func drawAction(t *rapid.T) Action {
	return Action{
		Verb:    rapid.SampledFrom(verbs).Draw(t, "verb"),
		Twin:    vaultmesh.TwinID(rapid.SampledFrom([]string{"", "gen-1", "gen-12", "line-9-10", "load-1"}).Draw(t, "twin")),
		Command: rapid.SampledFrom([]string{"setTap", "setActivePower", "openBreaker", "shed"}).Draw(t, "command"),
		Args: json.RawMessage(rapid.OneOf(
			rapid.Map(rapid.Float64Range(-25, 25), func(x float64) string { return fmt.Sprintf(`{"x":%g}`, x) }),
			rapid.SampledFrom([]string{``, `{}`, `{"x":"1"}`, `{"x":1e999}`}),
		).Draw(t, "args")),
	}
}

// A later block never allows what the chain before it refuses: neither one that Attenuate makes, nor one that a holder
// signs by other means.
func TestAttenuationNeverWidens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parent, err := Issue(key("root"), "agent:a", pub("agent"), drawGrant(t, "parent "))
		if err != nil {
			t.Fatal(err)
		}
		g := drawGrant(t, "child ")
		child, err := seal(parent, key("agent"), blockBody{Grant: g}, pub("sub"))
		if err != nil {
			t.Fatal(err)
		}
		before, err := Verify(parent, pub("root"), t0, "d")
		if err != nil {
			t.Fatal(err)
		}
		after, err := Verify(child, pub("root"), t0, "d")
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			a := drawAction(t)
			if before.Allows(a) != nil && after.Allows(a) == nil {
				t.Fatalf("the attenuated token allows %+v, its parent does not", a)
			}
		}
		for hours := range 6 {
			now := t0.Add(time.Duration(hours) * time.Hour)
			if before.ValidAt(now) != nil && after.ValidAt(now) == nil {
				t.Fatal("the attenuated token lives longer than its parent")
			}
		}
		// What Attenuate accepts is the whole effect of the block: the parent grants all that g states.
		if _, err := Attenuate(parent, key("agent"), pub("sub"), g); err == nil {
			for _, p := range g.Twins {
				if before.grants[0].Twins == nil || !matchAnyCover(before.grants[0].Twins, p) {
					t.Fatalf("Attenuate accepted the twins %q under %q", p, before.grants[0].Twins)
				}
			}
		}
	})
}

func matchAnyCover(outer []string, inner string) bool {
	for _, o := range outer {
		if covers(o, inner) {
			return true
		}
	}
	return false
}

// covers agrees with the languages of the two globs.
func TestCovers(t *testing.T) {
	glob := rapid.StringOfN(rapid.RuneFrom([]rune("ab*")), 1, 6, -1)
	word := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		outer, inner, s := glob.Draw(t, "outer"), glob.Draw(t, "inner"), word.Draw(t, "s")
		if covers(outer, inner) && match(inner, s) && !match(outer, s) {
			t.Fatalf("%q is said to cover %q, but only the second matches %q", outer, inner, s)
		}
		if match(outer, s) != slowMatch(outer, s) {
			t.Fatalf("match(%q, %q) = %v", outer, s, match(outer, s))
		}
	})
}

func slowMatch(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		return slowMatch(p[1:], s) || s != "" && slowMatch(p, s[1:])
	}
	return s != "" && s[0] == p[0] && slowMatch(p[1:], s[1:])
}

func twoBlocks(t testing.TB) string {
	tok, err := Attenuate(issue(t, agentGrant()), key("agent"), pub("sub"), Grant{Twins: []string{"gen-1*"}, Roles: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	return tok.String()
}

// Every flip of every byte of a token is refused, by the parser or by the signatures.
func TestEveryFlipIsRefused(t *testing.T) {
	text := twoBlocks(t)
	if tok, err := Parse(text); err != nil {
		t.Fatal(err)
	} else if got := verify(t, tok).Roles(); len(got) != 0 {
		t.Fatalf("an empty list of roles keeps %v", got)
	}
	for i := range len(text) {
		for bit := range 8 {
			flipped := []byte(text)
			flipped[i] ^= 1 << bit
			tok, err := Parse(string(flipped))
			if err != nil {
				continue
			}
			if _, err := Verify(tok, pub("root"), t0, "grid.example"); err == nil {
				t.Fatalf("byte %d, bit %d: accepted", i, bit)
			}
		}
	}
}

func TestProof(t *testing.T) {
	target := Target{Domain: "grid.example", Method: "POST", Path: "/v1/commands", Body: vaultmesh.Sum([]byte("body"))}
	const nonce, skew = "0123456789abcdef", 30 * time.Second
	text := SignProof(key("agent"), target, t0, nonce)
	if got, err := VerifyProof(text, target, pub("agent"), t0.Add(skew), skew); err != nil || got != nonce {
		t.Fatal(got, err)
	}
	if len(text) > MaxProof {
		t.Errorf("the proof has %d bytes", len(text))
	}
	for name, change := range map[string]func(*Target){
		"domain": func(x *Target) { x.Domain = "other.example" },
		"method": func(x *Target) { x.Method = "PUT" },
		"path":   func(x *Target) { x.Path += "?dry=1" },
		"body":   func(x *Target) { x.Body = vaultmesh.Sum(nil) },
		"border": func(x *Target) { x.Method, x.Path = "POST/", "v1/commands" },
	} {
		other := target
		change(&other)
		if _, err := VerifyProof(text, other, pub("agent"), t0, skew); vaultmesh.KindOf(err) != vaultmesh.Denied || err == nil {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	for _, now := range []time.Time{t0.Add(skew + 1), t0.Add(-skew - 1)} {
		if _, err := VerifyProof(text, target, pub("agent"), now, skew); vaultmesh.KindOf(err) != vaultmesh.Expired {
			t.Errorf("at %s: %v", now, err)
		}
	}
	if _, err := VerifyProof(text, target, pub("sub"), t0, skew); err == nil {
		t.Error("another key's proof is accepted")
	}
	for _, bad := range []string{"short", "with space 0123456789", "dots.0123456789abcdef", ""} {
		if _, err := VerifyProof(SignProof(key("agent"), target, t0, bad), target, pub("agent"), t0, skew); err == nil {
			t.Errorf("the nonce %q is accepted", bad)
		}
	}
	for i := range len(text) {
		for bit := range 8 {
			flipped := []byte(text)
			flipped[i] ^= 1 << bit
			if _, err := VerifyProof(string(flipped), target, pub("agent"), t0, skew); err == nil {
				t.Fatalf("byte %d, bit %d: accepted", i, bit)
			}
		}
	}
}

func TestReplayCache(t *testing.T) {
	c := NewReplayCache(3, 2, time.Minute)
	use := func(who, nonce string, now time.Time) vaultmesh.Kind {
		if err := c.Use(pub(who), pub(who), nonce, now); err != nil {
			return vaultmesh.KindOf(err)
		}
		return ok
	}
	for i, step := range []struct {
		who, nonce string
		at         time.Duration
		want       vaultmesh.Kind
	}{
		{"a", "n1", 0, ok},
		{"a", "n1", time.Second, vaultmesh.Denied},
		{"b", "n1", time.Second, ok}, // nonces belong to their holder
		{"a", "n2", time.Second, ok},
		{"a", "n3", time.Second, vaultmesh.RateLimited}, // the holder's share
		{"c", "n1", time.Second, vaultmesh.RateLimited}, // the whole
		{"a", "n1", time.Minute, vaultmesh.Denied},      // kept to the last instant
		{"a", "n1", time.Minute + 1, ok},                // forgotten: its proof is too old by now
		{"a", "n2", time.Minute + 1, vaultmesh.Denied},
		{"c", "n1", time.Minute + time.Second + 1, ok},
	} {
		if got := use(step.who, step.nonce, t0.Add(step.at)); got != step.want {
			t.Errorf("step %d: got %v, want %v", i, got, step.want)
		}
	}
}

// ok stands for no error in tables of kinds.
const ok = vaultmesh.Kind(255)

func FuzzParse(f *testing.F) {
	text := twoBlocks(f)
	one := issue(f, Grant{Expires: t0.Add(time.Hour)}).String()
	for _, s := range []string{text, one, "", "vmc1", "vmc1.e30.e30", text + ".", text[:len(text)-1], one + "\n", "vmc1." + b64.EncodeToString([]byte(`{"k":null,"K":""}`)) + ".AA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := Parse(s)
		if err != nil {
			return
		}
		if tok.String() != s || tok.Len() < 1 || tok.Len() > MaxBlocks {
			t.Fatalf("accepted text is not canonical: %q", s)
		}
		if v, err := Verify(tok, pub("root"), t0, "grid.example"); err == nil && s != text && s != one {
			t.Fatalf("a token that nobody signed verifies: %+v", v)
		}
	})
}

func FuzzVerifyProof(f *testing.F) {
	target := Target{Domain: "d", Method: "POST", Path: "/"}
	text := SignProof(key("agent"), target, t0, "0123456789abcdef")
	for _, s := range []string{text, "", "vmp1...", "vmp1.1.0123456789abcdef.AA", text + "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := VerifyProof(s, target, pub("agent"), t0, time.Minute); err == nil && s != text {
			t.Fatalf("accepted %q", s)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	text := twoBlocks(b)
	b.ReportAllocs()
	for b.Loop() {
		tok, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Verify(tok, pub("root"), t0, "grid.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllows(b *testing.B) {
	v := verify(b, issue(b, agentGrant()))
	a := Action{Verb: Command, Twin: "gen-10", Command: "setActivePower", Args: json.RawMessage(`{"megawatts":450}`)}
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Allows(a); err != nil {
			b.Fatal(err)
		}
	}
}
