package node

import (
	"time"

	"vaultmesh.org/vaultmesh"
	rootkey "vaultmesh.org/vaultmesh/lawchain/signer"
)

// KeysConfig says who vouches for the keys that the node holds.
type KeysConfig struct {
	Root     RootConfig    `yaml:"root"`
	Validity time.Duration `yaml:"validity"` // of one delegation; it is renewed after half of it
}

// RootConfig names the domain's root key: in a token or a key management service, asked once in a while, never in a
// commit.
type RootConfig struct {
	Provider  string        `yaml:"provider"`   // file, pkcs11 or vault; empty: the domain has no root
	Key       string        `yaml:"key"`        // file: its path; pkcs11: label; vault: name
	Module    string        `yaml:"module"`     // pkcs11: path of the library
	Token     string        `yaml:"token"`      // pkcs11: label of the token
	PINFile   string        `yaml:"pin_file"`   // pkcs11: file with the user's PIN
	Address   string        `yaml:"address"`    // vault: URL
	Mount     string        `yaml:"mount"`      // vault: path of the transit engine
	Namespace string        `yaml:"namespace"`  // vault
	TokenFile string        `yaml:"token_file"` // vault: file with the token
	CA        string        `yaml:"ca"`         // vault: PEM file
	Timeout   time.Duration `yaml:"timeout"`    // of one signature
}

// minValidity leaves time to repair a root that is out of reach: half of it passes before the first attempt to renew.
const minValidity = time.Hour

func (c KeysConfig) check() error {
	bad := func(key, format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", key, format, args...)
	}
	r := c.Root
	if c.Validity < minValidity {
		return bad("keys.validity", "%s", c.Validity).WithFix("want at least %s", minValidity)
	}
	if r.Timeout <= 0 {
		return bad("keys.root.timeout", "%s", r.Timeout).WithFix("want a positive duration such as 10s")
	}
	need := map[string]string{}
	switch r.Provider {
	case "":
		return nil
	case "file":
	case "pkcs11":
		if !rootkey.PKCS11 {
			return bad("keys.root.provider", "PKCS#11 is not in this build").WithFix("use a binary that was built with cgo")
		}
		need = map[string]string{"keys.root.module": r.Module, "keys.root.token": r.Token, "keys.root.pin_file": r.PINFile}
	case "vault":
		need = map[string]string{"keys.root.address": r.Address, "keys.root.token_file": r.TokenFile}
	default:
		return bad("keys.root.provider", "%.64q", r.Provider).WithFix("use file, pkcs11 or vault, or leave it out")
	}
	need["keys.root.key"] = r.Key
	for key, v := range need {
		if v == "" {
			return bad(key, "the provider %s needs it", r.Provider)
		}
	}
	return nil
}

func (r RootConfig) signer() rootkey.Config {
	return rootkey.Config{Provider: r.Provider, Key: r.Key, Module: r.Module, Token: r.Token, PINFile: r.PINFile, Address: r.Address, Mount: r.Mount,
		Namespace: r.Namespace, TokenFile: r.TokenFile, CA: r.CA, Timeout: r.Timeout}
}
