package lawchain

import (
	"cmp"
	"crypto/ed25519"
	"maps"
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
	chain, err := readChain(r, receipt.KeySubject(d), func(*receipt.KeyEntry) (bool, bool) { return true, true })
	if err != nil {
		return nil, err
	}
	h, err := receipt.FollowKeys(d, pinned, roots, chain)
	if err != nil {
		return nil, err
	}
	renewed, err := readRenewals(r, d, h)
	if err != nil || len(renewed) == 0 {
		return h, err
	}
	chain = append(chain, renewed...)
	slices.SortFunc(chain, func(a, b receipt.KeyEntry) int { return cmp.Compare(a.Index, b.Index) })
	return receipt.FollowKeys(d, pinned, roots, chain)
}

// readRenewals reads the newest renewal of the delegation of each present key: a domain that has a root renews for as long
// as it lives, and what ended meanwhile decides about nothing that the node does.
func readRenewals(r journal.Reader, d vaultmesh.Domain, h *receipt.KeyHistory) ([]receipt.KeyEntry, error) {
	type present struct {
		public ed25519.PublicKey
		since  vaultmesh.LogIndex // of the statement that vouches for it so far
	}
	want := map[string]present{}
	for _, purpose := range []string{receipt.PurposeLog, receipt.PurposeReceipt, receipt.PurposeCapability} {
		live := h.Live(purpose)
		if len(live) == 0 {
			continue
		}
		k := live[len(live)-1]
		if since, ok := k.Vouched(); ok {
			want[purpose] = present{k.Public, since}
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	return readChain(r, receipt.RenewalSubject(d), func(e *receipt.KeyEntry) (keep, more bool) {
		maps.DeleteFunc(want, func(_ string, k present) bool { return e.Index < k.since }) // nothing newer is to come
		b, err := receipt.ReadBody[receipt.KeyBody](&e.Receipt)
		if err != nil {
			return true, true // whoever follows it says what is wrong
		}
		if k, ok := want[b.Purpose]; ok && k.public.Equal(ed25519.PublicKey(b.Key)) {
			delete(want, b.Purpose)
			keep = true
		}
		return keep, len(want) > 0
	})
}

// readChain reads receipts about keys, from the last one back, as long as the caller wants more: what the newest receipts
// of a subject are is found through its head alone. It returns those to keep in the order of the log.
func readChain(r journal.Reader, subject string, choose func(*receipt.KeyEntry) (keep, more bool)) (chain []receipt.KeyEntry, err error) {
	const op = "lawchain.keys"
	count, last, _, ok, err := NewStored(r).Head(subject)
	if err != nil || !ok {
		return nil, err
	}
	for more := true; more && count > 0; {
		count--
		raw, ok, err := r.Get(keyEntry(uint64(last)))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, subject, "receipt %d is missing from the journal", last)
		}
		e, err := receipt.Open(raw)
		if err != nil {
			return nil, vaultmesh.Wrap(err, op, subject)
		}
		if e.Subject != subject || e.Seq != count || (count > 0) != (e.Prev != nil) {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, subject, "receipt %d is not number %d of the subject", last, count)
		}
		var keep bool
		entry := receipt.KeyEntry{Index: last, Receipt: e}
		if keep, more = choose(&entry); keep {
			chain = append(chain, entry)
		}
		if count > 0 {
			last = e.Prev.Index
		}
	}
	slices.Reverse(chain)
	return chain, nil
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
	h, err := l.keysSoFar(tx, roots)
	if err != nil {
		return nil, err
	}
	for _, b := range bodies {
		e, err := l.appendKey(tx, receipt.Draft{Kind: b.Act, Subject: receipt.KeySubject(l.o.Domain), Actor: actor, Time: at}, b)
		if err != nil {
			return nil, err
		}
		next, counts, err := h.Then(l.o.Domain, e)
		if err != nil {
			return nil, err
		}
		if !counts {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, op, b.Purpose, "no key that may speak here stands behind the %s", b.Act)
		}
		h = next
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

// keysSoFar returns the history of the keys that the log holds already; it reads it where that is of other roots.
func (l *Log) keysSoFar(tx journal.Tx, roots []ed25519.PublicKey) (*receipt.KeyHistory, error) {
	if h := l.history.Load(); h != nil && h.RootedIn(roots) {
		return h, nil
	}
	h, err := ReadKeys(tx, l.o.Domain, roots)
	if err == nil && h == nil {
		err = vaultmesh.Errorf(vaultmesh.Conflict, "lawchain.keys", string(l.o.Domain), "the domain has not begun")
	}
	return h, err
}

// appendKey appends a statement about a key, and returns it as the log holds it.
func (l *Log) appendKey(tx journal.Tx, d receipt.Draft, b receipt.KeyBody) (receipt.KeyEntry, error) {
	if b.Act == receipt.KeyRenewed {
		d.Subject = receipt.RenewalSubject(l.o.Domain)
	}
	var err error
	if d.Body, err = receipt.Body(b); err != nil {
		return receipt.KeyEntry{}, err
	}
	index, _, err := l.Append(tx, d)
	if err != nil {
		return receipt.KeyEntry{}, err
	}
	return receipt.KeyEntry{Index: index, Receipt: receipt.Receipt{Domain: l.o.Domain, Draft: d}}, nil
}

// Keys returns the history of the log's keys as of the last change; nil where [Log.UseKeys] was not called. Of renewed
// delegations it holds those of the present keys.
func (l *Log) Keys() *receipt.KeyHistory { return l.history.Load() }

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
