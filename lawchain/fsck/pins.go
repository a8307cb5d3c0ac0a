package fsck

import (
	"crypto/ed25519"
	"maps"
	"sync/atomic"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Pins is what the check believes.
type Pins struct {
	Domain vaultmesh.Domain // empty where it is not known
	Keys   []receipt.Key    // of the log, and of receipts; without the latter receipts' own signatures are not judged
	Roots  []ed25519.PublicKey
	// Follow accepts keys to which a pinned one handed over in the log. Retirements count with and without it.
	Follow bool
}

// PinTrust pins what a trust file does.
func PinTrust(t *receipt.Trust) (Pins, error) {
	keys, roots, err := t.Pinned()
	if err != nil {
		return Pins{}, err
	}
	return Pins{Domain: t.Domain, Keys: keys, Roots: roots, Follow: t.FollowKeys}, nil
}

// PinLogKey pins the log's key alone, in its text form (C2SP signed-note).
func PinLogKey(text string) (Pins, error) {
	k, err := receipt.ParseLogKey(text)
	return Pins{Keys: []receipt.Key{k}}, err
}

// keyring is what the pins say, and what the log itself says about keys as it is read. Add is called in the order of the
// log; the map of public keys may be read at any time.
type keyring struct {
	pins    Pins
	history *receipt.KeyHistory
	judge   bool // receipts' signatures are judged
	known   atomic.Pointer[map[string]ed25519.PublicKey]
}

func newKeyring(p Pins) (*keyring, error) {
	k := &keyring{pins: p}
	for _, key := range p.Keys {
		k.judge = k.judge || key.Purpose == receipt.PurposeReceipt
	}
	k.judge = k.judge || len(p.Roots) > 0
	k.known.Store(&map[string]ed25519.PublicKey{})
	h, err := receipt.FollowKeys(p.Domain, p.Keys, p.Roots, nil)
	if err == nil {
		k.learn(h)
	}
	return k, err
}

// learn takes up what the log has said by now.
func (k *keyring) learn(h *receipt.KeyHistory) {
	k.history = h
	known := maps.Clone(*k.known.Load())
	for _, key := range h.Keys(receipt.PurposeReceipt) {
		if !k.accepts(key) {
			continue
		}
		known[receipt.KeyID(key.Public)] = key.Public
	}
	k.known.Store(&known)
}

// accepts reports whether the pins let a key of the history count.
func (k *keyring) accepts(key receipt.Key) bool { return key.Pinned || k.pins.Follow }

// checkpoint verifies a signed checkpoint by the keys that count at its size, as far as the log is read.
func (k *keyring) checkpoint(signed []byte) error {
	key, err := k.history.Checkpoint(signed)
	if err == nil && !k.accepts(key) {
		return vaultmesh.Errorf(vaultmesh.Denied, "fsck", key.Origin, "no key that counts there and is pinned signed it, but a key that a pinned one handed over to").
			WithFix("pin the new key, or set follow_keys in the trust file")
	}
	return err
}

// add follows one more statement about keys. It is done whether keys are followed or not: that a pinned key was retired
// counts for everybody who has the whole log.
func (k *keyring) add(e receipt.KeyEntry) error {
	h, _, err := k.history.Then(k.pins.Domain, e)
	if err == nil {
		k.learn(h)
	}
	return err
}
