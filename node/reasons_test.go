package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// What an agent says over MCP can be erased as what a person says: over standard input, where the bridge withholds it from
// what it signs, and over HTTP for a client that does so itself. Whoever may read the command sees it until then, and the
// evidence verifies before and after.
func TestAgentsReasonsCanBeErased(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, data)
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, operator := clientOf(t, data, DevAgent), clientOf(t, data, DevOperator)
	words := []string{"Zaphod of the night shift asked for it by telephone", "Zebulon is on leave"}

	bridge := NewBridge(func(context.Context) (*httpapi.Client, *receipt.Trust, error) { return client, nil, nil })
	p := control.Proposal{Twin: "load-9", Command: "shed", Args: json.RawMessage(`{"fraction":0.5}`), IdempotencyKey: "b-1", Reason: words[0]}
	first, err := bridge.Propose(ctx, control.Caller{}, p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := bridge.Propose(ctx, control.Caller{}, p); err != nil || !again.Replayed || again.ID != first.ID {
		t.Fatalf("again: %+v %v", again, err)
	}

	withheld, err := control.Proposal{Reason: words[1]}.Withheld(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	call := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"propose_command","arguments":{"twin":"load-9","command":"shed","args":{"fraction":0.5},"idempotency_key":"h-1","reason":%q},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`, withheld.Reason)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL()+"/mcp", strings.NewReader(call))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "propose_command", httpapi.OpeningHeader: httpapi.EncodeOpening(withheld.Opening)} {
		req.Header.Set(k, v)
	}
	resp, err := client.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s %v", resp.StatusCode, answer, err)
	}
	list, err := operator.List(ctx, control.Filter{Twin: "load-9", Limit: 10})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d commands, %v: %s", len(list), err, answer)
	}
	ids := []vaultmesh.CommandID{first.ID, list[0].ID}
	check := func(want []string) {
		t.Helper()
		bundle, err := operator.Bundle(ctx, ids...)
		if err != nil {
			t.Fatal(err)
		}
		if r := receipt.Verify(bundle, pinned(t, data)); !r.OK {
			t.Fatalf("the evidence does not verify: %v", r.Failed())
		}
		if bytes.Contains(bundle, []byte("Zaphod")) || bytes.Contains(bundle, []byte("Zebulon")) {
			t.Error("the bundle holds the words")
		}
		for i, id := range ids {
			got, err := operator.Command(ctx, id)
			if err != nil || got.History[0].Reason != want[i] {
				t.Errorf("%s: %+v %v, want %q", id, got.History[0], err, want[i])
			}
		}
	}
	check(words)
	for i := range n.log.Checkpoint().Size {
		raw, err := n.log.Receipt(vaultmesh.LogIndex(i))
		if err != nil {
			t.Fatal(err)
		}
		r, err := receipt.Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(r.Body), "Zaphod") || strings.Contains(string(r.Body), "Zebulon") {
			t.Errorf("receipt %d (%s) holds the words", i, r.Kind)
		}
	}
	// The agent finds its own command's receipts by the bridge.
	found, err := bridge.Search(ctx, control.Caller{}, lawchain.Search{Subject: receipt.CommandSubject(first.ID), Limit: 50})
	if err != nil || len(found.Found) < 3 || found.Found[0].Receipt.Subject != receipt.CommandSubject(first.ID) {
		t.Errorf("%d receipts, %v", len(found.Found), err)
	}
	if _, err := bridge.State(ctx, control.Caller{}, state.TwinKey("load-9"), 0); vaultmesh.KindOf(err) != vaultmesh.NotFound { // this node keeps no roots
		t.Errorf("%v", err)
	}
	if _, err := operator.Erase(ctx, first.Principal, "asked by letter"); err != nil {
		t.Fatal(err)
	}
	check([]string{"(erased)", "(erased)"})
}
