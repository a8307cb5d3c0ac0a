package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"vaultmesh.org/vaultmesh"
)

// Challenge is all that a person answers for when approving a command. Change one field and the digest changes, so a
// signature over it approves this command, with these arguments, on this state, under this policy, as simulated, once.
type Challenge struct {
	Domain      vaultmesh.Domain
	Command     vaultmesh.CommandID
	Principal   vaultmesh.Principal // who proposed
	Twin        vaultmesh.TwinID
	Name        string           // of the command in the twin's model
	Args        json.RawMessage  // canonical JSON
	TwinVersion uint64           // version of the twin that was assessed
	Policy      vaultmesh.Digest // of the policy that asked for approval
	Simulation  vaultmesh.Digest // of the verdict; zero where nothing could be simulated
	Expires     time.Time        // kept to the microsecond
	Nonce       string           // 16 to 128 bytes of the identifier alphabet, fresh for each challenge
}

// approvalContext separates approvals from every other use of the same key.
const approvalContext = "vaultmesh.org/approval/v1\x00"

// Canonical returns the challenge's only text form: RFC 8785 JSON with members args, command, domain, expires, name,
// nonce, policy, principal, simulation, twin, twin_version (a string). It is what a signing tool shows and a bundle holds.
func (c Challenge) Canonical() []byte {
	b := append([]byte(nil), `{"args":`...)
	if len(c.Args) == 0 {
		b = append(b, "null"...)
	} else {
		b = append(b, c.Args...)
	}
	b = append(b, `,"command":`...)
	b = appendString(b, string(c.Command))
	b = append(b, `,"domain":`...)
	b = appendString(b, string(c.Domain))
	b = append(b, `,"expires":"`...)
	b = c.Expires.UTC().Truncate(time.Microsecond).AppendFormat(b, TimeFormat)
	b = append(b, `","name":`...)
	b = appendString(b, c.Name)
	b = append(b, `,"nonce":`...)
	b = appendString(b, c.Nonce)
	b = append(b, `,"policy":`...)
	b = appendDigest(b, c.Policy)
	b = append(b, `,"principal":`...)
	b = appendString(b, string(c.Principal))
	b = append(b, `,"simulation":`...)
	b = appendDigest(b, c.Simulation)
	b = append(b, `,"twin":`...)
	b = appendString(b, string(c.Twin))
	b = append(b, `,"twin_version":"`...)
	b = strconv.AppendUint(b, c.TwinVersion, 10)
	return append(b, `"}`...)
}

// Digest names the challenge: SHA-256 of the approval context and the canonical text.
func (c Challenge) Digest() vaultmesh.Digest {
	return vaultmesh.Sum(append([]byte(approvalContext), c.Canonical()...))
}

// SignApproval signs the challenge's digest with an operator's key; the message is the approval context and the 32
// bytes of the digest. It returns nil if the challenge is malformed or the key has the wrong length.
func SignApproval(key ed25519.PrivateKey, c Challenge) []byte {
	if len(key) != ed25519.PrivateKeySize || c.check() != nil {
		return nil
	}
	return ed25519.Sign(key, approvalMessage(c))
}

// VerifyApproval reports whether sig is the signature of pub's owner over exactly this challenge. Whether the owner
// may approve, and in time, is for the caller to decide.
func VerifyApproval(pub ed25519.PublicKey, c Challenge, sig []byte) error {
	if err := c.check(); err != nil {
		return err
	}
	if len(pub) != ed25519.PublicKeySize || len(sig) != ed25519.SignatureSize || !ed25519.Verify(pub, approvalMessage(c), sig) {
		return vaultmesh.Errorf(vaultmesh.Denied, "approval", string(c.Command), "the signature does not verify over the challenge %s", c.Digest()).
			WithFix("sign the challenge as the node shows it now: it changes with the arguments, the policy, the simulation and its expiry")
	}
	return nil
}

// OpenChallenge reads the canonical text of a challenge and accepts no other form of it.
func OpenChallenge(doc []byte) (Challenge, error) {
	if len(doc) > MaxEntry {
		return Challenge{}, vaultmesh.Errorf(vaultmesh.TooLarge, "challenge", "", "%d bytes, the limit is %d", len(doc), MaxEntry)
	}
	var c Challenge
	r := reader{data: doc}
	r.literal(`{"args":`)
	c.Args = r.json()
	r.literal(`,"command":`)
	c.Command = vaultmesh.CommandID(r.text())
	r.literal(`,"domain":`)
	c.Domain = vaultmesh.Domain(r.text())
	r.literal(`,"expires":"`)
	c.Expires = r.time(r.until('"'))
	r.literal(`,"name":`)
	c.Name = r.text()
	r.literal(`,"nonce":`)
	c.Nonce = r.text()
	r.literal(`,"policy":`)
	c.Policy = r.digest()
	r.literal(`,"principal":`)
	c.Principal = vaultmesh.Principal(r.text())
	r.literal(`,"simulation":`)
	c.Simulation = r.digest()
	r.literal(`,"twin":`)
	c.Twin = vaultmesh.TwinID(r.text())
	r.literal(`,"twin_version":"`)
	c.TwinVersion = r.uint(r.until('"'))
	r.literal(`}`)
	r.end()
	if r.err != nil {
		return Challenge{}, vaultmesh.Wrap(r.err, "challenge", "")
	}
	if err := c.check(); err != nil {
		return Challenge{}, err
	}
	if !bytes.Equal(c.Canonical(), doc) {
		return Challenge{}, vaultmesh.Errorf(vaultmesh.Invalid, "challenge", "", "it is not in the one form in which it may be written")
	}
	return c, nil
}

func (c Challenge) check() error {
	for _, f := range [...]struct{ what, id string }{{"domain", string(c.Domain)}, {"command", string(c.Command)},
		{"principal", string(c.Principal)}, {"twin", string(c.Twin)}, {"nonce", c.Nonce}} {
		if err := vaultmesh.CheckID(f.what, f.id); err != nil {
			return err
		}
	}
	if len(c.Nonce) < 16 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "challenge", "nonce", "it has %d bytes, want at least 16", len(c.Nonce))
	}
	if c.Name == "" || len(c.Name) > MaxText || !utf8.ValidString(c.Name) {
		return vaultmesh.Errorf(vaultmesh.Invalid, "challenge", "name", "want UTF-8 of 1 to %d bytes", MaxText)
	}
	if y := c.Expires.UTC().Year(); y < 1970 || y > 9999 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "challenge", "expires", "year %d, want 1970 to 9999", y)
	}
	if len(c.Args) > 0 {
		s := scanner{data: c.Args, maxDepth: MaxDepth}
		if canonical, err := s.document(); err != nil {
			return vaultmesh.Wrap(err, "challenge", "args")
		} else if !canonical {
			return vaultmesh.Errorf(vaultmesh.Invalid, "challenge", "args", "not canonical JSON (RFC 8785)").WithFix("pass them through receipt.Canonical")
		}
	}
	return nil
}

func approvalMessage(c Challenge) []byte {
	d := c.Digest()
	return append([]byte(approvalContext), d[:]...)
}
