package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// authorities are so many in the words of the configuration.
func authorities(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf(`{name: a%d, url: "http://a", roots: a}`, i))
	}
	return list
}

func TestAnchorsConfig(t *testing.T) {
	c, err := load(t, `profile: dev
timestamps: {url: "http://127.0.0.1:3161", roots: a.pem, interval: 2m}
anchors:
  rfc3161:
    - {name: one, url: "https://tsa.example", roots: one.pem, every: 1h, drift: 5s}
    - {name: two, url: "http://tsa.example", roots: two.pem}
  bitcoin: {url: "http://127.0.0.1:8334", network: regtest, credentials: rpc, key: wif}
  ethereum: {endpoints: ["https://a.example"], chain_id: 1, contract: "0x00000000000000000000000000000000000000aa", key: key}
`, "VAULTMESH_ANCHORS_BITCOIN_FEE_CAP=20", "VAULTMESH_ANCHORS_ETHEREUM_PLAIN_HTTP=true")
	if err != nil {
		t.Fatal(err)
	}
	all := c.authorities()
	if len(all) != 3 || all[0].Name != "main" || all[0].Every != 2*time.Minute || all[1].Drift != 5*time.Second || all[2].Every != 0 {
		t.Errorf("%+v", all)
	}
	if a := c.Anchors; a.Bitcoin.FeeCap != 20 || a.Bitcoin.Every != 24*time.Hour || !a.Ethereum.Plain || a.Ethereum.Final != "64" {
		t.Errorf("%+v", a)
	}
	one := func(s string) string { return "profile: dev\nanchors: {rfc3161: [" + s + "]}\n" }
	for name, x := range map[string]struct{ text, says string }{
		"no name":          {one(`{url: "http://a", roots: a}`), "name"},
		"slash":            {one(`{name: a/b, url: "http://a", roots: a}`), "name"},
		"at":               {one(`{name: a@b, url: "http://a", roots: a}`), "name"},
		"twice":            {one(`{name: a, url: "http://a", roots: a}, {name: a, url: "http://b", roots: a}`), "two authorities"},
		"nine":             {"profile: dev\ntimestamps: {url: \"http://a\", roots: a}\n" + strings.TrimPrefix(one(strings.Join(authorities(8), ", ")), "profile: dev\n"), "9 authorities with that of the timestamps section, at most 8"},
		"main twice":       {"profile: dev\ntimestamps: {url: \"http://a\", roots: a}\n" + strings.TrimPrefix(one(`{name: main, url: "http://a", roots: a}`), "profile: dev\n"), "two authorities"},
		"no url":           {one(`{name: a, roots: a}`), "url"},
		"other scheme":     {one(`{name: a, url: "ftp://a", roots: a}`), "url"},
		"user in url":      {one(`{name: a, url: "http://hidden:hunter2@a", roots: a}`), "a user or a password"},
		"no roots":         {one(`{name: a, url: "http://a"}`), "roots"},
		"all the time":     {one(`{name: a, url: "http://a", roots: a, every: 1ms}`), "every"},
		"negative":         {one(`{name: a, url: "http://a", roots: a, drift: -1s}`), "drift"},
		"unknown key":      {one(`{name: a, url: "http://a", root: a}`), "root"},
		"bitcoin":          {"profile: dev\nanchors: {bitcoin: {network: mainnet}}\n", "bitcoin.url"},
		"ethereum":         {"profile: dev\nanchors: {ethereum: {endpoints: [\"https://a\"]}}\n", "chain_id"},
		"ethereum, often":  {"profile: dev\nanchors: {ethereum: {every: 1s}}\n", "ethereum.every"},
		"too many of them": {one(strings.Repeat(`{name: a, url: "http://a", roots: a},`, maxAuthorities+1)), "at most"},
	} {
		if _, err := load(t, x.text); vaultmesh.KindOf(err) != vaultmesh.Invalid || err == nil || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want Invalid that says %q", name, err, x.says)
		}
	}
}
