package ethereum

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// twist changes what a node answers to a method; nil means the truth.
type twist func(method string, params []json.RawMessage, result json.RawMessage) json.RawMessage

// proxy stands before a real node and may lie.
type proxy struct {
	url   string
	twist atomic.Pointer[twist]
	calls atomic.Int64
}

func (p *proxy) lie(f twist) { p.twist.Store(&f) }

func newProxy(c *chain) *proxy {
	p := &proxy{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		query, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var q struct {
			Method string            `json:"method"`
			Params []json.RawMessage `json:"params"`
		}
		_ = json.Unmarshal(query, &q)
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, c.url, bytes.NewReader(query))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return
		}
		if f := p.twist.Load(); f != nil {
			var a struct {
				Version string          `json:"jsonrpc"`
				ID      uint64          `json:"id"`
				Result  json.RawMessage `json:"result,omitempty"`
				Error   json.RawMessage `json:"error,omitempty"`
			}
			_ = json.Unmarshal(text, &a)
			if changed := (*f)(q.Method, q.Params, a.Result); changed != nil {
				a.Result, a.Error = changed, nil
				text, _ = json.Marshal(a)
			}
		}
		_, _ = w.Write(text)
	}))
	c.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// with changes members of a JSON object.
func with(doc json.RawMessage, change func(map[string]any)) json.RawMessage {
	var m map[string]any
	if json.Unmarshal(doc, &m) != nil || m == nil {
		return nil
	}
	change(m)
	out, _ := json.Marshal(m)
	return out
}

// each changes the members of all objects of an array.
func each(doc json.RawMessage, change func(int, map[string]any)) json.RawMessage {
	var list []map[string]any
	if json.Unmarshal(doc, &list) != nil {
		return nil
	}
	for i := range list {
		change(i, list[i])
	}
	out, _ := json.Marshal(list)
	return out
}

const falseHash = "0x1111111111111111111111111111111111111111111111111111111111111111"

// lies that a node tells about an anchor that is mined.
var lies = map[string]twist{
	"another block at the height": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockByNumber" {
			return nil
		}
		return with(r, func(b map[string]any) { b["hash"] = falseHash })
	},
	"a receipt in a block that is not there": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getTransactionReceipt" {
			return nil
		}
		return with(r, func(b map[string]any) { b["blockHash"] = falseHash })
	},
	"an earlier time": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockByHash" {
			return nil
		}
		return with(r, func(b map[string]any) { b["timestamp"] = "0x5f000000" })
	},
	"another root of receipts": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockByHash" {
			return nil
		}
		return with(r, func(b map[string]any) { b["receiptsRoot"] = falseHash })
	},
	"a receipt too few": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockReceipts" {
			return nil
		}
		var list []json.RawMessage
		_ = json.Unmarshal(r, &list)
		out, _ := json.Marshal(list[:len(list)-1])
		return out
	},
	"receipts out of order": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockReceipts" {
			return nil
		}
		var list []json.RawMessage
		_ = json.Unmarshal(r, &list)
		list[0], list[1] = list[1], list[0]
		out, _ := json.Marshal(list)
		return out
	},
	"other logs": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockReceipts" {
			return nil
		}
		return each(r, func(_ int, b map[string]any) {
			for _, l := range b["logs"].([]any) {
				l.(map[string]any)["data"] = "0x01"
			}
		})
	},
	"more gas": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockReceipts" {
			return nil
		}
		return each(r, func(i int, b map[string]any) { b["cumulativeGasUsed"] = "0x1" })
	},
	"an unknown type": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockReceipts" {
			return nil
		}
		return each(r, func(i int, b map[string]any) { b["type"] = "0x7e" })
	},
	"a header without a field": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockByHash" {
			return nil
		}
		return with(r, func(b map[string]any) { delete(b, "stateRoot") })
	},
	"numbers that are none": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != "eth_getBlockByHash" {
			return nil
		}
		return with(r, func(b map[string]any) { b["gasLimit"] = "0x" + strings.Repeat("f", 70) })
	},
}

// One liar among three is found out and does no harm; a liar that is asked alone gets nothing anchored.
func TestLiar(t *testing.T) {
	c := anvil(t)
	honest := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	j := c.must(honest, newJob("liar"), anchor.Queued)
	j = c.must(honest, j, anchor.Submitted)
	c.noise(6, honest.o.Contract)
	c.mine(3)
	bad := newProxy(c)
	alone, many := honest.o, honest.o
	alone.Agree, many.Agree = 0, 0 // the default
	alone.Endpoints = []Endpoint{{Name: "liar", URL: bad.url}}
	many.Endpoints = []Endpoint{{Name: "liar", URL: bad.url}, {Name: "a", URL: c.url}, {Name: "b", URL: c.url}}
	for name, f := range lies {
		t.Run(name, func(t *testing.T) {
			bad.lie(f)
			one, err := New(alone)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.advance(one, j)
			if out.State.Anchored() || out.State == anchor.Failed || len(out.Proof) > 0 {
				t.Errorf("alone: %s %v", out.State, err)
			}
			t.Logf("alone: %s %q %v", out.State, out.Detail, err)
			three, err := New(many)
			if err != nil {
				t.Fatal(err)
			}
			if out, err = c.advance(three, j); err != nil || out.State != anchor.Confirmed {
				t.Errorf("among three: %s %v", out.State, err)
			}
		})
	}
	t.Run("two contradict", func(t *testing.T) {
		bad.lie(lies["another block at the height"])
		two := honest.o
		two.Agree = 0
		two.Endpoints = many.Endpoints[:2]
		x, err := New(two)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := c.advance(x, j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || out.State != anchor.Submitted {
			t.Errorf("%s %v", out.State, err)
		}
	})
	t.Run("a receipt of a transaction that is not mined", func(t *testing.T) {
		never := c.must(honest, newJob("never"), anchor.Queued)
		m := memoOf(t, never)
		var real json.RawMessage
		c.do(&real, "eth_getTransactionReceipt", memoOf(t, j).Signed[0].Hash)
		m.Sent, m.SentAt = 1, c.now.Unix()
		never.State = anchor.Submitted
		var err error
		if never.Memo, err = m.encode(); err != nil {
			t.Fatal(err)
		}
		for _, status := range []string{"0x1", "0x0"} {
			bad.lie(func(method string, _ []json.RawMessage, _ json.RawMessage) json.RawMessage {
				if method != "eth_getTransactionReceipt" {
					return nil
				}
				return with(real, func(r map[string]any) { r["transactionHash"], r["status"] = m.Signed[0].Hash.String(), status })
			})
			for _, o := range []Options{alone, many} {
				x, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				if out, err := c.advance(x, never); out.State != anchor.Submitted {
					t.Errorf("status %s: %s %v", status, out.State, err)
				}
			}
		}
	})
}

// What a liar says of prices and nonces costs no more than the caps, and among three nothing at all.
func TestLiarWithPrices(t *testing.T) {
	c := anvil(t)
	honest := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	bad := newProxy(c)
	alone, many := honest.o, honest.o
	alone.Agree, many.Agree = 0, 0 // the default
	alone.Endpoints = []Endpoint{{Name: "liar", URL: bad.url}}
	many.Endpoints = []Endpoint{{Name: "a", URL: c.url}, {Name: "liar", URL: bad.url}, {Name: "b", URL: c.url}}
	truth := memoOf(t, c.must(honest, newJob("prices"), anchor.Queued))
	constant := func(method string, value string) twist {
		return func(m string, _ []json.RawMessage, _ json.RawMessage) json.RawMessage {
			if m != method {
				return nil
			}
			return json.RawMessage(value)
		}
	}
	for name, f := range map[string]twist{
		"a huge tip":     constant("eth_maxPriorityFeePerGas", `"0xffffffffffffffff"`),
		"no tip":         constant("eth_maxPriorityFeePerGas", `"0xfffffffffffffffffffffffffff"`),
		"much gas":       constant("eth_estimateGas", `"0xffffffff"`),
		"a later nonce":  constant("eth_getTransactionCount", `"0xffff"`),
		"a poor account": constant("eth_getBalance", `"0x0"`),
		"other code":     constant("eth_getCode", `"0x00"`),
		"another chain":  constant("eth_chainId", `"0x1"`),
		"a huge base fee": func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
			if m != "eth_getBlockByNumber" {
				return nil
			}
			return with(r, func(b map[string]any) { b["baseFeePerGas"] = "0xffffffffffffffff" })
		},
	} {
		bad.lie(f)
		one, err := New(alone)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.advance(one, newJob("prices"))
		if len(out.Memo) > 0 {
			s := memoOf(t, out).Signed[0]
			maxFee, _, err := s.offer()
			if err != nil || total(s.Gas, maxFee).Cmp(total(maxGas*6/5, honest.o.Fees.MaxFeePerGas)) > 0 {
				t.Errorf("%s: it may cost %s × %d: %v", name, maxFee, s.Gas, err)
			}
		}
		t.Logf("%s, alone: %s %q %v", name, out.State, out.Detail, err)
		three, err := New(many)
		if err != nil {
			t.Fatal(err)
		}
		out, err = c.advance(three, newJob("prices"))
		if err != nil || len(out.Memo) == 0 || memoOf(t, out).Signed[0].Hash != truth.Signed[0].Hash {
			t.Errorf("%s, among three: %q %v", name, out.Detail, err)
		}
	}
}

// Nodes that do not answer, or nonsense, or too much, or late: a plain error, and the others do.
func TestBadEndpoints(t *testing.T) {
	hang := make(chan struct{})
	handlers := map[string]struct {
		f    http.HandlerFunc
		kind vaultmesh.Kind
	}{
		"html":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>welcome</html>") }, vaultmesh.Invalid},
		"empty": {func(http.ResponseWriter, *http.Request) {}, vaultmesh.Invalid},
		"another id": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":7777,"result":"0x1"}`)
		}, vaultmesh.Invalid},
		"no id": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","result":"0x1"}`)
		}, vaultmesh.Invalid},
		"status 500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, vaultmesh.Unavailable},
		"status 429": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, vaultmesh.RateLimited},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, vaultmesh.Unavailable},
		"too large": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), smallReply+1)) }, vaultmesh.TooLarge},
		"deep": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"result":`+strings.Repeat("[", 100_000))
		}, vaultmesh.Invalid},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // a server notices that its client is gone once it has read the query
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}, vaultmesh.Unavailable},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"jsonrpc":`)
		}, vaultmesh.Unavailable},
		"refuses": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no\u001b[31m\nway `+strings.Repeat("x", 10_000)+`"}}`)
		}, vaultmesh.Unavailable},
	}
	defer close(hang)
	for name, h := range handlers {
		server := httptest.NewServer(h.f)
		c, err := newClient(Endpoint{Name: name, URL: server.URL + "/secret-key"}, nil, 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		var q quantity
		err = c.call(t.Context(), &q, smallReply, "eth_chainId")
		if vaultmesh.KindOf(err) != h.kind || strings.Contains(err.Error(), "secret") || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
		server.CloseClientConnections()
		server.Close()
	}
	gone, err := newClient(Endpoint{URL: "http://user:password@127.0.0.1:1/secret-key"}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.call(t.Context(), nil, smallReply, "eth_chainId"); vaultmesh.KindOf(err) != vaultmesh.Unavailable || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "password") {
		t.Errorf("nobody there: %v", err)
	}
	for _, bad := range []string{"", "ftp://host/", "host:8545", "http://", "http://a b/secret"} {
		if _, err := newClient(Endpoint{URL: bad}, nil, 0); vaultmesh.KindOf(err) != vaultmesh.Invalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// One of three is gone or hangs: all goes on. Two of three: nothing is decided.
func TestAbsentEndpoints(t *testing.T) {
	c := anvil(t)
	honest := c.deploy()
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hang)
	for name, url := range map[string]string{"gone": "http://127.0.0.1:1", "slow": slow.URL} {
		o := honest.o
		o.Agree, o.Timeout = 0, time.Second
		o.Endpoints = []Endpoint{{Name: name, URL: url}, {Name: "a", URL: c.url}, {Name: "b", URL: c.url}}
		x, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		j := c.must(x, newJob(name), anchor.Queued)
		j = c.must(x, j, anchor.Submitted)
		c.mine(2)
		c.must(x, j, anchor.Confirmed)
		o.Endpoints[1].URL, o.Timeout = url, 200*time.Millisecond
		if x, err = New(o); err != nil {
			t.Fatal(err)
		}
		if out, err := c.advance(x, j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || out.State != anchor.Submitted {
			t.Errorf("two %s: %s %v", name, out.State, err)
		}
		if _, err := x.Proved(t.Context(), c.must(honest, j, anchor.Confirmed)); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
			t.Errorf("two %s: proved %v", name, err)
		}
	}
}

// Options that make no sense are refused before any node is asked.
func TestOptions(t *testing.T) {
	good := Options{ChainID: 1, Contract: eth.Address{1}, Key: testKey(t), Endpoints: []Endpoint{{URL: "http://127.0.0.1:1"}, {URL: "http://127.0.0.1:2"}, {URL: "http://127.0.0.1:2"}}, Fees: Fees{MaxFeePerGas: gwei(1)}}
	x, err := New(good)
	if err != nil || x.o.Agree != 2 || x.o.Confirmations != 2 || x.o.FinalDepth != 64 || x.pool.clients[1].name == x.pool.clients[2].name {
		t.Fatalf("%+v %v", x, err)
	}
	for name, change := range map[string]func(*Options){
		"no chain":             func(o *Options) { o.ChainID = 0 },
		"no contract":          func(o *Options) { o.Contract = eth.Address{} },
		"no key":               func(o *Options) { o.Key = nil },
		"no endpoint":          func(o *Options) { o.Endpoints = nil },
		"many endpoints":       func(o *Options) { o.Endpoints = make([]Endpoint, 17) },
		"one of three agrees":  func(o *Options) { o.Agree = 1 },
		"four of three agree":  func(o *Options) { o.Agree = 4 },
		"no cap":               func(o *Options) { o.Fees.MaxFeePerGas = nil },
		"a cap of nothing":     func(o *Options) { o.Fees.MaxTip = big.NewInt(0) },
		"final before it was ": func(o *Options) { o.Confirmations, o.FinalDepth = 10, 5 },
	} {
		o := good
		o.Endpoints = append([]Endpoint(nil), good.Endpoints...)
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// One liar among three that answers first, and names the newest block, does not keep a mined anchor from being confirmed; nor
// does it pass one off as mined that is not.
func TestLiarThatAnswersFirst(t *testing.T) {
	c := anvil(t)
	honest := c.deploy()
	c.do(nil, "evm_setAutomine", false)
	j := c.must(honest, newJob("stall"), anchor.Queued)
	j = c.must(honest, j, anchor.Submitted)
	c.mine(5)
	const lieAbout = "eth_getTransactionReceipt"
	bad := newProxy(c)
	var lied []chan struct{} // one for each honest endpoint, which answers behind the liar
	var others []*proxy
	for range 2 {
		p, behind := newProxy(c), make(chan struct{}, 100)
		p.lie(func(m string, _ []json.RawMessage, _ json.RawMessage) json.RawMessage {
			if m == lieAbout {
				select {
				case <-behind:
				case <-t.Context().Done():
				}
			}
			return nil
		})
		lied, others = append(lied, behind), append(others, p)
	}
	bad.lie(func(m string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
		if m != lieAbout {
			return nil
		}
		for _, behind := range lied {
			behind <- struct{}{}
		}
		var block struct{ Hash, Number string }
		c.do(&block, "eth_getBlockByNumber", "latest", false)
		return with(r, func(x map[string]any) { x["blockHash"], x["blockNumber"] = block.Hash, block.Number })
	})
	o := honest.o
	o.Agree = 0
	o.Endpoints = []Endpoint{{Name: "liar", URL: bad.url}, {Name: "a", URL: others[0].url}, {Name: "b", URL: others[1].url}}
	x, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.advance(honest, j); err != nil || out.State != anchor.Confirmed {
		t.Fatalf("without the liar: %s %v", out.State, err)
	}
	stalled := 0
	for range 3 {
		c.mine(3)
		out, err := c.advance(x, j)
		if out.State == anchor.Confirmed {
			break
		}
		stalled++
		t.Logf("%s %q %v", out.State, out.Detail, err)
	}
	if stalled == 3 {
		t.Error("never confirmed, though two honest endpoints of three have it 60 blocks deep")
	}
}
