package bitcoin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/test/peers"
)

// btcd is one node on a regression-test network of its own, and a miner whose key is known.
type btcd struct {
	*testing.T
	rpc   *rpc
	proc  *peers.Process
	url   string
	dir   string
	creds string
	miner *Target // owns what is mined
	start func() *peers.Process
}

// startBTCD starts a node that is connected to no other.
func startBTCD(t *testing.T) *btcd {
	t.Helper()
	bin := peers.Btcd(t)
	b := &btcd{T: t, dir: t.TempDir()}
	b.creds = b.write("rpc", "anchor:secret-of-the-node\n", 0o600)
	text, payee, err := GenerateKey(spv.Regtest, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rpcAddr := fmt.Sprintf("127.0.0.1:%d", peers.Port(t))
	p2p := fmt.Sprintf("127.0.0.1:%d", peers.Port(t))
	b.url = "http://" + rpcAddr
	b.miner = b.target(Options{Key: b.write("miner", text, 0o600), MaxFee: 1_000_000})
	b.rpc = b.miner.node.rpc
	b.start = func() *peers.Process {
		return peers.Start(t, exec.Command(bin, "--regtest", "--notls", "--txindex", "--addrindex", "--nodnsseed", "--configfile="+b.write("btcd.conf", "", 0o600),
			"--datadir="+filepath.Join(b.dir, "data"), "--logdir="+filepath.Join(b.dir, "log"), "--rpclisten="+rpcAddr, "--listen="+p2p,
			"--rpcuser=anchor", "--rpcpass=secret-of-the-node", "--miningaddr="+payee), func(ctx context.Context) error {
			return b.rpc.call(ctx, nil, maxReply, "getblockcount")
		})
	}
	b.proc = b.start()
	return b
}

func (b *btcd) write(name, text string, mode os.FileMode) string {
	b.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.Fatal(err)
	}
	return path
}

func (b *btcd) call(out any, method string, params ...any) {
	b.Helper()
	if err := b.rpc.call(b.Context(), out, maxBulkReply, method, params...); err != nil {
		b.Fatalf("%s: %v", method, err)
	}
}

func (b *btcd) mine(n int) (blocks []string) {
	b.Helper()
	b.call(&blocks, "generate", n)
	return blocks
}

func (b *btcd) height() (h uint64) {
	b.Helper()
	b.call(&h, "getblockcount")
	return h
}

// target makes a target on this node with the options that matter, and a new key where none is named.
func (b *btcd) target(o Options) *Target {
	b.Helper()
	o.Network = spv.Regtest
	if o.URL == "" {
		o.URL = b.url
	}
	if o.Credentials == "" {
		o.Credentials = b.creds
	}
	if o.Key == "" {
		text, _, err := GenerateKey(spv.Regtest, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		o.Key = b.write(fmt.Sprintf("key-%s", vaultmesh.Sum([]byte(text)).String()[7:15]), text, 0o600)
	}
	t, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(t.Close)
	return t
}

// funded makes a target whose key has confirmed coins of the given values.
func (b *btcd) funded(o Options, values ...int64) *Target {
	b.Helper()
	t := b.target(o)
	b.pay(t.Address(), values...)
	b.mine(1)
	return t
}

// pay sends coins from the miner, unconfirmed.
func (b *btcd) pay(to string, values ...int64) {
	b.Helper()
	if b.height() < 101 {
		b.mine(110)
	}
	script := b.scriptOf(to)
	coins, err := b.miner.walkCoins(b.Context(), func(int) int64 { return 1 })
	if err != nil || len(coins) == 0 {
		b.Fatalf("the miner has no coins: %v", err)
	}
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&coins[0].out, nil, nil))
	left := coins[0].value - 10_000
	for _, v := range values {
		tx.AddTxOut(wire.NewTxOut(v, script))
		left -= v
	}
	tx.AddTxOut(wire.NewTxOut(left, b.miner.key.script))
	b.send(b.miner, tx, coins[0].value)
}

// send signs a transaction of one input with the target's key and sends it.
func (b *btcd) send(t *Target, tx *wire.MsgTx, value int64) {
	b.Helper()
	b.call(nil, "sendrawtransaction", b.signed(t, tx, value))
}

func (b *btcd) signed(t *Target, tx *wire.MsgTx, value int64) string {
	b.Helper()
	fetcher := txscript.NewCannedPrevOutputFetcher(t.key.script, value)
	witness, err := txscript.WitnessSignature(tx, txscript.NewTxSigHashes(tx, fetcher), 0, value, t.key.script, txscript.SigHashAll, t.key.private, true)
	if err != nil {
		b.Fatal(err)
	}
	tx.TxIn[0].Witness = witness
	var raw bytes.Buffer
	if err := tx.Serialize(&raw); err != nil {
		b.Fatal(err)
	}
	return hex.EncodeToString(raw.Bytes())
}

func (b *btcd) scriptOf(to string) []byte {
	b.Helper()
	a, err := address.DecodeAddress(to, networks[spv.Regtest])
	if err != nil {
		b.Fatal(err)
	}
	script, err := txscript.PayToAddrScript(a)
	if err != nil {
		b.Fatal(err)
	}
	return script
}

// history is how many transactions of the target's key the node knows.
func (b *btcd) history(t *Target) []*wire.MsgTx {
	b.Helper()
	txs, err := t.page(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	return txs
}

// newJob is a job about a checkpoint.
func newJob(body string) anchor.Job {
	return anchor.Job{ID: "bitcoin@7", Target: "bitcoin", Kind: "bitcoin", Size: 7, Digest: vaultmesh.Sum([]byte(body)), State: anchor.Queued}
}

// stored is what a job looks like after it was stored and read again.
func stored(t testing.TB, j anchor.Job) anchor.Job {
	t.Helper()
	raw, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var out anchor.Job
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// advance takes one step that must not fail, and has every claim of an anchor proved, as the framework does.
func (b *btcd) advance(t *Target, j anchor.Job) anchor.Job {
	b.Helper()
	next, err := t.Advance(b.Context(), stored(b.T, j))
	if err != nil {
		b.Fatalf("%s: %v", j.State, err)
	}
	if next.State.Anchored() && next.State != j.State {
		if _, err := t.Proved(b.Context(), next); err != nil {
			b.Fatalf("it says %s and cannot prove it: %v", next.State, err)
		}
	}
	if len(next.Memo) > 64<<10 {
		b.Fatalf("a memo of %d bytes", len(next.Memo))
	}
	return next
}

// to takes steps until the state is reached, mining a block where nothing moves.
func (b *btcd) to(t *Target, j anchor.Job, state anchor.State) anchor.Job {
	b.Helper()
	for range 60 {
		next := b.advance(t, j)
		if next.State == state {
			return next
		}
		if next.State == j.State && bytes.Equal(next.Memo, j.Memo) {
			b.mine(1)
		}
		j = next
	}
	b.Fatalf("it never becomes %s: %s, %s", state, j.State, j.Detail)
	return j
}

// clock is a clock that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }
