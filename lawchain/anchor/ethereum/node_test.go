package ethereum

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// The whole way on a real node: the contract, an anchor among other transactions, confirmed, final, and what it cost.
func TestAnvil(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	before := c.balance(target.Account())
	c.noise(20, target.o.Contract)
	j := newJob("anvil")
	j = c.must(target, j, anchor.Queued)
	if m := memoOf(t, j); len(m.Signed) != 1 || m.Sent != 0 || j.Fee == "" {
		t.Fatalf("%+v fee %q", m, j.Fee)
	}
	most, _ := new(big.Int).SetString(j.Fee, 10)
	j = c.must(target, j, anchor.Submitted)
	j = c.must(target, j, anchor.Submitted) // not mined
	c.noise(10, target.o.Contract)
	c.mine(1)
	j = c.must(target, j, anchor.Submitted) // one confirmation of two
	if !strings.Contains(j.Detail, "1 of 2") {
		t.Errorf("detail %q", j.Detail)
	}
	c.mine(1)
	j = c.must(target, j, anchor.Confirmed)
	paid := new(big.Int).Sub(before, c.balance(target.Account()))
	if j.Fee != paid.String() || paid.Cmp(most) > 0 {
		t.Errorf("the fee is said to be %s, it was %s of %s", j.Fee, paid, most)
	}
	p, err := eth.Decode(j.Proof)
	if err != nil {
		t.Fatal(err)
	}
	h, err := eth.ReadHeader(p.Header)
	if err != nil || h.Number != j.Height || h.Hash.String() != j.Block || j.Source != "eip155:31337" || !j.Proved.Equal(time.Unix(int64(h.Time), 0)) {
		t.Errorf("%+v %v: %+v", h, err, j)
	}
	t.Logf("block %d, %d nodes, proof of %d bytes, header of %d, fee %s wei", j.Height, len(p.Nodes), len(j.Proof), len(p.Header), paid)
	if len(p.Nodes) < 2 {
		t.Errorf("%d nodes in a block of 31 transactions", len(p.Nodes))
	}
	j = c.must(target, j, anchor.Confirmed)
	c.mine(62)
	j = c.must(target, j, anchor.Final)
	if _, err := target.Proved(t.Context(), j); err != nil {
		t.Error(err)
	}
	bad := j
	bad.Digest = vaultmesh.Sum([]byte("other"))
	if _, err := target.Proved(t.Context(), bad); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a proof of another digest: %v", err)
	}
	// The auditor's way: pin the newest block, and extend the proof up to it.
	longer, pinned, err := Extend(t.Context(), target.o, j.Proof, c.head())
	if err != nil {
		t.Fatal(err)
	}
	params := target.params(pinned)
	r, err := eth.Verify(longer, j.Digest, params)
	if err != nil || r.Descendants != int(c.head()-j.Height) || r.Height != j.Height {
		t.Errorf("%+v %v", r, err)
	}
	if pins, err := Pin(t.Context(), target.o, j.Proof, longer); err != nil || len(pins) != 2 || pins[0] != h.Hash || pins[1] != h.Hash {
		t.Errorf("%v %v", pins, err)
	}
	a, err := Look(t.Context(), target.o)
	if err != nil || a.Address != target.Account() || a.Balance.Cmp(c.balance(a.Address)) != 0 || a.Nonce != 2 || a.Pending != 0 || a.BaseFee == 0 {
		t.Errorf("%+v %v", a, err)
	}
	independent(t, j.Proof, j.Digest, target.o.Contract)
}

// Another implementation: other block fields, no eth_getBlockReceipts.
func TestGanache(t *testing.T) {
	c := ganache(t)
	target := c.deploy()
	j := newJob("ganache")
	j = c.must(target, j, anchor.Queued)
	j = c.must(target, j, anchor.Submitted)
	c.mine(3)
	j = c.must(target, j, anchor.Confirmed)
	c.mine(63)
	j = c.must(target, j, anchor.Final)
	if p, err := eth.Decode(j.Proof); err != nil || p.ChainID != 31337 {
		t.Errorf("%+v %v", p, err)
	}
	independent(t, j.Proof, j.Digest, target.o.Contract)
}

// Headers and receipts of every fork that the node knows hash to what it says.
func TestForks(t *testing.T) {
	for _, fork := range []string{"shanghai", "cancun", "prague", "osaka"} {
		t.Run(fork, func(t *testing.T) {
			c := anvil(t, "--hardfork", fork)
			target := c.deploy()
			j := c.must(target, newJob(fork), anchor.Queued)
			j = c.must(target, j, anchor.Submitted)
			c.mine(2)
			c.must(target, j, anchor.Confirmed)
		})
	}
}

// A re-organisation takes a confirmed anchor back; the same transaction is sent again and anchors in another block.
func TestReorg(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	c.mine(5)
	j := c.must(target, newJob("reorg"), anchor.Queued)
	j = c.must(target, j, anchor.Submitted)
	c.mine(3)
	j = c.must(target, j, anchor.Confirmed)
	was, first := j.Block, memoOf(t, j).Signed[0].Hash
	c.do(nil, "anvil_reorg", 4, []any{}) // deeper than the two confirmations
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a proof of a block that is gone: %v", err)
	}
	j = c.must(target, j, anchor.Submitted)
	if len(j.Proof) != 0 || !strings.Contains(j.Detail, "re-organisation") {
		t.Errorf("%q, a proof of %d bytes", j.Detail, len(j.Proof))
	}
	c.now = c.now.Add(2 * time.Minute)
	j = c.must(target, j, anchor.Submitted) // sent again
	c.mine(2)
	j = c.must(target, j, anchor.Confirmed)
	if m := memoOf(t, j); j.Block == was || len(m.Signed) != 1 || m.Signed[0].Hash != first {
		t.Errorf("block %s after %s, %d transactions", j.Block, was, len(m.Signed))
	}
	// Deeper than final: nobody takes a step any more, and looking again says so.
	c.mine(64)
	j = c.must(target, j, anchor.Final)
	c.do(nil, "anvil_reorg", 67, []any{})
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a final anchor that is gone: %v", err)
	}
	// The chain is shorter than the anchor's block: the node may be catching up, so there is no verdict.
	c.do(nil, "anvil_rollback", 70-4)
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("a final anchor beyond the chain: %v", err)
	}
	j.State = anchor.Confirmed
	if out, err := c.advance(target, j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || out.State != anchor.Confirmed {
		t.Errorf("a confirmed anchor beyond the chain: %s %v", out.State, err)
	}
}

// The finalized tag rather than a depth.
func TestFinalizedTag(t *testing.T) {
	c := anvil(t, "--slots-in-an-epoch", "4")
	target := c.deploy(func(o *Options) { o.FinalizedTag = true })
	j := c.must(target, newJob("finalized"), anchor.Queued)
	j = c.must(target, j, anchor.Submitted)
	c.mine(2)
	j = c.must(target, j, anchor.Confirmed)
	j = c.must(target, j, anchor.Confirmed)
	c.mine(8) // two epochs
	c.must(target, j, anchor.Final)
}

// A transaction that pays too little is replaced by a dearer one with the same nonce; whichever is mined, one is.
func TestReplaced(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	j := c.must(target, newJob("stuck"), anchor.Queued)
	j = c.must(target, j, anchor.Submitted)
	c.do(nil, "anvil_setNextBlockBaseFeePerGas", quantity(20e9))
	c.mine(1)
	j = c.must(target, j, anchor.Submitted)
	c.now = c.now.Add(6 * time.Minute)
	j = c.must(target, j, anchor.Submitted)
	m := memoOf(t, j)
	if len(m.Signed) != 2 || m.Sent != 1 {
		t.Fatalf("%d signed, %d sent", len(m.Signed), m.Sent)
	}
	j = c.must(target, j, anchor.Submitted) // sends it
	c.mine(2)
	c.must(target, j, anchor.Confirmed)
	var nonce quantity
	c.do(&nonce, "eth_getTransactionCount", target.Account(), "latest")
	if uint64(nonce) != m.Nonce+1 {
		t.Errorf("%d transactions were paid", uint64(nonce)-m.Nonce)
	}
	// Gas beyond the caps: nothing is signed at first, and nothing dearer later.
	c.do(nil, "anvil_setNextBlockBaseFeePerGas", quantity(200e9))
	c.mine(1)
	waiting := c.must(target, newJob("dear"), anchor.Queued)
	if len(waiting.Memo) != 0 || !strings.Contains(waiting.Detail, "too dear") || !waiting.NotBefore.After(c.now) {
		t.Errorf("%+v", waiting)
	}
}

// twice asks the node of the chain as two, so that what they say of a foreign transaction counts as proved.
func (c *chain) twice(o *Options) {
	o.Endpoints, o.Agree = []Endpoint{{Name: "a", URL: c.url}, {Name: "b", URL: c.url}}, 2
}

// A foreign transaction with the nonce, which the nodes name: nothing is signed anew before it is deep, and then once.
func TestForeignNonce(t *testing.T) {
	c := anvil(t)
	target := c.deploy(func(o *Options) { o.FinalDepth = 8; c.twice(o) })
	c.do(nil, "evm_setAutomine", false)
	j := c.must(target, newJob("foreign"), anchor.Queued)
	c.do(nil, "eth_sendTransaction", map[string]any{"from": target.Account(), "to": target.Account(), "gasPrice": quantity(50e9)})
	c.mine(1)
	j = c.must(target, j, anchor.Submitted) // "nonce too low"
	j = c.must(target, j, anchor.Submitted)
	if !strings.Contains(j.Detail, "another transaction") {
		t.Errorf("detail %q", j.Detail)
	}
	first := memoOf(t, j)
	c.mine(8)
	j = c.must(target, j, anchor.Queued)
	if m := memoOf(t, j); len(m.Signed) != 0 || m.Lost != 1 {
		t.Errorf("%+v", m)
	}
	j = c.must(target, j, anchor.Queued)
	if m := memoOf(t, j); m.Nonce != first.Nonce+1 || m.Lost != 1 {
		t.Errorf("nonce %d after %d", m.Nonce, first.Nonce)
	}
	j = c.must(target, j, anchor.Submitted)
	c.mine(2)
	c.must(target, j, anchor.Confirmed)
}

// A crash between signing and sending, and between sending and storing, pays once.
func TestCrash(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	var start quantity
	c.do(&start, "eth_getTransactionCount", target.Account(), "latest")
	queued := newJob("crash")
	// Signed, and the result lost: it is signed anew, to the same bytes, since signing has no chance in it.
	lost := c.must(target, queued, anchor.Queued)
	stored := c.must(target, queued, anchor.Queued)
	if !bytes.Equal(memoOf(t, lost).Signed[0].Raw, memoOf(t, stored).Signed[0].Raw) {
		t.Error("the same job is signed in two ways")
	}
	// Sent, and the result lost, three times over, by processes that know nothing of each other.
	for range 3 {
		again, err := New(target.o)
		if err != nil {
			t.Fatal(err)
		}
		c.must(again, stored, anchor.Submitted)
	}
	c.mine(1)
	// Sent once more after it is mined.
	j := c.must(target, stored, anchor.Submitted)
	c.mine(1)
	confirmed := c.must(target, j, anchor.Confirmed)
	// Confirmed, and the result lost.
	again := c.must(target, j, anchor.Confirmed)
	if !bytes.Equal(confirmed.Proof, again.Proof) {
		t.Error("two proofs of one anchor")
	}
	var end quantity
	c.do(&end, "eth_getTransactionCount", target.Account(), "latest")
	if end != start+1 {
		t.Errorf("%d transactions were paid", end-start)
	}
}

// Two jobs at once: the second waits for the first; two that signed the same nonce in a crash are both anchored in the end.
func TestTwoJobs(t *testing.T) {
	c := anvil(t)
	target := c.deploy(func(o *Options) { o.FinalDepth = 4; c.twice(o) })
	c.do(nil, "evm_setAutomine", false)
	a, b := newJob("a"), newJob("b")
	a, b = c.must(target, a, anchor.Queued), c.must(target, b, anchor.Queued) // the same nonce
	if memoOf(t, a).Nonce != memoOf(t, b).Nonce {
		t.Fatal("two nonces")
	}
	a = c.must(target, a, anchor.Submitted)
	waiting := c.must(target, newJob("third"), anchor.Queued)
	if len(waiting.Memo) != 0 || !strings.Contains(waiting.Detail, "waits for 1 transaction") {
		t.Errorf("%+v", waiting)
	}
	b = c.must(target, b, anchor.Submitted) // refused as a replacement that pays no more
	c.mine(2)
	a = c.must(target, a, anchor.Confirmed)
	c.mine(4)
	b = c.must(target, b, anchor.Queued)
	b = c.must(target, b, anchor.Queued)
	b = c.must(target, b, anchor.Submitted)
	c.mine(2)
	c.must(target, b, anchor.Confirmed)
	c.must(target, a, anchor.Final)
}

// An empty account, a wrong chain, a missing and a wrong contract: said plainly, and nothing is signed.
func TestRefusals(t *testing.T) {
	c := anvil(t)
	good := c.deploy()
	target := func(change func(*Options)) *Target {
		o := good.o
		change(&o)
		x, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	poor, err := ParseKey("0x" + strings.Repeat("01", 32))
	if err != nil {
		t.Fatal(err)
	}
	var fake eth.Address
	copy(fake[:], "a contract that lies")
	c.do(nil, "anvil_setCode", fake, data(append(bytes.Clone(runtime), 0)))
	for _, x := range []struct {
		name   string
		target *Target
		kind   vaultmesh.Kind
		want   string
	}{
		{"no money", target(func(o *Options) { o.Key = poor }), vaultmesh.Unavailable, "insufficient funds"},
		{"no contract", target(func(o *Options) { o.Contract = eth.Address{1} }), vaultmesh.Invalid, "no contract"},
		{"another contract", target(func(o *Options) { o.Contract = fake }), vaultmesh.Invalid, "not the contract's"},
		{"another chain", target(func(o *Options) { o.ChainID = 1 }), vaultmesh.Unavailable, "on chain 31337, configured is 1"},
	} {
		j, err := c.advance(x.target, newJob(x.name))
		if vaultmesh.KindOf(err) != x.kind || !strings.Contains(err.Error(), x.want) || len(j.Memo) != 0 {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if d, err := Deploy(t.Context(), Options{ChainID: 31337, Key: poor, Endpoints: good.o.Endpoints, Fees: good.o.Fees, Logger: quiet()}, nil); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("deployed without money: %+v %v", d, err)
	}
}

// A transaction that runs out of gas is in a block and anchors nothing: the job fails, and says so.
func TestReverted(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	before := c.balance(target.Account())
	j := c.must(target, newJob("reverted"), anchor.Queued)
	m := memoOf(t, j)
	maxFee, tip, err := m.newest().offer()
	if err != nil {
		t.Fatal(err)
	}
	// 31 bytes are no digest: the contract reverts.
	tx := transaction{chain: 31337, nonce: m.Nonce, tip: tip, maxFee: maxFee, gas: 50_000, to: &target.o.Contract, input: make([]byte, 31)}
	m.Signed = nil
	raw, id := tx.sign(target.o.Key)
	m.Signed = append(m.Signed, signed{Raw: raw, Hash: id, MaxFee: maxFee.String(), Tip: tip.String(), Gas: 50_000})
	if j.Memo, err = m.encode(); err != nil {
		t.Fatal(err)
	}
	j = c.must(target, j, anchor.Submitted)
	c.mine(2)
	j = c.must(target, j, anchor.Failed)
	if paid := new(big.Int).Sub(before, c.balance(target.Account())); !strings.Contains(j.Detail, "reverted") || len(j.Proof) != 0 || j.Fee != paid.String() {
		t.Errorf("%+v, paid %s", j, paid)
	}
}

// The contract takes 32 bytes without money and nothing else, and everybody may call it.
func TestContract(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	var accounts []eth.Address
	c.do(&accounts, "eth_accounts")
	call := func(input []byte, value uint64) error {
		return c.call(t.Context(), nil, smallReply, "eth_call", map[string]any{"from": accounts[3], "to": target.o.Contract, "data": data(input), "value": quantity(value)}, "latest")
	}
	if err := call(make([]byte, 32), 0); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{"31 bytes": call(make([]byte, 31), 0), "33 bytes": call(make([]byte, 33), 0), "64 bytes": call(make([]byte, 64), 0), "nothing": call(nil, 0), "money": call(make([]byte, 32), 1)} {
		if refusal(err) == nil {
			t.Errorf("%s is taken: %v", name, err)
		}
	}
	j := c.must(target, newJob("gas"), anchor.Queued)
	j = c.must(target, j, anchor.Submitted)
	c.mine(1)
	var r receipt
	var used struct {
		Gas quantity `json:"gasUsed"`
	}
	id := memoOf(t, j).Signed[0].Hash
	c.do(&r, "eth_getTransactionReceipt", id)
	c.do(&used, "eth_getTransactionReceipt", id)
	var first struct {
		Transactions []hash `json:"transactions"`
	}
	var deployed struct {
		Gas quantity `json:"gasUsed"`
	}
	c.do(&first, "eth_getBlockByNumber", "0x1", false)
	c.do(&deployed, "eth_getTransactionReceipt", eth.Hash(first.Transactions[0]))
	t.Logf("an anchor costs %d gas, the contract %d once", uint64(used.Gas), uint64(deployed.Gas))
	if log, ok := r.event(target.o.Contract, j.Digest); !ok || log != 0 || used.Gas > 24_000 {
		t.Fatalf("%+v, gas %d", r, used.Gas)
	}
	if !bytes.Equal(r.Logs[0].Topics[1][12:], target.o.Key.address()) {
		t.Errorf("the event is of %x", r.Logs[0].Topics[1])
	}
}

func (k *Key) address() []byte { a := k.Address(); return a[:] }
