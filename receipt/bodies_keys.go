package receipt

import (
	"crypto/ed25519"
	"time"

	"vaultmesh.org/vaultmesh"
)

// What a domain's keys are for.
const (
	PurposeLog        = "log"        // signs checkpoints
	PurposeReceipt    = "receipt"    // signs receipts and manifests of bundles
	PurposeCapability = "capability" // signs the first block of capabilities
)

// KeyPayloadType is the DSSE payload type of a [KeyStatement]: what is signed is the PAE of this type and of the
// statement's canonical JSON.
const KeyPayloadType = "application/vnd.vaultmesh.key+json"

// KeyStatement is what one key says about another; see [KeyBody].
type KeyStatement struct {
	Act     string           `json:"act"` // the kind of the receipt: key.rotated, key.retired, key.delegated or key.renewed
	Domain  vaultmesh.Domain `json:"domain"`
	Purpose string           `json:"purpose"`          // one of the purposes above
	Origin  string           `json:"origin,omitempty"` // of the log's checkpoints; purpose log only
	Key     []byte           `json:"key"`              // the ed25519 public key that the statement is about
	By      []byte           `json:"by"`               // the ed25519 public key that signs the statement
	Time    time.Time        `json:"time"`
	Expires time.Time        `json:"expires,omitzero"` // key.delegated and key.renewed only: Key signs nothing that is later
	Reason  string           `json:"reason,omitempty"` // the operator's own words, at most MaxText bytes
}

// KeyBody is the body of key.rotated (By, the key so far, hands over to Key), of key.retired (By, the key of the same
// purpose that goes on, ends the time of Key), of key.delegated (By, a root key kept in hardware, vouches for Key until
// Expires) and of key.renewed (it goes on to, for a key for which it vouched before). [FollowKeys] says what follows from
// them.
type KeyBody struct {
	KeyStatement
	Signature  []byte `json:"signature"`            // by By, over the statement
	Possession []byte `json:"possession,omitempty"` // by Key, over the statement: whoever holds Key agrees; not in key.retired
}

// Message returns the bytes that are signed.
func (s KeyStatement) Message() ([]byte, error) {
	s.Time, s.Expires = utc(s.Time), utc(s.Expires)
	b, err := Body(s)
	if err != nil {
		return nil, err
	}
	return pae(KeyPayloadType, b), nil
}

// SignKey completes a statement. by signs for the key that speaks; possess for the key that is spoken of, nil in a
// key.retired. Neither is asked before the statement is known to be well-formed.
func SignKey(s KeyStatement, by, possess func(message []byte) ([]byte, error)) (KeyBody, error) {
	s.Time, s.Expires = utc(s.Time).Truncate(time.Microsecond), utc(s.Expires).Truncate(time.Microsecond)
	if err := s.check(); err != nil {
		return KeyBody{}, err
	}
	m, err := s.Message()
	if err != nil {
		return KeyBody{}, err
	}
	b := KeyBody{KeyStatement: s}
	if b.Signature, err = by(m); err != nil {
		return KeyBody{}, vaultmesh.Wrap(err, "key.sign", s.Purpose)
	}
	if possess != nil {
		if b.Possession, err = possess(m); err != nil {
			return KeyBody{}, vaultmesh.Wrap(err, "key.sign", s.Purpose)
		}
	}
	return b, b.Verify()
}

// Verify checks the form of a statement and both its signatures. Who may speak is not its business: see [FollowKeys].
func (b KeyBody) Verify() error {
	const op = "key.verify"
	if err := b.check(); err != nil {
		return err
	}
	m, err := b.Message()
	if err != nil {
		return err
	}
	if !ed25519.Verify(b.By, m, b.Signature) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, b.Purpose, "the signature is not that of the key %s", KeyID(b.By))
	}
	if b.Act == KeyRetired {
		if len(b.Possession) > 0 {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, b.Purpose, "a retired key signs nothing")
		}
		return nil
	}
	if !ed25519.Verify(b.Key, m, b.Possession) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, b.Purpose, "the new key %s did not sign the statement about it: nobody showed to hold it", KeyID(b.Key))
	}
	return nil
}

// delegates reports whether a root vouches for the key, for the first time or again.
func (s KeyStatement) delegates() bool { return s.Act == KeyDelegated || s.Act == KeyRenewed }

func (s KeyStatement) check() error {
	const op = "key.statement"
	bad := func(format string, args ...any) error {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, s.Purpose, format, args...)
	}
	if err := vaultmesh.CheckID("domain", string(s.Domain)); err != nil {
		return vaultmesh.Wrap(err, op, s.Purpose)
	}
	switch {
	case s.Act != KeyRotated && s.Act != KeyRetired && !s.delegates():
		return bad("unknown act %.64q", s.Act)
	case s.Purpose != PurposeLog && s.Purpose != PurposeReceipt && s.Purpose != PurposeCapability:
		return bad("unknown purpose %.64q", s.Purpose)
	case (s.Purpose == PurposeLog) != (s.Origin != ""):
		return bad("the origin belongs to a statement about a key of the log, and to no other")
	case len(s.Key) != ed25519.PublicKeySize || len(s.By) != ed25519.PublicKeySize:
		return bad("keys of %d and %d bytes, want 32", len(s.Key), len(s.By))
	case string(s.Key) == string(s.By):
		return bad("a key does not speak about itself")
	case s.Time.Year() < 1970 || s.Time.Year() > 9999 || s.Expires.Year() > 9999:
		return bad("the time is outside of 1970 to 9999")
	case s.delegates() != !s.Expires.IsZero() || !s.Expires.IsZero() && !s.Expires.After(s.Time):
		return bad("a delegation, and nothing else, ends; and not before it begins")
	case len(s.Reason) > MaxText || len(s.Origin) > MaxText:
		return bad("a text is longer than %d bytes", MaxText)
	}
	return nil
}

// ConflictBody is the body of witness.conflict: a witness holds another tree under this log's name than this log has.
type ConflictBody struct {
	Witness   string           `json:"witness"` // key name of the witness
	Found     string           `json:"found"`   // "equivocation": same size, other root; "fork": what the witness holds is no prefix; "rollback": the witness has seen a larger tree
	Origin    string           `json:"origin"`
	Size      uint64           `json:"size,string"`       // of this log's checkpoint
	Ours      vaultmesh.Digest `json:"ours"`              // digest of this log's signed checkpoint
	TheirSize uint64           `json:"their_size,string"` // of the checkpoint that the witness holds, as it says
	Theirs    vaultmesh.Digest `json:"theirs,omitzero"`   // digest of the checkpoint that the witness holds; absent where it did not show it
	Proved    bool             `json:"proved"`            // Theirs is signed by this log's key: the two notes together prove it, whatever the witness is
}
