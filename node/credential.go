package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
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

// IssueCapability signs a token with the capability root of a data folder, which must exist.
func IssueCapability(data string, p vaultmesh.Principal, holder ed25519.PublicKey, g capability.Grant) (capability.Token, error) {
	path := filepath.Join(data, "keys", "capability.key")
	text, err := readSecret(path, nil)
	if err != nil {
		return capability.Token{}, err
	}
	root, err := parseSeed(path, text)
	if err != nil {
		return capability.Token{}, err
	}
	return capability.Issue(root, p, holder, g)
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
