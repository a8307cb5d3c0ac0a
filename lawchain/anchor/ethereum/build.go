package ethereum

import (
	"context"
	"math/big"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Pauses before a job is looked at again.
const (
	feesPause  = time.Minute      // prices fall within minutes, not blocks
	queuePause = 15 * time.Second // until the account's other transaction is mined
	lostPause  = 15 * time.Minute // until a transaction is looked for again whose nonce is used
)

// build signs the job's first transaction into its memo. Nothing is sent. Only one transaction of the account is ever on
// its way: a second one would be stuck behind the first, and a gap in the nonces behind a lost one.
func (t *Target) build(ctx context.Context, j anchor.Job, m *memo) (anchor.Job, error) {
	if j.Digest.IsZero() {
		return j, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.build", j.ID, "there is no digest to anchor")
	}
	if err := t.pool.checkContract(ctx, t.o.Contract); err != nil {
		return j, err
	}
	head, err := t.pool.head(ctx)
	if err != nil {
		return j, err
	}
	if m.Lost > 0 { // what is anchored already is not paid for again
		if j, done, err := t.search(ctx, j, m, head); err != nil || done {
			return j, err
		}
	}
	from := t.Account()
	mined, err := t.pool.count(ctx, from, "latest")
	if err != nil {
		return j, err
	}
	pending, err := t.pool.pending(ctx, from)
	if err != nil {
		return j, err
	}
	if pending > mined {
		return t.wait(j, queuePause, "waits for %d transactions of account %s that are not mined yet", pending-mined, from)
	}
	prices, err := t.pool.prices(ctx)
	if err != nil {
		return j, err
	}
	gas, err := t.pool.estimate(ctx, from, &t.o.Contract, j.Digest[:])
	if err != nil {
		return j, err
	}
	o, ok := t.o.Fees.bid(prices, gas)
	if !ok {
		return t.wait(j, feesPause, "gas is too dear now: base fee %d wei and tip %s, the caps allow %s together", prices.base, o.tip, o.most)
	}
	if err := t.pool.afford(ctx, from, o); err != nil {
		return j, err
	}
	m.Nonce, m.Signed, m.Sent, m.SentAt = mined, nil, 0, 0
	if m.From == 0 {
		m.From = head
	}
	// The most that it may cost is charged from the start, so that a replacement never fails for the day's budget.
	j.Fee, j.Detail = total(gas, o.most).String(), ""
	return t.sign(j, m, o)
}

// sign adds a transaction to the memo.
func (t *Target) sign(j anchor.Job, m *memo, o offer) (anchor.Job, error) {
	tx := transaction{chain: t.o.ChainID, nonce: m.Nonce, tip: o.tip, maxFee: o.maxFee, gas: o.gas, to: &t.o.Contract, input: j.Digest[:]}
	raw, id := tx.sign(t.o.Key)
	m.Signed = append(m.Signed, signed{Raw: raw, Hash: id, MaxFee: o.maxFee.String(), Tip: o.tip.String(), Gas: o.gas})
	var err error
	j.Memo, err = m.encode()
	return j, err
}

// send hands the newest transaction to all nodes. Whatever they say short of a plain refusal by all of them makes it
// perhaps sent; what became of it, look finds out.
func (t *Target) send(ctx context.Context, j anchor.Job, m *memo) (anchor.Job, error) {
	if err := t.spread(ctx, m.newest()); err != nil {
		return j, err
	}
	if m.Sent < len(m.Signed) {
		m.Sent, m.SentAt = len(m.Signed), t.o.Now().Unix()
	}
	j.State, j.Detail = anchor.Submitted, "sent as "+m.newest().Hash.String()
	var err error
	j.Memo, err = m.encode()
	return j, err
}

// spread sends a transaction. Sending it again is harmless: it has its nonce.
func (t *Target) spread(ctx context.Context, s *signed) error {
	all := everyone(ctx, t.pool, func(ctx context.Context, c *client) (eth.Hash, error) {
		var id hash
		err := c.call(ctx, &id, smallReply, "eth_sendRawTransaction", s.Raw)
		if err == nil && eth.Hash(id) != s.Hash {
			err = vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.send", c.name, "the node calls the transaction %s, it is %s", eth.Hash(id), s.Hash)
		}
		return s.Hash, err
	}, enough[eth.Hash](t.pool))
	for _, a := range all {
		if a.err == nil || perhapsSent(refusal(a.err)) {
			return nil
		}
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.send", s.Hash.String(), "no node takes the transaction").Because(tell(all))
}

// perhapsSent reports whether a refusal leaves open what became of the transaction: it is known, or its nonce is used or
// offered for by another, or it pays too little now. The words are those of the common clients; nothing is decided by
// them but whether to look.
func perhapsSent(r *remoteError) bool {
	if r == nil {
		return false
	}
	text := strings.ToLower(r.Message)
	for _, part := range [...]string{"already known", "alreadyknown", "already imported", "already exists", "known transaction", "nonce too low", "noncetoolow", "nonce is too low", "oldnonce",
		"correct nonce", "underpriced", "fee too low", "feetoolow", "price too low", "less than block base fee", "below current base fee"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// replace signs a dearer transaction with the same nonce, or sends the newest again where the caps do not allow one.
func (t *Target) replace(ctx context.Context, j anchor.Job, m *memo) (anchor.Job, error) {
	maxFee, tip, err := m.newest().offer()
	if err != nil {
		return j, err
	}
	prices, err := t.pool.prices(ctx)
	if err != nil {
		return j, err
	}
	o, _ := t.o.Fees.bid(prices, m.newest().Gas)
	o, ok := t.o.Fees.raise(o, maxFee, tip)
	if !ok || len(m.Signed) == maxSigned {
		return t.resend(ctx, j, m, "it is not mined, and the caps allow no dearer one: base fee %d wei now, it offers %s", prices.base, maxFee)
	}
	if o.maxFee.Cmp(new(big.Int).SetUint64(prices.base)) < 0 {
		return t.resend(ctx, j, m, "it is not mined, and gas is dearer than the caps allow: base fee %d wei", prices.base)
	}
	if err := t.pool.afford(ctx, t.Account(), o); err != nil {
		return j, err
	}
	j.Fee = total(o.gas, o.most).String() // what was paid before a re-organisation may be paid again
	j.Detail = "replaced by a dearer transaction"
	return t.sign(j, m, o)
}

// resend spreads the newest transaction once more: nodes forget what waits for long.
func (t *Target) resend(ctx context.Context, j anchor.Job, m *memo, format string, args ...any) (anchor.Job, error) {
	if err := t.spread(ctx, m.newest()); err != nil {
		return j, err
	}
	return t.wait(j, t.o.ResendAfter, format, args...)
}
