package bitcoin

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// digest is what the proofs of these tests are about.
var digest = vaultmesh.Sum([]byte("vaultmesh.test/log\n7\nroot\n"))

// rawTx is a transaction of one input and the given output scripts.
func rawTx(scripts ...[]byte) []byte {
	b := []byte{2, 0, 0, 0, 1}
	for i := range 36 {
		b = append(b, byte(i))
	}
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0xfffffffd)
	b = append(b, byte(len(scripts)))
	for i, s := range scripts {
		b = binary.LittleEndian.AppendUint64(b, uint64(i)*1000)
		b = append(append(b, byte(len(s))), s...)
	}
	return append(b, 0, 0, 0, 0)
}

// change is the script of an output to a witness key hash.
var change = append([]byte{0, 20}, make([]byte, 20)...)

// mine finds a nonce for a header at the difficulty of the regression-test network, or one that fails.
func mine(previous, root Hash, at time.Time, valid bool) Header {
	var h Header
	h[0] = 4
	copy(h[4:], previous[:])
	copy(h[36:], root[:])
	binary.LittleEndian.PutUint32(h[68:], uint32(at.Unix()))
	binary.LittleEndian.PutUint32(h[72:], uint32(easiest[Regtest]))
	limit, err := expand(h.Bits())
	if err != nil {
		panic(err)
	}
	for nonce := uint32(0); ; nonce++ {
		binary.LittleEndian.PutUint32(h[76:], nonce)
		if (h.checkWork(h.Hash(), limit) == nil) == valid {
			return h
		}
	}
}

var blockTime = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

// proofOf builds a block of n transactions with raw at index i, and following headers.
func proofOf(t testing.TB, raw []byte, n, i, following int) *Proof {
	t.Helper()
	seed := rand.NewPCG(uint64(n), uint64(i))
	ids := make([]Hash, n)
	for k := range ids {
		for o := range 4 {
			binary.LittleEndian.PutUint64(ids[k][8*o:], seed.Uint64())
		}
	}
	ids[i] = Sum2(raw)
	branch, root, err := Branch(ids, uint32(i))
	if err != nil {
		t.Fatal(err)
	}
	p := &Proof{Branch: branch, Header: mine(Hash{7}, root, blockTime, true), Height: 800_000, Index: uint32(i), Network: Regtest, Tx: raw}
	before := p.Header.Hash()
	for k := range following {
		h := mine(before, Hash{byte(k)}, blockTime.Add(time.Duration(k+1)*10*time.Minute), true)
		p.Following, before = append(p.Following, h), h.Hash()
	}
	return p
}

func good(t testing.TB) *Proof { return proofOf(t, rawTx(Script(digest), change), 21, 13, 5) }

func encode(t testing.TB, p *Proof) []byte {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pinTip trusts nothing but the last header of the proof, at its height.
func pinTip(p *Proof) Params {
	tip := p.Header.Hash()
	if n := len(p.Following); n > 0 {
		tip = p.Following[n-1].Hash()
	}
	return Params{Network: Regtest, Blocks: []Block{{Hash: tip.String(), Height: p.Height + uint64(len(p.Following))}}, PinnedOnly: true}
}

func unhexed(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
