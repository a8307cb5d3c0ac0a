package ethereum

import (
	"encoding/hex"
	"strings"

	"golang.org/x/crypto/sha3"

	"vaultmesh.org/vaultmesh"
)

// Hash is a Keccak-256 digest; its text form is "0x" and 64 lower-case hexadecimal digits.
type Hash [32]byte

// Address names an account or a contract; its text form is "0x" and 40 lower-case hexadecimal digits, without the
// mixed-case checksum of EIP-55.
type Address [20]byte

// Keccak returns the Keccak-256 digest of b, which is not SHA3-256 (the padding differs).
func Keccak(b []byte) Hash {
	h := sha3.NewLegacyKeccak256()
	_, _ = h.Write(b)
	var d Hash
	h.Sum(d[:0])
	return d
}

func (h Hash) String() string { return "0x" + hex.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(b []byte) error { return parseHex("hash", h[:], string(b)) }

func (a Address) String() string { return "0x" + hex.EncodeToString(a[:]) }

// IsZero reports whether a was never set.
func (a Address) IsZero() bool { return a == Address{} }

// MarshalText implements [encoding.TextMarshaler].
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *Address) UnmarshalText(b []byte) error { return parseHex("address", a[:], string(b)) }

// parseHex fills dst from its only text form.
func parseHex(what string, dst []byte, s string) error {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(dst) || strings.ToLower(digits) != digits {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum."+what, "", "want \"0x\" and %d lower-case hexadecimal digits, found %.80q", 2*len(dst), s)
	}
	if _, err := hex.Decode(dst, []byte(digits)); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum."+what, "", "%.80q is not hexadecimal", s)
	}
	return nil
}
