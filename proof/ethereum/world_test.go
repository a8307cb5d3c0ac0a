package ethereum_test

import (
	"encoding/binary"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
	"vaultmesh.org/vaultmesh/test/sample"
)

var (
	contract = ethereum.Address{0xc0, 1, 2}
	sender   = ethereum.Address{0x5e, 0x4d}
	digest   = vaultmesh.Sum([]byte("a checkpoint's body"))
)

// topics of an anchor's event.
func topics(d vaultmesh.Digest, from ethereum.Address) []ethereum.Hash {
	var who ethereum.Hash
	copy(who[12:], from[:])
	return []ethereum.Hash{ethereum.Hash(d), who}
}

func encodeLog(l ethereum.Log) []byte {
	var list []byte
	for _, topic := range l.Topics {
		list = rlp.AppendBytes(list, topic[:])
	}
	b := rlp.AppendBytes(nil, l.Contract[:])
	return rlp.AppendList(nil, rlp.AppendBytes(rlp.AppendList(b, list), l.Data))
}

// encodeReceipt writes a receipt as the trie holds it.
func encodeReceipt(kind byte, status, gas uint64, logs ...ethereum.Log) []byte {
	var list []byte
	for _, l := range logs {
		list = append(list, encodeLog(l)...)
	}
	body := rlp.AppendUint(rlp.AppendUint(nil, status), gas)
	body = rlp.AppendList(rlp.AppendBytes(body, make([]byte, 256)), list)
	raw := rlp.AppendList(nil, body)
	if kind > 0 {
		raw = append([]byte{kind}, raw...)
	}
	return raw
}

// block is a block with an anchor among other transactions.
type block struct {
	receipts [][]byte
	header   []byte
	anchor   uint32 // transaction
	log      uint32
}

const blockTime = 1_700_000_000

// newBlock makes a block of n transactions of all types in which number anchor carries the event as its third log.
func newBlock(t testing.TB, n int, anchor uint32) block {
	t.Helper()
	b := block{anchor: anchor, log: 2}
	for i := range n {
		var data [8]byte
		binary.BigEndian.PutUint64(data[:], uint64(i))
		other := ethereum.Log{Contract: ethereum.Address{9}, Topics: []ethereum.Hash{ethereum.Keccak(data[:])}, Data: data[:]}
		logs := []ethereum.Log{other, {Contract: contract, Data: data[:3]}}[:i%3]
		if uint32(i) == anchor {
			logs = []ethereum.Log{other, other, {Contract: contract, Topics: topics(digest, sender)}}
		}
		b.receipts = append(b.receipts, encodeReceipt(byte(i%5), 1, uint64(21000*(i+1)), logs...))
	}
	root, _, err := ethereum.ReceiptsRoot(b.receipts, anchor)
	if err != nil {
		t.Fatal(err)
	}
	b.header = sample.Header(ethereum.Hash{1}, root, 19_000_000, blockTime, 21)
	return b
}

// proof makes the proof of the block's anchor and the parameters under which it holds.
func (b block) proof(t testing.TB) (*ethereum.Proof, ethereum.Params) {
	t.Helper()
	p, err := ethereum.Make(1, b.header, b.receipts, b.anchor, b.log)
	if err != nil {
		t.Fatal(err)
	}
	return p, ethereum.Params{ChainID: 1, Contracts: []ethereum.Address{contract}, Blocks: []ethereum.Hash{ethereum.Keccak(b.header)}}
}

func encode(t testing.TB, p *ethereum.Proof) []byte {
	t.Helper()
	text, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
