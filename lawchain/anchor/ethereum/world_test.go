package ethereum

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/test/peers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// The first account of every development node: its key is public knowledge.
const devKey = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"

func testKey(t testing.TB) *Key {
	t.Helper()
	k, err := ParseKey(devKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// chain is a foreign node under test's control.
type chain struct {
	testing.TB
	*client
	url string
	now time.Time // the clock of targets, moved by the test
}

func newChain(t testing.TB, url string) *chain {
	t.Helper()
	c, err := newClient(Endpoint{Name: "node", URL: url}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &chain{TB: t, client: c, url: url, now: time.Now()}
}

// do calls the node and fails the test where it refuses.
func (c *chain) do(result any, method string, params ...any) {
	c.Helper()
	if err := c.call(c.Context(), result, largeReply, method, params...); err != nil {
		c.Fatal(err)
	}
}

// mine makes blocks.
func (c *chain) mine(n int) {
	c.Helper()
	for range n {
		c.do(nil, "evm_mine")
	}
}

func (c *chain) head() uint64 {
	c.Helper()
	var n quantity
	c.do(&n, "eth_blockNumber")
	return uint64(n)
}

// serve starts a node and waits until it answers.
func serve(t testing.TB, cmd *exec.Cmd, port int) *chain {
	t.Helper()
	c := newChain(t, fmt.Sprintf("http://127.0.0.1:%d", port))
	peers.Start(t, cmd, func(ctx context.Context) error {
		var id quantity
		return c.call(ctx, &id, smallReply, "eth_chainId")
	})
	return c
}

// anvil starts foundry's node. Blocks are made when a transaction comes, unless args say otherwise.
func anvil(t testing.TB, args ...string) *chain {
	t.Helper()
	bin := peers.Anvil(t)
	port := peers.Port(t)
	return serve(t, exec.Command(bin, append([]string{"--host", "127.0.0.1", "--port", fmt.Sprint(port), "--chain-id", "31337", "--mnemonic", "test test test test test test test test test test test junk"}, args...)...), port)
}

// ganache starts another one, in JavaScript.
func ganache(t testing.TB) *chain {
	t.Helper()
	dir := peers.Ganache(t)
	port := peers.Port(t)
	return serve(t, exec.Command("node", filepath.Join(dir, "node_modules", "ganache", "dist", "node", "cli.js"), "--server.host", "127.0.0.1", "--server.port", fmt.Sprint(port),
		"--chain.chainId", "31337", "--wallet.mnemonic", "test test test test test test test test test test test junk"), port)
}

func gwei(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e9)) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// options of a target on the chain.
func (c *chain) options() Options {
	return Options{ChainID: 31337, Key: testKey(c), Endpoints: []Endpoint{{URL: c.url}}, Fees: Fees{MaxFeePerGas: gwei(100), MaxPerDay: gwei(1e9)}, Now: func() time.Time { return c.now }, Logger: quiet()}
}

// deploy makes the contract and a target for it.
func (c *chain) deploy(change ...func(*Options)) *Target {
	c.Helper()
	o := c.options()
	o.Confirmations = 1
	d, err := Deploy(c.Context(), o, nil)
	if err != nil {
		c.Fatal(err)
	}
	o = c.options()
	o.Contract = d.Contract
	for _, f := range change {
		f(&o)
	}
	t, err := New(o)
	if err != nil {
		c.Fatal(err)
	}
	return t
}

func newJob(name string) anchor.Job {
	return anchor.Job{ID: name, Target: "ethereum", Digest: vaultmesh.Sum([]byte(name)), State: anchor.Queued}
}

// advance takes one step as the engine does: what is stored is what is read again, and nothing is anchored without proof.
func (c *chain) advance(t *Target, j anchor.Job) (anchor.Job, error) {
	c.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		c.Fatal(err)
	}
	var stored anchor.Job
	if err := json.Unmarshal(text, &stored); err != nil {
		c.Fatal(err)
	}
	out, err := t.Advance(c.Context(), stored)
	if err != nil {
		return j, err
	}
	if out.State.Anchored() && !j.State.Anchored() {
		p, err := t.Proved(c.Context(), out)
		if err != nil {
			c.Fatalf("confirmed without proof: %v", err)
		}
		out.Proved, out.Height, out.Block, out.Source = p.Time, p.Height, p.Block, p.Source
	}
	return out, nil
}

// must takes a step and wants a state.
func (c *chain) must(t *Target, j anchor.Job, want anchor.State) anchor.Job {
	c.Helper()
	out, err := c.advance(t, j)
	if err != nil {
		c.Fatal(err)
	}
	if out.State != want {
		c.Fatalf("the job is %s (%s), want %s", out.State, out.Detail, want)
	}
	return out
}

// memoOf opens a job's memo.
func memoOf(t testing.TB, j anchor.Job) *memo {
	t.Helper()
	m, err := readMemo(j.Memo)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// noise sends other transactions from the node's own accounts, of several types, with logs where contract is given.
func (c *chain) noise(n int, contract eth.Address) {
	c.Helper()
	var accounts []eth.Address
	c.do(&accounts, "eth_accounts")
	for i := range n {
		tx := map[string]any{"from": accounts[1+i%8], "to": accounts[9], "value": quantity(1), "gas": quantity(100_000)}
		switch i % 3 {
		case 0:
			tx["gasPrice"] = quantity(3e9)
		case 1:
			d := vaultmesh.Sum([]byte{byte(i)})
			tx["to"], tx["value"], tx["data"] = contract, quantity(0), data(d[:])
			tx["maxFeePerGas"], tx["maxPriorityFeePerGas"] = quantity(3e9), quantity(1e9)
		default:
			tx["gasPrice"], tx["accessList"] = quantity(3e9), []any{}
		}
		c.do(nil, "eth_sendTransaction", tx)
	}
}

// balance of an account.
func (c *chain) balance(a eth.Address) *big.Int {
	c.Helper()
	var w wei
	c.do(&w, "eth_getBalance", a, "latest")
	return &w.Int
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
