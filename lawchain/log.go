// Package lawchain owns the Evidence: the order of the receipts, the RFC 6962 Merkle tree over them, the signed
// checkpoints (C2SP signed notes), proofs, and the C2SP tlog-tiles published after the commit. It is on floor 2.
//
// It must not know what a receipt's body means, nor who may cause one. A receipt gets its index inside the commit
// that causes it (order of commits = order of the log), and the checkpoint that covers it is signed in the same
// commit. Only checkpoints of durable commits are ever shown: a tree head that was seen can never be taken back.
package lawchain

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Options of a log. Signer, Verifier and Receipts are required where [Log.UseKeys] is not called.
type Options struct {
	Domain vaultmesh.Domain
	// Signer signs checkpoints; its name is the log's origin.
	Signer   note.Signer
	Verifier note.Verifier
	// Receipts signs decisions one by one; kinds for which Unsigned is true are covered by the checkpoint alone.
	Receipts receipt.Signer
	Unsigned func(kind string) bool
}

// Log is the domain's log. Append and Seal run inside journal operations, one at a time; all other methods are safe
// for concurrent use.
type Log struct {
	o Options

	// The tail: owned by the journal's order, since Append and Seal run inside its operations only.
	tree    *compact.Range
	dirty   bool          // receipts were appended since the last Seal
	signers []note.Signer // of checkpoints: more than one while a rotation overlaps

	heads heads
	late  map[string]struct{} // subjects of busy kinds, whose heads Seal writes once for the commit; owned as the tail is

	nodes nodes

	tail    tail   // what is not written yet
	singles uint64 // one above the number of the tile of which an earlier version has written some of it; 0: none

	touched touched                    // for the state tree
	indexed atomic.Pointer[indexState] // what an older log still lacks in its search index

	mu      sync.Mutex // guards pending
	pending []sealed   // checkpoints whose commit is not yet durable, ascending

	r       atomic.Pointer[journal.Reader]
	latest  atomic.Pointer[Checkpoint]
	notify  chan struct{}                      // capacity 1: a newer durable checkpoint exists
	history atomic.Pointer[receipt.KeyHistory] // keys of all times; nil where UseKeys was not called
	choose  func(*Checkpoint) *Checkpoint      // what is published; nil: the newest
}

// Checkpoint is a signed tree head.
type Checkpoint struct {
	Size uint64
	Root vaultmesh.Digest
	Note []byte // C2SP signed note
}

type sealed struct {
	commit uint64
	cp     *Checkpoint
}

var errUnsigned = errors.New("lawchain: a checkpoint cannot be signed")

var factory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// New returns a log that has not yet seen its journal: Load must follow before any use.
func New(o Options) *Log {
	l := &Log{o: o, signers: []note.Signer{o.Signer}, tree: factory.NewEmptyRange(0), heads: newHeads(), late: map[string]struct{}{}, nodes: newNodes(), notify: make(chan struct{}, 1)}
	if l.o.Unsigned == nil {
		l.o.Unsigned = func(string) bool { return false }
	}
	return l
}

// Load restores the tail from the journal: O(log n) reads, and at most 255 receipts. It fails with kind Corrupt where the
// stored checkpoint is not signed by this log's key or does not match the stored tree.
func (l *Log) Load(r journal.Reader) error {
	const op = "lawchain.load"
	l.r.Store(&r)
	raw, ok, err := r.Get(keyCheckpoint)
	if err != nil {
		return err
	}
	if !ok {
		return l.loadIndex(r, 0)
	}
	cp, err := l.Open(raw)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, l.o.Verifier.Name(), "the stored checkpoint is not signed by this log's key").Because(err).
			WithFix("use the key folder that belongs to this data folder")
	}
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, cp.Size, nil) {
		h, err := l.node(id)
		if err != nil {
			return vaultmesh.Wrap(err, op, l.o.Verifier.Name())
		}
		hashes = append(hashes, h)
	}
	tree, err := factory.NewRange(0, cp.Size, hashes)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, l.o.Verifier.Name(), "the tree of %d receipts cannot be rebuilt", cp.Size).Because(err)
	}
	root, err := rootOf(tree)
	if err != nil || root != cp.Root {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, l.o.Verifier.Name(), "the stored tree of %d receipts does not have the root of its signed checkpoint", cp.Size).Because(err).
			WithFix("restore the data folder from a backup or a replica")
	}
	l.tree = tree
	if err := l.loadTail(r, cp.Size); err != nil {
		return err
	}
	l.latest.Store(&Checkpoint{Size: cp.Size, Root: root, Note: raw})
	return l.loadIndex(r, cp.Size)
}

// Append gives d the next index, inside an operation of the journal. The returned leaf is the receipt's RFC 6962 leaf
// hash. If the operation is dropped, so is the receipt.
func (l *Log) Append(tx journal.Tx, d receipt.Draft) (vaultmesh.LogIndex, vaultmesh.Digest, error) {
	h, _, err := l.head(d.Subject)
	if err != nil {
		return 0, vaultmesh.Digest{}, err
	}
	var p Prepared
	if err := l.encode(&p, d, h); err != nil {
		return 0, vaultmesh.Digest{}, vaultmesh.Wrap(err, "lawchain.append", d.Subject)
	}
	return l.append(tx, &p)
}

// append adds an encoded receipt whose link fits the head of its subject.
func (l *Log) append(tx journal.Tx, p *Prepared) (vaultmesh.LogIndex, vaultmesh.Digest, error) {
	index := l.tree.End()
	hashes := append([][]byte(nil), l.tree.Hashes()...)
	wasDirty, was := l.dirty, l.tail.now()
	subject, after := p.draft.Subject, p.after
	tx.OnRollback(func() {
		// The range over [0, index) existed a moment ago, so rebuilding it cannot fail.
		l.tree, _ = factory.NewRange(0, index, hashes)
		l.dirty = wasDirty
		l.tail.back(was)
		l.heads.set(subject, after)
	})
	err := l.tree.Append(p.leaf[:], func(id compact.NodeID, hash []byte) {
		if id.Level > 0 && id.Level%tileHeight == 0 {
			tx.Put(keyNode(id.Level, id.Index), append([]byte(nil), hash...))
		}
	})
	if err != nil {
		return 0, vaultmesh.Digest{}, vaultmesh.Errorf(vaultmesh.Internal, "lawchain.append", p.draft.Subject, "the tree refused a leaf").Because(err)
	}
	next := head{count: p.after.count + 1, index: vaultmesh.LogIndex(index), leaf: p.leaf}
	tx.Put(keyEntry(index), p.envelope)
	if busy(p.draft.Kind) {
		l.late[subject] = struct{}{}
	} else {
		tx.Put(keyHead(subject), next.encode())
	}
	l.heads.set(p.draft.Subject, next)
	l.touched.note(index, p.draft.Kind, p.draft.Subject)
	l.note(tx, &p.row)
	l.dirty = true
	return next.index, p.leaf, nil
}

// Seal signs the checkpoint over everything appended so far; the journal calls it once in each commit.
func (l *Log) Seal(tx journal.Tx, commit uint64) {
	if !l.dirty {
		return
	}
	root, err := rootOf(l.tree)
	if err != nil {
		panic(err) // the tree is not empty
	}
	size := l.tree.End()
	body := log.Checkpoint{Origin: l.Origin(), Size: size, Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(body)}, l.signers...)
	if err != nil || len(l.signers) == 0 {
		panic(errors.Join(errUnsigned, err)) // the text is ours and the keys are in memory; nothing goes on unsigned
	}
	tx.Put(keyCheckpoint, signed)
	l.dirty = false
	for subject := range l.late {
		if h, _, ok := l.heads.get(subject); ok && h.count > 0 {
			tx.Put(keyHead(subject), h.encode())
		}
	}
	clear(l.late)
	l.heads.sealed()
	l.mu.Lock()
	l.pending = append(l.pending, sealed{commit, &Checkpoint{Size: size, Root: root, Note: signed}})
	l.mu.Unlock()
}

// Durable publishes the checkpoints of all commits up to and including commit; the journal calls it.
func (l *Log) Durable(commit uint64) {
	l.mu.Lock()
	n := 0
	for n < len(l.pending) && l.pending[n].commit <= commit {
		n++
	}
	if n > 0 {
		l.latest.Store(l.pending[n-1].cp)
		l.pending = append(l.pending[:0], l.pending[n:]...)
	}
	l.mu.Unlock()
	if n > 0 {
		select {
		case l.notify <- struct{}{}:
		default:
		}
	}
}

// Checkpoint returns the latest durable checkpoint; nil while the log is empty.
func (l *Log) Checkpoint() *Checkpoint { return l.latest.Load() }

// Origin returns the log's name in checkpoints.
func (l *Log) Origin() string { return l.o.Verifier.Name() }

// Domain returns the log's domain.
func (l *Log) Domain() vaultmesh.Domain { return l.o.Domain }

// Verifier returns the key of the checkpoints.
func (l *Log) Verifier() note.Verifier { return l.o.Verifier }

func rootOf(t *compact.Range) (vaultmesh.Digest, error) {
	if t.End() == 0 {
		return vaultmesh.Digest(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	h, err := t.GetRootHash(nil)
	if err != nil {
		return vaultmesh.Digest{}, err
	}
	return vaultmesh.Digest(h), nil
}
