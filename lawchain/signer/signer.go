// Package signer owns where an ed25519 key lives that signs for the domain: in a file, in a token behind PKCS#11, or in
// Vault's transit engine. It is on floor 2.
//
// It must not know what is signed. A key outside of this process takes milliseconds to seconds to sign and may be out of
// reach, and a checkpoint is signed inside of every commit: such a key is therefore never asked in a commit. It is the
// domain's root, which vouches for keys that the node holds itself (receipt kind key.delegated), once in a long while.
package signer

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Key signs with one ed25519 key. It is safe for concurrent use. Sign returns 64 bytes; those of a token or a service were
// verified with Public first: a broken token or a lying service is an error of kind Corrupt, never a bad signature. An
// error of kind Unavailable may pass; any other does not.
type Key interface {
	Public() ed25519.PublicKey
	Sign(ctx context.Context, message []byte) ([]byte, error)
	// Where says in a few words where the key lives, without any secret.
	Where() string
	Close() error
}

// Config names one key. Which fields count depends on Provider.
type Config struct {
	Provider string // "file", "pkcs11" or "vault"
	Key      string // file: its path; pkcs11: label of the key; vault: name of the key

	Module  string // pkcs11: path of the library
	Token   string // pkcs11: label of the token
	PINFile string // pkcs11: file with the user's PIN

	Address   string // vault: URL
	Mount     string // vault: path of the transit engine; default "transit"
	Namespace string // vault: empty for none
	TokenFile string // vault: file with a token that may read and sign with the key; read again before each use
	CA        string // vault: PEM file of the roots; empty for those of the system

	Timeout time.Duration // of one signature; default 10 s
}

// Open opens the key. It does not sign.
func Open(ctx context.Context, c Config) (Key, error) {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	switch c.Provider {
	case "file":
		return openFile(c.Key)
	case "pkcs11":
		return openPKCS11(c)
	case "vault":
		return openVault(ctx, c)
	}
	return nil, vaultmesh.Errorf(vaultmesh.Invalid, "key.open", "provider", "%.64q", c.Provider).WithFix("use file, pkcs11 or vault")
}

// file is a key in memory.
type file struct {
	path string
	key  ed25519.PrivateKey
}

// openFile reads a seed of 32 bytes in base64.
func openFile(path string) (Key, error) {
	text, err := ReadSecret(path)
	if err != nil {
		return nil, err
	}
	seed, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "key.open", path, "want %d bytes in base64", ed25519.SeedSize)
	}
	return &file{path, ed25519.NewKeyFromSeed(seed)}, nil
}

func (f *file) Public() ed25519.PublicKey { return f.key.Public().(ed25519.PublicKey) }

func (f *file) Sign(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(f.key, message), nil
}

func (f *file) Where() string { return "file " + f.path }

func (f *file) Close() error { return nil }

// maxSecret bounds a file with a key, a PIN or a token.
const maxSecret = 64 << 10

// ReadSecret reads a small file that only its owner may read, without white space around its content.
func ReadSecret(path string) (string, error) {
	const op = "key.open"
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "there is no such file").WithFix("mount the medium that holds it, or check the path")
	}
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot read").Because(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, op, path, "not a file").Because(err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", vaultmesh.Errorf(vaultmesh.Denied, op, path, "others than its owner may read it (mode %o)", st.Mode().Perm()).WithFix("chmod 600 %s", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil || len(b) > maxSecret {
		return "", vaultmesh.Errorf(vaultmesh.TooLarge, op, path, "cannot be read, or has more than %d bytes", maxSecret).Because(err)
	}
	return strings.TrimSpace(string(b)), nil
}

// checked refuses a signature that does not verify.
func checked(k Key, message, signature []byte) ([]byte, error) {
	if len(signature) != ed25519.SignatureSize || !ed25519.Verify(k.Public(), message, signature) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "key.sign", k.Where(), "it gave %d bytes that are no signature by %s", len(signature), receipt.KeyID(k.Public())).
			WithFix("check that the key was not replaced under the same name")
	}
	return signature, nil
}
