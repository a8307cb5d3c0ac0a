package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

const keyOrigin = "vaultmesh.org/log/dev"

var keyTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("rotation test " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func pubOf(name string) ed25519.PublicKey { return keyOf(name).Public().(ed25519.PublicKey) }

func signs(name string) func([]byte) ([]byte, error) {
	return func(m []byte) ([]byte, error) { return ed25519.Sign(keyOf(name), m), nil }
}

// keyChain writes receipts about keys as a log would hold them.
type keyChain struct {
	t       *testing.T
	entries []KeyEntry
}

func (c *keyChain) add(index uint64, act, purpose, key, by string) *keyChain {
	c.t.Helper()
	s := KeyStatement{Act: act, Domain: "dev", Purpose: purpose, Key: pubOf(key), By: pubOf(by), Time: keyTime}
	if purpose == PurposeLog {
		s.Origin = keyOrigin
	}
	if act == KeyDelegated {
		s.Expires = keyTime.Add(time.Hour)
	}
	possess := signs(key)
	if act == KeyRetired {
		possess = nil
	}
	b, err := SignKey(s, signs(by), possess)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.put(index, act, b)
}

func (c *keyChain) put(index uint64, kind string, b KeyBody) *keyChain {
	c.t.Helper()
	body, err := Body(b)
	if err != nil {
		c.t.Fatal(err)
	}
	d := Draft{Kind: kind, Subject: KeySubject("dev"), Actor: "node:test", Time: keyTime, Body: body}
	link := Link{Seq: uint64(len(c.entries))}
	if n := len(c.entries); n > 0 {
		link.Prev = &Ref{Index: c.entries[n-1].Index, Leaf: c.entries[n-1].Receipt.Leaf}
	}
	raw, err := Encode("dev", d, link, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := Open(raw)
	if err != nil {
		c.t.Fatal(err)
	}
	c.entries = append(c.entries, KeyEntry{Index: vaultmesh.LogIndex(index), Receipt: r})
	return c
}

func logPin(name string) Key {
	return Key{Purpose: PurposeLog, Public: pubOf(name), Origin: keyOrigin}
}

func checkpointBy(t *testing.T, size uint64, names ...string) []byte {
	t.Helper()
	n := &note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", keyOrigin, size, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")}
	var signers []note.Signer
	for _, name := range names {
		s, err := note.NewSigner(noteKey(name))
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, s)
	}
	b, err := note.Sign(n, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noteKey is the text form of a log's private key.
func noteKey(name string) string {
	text, _ := logPin(name).LogKey()
	v, _ := note.NewVerifier(text)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", keyOrigin, v.KeyHash(), encodeAlg(keyOf(name).Seed()))
}

func TestFollowKeys(t *testing.T) {
	chain := func() *keyChain { return &keyChain{t: t} }
	rotated := chain().add(10, KeyRotated, PurposeLog, "b", "a").add(20, KeyRetired, PurposeLog, "a", "b").add(30, KeyRotated, PurposeLog, "c", "b").add(40, KeyRetired, PurposeLog, "b", "c")
	for _, x := range []struct {
		name   string
		pinned []Key
		roots  []ed25519.PublicKey
		chain  *keyChain
		size   uint64
		by     []string
		want   string // the key that counts; empty: refused
	}{
		{"before the rotation", []Key{logPin("a")}, nil, rotated, 10, []string{"a"}, "a"},
		{"the new key is too early", []Key{logPin("a")}, nil, rotated, 10, []string{"b"}, ""},
		{"overlap, both", []Key{logPin("a")}, nil, rotated, 11, []string{"a", "b"}, "a"},
		{"overlap, new", []Key{logPin("a")}, nil, rotated, 15, []string{"b"}, "b"},
		{"overlap, old", []Key{logPin("a")}, nil, rotated, 20, []string{"a"}, "a"},
		{"retired", []Key{logPin("a")}, nil, rotated, 21, []string{"a"}, ""},
		{"after the retirement", []Key{logPin("a")}, nil, rotated, 21, []string{"b"}, "b"},
		{"two steps from the first pin", []Key{logPin("a")}, nil, rotated, 99, []string{"c"}, "c"},
		{"two steps, the middle key", []Key{logPin("a")}, nil, rotated, 99, []string{"b"}, ""},
		{"all pinned", []Key{logPin("a"), logPin("b"), logPin("c")}, nil, rotated, 99, []string{"c"}, "c"},
		{"all pinned, retired one", []Key{logPin("a"), logPin("b"), logPin("c")}, nil, rotated, 99, []string{"a"}, ""},
		{"only the last pinned", []Key{logPin("c")}, nil, rotated, 99, []string{"c"}, "c"},
		{"a stranger's chain", []Key{logPin("a")}, nil, chain().add(10, KeyRotated, PurposeLog, "x", "y"), 11, []string{"x"}, ""},
		{"old key hands over twice", []Key{logPin("a")}, nil, chain().add(10, KeyRotated, PurposeLog, "b", "a").add(11, KeyRotated, PurposeLog, "x", "a"), 12, []string{"x"}, ""},
		{"old key retires the new one", []Key{logPin("a")}, nil, chain().add(10, KeyRotated, PurposeLog, "b", "a").add(11, KeyRetired, PurposeLog, "b", "a"), 12, []string{"b"}, "b"},
		{"new key retires one that did not hand over", []Key{logPin("a"), logPin("b")}, nil, chain().add(10, KeyRetired, PurposeLog, "a", "b"), 12, []string{"a"}, "a"},
		{"retired key hands over", []Key{logPin("a")}, nil, chain().add(10, KeyRotated, PurposeLog, "b", "a").add(11, KeyRetired, PurposeLog, "a", "b").add(12, KeyRotated, PurposeLog, "x", "a"), 13, []string{"x"}, ""},
		{"another purpose's key", []Key{{Purpose: PurposeReceipt, Public: pubOf("a")}, logPin("z")}, nil, chain().add(10, KeyRotated, PurposeLog, "b", "a"), 11, []string{"b"}, ""},
		{"root delegates", nil, []ed25519.PublicKey{pubOf("root")}, chain().add(3, KeyDelegated, PurposeLog, "b", "root"), 4, []string{"b"}, "b"},
		{"root replaces a lost key", []Key{logPin("a")}, []ed25519.PublicKey{pubOf("root")}, chain().add(3, KeyRotated, PurposeLog, "b", "root").add(4, KeyRetired, PurposeLog, "a", "b"), 5, []string{"a"}, ""},
		{"an unpinned root", []Key{logPin("a")}, nil, chain().add(3, KeyDelegated, PurposeLog, "b", "root"), 4, []string{"b"}, ""},
		{"a key of the log does not delegate", []Key{logPin("a")}, nil, chain().add(3, KeyDelegated, PurposeLog, "b", "a"), 4, []string{"b"}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			h, err := FollowKeys("dev", x.pinned, x.roots, x.chain.entries)
			if err != nil {
				t.Fatal(err)
			}
			k, err := h.Checkpoint(checkpointBy(t, x.size, x.by...))
			switch {
			case x.want == "" && vaultmesh.KindOf(err) != vaultmesh.Denied:
				t.Fatalf("accepted with %v, %v", k, err)
			case x.want != "" && (err != nil || !k.Public.Equal(pubOf(x.want))):
				t.Fatalf("%v, %v; want the key %s", k, err, x.want)
			}
		})
	}
}

func TestReceiptKeysFollow(t *testing.T) {
	c := (&keyChain{t: t}).add(10, KeyRotated, PurposeReceipt, "b", "a").add(20, KeyRetired, PurposeReceipt, "a", "b").add(30, KeyDelegated, PurposeReceipt, "d", "root")
	h, err := FollowKeys("dev", []Key{{Purpose: PurposeReceipt, Public: pubOf("a")}}, []ed25519.PublicKey{pubOf("root")}, c.entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		key   string
		index vaultmesh.LogIndex
		at    time.Time
		ok    bool
	}{
		{"a", 0, keyTime, true}, {"a", 10, keyTime, true}, {"a", 19, keyTime, true}, {"a", 20, keyTime, true}, {"a", 21, keyTime, false}, {"b", 10, keyTime, false}, {"b", 11, keyTime, true},
		{"d", 31, keyTime.Add(time.Minute), true}, {"d", 31, keyTime.Add(2 * time.Hour), false}, {"d", 30, keyTime, false}, {"x", 11, keyTime, false},
	} {
		if _, err := h.ReceiptKey(KeyID(pubOf(x.key)), x.index, x.at); (err == nil) != x.ok {
			t.Errorf("%s at %d: %v", x.key, x.index, err)
		}
	}
	if live := h.Live(PurposeReceipt); len(live) != 2 || !live[0].Public.Equal(pubOf("b")) {
		t.Errorf("live keys %v", live)
	}
}

func TestTamperedKeyStatements(t *testing.T) {
	good := func() KeyBody {
		b, err := SignKey(KeyStatement{Act: KeyRotated, Domain: "dev", Purpose: PurposeLog, Origin: keyOrigin, Key: pubOf("b"), By: pubOf("a"), Time: keyTime}, signs("a"), signs("b"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, f := range map[string]func(*KeyBody){
		"other key":           func(b *KeyBody) { b.Key = pubOf("x") },
		"signature changed":   func(b *KeyBody) { b.Signature[3] ^= 1 },
		"possession changed":  func(b *KeyBody) { b.Possession[3] ^= 1 },
		"no possession":       func(b *KeyBody) { b.Possession = nil },
		"other time":          func(b *KeyBody) { b.Time = keyTime.Add(time.Second) },
		"a reason is added":   func(b *KeyBody) { b.Reason = "why" },
		"short key":           func(b *KeyBody) { b.Key = b.Key[:31] },
		"no signature at all": func(b *KeyBody) { b.Signature = nil },
	} {
		b := good()
		b.Signature, b.Possession = append([]byte(nil), b.Signature...), append([]byte(nil), b.Possession...)
		f(&b)
		c := (&keyChain{t: t}).put(5, KeyRotated, b)
		if _, err := FollowKeys("dev", []Key{logPin("a")}, nil, c.entries); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// The kind of the receipt must be the act that was signed; the domain too.
	if _, err := FollowKeys("dev", []Key{logPin("a")}, nil, (&keyChain{t: t}).put(5, KeyRetired, good()).entries); err == nil {
		t.Error("a handing over passes as a retirement")
	}
	if _, err := FollowKeys("other", []Key{logPin("a")}, nil, (&keyChain{t: t}).put(5, KeyRotated, good()).entries); err == nil {
		t.Error("a statement about another domain passes")
	}
	c := (&keyChain{t: t}).add(1, KeyRotated, PurposeLog, "b", "a").add(2, KeyRetired, PurposeLog, "a", "b").add(3, KeyRotated, PurposeLog, "a", "b")
	if _, err := FollowKeys("dev", []Key{logPin("a")}, nil, c.entries); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a retired key came back: %v", err)
	}
	c.entries[0], c.entries[1] = c.entries[1], c.entries[0]
	if _, err := FollowKeys("dev", []Key{logPin("a")}, nil, c.entries); err == nil {
		t.Error("out of order passes")
	}
	if _, err := FollowKeys("dev", nil, nil, nil); err == nil {
		t.Error("nothing is pinned and it passes")
	}
	for _, s := range []KeyStatement{
		{Act: KeyRotated, Domain: "dev", Purpose: PurposeLog, Key: pubOf("b"), By: pubOf("a"), Time: keyTime},
		{Act: KeyDelegated, Domain: "dev", Purpose: PurposeReceipt, Key: pubOf("b"), By: pubOf("a"), Time: keyTime},
		{Act: KeyRotated, Domain: "dev", Purpose: PurposeReceipt, Key: pubOf("b"), By: pubOf("b"), Time: keyTime},
		{Act: "key.lost", Domain: "dev", Purpose: PurposeReceipt, Key: pubOf("b"), By: pubOf("a"), Time: keyTime},
		{Act: KeyRotated, Domain: "dev", Purpose: "tea", Key: pubOf("b"), By: pubOf("a"), Time: keyTime},
	} {
		if _, err := SignKey(s, signs("a"), signs("b")); err == nil {
			t.Errorf("%+v: signed", s)
		}
	}
}

func FuzzKeyHistoryCheckpoint(f *testing.F) {
	t := &testing.T{}
	c := (&keyChain{t: t}).add(10, KeyRotated, PurposeLog, "b", "a")
	h, err := FollowKeys("dev", []Key{logPin("a")}, nil, c.entries)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(checkpointBy(t, 9, "a"))
	f.Add(checkpointBy(t, 11, "a", "b"))
	f.Add([]byte("a\n1\nb\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := h.Checkpoint(b); err == nil {
			v, _ := k.Verifier()
			if _, err := note.Open(b, note.VerifierList(v)); err != nil {
				t.Fatalf("accepted %q by a key that did not sign it", b)
			}
		}
	})
}

func FuzzParseLogKey(f *testing.F) {
	text, _ := logPin("a").LogKey()
	f.Add(text)
	f.Add("a+b+c")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseLogKey(s); err == nil {
			if again, err := k.LogKey(); err != nil || len(again) == 0 {
				t.Fatalf("%q was read and cannot be written: %v", s, err)
			}
		}
	})
}

func encodeAlg(seed []byte) string {
	return base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, seed...))
}

// A delegation that ended counts for capabilities no more than for receipts: by the time of the proposal.
func TestExpiredGranter(t *testing.T) {
	c := (&keyChain{t: t}).add(1, KeyDelegated, PurposeCapability, "cap", "root")
	h, err := FollowKeys("dev", nil, []ed25519.PublicKey{pubOf("root")}, c.entries)
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{keys: h, trust: &Trust{FollowKeys: true}}
	end := keyTime.Add(time.Hour)
	for at, want := range map[time.Time]int{keyTime: 1, end: 1, end.Add(time.Microsecond): 0, end.Add(48 * time.Hour): 0} {
		if got := j.granters(1000, at); len(got) != want {
			t.Errorf("at %s %d keys count, want %d", at, len(got), want)
		}
	}
	if got := j.granters(1, keyTime); len(got) != 0 {
		t.Error("it counts before it was introduced")
	}
}

// A pinned key that hands over and gets back what it had is no stranger to what it signed before.
func TestKeyThatIsHandedBack(t *testing.T) {
	c := (&keyChain{t: t}).add(10, KeyRotated, PurposeReceipt, "b", "a").add(20, KeyRotated, PurposeReceipt, "a", "b")
	h, err := FollowKeys("dev", []Key{{Purpose: PurposeReceipt, Public: pubOf("a")}, {Purpose: PurposeReceipt, Public: pubOf("a")}}, nil, c.entries)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(h.Keys(PurposeReceipt)); n != 2 {
		t.Errorf("%d keys: one that is pinned twice is one", n)
	}
	for index, may := range map[vaultmesh.LogIndex]bool{5: true, 15: true, 25: true} {
		if _, err := h.ReceiptKey(KeyID(pubOf("a")), index, keyTime); (err == nil) != may {
			t.Errorf("index %d: %v", index, err)
		}
	}
	if _, err := h.ReceiptKey(KeyID(pubOf("b")), 10, keyTime); err == nil {
		t.Error("the new key counts before its introduction")
	}
}

// vouch appends what the root says of a key at a time.
func (c *keyChain) vouch(index uint64, act, key string, at, ends time.Time) *keyChain {
	c.t.Helper()
	b, err := SignKey(KeyStatement{Act: act, Domain: "dev", Purpose: PurposeReceipt, Key: pubOf(key), By: pubOf("root"), Time: at, Expires: ends}, signs("root"), signs(key))
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(index, act, b)
	if act == KeyRenewed {
		c.entries[len(c.entries)-1].Receipt.Subject = RenewalSubject("dev")
	}
	return c
}

// A delegation counts for what was signed after the root gave it: one that it gives again after a gap does not reach back,
// and one that a bundle leaves out can only make a key count for less.
func TestDelegationGap(t *testing.T) {
	const day = 24 * time.Hour
	at := func(days int) time.Time { return keyTime.Add(time.Duration(days) * day) }
	root := []ed25519.PublicKey{pubOf("root")}
	all := (&keyChain{t: t}).vouch(1, KeyDelegated, "a", at(0), at(30)).vouch(100, KeyRenewed, "a", at(15), at(45)).vouch(900, KeyRenewed, "a", at(365), at(395)).vouch(950, KeyRenewed, "a", at(380), at(410)).entries
	for _, x := range []struct {
		entries []KeyEntry
		index   vaultmesh.LogIndex
		days    int
		ok      bool
	}{
		{all, 2, 29, true}, {all, 200, 44, true}, {all, 500, 46, false}, {all, 500, 200, false}, {all, 899, 364, false},
		{all, 900, 365, true}, {all, 960, 409, true}, {all, 960, 411, false}, {all[:1], 200, 44, false},
		{[]KeyEntry{all[0], all[3]}, 960, 409, true}, {[]KeyEntry{all[0], all[3]}, 920, 370, false}, {all[1:], 200, 44, false},
	} {
		h, err := FollowKeys("dev", nil, root, x.entries)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.ReceiptKey(KeyID(pubOf("a")), x.index, at(x.days)); (err == nil) != x.ok {
			t.Errorf("index %d on day %d by %d statements: %v", x.index, x.days, len(x.entries), err)
		}
	}
}

// What is renewed stands under a subject of its own, of which a bundle shows a part: nothing else may stand there, and it
// brings in no key.
func TestRenewalsBringInNoKey(t *testing.T) {
	root := []ed25519.PublicKey{pubOf("root")}
	c := (&keyChain{t: t}).vouch(1, KeyRenewed, "a", keyTime, keyTime.Add(time.Hour))
	h, err := FollowKeys("dev", nil, root, c.entries)
	if err != nil || len(h.Keys(PurposeReceipt)) != 0 {
		t.Errorf("%v %v", h, err)
	}
	hidden := (&keyChain{t: t}).add(10, KeyRotated, PurposeReceipt, "b", "a").add(20, KeyRetired, PurposeReceipt, "a", "b")
	hidden.entries[1].Receipt.Subject = RenewalSubject("dev")
	shown := (&keyChain{t: t}).vouch(1, KeyDelegated, "a", keyTime, keyTime.Add(time.Hour)).vouch(2, KeyRenewed, "a", keyTime, keyTime.Add(time.Hour))
	shown.entries[1].Receipt.Subject = KeySubject("dev")
	for name, chain := range map[string]*keyChain{"a retirement among renewals": hidden, "a renewal among changes": shown} {
		if _, err := FollowKeys("dev", []Key{{Purpose: PurposeReceipt, Public: pubOf("a")}}, root, chain.entries); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Statements about known keys do not use up what a history may hold, pins neither; a history is not changed by what is
// followed from it.
func TestManyStatements(t *testing.T) {
	var pins []Key
	for i := range 3000 {
		pins = append(pins, Key{Purpose: PurposeReceipt, Public: pubOf(fmt.Sprint("pin", i))})
	}
	root := []ed25519.PublicKey{pubOf("root")}
	c := (&keyChain{t: t}).vouch(1, KeyDelegated, "a", keyTime, keyTime.Add(time.Hour)).vouch(2, KeyRenewed, "a", keyTime.Add(time.Minute), keyTime.Add(2*time.Hour))
	entries := c.entries[:1:1]
	for i := range 2000 {
		e := c.entries[1]
		e.Index = vaultmesh.LogIndex(i + 2)
		entries = append(entries, e)
	}
	h, err := FollowKeys("dev", pins, root, entries)
	if err != nil {
		t.Fatal(err)
	}
	if h.Introduced() != 1 || len(h.Keys(PurposeReceipt)) != 3001 {
		t.Errorf("%d introduced, %d keys", h.Introduced(), len(h.Keys(PurposeReceipt)))
	}
	e := c.vouch(9000, KeyRenewed, "a", keyTime.Add(90*time.Minute), keyTime.Add(9*time.Hour)).entries[2]
	next, counts, err := h.Then("dev", e)
	if err != nil || !counts {
		t.Fatal(counts, err)
	}
	late := keyTime.Add(8 * time.Hour)
	if _, err := h.ReceiptKey(KeyID(pubOf("a")), 9001, late); err == nil {
		t.Error("the history before changed")
	}
	if _, err := next.ReceiptKey(KeyID(pubOf("a")), 9001, late); err != nil {
		t.Error(err)
	}
	if _, _, err := next.Then("dev", e); err == nil {
		t.Error("an entry counts twice")
	}
}
