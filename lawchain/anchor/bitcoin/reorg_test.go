package bitcoin

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// feed gives the blocks of a node from a height on to another, as the network would.
func (b *btcd) feed(from *btcd, first uint64) {
	b.Helper()
	for _, raw := range from.blocks()[first-1:] {
		b.call(nil, "submitblock", raw)
	}
}

// blocks are all blocks of the best chain after the first, in hexadecimal.
func (b *btcd) blocks() (raw []string) {
	b.Helper()
	for h := range b.height() {
		var hash, block string
		b.call(&hash, "getblockhash", h+1)
		b.call(&block, "getblock", hash, 0)
		raw = append(raw, block)
	}
	return raw
}

// TestShortReorg: the block of a confirmed anchor is left, the transaction is mined again in another.
func TestShortReorg(t *testing.T) {
	b := startBTCD(t)
	c := &clock{time.Now()}
	target := b.funded(Options{Final: 4, Now: c.now}, 100_000)
	j := b.to(target, newJob(body), anchor.Confirmed)
	c.at = c.at.Add(50 * time.Hour) // it was signed long ago, but it does not wait in vain: nothing is replaced
	old, err := target.Proved(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	b.call(nil, "invalidateblock", old.Block)
	// The node's chain is shorter than the anchor is high: that is no verdict yet.
	if _, err := target.Advance(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("with a chain that is too short: %v", err)
	}
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("with a chain that is too short: %v", err)
	}
	b.mine(2)
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Corrupt || !strings.Contains(err.Error(), "re-organisation") {
		t.Errorf("the block was left: %v", err)
	}
	if j = b.advance(target, j); j.State != anchor.Submitted || len(j.Proof) != 0 || !strings.Contains(j.Detail, "re-organisation") {
		t.Fatalf("%s, %s", j.State, j.Detail)
	}
	j = b.to(target, j, anchor.Final)
	if n := len(versions(t, j)); n != 1 {
		t.Errorf("%d versions", n)
	}
	now, err := target.Proved(t.Context(), j)
	if err != nil || now.Block == old.Block {
		t.Errorf("%+v, %v", now, err)
	}
	if n := b.commits(target, j.Digest); n != 1 {
		t.Errorf("%d transactions commit to the digest", n)
	}
}

// commits counts the transactions of the best chain and the memory pool that commit to the digest.
func (b *btcd) commits(t *Target, digest vaultmesh.Digest) (n int) {
	for _, tx := range b.history(t) {
		for _, o := range tx.TxOut {
			if bytes.Equal(o.PkScript, spv.Script(digest)) {
				n++
			}
		}
	}
	return n
}

// steal spends the coins of a job's newest transaction by another one, signed with the same key.
func (b *btcd) steal(t *Target, j anchor.Job) {
	b.Helper()
	v := versions(b.T, j)
	tx, err := v[len(v)-1].decode()
	if err != nil {
		b.Fatal(err)
	}
	theft := wire.NewMsgTx(2)
	theft.AddTxIn(wire.NewTxIn(&tx.TxIn[0].PreviousOutPoint, nil, nil))
	value := v[len(v)-1].Values[0]
	theft.AddTxOut(wire.NewTxOut(value-10_000, b.miner.key.script))
	b.send(t, theft, value)
}

// TestDeepReorg: a side chain that is longer than the confirmations of a final anchor, and in which the coin went to
// somebody else. The anchor is reported as lost, and the job given up when the theft is final: no second coin is spent on it.
func TestDeepReorg(t *testing.T) {
	a, b := startBTCD(t), startBTCD(t)
	target := a.funded(Options{Final: 3}, 100_000, 70_000)
	fork := a.height()
	b.feed(a, 1)
	if b.height() != fork {
		t.Fatalf("the second node is at %d of %d", b.height(), fork)
	}
	j := a.to(target, newJob(body), anchor.Final)
	a.mine(2)
	proved, err := target.Proved(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	b.steal(target, j)
	depth := a.height() - fork + 1
	b.mine(int(depth))
	a.feed(b, fork+1)
	if a.height() != fork+depth {
		t.Fatalf("the first node did not follow the longer chain: %d", a.height())
	}
	t.Logf("re-organised %d blocks deep; the anchor had 5 confirmations, 3 are final", depth)
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("a final anchor that vanished: %v", err)
	}
	if j = a.advance(target, j); j.State != anchor.Submitted || !strings.Contains(j.Detail, proved.Block) {
		t.Fatalf("%s, %s", j.State, j.Detail)
	}
	j.Proof = nil
	if j = a.advance(target, j); j.State != anchor.Submitted || !strings.Contains(j.Detail, "in 3 blocks") {
		t.Fatalf("%s, %s", j.State, j.Detail)
	}
	a.mine(2)
	if j = a.advance(target, j); len(versions(t, j)) != 1 {
		t.Fatal("it takes another coin")
	}
	for range 3 {
		a.mine(1)
		j = a.advance(target, j)
	}
	if j.State != anchor.Failed || len(versions(t, j)) != 1 || !strings.Contains(j.Detail, target.Address()) {
		t.Errorf("%s, %s, %d versions", j.State, j.Detail, len(versions(t, j)))
	}
	if n := a.commits(target, j.Digest); n != 0 {
		t.Errorf("%d transactions commit to the digest", n)
	}
}

// TestStolenCoins: the coin is gone before the transaction is sent. The job fails, with the reason, and touches no other coin.
func TestStolenCoins(t *testing.T) {
	b := startBTCD(t)
	target := b.funded(Options{Final: 2}, 90_000, 80_000)
	j := b.advance(target, newJob(body))
	// While the theft is unconfirmed it may still be replaced: no verdict.
	b.steal(target, j)
	if _, err := target.Advance(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "somebody else uses the key") {
		t.Errorf("%v", err)
	}
	b.mine(1)
	for n := 0; n < 5 && j.State == anchor.Queued; n++ {
		j = b.advance(target, j)
		b.mine(1)
	}
	if j.State != anchor.Failed || !strings.Contains(j.Detail, target.Address()) {
		t.Fatalf("%s, %s", j.State, j.Detail)
	}
	if n := b.commits(target, j.Digest); n != 0 {
		t.Errorf("%d transactions commit to the digest", n)
	}
}

// TestNodeAway: a node that is dead, slow or back again.
func TestNodeAway(t *testing.T) {
	b := startBTCD(t)
	target := b.funded(Options{Timeout: 10 * time.Second}, 100_000)
	j := b.to(target, newJob(body), anchor.Confirmed)
	hasty := b.target(Options{Key: target.o.Key, Timeout: 50 * time.Millisecond})
	b.proc.Pause()
	if _, err := hasty.Advance(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("slow: %v", err)
	}
	b.proc.Resume()
	blocks := b.blocks()
	b.proc.Stop()
	got, err := target.Advance(t.Context(), j)
	if vaultmesh.KindOf(err) != vaultmesh.Unavailable || got.State != anchor.Confirmed {
		t.Errorf("dead: %s, %v", got.State, err)
	}
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("dead: %v", err)
	}
	b.proc = b.start() // btcd begins a regression-test chain anew at each start
	if _, err := target.Proved(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "does not reach") {
		t.Errorf("back again, without its chain: %v", err)
	}
	for _, raw := range blocks {
		b.call(nil, "submitblock", raw)
	}
	if _, err := target.Proved(t.Context(), j); err != nil {
		t.Errorf("back again: %v", err)
	}
}

// TestBackInPool: a longer chain without the transaction puts it back into the memory pool. It waits there from then on,
// however long ago it was signed, and is mined without having been replaced.
func TestBackInPool(t *testing.T) {
	a, b := startBTCD(t), startBTCD(t)
	c := &clock{time.Now()}
	target := a.funded(Options{Final: 3, Now: c.now}, 100_000)
	fork := a.height()
	b.feed(a, 1)
	j := a.to(target, newJob(body), anchor.Confirmed)
	b.mine(int(a.height()-fork) + 1)
	a.feed(b, fork+1)
	c.at = c.at.Add(50 * time.Hour)
	if j = a.advance(target, j); j.State != anchor.Submitted {
		t.Fatal(j.State)
	}
	c.at = c.at.Add(time.Hour)
	if j = a.advance(target, j); j.State != anchor.Submitted || !strings.Contains(j.Detail, "waits to be mined") || len(versions(t, j)) != 1 {
		t.Fatalf("%s, %s, %d versions", j.State, j.Detail, len(versions(t, j)))
	}
	if j = a.to(target, j, anchor.Final); len(versions(t, j)) != 1 || a.commits(target, j.Digest) != 1 {
		t.Errorf("%d versions", len(versions(t, j)))
	}
}
