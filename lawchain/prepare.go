package lawchain

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Prepared is a receipt that was encoded and signed for the place that its subject's chain was expected to have.
type Prepared struct {
	draft    receipt.Draft
	after    head   // the head of the subject's chain for which it was encoded
	seen     uint64 // generation of the heads at which that was the head
	envelope []byte
	leaf     vaultmesh.Digest
	row      row
}

// Prepare encodes and signs d outside of the journal's operations, on the caller's own time, for [Log.AppendPrepared].
// It is safe for concurrent use.
func (l *Log) Prepare(d receipt.Draft) (*Prepared, error) {
	h, seen, err := l.head(d.Subject)
	if err != nil {
		return nil, err
	}
	p := &Prepared{seen: seen}
	if err := l.encode(p, d, h); err != nil {
		return nil, vaultmesh.Wrap(err, "lawchain.prepare", d.Subject)
	}
	return p, nil
}

// AppendPrepared is [Log.Append] of what Prepare was given. Where another receipt of the subject came between, it is
// encoded and signed again.
func (l *Log) AppendPrepared(tx journal.Tx, p *Prepared) (vaultmesh.LogIndex, vaultmesh.Digest, error) {
	if !l.heads.still(p.draft.Subject, p.after, p.seen) {
		return l.Append(tx, p.draft)
	}
	return l.append(tx, p)
}

// encode sets p to the receipt that follows h in its subject's chain.
func (l *Log) encode(p *Prepared, d receipt.Draft, h head) error {
	link := receipt.Link{Seq: h.count}
	if h.count > 0 {
		link.Prev = &receipt.Ref{Index: h.index, Leaf: h.leaf}
	}
	signer := l.o.Receipts
	if l.o.Unsigned(d.Kind) {
		signer = nil
	}
	envelope, err := receipt.Encode(l.o.Domain, d, link, signer)
	if err != nil {
		return err
	}
	p.draft, p.after, p.envelope, p.leaf = d, h, envelope, receipt.LeafHash(envelope)
	p.row = rowOf(&p.draft, link.Seq, p.leaf)
	return nil
}
