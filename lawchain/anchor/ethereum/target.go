// Package ethereum owns how a checkpoint is anchored in an Ethereum chain: a transaction that has a tiny contract repeat the
// digest in an event, the fees it may cost, its way into a block that stays, and the proof of it. It is on floor 2.
//
// It must not know what is anchored, nor when and how often. It believes no single node where it has several, and calls
// nothing confirmed that vaultmesh.org/vaultmesh/proof/ethereum has not verified. The account should pay for nothing else:
// a foreign transaction with its nonce is noticed; only where several nodes name it is a job signed anew, and given up after three.
//
// Sources: Ethereum Yellow Paper; EIP-1559 (fees), EIP-2 (low s), EIP-155 (chain id), EIP-2718 (typed transactions);
// ethereum/execution-apis (JSON-RPC).
package ethereum

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Options of a target.
type Options struct {
	ChainID   uint64 // EIP-155; every node must be on it
	Contract  eth.Address
	Key       *Key // of the account that pays
	Endpoints []Endpoint
	Agree     int // endpoints that must say the same, more than half of them; 0: the least that is
	Fees      Fees

	Confirmations uint64        // blocks that make an anchor confirmed, its own included; default 2
	FinalDepth    uint64        // blocks that make it final; default 64
	FinalizedTag  bool          // final is what the nodes call finalized, rather than a depth
	ReplaceAfter  time.Duration // a transaction that is not mined by then is replaced by a dearer one; default 5 min
	ResendAfter   time.Duration // and sent again from time to time before; default 1 min
	Timeout       time.Duration // of one call; default 8 s

	HTTP   http.RoundTripper // nil: http.DefaultTransport
	Now    func() time.Time  // nil: time.Now
	Logger *slog.Logger      // nil: slog.Default
}

// Target anchors in one chain through one contract. Its methods are called by one goroutine at a time.
type Target struct {
	o    Options
	pool *pool
}

var _ anchor.Payer = (*Target)(nil)

// New checks the options and makes a target. No node is asked.
func New(o Options) (*Target, error) {
	const op = "ethereum.target"
	if o.Key == nil || o.Contract.IsZero() {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the key or the contract is missing")
	}
	if err := o.Fees.check(); err != nil {
		return nil, err
	}
	defaults(&o.Confirmations, 2)
	defaults(&o.FinalDepth, 64)
	defaults(&o.ReplaceAfter, 5*time.Minute)
	defaults(&o.ResendAfter, time.Minute)
	if o.FinalDepth < o.Confirmations {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "final after %d blocks, confirmed only after %d", o.FinalDepth, o.Confirmations)
	}
	p, err := newPool(&o)
	if err != nil {
		return nil, err
	}
	return &Target{o: o, pool: p}, nil
}

func defaults[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// maxEndpoints bounds the endpoints of a pool.
const maxEndpoints = 16

// newPool checks the part of the options that is about nodes.
func newPool(o *Options) (*pool, error) {
	const op = "ethereum.target"
	if o.ChainID == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "chain_id", "it is missing").WithFix("1 is Ethereum's main network")
	}
	if len(o.Endpoints) == 0 || len(o.Endpoints) > maxEndpoints {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "endpoints", "%d endpoints, want 1 to %d", len(o.Endpoints), maxEndpoints)
	}
	defaults(&o.Agree, len(o.Endpoints)/2+1)
	if o.Agree <= len(o.Endpoints)/2 || o.Agree > len(o.Endpoints) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "agree", "%d of %d endpoints: want more than half of them", o.Agree, len(o.Endpoints)).
			WithFix("otherwise two contradicting answers could both be believed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	p := &pool{agree: o.Agree, chain: o.ChainID, log: o.Logger, now: o.Now}
	names := map[string]bool{}
	for i, e := range o.Endpoints {
		c, err := newClient(e, o.HTTP, o.Timeout)
		if err != nil {
			return nil, err
		}
		if names[c.name] {
			c.name = fmt.Sprintf("%s (%d)", c.name, i+1)
		}
		names[c.name] = true
		p.clients = append(p.clients, c)
	}
	return p, nil
}

// Name implements [anchor.Target].
func (t *Target) Name() string { return "ethereum" }

// Kind implements [anchor.Target].
func (t *Target) Kind() string { return "ethereum" }

// Budget implements [anchor.Payer].
func (t *Target) Budget() (*big.Int, string) { return t.o.Fees.MaxPerDay, "wei" }

// Account is the address that pays.
func (t *Target) Account() eth.Address { return t.o.Key.Address() }

// Advance implements [anchor.Target].
//
//	queued     nothing signed: sign. Signed: send, and it is submitted
//	submitted  send what was signed and not sent; look for it: in a block that is deep enough it is proved and confirmed,
//	           and failed where it was reverted; its nonce taken by another: found by its event, or, where
//	           that is proved, queued with nothing signed and failed after three times, or else failed after a day; too long on its way: sign a dearer one with the same nonce
//	confirmed  taken back by a re-organisation: submitted. Deep enough, or finalized: final
func (t *Target) Advance(ctx context.Context, j anchor.Job) (anchor.Job, error) {
	m, err := readMemo(j.Memo)
	if err != nil {
		return j, err
	}
	switch {
	case j.State == anchor.Queued && len(m.Signed) == 0:
		return t.build(ctx, j, m)
	case j.State == anchor.Queued || j.State == anchor.Submitted && m.Sent < len(m.Signed):
		return t.send(ctx, j, m)
	case j.State == anchor.Submitted:
		return t.look(ctx, j, m)
	case j.State == anchor.Confirmed:
		return t.settle(ctx, j, m)
	}
	return j, nil
}

// Proved implements [anchor.Target]: the proof holds, and enough nodes agree that its block is on the chain now.
func (t *Target) Proved(ctx context.Context, j anchor.Job) (anchor.Proved, error) {
	p, err := eth.Decode(j.Proof)
	if err != nil {
		return anchor.Proved{}, err
	}
	h, err := eth.ReadHeader(p.Header)
	if err != nil {
		return anchor.Proved{}, err
	}
	on, err := t.pool.blockAt(ctx, h.Number)
	if err != nil {
		return anchor.Proved{}, err
	}
	if on != h.Hash {
		return anchor.Proved{}, gone(h.Number, h.Hash, on)
	}
	r, err := eth.Verify(j.Proof, j.Digest, t.params(on))
	if err != nil {
		return anchor.Proved{}, err
	}
	return anchor.Proved{Time: r.Time, Height: r.Height, Block: r.Block.String(), Source: r.Source()}, nil
}

// gone says that a block is not on the chain any more, or, where the nodes' chain does not reach so far, that it cannot be
// told: they may have been set up anew and be catching up.
func gone(height uint64, was, is eth.Hash) error {
	if is == (eth.Hash{}) {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.chain", was.String(), "the nodes' chain does not reach block %d: they are behind, or it was cut back", height)
	}
	return vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.chain", was.String(), "a re-organisation: block %d of the chain is %s now", height, is)
}

// params is what an auditor would pin, with the block on which the nodes agree.
func (t *Target) params(block eth.Hash) eth.Params {
	return eth.Params{ChainID: t.o.ChainID, Contracts: []eth.Address{t.o.Contract}, Blocks: []eth.Hash{block}}
}

// wait returns the job with what it waits for. Nothing of it changed.
func (t *Target) wait(j anchor.Job, d time.Duration, format string, args ...any) (anchor.Job, error) {
	j.Detail = fmt.Sprintf(format, args...)
	if d > 0 {
		j.NotBefore = t.o.Now().Add(d)
	}
	return j, nil
}
