package ethereum

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Key is the secp256k1 key of the account that pays. Printing it shows its address alone.
type Key struct{ key *secp256k1.PrivateKey }

// Address is the key's account.
func (k *Key) Address() eth.Address { return addressOf(k.key.PubKey()) }

// Format implements [fmt.Formatter]: no verb prints the key.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.Address().String()) }

// ParseKey reads 64 hexadecimal digits, with or without "0x". The error never holds any of the text.
func ParseKey(text string) (*Key, error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(text), "0x"))
	if err != nil || len(raw) != 32 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.key", "", "want 64 hexadecimal digits")
	}
	var s secp256k1.ModNScalar
	if overflow := s.SetByteSlice(raw); overflow || s.IsZero() {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.key", "", "not a number between 1 and the order of secp256k1")
	}
	return &Key{secp256k1.NewPrivateKey(&s)}, nil
}

// LoadKey reads a key file, which nobody but its owner may read.
func LoadKey(path string) (*Key, error) {
	const op = "ethereum.key"
	f, err := os.Open(path)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, path, "cannot open the key file").Because(err).WithFix("make one with `vaultmesh anchor ethereum key --out %s`", path)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "not a regular file").Because(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, path, "others than its owner may read it (mode %o)", st.Mode().Perm()).WithFix("chmod 600 %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot read").Because(err)
	}
	k, err := ParseKey(string(text))
	return k, vaultmesh.Wrap(err, op, path)
}

// NewKey makes a key and writes it to a file that must not exist yet, readable by the owner alone, and durable once
// NewKey returns.
func NewKey(path string) (*Key, error) {
	const op = "ethereum.key"
	priv, err := secp256k1.GeneratePrivateKeyFromRand(rand.Reader)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "no key").Because(err)
	}
	err = durable.Create(path, fmt.Appendf(nil, "%x\n", priv.Serialize()), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, path, "the file exists").WithFix("a key is never overwritten: name another file")
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot write").Because(err)
	}
	return &Key{priv}, nil
}
