package bitcoin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// parrot is a node that gives one of a list of results to the n-th question, whatever it is.
type parrot struct {
	results []string
	asked   int
}

func (p *parrot) RoundTrip(r *http.Request) (*http.Response, error) {
	var q struct {
		ID     json.RawMessage
		Method string
		Params []json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	result := "null"
	switch {
	case q.Method == "getblockhash" && len(q.Params) == 1 && string(q.Params[0]) == "0": // so that it comes further
		result = `"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"`
	case len(p.results) > 0:
		result = p.results[p.asked%len(p.results)]
		p.asked++
	}
	body := fmt.Sprintf(`{"result":%s,"error":null,"id":%s}`, result, q.ID)
	if strings.HasPrefix(result, "!") {
		body = fmt.Sprintf(`{"result":null,"error":{"code":-5,"message":%q},"id":%s}`, result[1:], q.ID)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// FuzzNode has a node answer anything: there is no panic, and no anchor without a proof that holds.
func FuzzNode(f *testing.F) {
	text, _, err := GenerateKey(spv.Regtest, strings.NewReader(strings.Repeat("seed", 8)))
	if err != nil {
		f.Fatal(err)
	}
	o := Options{Network: spv.Regtest, URL: "http://127.0.0.1:1", Key: filepath.Join(f.TempDir(), "key")}
	if err := os.WriteFile(o.Key, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	hash := `"` + strings.Repeat("ab", 32) + `"`
	f.Add([]byte("150\n" + hash + "\n" + `{"txid":"x","blockhash":"y"}` + "\n" + `{"height":7}`))
	f.Add([]byte("150\n" + `["00"]` + "\n" + `{"confirmations":7,"value":0.5,"scriptPubKey":{"hex":"0014"}}` + "\n" + `[{"txid":"x"}]`))
	f.Add([]byte("3\n!No information available about address\n!txindex\n0.5"))
	f.Add([]byte("[[[[\n1e999\nnull\n{}"))
	target, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	v, err := target.sign(vaultmesh.Sum([]byte(body)), []coin{{value: 90_000, script: target.key.script}}, 2000)
	if err != nil {
		f.Fatal(err)
	}
	m := memo{Address: target.Address(), Versions: []version{v}}
	raw, err := m.write()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		target, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		var results []string
		for _, line := range bytes.Split(data, []byte("\n")) {
			results = append(results, string(line))
		}
		p := &parrot{results: results}
		target.node.rpc.client.Transport = p
		for _, j := range []anchor.Job{newJob(body), {ID: "bitcoin@7", Digest: vaultmesh.Sum([]byte(body)), State: anchor.Submitted, Memo: raw}} {
			p.asked = 0
			got, err := target.Advance(t.Context(), j)
			if err == nil && got.State.Anchored() {
				if _, err := spv.Verify(got.Proof, got.Digest, target.params(1)); err != nil {
					t.Fatalf("%s without a proof: %v", got.State, err)
				}
			}
		}
	})
}
