package statetree

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/twin"
)

// chunkBytes bounds what one operation writes, so that it does not hold up the lane.
const chunkBytes = 128 << 10

// partSize is about how many changed keys are held in memory at once: more are taken in parts, by the first bits of their
// paths.
const partSize = 1 << 16

// Update appends a new root if anything changed since the newest one, and returns whether it did. An error leaves the
// newest root in force.
func (t *Tree) Update(ctx context.Context) (changed bool, err error) {
	start := time.Now()
	old := t.newest()
	if solid := t.o.Log.Solid(); t.snap != nil && solid <= old.root.Size {
		return false, nil
	}
	defer func() {
		if err != nil {
			t.snap, t.clean = nil, false
		}
	}()
	if err := t.sweep(ctx, old.version); err != nil {
		return false, err
	}
	twins, j, err := t.cut(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = j.Close() }()
	b := &builder{t: t, ctx: ctx, stored: lawchain.NewStored(j), version: old.version + 1, began: old.version}
	next := meta{version: b.version, root: old.root, models: t.o.Models}
	if next.root.Size, err = b.stored.Size(); err != nil {
		return false, err
	}
	if next.root.Size == 0 || old.version > 0 && next.root.Size <= old.root.Size {
		return false, nil
	}
	src, err := t.sources(b, twins, next.root.Size, old)
	if err != nil {
		return false, err
	}
	if err := b.build(src, &next); err != nil {
		return false, err
	}
	if next, err = t.finish(ctx, next, b.replaced, b.kept); err != nil {
		return false, err
	}
	t.snap, t.clean = twins, true
	t.mu.RLock()
	roots := len(t.roots)
	t.mu.RUnlock()
	t.stats.Store(&Stats{Root: next.root, Roots: roots, Changed: b.changed, Pages: b.pages, Bytes: b.written, Duration: time.Since(start)})
	return true, nil
}

// sweep deletes what an update that was not finished has left: every record of a later version than the newest.
func (t *Tree) sweep(ctx context.Context, version uint64) error {
	if t.clean {
		return nil
	}
	if version == 0 { // of another form, or damaged, and given up
		if err := t.deleteKeys(ctx, [][]byte{keyMeta, keyBytes}); err != nil {
			return err
		}
	}
	for _, prefix := range [][]byte{pagePrefix, documentPrefix, replacedPrefix} {
		if err := t.deleteRange(ctx, versioned(prefix, version+1), after(prefix)); err != nil {
			return err
		}
	}
	if version == 0 {
		for _, prefix := range [][]byte{rootPrefix, twinPrefix} {
			if err := t.deleteRange(ctx, prefix, after(prefix)); err != nil {
				return err
			}
		}
	}
	t.clean = true
	return nil
}

// deleteMany is how many keys one operation deletes.
const deleteMany = 2048

func (t *Tree) deleteRange(ctx context.Context, lo, hi []byte) error {
	for {
		var keys [][]byte
		err := t.o.Journal.Scan(lo, hi, func(k, _ []byte) (bool, error) {
			keys = append(keys, bytes.Clone(k))
			return len(keys) < deleteMany, nil
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := t.deleteKeys(ctx, keys); err != nil {
			return err
		}
		lo = append(keys[len(keys)-1], 0)
	}
}

func (t *Tree) deleteKeys(ctx context.Context, keys [][]byte) error {
	return t.submit(ctx, journal.Telemetry, func(tx journal.Tx) error {
		for _, k := range keys {
			tx.Delete(k)
		}
		return nil
	})
}

// change is one key with its new document.
type change = state.Leaf

// builder writes one new version.
type builder struct {
	t       *Tree
	ctx     context.Context
	stored  lawchain.Stored
	version uint64
	began   uint64 // the version from which it starts

	puts     []put
	size     int
	replaced []byte // the list of what this version replaces, as far as it is not written yet
	chunk    uint32

	entries uint64
	changed int
	pages   int
	written int
	kept    int64 // of what is written, what stays until it is pruned
}

type put struct{ key, value []byte }

// build writes the documents and pages and sets next's root.
func (b *builder) build(src sources, next *meta) error {
	b.entries = next.root.Entries
	root := child{kind: aPage, version: b.began, hash: next.root.Hash}
	if b.began == 0 {
		root = child{}
	}
	count := src.count()
	for _, part := range partsOf(count, b.t.part) {
		changes, err := b.collect(src, part, min(count, b.t.part))
		if err != nil {
			return err
		}
		if len(changes) > 0 {
			if root, err = b.apply(place{}, root, nil, changes); err != nil {
				return err
			}
		}
		if err := b.flush(); err != nil {
			return err
		}
	}
	if root.kind == noChild || root.version != b.version {
		return vaultmesh.Errorf(vaultmesh.Internal, "state.update", "", "the log grew and no head of a subject changed")
	}
	next.root.Hash, next.root.Entries = root.hash, b.entries
	return nil
}

// part is a range of paths by their first two bytes.
type part struct{ lo, hi int }

func (p part) holds(path *vaultmesh.Digest) bool {
	first := int(path[0])<<8 | int(path[1])
	return first >= p.lo && first < p.hi
}

func partsOf(count, size int) []part {
	n := 1
	for n < 1<<16 && count/n > size {
		n *= 2
	}
	out := make([]part, n)
	for i := range out {
		out[i] = part{i << 16 / n, (i + 1) << 16 / n}
	}
	return out
}

// collect writes the documents of the changed keys in a part and returns the keys in order.
func (b *builder) collect(src sources, p part, room int) ([]change, error) {
	changes := make([]change, 0, room)
	var doc []byte
	add := func(path vaultmesh.Digest, doc []byte) error {
		b.put(keyDocument(b.version, &path), bytes.Clone(doc))
		changes = append(changes, change{Path: path, Value: vaultmesh.Sum(doc)})
		return b.flushFull()
	}
	err := src.twins(func(r twin.Reading) error {
		id := r.Definition().ID
		path := state.Path(state.TwinKey(id))
		if !p.holds(&path) {
			return nil
		}
		doc = r.AppendDocument(doc[:0])
		v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), r.Version())
		b.write(keyTwin(id), binary.BigEndian.AppendUint64(v, b.version))
		return add(path, doc)
	})
	if err != nil {
		return nil, err
	}
	err = src.subjects(func(subject string, s state.Subject) error {
		path := state.Path(state.SubjectKey(subject))
		if !p.holds(&path) {
			return nil
		}
		doc = s.Append(doc[:0])
		return add(path, doc)
	})
	slices.SortFunc(changes, func(x, y change) int { return bytes.Compare(x.Path[:], y.Path[:]) })
	return changes, err
}

// apply returns the page at p with the changes, which are in order and all below p. old is the page that is there, or
// nothing; seed is a leaf that was in its place.
func (b *builder) apply(p place, old child, seed *child, changes []change) (child, error) {
	if err := b.ctx.Err(); err != nil {
		return child{}, err
	}
	pg := &page{}
	if old.kind == aPage {
		var err error
		if pg, err = b.t.page(b.t.o.Journal, old.version, p); err != nil {
			return child{}, err
		}
		if old.version != b.version {
			b.replace(replacedPage, old.version, p.append(nil))
		}
	}
	if seed != nil {
		pg[nibble(&seed.leaf.Path, p.depth)] = *seed
	}
	for len(changes) > 0 {
		n := nibble(&changes[0].Path, p.depth)
		end := 1
		for end < len(changes) && nibble(&changes[end].Path, p.depth) == n {
			end++
		}
		var err error
		if pg[n], err = b.below(p, n, pg[n], changes[:end]); err != nil {
			return child{}, err
		}
		changes = changes[end:]
	}
	b.put(keyPage(b.version, p), pg.encode())
	b.pages++
	return child{kind: aPage, version: b.version, hash: fold(pg[:]).hash}, b.flushFull()
}

// below returns child n of the page at p with the changes, all of which are below that child.
func (b *builder) below(p place, n int, old child, changes []change) (child, error) {
	if len(changes) == 1 && (old.kind == noChild || old.kind == aLeaf && old.leaf.Path == changes[0].Path) {
		b.changed++
		if old.kind == aLeaf {
			b.replace(replacedDocument, old.version, old.leaf.Path[:])
		} else {
			b.entries++
		}
		return child{kind: aLeaf, version: b.version, leaf: changes[0]}, nil
	}
	deeper := place{p.depth + 1, changes[0].Path}
	if old.kind == aLeaf {
		return b.apply(deeper, child{}, &old, changes)
	}
	return b.apply(deeper, old, nil, changes)
}

// What a version replaced: a list of a kind (1), the older version (8), and the place of the page or the path of the
// document as they are in the key.
const (
	replacedPage     = 'n'
	replacedDocument = 'd'
)

func (b *builder) replace(kind byte, version uint64, at []byte) {
	b.replaced = binary.BigEndian.AppendUint64(append(b.replaced, kind), version)
	b.replaced = append(b.replaced, at...)
	if len(b.replaced) > chunkBytes/2 {
		b.put(keyReplaced(b.version, b.chunk), b.replaced)
		b.chunk++
		b.replaced = nil
	}
}

// put writes a record that stays until it is pruned.
func (b *builder) put(key, value []byte) {
	b.kept += int64(len(key) + len(value))
	b.write(key, value)
}

func (b *builder) write(key, value []byte) {
	b.puts = append(b.puts, put{key, value})
	b.size += len(key) + len(value)
	b.written += len(key) + len(value)
}

func (b *builder) flushFull() error {
	if b.size < chunkBytes {
		return nil
	}
	return b.flush()
}

// flush writes what is pending in one operation.
func (b *builder) flush() error {
	if len(b.puts) == 0 {
		return nil
	}
	puts := b.puts
	b.puts, b.size = nil, 0
	b.t.clean = false
	err := b.t.submit(b.ctx, journal.Telemetry, func(tx journal.Tx) error {
		for _, p := range puts {
			tx.Put(p.key, p.value)
		}
		return nil
	})
	return vaultmesh.Wrap(err, "state.update", "")
}
