package bitcoin

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Names of the networks.
const (
	Mainnet  = "mainnet"
	Testnet4 = "testnet4"
	Signet   = "signet"
	Regtest  = "regtest"
)

const networkNames = "mainnet, testnet4, signet and regtest"

// easiest is the default of [Params.MaxBits]. For the main network it is difficulty 2^44 (1.8e13): the network has been
// several times harder for years, and one forged header at it costs 2^76 hashes. The others have their own limits, at
// which blocks cost next to nothing.
var easiest = map[string]Bits{Mainnet: 0x170ffff0, Testnet4: 0x1d00ffff, Signet: 0x1e0377ae, Regtest: 0x207fffff}

// Bits is a target of proof of work in compact form; its text form is eight lower-case hexadecimal digits.
type Bits uint32

// MarshalText implements [encoding.TextMarshaler].
func (b Bits) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(b)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bits) UnmarshalText(text []byte) error {
	var raw [4]byte
	if err := unhex(raw[:], string(text), "max_bits"); err != nil {
		return err
	}
	n, err := strconv.ParseUint(hex.EncodeToString(raw[:]), 16, 32)
	*b = Bits(n)
	return err
}

// Block pins a block that the auditor knows to be in the chain.
type Block struct {
	Hash   string `json:"hash"`             // as nodes and explorers show it
	Height uint64 `json:"height,omitempty"` // 0: not pinned
}

// Params is what an auditor trusts about Bitcoin. Its JSON form is a member of the trust file. The zero value of every
// field but Network means its default.
type Params struct {
	Network string `json:"network"`
	// MaxBits is the easiest proof of work that any header of a proof may have.
	MaxBits Bits `json:"max_bits,omitempty"`
	// Confirmations is the least number of headers, the block's own included; default 6. On a network other than the
	// main one any number of blocks can be made by anybody: pin blocks there.
	Confirmations int `json:"confirmations,omitempty"`
	// Blocks are pinned: a proof whose headers lead to one of them needs no number of confirmations.
	Blocks []Block `json:"blocks,omitempty"`
	// PinnedOnly accepts no proof that does not lead to one of Blocks, however much work it shows.
	PinnedOnly bool `json:"pinned_only,omitempty"`
}

// Bounds and defaults of [Params].
const (
	DefaultConfirmations = 6
	maxPinned            = 10_000
)

// Check reports the first thing that is wrong with p, as Invalid.
func (p *Params) Check() error {
	_, err := p.pin()
	return err
}

// pins is Params ready for use.
type pins struct {
	easiest       target
	confirmations int
	blocks        map[Hash]uint64
	only          bool
}

func (p *Params) pin() (*pins, error) {
	const op = "bitcoin.trust"
	bits, ok := easiest[p.Network]
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "network", "%.40q", p.Network).WithFix("the networks are %s", networkNames)
	}
	if p.MaxBits != 0 {
		bits = p.MaxBits
	}
	t, err := expand(uint32(bits))
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, "max_bits")
	}
	out := &pins{easiest: t, confirmations: p.Confirmations, blocks: make(map[Hash]uint64, len(p.Blocks)), only: p.PinnedOnly}
	if out.confirmations == 0 {
		out.confirmations = DefaultConfirmations
	}
	if out.confirmations < 1 || out.confirmations > MaxFollowing+1 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "confirmations", "%d", p.Confirmations).WithFix("use 1 to %d", MaxFollowing+1)
	}
	if len(p.Blocks) > maxPinned {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, "blocks", "%d are pinned, the limit is %d", len(p.Blocks), maxPinned)
	}
	for _, b := range p.Blocks {
		h, err := ParseHash(b.Hash)
		if err != nil {
			return nil, vaultmesh.Wrap(err, op, "blocks")
		}
		out.blocks[h] = b.Height
	}
	if p.PinnedOnly && len(p.Blocks) == 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "pinned_only", "no block is pinned").WithFix("pin blocks, or trust the proof of work")
	}
	return out, nil
}

// Result is what a proof that holds says.
type Result struct {
	// Time is what the miner of the block claimed, UTC. By the network's rules it is later than the median of the
	// eleven blocks before and at most two hours ahead of the clocks of the nodes that relayed it: read it as "within
	// some two hours". The digest existed before the block was found.
	Time          time.Time
	Height        uint64 // as the proof claims, unless Pinned with a height
	Block         Hash
	Tx            Hash
	Confirmations int  // headers in the proof, the block's own included
	Pinned        bool // the headers lead to a pinned block
}

// Verify judges a proof that digest is in a block of the chain that p trusts: the transaction commits to the digest, it
// is in the block, every header has its proof of work, no easier than p allows, and follows the one before, and they
// are as many as p wants or lead to a block that p pins. Kinds of errors: Invalid and TooLarge (not a proof), Corrupt
// (it does not hold), Denied (it holds in itself, but p does not trust it). Nothing is fetched. Safe for concurrent use.
func Verify(proof []byte, digest vaultmesh.Digest, p Params) (Result, error) {
	const op = "bitcoin.verify"
	pin, err := p.pin()
	if err != nil {
		return Result{}, err
	}
	d, err := Decode(proof)
	if err != nil {
		return Result{}, err
	}
	if d.Network != p.Network {
		return Result{}, vaultmesh.Errorf(vaultmesh.Denied, op, "", "the proof is about %s, what is trusted is %s", d.Network, p.Network)
	}
	id, err := d.checkTx(digest)
	if err != nil {
		return Result{}, err
	}
	r := Result{Time: d.Header.Time(), Height: d.Height, Block: d.Header.Hash(), Tx: id, Confirmations: 1 + len(d.Following)}
	if r.Pinned, err = d.checkChain(pin); err != nil {
		return Result{}, err
	}
	switch {
	case r.Pinned:
	case pin.only:
		return Result{}, vaultmesh.Errorf(vaultmesh.Denied, op, r.Block.String(), "no header of the proof is a pinned block").WithFix("pin the block after looking it up at sources that you trust, or extend the proof to a pinned one")
	case r.Confirmations < pin.confirmations:
		return Result{}, vaultmesh.Errorf(vaultmesh.Denied, op, r.Block.String(), "the proof shows %d confirmations, %d are wanted", r.Confirmations, pin.confirmations).WithFix("export the proof again later, or pin the block")
	}
	return r, nil
}

// checkTx checks the transaction's commitment and its way into the block, and returns its identifier.
func (p *Proof) checkTx(digest vaultmesh.Digest) (Hash, error) {
	const op = "bitcoin.verify"
	if len(p.Tx) == 64 {
		return Hash{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "tx", "a transaction of 64 bytes cannot be told from an inner node of the tree")
	}
	t, err := parseTx(p.Tx)
	if err != nil {
		return Hash{}, err
	}
	got, _, err := t.commitment()
	if err != nil {
		return Hash{}, err
	}
	id := Sum2(p.Tx)
	if got != digest {
		return Hash{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, id.String(), "the transaction commits to %s, not to %s", got, digest)
	}
	root, err := Fold(id, p.Index, p.Branch)
	if err != nil {
		return Hash{}, err
	}
	if want := p.Header.Root(); root != want {
		return Hash{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, id.String(), "the branch leads to the root %s, the header has %s: the transaction is not in this block at index %d", root, want, p.Index)
	}
	return id, nil
}

// checkChain checks work and order of all headers and reports whether one of them is pinned.
func (p *Proof) checkChain(pin *pins) (pinned bool, err error) {
	const op = "bitcoin.verify"
	var before Hash
	for i := range 1 + len(p.Following) {
		h := &p.Header
		if i > 0 {
			h = &p.Following[i-1]
			if h.Previous() != before {
				return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, h.Hash().String(), "following header %d does not follow %s", i, before)
			}
		}
		before = h.Hash()
		if err := h.checkWork(before, pin.easiest); err != nil {
			return false, err
		}
		height, ok := pin.blocks[before]
		if ok && height != 0 && height != p.Height+uint64(i) {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, op, before.String(), "the block is pinned at height %d, the proof puts it at %d", height, p.Height+uint64(i))
		}
		pinned = pinned || ok
	}
	return pinned, nil
}
