package receipt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"vaultmesh.org/vaultmesh"
)

// testKey signs with an ed25519 key made from a name, so that every test run has the same keys.
type testKey struct{ ed25519.PrivateKey }

func newTestKey(name string) testKey {
	seed := sha256.Sum256([]byte("test key " + name))
	return testKey{ed25519.NewKeyFromSeed(seed[:])}
}

func (k testKey) pub() ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func (k testKey) KeyID() string { return KeyID(k.pub()) }

func (k testKey) Sign(message []byte) ([]byte, error) {
	return ed25519.Sign(k.PrivateKey, message), nil
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC)

func sampleDraft() (Draft, Link) {
	ref := Ref{Index: 1<<63 + 5, Leaf: vaultmesh.Sum([]byte("x"))}
	return Draft{
		Kind: CommandDispatched, Subject: CommandSubject("cmd-1"), Actor: "node:dev", Time: t0,
		Capability: vaultmesh.Sum([]byte("cap")), Policy: vaultmesh.Sum([]byte("policy")),
		Decision: "d-\"1\"", Outcome: "sent\n\x01 ü", Causes: []Ref{ref, ref},
		Body: json.RawMessage(`{"args_digest":"","command":"cmd-1","v":1.5}`),
	}, Link{Seq: 7, Prev: &ref}
}

func TestEncodeOpenRoundTrip(t *testing.T) {
	key := newTestKey("receipt")
	for _, signer := range []Signer{nil, key} {
		d, l := sampleDraft()
		env, err := Encode("dev", d, l, signer)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(env)
		if err != nil {
			t.Fatal(err)
		}
		if r.Domain != "dev" || r.Kind != d.Kind || r.Decision != d.Decision || r.Outcome != d.Outcome || !r.Time.Equal(d.Time) ||
			r.Capability != d.Capability || len(r.Causes) != 2 || r.Causes[1] != d.Causes[1] || r.Seq != 7 || *r.Prev != *l.Prev ||
			!bytes.Equal(r.Body, d.Body) || r.Leaf != LeafHash(env) {
			t.Errorf("opened to %+v", r)
		}
		again, err := Encode(r.Domain, r.Draft, r.Link, signer)
		if err != nil || !bytes.Equal(again, env) {
			t.Errorf("encoding again gives other bytes: %v", err)
		}
		if signer == nil {
			if r.Signed() || r.CheckSignature(key.pub()) == nil {
				t.Error("an unsigned receipt passes as signed")
			}
			continue
		}
		if err := r.CheckSignature(key.pub()); err != nil {
			t.Error(err)
		}
		if r.CheckSignature(newTestKey("other").pub()) == nil {
			t.Error("a foreign key verifies")
		}
	}
}

// TestInToto reads the statement with the reference implementation of in-toto.
func TestInToto(t *testing.T) {
	d, l := sampleDraft()
	env, err := Encode("dev", d, l, newTestKey("receipt"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(env)
	if err != nil {
		t.Fatal(err)
	}
	var st v1.Statement
	if err := protojson.Unmarshal(r.statement, &st); err != nil {
		t.Fatal(err)
	}
	if err := st.Validate(); err != nil {
		t.Fatal(err)
	}
	if st.GetPredicateType() != PredicateType || st.GetSubject()[0].GetName() != "command/cmd-1" {
		t.Errorf("statement %v", &st)
	}
	if got := st.GetPredicate().AsMap()["seq"]; got != "7" {
		t.Errorf("seq = %v, want the string 7", got)
	}
}

// TestEveryByteOfAnEnvelopeCounts flips each bit pattern of each byte: Open refuses, or the signature does.
func TestEveryByteOfAnEnvelopeCounts(t *testing.T) {
	d, l := sampleDraft()
	key := newTestKey("receipt")
	env, err := Encode("dev", d, l, key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range env {
		for _, x := range []byte{0x01, 0x20, 0x80} {
			bad := bytes.Clone(env)
			bad[i] ^= x
			r, err := Open(bad)
			if err == nil && r.KeyID == key.KeyID() && r.CheckSignature(key.pub()) == nil {
				t.Fatalf("byte %d may be changed from %q to %q", i, env[i], bad[i])
			}
		}
	}
}

// dsseKey lets the reference implementation of DSSE verify with our key.
type dsseKey struct{ testKey }

func (k dsseKey) KeyID() (string, error)   { return k.testKey.KeyID(), nil }
func (k dsseKey) Public() crypto.PublicKey { return k.pub() }
func (k dsseKey) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(k.pub(), data, sig) {
		return errors.New("does not verify")
	}
	return nil
}

// TestDSSE verifies the envelope with the reference implementation of DSSE.
func TestDSSE(t *testing.T) {
	d, l := sampleDraft()
	raw, err := Encode("dev", d, l, newTestKey("receipt"))
	if err != nil {
		t.Fatal(err)
	}
	var env dsse.Envelope
	if err := json.Unmarshal(raw, &env); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"receipt": true, "other": false} {
		v, err := dsse.NewEnvelopeVerifier(dsseKey{newTestKey(name)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), &env); (err == nil) != ok {
			t.Errorf("key %s: %v", name, err)
		}
	}
}

// librarysPAE is the encoding by the reference implementation.
func librarysPAE(payloadType string, payload []byte) []byte { return dsse.PAE(payloadType, payload) }
