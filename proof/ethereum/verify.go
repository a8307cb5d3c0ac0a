// Package ethereum owns the offline proof that a digest was known when an Ethereum block was made: the block's header, a
// way through its trie of receipts, and the event in which a contract repeated the digest. It is on floor 1: pure
// functions, no network, no clock, and few dependencies, since the small verifier and the browser page link it.
//
// It must not know how a transaction is built or sent.
//
// What it does not do: it does not follow the consensus of the chain. A header alone is worth nothing, since anybody can
// write one; after the merge no work stands behind it. The auditor therefore pins the hashes of blocks, learned from a
// node that the auditor runs or from several sources that do not conspire, and the proof leads to one of them. Beacon
// light clients (sync committees) are out of scope.
//
// Sources: Ethereum Yellow Paper (block header, receipts, appendices B to D), EIP-2718, EIP-658, EIP-1559, EIP-4895,
// EIP-4844, EIP-4788, EIP-7685, EIP-7702.
package ethereum

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// Params is what an auditor pins. Its text form is JSON with these members.
type Params struct {
	ChainID uint64 `json:"chain_id,string"` // EIP-155: 1 is the main network
	// Contracts are those whose events count. A contract cannot know a digest before somebody tells it, so that even a
	// hostile one could not forge an earlier time; pinning it makes sure that the event means what it seems to.
	Contracts []Address `json:"contracts"`
	// Blocks are hashes of blocks that the auditor takes for part of the chain. A proof must lead to one of them: it is
	// the anchored block itself, or the last of the descendants that the proof carries.
	Blocks []Hash `json:"blocks"`
}

// maxPinned bounds the lists of Params.
const maxPinned = 100_000

// Check reports what is wrong with the parameters. That no block is pinned is not: then no proof is trusted.
func (p *Params) Check() error {
	const op = "ethereum.params"
	switch {
	case p.ChainID == 0:
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "chain_id", "no chain is pinned").WithFix("1 is Ethereum's main network")
	case len(p.Contracts) == 0 || slices.Contains(p.Contracts, Address{}):
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "contracts", "no contract is pinned")
	case len(p.Contracts) > maxPinned || len(p.Blocks) > maxPinned:
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "a list is longer than %d", maxPinned)
	}
	return nil
}

// Causes of errors of kind Denied: everything in a proof holds, and the auditor pinned nothing that gives it a meaning.
var (
	ErrNotPinned = errors.New("no pinned block")           // it leads to no pinned block
	ErrElsewhere = errors.New("another chain or contract") // it is about another chain or another contract
)

// Result is what a verified proof says.
type Result struct {
	ChainID     uint64
	Height      uint64
	Block       Hash
	Time        time.Time // of the block's header, UTC, whole seconds: the digest existed then
	Transaction uint32    // position in the block
	Contract    Address
	Sender      Address // who called the contract, as the event states it
	Descendants int     // headers in the proof that follow the block's
	Pinned      Hash    // the pinned block to which the proof leads; zero with an error
}

// Source names who states the time, for people and receipts: "eip155:1".
func (r Result) Source() string { return fmt.Sprintf("eip155:%d", r.ChainID) }

// Verify reports whether proof shows that the pinned contract emitted the digest in a block of the pinned chain, and
// when. It checks the header's hash, the receipt's way through the trie under the header's receipts root, the receipt's
// status, the event's contract and digest, the parent hashes of the descendants, and that the anchored block or the last
// descendant is pinned. Errors are of kind Invalid, TooLarge or Corrupt, and Denied with [ErrNotPinned] as its cause
// where only the pinned block is missing; the result then tells which block to ask a trusted node about.
func Verify(proof []byte, digest vaultmesh.Digest, p Params) (Result, error) {
	const op = "ethereum.verify"
	if err := p.Check(); err != nil {
		return Result{}, vaultmesh.Wrap(err, op, "")
	}
	pr, err := Decode(proof)
	if err != nil {
		return Result{}, vaultmesh.Wrap(err, op, "")
	}
	header, err := ReadHeader(pr.Header)
	if err != nil {
		return Result{}, vaultmesh.Wrap(err, op, "")
	}
	r := Result{ChainID: pr.ChainID, Height: header.Number, Block: header.Hash, Transaction: pr.Transaction, Descendants: len(pr.Descendants)}
	if header.Time > maxTime {
		return Result{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the block's time lies after the year 9999")
	}
	r.Time = time.Unix(int64(header.Time), 0).UTC()
	if err := r.event(pr, header, digest); err != nil {
		return Result{}, vaultmesh.Wrap(err, op, "")
	}
	last, err := follow(header, pr.Descendants)
	if err != nil {
		return Result{}, vaultmesh.Wrap(err, op, "")
	}
	switch {
	case pr.ChainID != p.ChainID:
		return r, vaultmesh.Errorf(vaultmesh.Denied, op, "", "the proof is about chain %d, pinned is %d", pr.ChainID, p.ChainID).Because(ErrElsewhere)
	case !slices.Contains(p.Contracts, r.Contract):
		return r, vaultmesh.Errorf(vaultmesh.Denied, op, "", "the event is of contract %s, which is not pinned", r.Contract).
			Because(ErrElsewhere).WithFix("if you trust that contract's code, pin it")
	}
	for _, h := range [...]Header{header, last} {
		if slices.Contains(p.Blocks, h.Hash) {
			r.Pinned = h.Hash
			return r, nil
		}
	}
	return r, vaultmesh.Errorf(vaultmesh.Denied, op, "", "block %d with hash %s is not among the %d pinned blocks", last.Number, last.Hash, len(p.Blocks)).
		Because(ErrNotPinned).WithFix("ask a node that you trust for the hash of block %d; if it is the same, pin it", last.Number)
}

// maxTime is the end of the year 9999, the last that times in evidence may have.
const maxTime = 253402300799

// event checks that the receipt is in the block and says what the proof is about, and reads whose event it is.
func (r *Result) event(pr *Proof, header Header, digest vaultmesh.Digest) error {
	nodes := make([][]byte, len(pr.Nodes))
	for i, n := range pr.Nodes {
		nodes[i] = n
	}
	receipt, err := ProveKey(header.Receipts, rlp.AppendUint(nil, uint64(pr.Transaction)), nodes)
	if err != nil {
		return err
	}
	l, err := readLog(receipt, pr.Log)
	if err != nil {
		return err
	}
	// The event of the contract in lawchain/anchor/ethereum: two topics, the digest and the caller, and no data.
	if len(l.Topics) != 2 || len(l.Data) != 0 || [12]byte(l.Topics[1][:12]) != [12]byte{} {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.event", "", "%d topics and %d bytes of data: not the event of an anchor", len(l.Topics), len(l.Data))
	}
	if vaultmesh.Digest(l.Topics[0]) != digest {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.event", "", "the event anchors %s, not %s", vaultmesh.Digest(l.Topics[0]), digest)
	}
	r.Contract, r.Sender = l.Contract, Address(l.Topics[1][12:])
	return nil
}

// follow checks that each header is the parent of the next and returns the last.
func follow(h Header, descendants []Bytes) (Header, error) {
	for i, raw := range descendants {
		next, err := ReadHeader(raw)
		if err != nil {
			return Header{}, err
		}
		if next.Parent != h.Hash || next.Number != h.Number+1 || next.Time < h.Time {
			return Header{}, vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.descendants", "", "header %d does not follow block %d with hash %s", i, h.Number, h.Hash)
		}
		h = next
	}
	return h, nil
}
