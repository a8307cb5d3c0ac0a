package mcpapi

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// Search answers as many receipts as are asked for, whose bodies grow, and goes on for ever.
func (n *node) Search(_ context.Context, c control.Caller, q lawchain.Search) (lawchain.Answer, error) {
	if err := n.enter(c); err != nil {
		return lawchain.Answer{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.searched = q
	from, err := strconv.Atoi("0" + q.Cursor)
	if err != nil {
		return lawchain.Answer{}, vaultmesh.Errorf(vaultmesh.Invalid, "receipts.search", "cursor", "it is no cursor")
	}
	a := lawchain.Answer{Next: strconv.Itoa(from + q.Limit)}
	for i := range q.Limit {
		f := lawchain.Found{Index: vaultmesh.LogIndex(1<<60 + i)}
		f.Receipt = receipt.Receipt{Domain: "dev", Draft: receipt.Draft{Kind: "command.denied", Subject: q.Subject, Actor: "agent:a", Time: start, Outcome: "denied",
			Body: json.RawMessage(`{"pad":"` + strings.Repeat("x", i*300) + `"}`)}}
		a.Found = append(a.Found, f)
	}
	return a, nil
}

// State proves a state with one twin in it.
func (n *node) State(_ context.Context, c control.Caller, key string, size uint64) (StateProof, error) {
	if err := n.enter(c); err != nil {
		return StateProof{}, err
	}
	t := n.twins[0]
	document := t.Document()
	leaf := state.Leaf{Path: state.Path(state.TwinKey(t.ID)), Value: vaultmesh.Sum(document)}
	p := state.Proof{Receipt: 3, Key: key, Other: &leaf}
	if key == state.TwinKey(t.ID) {
		p = state.Proof{Receipt: 3, Key: key, Value: leaf.Value, Document: document}
	}
	if size == 0 {
		size = 3
	}
	root := leaf.Hash()
	if n.lies {
		root[0]++
	}
	return StateProof{Size: size, Receipt: 3, Root: root, Entries: 1, Time: start, Proof: p.Encode()}, nil
}

// What can be searched and proved is what HTTP tells the same caller, and nothing is told before that is known.
func TestSearchNeedsTheRightToRead(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	url := serveHTTP(t, s)
	ask := func(principal, tool, args string) bool {
		t.Helper()
		_, body := send(t, url, principal, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+args+`}}`, sessionHeader, open(t, url, principal), versionHeader, newestOld)
		return !strings.Contains(body, `"isError":true`)
	}
	for _, tc := range []struct {
		tool, args           string
		one, other, everyone bool
	}{
		{"search_receipts", `{"twin":"bus:1"}`, true, false, true},
		{"search_receipts", `{"command_id":"cmd-02"}`, false, true, true}, // on line-1-2
		{"search_receipts", `{"command_id":"cmd-02","twin":"bus:1"}`, false, true, true},
		{"search_receipts", `{"actor":"agent:a"}`, false, false, true},
		{"search_receipts", `{}`, false, false, true},
		{"prove_state", `{"twin":"bus:1"}`, true, false, true},
		{"prove_state", `{"twin":"line-1-2"}`, false, true, true},
		{"prove_state", `{"subject":"twin/bus:1"}`, true, false, true},
		{"prove_state", `{"subject":"halt/dev"}`, false, false, true},
	} {
		for principal, want := range map[string]bool{"agent:one bus:*": tc.one, "agent:other line-*": tc.other, "agent:all": tc.everyone} {
			before := n.count()
			if got := ask(principal, tc.tool, tc.args); got != want {
				t.Errorf("%s %s by %s: %v", tc.tool, tc.args, principal, got)
			}
			if !want && n.count() > before+1 { // one to learn of which twin the command is
				t.Errorf("%s %s by %s reaches the node", tc.tool, tc.args, principal)
			}
		}
	}
}

// Answers are bounded, wrong questions explained, and a node that lies about a state is found out.
func TestSearchIsBounded(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	r, out := ask(t, s, "search_receipts", `{"command_id":"cmd-01","bodies":true,"limit":50}`)
	if r.failed || len(r.text) > maxText || len(out["receipts"].([]any)) != 50 {
		t.Fatalf("%d bytes: %s", len(r.text), r.text)
	}
	for i, x := range out["receipts"].([]any) {
		if _, has := x.(map[string]any)["body"]; has != (i*300+10 <= maxBody) {
			t.Errorf("receipt %d: with its body %v", i, has)
		}
	}
	if _, out = ask(t, s, "search_receipts", `{"scroll":"guardian","cursor":"20"}`); out["cursor"] != "40" || len(n.searched.Kinds) == 0 {
		t.Errorf("%v %+v", out["cursor"], n.searched)
	}
	for tool, wrong := range map[string][]string{
		"search_receipts": {`{"limit":51}`, `{"scroll":"moon"}`, `{"scroll":"guardian","kinds":["halt.set"]}`, `{"from":"today"}`, `{"twin":"a/b"}`, `{"cursor":"x"}`},
		"prove_state":     {`{}`, `{"twin":"bus:1","subject":"halt/dev"}`, `{"subject":"halt/dev","property":"x"}`, `{"twin":"bus:1","at_size":"-1"}`, `{"subject":"command/cmd-01"}`},
	} {
		for _, args := range wrong {
			if _, out := ask(t, s, tool, args); out["kind"] != "invalid" {
				t.Errorf("%s %s: %v", tool, args, out)
			}
		}
	}
	n.lies = true
	if _, out := ask(t, s, "prove_state", `{"twin":"bus:1"}`); out["kind"] != "corrupt" {
		t.Errorf("a lie becomes %v", out)
	}
}
