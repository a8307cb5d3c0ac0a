package node

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// inputs adds what the decisions in the bundle saw, and, where it is asked for, the private texts behind those receipts that
// the caller may read: what supports the answer, such as the revocation of a command's capability, may be about other
// subjects than the question.
func (b *collection) inputs() error {
	for i := range b.receipts {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		r, err := b.receipt(i)
		if err != nil {
			return err
		}
		if d := receipt.InputsOf(&r); !d.IsZero() {
			doc, ok, err := b.n.control.Inputs(d)
			if err != nil {
				return err
			}
			if !ok {
				return vaultmesh.Errorf(vaultmesh.Corrupt, "bundle", r.Subject, "what the decision of receipt %d saw is missing", i)
			}
			b.add(receipt.InputPart(doc))
		}
		if err := b.openings(&r); err != nil {
			return err
		}
	}
	return nil
}

func (b *collection) openings(r *receipt.Receipt) error {
	if b.readable == nil {
		return nil
	}
	refs := receipt.PrivateIn(r.Body)
	if len(refs) == 0 || !b.readable(r.Subject) {
		return nil
	}
	for _, d := range refs {
		o, err := b.n.control.Opening(d)
		switch vaultmesh.KindOf(err) {
		case vaultmesh.Expired, vaultmesh.NotFound: // erased, or kept by nobody: the commitment stands for itself
			continue
		}
		if err != nil {
			return err
		}
		b.add(receipt.PrivatePart(d, o.Encode()))
	}
	return nil
}
