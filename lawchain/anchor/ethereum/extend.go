package ethereum

import (
	"context"
	"math/big"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Extend returns a proof that leads from its own block to the one at a height, and that block's hash: for an auditor who
// pins one block for many proofs. Height 0 means the newest block that the nodes call finalized. It verifies nothing but
// the chain of hashes; at most eth.MaxDescendants blocks lie between the two. Key, contract and fees of the options are
// not looked at.
func Extend(ctx context.Context, o Options, proof []byte, height uint64) ([]byte, eth.Hash, error) {
	p, err := newPool(&o)
	if err != nil {
		return nil, eth.Hash{}, err
	}
	if height == 0 {
		if height, err = p.finalized(ctx); err != nil {
			return nil, eth.Hash{}, err
		}
	}
	return p.extend(ctx, proof, height)
}

// Pin asks the nodes whether the block of each proof is on their chain and returns its hash, for an auditor to pin: the
// auditor's own nodes, or several that do not conspire. A proof whose block is not on that chain is refused as
// Corrupt, and as Unavailable where their chain does not reach so far.
func Pin(ctx context.Context, o Options, proofs ...[]byte) ([]eth.Hash, error) {
	p, err := newPool(&o)
	if err != nil {
		return nil, err
	}
	var pins []eth.Hash
	for _, proof := range proofs {
		pr, err := eth.Decode(proof)
		if err != nil {
			return nil, err
		}
		h, err := eth.ReadHeader(pr.Header)
		if err != nil {
			return nil, err
		}
		on, err := p.blockAt(ctx, h.Number)
		if err != nil {
			return nil, err
		}
		if on != h.Hash {
			return nil, gone(h.Number, h.Hash, on)
		}
		pins = append(pins, on)
	}
	return pins, nil
}

// Account is what the nodes say of the account that pays.
type Account struct {
	Address eth.Address
	Balance *big.Int // wei
	Nonce   uint64   // transactions that are mined
	Pending uint64   // transactions that are not
	BaseFee uint64   // of a unit of gas now, wei
	Tip     uint64   // as the nodes suggest it, wei
}

// Look asks about the account and, where the options name one, whether the contract is there with the right code.
func Look(ctx context.Context, o Options) (a Account, err error) {
	if o.Key == nil {
		return a, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.account", "", "the key is missing")
	}
	p, err := newPool(&o)
	if err != nil {
		return a, err
	}
	a.Address = o.Key.Address()
	if a.Balance, err = p.balance(ctx, a.Address); err != nil {
		return a, err
	}
	if a.Nonce, err = p.count(ctx, a.Address, "latest"); err != nil {
		return a, err
	}
	pending, err := p.pending(ctx, a.Address)
	if err != nil {
		return a, err
	}
	a.Pending = pending - min(pending, a.Nonce)
	now, err := p.prices(ctx)
	if err != nil {
		return a, err
	}
	a.BaseFee, a.Tip = now.base, now.tip
	if o.Contract.IsZero() {
		return a, nil
	}
	return a, p.checkContract(ctx, o.Contract)
}

func (p *pool) extend(ctx context.Context, proof []byte, height uint64) ([]byte, eth.Hash, error) {
	const op = "ethereum.extend"
	pr, err := eth.Decode(proof)
	if err != nil {
		return nil, eth.Hash{}, err
	}
	own, err := eth.ReadHeader(pr.Header)
	if err != nil {
		return nil, eth.Hash{}, err
	}
	if height < own.Number || height-own.Number > eth.MaxDescendants {
		return nil, eth.Hash{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the proof is about block %d: it can be extended up to block %d, not to %d", own.Number, own.Number+eth.MaxDescendants, height)
	}
	pin, err := p.blockAt(ctx, height)
	if err != nil {
		return nil, eth.Hash{}, err
	}
	// Backward from the end: each header names the next one to fetch, so that none can be slipped in.
	headers := make([]eth.Bytes, height-own.Number)
	next := pin
	for i := len(headers) - 1; i >= 0; i-- {
		b, err := p.fetchBlock(ctx, next)
		if err != nil {
			return nil, eth.Hash{}, vaultmesh.Wrap(err, op, "")
		}
		headers[i], next = b.raw, b.header.Parent
	}
	if next != own.Hash {
		return nil, eth.Hash{}, gone(own.Number, own.Hash, next)
	}
	pr.Descendants = headers
	text, err := pr.Encode()
	return text, pin, err
}
