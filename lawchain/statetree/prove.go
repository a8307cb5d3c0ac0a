package statetree

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
)

// Prove returns the proof of what the tree holds under key at the newest root whose receipt is below size (0: at the
// newest root), and that root. The proof is checked before it is returned.
//
// Errors: Invalid for the key, NotFound where there is no such root (any more), Corrupt where the stored tree does not
// lead to the root that the log commits to.
func (t *Tree) Prove(key string, size uint64) (state.Proof, Root, error) {
	const op = "state.prove"
	if err := state.CheckKey(key); err != nil {
		return state.Proof{}, Root{}, err
	}
	if size == 0 {
		size = ^uint64(0)
	}
	found, ok := t.at(size)
	if !ok {
		return state.Proof{}, Root{}, t.noRoot(key, size)
	}
	r := t.o.Journal.Snapshot()
	defer func() { _ = r.Close() }()
	v, ok, err := r.Get(keyRoot(found.receipt))
	if err != nil {
		return state.Proof{}, Root{}, err
	}
	if !ok {
		return state.Proof{}, Root{}, t.noRoot(key, size) // pruned meanwhile
	}
	m, ok := decodeMeta(v)
	if !ok || m.version != found.version {
		return state.Proof{}, Root{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, key, "the stored root is damaged")
	}
	p := state.Proof{Receipt: m.root.Receipt, Key: key}
	path := state.Path(key)
	at, version, done := place{path: path}, m.version, false
	for !done {
		pg, err := t.page(r, version, at)
		if err != nil {
			return state.Proof{}, Root{}, err
		}
		var end *child
		p.Siblings, end, done = pg.branch(p.Siblings, nibble(&path, at.depth))
		switch {
		case !done:
			at.depth, version = at.depth+1, end.version
		case end == nil:
		case end.leaf.Path != path:
			p.Other = &end.leaf
		default:
			p.Value = end.leaf.Value
			if p.Document, ok, err = r.Get(keyDocument(end.version, &path)); err != nil || !ok {
				return state.Proof{}, Root{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, key, "its document of version %d is missing", end.version).Because(err)
			}
		}
	}
	if _, _, err := state.Verify(m.root.Hash, key, &p); err != nil {
		return state.Proof{}, Root{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, key, "the stored tree does not lead to the root of receipt %d", m.root.Receipt).Because(err)
	}
	return p, m.root, nil
}

func (t *Tree) noRoot(key string, size uint64) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := vaultmesh.Errorf(vaultmesh.NotFound, "state.prove", key, "no root of the state can be proved against below size %d", size)
	if len(t.roots) == 0 {
		return e.WithFix("wait for the first root: one is appended every %s while anything changes", t.o.Interval)
	}
	return e.WithFix("the oldest root that is kept is that of receipt %d: ask for a size above it; roots are kept for %s", t.roots[0].receipt, t.o.Window)
}
