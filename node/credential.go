package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// Credential is what somebody needs to speak to a node: a token, the key that proves possession of it, and where the
// node is. It is one JSON file that only its owner may read.
type Credential struct {
	Principal vaultmesh.Principal `json:"principal"`
	Domain    vaultmesh.Domain    `json:"domain"`
	Token     string              `json:"token"`
	Key       []byte              `json:"key,omitempty"` // ed25519 seed
	// KeyFile names a file beside the credential that holds the seed, where Key is not given: then whoever issued the
	// credential never saw the key.
	KeyFile string `json:"key_file,omitempty"`
	URL     string `json:"url"`
	CA      string `json:"ca,omitempty"` // PEM of the CA of the node's certificate; empty: the system's
}

// IssueCapability signs a token with the capability root of a data folder. A folder that no node has used yet gets its
// keys here, so that credentials can be made before the first start.
func IssueCapability(data string, domain vaultmesh.Domain, p vaultmesh.Principal, holder ed25519.PublicKey, g capability.Grant) (capability.Token, error) {
	if kind, _, ok := strings.Cut(string(p), ":"); !ok || kind != "agent" && kind != "operator" {
		return capability.Token{}, vaultmesh.Errorf(vaultmesh.Invalid, "capability.issue", string(p), "not a principal that can hold a credential").WithFix("write agent:NAME or operator:NAME")
	}
	if err := keysComplete(data); err != nil {
		return capability.Token{}, err
	}
	k, err := openKeys(filepath.Join(data, "keys"), domain)
	if err != nil {
		return capability.Token{}, err
	}
	if err := k.useTrusted(filepath.Join(data, "trust.json")); err != nil {
		return capability.Token{}, err
	}
	if want := logName(domain); k.log.Name() != want {
		return capability.Token{}, vaultmesh.Errorf(vaultmesh.Conflict, "capability.issue", string(domain), "the folder belongs to the log %s, not %s", k.log.Name(), want).WithFix("name the domain of the node")
	}
	return capability.Issue(k.capability, p, holder, g)
}

// NewKeyFile makes a key for a person or an agent in a new file and returns its public half.
func NewKeyFile(path string) (ed25519.PublicKey, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, "key.new", path, "the file exists").WithFix("choose another name: a key that is overwritten is gone for good")
	}
	key, err := seedFile(path)
	if err != nil {
		return nil, err
	}
	return public(key), nil
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
	if len(c.Key) == 0 && c.KeyFile != "" && filepath.IsLocal(c.KeyFile) {
		keyPath := filepath.Join(filepath.Dir(path), c.KeyFile)
		text, err := readSecret(keyPath, nil)
		if err != nil {
			return nil, err
		}
		key, err := parseSeed(keyPath, text)
		if err != nil {
			return nil, err
		}
		c.Key = key.Seed()
	}
	if len(c.Key) != ed25519.SeedSize || c.Token == "" || c.URL == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "credential", path, "key, token or url is missing")
	}
	return &c, nil
}

// PrivateKey returns the holder's key.
func (c *Credential) PrivateKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(c.Key) }

// SaveNew writes the credential to a file that must not exist: its key cannot be made again.
func (c *Credential) SaveNew(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return vaultmesh.Errorf(vaultmesh.Conflict, "credential", path, "the file exists").WithFix("choose another name: the key in a credential that is overwritten is gone for good")
	}
	return c.Save(path)
}

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
