package ethereum

import (
	"context"
	"math/big"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Fees caps what a transaction may cost, in wei. What a node says about prices never raises them.
type Fees struct {
	MaxFeePerGas *big.Int // most that a unit of gas may cost, base fee and tip together; required
	MaxTip       *big.Int // most of it that goes to the block's proposer; nil: MaxFeePerGas
	MaxPerTx     *big.Int // most that one anchor may cost, with all replacements and nonces; nil: no further limit
	MaxPerDay    *big.Int // most that all anchors of one UTC day may cost together; nil: no limit
}

// check reports caps that make no sense.
func (f *Fees) check() error {
	const op = "ethereum.fees"
	if f.MaxFeePerGas == nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "max_fee_per_gas", "there is no cap").WithFix("say what a unit of gas may cost at most, for example 30 gwei")
	}
	for name, n := range map[string]*big.Int{"max_fee_per_gas": f.MaxFeePerGas, "max_tip": f.MaxTip, "max_per_transaction": f.MaxPerTx, "max_per_day": f.MaxPerDay} {
		if n != nil && (n.Sign() <= 0 || n.BitLen() > 128) {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, name, "%s is not a sensible amount of wei", n)
		}
	}
	return nil
}

// Bounds of the gas of a transaction. An anchor needs some 23,000 and the creation of the contract some 60,000; what a
// node estimates is never believed beyond the limit.
const (
	minGas = 21_000
	maxGas = 150_000
)

// price is what a unit of gas costs now.
type price struct {
	base uint64 // of the latest block
	tip  uint64 // as the nodes suggest
}

// prices asks for the present ones.
func (p *pool) prices(ctx context.Context) (price, error) {
	base, err := median(ctx, p, "base fee", func(ctx context.Context, c *client) (uint64, error) {
		var b *struct {
			BaseFee *wei `json:"baseFeePerGas"`
		}
		if err := c.call(ctx, &b, smallReply, "eth_getBlockByNumber", "latest", false); err != nil {
			return 0, err
		}
		if b == nil || b.BaseFee == nil || !b.BaseFee.IsUint64() {
			return 0, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.prices", c.name, "the latest block has no base fee").WithFix("the chain needs EIP-1559 (London)")
		}
		return b.BaseFee.Uint64(), nil
	})
	if err != nil {
		return price{}, err
	}
	tip, err := median(ctx, p, "tip", func(ctx context.Context, c *client) (uint64, error) {
		var t wei
		err := c.call(ctx, &t, smallReply, "eth_maxPriorityFeePerGas")
		if r := refusal(err); r != nil && r.Code == noMethod {
			return 1_000_000_000, nil // 1 gwei; the caps bound it
		}
		if err == nil && !t.IsUint64() {
			err = vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.prices", c.name, "no sensible tip")
		}
		return t.Uint64(), err
	})
	return price{base, tip}, err
}

// offer is what a transaction offers to pay.
type offer struct {
	gas    uint64
	maxFee *big.Int // for a unit of gas
	tip    *big.Int // part of it
	most   *big.Int // that a unit may cost after any number of replacements
}

// total is what a transaction costs at most at a price for a unit of gas.
func total(gas uint64, perGas *big.Int) *big.Int {
	return new(big.Int).Mul(new(big.Int).SetUint64(gas), perGas)
}

// bid makes an offer that is good for some blocks to come: twice the base fee, which can grow by an eighth in a block, and
// the tip. It is bound by the caps; ok is false where they do not even pay the next block.
func (f *Fees) bid(p price, gas uint64) (o offer, ok bool) {
	o = offer{gas: gas, most: new(big.Int).Set(f.MaxFeePerGas)}
	if f.MaxPerTx != nil {
		if perGas := new(big.Int).Div(f.MaxPerTx, new(big.Int).SetUint64(gas)); perGas.Cmp(o.most) < 0 {
			o.most = perGas
		}
	}
	base := new(big.Int).SetUint64(p.base)
	o.tip = new(big.Int).SetUint64(p.tip)
	if f.MaxTip != nil && o.tip.Cmp(f.MaxTip) > 0 {
		o.tip.Set(f.MaxTip)
	}
	o.maxFee = new(big.Int).Add(new(big.Int).Lsh(base, 1), o.tip)
	if o.maxFee.Cmp(o.most) > 0 {
		o.maxFee.Set(o.most)
	}
	return o, new(big.Int).Add(base, o.tip).Cmp(o.most) <= 0
}

// raise makes an offer that replaces another with the same nonce: nodes want both prices at least a tenth higher; an
// eighth is asked for. ok is false where the caps do not allow it.
func (f *Fees) raise(o offer, maxFee, tip *big.Int) (offer, bool) {
	up := func(n *big.Int) *big.Int {
		eighth := new(big.Int).Add(new(big.Int).Rsh(n, 3), big.NewInt(1))
		return eighth.Add(eighth, n)
	}
	if least := up(maxFee); o.maxFee.Cmp(least) < 0 {
		o.maxFee = least
	}
	if least := up(tip); o.tip.Cmp(least) < 0 {
		o.tip = least
	}
	tipFits := f.MaxTip == nil || o.tip.Cmp(f.MaxTip) <= 0
	return o, tipFits && o.maxFee.Cmp(o.most) <= 0 && o.tip.Cmp(o.maxFee) <= 0
}

// estimate asks what gas a call needs, and adds a fifth: what is not used is not paid.
func (p *pool) estimate(ctx context.Context, from eth.Address, to *eth.Address, input []byte) (uint64, error) {
	query := map[string]any{"from": from, "input": data(input), "data": data(input)}
	if to != nil {
		query["to"] = *to
	}
	gas, err := median(ctx, p, "gas", func(ctx context.Context, c *client) (uint64, error) {
		var n quantity
		err := c.call(ctx, &n, smallReply, "eth_estimateGas", query)
		return uint64(n), err
	})
	if err != nil {
		return 0, err
	}
	if gas > maxGas {
		return 0, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.gas", "", "the nodes estimate %d gas, at most %d make sense", gas, maxGas)
	}
	return max(gas+gas/5, minGas), nil
}

// balance is what the account holds.
func (p *pool) balance(ctx context.Context, a eth.Address) (*big.Int, error) {
	have, err := agreed(ctx, p, "balance", func(ctx context.Context, c *client) (string, error) {
		var w wei
		err := c.call(ctx, &w, smallReply, "eth_getBalance", a, "latest")
		return w.String(), err
	})
	if err != nil {
		return nil, err
	}
	return parseWei("balance", have)
}

// afford makes sure that the account holds what an offer may cost.
func (p *pool) afford(ctx context.Context, a eth.Address, o offer) error {
	balance, err := p.balance(ctx, a)
	if err != nil {
		return err
	}
	if need := total(o.gas, o.maxFee); balance.Cmp(need) < 0 {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.balance", a.String(), "insufficient funds: the account has %s, the transaction may cost %s", FormatAmount(balance), FormatAmount(need)).
			WithFix("send some money to %s on chain %d", a, p.chain)
	}
	return nil
}
