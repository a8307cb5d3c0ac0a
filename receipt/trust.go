package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// Trust is what an auditor pins: it comes to the auditor by another way than the bundle. Its text form is a JSON file
// with exactly these members; unknown or repeated members and other spellings of a name are refused.
type Trust struct {
	Domain          vaultmesh.Domain   `json:"domain"`
	Log             TrustedLog         `json:"log"`
	ReceiptKeys     []TrustedKey       `json:"receipt_keys"`               // sign receipts and manifests
	CapabilityRoots []TrustedKey       `json:"capability_roots,omitempty"` // sign the first block of capabilities
	Operators       []TrustedOperator  `json:"operators,omitempty"`        // may approve
	TSARoots        []string           `json:"tsa_roots,omitempty"`        // PEM certificates; if any is pinned, a time-stamp is demanded
	Policies        []vaultmesh.Digest `json:"policies,omitempty"`         // if any is pinned, only these policies may have decided
}

// TrustedLog pins the log.
type TrustedLog struct {
	Origin string `json:"origin"`
	Key    string `json:"key"` // verifier key in the form of signed notes: name+hash+base64
}

// TrustedKey pins an ed25519 key.
type TrustedKey struct {
	ID     string `json:"id"`     // KeyID of the key
	Public []byte `json:"public"` // 32 bytes, base64
}

// TrustedOperator pins a person's key and roles. A person with several keys has several entries.
type TrustedOperator struct {
	Principal vaultmesh.Principal `json:"principal"`
	Public    []byte              `json:"public"` // 32 bytes, base64
	Roles     []string            `json:"roles"`
}

// MaxTrust is the largest trust file in bytes, and maxTrusted the longest list in it.
const (
	MaxTrust   = 4 << 20
	maxTrusted = 10_000
)

// LoadTrust reads a trust file. Errors are of kind Invalid or TooLarge and name what is wrong.
func LoadTrust(data []byte) (*Trust, error) {
	canonical, err := Canonical(data, Limits{Bytes: MaxTrust, Depth: 8})
	if err != nil {
		return nil, vaultmesh.Wrap(err, "trust", "file")
	}
	names := scanner{data: canonical, maxDepth: MaxDepth, plainNames: true}
	if _, err := names.document(); err != nil {
		return nil, vaultmesh.Wrap(err, "trust", "file")
	}
	var t Trust
	dec := json.NewDecoder(bytes.NewReader(canonical))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "trust", "file", "not a trust file").Because(err)
	}
	if _, err := t.pin(); err != nil {
		return nil, err
	}
	return &t, nil
}

// pins is a trust file ready for use.
type pins struct {
	log       note.Verifier
	receipts  map[string]ed25519.PublicKey
	roots     []ed25519.PublicKey
	operators map[string]TrustedOperator // by KeyID
	tsa       *x509.CertPool             // nil where none is pinned
	policies  map[vaultmesh.Digest]bool
}

// pin checks every key of the file; without a log key and a receipt key there is nothing to judge by.
func (t *Trust) pin() (*pins, error) {
	const op = "trust"
	if t == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "no trust file").WithFix("get the domain's trust file by a way that you trust; a bundle cannot vouch for itself")
	}
	if err := vaultmesh.CheckID("domain", string(t.Domain)); err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	if len(t.ReceiptKeys) == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "receipt_keys", "no key is pinned").WithFix("without pinned keys a bundle signed by anybody would pass")
	}
	if max(len(t.ReceiptKeys), len(t.CapabilityRoots), len(t.Operators), len(t.Policies)) > maxTrusted || len(t.TSARoots) > 100 {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "a list is longer than %d", maxTrusted)
	}
	p := &pins{receipts: map[string]ed25519.PublicKey{}, operators: map[string]TrustedOperator{}, policies: map[vaultmesh.Digest]bool{}}
	var err error
	if p.log, err = note.NewVerifier(t.Log.Key); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "log.key", "not the verifier key of a signed note").Because(err)
	}
	if t.Log.Origin == "" || p.log.Name() != t.Log.Origin {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "log.origin", "%.80q is not the name in the log's key, %.80q", t.Log.Origin, p.log.Name())
	}
	for _, k := range t.ReceiptKeys {
		if err := k.check("receipt_keys"); err != nil {
			return nil, err
		}
		p.receipts[k.ID] = k.Public
	}
	for _, k := range t.CapabilityRoots {
		if err := k.check("capability_roots"); err != nil {
			return nil, err
		}
		p.roots = append(p.roots, k.Public)
	}
	for _, o := range t.Operators {
		if err := vaultmesh.CheckID("operator", string(o.Principal)); err != nil {
			return nil, vaultmesh.Wrap(err, op, "operators")
		}
		if len(o.Public) != ed25519.PublicKeySize {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "operators", "the key of %s has %d bytes, want 32", o.Principal, len(o.Public))
		}
		id := KeyID(o.Public)
		if _, twice := p.operators[id]; twice {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "operators", "two operators have the key %s", id)
		}
		p.operators[id] = o
	}
	for _, d := range t.Policies {
		p.policies[d] = true
	}
	return p, p.pinTSA(t.TSARoots)
}

func (p *pins) pinTSA(roots []string) error {
	for i, text := range roots {
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return vaultmesh.Errorf(vaultmesh.Invalid, "trust", "tsa_roots", "entry %d is not one PEM certificate", i)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "trust", "tsa_roots", "entry %d", i).Because(err)
		}
		if p.tsa == nil {
			p.tsa = x509.NewCertPool()
		}
		p.tsa.AddCert(cert)
	}
	return nil
}

func (k TrustedKey) check(list string) error {
	if len(k.Public) != ed25519.PublicKeySize || KeyID(k.Public) != k.ID {
		return vaultmesh.Errorf(vaultmesh.Invalid, "trust", list, "%.80q is not the identifier of the %d-byte key beside it", k.ID, len(k.Public)).
			WithFix("the identifier is \"ed25519:\" and the first 16 bytes of the key's SHA-256 in hexadecimal")
	}
	return nil
}
