package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/proof/ethereum"
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
	LogKeys         []string           `json:"log_keys,omitempty"`         // further verifier keys of the log, of before or after a rotation
	Retired         []RetiredKey       `json:"retired,omitempty"`          // of the pinned keys, those that count no more
	KeyRoots        []TrustedKey       `json:"key_roots,omitempty"`        // may delegate to the domain's keys
	FollowKeys      bool               `json:"follow_keys,omitempty"`      // accept keys that a pinned key or root handed over to, see FollowKeys
	WitnessPolicy   string             `json:"witness_policy,omitempty"`   // C2SP tlog-policy text; its quorum is demanded
	Bitcoin         *bitcoin.Params    `json:"bitcoin,omitempty"`          // without it a proof of Bitcoin cannot be judged
	Ethereum        *ethereum.Params   `json:"ethereum,omitempty"`         // without it a proof of Ethereum cannot be judged
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

// RetiredKey says of a pinned key of the log, of receipts or of capabilities up to where it counts, whether or not a bundle
// holds the receipt that retired it.
type RetiredKey struct {
	ID    string `json:"id"`           // KeyID of the key
	Until uint64 `json:"until,string"` // size of the log up to which it counts: the index of the receipt that retired it
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
	keys      []Key // of the log, of receipts and of capabilities
	keyRoots  []ed25519.PublicKey
	roots     []ed25519.PublicKey
	operators map[string]TrustedOperator // by KeyID
	tsa       *x509.CertPool             // nil where none is pinned
	policies  map[vaultmesh.Digest]bool
	witnesses *WitnessPolicy // nil where no policy is pinned
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
	if max(len(t.ReceiptKeys), len(t.CapabilityRoots), len(t.Operators), len(t.Policies), len(t.Retired)) > maxTrusted || max(len(t.TSARoots), len(t.LogKeys), len(t.KeyRoots)) > 100 {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "a list is longer than %d, or one of log_keys, key_roots and tsa_roots longer than 100", maxTrusted)
	}
	p := &pins{operators: map[string]TrustedOperator{}, policies: map[vaultmesh.Digest]bool{}}
	if err := p.pinKeys(t); err != nil {
		return nil, err
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
	if err := p.pinTSA(t.TSARoots); err != nil {
		return nil, err
	}
	return p, p.pinOthers(t)
}

// pinKeys pins the keys of the domain itself.
func (p *pins) pinKeys(t *Trust) error {
	const op = "trust"
	for i, text := range append([]string{t.Log.Key}, t.LogKeys...) {
		k, err := ParseLogKey(text)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "log.key", "key %d of the log is not the verifier key of a signed note", i).Because(err)
		}
		if t.Log.Origin == "" || k.Origin != t.Log.Origin {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "log.origin", "%.80q is not the name in the log's key, %.80q", t.Log.Origin, k.Origin)
		}
		p.keys = append(p.keys, k)
	}
	for _, k := range t.ReceiptKeys {
		if err := k.check("receipt_keys"); err != nil {
			return err
		}
		p.keys = append(p.keys, Key{Purpose: PurposeReceipt, Public: k.Public})
	}
	for _, k := range t.CapabilityRoots {
		if err := k.check("capability_roots"); err != nil {
			return err
		}
		p.roots = append(p.roots, k.Public)
		p.keys = append(p.keys, Key{Purpose: PurposeCapability, Public: k.Public})
	}
	for _, k := range t.KeyRoots {
		if err := k.check("key_roots"); err != nil {
			return err
		}
		p.keyRoots = append(p.keyRoots, k.Public)
	}
	return p.retire(t.Retired)
}

// retire bounds the pinned keys that the trust file says are retired.
func (p *pins) retire(list []RetiredKey) error {
	const op = "trust"
	for _, r := range list {
		found := false
		for i := range p.keys {
			k := &p.keys[i]
			if KeyID(k.Public) != r.ID {
				continue
			}
			if r.Until == 0 || k.Until != 0 {
				return vaultmesh.Errorf(vaultmesh.Invalid, op, "retired", "%s is named twice, or until size 0", r.ID)
			}
			found, k.Until = true, r.Until
		}
		if !found {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "retired", "%.80q is not pinned", r.ID).WithFix("name a key of log, log_keys, receipt_keys or capability_roots")
		}
	}
	return nil
}

// pinOthers pins what is not the domain's: witnesses and chains.
func (p *pins) pinOthers(t *Trust) (err error) {
	const op = "trust"
	if t.WitnessPolicy != "" {
		if p.witnesses, err = ParseWitnessPolicy([]byte(t.WitnessPolicy)); err != nil {
			return vaultmesh.Wrap(err, op, "witness_policy")
		}
	}
	if t.Bitcoin != nil {
		if err := t.Bitcoin.Check(); err != nil {
			return vaultmesh.Wrap(err, op, "bitcoin")
		}
	}
	if t.Ethereum != nil {
		if err := t.Ethereum.Check(); err != nil {
			return vaultmesh.Wrap(err, op, "ethereum")
		}
	}
	return nil
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
