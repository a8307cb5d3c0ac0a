package node

import (
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func TestBitcoinConfig(t *testing.T) {
	good := BitcoinConfig{URL: "https://127.0.0.1:8334", Network: "mainnet", Key: "key", Credentials: "rpc", Every: time.Hour}
	for name, c := range map[string]struct {
		change func(c *BitcoinConfig)
		want   string
	}{
		"good":                    {func(*BitcoinConfig) {}, ""},
		"all set":                 {func(c *BitcoinConfig) { c.FeeFloor, c.FeeCap, c.Final, c.MaxBits = 2, 20, 12, "1703a30c" }, ""},
		"none":                    {func(c *BitcoinConfig) { *c = BitcoinConfig{Every: time.Hour} }, ""},
		"plain on this machine":   {func(c *BitcoinConfig) { c.URL = "http://[::1]:8334" }, ""},
		"plain over the network":  {func(c *BitcoinConfig) { c.URL = "http://node.example:8334" }, "in the clear"},
		"password in the address": {func(c *BitcoinConfig) { c.URL = "https://a:b@127.0.0.1:8334" }, "credentials"},
		"no url":                  {func(c *BitcoinConfig) { c.URL = "" }, "anchors.bitcoin.url"},
		"no key":                  {func(c *BitcoinConfig) { c.Key = "" }, "anchors.bitcoin.key"},
		"no credentials":          {func(c *BitcoinConfig) { c.Credentials = "" }, "anchors.bitcoin.credentials"},
		"no network":              {func(c *BitcoinConfig) { c.Network = "" }, "the networks are"},
		"too often":               {func(c *BitcoinConfig) { c.Every = time.Minute }, "at least 10m"},
		"floor above cap":         {func(c *BitcoinConfig) { c.FeeFloor = 60 }, "fee_cap"},
		"final too early":         {func(c *BitcoinConfig) { c.Confirmations, c.Final = 3, 2 }, "final"},
		"bits":                    {func(c *BitcoinConfig) { c.MaxBits = "17" }, "max_bits"},
		"negative":                {func(c *BitcoinConfig) { c.DayFee = -1 }, "max_fee"},
	} {
		x := good
		c.change(&x)
		err := x.check()
		if (err == nil) != (c.want == "") || err != nil && (vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	p, err := good.trust()
	if err != nil || p.Network != "mainnet" || p.Confirmations != 6 || p.Check() != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
