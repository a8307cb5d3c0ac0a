package ethereum

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// maxHeader bounds the encoding of a block's header in bytes. Since the merge one has at most some 700; the extra data
// of a proof-of-authority chain makes it longer.
const maxHeader = 8 << 10

// Fields of a header by their position. Those up to 14 are in every header since the first block; later forks append
// more (London the base fee, Shanghai the root of withdrawals, Cancun blob gas and the beacon root, Prague the hash of
// requests), which no check here needs and the block's hash covers.
const (
	headerParent   = 0
	headerReceipts = 5
	headerNumber   = 8
	headerTime     = 11
	headerLeast    = 15
	headerMost     = 40
)

// Header is what a proof needs of a block's header.
type Header struct {
	Hash     Hash
	Parent   Hash
	Receipts Hash // root of the trie of receipts
	Number   uint64
	Time     uint64 // seconds since 1970; under proof of stake exactly the start of the block's slot
}

// ReadHeader reads the RLP encoding of a header. Its hash is that of exactly these bytes.
func ReadHeader(raw []byte) (Header, error) {
	const op = "ethereum.header"
	if len(raw) > maxHeader {
		return Header{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(raw), maxHeader)
	}
	it, err := rlp.Decode(raw)
	if err != nil {
		return Header{}, vaultmesh.Wrap(err, op, "")
	}
	fields, err := it.Items(headerMost)
	if err != nil {
		return Header{}, vaultmesh.Wrap(err, op, "")
	}
	if len(fields) < headerLeast {
		return Header{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "%d fields, want %d at least", len(fields), headerLeast)
	}
	h := Header{Hash: Keccak(raw)}
	for _, f := range []struct {
		index int
		to    *Hash
	}{{headerParent, &h.Parent}, {headerReceipts, &h.Receipts}} {
		b, err := fields[f.index].Bytes(len(Hash{}))
		if err != nil {
			return Header{}, vaultmesh.Wrap(err, op, "")
		}
		copy(f.to[:], b)
	}
	if h.Number, err = fields[headerNumber].Uint(); err != nil {
		return Header{}, vaultmesh.Wrap(err, op, "number")
	}
	if h.Time, err = fields[headerTime].Uint(); err != nil {
		return Header{}, vaultmesh.Wrap(err, op, "time")
	}
	return h, nil
}
