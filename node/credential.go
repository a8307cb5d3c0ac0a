package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"

	"vaultmesh.org/vaultmesh"
)

// Credential is what somebody needs to speak to a node: a token, the key that proves possession of it, and where the
// node is. It is one JSON file that only its owner may read.
type Credential struct {
	Principal vaultmesh.Principal `json:"principal"`
	Domain    vaultmesh.Domain    `json:"domain"`
	Token     string              `json:"token"`
	Key       []byte              `json:"key"` // ed25519 seed
	URL       string              `json:"url"`
	CA        string              `json:"ca,omitempty"` // PEM of the CA of the node's certificate; empty: the system's
}

// LoadCredential reads a credential file.
func LoadCredential(path string) (*Credential, error) {
	text, err := readSecret(path, nil)
	if err != nil {
		return nil, err
	}
	var c Credential
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "credential", path, "not a credential file").Because(err)
	}
	if len(c.Key) != ed25519.SeedSize || c.Token == "" || c.URL == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "credential", path, "key, token or url is missing")
	}
	return &c, nil
}

// PrivateKey returns the holder's key.
func (c *Credential) PrivateKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(c.Key) }

// Save writes the credential file.
func (c *Credential) Save(path string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "credential", path, "cannot encode").Because(err)
	}
	return WriteSecret(path, append(b, '\n'))
}

// String shows whom the credential names and never its key.
func (c *Credential) String() string {
	return string(c.Principal) + " at " + c.URL + " (key " + base64.StdEncoding.EncodeToString(c.PrivateKey().Public().(ed25519.PublicKey))[:8] + "…)"
}
