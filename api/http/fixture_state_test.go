package httpapi

import (
	"context"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// State proves by a tree whose only key is twin/line-1-2, whose root is in receipt 3.
func (w worldEvidence) State(_ context.Context, key string, size uint64) (StateProof, error) {
	if size > 0 && size < 4 {
		return StateProof{}, vaultmesh.Errorf(vaultmesh.NotFound, "state.prove", key, "no root of the state can be proved against below size %d", size)
	}
	w.mu.Lock()
	t := w.twins["line-1-2"]
	w.mu.Unlock()
	only := state.TwinKey(t.ID)
	leaf := state.Leaf{Path: state.Path(only), Value: vaultmesh.Sum(t.Document())}
	p := state.Proof{Receipt: 3, Key: key, Other: &leaf}
	if key == only {
		p.Other, p.Value, p.Document = nil, leaf.Value, t.Document()
	}
	return StateProof{Key: key, Present: p.Present(), Size: 3, Receipt: 3, Root: leaf.Hash(), Entries: 1, Time: epoch, Proof: p.Encode()}, nil
}

// Search finds all receipts, one at a time, whatever is asked.
func (w worldEvidence) Search(ctx context.Context, q lawchain.Search) (lawchain.Answer, error) {
	i := vaultmesh.LogIndex(len(q.Cursor))
	envelope, err := w.Receipt(ctx, i)
	if err != nil {
		return lawchain.Answer{}, err
	}
	r, err := receipt.Open(envelope)
	if err != nil {
		return lawchain.Answer{}, err
	}
	a := lawchain.Answer{Found: []lawchain.Found{{Index: i, Envelope: envelope, Receipt: r}}, Next: q.Cursor + "f", Unindexed: 7}
	if uint64(i)+1 == w.Size() {
		a.Next = ""
	}
	return a, nil
}
