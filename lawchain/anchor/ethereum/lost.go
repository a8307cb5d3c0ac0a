package ethereum

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// Bounds of what is done about a nonce that seems to be lost.
const (
	maxLost     = 3       // so often a job's nonce is used by others, as it is proved; then the job fails
	searchRange = 2_000   // blocks in one question for events; providers allow no more
	searchBlock = 100_000 // blocks that are searched at most, the newest: two weeks
	maxFound    = 8       // events that are looked at, of what one node claims
	stateBlocks = 120     // of which a node that is no archive still has the state
)

// search looks for the digest's event by its topic, in blocks since the job's first transaction was signed: a node may
// have no receipt of a transaction that is mined, and whoever anchored the digest did. What a node claims counts once the
// block is on the chain and its receipts hold the event. done is false where there is no event.
func (t *Target) search(ctx context.Context, j anchor.Job, m *memo, head uint64) (_ anchor.Job, done bool, err error) {
	from := max(m.From, head-min(head, searchBlock))
	for ; from <= head; from += searchRange {
		found, err := t.events(ctx, j.Digest, from, min(from+searchRange-1, head))
		if err != nil {
			return j, false, err
		}
		for _, f := range found {
			if on, err := t.pool.blockAt(ctx, f.height); err != nil {
				return j, false, err
			} else if on != f.block {
				continue
			}
			v, err := t.inBlock(ctx, f.height, f.block)
			if err != nil {
				return j, false, err
			}
			index, log, ok := v.event(t.o.Contract, j.Digest)
			if !ok {
				t.pool.log.Warn("an Ethereum endpoint claims an event that its block does not have", "height", f.height, "block", f.block)
				continue
			}
			if depth := head - f.height + 1; depth < t.o.Confirmations {
				j, err = t.wait(j, 0, "in block %d, %d of %d confirmations", f.height, depth, t.o.Confirmations)
			} else {
				j, err = t.confirm(j, m, v, index, log)
			}
			return j, true, err
		}
	}
	return j, false, nil
}

// place is where a node claims an event to be.
type place struct {
	height uint64
	block  eth.Hash
}

// events asks all nodes for events about the digest and returns what any of them claims.
func (t *Target) events(ctx context.Context, digest vaultmesh.Digest, from, to uint64) ([]place, error) {
	query := map[string]any{"fromBlock": quantity(from), "toBlock": quantity(to), "address": t.o.Contract, "topics": []any{eth.Hash(digest)}}
	all := everyone(ctx, t.pool, func(ctx context.Context, c *client) ([]place, error) {
		var logs []struct {
			Height quantity `json:"blockNumber"`
			Block  hash     `json:"blockHash"`
		}
		if err := c.call(ctx, &logs, smallReply, "eth_getLogs", query); err != nil {
			return nil, err
		}
		var claimed []place
		for _, l := range logs[:min(len(logs), maxFound)] {
			if p := (place{uint64(l.Height), eth.Hash(l.Block)}); p.height >= from && p.height <= to {
				claimed = append(claimed, p)
			}
		}
		return claimed, nil
	}, enough[[]place](t.pool))
	if !enough[[]place](t.pool)(all) {
		return nil, t.pool.disagree("events", tell(all))
	}
	var found []place
	for _, a := range all {
		for _, p := range a.value {
			if !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// lostAfter is how long a job is looked for whose nonce was used, before it is given up.
const lostAfter = 24 * time.Hour

// usurped goes on after a foreign transaction seems to have taken the nonce for good. Where enough nodes name that
// transaction, the job is signed anew, with another nonce. Where that is not proved (a single endpoint, or nodes without the
// state of that time), it is not: nodes that keep silent about a transaction would have it paid again. It is looked for, and
// given up after lostAfter; what its transactions may cost stays part of its fee.
func (t *Target) usurped(ctx context.Context, j anchor.Job, m *memo, head uint64) (anchor.Job, error) {
	by, proved := t.taken(ctx, m, head)
	if !proved {
		if m.sentAgo(t.o.Now()) < lostAfter {
			return t.wait(j, lostPause, "another transaction of account %s seems to have used the nonce %d; the anchor is looked for, and nothing is signed anew: it is not proved", t.Account(), m.Nonce)
		}
		j.State, j.Detail = anchor.Failed, fmt.Sprintf("its nonce %d was used, and no node shows by what: does somebody else use the key of account %s, or do the endpoints lie? Configure several endpoints", m.Nonce, t.Account())
		return j, nil
	}
	t.pool.log.Warn("a foreign transaction used the nonce of an anchor; the account should pay for nothing else", "account", t.Account(), "nonce", m.Nonce, "job", j.ID, "transaction", by)
	fresh := &memo{Lost: m.Lost + 1, From: m.From}
	if fresh.Lost >= maxLost {
		j.State = anchor.Failed
		j.Detail = fmt.Sprintf("its nonces were used by other transactions %d times: does somebody else use the key of account %s, or do most endpoints lie?", fresh.Lost, t.Account())
	} else {
		j.State = anchor.Queued
		j.Detail = "a foreign transaction of the account used the nonce; it is signed anew"
	}
	var err error
	j.Memo, err = fresh.encode()
	return j, err
}

// taken looks for the transaction that used the nonce, in the block in which the account's count passed it, and reports
// whether at least two nodes, and enough of all, agree that it is none of the job's. Where that cannot be told (a single
// endpoint, or nodes without the state of that time), it is not proved.
func (t *Target) taken(ctx context.Context, m *memo, head uint64) (by eth.Hash, proved bool) {
	if t.pool.agree < 2 {
		return by, false
	}
	used := func(height uint64) (bool, error) {
		n, err := t.pool.count(ctx, t.Account(), quantity(height))
		return n > m.Nonce, err
	}
	low, high := min(m.From, head), head
	if before, err := used(low); err != nil || before {
		low = max(low, head-min(head, stateBlocks))
		if before, err = used(low); err != nil || before {
			return by, false
		}
	}
	for high-low > 1 { // used at high and not at low
		middle := low + (high-low)/2
		there, err := used(middle)
		switch {
		case err != nil:
			return by, false
		case there:
			high = middle
		default:
			low = middle
		}
	}
	block, err := t.pool.blockAt(ctx, high)
	if err != nil {
		return by, false
	}
	by, err = agreed(ctx, t.pool, "transaction", func(ctx context.Context, c *client) (eth.Hash, error) {
		var b *struct {
			Transactions []struct {
				Hash  hash     `json:"hash"`
				From  address  `json:"from"`
				Nonce quantity `json:"nonce"`
			} `json:"transactions"`
		}
		if err := c.call(ctx, &b, largeReply, "eth_getBlockByHash", block, true); err != nil || b == nil {
			return eth.Hash{}, err
		}
		for _, x := range b.Transactions {
			if eth.Address(x.From) == t.Account() && uint64(x.Nonce) == m.Nonce {
				return eth.Hash(x.Hash), nil
			}
		}
		return eth.Hash{}, nil
	})
	ours := slices.ContainsFunc(m.Signed, func(s signed) bool { return s.Hash == by })
	return by, err == nil && by != eth.Hash{} && !ours
}
