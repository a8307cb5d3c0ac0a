package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/lawchain/anchor/bitcoin"
	"vaultmesh.org/vaultmesh/lawchain/anchor/ethereum"
	"vaultmesh.org/vaultmesh/lawchain/anchor/tsa"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/receipt"
	foreign "vaultmesh.org/vaultmesh/test/peers"
)

// authority is a time-stamping authority of a test, and the file with its root.
func authority(t *testing.T) (url, roots string) {
	t.Helper()
	a, err := tsa.NewAuthority(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, a.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, roots
}

// rpc asks a node of a chain.
type rpc struct {
	*testing.T
	url, user, password string
}

func (r rpc) ask(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", r.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(r.user, r.password)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var out struct {
		Result json.RawMessage
		Error  any
	}
	if err := json.Unmarshal(raw, &out); err != nil || out.Error != nil {
		return nil, fmt.Errorf("%s: %v %.200s", method, err, raw)
	}
	return out.Result, nil
}

func (r rpc) must(method string, params ...any) json.RawMessage {
	r.Helper()
	out, err := r.ask(r.Context(), method, params...)
	if err != nil {
		r.Fatal(err)
	}
	return out
}

func secretFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// regtest starts btcd and returns the section of the configuration for it, whose key owns what was mined.
func regtest(t *testing.T) (rpc, BitcoinConfig) {
	t.Helper()
	bin := foreign.Btcd(t)
	key, payee, err := bitcoin.GenerateKey(spv.Regtest, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listen := fmt.Sprintf("127.0.0.1:%d", foreign.Port(t))
	node := rpc{t, "http://" + listen, "anchor", "secret-of-the-node"}
	foreign.Start(t, exec.Command(bin, "--regtest", "--notls", "--txindex", "--addrindex", "--nodnsseed", "--configfile="+secretFile(t, "btcd.conf", ""), "--datadir="+dir, "--logdir="+dir,
		"--rpclisten="+listen, fmt.Sprintf("--listen=127.0.0.1:%d", foreign.Port(t)), "--rpcuser="+node.user, "--rpcpass="+node.password, "--miningaddr="+payee), func(ctx context.Context) error {
		_, err := node.ask(ctx, "getblockcount")
		return err
	})
	node.must("generate", 110)
	return node, BitcoinConfig{URL: node.url, Network: spv.Regtest, Credentials: secretFile(t, "rpc", node.user+":"+node.password+"\n"), Key: secretFile(t, "wif", key), Every: 24 * time.Hour, Confirmations: 1, Final: 3, Poll: 100 * time.Millisecond}
}

// devChain starts anvil with our contract on it and returns the section of the configuration for it.
func devChain(t *testing.T) (rpc, EthereumConfig) {
	t.Helper()
	bin := foreign.Anvil(t)
	port := foreign.Port(t)
	node := rpc{T: t, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	foreign.Start(t, exec.Command(bin, "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--chain-id", "31337"), func(ctx context.Context) error {
		_, err := node.ask(ctx, "eth_chainId")
		return err
	})
	keyPath := filepath.Join(t.TempDir(), "eth.key")
	key, err := ethereum.NewKey(keyPath)
	if err != nil {
		t.Fatal(err)
	}
	node.must("anvil_setBalance", key.Address().String(), "0xde0b6b3a7640000") // 1 ether
	c := AnchorsDefaults().Ethereum
	c.Endpoints, c.ChainID, c.Key, c.Confirm, c.Final = []string{node.url}, 31337, keyPath, 1, "3"
	o, err := c.Options(time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d, err := ethereum.Deploy(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Contract = d.Contract.String()
	return node, c
}

// agentOf is an MCP session of the credential over HTTP.
func agentOf(t *testing.T, n *Node, data, name string) *mcp.ClientSession {
	t.Helper()
	cred := clientOf(t, data, name)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: n.URL() + "/mcp", HTTPClient: cred.HTTP(), DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func toolCall(t *testing.T, s *mcp.ClientSession, name string, args map[string]any) (text string, failed bool) {
	t.Helper()
	r, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		t.Fatal(err)
	}
	return r.Content[0].(*mcp.TextContent).Text, r.IsError
}

// One checkpoint is anchored three ways through multi_anchor: at a time-stamping authority, in Bitcoin (btcd) and in
// Ethereum (anvil). A bundle carries all three, and they verify offline; without the right nobody anchors.
func TestMultiAnchorThreeWays(t *testing.T) {
	bitcoind, bitcoinConfig := regtest(t)
	ether, etherConfig := devChain(t)
	url, roots := authority(t)
	data := t.TempDir()
	c := keyConfig(data)
	c.Grid.Case = "ieee14"
	c.Anchors = AnchorsConfig{RFC3161: []AuthorityConfig{{Name: "one", URL: url, Roots: roots}}, Bitcoin: bitcoinConfig, Ethereum: etherConfig}
	c.Anchors.Bitcoin.Every, c.Anchors.Ethereum.Every = 0, 0 // on demand only
	n := running(t, c)

	if text, failed := toolCall(t, agentOf(t, n, data, DevAgent), "multi_anchor", map[string]any{"idempotency_key": "k"}); !failed || !strings.Contains(text, "denied") {
		t.Fatalf("an agent without the verb anchor: %s", text)
	}
	operator := agentOf(t, n, data, DevOperator)
	args := map[string]any{"idempotency_key": "everywhere-1", "wait_for": "final", "wait_seconds": 1}
	var text string
	for range 60 { // each call looks at what is under way, and one more block is mined
		var failed bool
		if text, failed = toolCall(t, operator, "multi_anchor", args); failed {
			t.Fatal(text)
		}
		if strings.Count(text, ": FINAL") == 3 {
			break
		}
		bitcoind.must("generate", 1)
		ether.must("evm_mine")
	}
	if strings.Count(text, ": FINAL") != 3 || !strings.Contains(text, "3 of 3 anchors are verified") {
		t.Fatal(text)
	}
	t.Log(text)

	client := clientOf(t, data, DevOperator)
	page, err := client.Anchors(t.Context(), anchor.Filter{})
	if err != nil || len(page.Jobs) != 3 || len(page.Targets) != 3 {
		t.Fatalf("%+v %v", page, err)
	}
	size := page.Jobs[0].Size
	for _, j := range page.Jobs {
		if j.Size != size || j.State != anchor.Final || j.By != "operator:ada" {
			t.Errorf("%+v", j)
		}
	}
	proofs := proofsOf(t, client, page.Jobs)

	// The bundle has them all, beside one checkpoint, and the pinned keys and chains are enough to judge it.
	raw, err := client.BundleOf(t.Context(), httpapi.BundleQuery{Scope: receipt.Scope{Subjects: []string{receipt.DomainSubject("dev")}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := receipt.DecodeBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range b.Parts {
		switch { // a stamp is asked for anew where the log has grown meanwhile
		case p.Type == receipt.PartTimestamp, bytes.Equal(p.Data, proofs["bitcoin"]), bytes.Equal(p.Data, proofs["ethereum"]):
			found[p.Type] = true
		}
	}
	if len(found) != 3 {
		t.Errorf("the bundle holds the proofs of %v only", found)
	}
	trust, err := n.trusted() // what the trust file holds a moment later
	if err != nil || len(trust.Ethereum.Blocks) != 1 {
		t.Fatalf("%+v %v", trust, err)
	}
	if report := receipt.Verify(raw, trust); !report.OK {
		t.Fatalf("%+v", report.Failed())
	}
	if text, failed := toolCall(t, operator, "verify", map[string]any{"bundle": string(raw)}); failed || !strings.HasPrefix(text, "VERIFIED") {
		t.Errorf("the node's own verdict: %s", text)
	}
	trust.Ethereum.Blocks[0][0] ^= 1 // then that proof proves nothing, and is no reason to refuse the others
	if report := receipt.Verify(raw, trust); !report.OK || slices.ContainsFunc(report.Anchors, func(a receipt.ProvedAnchor) bool { return a.Kind == receipt.AnchorEthereum }) {
		t.Errorf("a block of Ethereum that is not pinned: ok %v, %+v", report.OK, report.Anchors)
	}
	if report := (receipt.Demand{Anchors: []string{receipt.AnchorEthereum}}).Verify(raw, trust); report.OK {
		t.Error("a bundle is accepted whose block of Ethereum is not pinned, although it is demanded")
	}
}

// proofsOf fetches the proof of each job, by kind.
func proofsOf(t *testing.T, client *httpapi.Client, jobs []anchor.Job) map[string][]byte {
	t.Helper()
	proofs := map[string][]byte{}
	for _, j := range jobs {
		full, err := client.Anchor(t.Context(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		proofs[j.Kind] = full.Proof
	}
	return proofs
}
