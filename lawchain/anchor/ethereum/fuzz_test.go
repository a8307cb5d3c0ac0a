package ethereum

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	eth "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// The first block of the main network, as a node gives it today: with members that its header does not have.
const emptyTrie = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"

var genesis = `{"hash":"0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3","parentHash":"0x` + strings.Repeat("0", 64) + `","sha3Uncles":"0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
"miner":"0x` + strings.Repeat("0", 40) + `","stateRoot":"0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544","transactionsRoot":"` + emptyTrie + `","receiptsRoot":"` + emptyTrie + `","logsBloom":"0x` + strings.Repeat("0", 512) + `",
"difficulty":"0x400000000","number":"0x0","gasLimit":"0x1388","gasUsed":"0x0","timestamp":"0x0","extraData":"0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa","mixHash":"0x` + strings.Repeat("0", 64) + `","nonce":"0x0000000000000042",
"totalDifficulty":"0x400000000","size":"0x21c","transactions":[],"uncles":[],"baseFeePerGas":null,"requestsHash":"` + emptyTrie + `"}`

func genesisHash(t testing.TB) eth.Hash {
	var h eth.Hash
	if err := h.UnmarshalText([]byte("0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3")); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestGenesis(t *testing.T) {
	b, err := readBlock([]byte(genesis), genesisHash(t))
	if err != nil {
		t.Fatal(err)
	}
	if eth.Keccak(b.raw) != genesisHash(t) || b.header.Number != 0 || len(b.txs) != 0 {
		t.Errorf("%+v", b)
	}
	for _, bad := range []string{"", "null", "[]", `{}`, strings.Replace(genesis, "0x1388", "0x1389", 1), strings.Replace(genesis, `"transactions":[]`, `"transactions":[{}]`, 1), strings.Replace(genesis, "0x1388", "5000", 1)} {
		if _, err := readBlock([]byte(bad), genesisHash(t)); err == nil {
			t.Errorf("%.80q is accepted", bad)
		}
	}
}

// FuzzReadBlock: what a node says is taken for a block only if it hashes to the hash that was asked for.
func FuzzReadBlock(f *testing.F) {
	f.Add([]byte(genesis))
	f.Add([]byte(strings.Replace(genesis, `"baseFeePerGas":null`, `"baseFeePerGas":"0x7"`, 1)))
	f.Add([]byte("null"))
	want := genesisHash(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		if b, err := readBlock(doc, want); err == nil && eth.Keccak(b.raw) != want {
			t.Fatalf("%x", b.raw)
		}
	})
}

// FuzzReceipt: any receipt of a node is encoded or refused, and what is encoded is RLP.
func FuzzReceipt(f *testing.F) {
	f.Add([]byte(`{"transactionHash":"` + emptyTrie + `","transactionIndex":"0x1","blockHash":"` + emptyTrie + `","blockNumber":"0x2","type":"0x2","status":"0x1","cumulativeGasUsed":"0x5208","logsBloom":"0x00","contractAddress":null,"logs":[{"address":"0x` + strings.Repeat("1", 40) + `","topics":["` + emptyTrie + `"],"data":"0x"}]}`))
	f.Add([]byte(`{"type":"0x7e","logs":null}`))
	f.Add([]byte(`{"root":"` + emptyTrie + `"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var r receipt
		if json.Unmarshal(doc, &r) != nil {
			return
		}
		raw, err := r.encode()
		if err != nil {
			return
		}
		if r.Type > 0 {
			raw = raw[1:]
		}
		if _, err := rlp.Decode(raw); err != nil {
			t.Fatalf("%x: %v", raw, err)
		}
		r.event(eth.Address{1}, [32]byte{1})
	})
}

// reply is a transport that always answers the same.
type reply []byte

func (r reply) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(r)), Header: http.Header{}}, nil
}

// FuzzReply: whatever a node answers, a call ends with its result or a short error of one line.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{`{"jsonrpc":"2.0","id":1,"result":"0x1"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}`, `{"id":1,"result":null}`, `[]`, `{"id":2}`, `{"jsonrpc":"2.0","id":1,"result":{"number":"0x1","hash":"0x"}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, result := range []any{new(quantity), new(wei), new(data), new(*receipt), new([]receipt), new(json.RawMessage)} {
			c, err := newClient(Endpoint{URL: "http://127.0.0.1"}, reply(text), 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.call(t.Context(), result, smallReply, "eth_test"); err != nil && (len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\n\r\x1b")) {
				t.Fatalf("%q", err)
			}
		}
	})
}

// FuzzMemo: a damaged memo is an error, never a transaction.
func FuzzMemo(f *testing.F) {
	raw := []byte{2, 0xc0}
	m := memo{Nonce: 7, Signed: []signed{{Raw: raw, Hash: eth.Keccak(raw), MaxFee: "10", Tip: "1", Gas: 21000}}, Sent: 1}
	good, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	f.Add([]byte(`{"signed":[],"sent":1}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := readMemo(doc)
		if err != nil {
			return
		}
		for i := range m.Signed {
			if eth.Keccak(m.Signed[i].Raw) != m.Signed[i].Hash {
				t.Fatal("a transaction that is not the one")
			}
			_, _, _ = m.Signed[i].offer()
		}
	})
}

func TestKeyFile(t *testing.T) {
	path := t.TempDir() + "/eth.key"
	k, err := NewKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadKey(path)
	if err != nil || again.Address() != k.Address() {
		t.Errorf("%v %v", again, err)
	}
	if _, err := NewKey(path); err == nil {
		t.Error("a key file is overwritten")
	}
	secret := readFile(t, path)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := sprintf(format, k) + sprintf(format, struct{ K *Key }{k}); strings.Contains(text, strings.TrimSpace(secret)) {
			t.Errorf("%s prints the key", format)
		}
	}
	chmod(t, path, 0o644)
	if _, err := LoadKey(path); err == nil || strings.Contains(err.Error(), strings.TrimSpace(secret)) {
		t.Errorf("a key that all may read: %v", err)
	}
	for _, bad := range []string{"", "0x", strings.Repeat("0", 64), strings.Repeat("f", 64), strings.Repeat("1", 63), strings.Repeat("g", 64)} {
		if _, err := ParseKey(bad); err == nil || bad != "" && len(bad) > 4 && strings.Contains(err.Error(), bad) {
			t.Errorf("%.8q: %v", bad, err)
		}
	}
	// The account of the first key of every development node is public knowledge.
	if a := testKey(t).Address().String(); a != "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266" {
		t.Error(a)
	}
}
