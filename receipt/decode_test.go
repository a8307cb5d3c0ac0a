package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(d *Draft, l *Link){
		"unknown kind":          func(d *Draft, _ *Link) { d.Kind = "command.sent" },
		"empty subject":         func(d *Draft, _ *Link) { d.Subject = "" },
		"subject with a quote":  func(d *Draft, _ *Link) { d.Subject = `a"b` },
		"empty actor":           func(d *Draft, _ *Link) { d.Actor = "" },
		"no time":               func(d *Draft, _ *Link) { d.Time = time.Time{} },
		"outcome not UTF-8":     func(d *Draft, _ *Link) { d.Outcome = "\xff" },
		"long decision":         func(d *Draft, _ *Link) { d.Decision = strings.Repeat("x", MaxText+1) },
		"too many causes":       func(d *Draft, _ *Link) { d.Causes = make([]Ref, MaxCauses+1) },
		"empty cause":           func(d *Draft, _ *Link) { d.Causes = []Ref{{}} },
		"first with prev":       func(_ *Draft, l *Link) { l.Seq = 0 },
		"later without prev":    func(_ *Draft, l *Link) { l.Prev = nil },
		"prev without leaf":     func(_ *Draft, l *Link) { l.Prev = &Ref{} },
		"body not an object":    func(d *Draft, _ *Link) { d.Body = []byte("[]") },
		"body not canonical":    func(d *Draft, _ *Link) { d.Body = []byte(`{"b":1,"a":1}`) },
		"body with white space": func(d *Draft, _ *Link) { d.Body = []byte(`{ }`) },
		"body with 2^53":        func(d *Draft, _ *Link) { d.Body = []byte(`{"n":9007199254740993}`) },
		"body too large":        func(d *Draft, _ *Link) { d.Body = []byte(`{"x":"` + strings.Repeat("x", 50000) + `"}`) },
	} {
		d, l := sampleDraft()
		spoil(&d, &l)
		if _, err := Encode("dev", d, l, nil); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	if _, err := Encode("", Draft{}, Link{}, nil); err == nil {
		t.Error("nothing: encoded")
	}
}

// TestOpenRefusesOtherSpellings writes the same receipt in ways that other JSON readers take for the same.
func TestOpenRefusesOtherSpellings(t *testing.T) {
	d, l := sampleDraft()
	env, err := Encode("dev", d, l, newTestKey("receipt"))
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Payload string }
	if err := json.Unmarshal(env, &e); err != nil {
		t.Fatal(err)
	}
	statement, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	within := func(old, new string) []byte {
		changed := strings.Replace(string(statement), old, new, 1)
		if changed == string(statement) {
			t.Fatalf("the statement has no %s", old)
		}
		return []byte(strings.Replace(string(env), e.Payload, base64.StdEncoding.EncodeToString([]byte(changed)), 1))
	}
	outside := func(old, new string) []byte {
		changed := strings.Replace(string(env), old, new, 1)
		if changed == string(env) {
			t.Fatalf("the envelope has no %s", old)
		}
		return []byte(changed)
	}
	for name, bad := range map[string][]byte{
		"white space":          append(bytes.Clone(env), '\n'),
		"capital member":       outside(`"payload":`, `"Payload":`),
		"unknown member":       outside(`{"payload":`, `{"a":1,"payload":`),
		"duplicate member":     outside(`"signatures":[`, `"signatures":[],"signatures":[`),
		"second signature":     outside(`"}]}`, `"},{"keyid":"","sig":""}]}`),
		"line break in base64": outside(e.Payload[:8], e.Payload[:4]+"\n"+e.Payload[4:8]),
		"other payload type":   outside(`in-toto+json`, `in-toto+xml`),
		"foreign key id":       outside(`"keyid":"ed25519:`, `"keyid":"ed25518:`),
		"statement: capital":   within(`"actor"`, `"Actor"`),
		"statement: unknown":   within(`"seq":`, `"sea":"1","seq":`),
		"statement: space":     within(`"seq":`, `"seq": `),
		"statement: number":    within(`"seq":"7"`, `"seq":7`),
		"statement: zero":      within(`"seq":"7"`, `"seq":"07"`),
		"statement: escape":    within(`"node:dev"`, `"n\u006fde:dev"`),
		"statement: time":      within(`.123456Z`, `.1234560Z`),
		"statement: offset":    within(`.123456Z`, `.123456+00:00`),
		"statement: digest":    within(`"sha256":"`, `"sha256":"00`),
		"statement: subject":   within(`"name":"command/cmd-1"`, `"name":"command/cmd-2 "`),
		"statement: kind":      within(`"kind":"command.dispatched"`, `"kind":"command.sent"`),
		"statement: body":      within(`"v":1.5`, `"v":1.50`),
		"statement: predicate": within(`receipt/v1`, `receipt/v2`),
		"statement: causes":    within(`"causes":[{`, `"causes":[,{`),
	} {
		if _, err := Open(bad); err == nil {
			t.Errorf("%s: opened", name)
		} else if vaultmesh.KindOf(err) == vaultmesh.Internal {
			t.Errorf("%s: %v is no error that teaches", name, err)
		}
	}
}

func TestChallenge(t *testing.T) {
	key := newTestKey("operator:alice")
	c := Challenge{Domain: "dev", Command: "c1", Principal: "agent:a", Twin: "line-1-2", Name: "openBreaker", Args: json.RawMessage(`{}`), TwinVersion: 1<<63 + 1,
		Policy: vaultmesh.Sum([]byte("p")), Expires: t0, Nonce: "0123456789abcdef"}
	sig := SignApproval(key.PrivateKey, c)
	if err := VerifyApproval(key.pub(), c, sig); err != nil {
		t.Fatal(err)
	}
	opened, err := OpenChallenge(c.Canonical())
	if err != nil || opened.Digest() != c.Digest() {
		t.Fatalf("%v: %+v", err, opened)
	}
	for name, change := range map[string]func(c *Challenge){
		"domain": func(c *Challenge) { c.Domain = "dev2" }, "command": func(c *Challenge) { c.Command = "c2" }, "principal": func(c *Challenge) { c.Principal = "agent:b" },
		"twin": func(c *Challenge) { c.Twin = "line-1-3" }, "name": func(c *Challenge) { c.Name = "closeBreaker" }, "args": func(c *Challenge) { c.Args = json.RawMessage(`{"a":1}`) },
		"twin version": func(c *Challenge) { c.TwinVersion++ }, "policy": func(c *Challenge) { c.Policy = vaultmesh.Sum(nil) }, "simulation": func(c *Challenge) { c.Simulation = vaultmesh.Sum(nil) },
		"expires": func(c *Challenge) { c.Expires = c.Expires.Add(time.Microsecond) }, "nonce": func(c *Challenge) { c.Nonce += "0" },
	} {
		other := c
		change(&other)
		if other.Digest() == c.Digest() || VerifyApproval(key.pub(), other, sig) == nil {
			t.Errorf("the approval does not cover %s", name)
		}
	}
	if VerifyApproval(newTestKey("operator:bob").pub(), c, sig) == nil || VerifyApproval(key.pub(), c, sig[1:]) == nil || VerifyApproval(nil, c, sig) == nil {
		t.Error("accepted with another key, a short signature or no key")
	}
	digest := c.Digest()
	if VerifyApproval(key.pub(), c, ed25519.Sign(key.PrivateKey, digest[:])) == nil {
		t.Error("a signature over the bare digest passes: approvals are not separated from other uses of the key")
	}
	short := c
	short.Nonce = "123"
	if SignApproval(key.PrivateKey, short) != nil || SignApproval(nil, c) != nil {
		t.Error("signed a malformed challenge, or without a key")
	}
	for _, bad := range []string{"", "{}", string(c.Canonical()) + " ", strings.Replace(string(c.Canonical()), `"name"`, `"Name"`, 1)} {
		if _, err := OpenChallenge([]byte(bad)); err == nil {
			t.Errorf("opened %q", bad)
		}
	}
}

func TestLoadTrust(t *testing.T) {
	s := newStory(t)
	good, err := json.MarshalIndent(trust(t, s), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTrust(good); err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) string {
		changed := strings.Replace(string(good), old, new, 1)
		if changed == string(good) {
			t.Fatalf("the file has no %s", old)
		}
		return changed
	}
	for name, bad := range map[string]string{
		"empty":             "",
		"not JSON":          "domain: dev",
		"unknown member":    change(`"domain"`, `"extra": 1, "domain"`),
		"capital member":    change(`"domain"`, `"Domain"`),
		"folding member":    change(`"receipt_keys"`, "\"receipt_\u212aeys\""), // KELVIN SIGN
		"duplicate member":  change(`"domain"`, `"domain": "x", "domain"`),
		"other origin":      change(`"origin": "vaultmesh.test/dev"`, `"origin": "vaultmesh.test/x"`),
		"bad log key":       change(`vaultmesh.test/dev+`, `vaultmesh.test/dev-`),
		"id of another key": change(newTestKey("receipt").KeyID(), newTestKey("x").KeyID()),
		"short operator":    change(base64.StdEncoding.EncodeToString(newTestKey("operator:bob").pub()), "AAAA"),
		"operator twice":    change(base64.StdEncoding.EncodeToString(newTestKey("operator:bob").pub()), base64.StdEncoding.EncodeToString(newTestKey("operator:alice").pub())),
		"not a certificate": change(`BEGIN CERTIFICATE`, `BEGIN SOMETHING`),
		"no receipt keys":   `{"domain":"dev","log":{"origin":"vaultmesh.test/dev","key":"` + s.noteV + `"},"receipt_keys":[]}`,
		"no log":            `{"domain":"dev","receipt_keys":[]}`,
		"key root":          change(`"domain"`, `"key_roots": [{"id": "x", "public": "AAAA"}], "domain"`),
		"operator's name":   change(`operator:bob`, `operator bob`),
		"certificate":       change(`BEGIN CERTIFICATE-----\n`, `BEGIN CERTIFICATE-----\nAAAA`),
		"witness policy":    change(`"domain"`, `"witness_policy": "quorum nobody\n", "domain"`),
		"bitcoin":           change(`"domain"`, `"bitcoin": {"network": "moonnet"}, "domain"`),
		"ethereum":          change(`"domain"`, `"ethereum": {"chain_id": 0}, "domain"`),
		"too many policies": change(`"policies": [`, `"policies": [`+strings.Repeat(`"`+policy.String()+`",`, maxTrusted)),
	} {
		if _, err := LoadTrust([]byte(bad)); err == nil || vaultmesh.KindOf(err) != vaultmesh.Invalid && vaultmesh.KindOf(err) != vaultmesh.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	d, l := sampleDraft()
	for _, signer := range []Signer{nil, newTestKey("receipt")} {
		env, err := Encode("dev", d, l, signer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(env)
	}
	f.Add([]byte(`{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}`))
	f.Fuzz(func(t *testing.T, env []byte) {
		r, err := Open(env)
		if err != nil {
			return
		}
		if again := appendEnvelope(nil, appendStatement(nil, r.Domain, &r.Draft, r.Link), r.KeyID, r.Signature); !bytes.Equal(again, env) {
			t.Errorf("opened %q, which would be written %q", env, again)
		}
	})
}

func FuzzDecodeBundle(f *testing.F) {
	key := newTestKey("receipt")
	bundle, err := EncodeBundle("dev", []Part{CheckpointPart([]byte("note")), MessagePart(MessageProof{Topic: "t", Payload: []byte("p"), Path: []vaultmesh.Digest{vaultmesh.Sum(nil)}})}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle)
	f.Add([]byte(`{"domain":"d","format":"vaultmesh-bundle/v2","manifest":{"keyid":"","sig":""},"parts":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBundle(data)
		if err != nil {
			return
		}
		if !bytes.Equal(b.append(nil), data) {
			t.Error("decoded a bundle that would be written otherwise")
		}
		Verify(data, &Trust{})
	})
}

func FuzzLoadTrust(f *testing.F) {
	f.Add([]byte(`{"domain":"dev","log":{"origin":"o","key":"o+00000000+AA=="},"receipt_keys":[{"id":"x","public":"AA=="}]}`))
	f.Add([]byte(`{"Domain":"dev"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if trust, err := LoadTrust(data); err == nil && len(trust.ReceiptKeys) == 0 {
			t.Error("loaded a trust file that pins no receipt key")
		}
	})
}

func FuzzMessageProof(f *testing.F) {
	p := MessageProof{Batch: 3, Index: 1, Topic: "t\"", Payload: []byte("p"), Path: []vaultmesh.Digest{vaultmesh.Sum(nil)}}
	f.Add(p.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := OpenMessageProof(data); err == nil && !bytes.Equal(p.Encode(), data) {
			t.Error("opened a proof that would be written otherwise")
		}
	})
}
