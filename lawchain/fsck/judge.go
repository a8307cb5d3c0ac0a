package fsck

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

// Options of a check.
type Options struct {
	Pins Pins
	// Heads are checkpoints that were seen before: the log must extend every one of them. Their signatures are not
	// looked at: whoever gives them vouches for them.
	Heads []Head
	// Drift is how far a receipt's time may lie before that of an earlier one, and after Now. Default one minute.
	Drift time.Duration
	// Now is the time of the check. Default the clock's.
	Now time.Time
	// Workers read, hash and verify. Default the number of processors.
	Workers int
	// Temp is the folder for what does not fit into memory: the ends of the subjects' histories where there are more than a
	// million, 50 bytes each. Default the system's.
	Temp string
	// Unverified bounds the bytes that are read of a published or archived log before a trusted key is known to stand behind
	// it, which with Pins.Follow the log itself must show. Default 256 MiB; less than 0: no bound, for a place of one's own.
	Unverified int64
	// Progress is called now and then from one goroutine, with receipts read and expected.
	Progress func(done, total uint64)

	hot int // subjects that are kept in memory; 0: hotSubjects
}

// maxUnverified is the default of Options.Unverified.
const maxUnverified = 256 << 20

// Head is a tree head with the place where it was seen.
type Head struct {
	Size uint64
	Root vaultmesh.Digest
	From string
}

// maxSize bounds what is taken for the size of a log.
const maxSize = 1 << 62

// ReadHead takes the head out of a signed checkpoint without verifying it.
func ReadHead(signed []byte, from string) (Head, string, error) {
	var cp log.Checkpoint
	if _, err := cp.Unmarshal(signed); err != nil || len(cp.Hash) != 32 || cp.Size > maxSize {
		return Head{}, "", vaultmesh.Errorf(vaultmesh.Invalid, "fsck", from, "not a checkpoint").Because(err)
	}
	return Head{Size: cp.Size, Root: vaultmesh.Digest(cp.Hash), From: from}, cp.Origin, nil
}

func (o *Options) defaults() {
	if o.Drift <= 0 {
		o.Drift = time.Minute
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Unverified == 0 {
		o.Unverified = maxUnverified
	}
	if o.Progress == nil {
		o.Progress = func(uint64, uint64) {}
	}
	o.Heads = slices.Clone(o.Heads)
	slices.SortStableFunc(o.Heads, func(a, b Head) int { return cmp.Compare(a.Size, b.Size) })
}

// fact is what the ordered judge needs of one receipt.
type fact struct {
	leaf  vaultmesh.Digest
	err   error // it cannot be opened
	sig   signature
	found lawchain.Searchable
	r     receipt.Receipt // without its body, unless it is about keys or its key is not known yet
	about about
}

type signature uint8

const (
	unsigned signature = iota
	good
	bad
	unknown // by a key that was not known when it was read
)

// open opens an envelope and verifies its signature by the keys known so far. It runs on any worker.
func (k *keyring) open(envelope []byte) fact {
	r, err := receipt.Open(envelope)
	f := fact{leaf: receipt.LeafHash(envelope), err: err}
	if err != nil {
		return f
	}
	f.r, f.found = r, lawchain.SearchableOf(&r)
	d := sha256.Sum256([]byte(r.Subject))
	f.about = about(d[:16])
	if r.Signed() && k.judge {
		f.sig = unknown
		if pub, ok := (*k.known.Load())[r.KeyID]; ok {
			f.sig = verified(&r, pub)
		}
	}
	if f.sig != unknown && !aboutKeys(&r) {
		f.r.Body = nil
	}
	return f
}

func verified(r *receipt.Receipt, pub []byte) signature {
	if r.CheckSignature(pub) == nil {
		return good
	}
	return bad
}

func aboutKeys(r *receipt.Receipt) bool {
	return r.Subject == receipt.KeySubject(r.Domain) || r.Subject == receipt.RenewalSubject(r.Domain)
}

// judge takes the receipts in order. It is owned by one goroutine.
type judge struct {
	o     Options
	keys  *keyring
	found *findings
	tree  *tiles.Builder

	domain vaultmesh.Domain
	chains *ends
	heads  []Head // not yet reached

	newest time.Time // of all receipts so far
	back   bool      // the previous receipt was back-dated too
	hole   bool      // receipts are missing: what follows from that is not reported
	signed uint64
	early  map[string]*uses // of pinned keys that the log has not introduced so far
	late   map[string]*uses // of keys whose delegation had ended, and may be prolonged
	read   uint64
}

func newJudge(o Options, keys *keyring, found *findings, tree *tiles.Builder) *judge {
	return &judge{o: o, keys: keys, found: found, tree: tree, domain: o.Pins.Domain, chains: newEnds(o.hot, o.Temp), heads: o.Heads, early: map[string]*uses{}, late: map[string]*uses{}}
}

// close removes what was kept on the disk.
func (j *judge) close() {
	if err := j.chains.close(); err != nil {
		j.found.note("the temporary folder was not removed: %v", err)
	}
}

// errEnough ends a check whose verdict is clear.
var errEnough = errors.New("too many problems: the rest was not read")

// receipt judges the next receipt.
func (j *judge) receipt(f fact) error {
	i := j.tree.Size()
	if err := j.leaf(f.leaf); err != nil {
		return err
	}
	j.read++
	if f.err != nil {
		j.found.receipt(checkEntries, i, "envelope", "it cannot be opened: %v", f.err)
		j.hole = true
		return nil
	}
	if j.domain == "" {
		j.domain = f.r.Domain
		j.keys.pins.Domain = j.domain // only the judge looks at it: what keys say is about this domain
	}
	if f.r.Domain != j.domain {
		j.found.receipt(checkEntries, i, f.r.Subject, "it belongs to domain %q, not %q", f.r.Domain, j.domain)
	}
	if err := j.link(i, &f); err != nil {
		return err
	}
	j.time(i, &f.r)
	j.signature(i, &f)
	if aboutKeys(&f.r) {
		f.r.Body = slices.Clone(f.r.Body)
		if err := j.keys.add(receipt.KeyEntry{Index: vaultmesh.LogIndex(i), Receipt: f.r}); err != nil {
			j.found.receipt(checkSignatures, i, f.r.Subject, "%v", err)
		}
		j.judged(false)
	}
	if j.found.count() > endProblems {
		return errEnough
	}
	return nil
}

// leaf adds a leaf, of a receipt that may be missing, and compares the tree with the heads seen before.
func (j *judge) leaf(leaf vaultmesh.Digest) error {
	if err := j.tree.Append(leaf); err != nil {
		return err
	}
	for len(j.heads) > 0 && j.heads[0].Size <= j.tree.Size() {
		h := j.heads[0]
		j.heads = j.heads[1:]
		if h.Size == j.tree.Size() && h.Root != j.tree.Root() {
			j.found.damage(checkTree, h.From, "the tree of %d receipts does not have the root of this checkpoint: the log was changed below it, or it is another log (a fork)", h.Size)
		}
	}
	return nil
}

// link compares the receipt's place in its subject's chain with the end of the chain so far.
func (j *judge) link(i uint64, f *fact) error {
	r := &f.r
	end, known, err := j.chains.get(f.about)
	if err != nil {
		return err
	}
	switch {
	case r.Seq == end.count && (r.Prev == nil) == (end.count == 0) && (r.Prev == nil || r.Prev.Index == end.last && [16]byte(r.Prev.Leaf[:16]) == end.leaf):
	case j.hole && r.Seq >= end.count: // those between may be among the missing ones
	case r.Seq < end.count:
		j.found.receipt(checkChains, i, r.Subject, "it is number %d of its subject, and so was an earlier receipt: duplicated, reordered or forked", r.Seq)
	case r.Seq > end.count:
		j.found.receipt(checkChains, i, r.Subject, "it is number %d of its subject, expected is %d: receipts of the subject are missing or reordered", r.Seq, end.count)
	default:
		j.found.receipt(checkChains, i, r.Subject, "it does not point to the receipt before it (number %d of its subject at index %d)", end.count, end.last)
	}
	return j.chains.put(f.about, chainEnd{r.Seq + 1, vaultmesh.LogIndex(i), [16]byte(f.leaf[:16])}, known)
}

// time tells back-dated receipts: the node writes the time, and the order is its own.
func (j *judge) time(i uint64, r *receipt.Receipt) {
	late := r.Time.After(j.o.Now.Add(j.o.Drift))
	if late {
		j.found.receipt(checkTimes, i, r.Subject, "its time, %s, is in the future", r.Time.Format(time.RFC3339))
	}
	back := j.newest.Sub(r.Time) > j.o.Drift
	if back && !j.back {
		j.found.receipt(checkTimes, i, r.Subject, "its time, %s, is %s before that of an earlier receipt: it is back-dated, or the clock was set back", r.Time.Format(time.RFC3339), j.newest.Sub(r.Time).Round(time.Second))
	}
	j.back = back
	if r.Time.After(j.newest) && !late {
		j.newest = r.Time
	}
}

func (j *judge) signature(i uint64, f *fact) {
	r := &f.r
	if !r.Signed() {
		if receipt.MustSign(r.Kind) {
			j.found.receipt(checkSignatures, i, r.Subject, "a receipt of kind %s has no signature", r.Kind)
		}
		return
	}
	if !j.keys.judge {
		return
	}
	if f.sig == unknown {
		if pub, ok := (*j.keys.known.Load())[r.KeyID]; ok {
			f.sig = verified(r, pub)
		}
	}
	switch f.sig {
	case unknown:
		j.found.receipt(checkSignatures, i, r.Subject, "it is signed by the key %s, which is not pinned", r.KeyID)
		return
	case bad:
		j.found.receipt(checkSignatures, i, r.Subject, "its signature does not verify")
		return
	}
	if err := j.note(i, r); err != nil {
		j.found.receipt(checkSignatures, i, r.Subject, "%v", err)
		return
	}
	j.signed++
}

// missing takes the place of n receipts that cannot be read; leaves are their hashes where the tree's tile has them.
func (j *judge) missing(leaves []vaultmesh.Digest, n uint64) error {
	j.hole = true
	if uint64(len(leaves)) != n {
		return errHole
	}
	for _, l := range leaves {
		if err := j.leaf(l); err != nil {
			return err
		}
	}
	return nil
}

// errHole ends the reading where neither a receipt nor its hash is there: indexes behind it could not be told.
var errHole = errors.New("receipts and their hashes are missing: the rest cannot be judged")

// checkpoint judges the signed note, at the end, when the log's own statements about keys are known; where only pinned
// keys count, also before anything else is read.
func (j *judge) checkpoint(signed []byte, where string) bool {
	if err := j.keys.checkpoint(signed); err != nil {
		j.found.damage(checkCheckpoint, where, "%v", err)
		return false
	}
	if !oneSpelling(signed) {
		j.found.damage(checkCheckpoint, where, "a signature line is spelt in another way than the log does: a byte was changed")
		return false
	}
	return true
}

// oneSpelling reports whether the signatures of a note are canonical base64: the reader of notes ignores bits at the end
// that carry nothing.
func oneSpelling(signed []byte) bool {
	end := bytes.LastIndex(signed, []byte("\n\n"))
	for line := range bytes.Lines(signed[end+2:]) {
		_, sig, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(string(line), "\u2014 "), "\n"), " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(sig)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != sig {
			return false
		}
	}
	return true
}

// end adds the checks of what was read to the report. complete says that everything was read.
func (j *judge) end(r *Report, size uint64, root vaultmesh.Digest, complete bool) {
	j.judged(true)
	r.Receipts, r.Subjects, r.Signed = j.read, j.chains.count, j.signed
	if complete {
		if got := j.tree.Root(); got != root {
			j.found.damage(checkTree, "tree", "the receipts have the root %s, the checkpoint says %s", got, root)
		}
		for _, h := range j.heads {
			if h.Size > size {
				j.found.damage(checkTree, h.From, "a tree of %d receipts was seen before, the log has %d: it was truncated or rolled back", h.Size, size)
			}
		}
	}
	if !j.keys.judge {
		j.found.note("no receipt key is pinned: the signatures of receipts were not judged, only that of the checkpoint over all of them")
	}
}

// ended says why a reading stopped: nil where that was damage, which the findings hold.
func ended(err error, found *findings) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errEnough), errors.Is(err, errHole), errors.Is(err, errForeign):
		found.note("%v", err)
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the time given was not enough: %w", err)
	}
	return err
}
