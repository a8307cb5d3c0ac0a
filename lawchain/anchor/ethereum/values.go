package ethereum

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// The values of JSON-RPC (ethereum/execution-apis): quantities are "0x" and hexadecimal digits without leading zeros, data
// is "0x" and two digits a byte. Nodes differ in the case of digits, which is accepted either way.

// quantity is an integer below 2^64.
type quantity uint64

func (q quantity) String() string { return "0x" + strconv.FormatUint(uint64(q), 16) }

// MarshalText writes the form of JSON-RPC.
func (q quantity) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText reads the form of JSON-RPC.
func (q *quantity) UnmarshalText(b []byte) error {
	digits, ok := strings.CutPrefix(string(b), "0x")
	n, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil {
		return notA("quantity", string(b))
	}
	*q = quantity(n)
	return nil
}

// wei is an amount of money, or any integer of at most 256 bits.
type wei struct{ big.Int }

// UnmarshalText reads the form of JSON-RPC.
func (w *wei) UnmarshalText(b []byte) error {
	digits, ok := strings.CutPrefix(string(b), "0x")
	if !ok || digits == "" || len(digits) > 64 || strings.TrimLeft(digits, "0123456789abcdefABCDEF") != "" {
		return notA("quantity", string(b))
	}
	w.SetString(digits, 16)
	return nil
}

// UnmarshalJSON keeps the embedded integer's own form, decimal digits, from being accepted.
func (w *wei) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return notA("quantity", string(b))
	}
	return w.UnmarshalText([]byte(s))
}

// data is bytes.
type data []byte

// MarshalText writes the form of JSON-RPC.
func (d data) MarshalText() ([]byte, error) { return []byte("0x" + hex.EncodeToString(d)), nil }

// UnmarshalText reads the form of JSON-RPC.
func (d *data) UnmarshalText(b []byte) error {
	digits, ok := strings.CutPrefix(string(b), "0x")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return notA("data", string(b))
	}
	*d = raw
	return nil
}

// hash is a Keccak-256 digest in either case of digits.
type hash eth.Hash

// UnmarshalText reads the form of JSON-RPC.
func (h *hash) UnmarshalText(b []byte) error {
	return (*eth.Hash)(h).UnmarshalText([]byte(strings.ToLower(string(b))))
}

// address is an account in either case of digits.
type address eth.Address

// UnmarshalText reads the form of JSON-RPC.
func (a *address) UnmarshalText(b []byte) error {
	return (*eth.Address)(a).UnmarshalText([]byte(strings.ToLower(string(b))))
}

func notA(what, s string) error {
	// A foreign text is the cause, never the detail: that may stand in a receipt for good.
	return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum."+what, "", "not a %s", what).Because(fmt.Errorf("%.80q", s))
}
