package bitcoin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/test/peers"
)

const body = "vaultmesh.test/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

// TestAnchor takes a job all the way in a real node, and has its proof and its .ots judged by foreign tools.
func TestAnchor(t *testing.T) {
	b := startBTCD(t)
	target := b.funded(Options{Final: 3}, 100_000)
	b.pay(target.Address(), 5_000) // neighbours in the block, so that the branch has nodes
	b.pay(target.Address(), 6_000)
	j := newJob(body)
	j = b.advance(target, j)
	if j.State != anchor.Queued || len(j.Memo) == 0 || j.Fee == "" || len(b.history(target)) != 3 {
		t.Fatalf("after signing: %s, fee %s, %d transactions", j.State, j.Fee, len(b.history(target)))
	}
	if j = b.advance(target, j); j.State != anchor.Submitted || len(j.Proof) != 0 {
		t.Fatalf("after sending: %s", j.State)
	}
	if j = b.advance(target, j); j.State != anchor.Submitted || j.NotBefore.IsZero() {
		t.Fatalf("before it is mined: %s", j.State)
	}
	b.mine(1)
	if j = b.advance(target, j); j.State != anchor.Confirmed {
		t.Fatalf("after one block: %s, %s", j.State, j.Detail)
	}
	b.mine(1)
	if j = b.advance(target, j); j.State != anchor.Confirmed || !strings.Contains(j.Detail, "2 of 3") {
		t.Fatalf("after two blocks: %s, %s", j.State, j.Detail)
	}
	b.mine(1)
	if j = b.advance(target, j); j.State != anchor.Final {
		t.Fatalf("after three blocks: %s, %s", j.State, j.Detail)
	}
	proved, err := target.Proved(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if proved.Height != b.height()-2 || time.Since(proved.Time).Abs() > 3*time.Hour || len(proved.Block) != 64 {
		t.Errorf("proved %+v", proved)
	}
	if fee, err := strconv.Atoi(j.Fee); err != nil || fee < 140 || fee > 50*160 {
		t.Errorf("fee %s satoshi, the cap is 50 sat/vB", j.Fee)
	}
	r, err := spv.Verify(j.Proof, j.Digest, spv.Params{Network: spv.Regtest, Confirmations: 3})
	if err != nil {
		t.Fatal(err)
	}
	b.mine(4)
	longer, r2, err := Extend(t.Context(), Options{Network: spv.Regtest, URL: b.url, Credentials: b.creds}, j.Proof, 0)
	if err != nil || r2.Confirmations != 7 || r2.Block != r.Block {
		t.Errorf("extended: %+v, %v", r2, err)
	}
	if _, err := spv.Verify(longer, j.Digest, spv.Params{Network: spv.Regtest, Confirmations: 7}); err != nil {
		t.Error(err)
	}
	account, err := target.Account(t.Context())
	if err != nil || account.Coins != 3 || account.Value <= 0 || account.Cost < 153 {
		t.Errorf("account %+v, %v", account, err)
	}
	t.Logf("proof %d bytes, %d confirmations, transaction %s", len(j.Proof), r.Confirmations, r.Tx)
	foreign(t, j)
}

// foreign has python3-bitcoinlib and python3-opentimestamps judge the proof, and each tampered part of it.
func foreign(t *testing.T, j anchor.Job) {
	python := peers.Python(t, "python3-opentimestamps python3-bitcoinlib", "bitcoin, opentimestamps")
	ots, err := spv.OTS(j.Proof)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf(".ots %d bytes", len(ots))
	p, err := spv.Decode(j.Proof)
	if err != nil {
		t.Fatal(err)
	}
	type question struct {
		Proof      string  `json:"proof"`
		OTS        *string `json:"ots"`
		Digest     string  `json:"digest"`
		Network    string  `json:"network"`
		Good       string  `json:"good"`
		GoodDigest string  `json:"good_digest"`
		name       string
		proof, ots bool // what must be accepted
	}
	var questions []question
	ask := func(name string, digest vaultmesh.Digest, proof, file []byte, proofHolds, otsHolds bool) {
		text := hex.EncodeToString(file)
		questions = append(questions, question{string(proof), &text, hex.EncodeToString(digest[:]), spv.Regtest, string(j.Proof), hex.EncodeToString(j.Digest[:]), name, proofHolds, otsHolds})
	}
	ask("real", j.Digest, j.Proof, ots, true, true)
	ask("another digest", vaultmesh.Sum([]byte("other")), j.Proof, ots, false, false)
	tamper := func(name string, change func(p *spv.Proof)) {
		c, err := spv.Decode(j.Proof)
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		raw, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spv.Verify(raw, j.Digest, spv.Params{Network: spv.Regtest, Confirmations: 1}); err == nil {
			t.Errorf("%s: we accept it", name)
		}
		ask(name, j.Digest, raw, ots, false, true)
	}
	at := bytes.Index(p.Tx, j.Digest[:])
	tamper("digest in the transaction", func(p *spv.Proof) { p.Tx[at] ^= 1 })
	tamper("value in the transaction", func(p *spv.Proof) { p.Tx[len(p.Tx)-5] ^= 1 })
	tamper("branch", func(p *spv.Proof) { p.Branch[0][3] ^= 1 })
	tamper("index", func(p *spv.Proof) { p.Index ^= 1 })
	tamper("root in the header", func(p *spv.Proof) { p.Header[40] ^= 1 })
	tamper("following header left out", func(p *spv.Proof) { p.Following = p.Following[1:] })
	tamper("order of headers", func(p *spv.Proof) { p.Following[0], p.Following[1] = p.Following[1], p.Following[0] })
	for i := range ots {
		bad := bytes.Clone(ots)
		bad[i] ^= 1
		ask("byte "+strconv.Itoa(i)+" of the .ots", j.Digest, j.Proof, bad, true, false)
	}
	var in bytes.Buffer
	for _, q := range questions {
		raw, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(raw, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/check.py")
	cmd.Stdin = &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(lines), len(questions))
	}
	for i, q := range questions {
		var a struct{ Proof, OTS string }
		if err := json.Unmarshal([]byte(lines[i]), &a); err != nil {
			t.Fatal(err)
		}
		if (a.Proof == "ok") != q.proof || (a.OTS == "ok") != q.ots {
			t.Errorf("%s: the foreign tools say %q of the proof and %q of the .ots", q.name, a.Proof, a.OTS)
		}
	}
	t.Logf("judged by python3-bitcoinlib and python3-opentimestamps: 1 good, %d tampered", len(questions)-1)
}

// TestCrash loses results at every border between two steps: the job is paid once.
func TestCrash(t *testing.T) {
	b := startBTCD(t)
	o := Options{Key: b.funded(Options{}, 60_000, 70_000, 80_000).o.Key, Final: 2}
	fresh := func() *Target { return b.target(o) } // a restarted process
	j := newJob(body)
	first := b.advance(fresh(), j)
	if again := b.advance(fresh(), j); !sameTx(t, first, again) {
		t.Error("signing again after a crash gives another transaction: the first, which was stored nowhere, and this could both be mined")
	}
	j = first // stored; the process dies before it sends
	if n := len(b.history(fresh())); n != 1 {
		t.Fatalf("%d transactions before anything was sent", n)
	}
	sent := b.advance(fresh(), j) // sent; the process dies before it stores
	if sent.State != anchor.Submitted {
		t.Fatal(sent.State)
	}
	j = b.advance(fresh(), j)
	if j.State != anchor.Submitted || !sameTx(t, first, j) {
		t.Fatalf("after the second sending: %s", j.State)
	}
	b.mine(1)
	again := b.to(fresh(), first, anchor.Confirmed) // sent and even mined; nothing of it was stored
	j = b.to(fresh(), again, anchor.Final)
	var spends int
	for _, tx := range b.history(fresh()) {
		if bytes.Equal(tx.TxOut[0].PkScript, spv.Script(j.Digest)) {
			spends++
		}
	}
	if spends != 1 {
		t.Errorf("%d transactions commit to the digest", spends)
	}
}

func sameTx(t *testing.T, a, b anchor.Job) bool {
	t.Helper()
	x, err := readMemo(a.Memo)
	if err != nil {
		t.Fatal(err)
	}
	y, err := readMemo(b.Memo)
	if err != nil {
		t.Fatal(err)
	}
	return x.newest().Tx == y.newest().Tx
}

// TestReplace has a transaction wait for too long: replacements pay more up to the caps, and one of all is mined.
func TestReplace(t *testing.T) {
	b := startBTCD(t)
	c := &clock{time.Now()}
	ignorant := liar(t, b)
	ignorant.set(noEstimate)
	target := b.funded(Options{URL: ignorant.URL, FeeCap: 4, StuckAfter: time.Hour, Now: c.now}, 100_000)
	j := newJob(body)
	j = b.advance(target, b.advance(target, j))
	if j = b.advance(target, j); len(versions(t, j)) != 1 {
		t.Fatal("replaced before its time")
	}
	for range maxVersions {
		c.at = c.at.Add(61 * time.Minute)
		next := b.advance(target, j)
		if next.State != anchor.Submitted {
			t.Fatal(next.State)
		}
		j = b.advance(target, next) // sends what was signed
	}
	all := versions(t, j)
	if len(all) < 3 || !strings.Contains(j.Detail, "caps") {
		t.Errorf("%d versions, %s", len(all), j.Detail)
	}
	coin := func(v version) wire.OutPoint {
		tx, err := v.decode()
		if err != nil {
			t.Fatal(err)
		}
		return tx.TxIn[0].PreviousOutPoint
	}
	for i, v := range all[1:] {
		if coin(v) != coin(all[0]) || v.Fee < all[i].Fee+v.Size || v.Fee > 4*v.Size+1 {
			t.Errorf("version %d: %d satoshi after %d, size %d", i+1, v.Fee, all[i].Fee, v.Size)
		}
	}
	if j.Fee != strconv.FormatInt(all[len(all)-1].Fee, 10) {
		t.Errorf("the job may cost %s", j.Fee)
	}
	b.mine(1)
	if j = b.advance(target, j); j.State != anchor.Confirmed {
		t.Fatalf("%s, %s", j.State, j.Detail)
	}
	p, err := spv.Decode(j.Proof)
	if err != nil || spv.Sum2(p.Tx).String() != all[len(all)-1].Txid {
		t.Errorf("mined was not the newest: %v", err)
	}
	// An older version may be mined all the same: its proof is as good.
	if len(b.history(target)) != 2 {
		t.Error("two versions are in the chain")
	}
}

// noEstimate is a node that cannot estimate fees: the blocks of these tests would teach it nonsense.
func noEstimate(method string, _ []json.RawMessage) (any, *nodeError) {
	if method == "estimatefee" {
		return nil, &nodeError{-32603, "not enough blocks have been observed"}
	}
	return nil, nil
}

func versions(t testing.TB, j anchor.Job) []version {
	t.Helper()
	m, err := readMemo(j.Memo)
	if err != nil {
		t.Fatal(err)
	}
	return m.Versions
}

// TestNodeWantsMore: the node's least fee is above our floor. The transaction is replaced until it is taken, or the caps
// say no.
func TestNodeWantsMore(t *testing.T) {
	b := startBTCD(t)
	lie := liar(t, b)
	refused := 0
	lie.set(func(method string, params []json.RawMessage) (any, *nodeError) {
		if method == "sendrawtransaction" && refused < 2 {
			refused++
			return nil, &nodeError{-26, "min relay fee not met, 141 < 350"} // Bitcoin Core's words
		}
		return noEstimate(method, params)
	})
	target := b.funded(Options{URL: lie.URL}, 100_000)
	j := b.to(target, newJob(body), anchor.Submitted)
	if v := versions(t, j); len(v) != 3 || v[2].Fee < 3*v[0].Fee {
		t.Errorf("%d versions", len(v))
	}
	refused = -1000
	capped := b.funded(Options{URL: lie.URL, FeeCap: 2}, 100_000)
	j = newJob(body)
	var err error
	for range 6 {
		if j, err = capped.Advance(t.Context(), j); err != nil {
			break
		}
	}
	if vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "fee_cap") || j.State != anchor.Queued {
		t.Errorf("%s: %v", j.State, err)
	}
}

// TestMoney: no coins, coins that are not confirmed, too small ones, and caps that are too tight.
func TestMoney(t *testing.T) {
	b := startBTCD(t)
	ignorant := liar(t, b)
	ignorant.set(noEstimate)
	for _, c := range []struct {
		name   string
		o      Options
		pay    []int64
		mine   int
		kind   vaultmesh.Kind
		want   string
		inputs int // where it succeeds
	}{
		{"nothing", Options{}, nil, 1, vaultmesh.Unavailable, "coins of 0 satoshi are there, an anchor costs 699", 0},
		{"not confirmed", Options{}, []int64{50_000}, 0, vaultmesh.Unavailable, "coins of 0 satoshi", 0},
		{"confirmed once, wanted twice", Options{Confirmations: 2}, []int64{50_000}, 1, vaultmesh.Unavailable, "coins of 0 satoshi", 0},
		{"confirmed twice", Options{Confirmations: 2}, []int64{50_000}, 2, 0, "", 1},
		{"dust only", Options{}, []int64{546, 500, 400}, 1, vaultmesh.Unavailable, "coins of 0 satoshi", 0},
		{"just enough without change", Options{}, []int64{600}, 1, 0, "", 1},
		{"several small", Options{FeeFloor: 5}, []int64{700, 700, 700, 700}, 1, 0, "", 3},
		{"too many small", Options{FeeFloor: 20}, []int64{1000, 1000, 1000, 1000}, 1, vaultmesh.Unavailable, "coins of 4000 satoshi", 0},
		{"smallest that suffices", Options{}, []int64{90_000, 20_000, 600, 50_000}, 1, 0, "", 1},
		{"cap below the floor", Options{FeeFloor: 10, MaxFee: 500}, []int64{50_000}, 1, vaultmesh.RateLimited, "the limit is 500", 0},
		{"cap of one transaction", Options{FeeFloor: 2, MaxFee: 400}, []int64{400, 500, 600}, 1, vaultmesh.RateLimited, "above the limit of 400", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.URL = ignorant.URL
			target := b.target(c.o)
			if len(c.pay) > 0 {
				b.pay(target.Address(), c.pay...)
			}
			if c.mine > 0 {
				b.mine(c.mine)
			}
			j, err := target.Advance(t.Context(), newJob(body))
			if c.inputs > 0 {
				if err != nil {
					t.Fatal(err)
				}
				v := versions(t, j)[0]
				if len(v.Values) != c.inputs || v.Fee > target.o.MaxFee {
					t.Errorf("%d inputs of %v, fee %d", len(v.Values), v.Values, v.Fee)
				}
				if c.name == "smallest that suffices" && v.Values[0] != 20_000 {
					t.Errorf("it takes the coin of %d", v.Values[0])
				}
				if j = b.advance(target, j); j.State != anchor.Submitted {
					t.Errorf("the node does not take it: %s", j.Detail)
				}
				b.mine(1)
				return
			}
			if vaultmesh.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || len(j.Memo) != 0 {
				t.Errorf("%v, want %s and %q", err, c.kind, c.want)
			}
			if c.mine == 0 {
				b.mine(1)
			}
		})
	}
}
