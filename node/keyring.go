package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// purposes of the keys that a node holds, in the order in which they are made.
var purposes = []string{receipt.PurposeReceipt, receipt.PurposeCapability, receipt.PurposeLog}

// heldKey is a key in a file below <data>/keys: <purpose>.key is the first of its purpose, <purpose>-<id>.key one that a
// rotation made. Which of them goes on is not in the files but in the log: see [keys.follow].
type heldKey struct {
	purpose string
	path    string
	private ed25519.PrivateKey
	logKey  string // verifier key text; purpose log only
	signer  note.Signer
}

// keyFiles returns the files of a purpose, the first key of the domain first.
func keyFiles(dir, purpose string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "keys.open", dir, "cannot read the folder").Because(err)
	}
	var out []string
	for _, e := range entries {
		if name := e.Name(); name == purpose+".key" || strings.HasPrefix(name, purpose+"-") && strings.HasSuffix(name, ".key") {
			out = append(out, filepath.Join(dir, name))
		}
	}
	first := filepath.Join(dir, purpose+".key")
	sort.Slice(out, func(i, j int) bool { return out[i] == first || out[j] != first && out[i] < out[j] })
	return out, nil
}

// openKey loads a key, or makes it where the file does not exist.
func openKey(path, purpose string, domain vaultmesh.Domain) (heldKey, error) {
	h := heldKey{purpose: purpose, path: path}
	var err error
	if purpose != receipt.PurposeLog {
		h.private, err = seedFile(path)
		return h, err
	}
	text, err := readSecret(path, func() (string, error) {
		sk, vk, err := note.GenerateKey(rand.Reader, logName(domain))
		return sk + "\n" + vk + "\n", err
	})
	if err != nil {
		return h, err
	}
	sk, vk, ok := strings.Cut(strings.TrimSpace(text), "\n")
	if !ok {
		return h, vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", path, "want two lines: signer and verifier key of a signed note")
	}
	if h.signer, err = note.NewSigner(sk); err != nil {
		return h, vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", path, "the signer key is damaged")
	}
	v, err := note.NewVerifier(vk)
	if err != nil || v.Name() != h.signer.Name() || v.KeyHash() != h.signer.KeyHash() {
		return h, vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", path, "the verifier key does not belong to the signer key")
	}
	// PRIVATE+KEY+name+hash+base64 of the type and the seed; the base64 alphabet has + itself.
	b, err := base64.StdEncoding.DecodeString(strings.SplitN(sk, "+", 5)[4])
	if err != nil || len(b) != 1+ed25519.SeedSize {
		return h, vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", path, "the signer key is not ed25519")
	}
	h.private, h.logKey = ed25519.NewKeyFromSeed(b[1:]), vk
	return h, nil
}

func (n *Node) keysDir() string { return filepath.Join(n.cfg.Data, "keys") }

// newKey makes a key of a purpose in a file of its own. Until a receipt names it, it means nothing.
func newKey(dir, purpose string, domain vaultmesh.Domain) (heldKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return heldKey{}, vaultmesh.Errorf(vaultmesh.Internal, "keys.new", purpose, "cannot make a key").Because(err)
	}
	text := base64.StdEncoding.EncodeToString(private.Seed()) + "\n"
	if purpose == receipt.PurposeLog {
		vk, err := note.NewEd25519VerifierKey(logName(domain), public(private))
		if err != nil {
			return heldKey{}, vaultmesh.Errorf(vaultmesh.Internal, "keys.new", purpose, "cannot make a key").Because(err)
		}
		hash := strings.SplitN(vk, "+", 3)[1]
		text = "PRIVATE+KEY+" + logName(domain) + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, private.Seed()...)) + "\n" + vk + "\n"
	}
	path := filepath.Join(dir, purpose+"-"+hex.EncodeToString(public(private)[:8])+".key")
	if err := WriteSecret(path, []byte(text)); err != nil {
		return heldKey{}, err
	}
	return openKey(path, purpose, domain)
}

// use makes a key the present one of its purpose.
func (k *keys) use(h heldKey) {
	switch h.purpose {
	case receipt.PurposeReceipt:
		k.receipts = h.private
	case receipt.PurposeCapability:
		k.capability = h.private
	case receipt.PurposeLog:
		k.log, k.logKey, k.signers = h.signer, h.logKey, []note.Signer{h.signer}
		k.logVerify, _ = note.NewVerifier(h.logKey) // openKey has read it already
	}
}

// find returns the file that holds a key.
func (k *keys) find(purpose string, pub ed25519.PublicKey) (heldKey, bool) {
	for _, h := range k.held {
		if h.purpose == purpose && public(h.private).Equal(pub) {
			return h, true
		}
	}
	return heldKey{}, false
}

// follow takes up the keys with which the log goes on; of the log itself all that are not retired. A key that no file
// holds is of kind Conflict: nobody who pinned the domain's keys could verify what would follow.
func (k *keys) follow(h *receipt.KeyHistory) error {
	for _, purpose := range purposes {
		live := h.Live(purpose)
		if len(live) == 0 {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", purpose, "the log has no key of this purpose that is not retired")
		}
		if purpose != receipt.PurposeLog {
			live = live[len(live)-1:]
		}
		var signers []note.Signer
		for _, want := range live {
			have, ok := k.find(purpose, want.Public)
			if !ok {
				return vaultmesh.Errorf(vaultmesh.Conflict, "keys.open", k.fileOf(purpose), "the log goes on with the key %s, which no file holds: the log is not signed by this log's key", receipt.KeyID(want.Public)).
					WithFix("use the key folder that belongs to this data folder")
			}
			k.use(have)
			signers = append(signers, have.signer)
		}
		if purpose == receipt.PurposeLog {
			k.signers = signers
		}
	}
	return nil
}

// useTrusted takes up the newest capability root that the node last named to auditors. The log, which knows, cannot be
// read beside a running node.
func (k *keys) useTrusted(path string) error {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil // no node has started: there is one key of each purpose
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "keys.open", path, "cannot read").Because(err)
	}
	t, err := receipt.LoadTrust(b)
	if err != nil {
		return vaultmesh.Wrap(err, "keys.open", path)
	}
	if n := len(t.CapabilityRoots); n > 0 {
		h, ok := k.find(receipt.PurposeCapability, t.CapabilityRoots[n-1].Public)
		if !ok {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "keys.open", path, "no file holds the capability root that it names last").WithFix("use the key folder that belongs to this data folder")
		}
		k.use(h)
	}
	return nil
}

// fileOf is the file of a purpose that a message names.
func (k *keys) fileOf(purpose string) string {
	for _, h := range k.held {
		if h.purpose == purpose {
			return h.path
		}
	}
	return purpose + ".key"
}

// history is that of a domain whose log is still empty: its first keys.
func (k *keys) history(domain vaultmesh.Domain, roots []ed25519.PublicKey) (*receipt.KeyHistory, error) {
	first, err := receipt.ParseLogKey(k.logKey)
	if err != nil {
		return nil, err
	}
	return receipt.FollowKeys(domain, []receipt.Key{first, {Purpose: receipt.PurposeReceipt, Public: public(k.receipts)}, {Purpose: receipt.PurposeCapability, Public: public(k.capability)}}, roots, nil)
}
