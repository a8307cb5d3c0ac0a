package bitcoin

import (
	"bytes"
	"context"
	"encoding/hex"
	"math"
	"strings"

	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// node asks a Bitcoin node the questions that an anchor needs, in the dialects of btcd and of Bitcoin Core. What it
// returns is the node's word; what matters is checked by whoever asks.
type node struct{ rpc *rpc }

func (n *node) height(ctx context.Context) (uint64, error) {
	var h uint64
	if err := n.rpc.call(ctx, &h, maxReply, "getblockcount"); err != nil {
		return 0, err
	}
	if h > math.MaxInt32 {
		return 0, lie("getblockcount", "a height of %d", h)
	}
	return h, nil
}

// lie is an answer that cannot be.
func lie(method, format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Corrupt, "bitcoin.node", method, format, args...).WithFix("use a node of your own that you trust; nothing counts as anchored by its word")
}

// blockAt returns the hash of the block at a height of the node's best chain; ok is false where it is not that high.
func (n *node) blockAt(ctx context.Context, height uint64) (h spv.Hash, ok bool, err error) {
	var text string
	err = n.rpc.call(ctx, &text, maxReply, "getblockhash", height)
	if refusedBy(err) != nil { // the height is beyond the end
		return spv.Hash{}, false, nil
	}
	if err != nil {
		return spv.Hash{}, false, err
	}
	if h, err = spv.ParseHash(text); err != nil {
		return spv.Hash{}, false, lie("getblockhash", "it is no hash")
	}
	return h, true, nil
}

// header returns the header of a block, whose hash it checks.
func (n *node) header(ctx context.Context, block spv.Hash) (h spv.Header, err error) {
	var text string
	if err := n.rpc.call(ctx, &text, maxReply, "getblockheader", block.String(), false); err != nil {
		return h, err
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != spv.HeaderSize {
		return h, lie("getblockheader", "%d digits are no header", len(text))
	}
	if h = spv.Header(raw); h.Hash() != block {
		return h, lie("getblockheader", "asked for the header of %s, got that of %s", block, h.Hash())
	}
	return h, nil
}

// heightOf returns the height that the node gives for a block; ok is false where it is not in its best chain.
func (n *node) heightOf(ctx context.Context, block spv.Hash) (height uint64, ok bool, err error) {
	var v struct {
		Height uint64 `json:"height"`
	}
	err = n.rpc.call(ctx, &v, maxReply, "getblockheader", block.String(), true)
	if refusedBy(err) != nil { // btcd refuses for blocks that were left
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if v.Height > math.MaxInt32 {
		return 0, false, lie("getblockheader", "a height of %d", v.Height)
	}
	at, found, err := n.blockAt(ctx, v.Height)
	return v.Height, found && at == block, err
}

// block returns a block, whose hash it checks.
func (n *node) block(ctx context.Context, block spv.Hash) (*wire.MsgBlock, error) {
	var text string
	if err := n.rpc.call(ctx, &text, maxBulkReply, "getblock", block.String(), 0); err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		return nil, lie("getblock", "not hexadecimal")
	}
	var b wire.MsgBlock
	r := bytes.NewReader(raw)
	if err := b.Deserialize(r); err != nil || r.Len() != 0 {
		return nil, lie("getblock", "it cannot be read as a block")
	}
	if got := spv.Hash(b.BlockHash()); got != block {
		return nil, lie("getblock", "asked for %s, got %s", block, got)
	}
	return &b, nil
}

// where is what the node knows about a transaction.
type where struct {
	known bool      // it is in the node's memory pool or in a block
	block *spv.Hash // nil: in no block of which the node knows
}

// find asks for a transaction by its identifier.
func (n *node) find(ctx context.Context, txid string) (where, error) {
	var v struct {
		Txid  string `json:"txid"`
		Block string `json:"blockhash"`
	}
	err := n.rpc.call(ctx, &v, maxBulkReply, "getrawtransaction", txid, 1)
	if e := refusedBy(err); e != nil {
		if strings.Contains(strings.ToLower(e.Message), "txindex") {
			// Bitcoin Core says this also of unknown transactions where it has no index.
			return where{}, vaultmesh.Errorf(vaultmesh.Unavailable, "bitcoin.node", txid, "the node has no index of transactions, or is still building it").Because(e).WithFix("start it with --txindex")
		}
		if e.Code == codeNoTx {
			return where{}, nil
		}
	}
	if err != nil {
		return where{}, err
	}
	if v.Txid != txid {
		return where{}, lie("getrawtransaction", "asked for %s, got %.64q", txid, v.Txid)
	}
	if v.Block == "" {
		return where{known: true}, nil
	}
	h, err := spv.ParseHash(v.Block)
	if err != nil {
		return where{}, lie("getrawtransaction", "it names a block that is no hash")
	}
	return where{known: true, block: &h}, nil
}

// coin is an unspent output.
type coin struct {
	out    wire.OutPoint
	value  int64 // satoshi
	script []byte
}

// unspent asks for an output in the chain; ok is false where it is spent or unknown. The memory pool is left out, since
// the dialects do not agree on it.
func (n *node) unspent(ctx context.Context, out wire.OutPoint) (c coin, confirmations uint64, coinbase, ok bool, err error) {
	var v *struct {
		Confirmations uint64  `json:"confirmations"`
		Value         float64 `json:"value"`
		Coinbase      bool    `json:"coinbase"`
		Script        struct {
			Hex string `json:"hex"`
		} `json:"scriptPubKey"`
	}
	err = n.rpc.call(ctx, &v, maxReply, "gettxout", out.Hash.String(), out.Index, false)
	if err != nil || v == nil {
		return coin{}, 0, false, false, err
	}
	value, fine := satoshi(v.Value)
	script, err := hex.DecodeString(v.Script.Hex)
	if !fine || err != nil {
		return coin{}, 0, false, false, lie("gettxout", "it is no output")
	}
	return coin{out: out, value: value, script: script}, v.Confirmations, v.Coinbase, true, nil
}

// satoshi converts an amount in bitcoin. A double holds every amount of satoshi exactly enough to round to it.
func satoshi(bitcoin float64) (int64, bool) {
	s := math.Round(bitcoin * 1e8)
	if !(s >= 0 && s <= 21e14) {
		return 0, false
	}
	return int64(s), true
}

// send gives a transaction to the node. A transaction that the node has already is sent.
func (n *node) send(ctx context.Context, raw string) error {
	err := n.rpc.call(ctx, nil, maxReply, "sendrawtransaction", raw)
	if e := refusedBy(err); e != nil {
		for _, known := range []string{"already have transaction", "already exists", "already in block chain", "already in mempool", "already-in-mempool", "already-known", "already in utxo set"} {
			if strings.Contains(strings.ToLower(e.Message), known) {
				return nil
			}
		}
	}
	return err
}

// feeRefused reports whether the node refused a transaction because of its fee.
func feeRefused(err error) bool {
	e := refusedBy(err)
	if e == nil {
		return false
	}
	m := strings.ToLower(e.Message)
	return strings.Contains(m, "fee") && !strings.Contains(m, "exceed") && !strings.Contains(m, "absurd")
}

// feeRate asks for the rate at which a transaction gets into one of the next blocks, in satoshi per 1000 virtual bytes;
// ok is false where the node cannot tell, which is usual after its start.
func (n *node) feeRate(ctx context.Context, blocks int) (rate int64, ok bool, err error) {
	var smart struct {
		Rate *float64 `json:"feerate"`
	}
	var perKB float64
	err = n.rpc.call(ctx, &smart, maxReply, "estimatesmartfee", blocks)
	switch e := refusedBy(err); {
	case e != nil && (e.Code == codeNoMethod || strings.Contains(strings.ToLower(e.Message), "method not found") || strings.Contains(strings.ToLower(e.Message), "unimplemented")):
		err = n.rpc.call(ctx, &perKB, maxReply, "estimatefee", blocks) // btcd
	case err == nil && smart.Rate != nil:
		perKB = *smart.Rate
	}
	if refusedBy(err) != nil {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	rate, ok = satoshi(perKB)
	return rate, ok && rate > 0, nil
}
