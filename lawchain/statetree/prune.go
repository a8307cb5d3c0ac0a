package statetree

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Prune gives up the roots that are older than the window, except the newest one, and then, where what is kept is more than
// [Options.MaxBytes], further ones: first so many that those left are the closer together the younger they are, and then the
// oldest. It deletes what only they needed, in operations of a bounded size, and goes on after a crash where it ended.
func (t *Tree) Prune(ctx context.Context) error {
	roots := t.kept()
	if err := t.giveUp(ctx, roots[:expired(roots, t.o.Now(), t.o.Window)]); err != nil {
		return err
	}
	if err := t.deleteReplaced(ctx); err != nil {
		return err
	}
	return t.fit(ctx)
}

// expired returns how many roots, from the oldest on, are older than the window; the newest never is. A root of the future
// was stamped by a clock that was ahead: it is as old as the one after it.
func expired(roots []stored, now time.Time, window time.Duration) int {
	before, after, n := now.Add(-window).UnixMicro(), now.UnixMicro(), 0
	for i := range max(len(roots)-1, 0) {
		at := i
		for at < len(roots)-1 && roots[at].time > after {
			at++
		}
		if roots[at].time >= before {
			break
		}
		n = i + 1
	}
	return n
}

// kept returns the roots that can be proved against.
func (t *Tree) kept() []stored {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.roots)
}

// finest and coarsest are how close together roots stay where not all can be kept: a root is given up where the two beside
// it are no further apart than the finest part of its age.
const (
	finest   = 64
	coarsest = 1
)

// fit gives up roots until what is kept is somewhat less than the bound, so that it is not done at every interval.
func (t *Tree) fit(ctx context.Context) error {
	if t.bytes.Load() <= t.o.MaxBytes {
		return nil
	}
	goal := t.o.MaxBytes - t.o.MaxBytes/8
	for part := int64(finest); part >= coarsest && t.bytes.Load() > goal; part /= 2 {
		if err := t.thin(ctx, part); err != nil {
			return err
		}
	}
	for roots := t.kept(); t.bytes.Load() > goal && len(roots) > 1; roots = t.kept() {
		if err := t.giveUp(ctx, roots[:(len(roots)+6)/8]); err != nil {
			return err
		}
		if err := t.deleteReplaced(ctx); err != nil {
			return err
		}
	}
	if t.bytes.Load() > t.o.MaxBytes && !t.warned {
		t.warned = true
		t.o.Logger.Warn("the newest root of the state alone needs more than the bound: no older one can be proved against", "bytes", t.bytes.Load(), "bound", t.o.MaxBytes)
	}
	return nil
}

// thin gives up roots between others that are no further apart than a part of their age. The oldest and the newest stay.
func (t *Tree) thin(ctx context.Context, part int64) error {
	roots := t.kept()
	now := t.o.Now().UnixMicro()
	last := 0 // the one before, of those that stay
	for i := 1; i < len(roots); i++ {
		if i < len(roots)-1 && roots[i+1].time-roots[last].time <= (now-roots[i].time)/part {
			continue
		}
		if last < i-1 {
			if err := t.giveUp(ctx, roots[last+1:i]); err != nil {
				return err
			}
			if err := t.deleteBetween(ctx, roots[last].version, roots[i].version); err != nil {
				return err
			}
		}
		last = i
	}
	return nil
}

// giveUp forgets roots that follow one another, and deletes their records. What only they needed is still there.
func (t *Tree) giveUp(ctx context.Context, drop []stored) error {
	for len(drop) > 0 {
		some := drop[:min(len(drop), deleteMany)]
		drop = drop[len(some):]
		err := t.submit(ctx, journal.Telemetry, func(tx journal.Tx) error {
			for _, r := range some {
				tx.Delete(keyRoot(r.receipt))
			}
			return nil
		})
		if err != nil {
			return err
		}
		t.mu.Lock()
		at, _ := slices.BinarySearchFunc(t.roots, some[0].receipt, func(r stored, receipt uint64) int { return cmp.Compare(r.receipt, receipt) })
		t.roots = slices.Concat(t.roots[:at:at], t.roots[at+len(some):])
		t.mu.Unlock()
	}
	return nil
}

// deleteReplaced deletes what was replaced by the oldest root that is left, or by one before it.
func (t *Tree) deleteReplaced(ctx context.Context) error {
	roots := t.kept()
	if len(roots) == 0 {
		return nil
	}
	return t.deleteBetween(ctx, 0, roots[0].version)
}

// deleteBetween deletes what came after the root of version from and was replaced up to that of version to, where there is no
// root between the two: then none needs it. Lists keep what they say about older records.
func (t *Tree) deleteBetween(ctx context.Context, from, to uint64) error {
	lo := versioned(replacedPrefix, from+1)
	for {
		var key, list []byte
		err := t.o.Journal.Scan(lo, versioned(replacedPrefix, to+1), func(k, v []byte) (bool, error) {
			key, list = bytes.Clone(k), bytes.Clone(v)
			return false, nil
		})
		if err != nil || key == nil {
			return err
		}
		keys, rest, err := replacedKeys(list, from)
		if err != nil {
			return err
		}
		// The list goes last: what is deleted twice is deleted.
		for len(keys) > deleteMany {
			if err := t.discard(ctx, keys[:deleteMany], nil, nil); err != nil {
				return err
			}
			keys = keys[deleteMany:]
		}
		if len(rest) < len(list) {
			if err := t.discard(ctx, append(keys, key), key, rest); err != nil {
				return err
			}
		}
		lo = append(key, 0)
	}
}

// discard deletes records in one operation, with the count of what is kept, and puts one where value is not empty.
func (t *Tree) discard(ctx context.Context, keys [][]byte, key, value []byte) error {
	left := t.bytes.Load()
	for _, k := range keys {
		v, ok, err := t.o.Journal.Get(k)
		if err != nil {
			return err
		}
		if ok {
			left -= int64(len(k) + len(v))
		}
	}
	if len(value) > 0 {
		left += int64(len(key) + len(value))
	}
	err := t.submit(ctx, journal.Telemetry, func(tx journal.Tx) error {
		for _, k := range keys {
			tx.Delete(k)
		}
		if len(value) > 0 {
			tx.Put(key, value)
		}
		tx.Put(keyBytes, binary.BigEndian.AppendUint64(nil, uint64(left)))
		return nil
	})
	if err == nil {
		t.bytes.Store(left)
	}
	return err
}

// countBytes finds out how much is kept: from its record, or, for a tree that an earlier development version kept, by
// reading all of it.
func (t *Tree) countBytes() error {
	v, ok, err := t.o.Journal.Get(keyBytes)
	if err != nil {
		return err
	}
	if ok && len(v) == 8 {
		t.bytes.Store(int64(binary.BigEndian.Uint64(v)))
		return nil
	}
	sum := int64(0)
	for _, prefix := range [][]byte{pagePrefix, documentPrefix, replacedPrefix} {
		if err := t.o.Journal.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
			sum += int64(len(k) + len(v))
			return true, nil
		}); err != nil {
			return err
		}
	}
	t.bytes.Store(sum)
	return nil
}

// replacedKeys reads a list of what a version replaced: the keys of what is younger than version from, and the list of the
// rest.
func replacedKeys(v []byte, from uint64) (keys [][]byte, rest []byte, err error) {
	for len(v) > 0 {
		if len(v) < 10 {
			return nil, nil, damagedList()
		}
		entry, kind, version := v, v[0], binary.BigEndian.Uint64(v[1:])
		v = v[9:]
		prefix, size := documentPrefix, 32
		if kind == replacedPage {
			prefix, size = pagePrefix, 1+(int(v[0])+1)/2
		} else if kind != replacedDocument {
			return nil, nil, damagedList()
		}
		if len(v) < size {
			return nil, nil, damagedList()
		}
		if version > from {
			keys = append(keys, append(versioned(prefix, version), v[:size]...))
		} else {
			rest = append(rest, entry[:9+size]...)
		}
		v = v[size:]
	}
	return keys, rest, nil
}

func damagedList() error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "state.prune", "", "a list of replaced records is damaged")
}
