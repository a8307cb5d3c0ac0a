//go:build !cgo

package signer

import (
	"crypto/ed25519"

	"vaultmesh.org/vaultmesh"
)

// PKCS11 reports whether this build can speak to tokens: it needs a C compiler (cgo).
const PKCS11 = false

var errNoPKCS11 = vaultmesh.Errorf(vaultmesh.Unavailable, "pkcs11.open", "", "PKCS#11 is not in this build").WithFix("use a binary that was built with cgo (CGO_ENABLED=1 and a C compiler)")

func openPKCS11(Config) (Key, error) { return nil, errNoPKCS11 }

// Generate would make a key pair inside a token.
func Generate(Config) (ed25519.PublicKey, error) { return nil, errNoPKCS11 }
