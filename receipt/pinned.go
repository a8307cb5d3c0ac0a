package receipt

import "crypto/ed25519"

// Pinned returns the keys of the log and of receipts that the trust file pins, and the roots that may delegate, for
// whoever judges a whole log with [FollowKeys]. A trust file that cannot be used is an error of kind Invalid.
func (t *Trust) Pinned() (keys []Key, roots []ed25519.PublicKey, err error) {
	p, err := t.pin()
	if err != nil {
		return nil, nil, err
	}
	return p.keys, p.keyRoots, nil
}
