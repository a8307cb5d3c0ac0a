package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/test/peers"
)

// ethereumCommand runs `vaultmesh anchor ethereum` with args.
func ethereumCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var c anchorEthereumCmd
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = k.Run(&app{ctx: t.Context(), out: &out, errOut: io.Discard, log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return out.String(), err
}

// The whole preparation on a real node: a key, money for it, the contract, and what an auditor pins.
func TestAnchorEthereum(t *testing.T) {
	bin := peers.Anvil(t)
	url := fmt.Sprintf("http://127.0.0.1:%d", peers.Port(t))
	rpc := func(ctx context.Context, method, params string) (json.RawMessage, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		var a struct{ Result json.RawMessage }
		return a.Result, json.NewDecoder(resp.Body).Decode(&a)
	}
	peers.Start(t, exec.Command(bin, "--host", "127.0.0.1", "--port", url[strings.LastIndex(url, ":")+1:], "--chain-id", "31337", "--slots-in-an-epoch", "1"), func(ctx context.Context) error {
		_, err := rpc(ctx, "eth_chainId", "[]")
		return err
	})
	key := filepath.Join(t.TempDir(), "eth.key")
	out, err := ethereumCommand(t, "key", "--out", key)
	if err != nil || !strings.Contains(out, "0x") {
		t.Fatal(out, err)
	}
	account := strings.Fields(out)[1]
	nodes := []string{"--endpoint", url, "--chain-id", "31337"}
	if out, err := ethereumCommand(t, append([]string{"deploy", "--key", key, "--confirmations", "1"}, nodes...)...); vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "insufficient funds") {
		t.Fatal(out, err)
	}
	if _, err := rpc(t.Context(), "anvil_setBalance", `["`+account+`","0xde0b6b3a7640000"]`); err != nil {
		t.Fatal(err)
	}
	out, err = ethereumCommand(t, append([]string{"deploy", "--key", key, "--confirmations", "1"}, nodes...)...)
	if err != nil || !strings.Contains(out, "its code is right") {
		t.Fatal(out, err)
	}
	contract := strings.Trim(out[strings.LastIndex(out, "0x"):], "\"\n")
	out, err = ethereumCommand(t, append([]string{"account", "--key", key, "--contract", contract}, nodes...)...)
	if err != nil || !strings.Contains(out, "has the right code") || !strings.Contains(out, account) {
		t.Fatal(out, err)
	}
	if _, err := ethereumCommand(t, append([]string{"account", "--key", key, "--contract", account}, nodes...)...); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("an account is a contract: %v", err)
	}
	// A recorded proof is of another chain's block 2: the node has another one there, so it is not pinned.
	if _, err := rpc(t.Context(), "anvil_mine", `["0x5"]`); err != nil {
		t.Fatal(err)
	}
	recorded := filepath.Join("..", "..", "proof", "ethereum", "testdata", "anvil.json")
	if out, err := ethereumCommand(t, append([]string{"pin", recorded, "--contract", contract}, nodes...)...); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("%s %v", out, err)
	}
	if out, err := ethereumCommand(t, append([]string{"extend", recorded, "--out", key + ".json"}, nodes...)...); err == nil {
		t.Errorf("extended: %s", out)
	}
	for name, args := range map[string][]string{
		"http to another machine": {"account", "--key", key, "--chain-id", "1", "--endpoint", "http://198.51.100.1:8545"},
		"no chain":                {"account", "--key", key, "--chain-id", "0", "--endpoint", url},
		"no such key":             {"account", "--key", key + "x", "--chain-id", "1", "--endpoint", url},
		"no unit":                 append([]string{"deploy", "--key", key, "--max-fee-per-gas", "30"}, nodes...),
	} {
		if out, err := ethereumCommand(t, args...); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
	var a ethereum.Address
	if err := a.UnmarshalText([]byte(contract)); err != nil {
		t.Error(err)
	}
}
