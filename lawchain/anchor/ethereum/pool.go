package ethereum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// pool asks several nodes at once. What decides anything is believed only where agree of them say the same, more than half
// of all, so that two answers can never both be believed; what can be verified by itself is taken from any of them.
type pool struct {
	clients []*client
	agree   int
	chain   uint64
	log     *slog.Logger
	now     func() time.Time
}

// Times of the pool.
const (
	patience = 300 * time.Millisecond // for the rest, once enough agree
	recheck  = 10 * time.Minute       // between two questions for the chain to one endpoint
)

// answer is what one node said.
type answer[T any] struct {
	from  *client
	value T
	err   error
}

// everyone asks all nodes at once and returns their answers in the order in which they came. Once done says that it has
// seen what it needs, the others get a moment more.
func everyone[T any](ctx context.Context, p *pool, ask func(context.Context, *client) (T, error), done func([]answer[T]) bool) []answer[T] {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan answer[T], len(p.clients))
	for _, c := range p.clients {
		go func() {
			a := answer[T]{from: c}
			if a.err = p.onChain(ctx, c); a.err == nil {
				a.value, a.err = ask(ctx, c)
			}
			replies <- a
		}()
	}
	var all []answer[T]
	var late <-chan time.Time
	for range p.clients {
		select {
		case a := <-replies:
			all = append(all, a)
		case <-late:
			cancel() // the rest fail at once, and their goroutines end
			late = nil
			all = append(all, <-replies)
		}
		if late == nil && done(all) {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			late = timer.C
		}
	}
	return all
}

// enough reports that as many answered as must agree.
func enough[T any](p *pool) func([]answer[T]) bool {
	return func(all []answer[T]) bool {
		n := 0
		for _, a := range all {
			if a.err == nil {
				n++
			}
		}
		return n >= p.agree
	}
}

// onChain makes sure that the node is on the chain that is meant. It is asked again from time to time: an endpoint may be
// pointed elsewhere.
func (p *pool) onChain(ctx context.Context, c *client) error {
	now := p.now().Unix()
	if last := c.checked.Load(); last != 0 && now-last < int64(recheck/time.Second) && now >= last {
		return nil
	}
	var id quantity
	if err := c.call(ctx, &id, smallReply, "eth_chainId"); err != nil {
		return err
	}
	if uint64(id) != p.chain {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.chain", c.name, "the node is on chain %d, configured is %d", uint64(id), p.chain).WithFix("correct the endpoint or the chain id")
	}
	c.checked.Store(now)
	return nil
}

// agreed asks all nodes and returns what enough of them agree on. Errors are of kind Unavailable: nodes that contradict
// one another may be in the middle of a re-organisation, and the question is asked again.
func agreed[T comparable](ctx context.Context, p *pool, what string, ask func(context.Context, *client) (T, error)) (T, error) {
	votes := func(all []answer[T]) (best T, n int) {
		count := map[T]int{}
		for _, a := range all {
			if a.err == nil {
				if count[a.value]++; count[a.value] > n {
					best, n = a.value, count[a.value]
				}
			}
		}
		return best, n
	}
	all := everyone(ctx, p, ask, func(all []answer[T]) bool { _, n := votes(all); return n >= p.agree })
	best, n := votes(all)
	if n < p.agree {
		var zero T
		return zero, p.disagree(what, tell(all))
	}
	for _, a := range all {
		if a.err == nil && a.value != best {
			p.log.Warn("an Ethereum endpoint contradicts the others", "endpoint", a.from.name, "about", what, "says", fmt.Sprint(a.value), "others", fmt.Sprint(best))
		}
	}
	return best, nil
}

// disagree is the error where too few nodes say the same. What they say is its cause, for the log.
func (p *pool) disagree(what string, said error) error {
	return vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum."+what, "", "%d of %d endpoints must agree, and they do not", p.agree, len(p.clients)).Because(said).
		WithFix("it is asked again; if it stays so, one of the endpoints lies, lags or is on another chain: the node's log names them")
}

// maxSaid bounds what is told of the nodes' answers, in bytes.
const maxSaid = 2000

// tell is what the nodes said, by their names and in their words: a cause of errors for the log and the command line. It
// is never part of an error's own detail, which may stand in a receipt for good.
func tell[T any](all []answer[T]) error {
	var said []string
	for _, a := range all {
		if a.err != nil {
			said = append(said, a.from.name+": "+a.err.Error())
		} else {
			said = append(said, fmt.Sprintf("%s says %.80v", a.from.name, fmt.Sprint(a.value)))
		}
	}
	text := strings.Join(said, "; ")
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "") + "…"
	}
	return errors.New(text)
}

// atLeast asks for a number of which more is claimed by going on, a height or a nonce, and returns the largest that
// enough nodes reach: one node alone can neither raise nor lower it.
func atLeast(ctx context.Context, p *pool, what string, ask func(context.Context, *client) (uint64, error)) (uint64, error) {
	numbers, err := numbers(ctx, p, what, ask)
	if err != nil {
		return 0, err
	}
	return numbers[len(numbers)-p.agree], nil
}

// median asks for a price. One node alone cannot move it out of what the others say where there are three.
func median(ctx context.Context, p *pool, what string, ask func(context.Context, *client) (uint64, error)) (uint64, error) {
	numbers, err := numbers(ctx, p, what, ask)
	if err != nil {
		return 0, err
	}
	return numbers[(len(numbers)-1)/2], nil
}

// numbers asks all nodes for a number and returns what at least enough of them say, in ascending order.
func numbers(ctx context.Context, p *pool, what string, ask func(context.Context, *client) (uint64, error)) ([]uint64, error) {
	all := everyone(ctx, p, ask, enough[uint64](p))
	if !enough[uint64](p)(all) {
		return nil, p.disagree(what, tell(all))
	}
	var numbers []uint64
	for _, a := range all {
		if a.err == nil {
			numbers = append(numbers, a.value)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// first asks one node after the other until one has an answer that holds, those that answered the last time before others.
func first[T any](ctx context.Context, p *pool, ask func(context.Context, *client) (T, error)) (T, error) {
	var last error
	order := slices.Clone(p.clients)
	slices.SortStableFunc(order, func(a, b *client) int { return cmp.Compare(rank(a), rank(b)) })
	for _, c := range order {
		err := p.onChain(ctx, c)
		if err == nil {
			var v T
			if v, err = ask(ctx, c); err == nil {
				return v, nil
			}
		}
		if ctx.Err() != nil {
			var zero T
			return zero, vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.ask", "", "no time is left").Because(ctx.Err())
		}
		last = err
	}
	var zero T
	return zero, last
}

func rank(c *client) int {
	if c.failed.Load() {
		return 1
	}
	return 0
}

// head is the height that enough nodes have reached.
func (p *pool) head(ctx context.Context) (uint64, error) {
	return atLeast(ctx, p, "head", func(ctx context.Context, c *client) (uint64, error) {
		var n quantity
		err := c.call(ctx, &n, smallReply, "eth_blockNumber")
		return uint64(n), err
	})
}

// finalized is the height up to which enough nodes call the chain final.
func (p *pool) finalized(ctx context.Context) (uint64, error) {
	return atLeast(ctx, p, "finalized", func(ctx context.Context, c *client) (uint64, error) {
		var b *struct {
			Number quantity `json:"number"`
		}
		if err := c.call(ctx, &b, smallReply, "eth_getBlockByNumber", "finalized", false); err != nil {
			return 0, err
		}
		if b == nil {
			return 0, nil
		}
		return uint64(b.Number), nil
	})
}

// blockAt is the hash of the block at a height on which enough nodes agree. The hash is zero where they agree that the
// chain is not that long.
func (p *pool) blockAt(ctx context.Context, height uint64) (eth.Hash, error) {
	return agreed(ctx, p, fmt.Sprintf("block %d", height), func(ctx context.Context, c *client) (eth.Hash, error) {
		var b *struct {
			Hash hash `json:"hash"`
		}
		if err := c.call(ctx, &b, smallReply, "eth_getBlockByNumber", quantity(height), false); err != nil || b == nil {
			return eth.Hash{}, err
		}
		return eth.Hash(b.Hash), nil
	})
}

// count is the number of transactions that the account had sent at a height, which is its next nonce.
func (p *pool) count(ctx context.Context, a eth.Address, height any) (uint64, error) {
	return agreed(ctx, p, "nonce", func(ctx context.Context, c *client) (uint64, error) {
		var n quantity
		err := c.call(ctx, &n, smallReply, "eth_getTransactionCount", a, height)
		return uint64(n), err
	})
}

// pending is the account's next nonce after what waits to be mined.
func (p *pool) pending(ctx context.Context, a eth.Address) (uint64, error) {
	return atLeast(ctx, p, "pending nonce", func(ctx context.Context, c *client) (uint64, error) {
		var n quantity
		err := c.call(ctx, &n, smallReply, "eth_getTransactionCount", a, "pending")
		return uint64(n), err
	})
}
