package ethereum

import (
	"context"
	"time"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Deployment is a contract that was made.
type Deployment struct {
	Contract    eth.Address
	Transaction eth.Hash
	Height      uint64
	Block       eth.Hash
	From        eth.Address
	Gas         uint64 // that the transaction was allowed
	MostWei     string // that it may have cost
}

// A transaction that deploys is looked for soon at first, then at pollMost.
const (
	pollLeast = 50 * time.Millisecond
	pollMost  = 2 * time.Second
)

// Deploy makes the contract, waits until ctx ends for the confirmations that the options ask for, and checks its code.
// tell, if not nil, is called with the transaction before it is sent: if the process ends after that, the contract may
// exist although nobody was told, which costs money and does no harm. Contract of the options is not looked at.
func Deploy(ctx context.Context, o Options, tell func(Deployment)) (Deployment, error) {
	const op = "ethereum.deploy"
	if o.Key == nil {
		return Deployment{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the key is missing")
	}
	if err := o.Fees.check(); err != nil {
		return Deployment{}, err
	}
	defaults(&o.Confirmations, 2)
	p, err := newPool(&o)
	if err != nil {
		return Deployment{}, err
	}
	d, tx, err := plan(ctx, p, &o)
	if err != nil {
		return Deployment{}, err
	}
	raw, id := tx.sign(o.Key)
	d.Transaction = id
	if tell != nil {
		tell(d)
	}
	t := &Target{o: o, pool: p}
	if err := t.spread(ctx, &signed{Raw: raw, Hash: id}); err != nil {
		return d, err
	}
	for pause := pollLeast; ; pause = min(2*pause, pollMost) {
		done, err := t.deployed(ctx, &d)
		if err != nil || done {
			return d, vaultmesh.Wrap(err, op, id.String())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return d, vaultmesh.Errorf(vaultmesh.Unavailable, op, id.String(), "it was sent and is not confirmed yet; the contract will be %s", d.Contract).Because(ctx.Err()).
				WithFix("look for the transaction later; do not deploy again before its nonce is used")
		}
	}
}

// plan prices the deploying transaction.
func plan(ctx context.Context, p *pool, o *Options) (Deployment, *transaction, error) {
	from := o.Key.Address()
	nonce, err := p.count(ctx, from, "latest")
	if err != nil {
		return Deployment{}, nil, err
	}
	pending, err := p.pending(ctx, from)
	if err != nil {
		return Deployment{}, nil, err
	}
	if pending > nonce {
		return Deployment{}, nil, vaultmesh.Errorf(vaultmesh.Conflict, "ethereum.deploy", from.String(), "%d transactions of the account are not mined yet", pending-nonce).WithFix("wait for them")
	}
	prices, err := p.prices(ctx)
	if err != nil {
		return Deployment{}, nil, err
	}
	gas, err := p.estimate(ctx, from, nil, creation())
	if err != nil {
		return Deployment{}, nil, err
	}
	offer, ok := o.Fees.bid(prices, gas)
	if !ok {
		return Deployment{}, nil, vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.deploy", "", "gas is too dear now: base fee %d wei and tip %s, the caps allow %s together", prices.base, offer.tip, offer.most).
			WithFix("wait, or raise the cap")
	}
	if err := p.afford(ctx, from, offer); err != nil {
		return Deployment{}, nil, err
	}
	d := Deployment{Contract: created(from, nonce), From: from, Gas: gas, MostWei: total(gas, offer.maxFee).String()}
	return d, &transaction{chain: o.ChainID, nonce: nonce, tip: offer.tip, maxFee: offer.maxFee, gas: gas, input: creation()}, nil
}

// deployed reports whether the contract is there, deep enough, with the right code.
func (t *Target) deployed(ctx context.Context, d *Deployment) (bool, error) {
	head, err := t.pool.head(ctx)
	if err != nil {
		return false, retry(err)
	}
	claims, doubted, err := t.find(ctx, d.Transaction, head)
	if err != nil || doubted || len(claims) == 0 {
		return false, retry(err)
	}
	r := claims[0]
	d.Height, d.Block = uint64(r.Height), eth.Hash(r.Block)
	if head-d.Height+1 < t.o.Confirmations {
		return false, nil
	}
	return true, t.pool.checkContract(ctx, d.Contract)
}

// retry drops an error that may pass: the wait has its own end.
func retry(err error) error {
	if err != nil && vaultmesh.KindOf(err).Retryable() {
		return nil
	}
	return err
}
