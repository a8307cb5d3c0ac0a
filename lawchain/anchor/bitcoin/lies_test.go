package bitcoin

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

type question func(method string, params []json.RawMessage) (any, *nodeError)

// on answers one method otherwise.
func on(method string, result any) question {
	return func(m string, _ []json.RawMessage) (any, *nodeError) {
		if m == method {
			return result, nil
		}
		return nil, nil
	}
}

// TestLies: whatever a node says, a job is anchored only by a proof that holds.
func TestLies(t *testing.T) {
	b := startBTCD(t)
	l := liar(t, b)
	target := b.funded(Options{URL: l.URL, Final: 3, Confirmations: 2}, 100_000, 90_000)
	b.mine(1) // a coin needs as many confirmations
	j := b.to(target, newJob(body), anchor.Submitted)
	b.mine(4)
	honest := b.to(target, j, anchor.Final)
	proof, err := spv.Decode(honest.Proof)
	if err != nil {
		t.Fatal(err)
	}
	var other, otherRaw, rawBlock, header string
	b.call(&other, "getblockhash", 50)
	b.call(&otherRaw, "getblock", other, 0)
	b.call(&rawBlock, "getblock", proof.Header.Hash().String(), 0)
	b.call(&header, "getblockheader", other, false)
	txid := spv.Sum2(proof.Tx).String()
	tx := map[string]any{"txid": txid, "blockhash": other}
	digest := strings.TrimPrefix(j.Digest.String(), "sha256:")
	for _, c := range []struct {
		name string
		lie  question
		kind vaultmesh.Kind // of the error; Internal: none, and the job waits
		want string
	}{
		{"a block that does not hold it", on("getrawtransaction", tx), vaultmesh.Corrupt, "does not hold it"},
		{"a block that nobody knows", on("getrawtransaction", map[string]any{"txid": txid, "blockhash": strings.Repeat("ab", 32)}), vaultmesh.Internal, ""},
		{"a block that is no hash", on("getrawtransaction", map[string]any{"txid": txid, "blockhash": "xyz"}), vaultmesh.Corrupt, "no hash"},
		{"another transaction", on("getrawtransaction", map[string]any{"txid": other}), vaultmesh.Corrupt, "asked for"},
		{"another type", on("getrawtransaction", []int{1}), vaultmesh.Corrupt, "documented form"},
		{"another block", on("getblock", otherRaw), vaultmesh.Corrupt, "asked for"},
		{"half a block", on("getblock", rawBlock[:len(rawBlock)/4*2]), vaultmesh.Corrupt, "cannot be read"},
		{"a block and more", on("getblock", rawBlock+"00"), vaultmesh.Corrupt, "cannot be read"},
		{"not hexadecimal", on("getblock", "zz"), vaultmesh.Corrupt, "not hexadecimal"},
		{"a block with another commitment", on("getblock", strings.Replace(rawBlock, digest, strings.Repeat("11", 32), 1)), vaultmesh.Corrupt, "does not hold it"},
		{"a following header of another block", on("getblockheader", header), vaultmesh.Corrupt, ""},
		{"a following block from elsewhere", func(m string, p []json.RawMessage) (any, *nodeError) {
			if m == "getblockhash" && string(p[0]) == itoa(proof.Height+1) {
				return other, nil
			}
			return nil, nil
		}, vaultmesh.Corrupt, "does not follow"},
		{"more confirmations than blocks", on("getblockcount", proof.Height+1000), vaultmesh.Internal, ""},
		{"a height that cannot be", on("getblockcount", uint64(1)<<40), vaultmesh.Corrupt, "height"},
		{"another height, consistently", func(m string, p []json.RawMessage) (any, *nodeError) {
			switch {
			case m == "getblockheader" && string(p[1]) == "true":
				return map[string]any{"height": proof.Height - 1}, nil
			case m == "getblockhash" && string(p[0]) == itoa(proof.Height-1):
				return proof.Header.Hash().String(), nil
			}
			return nil, nil
		}, vaultmesh.Corrupt, "the block itself says otherwise"},
		{"a refusal", func(m string, _ []json.RawMessage) (any, *nodeError) {
			if m == "getblock" {
				return nil, &nodeError{-1, "no " + strings.Repeat("x", 5000)}
			}
			return nil, nil
		}, vaultmesh.Conflict, "xxx"},
		{"starting", func(m string, _ []json.RawMessage) (any, *nodeError) {
			return nil, &nodeError{-28, "Loading block index..."}
		}, vaultmesh.Unavailable, "starting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.set(c.lie)
			defer l.set(nil)
			got, err := target.Advance(t.Context(), stored(t, j))
			if c.name == "more confirmations than blocks" { // all that are there are true: the proof holds
				if err != nil || got.State != anchor.Final {
					t.Errorf("%s, %v", got.State, err)
				}
				return
			}
			if c.kind == vaultmesh.Internal {
				if err != nil || got.State != anchor.Submitted {
					t.Errorf("%s, %v", got.State, err)
				}
				return
			}
			if vaultmesh.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || got.State.Anchored() || len(err.Error()) > 1000 {
				t.Errorf("%s, %v, want %s and %q", got.State, err, c.kind, c.want)
			}
		})
	}
	l.set(on("getblockhash", other))
	if _, err := target.Proved(t.Context(), honest); vaultmesh.KindOf(err) != vaultmesh.Corrupt {
		t.Errorf("another block at the anchor's height: %v", err)
	}
	wrong := b.target(Options{URL: l.URL})
	if _, err := wrong.Advance(t.Context(), newJob(body)); vaultmesh.KindOf(err) != vaultmesh.Invalid || !strings.Contains(err.Error(), "not on regtest") {
		t.Errorf("a node of another network: %v", err)
	}
	l.set(nil)
	strict := b.target(Options{Key: target.o.Key, MaxBits: 0x1d00ffff})
	if got, err := strict.Advance(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Denied || !strings.Contains(err.Error(), "easier") || got.State.Anchored() {
		t.Errorf("blocks without work: %s, %v", got.State, err)
	}
}

func itoa(n uint64) string {
	raw, _ := json.Marshal(n)
	return string(raw)
}

// TestLiesAboutMoney: estimates and coins that are not true cost no more than the caps, and mostly nothing.
func TestLiesAboutMoney(t *testing.T) {
	b := startBTCD(t)
	l := liar(t, b)
	target := b.funded(Options{URL: l.URL, FeeFloor: 2, FeeCap: 10}, 100_000)
	for name, c := range map[string]struct {
		estimate any
		rate     int64
	}{
		"huge":     {20_000_000.0, 10_000},
		"absurd":   {1e300, 2000},
		"negative": {-1.0, 2000},
		"nothing":  {0.0, 2000},
		"in range": {0.00005, 5000},
	} {
		l.set(on("estimatefee", c.estimate))
		j, err := target.Advance(t.Context(), newJob(body))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if v := versions(t, j)[0]; v.Fee != feeFor(c.rate, v.Size) {
			t.Errorf("%s: %d satoshi for %d bytes", name, v.Fee, v.Size)
		}
	}
	// Coins that are worth more or less than the node says: the signature is over the amount, so the transaction is void.
	for _, value := range []float64{0.5, 0.00001} {
		l.set(func(m string, p []json.RawMessage) (any, *nodeError) {
			if m == "gettxout" {
				return map[string]any{"confirmations": 3, "value": value, "scriptPubKey": map[string]any{"hex": hexOf(target.key.script)}}, nil
			}
			return noEstimate(m, p)
		})
		j, err := target.Advance(t.Context(), newJob(body))
		if err != nil {
			t.Fatal(err)
		}
		l.set(noEstimate)
		if j, err = target.Advance(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || j.State != anchor.Queued {
			t.Errorf("worth %v: %s, %v", value, j.State, err)
		}
	}
	l.set(func(m string, p []json.RawMessage) (any, *nodeError) {
		if m == "gettxout" {
			return json.RawMessage("null"), nil
		}
		return nil, nil
	})
	if _, err := target.Advance(t.Context(), newJob(body)); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("no coins: %v", err)
	}
	if b.commits(target, vaultmesh.Sum([]byte(body))) != 0 {
		t.Error("something was paid")
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// TestCoreDialect speaks with a node that answers as Bitcoin Core does, by its documentation: other methods, and refusals
// with HTTP status codes. What is behind it is btcd; no Bitcoin Core ran.
func TestCoreDialect(t *testing.T) {
	b := startBTCD(t)
	l := liar(t, b)
	l.core = true
	target := b.funded(Options{URL: l.URL, Final: 2}, 100_000)
	// history asks for the method that is not there: it goes to btcd directly.
	direct := b.target(Options{Key: target.o.Key})
	j := newJob(body)
	l.set(coreAnswers(b, direct))
	j = b.to(target, j, anchor.Final)
	if v := versions(t, j)[0]; v.Fee != feeFor(7000, v.Size) {
		t.Errorf("%d satoshi for %d bytes", v.Fee, v.Size)
	}
	if l.asked("scantxoutset") == 0 || l.asked("estimatesmartfee") == 0 {
		t.Error("it was not asked in its dialect")
	}
}

func coreAnswers(b *btcd, direct *Target) question {
	return func(m string, p []json.RawMessage) (any, *nodeError) {
		switch m {
		case "searchrawtransactions", "estimatefee":
			return nil, &nodeError{codeNoMethod, "Method not found"}
		case "estimatesmartfee":
			return map[string]any{"feerate": 0.00007, "blocks": 6}, nil
		case "scantxoutset":
			var unspents []any
			for _, tx := range b.history(direct) {
				for i := range tx.TxOut {
					unspents = append(unspents, map[string]any{"txid": tx.TxID(), "vout": i, "amount": float64(tx.TxOut[i].Value) / 1e8})
				}
			}
			return map[string]any{"success": true, "unspents": unspents}, nil
		}
		return nil, nil
	}
}

// world is a folder with good secrets and a server that is anything but a node.
func world(t *testing.T, h http.HandlerFunc) Options {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	text, _, err := GenerateKey(spv.Regtest, strings.NewReader(strings.Repeat("seed", 8)))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Network: spv.Regtest, URL: server.URL, Key: filepath.Join(dir, "key"), Credentials: filepath.Join(dir, "rpc"), Timeout: 2 * time.Second}
	for path, text := range map[string]string{o.Key: text, o.Credentials: "anchor:top-secret\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// TestStrangeServers: what is no node gets no credentials of another, no memory and no time, and a clear verdict.
func TestStrangeServers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			t.Error("the credentials went elsewhere")
		}
	}))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    vaultmesh.Kind
		want    string
	}{
		"a web page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, vaultmesh.Corrupt, "not JSON-RPC"},
		"null":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("null")) }, vaultmesh.Corrupt, "not that to the question"},
		"another id": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"result":1,"error":null,"id":99}`))
		}, vaultmesh.Corrupt, "not that to the question"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxReply+1)) }, vaultmesh.TooLarge, "more than"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		}, vaultmesh.Unavailable, "broke off"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, vaultmesh.Denied, "credentials"},
		"busy":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, vaultmesh.Unavailable, "busy"},
		"status 500": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte(`{"result":null,"error":null,"id":1}`))
		}, vaultmesh.Unavailable, "500"},
		"leads elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, vaultmesh.Corrupt, "307"},
		"silent": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client is gone
			<-r.Context().Done()
		}, vaultmesh.Unavailable, "does not answer"},
		"deep": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Repeat("[", 100_000)))
		}, vaultmesh.Corrupt, "not JSON-RPC"},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, c.handler)
			if name == "silent" {
				o.Timeout = 50 * time.Millisecond
			}
			target, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			j, err := target.Advance(t.Context(), newJob(body))
			if vaultmesh.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || j.State != anchor.Queued {
				t.Errorf("%v, want %s and %q", err, c.kind, c.want)
			}
			if strings.Contains(err.Error(), "top-secret") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

// TestTLS: a node is known by the certificate that is pinned, and by no other.
func TestTLS(t *testing.T) {
	node := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer node.Close()
	node.Config.ErrorLog = log.New(io.Discard, "", 0)
	o := world(t, func(http.ResponseWriter, *http.Request) {})
	o.URL, o.CA = node.URL, filepath.Join(t.TempDir(), "rpc.cert")
	if err := os.WriteFile(o.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: node.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for ca, want := range map[string]string{o.CA: "busy", "": "does not answer"} {
		o.CA = ca
		target, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Advance(t.Context(), newJob(body)); vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("with CA %q: %v", ca, err)
		}
		target.Close()
	}
}

// TestNewCookie: Bitcoin Core writes new credentials at each start.
func TestNewCookie(t *testing.T) {
	asked := 0
	o := world(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if _, pass, _ := r.BasicAuth(); pass != "newer" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	target, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := os.WriteFile(o.Credentials, []byte("__cookie__:newer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Advance(t.Context(), newJob(body)); vaultmesh.KindOf(err) != vaultmesh.Unavailable || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestSecrets(t *testing.T) {
	good := world(t, func(http.ResponseWriter, *http.Request) {})
	foreign, _, err := GenerateKey(spv.Mainnet, strings.NewReader(strings.Repeat("seed", 8)))
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := os.ReadFile(good.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *Options)
		kind   vaultmesh.Kind
		want   string
	}{
		"key that others read":         {func(o *Options) { o.Key = write(string(key), 0o640) }, vaultmesh.Denied, "chmod 600"},
		"credentials that others read": {func(o *Options) { o.Credentials = write("a:b", 0o604) }, vaultmesh.Denied, "chmod 600"},
		"no key":                       {func(o *Options) { o.Key = filepath.Join(t.TempDir(), "none") }, vaultmesh.NotFound, "cannot read"},
		"a folder":                     {func(o *Options) { o.Key = t.TempDir() }, vaultmesh.Invalid, "regular file"},
		"another network's key":        {func(o *Options) { o.Key = write(foreign, 0o600) }, vaultmesh.Invalid, "not one of regtest"},
		"damaged key":                  {func(o *Options) { o.Key = write(string(key[:20])+"x"+string(key[21:]), 0o600) }, vaultmesh.Invalid, "wallet import format"},
		"huge key":                     {func(o *Options) { o.Key = write(strings.Repeat("k", maxSecret+1), 0o600) }, vaultmesh.Invalid, "at most"},
		"credentials without colon":    {func(o *Options) { o.Credentials = write("secret", 0o600) }, vaultmesh.Invalid, "user:password"},
		"credentials in the address":   {func(o *Options) { o.URL = "http://user:secret@127.0.0.1:1" }, vaultmesh.Invalid, "credentials file"},
		"no address":                   {func(o *Options) { o.URL = "127.0.0.1:18443" }, vaultmesh.Invalid, "https://host:port"},
		"CA that is none":              {func(o *Options) { o.CA = good.Key }, vaultmesh.Invalid, "no PEM"},
		"unknown network":              {func(o *Options) { o.Network = "btc" }, vaultmesh.Invalid, "networks are"},
		"floor above cap":              {func(o *Options) { o.FeeFloor = 51 }, vaultmesh.Invalid, "fee_floor"},
		"final before confirmed":       {func(o *Options) { o.Confirmations, o.Final = 7, 6 }, vaultmesh.Invalid, "confirmations"},
		"negative":                     {func(o *Options) { o.MaxFee = -1 }, vaultmesh.Invalid, "max_fee"},
		"bits":                         {func(o *Options) { o.MaxBits = 0xff000000 }, vaultmesh.Invalid, "compact form"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := New(o)
			if vaultmesh.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s and %q", err, c.kind, c.want)
			}
			if strings.Contains(err.Error(), strings.TrimSpace(string(key))[:15]) || strings.Contains(err.Error(), "secret@") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
	a, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if !strings.HasPrefix(a.Address(), "bcrt1q") {
		t.Error(a.Address())
	}
	if most, unit := a.Budget(); most.Int64() != 100_000 || unit != "satoshi" {
		t.Errorf("%v %s", most, unit)
	}
}

// TestForgedMainnet: a node that says it is on the main network, and shows blocks that cost nothing.
func TestForgedMainnet(t *testing.T) {
	b := startBTCD(t)
	j := b.to(b.funded(Options{}, 100_000), newJob(body), anchor.Submitted)
	b.mine(6)
	l := liar(t, b)
	genesis := networks[spv.Mainnet].GenesisHash.String()
	l.set(func(m string, p []json.RawMessage) (any, *nodeError) {
		if m == "getblockhash" && string(p[0]) == "0" {
			return genesis, nil
		}
		return nil, nil
	})
	text, _, err := GenerateKey(spv.Mainnet, strings.NewReader(strings.Repeat("seed", 8)))
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Now()}
	target, err := New(Options{Network: spv.Mainnet, URL: l.URL, Credentials: b.creds, Key: b.write("mainnet", text, 0o600), Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	got, err := target.Advance(t.Context(), j)
	if vaultmesh.KindOf(err) != vaultmesh.Denied || !strings.Contains(err.Error(), "easier than the least that is trusted") || got.State.Anchored() {
		t.Errorf("%s, %v", got.State, err)
	}
	c.at = c.at.Add(25 * time.Hour) // no block comes any more
	if _, err := target.Advance(t.Context(), j); vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "not in step") {
		t.Errorf("%v", err)
	}
}
