package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/constitution"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

func startNode(t *testing.T, data string) *Node {
	t.Helper()
	c := gridConfig(data)
	c.State.Interval = 0 // no receipts but those that a test causes
	return start(t, c)
}

func clientOf(t *testing.T, data, name string) *httpapi.Client {
	t.Helper()
	cred, err := LoadCredential(CredentialPath(data, name))
	if err != nil {
		t.Fatal(err)
	}
	c, err := cred.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func pinned(t *testing.T, data string) *receipt.Trust {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(data, "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := receipt.LoadTrust(raw)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// A proposal over MCP on HTTP is judged, receipted with the caller's own proof, and provable offline, in each era of the
// protocol.
func TestMCPOverHTTPIsProvable(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, data)
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	agent := clientOf(t, data, DevAgent)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: n.URL() + "/mcp", HTTPClient: agent.HTTP(), DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	read, err := session.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: constitution.URI})
	if err != nil || len(read.Contents) != 1 || read.Contents[0].Text != constitution.Text() {
		t.Fatalf("the constitution: %v", err)
	}
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "propose_command", Arguments: map[string]any{
		"twin": "load-9", "command": "shed", "args": map[string]any{"fraction": 0.5}, "idempotency_key": "mcp-http-1", "reason": "test"}})
	if err != nil || res.IsError {
		t.Fatalf("%+v %v", res, err)
	}
	var v struct {
		ID    vaultmesh.CommandID `json:"command_id"`
		State string              `json:"state"`
	}
	b, err := json.Marshal(res.StructuredContent)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil || v.State != "denied" {
		t.Fatalf("%s %v", b, err)
	}
	bundle, err := clientOf(t, data, DevOperator).Bundle(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	r := receipt.Verify(bundle, pinned(t, data))
	if !r.OK {
		t.Fatalf("%+v", r.Failed())
	}
	for _, c := range r.Checks {
		if strings.HasPrefix(c.Name, "capability.chain") && !strings.Contains(c.Detail, "holder") {
			t.Logf("%s: %s", c.Name, c.Detail)
		}
	}
}

// A node that was stopped goes on where it was: same log, same twins, same halt, same credentials.
func TestRestart(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, data)
	op := clientOf(t, data, DevOperator)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := op.Halt(ctx, "before the restart"); err != nil {
		t.Fatal(err)
	}
	size, twins := n.log.Checkpoint().Size, n.twins.Len()
	trust, err := os.ReadFile(filepath.Join(data, "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, "node.json")); !os.IsNotExist(err) {
		t.Errorf("node.json is left behind: %v", err)
	}
	n = startNode(t, data)
	defer n.Close()
	if now := n.log.Checkpoint().Size; now != size+1 || n.twins.Len() != twins {
		t.Errorf("%d receipts and %d twins, want %d (one more says that the node started) and %d", now, n.twins.Len(), size+1, twins)
	}
	if again, err := os.ReadFile(filepath.Join(data, "trust.json")); err != nil || string(again) != string(trust) {
		t.Errorf("the trust file changed: %v", err)
	}
	op = clientOf(t, data, DevOperator)
	if h, err := op.HaltState(ctx); err != nil || !h.Halted || h.Reason != "before the restart" {
		t.Errorf("%+v %v", h, err)
	}
	c, err := op.Propose(ctx, control.Proposal{Twin: "gen-2", Command: "connect", IdempotencyKey: "while-halted"})
	if err != nil || c.State != control.Denied {
		t.Errorf("while halted: %s %v", c.State, err)
	}
	if err := op.Ready(ctx); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

// Nothing that the node writes holds a private key where others can read it.
func TestDataFolderIsPrivate(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, data)
	defer n.Close()
	err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		secret := strings.Contains(string(b), "PRIVATE KEY") || strings.HasSuffix(path, ".key") || strings.Contains(path, "/credentials/")
		if secret && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", strings.TrimPrefix(path, data), st.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
