package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor/ethereum"
)

func TestEthereumConfig(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "eth.key")
	if _, err := ethereum.NewKey(key); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "url")
	if err := os.WriteFile(secret, []byte("https://node.example/v3/api-key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := EthereumDefaults()
	good.Endpoints, good.ChainID, good.Key = []string{"http://127.0.0.1:8545", "https://a.example", "file:" + secret}, 1, key
	good.Contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
	for name, c := range map[string]struct {
		change func(c *EthereumConfig)
		want   string
	}{
		"good":                 {func(*EthereumConfig) {}, ""},
		"none":                 {func(c *EthereumConfig) { *c = EthereumConfig{} }, ""},
		"finalized":            {func(c *EthereumConfig) { c.Final = "finalized" }, ""},
		"no further caps":      {func(c *EthereumConfig) { c.MaxTip, c.MaxPerAnchor, c.MaxPerDay = "", "", "" }, ""},
		"plain over a network": {func(c *EthereumConfig) { c.Endpoints[0] = "http://10.0.0.5:8545" }, "plain_http"},
		"plain that is meant":  {func(c *EthereumConfig) { c.Endpoints[0], c.Plain = "http://10.0.0.5:8545", true }, ""},
		"no URL":               {func(c *EthereumConfig) { c.Endpoints[0] = "node:8545" }, "entry 1"},
		"one of three":         {func(c *EthereumConfig) { c.Agree = 1 }, "more than half"},
		"no chain":             {func(c *EthereumConfig) { c.ChainID = 0 }, "chain_id"},
		"no contract":          {func(c *EthereumConfig) { c.Contract = "" }, "deploy"},
		"no key":               {func(c *EthereumConfig) { c.Key = "" }, "ethereum.key"},
		"no confirmations":     {func(c *EthereumConfig) { c.Confirm = 0 }, "positive"},
		"final too early":      {func(c *EthereumConfig) { c.Final = "1" }, "final"},
		"final in words":       {func(c *EthereumConfig) { c.Final = "soon" }, "final"},
		"no cap":               {func(c *EthereumConfig) { c.MaxFeePerGas = "" }, "max_fee_per_gas"},
		"a cap without unit":   {func(c *EthereumConfig) { c.MaxPerDay = "5" }, "max_per_day"},
	} {
		x := good
		x.Endpoints = append([]string(nil), good.Endpoints...)
		c.change(&x)
		err := x.Check()
		if (err == nil) != (c.want == "") || err != nil && (vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	o, err := good.Options(time.Now, nil)
	if err != nil || len(o.Endpoints) != 3 || o.Endpoints[2].URL != "https://node.example/v3/api-key" || o.Fees.MaxPerDay.String() != "20000000000000000" || o.FinalDepth != 64 || o.Contract.String() != "0x5fbdb2315678afecb367f032d93f642f64180aa3" {
		t.Fatalf("%+v %v", o, err)
	}
	if _, err := ethereum.New(o); err != nil {
		t.Error(err)
	}
	for path, mode := range map[string]os.FileMode{secret: 0o644, key: 0o640} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := good.Options(time.Now, nil); vaultmesh.KindOf(err) != vaultmesh.Denied || strings.Contains(err.Error(), "api-key") {
			t.Errorf("%s may be read by others: %v", filepath.Base(path), err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
