package ethereum

import (
	"cmp"
	"context"
	"math/big"
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// look finds out what became of the transactions that were sent.
func (t *Target) look(ctx context.Context, j anchor.Job, m *memo) (anchor.Job, error) {
	if len(m.Signed) == 0 { // it was found in a block that is gone now
		j.State, j.Detail = anchor.Queued, "the event that was found is gone; the job begins anew"
		return j, nil
	}
	head, err := t.pool.head(ctx)
	if err != nil {
		return j, err
	}
	for i := len(m.Signed) - 1; i >= 0; i-- {
		claims, doubted, err := t.find(ctx, m.Signed[i].Hash, head)
		if err != nil {
			return j, err
		}
		if r := t.holding(ctx, j, claims, doubted); r != nil {
			return t.mined(ctx, j, m, r, head)
		}
	}
	return t.unmined(ctx, j, m, head)
}

// find returns what nodes say about a transaction in a block of the chain: the receipt of as many as must agree, or else
// those that differ, of most nodes and oldest blocks first. doubted says that as many as must agree know of no receipt. That
// a receipt says what the block holds is not verified here.
func (t *Target) find(ctx context.Context, id eth.Hash, head uint64) (claims []*receipt, doubted bool, err error) {
	settled := func(all []answer[*receipt]) bool { // one that answers at once is not all that there is to hear
		said := map[hash]int{}
		for _, a := range all {
			if a.err != nil {
				continue
			}
			block := hash{}
			if a.value != nil {
				block = a.value.Block
			}
			if said[block]++; said[block] >= t.pool.agree {
				return true
			}
		}
		return false
	}
	all := everyone(ctx, t.pool, func(ctx context.Context, c *client) (*receipt, error) {
		var r *receipt
		err := c.call(ctx, &r, smallReply, "eth_getTransactionReceipt", id)
		return r, err
	}, settled)
	heard, none := 0, 0
	said := map[hash]int{}
	for _, a := range all {
		if a.err != nil {
			continue
		}
		heard++
		if a.value == nil || uint64(a.value.Height) > head {
			none++
			continue
		}
		on, err := t.pool.blockAt(ctx, uint64(a.value.Height))
		if err != nil {
			return nil, false, err
		}
		if on != eth.Hash(a.value.Block) {
			t.pool.log.Warn("an Ethereum endpoint names a block that is not on the chain", "endpoint", a.from.name, "height", uint64(a.value.Height), "block", eth.Hash(a.value.Block), "others", on)
			continue
		}
		if said[a.value.Block]++; said[a.value.Block] == 1 {
			claims = append(claims, a.value)
		}
	}
	if heard < t.pool.agree {
		return nil, false, t.pool.disagree("receipt", tell(all))
	}
	slices.SortStableFunc(claims, func(a, b *receipt) int {
		return cmp.Or(cmp.Compare(said[b.Block], said[a.Block]), cmp.Compare(a.Height, b.Height))
	})
	if len(claims) > 1 && said[claims[0].Block] >= t.pool.agree {
		t.pool.log.Warn("an Ethereum endpoint says another block of a transaction than the others", "transaction", id)
		claims = claims[:1]
	}
	return claims, none >= t.pool.agree, nil
}

// holding returns the first of several claims, or of doubted ones, whose block really holds the event; where none does, the
// first, or nil: one node that lies must not keep the others from being believed.
func (t *Target) holding(ctx context.Context, j anchor.Job, claims []*receipt, doubted bool) *receipt {
	if len(claims) == 1 && !doubted {
		return claims[0]
	}
	for _, r := range claims {
		v, err := t.inBlock(ctx, uint64(r.Height), eth.Hash(r.Block))
		if err != nil {
			continue
		}
		if _, _, ok := v.event(t.o.Contract, j.Digest); ok {
			return r
		}
	}
	if doubted || len(claims) == 0 {
		return nil
	}
	return claims[0]
}

// mined goes on with a transaction that is in a block of the chain.
func (t *Target) mined(ctx context.Context, j anchor.Job, m *memo, r *receipt, head uint64) (anchor.Job, error) {
	height, at := uint64(r.Height), eth.Hash(r.Block)
	if depth := head - height + 1; depth < t.o.Confirmations {
		return t.wait(j, 0, "in block %d, %d of %d confirmations", height, depth, t.o.Confirmations)
	}
	v, err := t.inBlock(ctx, height, at)
	if err != nil {
		return j, err
	}
	if index, log, ok := v.event(t.o.Contract, j.Digest); ok {
		return t.confirm(j, m, v, index, log)
	}
	return t.reverted(ctx, j, m, r, v)
}

// inBlock gets what a block of the chain holds.
func (t *Target) inBlock(ctx context.Context, height uint64, at eth.Hash) (*verified, error) {
	b, err := t.pool.fetchBlock(ctx, at)
	if err != nil {
		return nil, err
	}
	if b.header.Number != height {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.look", at.String(), "a node says that it is block %d, its header says %d", height, b.header.Number)
	}
	if b.header.Receipts == eth.Keccak([]byte{0x80}) { // the empty trie: a block without transactions
		return &verified{block: b}, nil
	}
	return t.pool.fetchReceipts(ctx, b)
}

// event returns the positions of the transaction and of the log that anchor the digest.
func (v *verified) event(contract eth.Address, digest vaultmesh.Digest) (index, log uint32, ok bool) {
	for i := range v.receipts {
		if log, ok := v.receipts[i].event(contract, digest); ok {
			return uint32(i), log, true
		}
	}
	return 0, 0, false
}

// confirm makes the proof and verifies it as an auditor would.
func (t *Target) confirm(j anchor.Job, m *memo, v *verified, index, log uint32) (anchor.Job, error) {
	p, err := eth.Make(t.o.ChainID, v.block.raw, v.raw, index, log)
	if err != nil {
		return j, err
	}
	text, err := p.Encode()
	if err != nil {
		return j, err
	}
	if _, err := eth.Verify(text, j.Digest, t.params(v.header.Hash)); err != nil {
		return j, err
	}
	m.Height, m.Block = v.header.Number, v.header.Hash.String()
	j.State, j.Proof, j.Detail = anchor.Confirmed, text, ""
	j.Fee = cost(j.Fee, v.paid(index, m))
	j.Memo, err = m.encode()
	return j, err
}

// paid is what the transaction at index cost: the gas between it and the one before, at the base fee and the tip of the
// signed transaction that it is. nil: it is none of ours (somebody else anchored the digest).
func (v *verified) paid(index uint32, m *memo) *big.Int {
	gas := uint64(v.receipts[index].Gas)
	if index > 0 {
		gas -= uint64(v.receipts[index-1].Gas)
	}
	for i := range m.Signed {
		s := &m.Signed[i]
		if eth.Hash(v.receipts[index].Transaction) != s.Hash || gas > s.Gas {
			continue
		}
		maxFee, tip, err := s.offer()
		if err != nil {
			return nil
		}
		perGas := new(big.Int).Add(&v.baseFee.Int, tip)
		if perGas.Cmp(maxFee) > 0 {
			perGas = maxFee
		}
		return total(gas, perGas)
	}
	return nil
}

// reverted ends a job whose transaction is in a block that has no event of it. Enough nodes must say so: which transaction
// a receipt belongs to is not part of what was verified, and a job that was given up by mistake would be paid for again.
func (t *Target) reverted(ctx context.Context, j anchor.Job, m *memo, r *receipt, v *verified) (anchor.Job, error) {
	type outcome struct {
		block  hash
		index  quantity
		status quantity
	}
	said, err := agreed(ctx, t.pool, "receipt", func(ctx context.Context, c *client) (outcome, error) {
		var r2 *receipt
		if err := c.call(ctx, &r2, smallReply, "eth_getTransactionReceipt", eth.Hash(r.Transaction)); err != nil || r2 == nil {
			return outcome{}, err
		}
		o := outcome{block: r2.Block, index: r2.Index, status: 1}
		if r2.Status != nil {
			o.status = *r2.Status
		}
		return o, nil
	})
	if err != nil {
		return j, err
	}
	if said.block != r.Block || said.status != 0 || uint64(said.index) >= uint64(len(v.receipts)) || v.receipts[said.index].Status == nil || *v.receipts[said.index].Status != 0 {
		return j, vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.look", eth.Hash(r.Transaction).String(), "the nodes contradict themselves about the transaction in block %d", uint64(r.Height))
	}
	j.Fee = cost(j.Fee, v.paid(uint32(said.index), m))
	j.State = anchor.Failed
	j.Detail = "the transaction " + eth.Hash(r.Transaction).String() + " was reverted: its fee is paid, and it anchored nothing"
	return j, nil
}

// stateDepth is how far back a node that is no archive is asked for the state of an account; it has 128 blocks as a rule.
const stateDepth = 64

// unmined goes on with a job none of whose transactions is in a block.
func (t *Target) unmined(ctx context.Context, j anchor.Job, m *memo, head uint64) (anchor.Job, error) {
	// A block that is deep enough tells whether the nonce was used by another transaction. What a re-organisation may
	// still undo does not: both would be paid then.
	deep := min(t.o.FinalDepth, stateDepth)
	if head >= deep {
		used, err := t.pool.count(ctx, t.Account(), quantity(head-deep))
		if err != nil {
			return j, err
		}
		if used > m.Nonce {
			if j, done, err := t.search(ctx, j, m, head); err != nil || done {
				return j, err
			}
			return t.usurped(ctx, j, m, head)
		}
	}
	if now, err := t.pool.count(ctx, t.Account(), "latest"); err != nil {
		return j, err
	} else if now > m.Nonce {
		return t.wait(j, queuePause, "another transaction of account %s used the nonce %d; it is signed anew once that is %d blocks deep", t.Account(), m.Nonce, deep)
	}
	switch ago := m.sentAgo(t.o.Now()); {
	case ago >= t.o.ReplaceAfter:
		return t.replace(ctx, j, m)
	case ago >= t.o.ResendAfter:
		return t.resend(ctx, j, m, "sent as %s, not mined yet", m.newest().Hash)
	}
	return t.wait(j, 0, "sent as %s, not mined yet", m.newest().Hash)
}

// settle looks whether a confirmed anchor is still there, and whether it is final.
func (t *Target) settle(ctx context.Context, j anchor.Job, m *memo) (anchor.Job, error) {
	on, err := t.pool.blockAt(ctx, m.Height)
	if err != nil {
		return j, err
	}
	if on.String() != m.Block {
		var was eth.Hash
		if err := was.UnmarshalText([]byte(m.Block)); err != nil {
			return j, err
		}
		if on == (eth.Hash{}) {
			return j, gone(m.Height, was, on)
		}
		j.State, j.Proof, j.Detail = anchor.Submitted, nil, gone(m.Height, was, on).Error()
		m.Block, m.Height, m.SentAt = "", 0, t.o.Now().Unix() // a node has it wait again as a rule: it is not replaced at once
		j.Memo, err = m.encode()
		return j, err
	}
	final := t.pool.finalized
	if !t.o.FinalizedTag {
		final = func(ctx context.Context) (uint64, error) {
			head, err := t.pool.head(ctx)
			return head - min(head, t.o.FinalDepth-1), err
		}
	}
	safe, err := final(ctx)
	if err != nil {
		return j, err
	}
	if safe >= m.Height {
		j.State, j.Detail = anchor.Final, ""
	}
	return j, nil
}
