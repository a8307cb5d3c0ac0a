package bitcoin

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/wire/v2"

	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// A stranger sends small outputs to the address, which everybody can read off the last anchor: they do not hide a coin that
// pays, however many pages they fill.
func TestCoinsBehindDust(t *testing.T) {
	for _, small := range []int64{294, 600, 3000} {
		coinsBehind(t, small)
	}
}

func coinsBehind(t *testing.T, small int64) {
	t.Helper()
	text, _, err := GenerateKey(spv.Regtest, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	net, err := network(spv.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	wif, err := btcutil.DecodeWIF(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKey(wif, net)
	if err != nil {
		t.Fatal(err)
	}
	value := map[string]int64{}
	tx := func(n int, sat int64, seq uint32) string {
		m := wire.NewMsgTx(2)
		m.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: seq}, []byte{1}, nil))
		for range n {
			m.AddTxOut(wire.NewTxOut(sat, k.script))
		}
		value[m.TxID()] = sat
		var b bytes.Buffer
		_ = m.SerializeNoWitness(&b)
		return hex.EncodeToString(b.Bytes())
	}
	var all []string     // newest first
	for i := range 200 { // ten pages
		all = append(all, tx(10, small, uint32(i)))
	}
	all = append(all, tx(1, 100_000_000, 1000)) // the account's own coin
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			ID     uint64
			Method string
			Params []json.RawMessage
		}
		_ = json.NewDecoder(r.Body).Decode(&q)
		var result any
		switch q.Method {
		case "searchrawtransactions":
			var skip, count int
			_ = json.Unmarshal(q.Params[2], &skip)
			_ = json.Unmarshal(q.Params[3], &count)
			result = all[min(skip, len(all)):min(skip+count, len(all))]
		case "gettxout":
			var id string
			_ = json.Unmarshal(q.Params[0], &id)
			result = map[string]any{"confirmations": 100, "value": float64(value[id]) / 1e8, "scriptPubKey": map[string]any{"hex": hex.EncodeToString(k.script)}}
		case "gettxspendingprevout":
			result = []any{map[string]any{}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": q.ID, "result": result, "error": nil})
	}))
	defer web.Close()
	o := Options{Network: spv.Regtest, URL: web.URL}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	c, err := newRPC(&o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	target := &Target{o: o, key: k, node: &node{rpc: c}}
	need := func(n int) int64 { return 20_000 + int64(n)*5000 } // what each input costs is more than the small ones are worth
	coins, err := target.coins(t.Context(), need)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := choose(coins, need); !ok {
		t.Errorf("2000 outputs of %d satoshi hide a coin of 1 BTC: %d coins were found", small, len(coins))
	}
}
