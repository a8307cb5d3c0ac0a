package node

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// inputs adds what the decisions in the bundle saw, and, where it is asked for, the private texts behind its receipts.
func (b *collection) inputs() error {
	for i := range b.receipts {
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
	if !b.disclose {
		return nil
	}
	for _, d := range receipt.PrivateIn(r.Body) {
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
