package statetree

import (
	"encoding/binary"
	"iter"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/twin"
)

// sources are the keys that may have changed since the newest root. Both functions can be called again and then call fn
// with the same.
type sources struct {
	count    func() int // at least how many there are, give or take
	twins    func(fn func(twin.Reading) error) error
	subjects func(fn func(string, state.Subject) error) error
}

// sources finds out what changed: from the last snapshot and what the log remembers, or, after a start or a failure, by
// comparing every twin's version with the one in the tree and every head's index with the size of the newest root.
// size is that of the log in the snapshots.
func (t *Tree) sources(b *builder, now *twin.Snapshot, size uint64, old meta) (sources, error) {
	subjects, ok := t.o.Log.TakeTouched(size)
	if t.snap == nil || !ok {
		return t.compared(b, now, old)
	}
	since := t.snap
	twins := func(fn func(twin.Reading) error) (err error) {
		now.Changed(since, func(r twin.Reading) bool {
			err = fn(r)
			return err == nil
		})
		return err
	}
	return sources{
		twins: twins,
		count: func() int {
			n := len(subjects)
			now.Changed(since, func(twin.Reading) bool { n++; return true })
			return n
		},
		subjects: func(fn func(string, state.Subject) error) error {
			for _, s := range subjects {
				count, index, leaf, ok, err := b.stored.Head(s)
				if err != nil {
					return err
				}
				if !ok || uint64(index) < old.root.Size { // noted for a receipt that was dropped, or is not in the snapshot
					continue
				}
				if err := fn(s, state.Subject{Count: count, Index: index, Leaf: leaf}); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// compared are the sources without memory of the newest root.
func (t *Tree) compared(b *builder, now *twin.Snapshot, old meta) (sources, error) {
	heads := func(fn func(string, state.Subject) error) error {
		return b.stored.Heads(func(subject string, count uint64, last vaultmesh.LogIndex, leaf vaultmesh.Digest) (bool, error) {
			if !state.InStateTree(subject) || old.version > 0 && uint64(last) < old.root.Size {
				return true, nil
			}
			err := fn(subject, state.Subject{Count: count, Index: last, Leaf: leaf})
			return err == nil, err
		})
	}
	if old.version == 0 {
		return sources{
			count: func() int { return 2 * now.Len() }, // a twin, and the subject of its definition
			twins: func(fn func(twin.Reading) error) (err error) {
				now.EachReading(func(r twin.Reading) bool {
					err = fn(r)
					return err == nil
				})
				return err
			},
			subjects: heads,
		}, nil
	}
	outdated := t.outdated
	if old.models != t.o.Models {
		outdated = func(now *twin.Snapshot, _ uint64) (all []twin.Reading, err error) {
			now.EachReading(func(r twin.Reading) bool { all = append(all, r); return true })
			return all, nil
		}
	}
	changed, err := outdated(now, old.version)
	if err != nil {
		return sources{}, err
	}
	return sources{
		count: func() int { return 2 * len(changed) },
		twins: func(fn func(twin.Reading) error) error {
			for _, r := range changed {
				if err := fn(r); err != nil {
					return err
				}
			}
			return nil
		},
		subjects: heads,
	}, nil
}

// outdated returns the twins whose version in the tree is not their present one. Both lists are in the order of the
// identifiers.
func (t *Tree) outdated(now *twin.Snapshot, version uint64) ([]twin.Reading, error) {
	next, stop := iter.Pull(func(yield func(twin.Reading) bool) { now.EachReading(yield) })
	defer stop()
	var out []twin.Reading
	r, more := next()
	err := t.o.Journal.Scan(twinPrefix, after(twinPrefix), func(k, v []byte) (bool, error) {
		id := vaultmesh.TwinID(k[len(twinPrefix):])
		if len(v) != 16 {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "state.load", string(id), "the stored version of the twin is damaged")
		}
		for more && r.Definition().ID < id {
			out = append(out, r)
			r, more = next()
		}
		if more && r.Definition().ID == id {
			if binary.BigEndian.Uint64(v) != r.Version() || binary.BigEndian.Uint64(v[8:]) > version {
				out = append(out, r)
			}
			r, more = next()
		}
		return more, nil
	})
	for more && err == nil {
		out = append(out, r)
		r, more = next()
	}
	return out, err
}

// page reads one page.
func (t *Tree) page(r journal.Reader, version uint64, p place) (*page, error) {
	v, ok, err := r.Get(keyPage(version, p))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "state.page", "", "a page of version %d at depth %d is missing", version, p.depth)
	}
	return decodePage(v)
}
