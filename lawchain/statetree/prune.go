package statetree

import (
	"bytes"
	"context"
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// Prune gives up the roots that are older than the window, except the newest one, and deletes what only they needed. It
// works in operations of a bounded size, and goes on after a crash where it ended.
func (t *Tree) Prune(ctx context.Context) error {
	before := t.o.Now().Add(-t.o.Window).UnixMicro()
	t.mu.RLock()
	n := 0
	for n < len(t.roots)-1 && t.roots[n].time < before {
		n++
	}
	drop := t.roots[:n:n]
	t.mu.RUnlock()
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
		t.roots = append([]stored(nil), t.roots[len(some):]...)
		t.mu.Unlock()
	}
	return t.deleteReplaced(ctx)
}

// deleteReplaced deletes what was replaced by the oldest root that is left, or by one before it.
func (t *Tree) deleteReplaced(ctx context.Context) error {
	t.mu.RLock()
	none := len(t.roots) == 0
	var oldest uint64
	if !none {
		oldest = t.roots[0].version
	}
	t.mu.RUnlock()
	if none {
		return nil
	}
	for {
		var list, keys [][]byte
		err := t.o.Journal.Scan(replacedPrefix, versioned(replacedPrefix, oldest+1), func(k, v []byte) (bool, error) {
			more, err := replacedKeys(v)
			if err != nil {
				return false, err
			}
			list, keys = append(list, bytes.Clone(k)), append(keys, more...)
			return len(keys) < deleteMany, nil
		})
		if err != nil || len(list) == 0 {
			return err
		}
		// The list goes last: what is deleted twice is deleted.
		for len(keys) > deleteMany {
			if err := t.deleteKeys(ctx, keys[:deleteMany]); err != nil {
				return err
			}
			keys = keys[deleteMany:]
		}
		if err := t.deleteKeys(ctx, append(keys, list...)); err != nil {
			return err
		}
	}
}

// replacedKeys reads a list of what a version replaced.
func replacedKeys(v []byte) ([][]byte, error) {
	var keys [][]byte
	for len(v) > 0 {
		if len(v) < 10 {
			return nil, damagedList()
		}
		kind, version := v[0], binary.BigEndian.Uint64(v[1:])
		v = v[9:]
		prefix, size := documentPrefix, 32
		if kind == replacedPage {
			prefix, size = pagePrefix, 1+(int(v[0])+1)/2
		} else if kind != replacedDocument {
			return nil, damagedList()
		}
		if len(v) < size {
			return nil, damagedList()
		}
		keys = append(keys, append(versioned(prefix, version), v[:size]...))
		v = v[size:]
	}
	return keys, nil
}

func damagedList() error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "state.prune", "", "a list of replaced records is damaged")
}
