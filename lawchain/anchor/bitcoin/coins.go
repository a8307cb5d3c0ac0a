package bitcoin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
)

// Bounds of the search for coins.
const (
	pageSize    = 20  // transactions asked for at once
	maxPages    = 50  // newest first; the change of the last anchor is among the first
	maxCoins    = 600 // asked for; of each page as many as one transaction can spend
	maxInputs   = 12  // spent by one transaction
	coinbaseAge = 100 // blocks until a miner may spend what it was paid
)

// coins finds confirmed outputs that the key can spend, until some of them are worth what n inputs need or there are no more.
// Unconfirmed ones are left alone, so that no transaction of ours depends on another that may still be replaced.
//
// With btcd (--addrindex) it walks the key's own transactions, newest first, by searchrawtransactions; with Bitcoin Core it
// asks scantxoutset, which reads the whole set of unspent outputs and takes its time on the main network.
func (t *Target) coins(ctx context.Context, need func(n int) int64) ([]coin, error) {
	found, err := t.walkCoins(ctx, need)
	if e := refusedBy(err); e != nil && (e.Code == codeNoMethod || strings.Contains(strings.ToLower(e.Message), "method not found")) {
		return t.scanCoins(ctx, need)
	}
	if e := refusedBy(err); e != nil && strings.Contains(strings.ToLower(e.Message), "addrindex") {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "bitcoin.coins", "", "the node has no index of addresses").Because(e).WithFix("start btcd with --txindex --addrindex")
	}
	return found, err
}

// output is one that may be a coin: by a transaction, or by a list, that the node gave.
type output struct {
	out   wire.OutPoint
	value int64
}

// search asks the node for outputs, the most valuable first: everybody can send any number of small ones to the address,
// which every anchor shows.
type search struct {
	t     *Target
	need  func(n int) int64
	open  []output // not asked for yet
	found []coin
	asked int
}

// ask asks for up to most of the outputs, and reports whether the coins found suffice: of those, the smallest is spent.
func (s *search) ask(ctx context.Context, most int) (enough bool, err error) {
	slices.SortStableFunc(s.open, func(a, b output) int { return cmp.Compare(b.value, a.value) })
	for ; most > 0 && len(s.open) > 0 && s.asked < maxCoins; most-- {
		o := s.open[0]
		s.open = s.open[1:]
		s.asked++
		c, ok, err := s.t.usable(ctx, o.out)
		if err != nil {
			return false, err
		}
		if ok {
			s.found = append(s.found, c)
		}
	}
	_, enough = choose(s.found, s.need)
	return enough, nil
}

// add takes up an output, unless it is worth too little to be spent.
func (s *search) add(o output) {
	if o.value > dust {
		s.open = append(s.open, o)
	}
}

func (t *Target) walkCoins(ctx context.Context, need func(n int) int64) ([]coin, error) {
	s := &search{t: t, need: need}
	spent, seen := map[wire.OutPoint]bool{}, map[wire.OutPoint]bool{}
	for page := range maxPages {
		txs, err := t.page(ctx, page*pageSize)
		if err != nil {
			return nil, err
		}
		for _, tx := range txs { // whatever spends our coins is ours too, and newer than what it spends
			for _, in := range tx.TxIn {
				spent[in.PreviousOutPoint] = true
			}
		}
		for _, tx := range txs {
			id := tx.TxHash()
			for i, o := range tx.TxOut {
				out := wire.OutPoint{Hash: id, Index: uint32(i)}
				if !bytes.Equal(o.PkScript, t.key.script) || spent[out] || seen[out] {
					continue
				}
				seen[out] = true
				s.add(output{out, o.Value})
			}
		}
		// A few of each page, so that many of one page do not hide what is on the next.
		if enough, err := s.ask(ctx, maxInputs); err != nil || enough {
			return s.found, err
		}
		if len(txs) < pageSize {
			break
		}
	}
	return s.found, s.rest(ctx)
}

// rest asks for what is left, a few at a time, until the coins found suffice.
func (s *search) rest(ctx context.Context) error {
	for len(s.open) > 0 && s.asked < maxCoins {
		if enough, err := s.ask(ctx, maxInputs); err != nil || enough {
			return err
		}
	}
	return nil
}

// page returns the key's transactions, newest first, those of the memory pool before those in blocks.
func (t *Target) page(ctx context.Context, skip int) ([]*wire.MsgTx, error) {
	const method = "searchrawtransactions"
	var texts []string
	err := t.node.rpc.call(ctx, &texts, maxBulkReply, method, t.key.address, 0, skip, pageSize, 0, true)
	if e := refusedBy(err); e != nil && e.Code == codeNoTx {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(texts) > pageSize {
		return nil, lie(method, "asked for %d transactions, got %d", pageSize, len(texts))
	}
	txs := make([]*wire.MsgTx, len(texts))
	for i, text := range texts {
		raw, err := hex.DecodeString(text)
		if err != nil {
			return nil, lie(method, "not hexadecimal")
		}
		txs[i] = new(wire.MsgTx)
		if err := txs[i].Deserialize(bytes.NewReader(raw)); err != nil {
			return nil, lie(method, "it cannot be read as a transaction")
		}
	}
	return txs, nil
}

// usable asks the node for one output of ours: confirmed often enough, and mature.
func (t *Target) usable(ctx context.Context, out wire.OutPoint) (coin, bool, error) {
	c, confirmations, coinbase, ok, err := t.node.unspent(ctx, out)
	if err != nil || !ok || !bytes.Equal(c.script, t.key.script) || c.value <= dust {
		return coin{}, false, err
	}
	if coinbase && confirmations < coinbaseAge || confirmations < uint64(t.o.Confirmations) {
		return coin{}, false, nil
	}
	free, err := t.unclaimed(ctx, out)
	return c, free, err
}

// unclaimed reports that no transaction in the memory pool spends the output. A node that does not know the question
// (Bitcoin Core before 24) is not asked further: its refusal of our transaction will tell.
func (t *Target) unclaimed(ctx context.Context, out wire.OutPoint) (bool, error) {
	var v []struct {
		By string `json:"spendingtxid"`
	}
	err := t.node.rpc.call(ctx, &v, maxReply, "gettxspendingprevout", []any{map[string]any{"txid": out.Hash.String(), "vout": out.Index}})
	if refusedBy(err) != nil {
		return true, nil
	}
	return err == nil && len(v) == 1 && v[0].By == "", err
}

func (t *Target) scanCoins(ctx context.Context, need func(n int) int64) ([]coin, error) {
	const method = "scantxoutset"
	var v struct {
		Success bool `json:"success"`
		Unspent []struct {
			Txid   string  `json:"txid"`
			Vout   uint32  `json:"vout"`
			Amount float64 `json:"amount"`
		} `json:"unspents"`
	}
	if err := t.node.rpc.call(ctx, &v, maxBulkReply, method, "start", []any{"addr(" + t.key.address + ")"}); err != nil {
		if refusedBy(err) != nil { // another scan is under way, or the method is not there
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "bitcoin.coins", "", "the node can search for coins neither by address nor in the set of unspent outputs").Because(err).
				WithFix("use btcd with --txindex --addrindex, or Bitcoin Core with -txindex")
		}
		return nil, err
	}
	s := &search{t: t, need: need}
	for _, u := range v.Unspent {
		h, err := chainhash.NewHashFromStr(u.Txid)
		if err != nil {
			return nil, lie(method, "it names a transaction that is no hash")
		}
		value, ok := satoshi(u.Amount)
		if !ok {
			return nil, lie(method, "it names an amount that is none")
		}
		s.add(output{wire.OutPoint{Hash: *h, Index: u.Vout}, value})
	}
	return s.found, s.rest(ctx)
}

// choose takes the smallest single coin that is worth need, or else the largest ones until they are.
func choose(coins []coin, need func(inputs int) int64) ([]coin, bool) {
	coins = slices.Clone(coins)
	slices.SortFunc(coins, func(a, b coin) int {
		if a.value != b.value {
			return int(min(max(a.value-b.value, -1), 1))
		}
		if c := bytes.Compare(a.out.Hash[:], b.out.Hash[:]); c != 0 {
			return c
		}
		return int(a.out.Index) - int(b.out.Index)
	})
	for _, c := range coins {
		if c.value >= need(1) {
			return []coin{c}, true
		}
	}
	var sum int64
	for i := len(coins) - 1; i >= 0 && len(coins)-i <= maxInputs; i-- {
		if sum += coins[i].value; sum >= need(len(coins)-i) {
			return coins[i:], true
		}
	}
	return nil, false
}
