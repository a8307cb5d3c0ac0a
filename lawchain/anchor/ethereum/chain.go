package ethereum

import (
	"context"
	"encoding/json"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// A node gives blocks and receipts as JSON; hashes are over their RLP. What is encoded here is believed only when it
// hashes to what enough nodes agree on, so a wrong field, or one that a later fork adds, cannot slip through.

// headerFields are the names of a header's fields in JSON-RPC in the order of their RLP. Those from optional on were added
// by forks, in this order: London, Shanghai, Cancun (3), Prague, Amsterdam (2, EIP-7928 and EIP-7843).
var headerFields = []struct {
	name    string
	integer bool // encoded without leading zero bytes
}{
	{"parentHash", false}, {"sha3Uncles", false}, {"miner", false}, {"stateRoot", false}, {"transactionsRoot", false}, {"receiptsRoot", false}, {"logsBloom", false},
	{"difficulty", true}, {"number", true}, {"gasLimit", true}, {"gasUsed", true}, {"timestamp", true}, {"extraData", false}, {"mixHash", false}, {"nonce", false},
	{"baseFeePerGas", true}, {"withdrawalsRoot", false}, {"blobGasUsed", true}, {"excessBlobGas", true}, {"parentBeaconBlockRoot", false}, {"requestsHash", false},
	{"blockAccessListHash", false}, {"slotNumber", true},
}

const optional = 15

// block is what is needed of a block.
type block struct {
	raw     []byte // the header's RLP
	header  eth.Header
	baseFee wei
	txs     []eth.Hash
}

// readBlock encodes the header of a block and finds the one form of it that hashes to want.
func readBlock(doc json.RawMessage, want eth.Hash) (*block, error) {
	const op = "ethereum.block"
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc, &fields); err != nil || fields == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, want.String(), "the node does not know the block")
	}
	var b block
	var txs []hash
	if err := json.Unmarshal(fields["transactions"], &txs); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, want.String(), "no list of transactions").Because(err)
	}
	for _, t := range txs {
		b.txs = append(b.txs, eth.Hash(t))
	}
	var body []byte
	for i, f := range headerFields {
		text, ok := fields[f.name]
		if !ok || string(text) == "null" {
			if i < optional {
				return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, want.String(), "the header has no %s", f.name)
			}
			continue
		}
		var err error
		if body, err = appendField(body, text, f.integer); err != nil {
			return nil, vaultmesh.Wrap(err, op, f.name)
		}
		if f.name == "baseFeePerGas" {
			if err := json.Unmarshal(text, &b.baseFee); err != nil {
				return nil, vaultmesh.Wrap(err, op, f.name)
			}
		}
		// Some nodes give members of later forks with blocks that do not have them: the shortest header that hashes
		// right is the header.
		if i >= optional-1 {
			if raw := rlp.AppendList(nil, body); eth.Keccak(raw) == want {
				b.raw = raw
				b.header, err = eth.ReadHeader(raw)
				return &b, vaultmesh.Wrap(err, op, "")
			}
		}
	}
	return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, want.String(), "the header that the node gives does not hash to the block's hash").
		WithFix("the node lies, or the block has fields of a fork that this version does not know")
}

// appendField appends one value of JSON-RPC.
func appendField(body []byte, text json.RawMessage, integer bool) ([]byte, error) {
	if integer {
		var w wei
		if err := json.Unmarshal(text, &w); err != nil {
			return nil, err
		}
		return rlp.AppendInt(body, w.Bytes()), nil
	}
	var d data
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	return rlp.AppendBytes(body, d), nil
}

// receipt is a transaction's receipt in JSON-RPC.
type receipt struct {
	Transaction hash      `json:"transactionHash"`
	Index       quantity  `json:"transactionIndex"`
	Block       hash      `json:"blockHash"`
	Height      quantity  `json:"blockNumber"`
	Type        quantity  `json:"type"`
	Status      *quantity `json:"status"`
	Root        data      `json:"root"`
	Gas         quantity  `json:"cumulativeGasUsed"`
	Bloom       data      `json:"logsBloom"`
	Contract    *address  `json:"contractAddress"`
	Logs        []struct {
		Address address `json:"address"`
		Topics  []hash  `json:"topics"`
		Data    data    `json:"data"`
	} `json:"logs"`
}

// encode writes the receipt as the trie of receipts holds it.
func (r *receipt) encode() ([]byte, error) {
	if r.Type > 4 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.receipt", eth.Hash(r.Transaction).String(), "unknown type %d of transaction", r.Type).
			WithFix("the chain has transactions of its own kinds (a rollup?), which this version does not know")
	}
	var body, logs []byte
	if r.Status != nil {
		body = rlp.AppendUint(body, uint64(*r.Status))
	} else {
		body = rlp.AppendBytes(body, r.Root)
	}
	body = rlp.AppendBytes(rlp.AppendUint(body, uint64(r.Gas)), r.Bloom)
	for _, l := range r.Logs {
		var topics []byte
		for _, t := range l.Topics {
			topics = rlp.AppendBytes(topics, t[:])
		}
		one := rlp.AppendList(rlp.AppendBytes(nil, l.Address[:]), topics)
		logs = rlp.AppendList(logs, rlp.AppendBytes(one, l.Data))
	}
	raw := rlp.AppendList(nil, rlp.AppendList(body, logs))
	if r.Type > 0 {
		raw = append([]byte{byte(r.Type)}, raw...)
	}
	return raw, nil
}

// event returns the position of the anchor's event among the receipt's logs.
func (r *receipt) event(contract eth.Address, digest vaultmesh.Digest) (uint32, bool) {
	for i, l := range r.Logs {
		if eth.Address(l.Address) == contract && len(l.Topics) == 2 && vaultmesh.Digest(l.Topics[0]) == digest {
			return uint32(i), true
		}
	}
	return 0, false
}

// fetchBlock gets a block by its hash from any node. What it returns hashes to h.
func (p *pool) fetchBlock(ctx context.Context, h eth.Hash) (*block, error) {
	return first(ctx, p, func(ctx context.Context, c *client) (*block, error) {
		var doc json.RawMessage
		if err := c.call(ctx, &doc, smallReply, "eth_getBlockByHash", h, false); err != nil {
			return nil, err
		}
		return readBlock(doc, h)
	})
}

// maxOneByOne bounds the receipts that are asked for one at a time, where a node cannot give those of a block at once.
const maxOneByOne = 1500

// verified is what a node said about a transaction's block, once it hashed to the block's hash.
type verified struct {
	*block
	receipts []receipt
	raw      [][]byte // encoded
}

// fetchReceipts gets the receipts of all transactions of a block from any node. What it returns hashes to the root in the
// block's header.
func (p *pool) fetchReceipts(ctx context.Context, b *block) (*verified, error) {
	if len(b.txs) == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.receipts", b.header.Hash.String(), "the block has no transactions")
	}
	return first(ctx, p, func(ctx context.Context, c *client) (*verified, error) {
		v := &verified{block: b}
		if err := c.receiptsOf(ctx, b, &v.receipts); err != nil {
			return nil, err
		}
		if len(v.receipts) != len(b.txs) {
			return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.receipts", c.name, "%d receipts of %d transactions", len(v.receipts), len(b.txs))
		}
		v.raw = make([][]byte, len(v.receipts))
		for i := range v.receipts {
			r := &v.receipts[i]
			if uint64(r.Index) != uint64(i) {
				return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.receipts", c.name, "receipt %d says that it is number %d", i, r.Index)
			}
			var err error
			if v.raw[i], err = r.encode(); err != nil {
				return nil, err
			}
		}
		root, _, err := eth.ReceiptsRoot(v.raw, 0)
		if err == nil && root != b.header.Receipts {
			err = vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.receipts", c.name, "the receipts of block %s hash to %s, its header says %s", b.header.Hash, root, b.header.Receipts)
		}
		if err != nil {
			return nil, err
		}
		return v, nil
	})
}

// receiptsOf asks one node: for all at once by the block's hash, then by its height, which older ones want, then one by one.
func (c *client) receiptsOf(ctx context.Context, b *block, to *[]receipt) error {
	var err error
	for _, which := range []any{b.header.Hash, quantity(b.header.Number)} {
		if err = c.call(ctx, to, largeReply, "eth_getBlockReceipts", which); err == nil && len(*to) > 0 {
			return nil
		}
		if err != nil && refusal(err) == nil {
			return err
		}
	}
	if len(b.txs) > maxOneByOne {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum.receipts", c.name, "the node has no eth_getBlockReceipts, and the block's %d transactions are too many to ask for one by one", len(b.txs)).Because(err)
	}
	*to = make([]receipt, len(b.txs))
	for i, tx := range b.txs {
		r := &(*to)[i]
		if err := c.call(ctx, &r, smallReply, "eth_getTransactionReceipt", tx); err != nil {
			return err
		}
		if r == nil {
			return vaultmesh.Errorf(vaultmesh.NotFound, "ethereum.receipts", c.name, "the node has no receipt of transaction %s", tx)
		}
	}
	return nil
}
