package ethereum

import (
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// Bounds of what a trie is built from. A block of 150 million gas holds some 7,000 transactions at most, and 19 MB of data
// in logs: a neighbour's huge receipt must not keep ours from being proved.
const (
	maxReceipts = 1 << 16
	maxReceipt  = 32 << 20
)

// Make builds the proof of an event from a block's header and the receipts of all its transactions in their order, each as
// the trie holds it (with the type's byte in front unless it is a legacy one). It refuses receipts that do not hash to
// the header's root; whether the event is the wanted one is for [Verify] to say.
func Make(chainID uint64, header []byte, receipts [][]byte, transaction, log uint32) (*Proof, error) {
	const op = "ethereum.make"
	h, err := ReadHeader(header)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	if uint64(transaction) >= uint64(len(receipts)) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the block has %d transactions, none with number %d", len(receipts), transaction)
	}
	root, nodes, err := ReceiptsRoot(receipts, transaction)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "")
	}
	if root != h.Receipts {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, h.Hash.String(), "the receipts hash to %s, the header says %s", root, h.Receipts).
			WithFix("the node gave receipts that are not the block's, or of a kind that this version does not know")
	}
	p := &Proof{ChainID: chainID, Format: Format, Header: header, Log: log, Transaction: transaction, Nodes: make([]Bytes, len(nodes))}
	for i, n := range nodes {
		p.Nodes[i] = n
	}
	return p, nil
}

// ReceiptsRoot returns the root of the trie of a block's receipts and, root first, the nodes with a hash of their own on
// the way to the receipt with number prove.
func ReceiptsRoot(receipts [][]byte, prove uint32) (Hash, [][]byte, error) {
	if len(receipts) == 0 || len(receipts) > maxReceipts {
		return Hash{}, nil, vaultmesh.Errorf(vaultmesh.TooLarge, "ethereum.receipts", "", "%d receipts, want 1 to %d", len(receipts), maxReceipts)
	}
	entries := make([]entry, len(receipts))
	for i, r := range receipts {
		if len(r) == 0 || len(r) > maxReceipt {
			return Hash{}, nil, vaultmesh.Errorf(vaultmesh.TooLarge, "ethereum.receipts", "", "receipt %d has %d bytes, want 1 to %d", i, len(r), maxReceipt)
		}
		entries[i] = entry{path: nibbles(rlp.AppendUint(nil, uint64(i))), value: r, wanted: uint32(i) == prove}
	}
	slices.SortFunc(entries, func(a, b entry) int { return slices.Compare(a.path, b.path) })
	b := builder{}
	root := b.node(entries, 0)
	slices.Reverse(b.way)
	return Keccak(root), b.way, nil
}

// entry is one pair of the trie. No path is the beginning of another, since an RLP encoding never is.
type entry struct {
	path   []byte // nibbles
	value  []byte
	wanted bool
}

// builder encodes a trie from its leaves upward and keeps the nodes on the way to the wanted entry, leaf first.
type builder struct{ way [][]byte }

// node encodes the subtree of the entries, which are in order and agree in the first depth nibbles.
func (b *builder) node(entries []entry, depth int) []byte {
	var body []byte
	first, last := entries[0].path[depth:], entries[len(entries)-1].path[depth:]
	shared := 0
	for shared < len(first) && shared < len(last) && first[shared] == last[shared] {
		shared++
	}
	switch {
	case len(entries) == 1:
		body = rlp.AppendBytes(rlp.AppendBytes(body, appendHexPrefix(nil, first, true)), entries[0].value)
	case shared > 0:
		body = rlp.AppendBytes(body, appendHexPrefix(nil, first[:shared], false))
		body = appendRef(body, b.node(entries, depth+shared))
	default:
		for nibble, rest := byte(0), entries; nibble < 16; nibble++ {
			n := 0
			for n < len(rest) && rest[n].path[depth] == nibble {
				n++
			}
			if n == 0 {
				body = rlp.AppendBytes(body, nil)
				continue
			}
			body = appendRef(body, b.node(rest[:n], depth+1))
			rest = rest[n:]
		}
		body = rlp.AppendBytes(body, nil) // no value ends here
	}
	raw := rlp.AppendList(nil, body)
	if (depth == 0 || len(raw) >= len(Hash{})) && slices.ContainsFunc(entries, func(e entry) bool { return e.wanted }) {
		b.way = append(b.way, raw)
	}
	return raw
}

// appendRef refers to a node: by its hash, or by itself where that is shorter.
func appendRef(body, raw []byte) []byte {
	if len(raw) < len(Hash{}) {
		return append(body, raw...)
	}
	h := Keccak(raw)
	return rlp.AppendBytes(body, h[:])
}

// appendHexPrefix encodes a part of a path with its kind.
func appendHexPrefix(b, part []byte, leaf bool) []byte {
	flag := byte(0)
	if leaf {
		flag = 0x20
	}
	if len(part)%2 == 1 {
		b = append(b, flag|0x10|part[0])
		part = part[1:]
	} else {
		b = append(b, flag)
	}
	for ; len(part) > 0; part = part[2:] {
		b = append(b, part[0]<<4|part[1])
	}
	return b
}
