package archive

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/transparency-dev/formats/log"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

// NotRestored is what an archive does not hold, in words for people.
const NotRestored = "Not in an archive, and so not restored: the state of the twins and their history, commands that were under way, telemetry messages (the log holds their hashes), " +
	"challenges that people signed, capability tokens that a receipt only names, keys, and the node's own records. A node cannot be started from it."

// Restored says what Restore wrote.
type Restored struct {
	Segments uint64           `json:"segments"`
	Archived uint64           `json:"archived"` // receipts in the archive
	Size     uint64           `json:"size"`     // receipts restored: those under the newest checkpoint that the archive reaches
	Root     vaultmesh.Digest `json:"root"`
	Proofs   int              `json:"proofs"`
	Shadowed int              `json:"shadowed"` // objects of which an older version had to be taken
}

// Restore writes the archived log into dst, which must be empty, in the C2SP tlog-tiles layout, so that every reader of a
// published log reads it, and the anchors' proofs below anchors/. Every object is compared with its digest, every manifest
// with its predecessor and a signature by one of keys that counts at its size (From and Until), and the tree with the root
// of each; whose receipts they are is for a check of the result to say. Of each segment a few bytes are kept in memory, and
// its manifest is read twice.
func Restore(ctx context.Context, src, dst bucket.Bucket, keys []receipt.Key) (*Restored, error) {
	const op = "archive.restore"
	empty := true
	if err := dst.List(ctx, "", func(bucket.Object) (bool, error) { empty = false; return false, nil }); err != nil {
		return nil, err
	}
	if !empty {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, dst.String(), "it is not empty").WithFix("restore into a new folder")
	}
	n, err := List(ctx, src)
	if err != nil && vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		return nil, err
	}
	hidden, herr := Hidden(ctx, src, n)
	if herr != nil {
		return nil, herr
	}
	if n += hidden; err != nil && hidden == 0 {
		return nil, err
	}
	if n == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, src.String(), "there is no archive")
	}
	r := &restoring{src: src, dst: dst, keys: keys}
	plan, err := r.plan(ctx, n)
	if err != nil {
		return nil, err
	}
	r.tree = tiles.NewBuilder(func(t tiles.Tile, hashes []byte) error { return r.write(ctx, t.Path(), bytes.Clone(hashes)) })
	for i, digest := range plan {
		m, _, err := Read(ctx, src, uint64(i))
		if err != nil {
			return nil, err
		}
		if m.Digest() != digest {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, ManifestPath(m.Segment), "it changed while it was read")
		}
		if err := r.segment(ctx, m); err != nil {
			return nil, err
		}
	}
	return &r.done, r.finish(ctx)
}

type restoring struct {
	src, dst bucket.Bucket
	keys     []receipt.Key
	tree     *tiles.Builder
	bundle   []byte // entries of the bundle that is not full yet
	entries  uint64 // their number
	note     []byte
	done     Restored
}

// plan reads all manifests and decides up to which checkpoint the log can be restored.
func (r *restoring) plan(ctx context.Context, n uint64) (all []vaultmesh.Digest, err error) {
	var heads []head
	end := uint64(0)
	for i := range n {
		m, shadowed, err := Read(ctx, r.src, i)
		if err != nil {
			return nil, err
		}
		if shadowed {
			r.done.Shadowed++
		}
		if i > 0 && (m.From != end || m.Previous != all[i-1]) {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "archive.restore", ManifestPath(i), "it does not follow the one before it")
		}
		if err := r.signed(m); err != nil {
			return nil, err
		}
		note, _, err := r.object(ctx, m, m.Object(tiles.Checkpoint))
		if err != nil {
			return nil, err
		}
		var cp log.Checkpoint
		if _, err := cp.Unmarshal(note); err != nil || len(cp.Hash) != 32 {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "archive.restore", ManifestPath(i), "its checkpoint is none").Because(err)
		}
		heads = append(heads, head{cp.Size, vaultmesh.Digest(cp.Hash), note})
		all, end = append(all, m.Digest()), m.To
	}
	r.done.Segments, r.done.Archived = n, end
	for _, h := range heads {
		if h.size <= r.done.Archived && h.size >= r.done.Size {
			r.done.Size, r.done.Root, r.note = h.size, h.root, h.note
		}
	}
	if r.note == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "archive.restore", r.src.String(), "it ends before the first of its checkpoints").WithFix("let the node finish archiving")
	}
	return all, nil
}

type head struct {
	size uint64
	root vaultmesh.Digest
	note []byte
}

func (r *restoring) signed(m *Signed) error {
	for _, k := range r.keys {
		switch {
		case k.Purpose != receipt.PurposeReceipt || receipt.KeyID(k.Public) != m.KeyID:
			continue
		case m.To < k.From || k.Until != 0 && m.To > k.Until:
			return vaultmesh.Errorf(vaultmesh.Denied, "archive.restore", ManifestPath(m.Segment), "it is signed by the key %s, which counts from size %d until size %d, and is of receipts up to %d", m.KeyID, k.From, k.Until, m.To)
		}
		return m.CheckSignature(k.Public)
	}
	return vaultmesh.Errorf(vaultmesh.Denied, "archive.restore", ManifestPath(m.Segment), "it is signed by the key %.60q, which is not pinned", m.KeyID)
}

func (r *restoring) object(ctx context.Context, m *Signed, o Object) ([]byte, bool, error) {
	data, shadowed, err := ReadObject(ctx, r.src, &m.Manifest, o)
	if shadowed {
		r.done.Shadowed++
	}
	return data, shadowed, err
}

func (r *restoring) write(ctx context.Context, name string, data []byte) error {
	return r.dst.Create(ctx, name, data, bucket.Retention{})
}

// segment restores what of a segment lies below the size that is restored.
func (r *restoring) segment(ctx context.Context, m *Signed) error {
	for i := range m.Bundles() {
		o, width := m.Bundle(i)
		raw, _, err := r.object(ctx, m, o)
		if err != nil {
			return err
		}
		entries, err := tiles.Entries(raw, width)
		if err != nil {
			return vaultmesh.Wrap(err, "archive.restore", m.Path(o))
		}
		for _, e := range entries {
			if r.tree.Size() == r.done.Size {
				break
			}
			if err := r.entry(ctx, e); err != nil {
				return err
			}
		}
	}
	if r.tree.Size() == m.To && r.tree.Root() != m.Root {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "archive.restore", ManifestPath(m.Segment), "its receipts do not have the root that it says")
	}
	for _, o := range m.Objects {
		if !strings.HasPrefix(o.Name, "anchors/") {
			continue
		}
		b, _, err := r.object(ctx, m, o)
		if err != nil {
			return err
		}
		if err := r.write(ctx, fmt.Sprintf("anchors/%012d/%s", m.Segment, strings.TrimPrefix(o.Name, "anchors/")), b); err != nil {
			return err
		}
		r.done.Proofs++
	}
	return nil
}

func (r *restoring) entry(ctx context.Context, e []byte) error {
	r.bundle, r.entries = tiles.AppendEntry(r.bundle, e), r.entries+1
	if r.entries == tiles.Width {
		t := tiles.Tile{Entries: true, N: r.tree.Size() / tiles.Width, Width: tiles.Width}
		if err := r.write(ctx, t.Path(), r.bundle); err != nil {
			return err
		}
		r.bundle, r.entries = r.bundle[:0], 0
	}
	return r.tree.Append(receipt.LeafHash(e))
}

// finish writes the partial tiles and, last, the checkpoint.
func (r *restoring) finish(ctx context.Context) error {
	if r.tree.Size() != r.done.Size || r.tree.Root() != r.done.Root {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "archive.restore", r.src.String(), "its receipts do not have the root of its checkpoint of size %d", r.done.Size)
	}
	if r.entries > 0 {
		t := tiles.Tile{Entries: true, N: r.done.Size / tiles.Width, Width: r.entries}
		if err := r.write(ctx, t.Path(), r.bundle); err != nil {
			return err
		}
	}
	err := r.tree.Partial(func(t tiles.Tile, hashes []byte) error { return r.write(ctx, t.Path(), bytes.Clone(hashes)) })
	if err != nil {
		return err
	}
	return r.write(ctx, tiles.Checkpoint, r.note)
}
