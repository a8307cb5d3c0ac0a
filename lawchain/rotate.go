package lawchain

import (
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// ReadKeys returns the history of the domain's keys from the log itself: those of its first receipt, and what the
// receipts about keys say since then. roots are the keys that may delegate; nil where there is none. The history is nil
// where the log is empty. There is no other record of which key is the present one, so that a rotation has happened
// exactly when its receipt is durable.
func ReadKeys(r journal.Reader, d vaultmesh.Domain, roots []ed25519.PublicKey) (*receipt.KeyHistory, error) {
	const op = "lawchain.keys"
	first, ok, err := r.Get(keyEntry(0))
	if err != nil || !ok {
		return nil, err
	}
	genesis, err := receipt.Open(first)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, string(d))
	}
	if genesis.Domain != d {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, string(d), "the data folder belongs to domain %s, the configuration says %s", genesis.Domain, d).WithFix("configure the domain %s, or name another data folder", genesis.Domain)
	}
	pinned, err := receipt.GenesisKeys(&genesis)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, string(d))
	}
	var chain []receipt.KeyEntry
	subject := receipt.KeySubject(d)
	lo := keySubject(subject, 0)
	hi := append(slices.Clone(lo[:len(lo)-9]), 1)
	var indexes []uint64
	err = r.Scan(lo, hi, func(_, v []byte) (bool, error) {
		if len(v) != 8 || len(indexes) == receipt.MaxKeys {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, subject, "the index of the subject is damaged, or longer than %d", receipt.MaxKeys)
		}
		indexes = append(indexes, binary.BigEndian.Uint64(v))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, i := range indexes {
		raw, ok, err := r.Get(keyEntry(i))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, subject, "receipt %d is missing from the journal", i)
		}
		e, err := receipt.Open(raw)
		if err != nil {
			return nil, vaultmesh.Wrap(err, op, subject)
		}
		chain = append(chain, receipt.KeyEntry{Index: vaultmesh.LogIndex(i), Receipt: e})
	}
	return receipt.FollowKeys(d, pinned, roots, chain)
}

// UseKeys gives the log the history of its keys and the signers of its checkpoints: one for each key of the log that is
// not retired, oldest first, so that both keys sign while a rotation overlaps. It is called before Load.
func (l *Log) UseKeys(h *receipt.KeyHistory, signers []note.Signer, receipts receipt.Signer) error {
	if err := fits(h, signers); err != nil {
		return err
	}
	newest := h.Live(receipt.PurposeLog)[len(signers)-1]
	v, err := newest.Verifier()
	if err != nil {
		return err
	}
	l.history.Store(h)
	l.signers = signers
	l.o.Signer, l.o.Verifier, l.o.Receipts = signers[len(signers)-1], v, receipts
	return nil
}

// UseHistory is UseKeys where keys are lost: the log can be loaded and read, and takes no commit but one of
// [Log.ChangeKeys], which brings signers. receipts may be nil: then receipts carry no signature of their own.
func (l *Log) UseHistory(h *receipt.KeyHistory, receipts receipt.Signer) error {
	live := h.Live(receipt.PurposeLog)
	if len(live) == 0 {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.keys", "", "no key of the log is live")
	}
	v, err := live[len(live)-1].Verifier()
	if err != nil {
		return err
	}
	l.history.Store(h)
	l.signers, l.o.Verifier, l.o.Receipts = nil, v, receipts
	return nil
}

// fits reports whether there is exactly one signer for each key that must sign checkpoints.
func fits(h *receipt.KeyHistory, signers []note.Signer) error {
	const op = "lawchain.keys"
	live := h.Live(receipt.PurposeLog)
	if len(live) != len(signers) || len(live) == 0 {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, "", "%d keys of the log are not retired, there are %d signers", len(live), len(signers))
	}
	for i, k := range live {
		v, err := k.Verifier()
		if err != nil {
			return err
		}
		if v.Name() != signers[i].Name() || v.KeyHash() != signers[i].KeyHash() {
			return vaultmesh.Errorf(vaultmesh.Conflict, op, v.Name(), "signer %d has the key %08x, the log says %08x", i, signers[i].KeyHash(), v.KeyHash())
		}
	}
	return nil
}

// ChangeKeys appends statements about keys inside an operation of the journal. It refuses any that would not be
// followed by whoever trusts the keys so far, so that a rotation that leads nowhere is never logged. From the checkpoint
// of the same commit on, the given signers sign: one for each key of the log that is then not retired. The signer of
// receipts is not changed: a node takes up a new one when it starts.
func (l *Log) ChangeKeys(tx journal.Tx, actor vaultmesh.Principal, at time.Time, bodies []receipt.KeyBody, roots []ed25519.PublicKey, signers []note.Signer) (*receipt.KeyHistory, error) {
	const op = "lawchain.keys"
	for _, b := range bodies {
		body, err := receipt.Body(b)
		if err != nil {
			return nil, err
		}
		index, _, err := l.Append(tx, receipt.Draft{Kind: b.Act, Subject: receipt.KeySubject(l.o.Domain), Actor: actor, Time: at, Body: body})
		if err != nil {
			return nil, err
		}
		h, err := ReadKeys(tx, l.o.Domain, roots)
		if err != nil {
			return nil, err
		}
		if slices.Contains(h.Skipped, index) {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, op, b.Purpose, "no key that may speak here stands behind the %s", b.Act)
		}
	}
	h, err := ReadKeys(tx, l.o.Domain, roots)
	if err != nil {
		return nil, err
	}
	if err := fits(h, signers); err != nil {
		return nil, err
	}
	before, was := l.signers, l.history.Load()
	tx.OnRollback(func() { l.signers = before; l.history.Store(was) })
	l.signers = signers
	l.history.Store(h)
	return h, nil
}

// Open verifies a checkpoint of this log that was stored or published at some time, by the key that counted then.
func (l *Log) Open(signed []byte) (*Checkpoint, error) {
	const op = "lawchain.checkpoint"
	v := l.o.Verifier
	if h := l.history.Load(); h != nil {
		k, err := h.Checkpoint(signed)
		if err != nil {
			return nil, err
		}
		if v, err = k.Verifier(); err != nil {
			return nil, err
		}
	}
	cp, _, _, err := log.ParseCheckpoint(signed, l.Origin(), v)
	if err != nil || len(cp.Hash) != len(vaultmesh.Digest{}) {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, l.Origin(), "it is not signed by this log's key").Because(err)
	}
	return &Checkpoint{Size: cp.Size, Root: vaultmesh.Digest(cp.Hash), Note: signed}, nil
}
