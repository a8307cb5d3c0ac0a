package bitcoin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal/durable"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// Account is what the key can pay with.
type Account struct {
	Address   string  `json:"address"`
	Height    uint64  `json:"height"`    // of the node's best block
	Coins     int     `json:"coins"`     // confirmed, and of a use; the search ends where they are worth many anchors
	Value     int64   `json:"value"`     // satoshi, of those coins together
	Rate      float64 `json:"rate"`      // sat/vB that an anchor would pay now
	Estimated bool    `json:"estimated"` // by the node; otherwise Rate is the floor
	Cost      int64   `json:"cost"`      // satoshi of an anchor with one coin at that rate
}

// Account asks the node what the key can pay with.
func (t *Target) Account(ctx context.Context) (Account, error) {
	a := Account{Address: t.key.address}
	var err error
	if a.Height, err = t.ready(ctx); err != nil {
		return a, err
	}
	if _, a.Estimated, err = t.node.feeRate(ctx, t.o.FeeTarget); err != nil {
		return a, err
	}
	rate, err := t.price(ctx, 0)
	if err != nil {
		return a, err
	}
	a.Rate, a.Cost = float64(rate)/1000, feeFor(rate, size(1, true))
	coins, err := t.coins(ctx, func(int) int64 { return 100 * t.o.MaxFee })
	if err != nil {
		return a, err
	}
	a.Coins = len(coins)
	for _, c := range coins {
		a.Value += c.value
	}
	return a, nil
}

// NewKeyFile makes a key, writes it to a file that must not exist yet (mode 600), and returns its address.
func NewKeyFile(path, network string) (address string, err error) {
	const op = "bitcoin.key"
	text, address, err := GenerateKey(network, rand.Reader)
	if err != nil {
		return "", err
	}
	err = durable.Create(path, []byte(text), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", vaultmesh.Errorf(vaultmesh.Conflict, op, path, "the file exists").WithFix("a key is never written over another: choose a new name")
	}
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot write the file").Because(err)
	}
	return address, nil
}

// Extend asks a node for headers and returns the proof with as many confirmations more, up to the block at height to (0: as
// many as there are and a proof may have). The result was verified by the proof of work of all its headers, and its last
// header is the one to pin. Options need no key.
func Extend(ctx context.Context, o Options, proof []byte, to uint64) ([]byte, spv.Result, error) {
	const op = "bitcoin.extend"
	if err := o.Check(); err != nil {
		return nil, spv.Result{}, err
	}
	p, err := spv.Decode(proof)
	if err != nil {
		return nil, spv.Result{}, err
	}
	r, err := newRPC(&o)
	if err != nil {
		return nil, spv.Result{}, err
	}
	defer r.close()
	n := &node{rpc: r}
	tip, err := n.height(ctx)
	if err != nil {
		return nil, spv.Result{}, err
	}
	most := min(tip, p.Height+spv.MaxFollowing)
	if to == 0 {
		to = most
	}
	if to > most || to < p.Height {
		return nil, spv.Result{}, vaultmesh.Errorf(vaultmesh.Invalid, op, fmt.Sprint(to), "the node's chain ends at %d, and a proof reaches from its block at %d to %d at most", tip, p.Height, p.Height+spv.MaxFollowing)
	}
	digest, err := spv.Committed(p.Tx)
	if err != nil {
		return nil, spv.Result{}, err
	}
	p.Following = nil
	for height := p.Height; height <= to; height++ {
		hash, ok, err := n.blockAt(ctx, height)
		if err != nil || !ok {
			return nil, spv.Result{}, notNow(err, "the chain became shorter while the proof was extended")
		}
		if height == p.Height {
			if own := p.Header.Hash(); hash != own {
				return nil, spv.Result{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, own.String(), "the node has %s at height %d: the proof's block is not in its chain", hash, height)
			}
			continue
		}
		h, err := n.header(ctx, hash)
		if err != nil {
			return nil, spv.Result{}, err
		}
		p.Following = append(p.Following, h)
	}
	longer, err := p.Encode()
	if err != nil {
		return nil, spv.Result{}, err
	}
	result, err := spv.Verify(longer, digest, spv.Params{Network: p.Network, MaxBits: o.MaxBits, Confirmations: 1})
	return longer, result, err
}
