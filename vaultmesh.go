// Package vaultmesh names the things that every other package speaks of: twins, devices, principals,
// commands, domains and positions in the log, and the one error type that crosses package borders.
//
// It is the ground on which the floors stand: it imports nothing of this module, does no I/O, reads no
// clock, and knows no rule of any other package beyond the grammar of the names.
package vaultmesh

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Identifiers are strings with a grammar, never bare strings: [A-Za-z0-9] first, then [A-Za-z0-9._:@-],
// at most MaxID bytes. A slash never occurs, so that an identifier is always one level of an MQTT topic
// or of a URL path.
type (
	// TwinID names a digital twin inside its home domain, for example "line-9-10".
	TwinID string
	// DeviceID names a connected device, the subject of its client certificate.
	DeviceID string
	// Principal names who acts, with its kind in front: "agent:dispatcher", "operator:alice", "device:sub-8", "node:dev".
	Principal string
	// CommandID names one command; it sorts by time of proposal.
	CommandID string
	// Domain names a sovereign trust zone with its own keys, journal and log.
	Domain string
)

// LogIndex is the position of a receipt in the domain's log, from 0.
type LogIndex uint64

// Version is that of this source, of every program that is built from it.
const Version = "0.1.0-dev"

// MaxID is the longest identifier, in bytes.
const MaxID = 128

// CheckID reports whether s is a well-formed identifier; what names its role in the error ("twin", "device").
func CheckID(what, s string) error {
	if s == "" {
		return Errorf(Invalid, what, "", "the identifier is empty")
	}
	if len(s) > MaxID {
		return Errorf(Invalid, what, s[:32]+"…", "the identifier has %d bytes, the limit is %d", len(s), MaxID)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if alnum || i > 0 && strings.IndexByte("._:@-", c) >= 0 {
			continue
		}
		return Errorf(Invalid, what, fmt.Sprintf("%.64q", s), "byte %d is not allowed: letters and digits, then also . _ : @ -", i)
	}
	return nil
}

// Digest is a SHA-256 digest; its text form is "sha256:" and 64 hexadecimal digits.
type Digest [sha256.Size]byte

// Sum returns the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

func (d Digest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// MarshalText implements [encoding.TextMarshaler]; the zero digest is the empty text.
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. Only lower-case digits are accepted, so that a
// digest has exactly one text form.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	s, ok := strings.CutPrefix(string(b), "sha256:")
	if !ok || len(s) != 2*len(d) || strings.ToLower(s) != s {
		return Errorf(Invalid, "digest", fmt.Sprintf("%.80q", b), "want \"sha256:\" and 64 lower-case hexadecimal digits")
	}
	_, err := hex.Decode(d[:], []byte(s))
	if err != nil {
		return Errorf(Invalid, "digest", fmt.Sprintf("%.80q", b), "not hexadecimal")
	}
	return nil
}
