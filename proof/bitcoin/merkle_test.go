package bitcoin

import (
	"bytes"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// TestKnownBlock checks tree and header against block 100,000 of the main network.
func TestKnownBlock(t *testing.T) {
	var ids []Hash
	for _, s := range []string{
		"8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87", "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
		"6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4", "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d"} {
		h, err := ParseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, h)
	}
	for i := range ids {
		branch, root, err := Branch(ids, uint32(i))
		if err != nil || root.String() != "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766" {
			t.Fatalf("root %s, %v", root, err)
		}
		if folded, err := Fold(ids[i], uint32(i), branch); err != nil || folded != root {
			t.Errorf("transaction %d: %s, %v", i, folded, err)
		}
	}
	h := Header(unhexed(t, "0100000050120119172a610421a6c3011dd330d9df07b63616c2cc1f1cd00200000000006657a9252aacd5c0b2940996ecff952228c3067cc38d4885efb5a4ac4247e9f337221b4d4c86041b0f2b5710"))
	if got := h.Hash().String(); got != "000000000003ba27aa200b1cecaad478d2b00432346c3f1f3986da1afd33e506" {
		t.Errorf("hash %s", got)
	}
	limit, err := expand(0x1d00ffff)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.checkWork(h.Hash(), limit); err != nil {
		t.Error(err)
	}
	h[79]++
	if err := h.checkWork(h.Hash(), limit); err == nil {
		t.Error("work is found under another nonce")
	}
}

// TestNetworks compares the limits with those of the library that btcd uses.
func TestNetworks(t *testing.T) {
	for _, p := range []chaincfg.Params{chaincfg.MainNetParams, chaincfg.TestNet4Params, chaincfg.SigNetParams, chaincfg.RegressionNetParams} {
		bits, ok := easiest[p.Name]
		if !ok {
			t.Errorf("no limit for %s", p.Name)
		}
		got, err := expand(uint32(bits))
		if err != nil {
			t.Fatal(err)
		}
		limit, err := expand(p.PowLimitBits)
		if err != nil || bytes.Compare(got[:], limit[:]) > 0 || p.Name != Mainnet && got != limit {
			t.Errorf("%s: %08x, the network's limit is %08x (%v)", p.Name, uint32(bits), p.PowLimitBits, err)
		}
		var b bytes.Buffer
		if err := p.GenesisBlock.Header.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		h := Header(b.Bytes())
		if h.Hash().String() != p.GenesisHash.String() || h.checkWork(h.Hash(), limit) != nil || !h.Time().Equal(p.GenesisBlock.Header.Timestamp) || h.Root().String() != p.GenesisBlock.Header.MerkleRoot.String() {
			t.Errorf("%s: the genesis block's header is read otherwise than the library reads it", p.Name)
		}
	}
}

// TestBranches proves every transaction of blocks of all small sizes, and no transaction at another index.
func TestBranches(t *testing.T) {
	for n := 1; n <= 34; n++ {
		ids := make([]Hash, n)
		for i := range ids {
			ids[i] = Sum2([]byte{byte(n), byte(i)})
		}
		for i := range ids {
			branch, root, err := Branch(ids, uint32(i))
			if err != nil {
				t.Fatal(err)
			}
			for at := range uint32(1) << len(branch) {
				got, err := Fold(ids[i], at, branch)
				if holds := err == nil && got == root; holds != (at == uint32(i)) {
					t.Fatalf("transaction %d of %d at index %d: %v", i, n, at, holds)
				}
			}
		}
	}
	if _, _, err := Branch(nil, 0); err == nil {
		t.Error("a branch in an empty block")
	}
}

// TestRepeatedEnd is CVE-2012-2459: blocks [1 2 3] and [1 2 3 3] have one root.
func TestRepeatedEnd(t *testing.T) {
	a, b, c := Hash{1}, Hash{2}, Hash{3}
	branch, root, err := Branch([]Hash{a, b, c, c}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, honest, _ := Branch([]Hash{a, b, c}, 2); honest != root {
		t.Fatal("the two blocks should have one root")
	}
	if _, err := Fold(c, 3, branch); err == nil || !strings.Contains(err.Error(), "CVE-2012-2459") {
		t.Errorf("the repeated transaction has a proof: %v", err)
	}
	// A left node that is the last of its level cannot have a right neighbour further up.
	if _, err := Fold(a, 0, []Hash{a, b}); err == nil || !strings.Contains(err.Error(), "CVE-2012-2459") {
		t.Errorf("a tree that cannot be: %v", err)
	}
}

// tx64 is a transaction of 64 bytes: the form that an inner node could have.
func tx64() []byte {
	raw := rawTx([]byte{0x51, 0x51, 0x51, 0x51})
	if len(raw) != 64 {
		panic(len(raw))
	}
	return raw
}

// TestInnerNodeAsTransaction: the right half of a real transaction of 64 bytes is the hash of a forged one.
func TestInnerNodeAsTransaction(t *testing.T) {
	node := tx64()
	if _, err := Fold(Hash(node[32:]), 1, []Hash{Hash(node[:32])}); err == nil || !strings.Contains(err.Error(), "64 bytes") {
		t.Errorf("%v", err)
	}
}

// sameAsLibrary compares our reading of a transaction with the library's.
func sameAsLibrary(t *testing.T, raw []byte) {
	t.Helper()
	ours, err := parseTx(raw)
	if err != nil {
		return
	}
	var msg wire.MsgTx
	if err := msg.DeserializeNoWitness(bytes.NewReader(raw)); err != nil {
		t.Fatalf("%x: we accept it, the library says %v", raw, err)
	}
	var again bytes.Buffer
	if err := msg.SerializeNoWitness(&again); err != nil || !bytes.Equal(again.Bytes(), raw) {
		t.Fatalf("%x: the library writes %x, %v", raw, again.Bytes(), err)
	}
	if msg.TxHash().String() != Sum2(raw).String() || len(msg.TxOut) != len(ours.scripts) {
		t.Fatalf("%x: read otherwise", raw)
	}
	for i, o := range msg.TxOut {
		if s := ours.scripts[i]; !bytes.Equal(o.PkScript, raw[s[0]:s[1]]) {
			t.Fatalf("%x: output %d", raw, i)
		}
	}
}

func TestTransactionForms(t *testing.T) {
	long := append([]byte{opReturn}, make([]byte, 300)...)
	raw := rawTx(Script(digest), change)
	big := bytes.Replace(rawTx(long[:1]), []byte{1, opReturn}, append([]byte{0xfd, 0x2d, 0x01}, long...), 1)
	for _, good := range [][]byte{raw, big} {
		if _, err := parseTx(good); err != nil {
			t.Errorf("%x: %v", good, err)
		}
		sameAsLibrary(t, good)
		for n := range good {
			if _, err := parseTx(good[:n]); err == nil {
				t.Fatalf("cut to %d bytes: accepted", n)
			}
		}
	}
	for name, bad := range map[string][]byte{
		"length longer than needed": bytes.Replace(raw, append([]byte{34}, Script(digest)...), append([]byte{0xfd, 34, 0}, Script(digest)...), 1),
		"length of 4 bytes":         bytes.Replace(raw, append([]byte{34}, Script(digest)...), append([]byte{0xfe, 34, 0, 0, 0}, Script(digest)...), 1),
		"more than all money":       bytes.Replace(raw, []byte{0xe8, 3, 0, 0, 0, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 1),
		"no input":                  append([]byte{2, 0, 0, 0, 0}, raw[46:]...),
		"too long":                  make([]byte, MaxTx+1),
	} {
		if _, err := parseTx(bad); err == nil || bytes.Equal(bad, raw) {
			t.Errorf("%s: accepted", name)
		}
	}
}
