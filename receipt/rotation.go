package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// Key is one key of a domain with the part of the log in which it counts.
type Key struct {
	Purpose string
	Public  ed25519.PublicKey
	Origin  string // of the log; purpose log only
	// From is the first log index of a receipt, and the first size of a checkpoint, that the key may sign.
	From uint64
	// Until is the index of the receipt that retired the key, which may be signed with it: it signs no receipt behind that, and no checkpoint that
	// is larger. Zero: it is not retired.
	Until uint64
	// Expires is the latest end of a delegation where a root key vouches for it; zero where it does not end. What it was
	// at an index of the log, Ended tells.
	Expires time.Time
	// Pinned tells a key that the caller trusted beforehand from one that was followed to.
	Pinned bool

	handedAt uint64 // size of the log before the receipt with which it handed over
	handed   bool   // it handed over to another: it may still sign in the overlap, and speaks about no key any more

	vouched []vouch // by a root, in the order of the log
}

// Verifier returns the verifier of checkpoints for a key of the log.
func (k Key) Verifier() (note.Verifier, error) {
	text, err := k.LogKey()
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(text)
}

// LogKey returns the text form of a key of the log (C2SP signed-note vkey).
func (k Key) LogKey() (string, error) {
	text, err := note.NewEd25519VerifierKey(k.Origin, k.Public)
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "key", k.Origin, "not a key of the log").Because(err)
	}
	return text, nil
}

// ParseLogKey reads the text form of a key of the log.
func ParseLogKey(text string) (Key, error) {
	const op = "key.parse"
	v, err := note.NewVerifier(text)
	if err != nil {
		return Key{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not the verifier key of a signed note").Because(err)
	}
	pub, err := logKeyBytes(text)
	if err != nil {
		return Key{}, err
	}
	return Key{Purpose: PurposeLog, Public: pub, Origin: v.Name()}, nil
}

// GenesisKeys returns the keys that a domain's first receipt names, as pins for [FollowKeys].
func GenesisKeys(r *Receipt) ([]Key, error) {
	if r.Kind != DomainGenesis {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "key.genesis", r.Subject, "a receipt %s, want %s", r.Kind, DomainGenesis)
	}
	g, err := ReadBody[GenesisBody](r)
	if err != nil {
		return nil, err
	}
	first, err := ParseLogKey(g.LogKey)
	if err != nil {
		return nil, err
	}
	out := []Key{first}
	for purpose, list := range map[string][][]byte{PurposeReceipt: g.ReceiptKeys, PurposeCapability: g.CapabilityKeys} {
		for _, public := range list {
			if len(public) != ed25519.PublicKeySize {
				return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "key.genesis", purpose, "a key of %d bytes", len(public))
			}
			out = append(out, Key{Purpose: purpose, Public: public})
		}
	}
	return out, nil
}

// KeyEntry is a receipt of [KeySubject] or [RenewalSubject] with its index in the log.
type KeyEntry struct {
	Index   vaultmesh.LogIndex
	Receipt Receipt
}

// KeyHistory says which key of a domain counts where. It does not change once it is made.
type KeyHistory struct {
	roots []ed25519.PublicKey
	keys  []Key            // of each purpose in the order of their introduction
	at    map[string]int   // place in keys, by keyName
	ids   map[string][]int // places in keys, by the identifier of the key
	made  int              // of the keys, those that the log introduced
	begun bool
	last  vaultmesh.LogIndex // of the statements so far, where it begun
}

// MaxKeys bounds the keys that a log introduces: what was pinned does not count, nor does what is said about a key that is
// known, however often.
const MaxKeys = 10_000

// FollowKeys extends what a caller trusts by what the log says about keys. pinned are keys that the caller trusts (their
// From and Until are taken as they are), roots those that may delegate; at least one of either is needed. chain is the
// whole subject [KeySubject] from its first receipt, and of [RenewalSubject] any of its receipts (each that is left out can
// only make a key count for less), in the order of the log; that these receipts are in the log, and linked, is for the
// caller to judge.
//
// A key that is pinned twice is one key. A pinned key counts from the receipt after the one that introduces it, where the
// chain has one, unless it handed over before; until then, from the first receipt on. [KeyHistory.ReceiptKey] says where a
// key counts, to whoever judges receipts.
//
// A statement counts only where a trusted key speaks that is not retired at that place and has not handed over: the key
// so far for key.rotated, one that goes on for key.retired of one that handed over, a root for key.delegated (and for
// the others, where the key so far is lost or stolen). Entries that nobody trusted stands behind are skipped, so that whoever pins all keys, or only a
// later one, is not stopped by the part of the history that they do not need. A statement by a trusted key that is
// malformed, not signed, or that brings a retired key back is an error of kind Corrupt: somebody tampered.
//
// Whoever holds a key can hand over to any other: a thief of an old key can make a chain of their own. What a pin of the
// first key cannot tell apart, witnesses, timestamps and a pin of the newest key can; see docs/keys.md.
func FollowKeys(domain vaultmesh.Domain, pinned []Key, roots []ed25519.PublicKey, chain []KeyEntry) (*KeyHistory, error) {
	const op = "key.follow"
	if len(pinned) == 0 && len(roots) == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(domain), "no key is pinned").WithFix("pin at least the first key, or the root")
	}
	h := &KeyHistory{roots: roots, at: map[string]int{}, ids: map[string][]int{}}
	for _, k := range pinned {
		h.pin(k)
	}
	for _, e := range chain {
		if _, err := h.follow(domain, e); err != nil {
			return nil, vaultmesh.Wrap(err, op, e.Receipt.Kind)
		}
	}
	return h, nil
}

// Then returns the history with one more entry, which lies behind all that were followed so far, and whether a trusted key
// stands behind it: else it counts for nothing. It costs a copy of the keys and the signatures of this entry, however long
// the history is. Errors are those of [FollowKeys].
func (h *KeyHistory) Then(domain vaultmesh.Domain, e KeyEntry) (next *KeyHistory, counts bool, err error) {
	n := *h
	n.keys, n.at, n.ids = slices.Clone(h.keys), maps.Clone(h.at), maps.Clone(h.ids)
	if counts, err = n.follow(domain, e); err != nil {
		return nil, false, vaultmesh.Wrap(err, "key.follow", e.Receipt.Kind)
	}
	return &n, counts, nil
}

// RootedIn reports whether the history was followed from these roots.
func (h *KeyHistory) RootedIn(roots []ed25519.PublicKey) bool {
	return slices.EqualFunc(h.roots, roots, func(a, b ed25519.PublicKey) bool { return bytes.Equal(a, b) })
}

// Introduced returns how many keys the log has introduced, of at most [MaxKeys].
func (h *KeyHistory) Introduced() int { return h.made }

// pin adds a key that the caller trusts. One that is pinned twice is one key: a retirement must not miss the other.
func (h *KeyHistory) pin(k Key) {
	k.Pinned = true
	known := h.find(k.Purpose, k.Public)
	if known == nil || known.Origin != k.Origin {
		h.put(k)
		return
	}
	known.From = max(known.From, k.From)
	if known.Until == 0 || k.Until != 0 && k.Until < known.Until {
		known.Until = k.Until
	}
}

// follow applies one entry, and reports whether it counts.
func (h *KeyHistory) follow(domain vaultmesh.Domain, e KeyEntry) (counts bool, err error) {
	const op = "key.statement"
	if h.begun && e.Index <= h.last {
		return false, vaultmesh.Errorf(vaultmesh.Invalid, op, string(domain), "the entry at index %d is not in the order of the log", e.Index)
	}
	h.begun, h.last = true, e.Index
	b, err := ReadBody[KeyBody](&e.Receipt)
	if err != nil {
		return false, err
	}
	if b.Act != e.Receipt.Kind || b.Domain != domain || e.Receipt.Domain != domain {
		return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, b.Purpose, "a statement %.64q about %.64q in a receipt %s of %s", b.Act, b.Domain, e.Receipt.Kind, e.Receipt.Domain)
	}
	if (b.Act == KeyRenewed) != (e.Receipt.Subject == RenewalSubject(domain)) { // of which bundles need not show all
		return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, b.Purpose, "a statement %s under the subject %.80q", b.Act, e.Receipt.Subject)
	}
	isRoot := slices.ContainsFunc(h.roots, func(r ed25519.PublicKey) bool { return bytes.Equal(r, b.By) })
	speaker := h.find(b.Purpose, b.By)
	known := speaker != nil && !speaker.handed && speaker.counts(uint64(e.Index)) && speaker.Origin == b.Origin
	about := h.find(b.Purpose, b.Key)
	if !isRoot && (!known || b.delegates()) || b.Act == KeyRenewed && about == nil {
		return false, nil
	}
	if err := b.Verify(); err != nil {
		return false, err
	}
	switch b.Act {
	case KeyRotated:
		for i := range h.keys {
			if k := &h.keys[i]; k == speaker || isRoot && k.Purpose == b.Purpose && k != about && k.counts(uint64(e.Index)) {
				k.handed, k.handedAt = true, uint64(e.Index)
			}
		}
		return true, h.introduce(about, b, uint64(e.Index))
	case KeyDelegated, KeyRenewed:
		return true, h.introduce(about, b, uint64(e.Index))
	default: // KeyRetired: Verify refuses every other act
		if about == nil || !about.handed && !isRoot {
			return false, nil
		}
		if about.Until == 0 || uint64(e.Index) < about.Until {
			about.Until = uint64(e.Index)
		}
		return true, nil
	}
}

// counts reports whether the key may sign a receipt at an index.
func (k *Key) counts(index uint64) bool { return index >= k.From && (k.Until == 0 || index < k.Until) }

// countsAtSize reports whether the key may sign for a log of a size: a checkpoint, or a bundle that leads to it.
func (k *Key) countsAtSize(size uint64) bool {
	return size >= k.From && (k.Until == 0 || size <= k.Until)
}

// introduce adds a key, or renews the delegation of a known one.
func (h *KeyHistory) introduce(about *Key, b KeyBody, index uint64) error {
	const op = "key.statement"
	from := index + 1
	switch {
	case about == nil && h.made == MaxKeys:
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, b.Purpose, "the log introduces more than %d keys", MaxKeys)
	case about == nil:
		h.made++
		about = h.put(Key{Purpose: b.Purpose, Public: slices.Clone(ed25519.PublicKey(b.Key)), Origin: b.Origin, From: from})
	case about.Until != 0 && from > about.Until:
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, b.Purpose, "the key %s was retired and is brought back", KeyID(b.Key))
	case b.Act == KeyRotated && about.Pinned && about.From == 0 && !about.handed: // one that hands over and gets back was there before
		about.From = from // it was trusted already; now it is known from where on
	}
	if b.delegates() {
		about.vouch(index, b.Time, b.Expires)
	}
	return nil
}

// put adds a key, and returns it where it is.
func (h *KeyHistory) put(k Key) *Key {
	id := KeyID(k.Public)
	h.ids[id] = append(h.ids[id], len(h.keys))
	if name := keyName(k.Purpose, k.Public); h.find(k.Purpose, k.Public) == nil {
		h.at[name] = len(h.keys)
	}
	h.keys = append(h.keys, k)
	return &h.keys[len(h.keys)-1]
}

// keyName is what a key is found by.
func keyName(purpose string, pub []byte) string { return purpose + "/" + string(pub) }

func (h *KeyHistory) find(purpose string, pub []byte) *Key {
	if i, ok := h.at[keyName(purpose, pub)]; ok {
		return &h.keys[i]
	}
	return nil
}

// Keys returns the keys of one purpose, oldest first.
func (h *KeyHistory) Keys(purpose string) []Key {
	var out []Key
	for _, k := range h.keys {
		if k.Purpose == purpose {
			out = append(out, k)
		}
	}
	return out
}

// Live returns the keys of one purpose that are not retired, oldest first: the last of them is the one that goes on, and
// while there are two of the log, both sign.
func (h *KeyHistory) Live(purpose string) []Key {
	return slices.DeleteFunc(h.Keys(purpose), func(k Key) bool { return k.Until != 0 })
}

// CheckpointKeys returns the keys of the log that may sign a checkpoint of the given size. One good signature suffices.
func (h *KeyHistory) CheckpointKeys(size uint64) []Key {
	return slices.DeleteFunc(h.Keys(PurposeLog), func(k Key) bool { return !k.countsAtSize(size) })
}

// Checkpoint verifies a signed checkpoint by the keys that count at its size, which is read from the note itself: a note
// that no such key signed is refused with kind Denied. Signatures of other keys are ignored. It returns the key.
func (h *KeyHistory) Checkpoint(signed []byte) (Key, error) {
	const op = "log.checkpoint"
	if len(signed) > maxNote {
		return Key{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "a checkpoint of %d bytes", len(signed))
	}
	size, err := claimedSize(signed)
	if err != nil {
		return Key{}, err
	}
	for _, k := range h.CheckpointKeys(size) {
		v, err := k.Verifier()
		if err != nil {
			return Key{}, err
		}
		if _, err := note.Open(signed, note.VerifierList(v)); err == nil {
			return k, nil
		}
	}
	return Key{}, vaultmesh.Errorf(vaultmesh.Denied, op, "", "no key that counts at size %d signed it", size).
		WithFix("pin the key of that time, or get the key.rotated receipts that lead to it")
}

// ReceiptKey returns the key that signed the receipt at an index, where it counts there and then: at is the receipt's
// own time, which must not be after the end of a delegation. Otherwise the error is of kind Denied.
func (h *KeyHistory) ReceiptKey(keyID string, index vaultmesh.LogIndex, at time.Time) (Key, error) {
	const op = "receipt.key"
	for _, i := range h.ids[keyID] {
		k := h.keys[i]
		if k.Purpose != PurposeReceipt {
			continue
		}
		switch {
		case uint64(index) < k.From:
			return Key{}, vaultmesh.Errorf(vaultmesh.Denied, op, keyID, "the key counts from index %d on, the receipt is at %d", k.From, index)
		case k.Until != 0 && uint64(index) > k.Until: // the receipt at Until is the one that retires it
			return Key{}, vaultmesh.Errorf(vaultmesh.Denied, op, keyID, "the key was retired at index %d, the receipt is at %d", k.Until, index)
		}
		if end, ended := k.Ended(index, at); ended {
			return Key{}, vaultmesh.Errorf(vaultmesh.Denied, op, keyID, "the delegation of the key ended at %s, the receipt says %s", end.Format(time.RFC3339), at.Format(time.RFC3339))
		}
		return k, nil
	}
	return Key{}, vaultmesh.Errorf(vaultmesh.Denied, op, keyID, "no trusted key leads to it")
}

// algEd25519 is the type byte of ed25519 in verifier keys (C2SP signed-note).
const algEd25519 = 1

// logKeyBytes returns the ed25519 key inside a verifier key whose form was checked.
func logKeyBytes(text string) (ed25519.PublicKey, error) {
	_, rest, _ := strings.Cut(text, "+")
	_, key, _ := strings.Cut(rest, "+") // the base64 alphabet has + itself: only the first two part the fields
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != algEd25519 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "key.parse", "", "the key of the log is not ed25519")
	}
	return ed25519.PublicKey(b[1:]), nil
}

// claimedSize reads the size in an unverified checkpoint.
func claimedSize(signed []byte) (uint64, error) {
	lines := bytes.SplitN(signed, []byte("\n"), 3)
	if len(lines) == 3 {
		if size, err := strconv.ParseUint(string(lines[1]), 10, 63); err == nil {
			return size, nil
		}
	}
	return 0, vaultmesh.Errorf(vaultmesh.Invalid, "log.checkpoint", "", "its second line is not a size")
}
