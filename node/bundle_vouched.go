package node

import (
	"maps"
	"math"
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// vouchedBack is how many renewed delegations are looked at for one of a purpose: the three purposes are renewed in turns.
const vouchedBack = 64

// vouched adds of the renewed delegations those that vouched for the keys behind the bundle's receipts when they were
// written: of the key of receipts for each of them, of the capability root for each proposal. All the others, which there
// may be very many of, decide about nothing in the bundle.
func (b *collection) vouched() error {
	next := map[string]vaultmesh.LogIndex{} // by purpose: up to where what was added last holds
	for _, i := range slices.Sorted(maps.Keys(b.receipts)) {
		r, err := b.receipt(i)
		if err != nil {
			return err
		}
		if !r.Signed() {
			continue
		}
		purposes := []string{receipt.PurposeReceipt}
		if r.Kind == receipt.CommandProposed {
			purposes = append(purposes, receipt.PurposeCapability)
		}
		for _, purpose := range purposes {
			if i < next[purpose] {
				continue
			}
			if next[purpose], err = b.renewal(purpose, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// renewal adds the newest renewal of a purpose up to an index, where there is one, and returns the index of the renewal
// after it, of whatever purpose; the largest index where there is none.
func (b *collection) renewal(purpose string, i vaultmesh.LogIndex) (next vaultmesh.LogIndex, err error) {
	subject := receipt.RenewalSubject(b.n.cfg.Domain)
	after, err := b.n.log.SubjectSince(subject, i+1, 1)
	if err != nil {
		return 0, err
	}
	if next = math.MaxInt64; len(after) > 0 {
		next = after[0]
	}
	before, err := b.n.log.SubjectUntil(subject, i, vouchedBack)
	if err != nil {
		return 0, err
	}
	for _, at := range slices.Backward(before) {
		raw, err := b.n.log.Receipt(at)
		if err != nil {
			return 0, err
		}
		r, err := receipt.Open(raw)
		if err != nil {
			return 0, err
		}
		body, err := receipt.ReadBody[receipt.KeyBody](&r)
		if err != nil {
			return 0, err
		}
		if body.Purpose == purpose {
			_, err = b.receipt(at)
			return next, err
		}
	}
	return next, nil
}
