package mcpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
)

// anchorsOf is what the node of a test anchors: each look at a job takes it one state further.
type anchorsOf struct {
	asked []anchor.Request
	looks int
	stuck bool // nothing moves
}

func (n *node) anchorJob(id string, s anchor.State) anchor.Job {
	target, _, _ := strings.Cut(id, "@")
	j := anchor.Job{ID: id, Target: target, Kind: "bitcoin", Size: 1 << 60, Digest: vaultmesh.Sum(nil), State: s, Fee: "141", Unit: "satoshi", Detail: "waits for a block"}
	if s.Anchored() {
		j.Proved, j.Height, j.Block, j.Source, j.Proof = start, 7, "00ab", "bitcoin", []byte("{}")
	}
	return j
}

func (n *node) AnchorNow(_ context.Context, c control.Caller, q anchor.Request) ([]anchor.Job, error) {
	if err := n.enter(c); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.anchors.asked = append(n.anchors.asked, q)
	return []anchor.Job{n.anchorJob("bitcoin@5", anchor.Queued), n.anchorJob("rfc3161/one@5", anchor.Final)}, nil
}

func (n *node) Anchor(_ context.Context, c control.Caller, id string) (anchor.Job, error) {
	if err := n.enter(c); err != nil {
		return anchor.Job{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !strings.HasPrefix(id, "bitcoin@") {
		return anchor.Job{}, vaultmesh.Errorf(vaultmesh.NotFound, "anchor", id, "there is no such job")
	}
	s := anchor.Submitted
	if !n.anchors.stuck {
		if n.anchors.looks++; n.anchors.looks > 2 {
			s = anchor.Confirmed
		}
		if n.anchors.looks > 4 {
			s = anchor.Final
		}
	}
	return n.anchorJob(id, s), nil
}

func (n *node) Anchors(_ context.Context, c control.Caller, f anchor.Filter) ([]anchor.Job, []anchor.Coverage, error) {
	if err := n.enter(c); err != nil {
		return nil, nil, err
	}
	var jobs []anchor.Job
	for i := range f.Limit {
		jobs = append(jobs, n.anchorJob(fmt.Sprintf("bitcoin@%d", 100-i), anchor.Final))
	}
	return jobs, []anchor.Coverage{{Target: "bitcoin", Size: 200, Anchored: 100, Share: 0.5, Warning: "receipts wait"}}, nil
}

func callTool(t *testing.T, cs *mcp.ClientSession, name, args string, token any) (*mcp.CallToolResult, string) {
	t.Helper()
	p := &mcp.CallToolParams{Name: name, Arguments: json.RawMessage(args)}
	if token != nil {
		p.SetProgressToken(token)
	}
	r, err := cs.CallTool(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r, r.Content[0].(*mcp.TextContent).Text
}

// The tool says honestly what is anchored and what is not, waits where it is asked to, and tells its progress.
func TestMultiAnchor(t *testing.T) {
	for _, transport := range []string{"memory", "http"} {
		t.Run(transport, func(t *testing.T) {
			n := sample(t)
			s := newServer(t, n, nil)
			heard := make(chan string, 16)
			client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, q *mcp.ProgressNotificationClientRequest) { heard <- q.Params.Message }})
			cs := connectAs(t, s, client, transport)
			r, text := callTool(t, cs, "multi_anchor", `{"idempotency_key":"k1"}`, nil)
			if r.IsError || !strings.Contains(text, "1 of 2 anchors are verified") || !strings.Contains(text, "bitcoin@5: QUEUED, not yet anchored") || !strings.Contains(text, "rfc3161/one@5: FINAL") {
				t.Fatalf("%s", text)
			}
			if q := n.anchors.asked[0]; q.Key != "k1" || q.Targets != nil {
				t.Fatalf("%+v", q)
			}
			r, text = callTool(t, cs, "multi_anchor", `{"idempotency_key":"k2","targets":["bitcoin"],"wait_for":"confirmed","wait_seconds":30}`, "p1")
			if r.IsError || !strings.Contains(text, "2 of 2") || !strings.Contains(text, "bitcoin@5: CONFIRMED in block 7") || !strings.Contains(text, "take it back") {
				t.Fatalf("%s", text)
			}
			if _, text = callTool(t, cs, "multi_anchor", `{}`, nil); !strings.Contains(text, "idempotency_key") {
				t.Fatalf("%s", text)
			}
			if transport == "http" {
				return // its answers are single JSON documents, which leave no room for progress
			}
			wait, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			var messages []string
			for range 4 { // queued and final at once, then submitted, then confirmed
				select {
				case m := <-heard:
					messages = append(messages, m)
				case <-wait.Done():
					t.Fatalf("progress: %v", messages)
				}
			}
			if all := strings.Join(messages, "; "); !strings.Contains(all, "bitcoin@5 is submitted") || !strings.Contains(all, "bitcoin@5 is confirmed (2 of 2") {
				t.Fatalf("progress: %s", all)
			}
		})
	}
}

func connectAs(t *testing.T, s *Server, client *mcp.Client, transport string) *mcp.ClientSession {
	t.Helper()
	var ct mcp.Transport
	if transport == "http" {
		ct = &mcp.StreamableClientTransport{Endpoint: serveHTTP(t, s), HTTPClient: &http.Client{Transport: as("agent:a")}}
	} else {
		a, b := mcp.NewInMemoryTransports()
		session, err := s.protocol(false).Connect(context.Background(), a, nil)
		must(t, err)
		t.Cleanup(func() { _ = session.Wait() })
		ct = b
	}
	cs, err := client.Connect(context.Background(), ct, nil)
	must(t, err)
	t.Cleanup(func() { _ = cs.Close() })
	return cs
}

func TestAnchorStatus(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	cs := connect(t, s, "memory", newestOld)
	_, text := callTool(t, cs, "anchor_status", `{"limit":2}`, nil)
	for _, want := range []string{"bitcoin covers 50.0% of the log", "WARNING: receipts wait", "bitcoin@100: FINAL", "bitcoin@99"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	n.anchors.stuck = true
	begin := time.Now()
	r, text := callTool(t, cs, "anchor_status", `{"anchor_id":"bitcoin@5","wait_for":"final","wait_seconds":1}`, nil)
	if r.IsError || !strings.Contains(text, "SUBMITTED, not yet anchored") || time.Since(begin) < time.Second {
		t.Fatalf("%s", text)
	}
	if r, text = callTool(t, cs, "anchor_status", `{"anchor_id":"moon@5"}`, nil); !r.IsError || !strings.Contains(text, "no such job") {
		t.Fatalf("%s", text)
	}
}

// Over HTTP, whoever may not read the whole domain reads no anchors.
func TestAnchorsAreTheWholeDomains(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	c := call{backend: s.backend, caller: caller(t, "agent:b", "line-*"), remote: true, args: json.RawMessage(`{}`)}
	if r := s.invoke(t.Context(), anchorStatus, c); !r.failed || !strings.Contains(r.text, "denied") && !strings.Contains(string(r.structured), "denied") {
		t.Fatalf("%s", r.text)
	}
	c.args = json.RawMessage(`{"anchor_id":"bitcoin@5"}`)
	if r := s.invoke(t.Context(), anchorStatus, c); !r.failed {
		t.Fatalf("%s", r.text)
	}
}
