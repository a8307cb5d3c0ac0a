package ethereum

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
)

// silent answers null to every question for a transaction's receipt, as a pruned node does or one that lies, and has no
// events where it hides them too.
func silent(hide bool) twist {
	return func(method string, _ []json.RawMessage, _ json.RawMessage) json.RawMessage {
		switch {
		case method == "eth_getTransactionReceipt":
			return json.RawMessage("null")
		case method == "eth_getLogs" && hide:
			return json.RawMessage("[]")
		}
		return nil
	}
}

// spentBy is what the account has paid since before.
func (c *chain) spentBy(t *Target, before *big.Int) *big.Int {
	return new(big.Int).Sub(before, c.balance(t.Account()))
}

// The only node has no receipts of transactions: the anchor is found by its event, and paid once.
func TestSilentNode(t *testing.T) {
	c := anvil(t)
	p := newProxy(c)
	target := c.deploy(func(o *Options) { o.Endpoints = []Endpoint{{URL: p.url}} })
	p.lie(silent(false))
	before := c.balance(target.Account())
	j := c.must(target, newJob("silent"), anchor.Queued)
	j = c.must(target, j, anchor.Submitted)
	c.mine(70)
	j = c.must(target, j, anchor.Confirmed)
	if paid := c.spentBy(target, before); j.Fee != paid.String() || paid.Sign() <= 0 {
		t.Errorf("paid %s, the job says %s", paid, j.Fee)
	}
	// Hidden at first and found later: it is not paid again.
	p.lie(silent(true))
	before = c.balance(target.Account())
	j = c.must(target, newJob("found late"), anchor.Queued)
	fee := j.Fee
	j = c.must(target, j, anchor.Submitted)
	c.mine(70)
	j = c.must(target, j, anchor.Submitted)
	p.lie(silent(false))
	j = c.must(target, j, anchor.Confirmed)
	if paid := c.spentBy(target, before); len(memoOf(t, j).Signed) != 1 || j.Fee != paid.String() || paid.Cmp(amountOf(t, fee)) > 0 {
		t.Errorf("fee %s of %s, paid %s", j.Fee, fee, paid)
	}
}

// The only node has no receipts and hides the events: the anchor is paid once, whatever the node says and however often the
// job is looked at, and given up in the end; what was sent stays in the job's fee.
func TestSilentLiar(t *testing.T) {
	c := anvil(t)
	p := newProxy(c)
	now := time.Now()
	target := c.deploy(func(o *Options) {
		o.Endpoints, o.Now = []Endpoint{{URL: p.url}}, func() time.Time { return now }
	})
	p.lie(silent(true))
	before := c.balance(target.Account())
	j := c.must(target, newJob("liar"), anchor.Queued)
	fee := j.Fee
	j = c.must(target, j, anchor.Submitted)
	for range 5 {
		c.mine(70)
		j = c.must(target, j, anchor.Submitted)
		now = now.Add(lostAfter / 6)
	}
	now = now.Add(lostAfter)
	j = c.must(target, j, anchor.Failed)
	if m := memoOf(t, j); len(m.Signed) != 1 || m.Lost != 0 || j.Fee != fee || !strings.Contains(j.Detail, "several endpoints") {
		t.Errorf("%+v, fee %s of %s: %s", m, j.Fee, fee, j.Detail)
	}
	var sent quantity
	if c.do(&sent, "eth_getTransactionCount", target.Account(), "latest"); uint64(sent) != memoOf(t, j).Nonce+1 {
		t.Errorf("the account's count is %d after the nonce %d", sent, memoOf(t, j).Nonce)
	}
	if paid := c.spentBy(target, before); paid.Sign() <= 0 || amountOf(t, fee).Cmp(paid) < 0 {
		t.Errorf("paid %s, the job says %s", paid, fee)
	}
	c.must(target, j, anchor.Failed)
}

// A foreign transaction that several nodes name costs the job nothing; where one node alone says so, it may be a lie.
func TestForeignNonceProved(t *testing.T) {
	c := anvil(t)
	one := c.deploy(func(o *Options) { o.FinalDepth = 8 })
	three := one.o
	three.Agree = 0
	p := newProxy(c)
	three.Endpoints = []Endpoint{{Name: "a", URL: p.url}, {Name: "b", URL: c.url}, {Name: "c", URL: c.url}}
	many, err := New(three)
	if err != nil {
		t.Fatal(err)
	}
	p.lie(func(method string, params []json.RawMessage, r json.RawMessage) json.RawMessage { // events that are not there
		if method != "eth_getLogs" {
			return nil
		}
		var at struct{ Hash, Number, ParentHash json.RawMessage }
		c.do(&at, "eth_getBlockByNumber", "latest", false)
		return json.RawMessage(sprintf(`[{"blockNumber":%s,"blockHash":%s}]`, at.Number, at.Hash))
	})
	for name, x := range map[string]struct {
		target *Target
		proved bool
	}{"one": {one, false}, "three": {many, true}} {
		c.do(nil, "evm_setAutomine", false)
		j := c.must(x.target, newJob(name), anchor.Queued)
		fee := j.Fee
		c.do(nil, "eth_sendTransaction", map[string]any{"from": one.Account(), "to": one.Account(), "gasPrice": quantity(50e9)})
		c.mine(1)
		j = c.must(x.target, j, anchor.Submitted)
		c.mine(9)
		if !x.proved {
			if j = c.must(x.target, j, anchor.Submitted); len(memoOf(t, j).Signed) != 1 || j.Fee != fee {
				t.Errorf("%s: %+v, fee %s of %s", name, memoOf(t, j), j.Fee, fee)
			}
			continue
		}
		j = c.must(x.target, j, anchor.Queued)
		if m := memoOf(t, j); m.Lost != 1 || j.Fee != fee {
			t.Errorf("%s: %+v, fee %s of %s", name, m, j.Fee, fee)
		}
		j = c.must(x.target, j, anchor.Queued)
		j = c.must(x.target, j, anchor.Submitted)
		c.mine(2)
		c.must(x.target, j, anchor.Confirmed)
	}
}

// What nodes say is the cause of an error, for the log, and no part of a sentence that may stand in a receipt.
func TestForeignWords(t *testing.T) {
	c := anvil(t)
	target := c.deploy()
	a, b := newProxy(c), newProxy(c)
	o := target.o
	o.Agree = 0
	o.Endpoints = []Endpoint{{Name: "first.internal", URL: a.url}, {Name: "second.internal", URL: b.url}}
	x, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]json.RawMessage{"a quantity": json.RawMessage(`"0xforeign words"`), "another": json.RawMessage(`"` + strings.Repeat("foreign words ", 10_000) + `"`)} {
		f := func(method string, _ []json.RawMessage, _ json.RawMessage) json.RawMessage {
			if method == "eth_blockNumber" {
				return lie
			}
			return nil
		}
		a.lie(f)
		b.lie(f)
		_, err = c.advance(x, newJob(name))
		if vaultmesh.KindOf(err) != vaultmesh.Unavailable || !strings.Contains(err.Error(), "first.internal") || len(err.Error()) > 2*maxSaid {
			t.Errorf("%s: %v", name, err)
		}
		if e, ok := err.(*vaultmesh.Error); !ok || strings.Contains(e.Detail+e.Fix, "foreign") || strings.Contains(e.Detail+e.Fix, "internal") || e.Detail == "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	_, err = appendField(nil, json.RawMessage(`"foreign words"`), true)
	if e, ok := err.(*vaultmesh.Error); !ok || strings.Contains(e.Detail, "foreign") {
		t.Errorf("%v", err)
	}
}

func amountOf(t *testing.T, s string) *big.Int {
	t.Helper()
	n, err := parseWei("fee", s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
