package mcpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// send posts one message and returns the response and its body.
func send(t *testing.T, url, principal, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if principal != "" {
		r.Header.Set("X-Test-Principal", principal)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	answer, err := io.ReadAll(resp.Body)
	must(t, err)
	must(t, resp.Body.Close())
	return resp, string(answer)
}

const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
const askHalt = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"halt_status"}}`

func open(t *testing.T, url, principal string) string {
	t.Helper()
	resp, body := send(t, url, principal, hello)
	id := resp.Header.Get(sessionHeader)
	if resp.StatusCode != http.StatusOK || id == "" {
		t.Fatalf("no session: %d %s", resp.StatusCode, body)
	}
	send(t, url, principal, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, sessionHeader, id, versionHeader, newestOld)
	return id
}

func TestUnauthenticatedIsToldHow(t *testing.T) {
	n := sample(t)
	url := serveHTTP(t, newServer(t, n, nil))
	for _, version := range []string{newestOld, modern} {
		resp, body := send(t, url, "", askHalt, versionHeader, version)
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != `VaultMesh realm="dev"` || !strings.Contains(body, "send the token") {
			t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
		}
	}
	if n.count() != 0 {
		t.Error("the backend was asked")
	}
}

// A session belongs to the principal that opened it: its identifier is worth nothing to another.
func TestStolenSessionIsRefused(t *testing.T) {
	n := sample(t)
	url := serveHTTP(t, newServer(t, n, nil))
	id := open(t, url, "agent:a")
	if resp, body := send(t, url, "agent:a", askHalt, sessionHeader, id, versionHeader, newestOld); resp.StatusCode != http.StatusOK || !strings.Contains(body, "not halted") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	asked := n.count()
	if resp, _ := send(t, url, "agent:b", askHalt, sessionHeader, id, versionHeader, newestOld); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a stolen session gives %d", resp.StatusCode)
	}
	if resp, _ := send(t, url, "", askHalt, sessionHeader, id, versionHeader, newestOld); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a session without credentials gives %d", resp.StatusCode)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	must(t, err)
	r.Header.Set(sessionHeader, id)
	r.Header.Set("X-Test-Principal", "agent:b")
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusForbidden || n.count() != asked {
		t.Errorf("another ends the session: %d", resp.StatusCode)
	}
	if resp, _ := send(t, url, "agent:a", askHalt, sessionHeader, id, versionHeader, newestOld); resp.StatusCode != http.StatusOK {
		t.Errorf("the owner lost it: %d", resp.StatusCode)
	}
}

func TestReadsNeedTheCapability(t *testing.T) {
	n := sample(t)
	url := serveHTTP(t, newServer(t, n, nil))
	cs, err := mcp.NewClient(&mcp.Implementation{Name: "t", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: as("agent:bus bus:*")}}, nil)
	must(t, err)
	defer cs.Close()
	for _, c := range []struct {
		tool, args string
		denied     bool
	}{
		{"get_twin", `{"twin":"bus:1"}`, false},
		{"get_twin", `{"twin":"line-1-2"}`, true},
		{"get_twin", `{"twin":"nobody"}`, true}, // whether it exists is not told either
		{"read_history", `{"twin":"line-1-2","name":"voltage"}`, true},
		{"command_status", `{"command_id":"cmd-00"}`, true},
		{"prove", `{"command_ids":["cmd-00"]}`, true},
		{"verify", `{"command_id":"cmd-00"}`, true},
		{"halt_status", `{}`, false},
	} {
		r, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: c.tool, Arguments: json.RawMessage(c.args)})
		must(t, err)
		said, _ := r.StructuredContent.(map[string]any)
		if r.IsError != c.denied || c.denied && said["kind"] != "denied" {
			t.Errorf("%s %s: %v", c.tool, c.args, said)
		}
	}
	for tool, list := range map[string]string{"list_twins": "twins", "list_commands": "commands"} {
		r, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: tool})
		must(t, err)
		if text, _ := json.Marshal(r.StructuredContent.(map[string]any)[list]); strings.Contains(string(text), "line-1-2") {
			t.Errorf("%s shows %s", tool, text)
		}
	}
	for _, uri := range []string{"twin://line-1-2", "bundle://cmd-00"} {
		if _, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err == nil || !strings.Contains(err.Error(), "denied") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestRatesAreLimitedForEachPrincipal(t *testing.T) {
	var mu sync.Mutex
	now := start
	n := sample(t)
	s := newServer(t, n, func(o *Options) {
		o.Limits.Rate, o.Limits.Burst = 2, 3
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	url := serveHTTP(t, s)
	headers := []string{versionHeader, modern, "Mcp-Method", "tools/call", "Mcp-Name", "halt_status"}
	ask := func(principal string) string {
		_, body := send(t, url, principal, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"halt_status","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, headers...)
		return body
	}
	for i := range 3 {
		if body := ask("agent:a"); !strings.Contains(body, "not halted") {
			t.Fatalf("call %d: %s", i, body)
		}
	}
	if body := ask("agent:a"); !strings.Contains(body, `"kind":"rate_limited"`) || !strings.Contains(body, `"isError":true`) || !strings.Contains(body, "wait 1 s") {
		t.Errorf("%s", body)
	}
	if body := ask("agent:b"); !strings.Contains(body, "not halted") {
		t.Errorf("another principal pays for it: %s", body)
	}
	mu.Lock()
	now = now.Add(500 * time.Millisecond)
	mu.Unlock()
	if body := ask("agent:a"); !strings.Contains(body, "not halted") {
		t.Errorf("it does not recover: %s", body)
	}
}

func TestBucketsAreBounded(t *testing.T) {
	now := start
	b := newBuckets(1, 2, func() time.Time { return now })
	for i := range 3 * maxBuckets {
		now = now.Add(time.Millisecond)
		must(t, b.take(vaultmesh.Principal("agent:"+decimal(uint64(i)))))
	}
	if len(b.each) > maxBuckets {
		t.Errorf("%d principals are remembered", len(b.each))
	}
	must(t, b.take("agent:x"))
	must(t, b.take("agent:x"))
	now = now.Add(-time.Hour)
	if b.take("agent:x") == nil {
		t.Error("a clock that is set back fills the bucket")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := newServer(t, sample(t), func(o *Options) { o.Limits.Sessions, o.Limits.SessionsPerCaller = 3, 2 })
	url := serveHTTP(t, s)
	first := open(t, url, "agent:a")
	open(t, url, "agent:a")
	if resp, body := send(t, url, "agent:a", hello); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "DELETE") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	open(t, url, "agent:b")
	if resp, _ := send(t, url, "agent:c", hello); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%d", resp.StatusCode)
	}
	// A message that opens no session leaves none behind.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	must(t, err)
	r.Header.Set(sessionHeader, first)
	r.Header.Set("X-Test-Principal", "agent:a")
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, resp.Body.Close())
	for range 5 {
		send(t, url, "agent:a", askHalt)
	}
	open(t, url, "agent:a")
}

func TestRequestsAreBounded(t *testing.T) {
	n := sample(t)
	entered, release := make(chan struct{}), make(chan struct{})
	n.propose = func(control.Caller, control.Proposal) (control.Command, error) {
		entered <- struct{}{}
		<-release
		return n.commands["cmd-00"], nil
	}
	s := newServer(t, n, func(o *Options) { o.Limits.Concurrent, o.Limits.Body = 1, 4<<10 })
	url := serveHTTP(t, s)
	if resp, _ := send(t, url, "agent:a", strings.Repeat(" ", 5<<10)+askHalt); resp.StatusCode < 400 || n.count() != 0 {
		t.Errorf("a large message gives %d", resp.StatusCode)
	}
	id := open(t, url, "agent:a")
	done := make(chan int)
	go func() {
		resp, _ := send(t, url, "agent:a", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"propose_command","arguments":`+validArgs["propose_command"]+`}}`, sessionHeader, id, versionHeader, newestOld)
		done <- resp.StatusCode
	}()
	<-entered
	if resp, _ := send(t, url, "agent:a", askHalt, sessionHeader, id, versionHeader, newestOld); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a second request gives %d", resp.StatusCode)
	}
	close(release)
	if status := <-done; status != http.StatusOK {
		t.Errorf("the first request gives %d", status)
	}
	if resp, _ := send(t, url, "agent:a", askHalt, sessionHeader, id, versionHeader, newestOld); resp.StatusCode != http.StatusOK {
		t.Errorf("after it: %d", resp.StatusCode)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	url := serveHTTP(t, newServer(t, sample(t), func(o *Options) { o.Origins = []string{"https://console.example"} }))
	for _, c := range []struct {
		header []string
		status int
	}{
		{[]string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{[]string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{[]string{"Host", "evil.example"}, http.StatusForbidden}, // DNS rebinding
		{[]string{"Origin", "https://console.example"}, http.StatusOK},
		{nil, http.StatusOK},
	} {
		if resp, body := send(t, url, "agent:a", hello, c.header...); resp.StatusCode != c.status {
			t.Errorf("%v gives %d %s", c.header, resp.StatusCode, body)
		}
	}
	if _, err := NewServer(Options{Backend: sample(t), Origins: []string{"console.example/x"}}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("%v", err)
	}
}

func TestOtherMethodsAndClosing(t *testing.T) {
	s := newServer(t, sample(t), nil)
	h, err := s.Handler()
	must(t, err)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodOptions} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/mcp", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST, DELETE" {
			t.Errorf("%s gives %d", method, w.Code)
		}
	}
	s.Close()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", strings.NewReader(hello)))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("a closed server gives %d", w.Code)
	}
	if _, err := (&Server{}).Handler(); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("without authentication: %v", err)
	}
	for _, o := range []Options{{}, {Backend: &node{}, Limits: Limits{Rate: -1}}} {
		if _, err := NewServer(o); vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%v", err)
		}
	}
}

// A proof for the proposal alone goes into the receipt; a wrong or repeated one is refused.
func TestProofOfTheProposal(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	cs := connect(t, s, "http", modern)
	body := receipt.ProposedBody{Args: json.RawMessage(`{"ratio":1}`), IdempotencyKey: "k"}
	body.Twin, body.Name = "bus:1", "setTap"
	digest := vaultmesh.Sum(body.RequestText())
	proof := capability.SignProof(key("agent:a"), capability.Target{Domain: "dev", Method: "mcp", Path: "propose_command", Body: digest}, start, "nonce-0123456789abcdef")
	propose := func(proof, args string) *mcp.CallToolResult {
		r, err := cs.CallTool(context.Background(), &mcp.CallToolParams{Meta: mcp.Meta{ProofMeta: proof}, Name: "propose_command", Arguments: json.RawMessage(args)})
		must(t, err)
		return r
	}
	const args = `{"twin":"bus:1","command":"setTap","args":{"ratio":1.0},"idempotency_key":"k"}`
	if r := propose(proof, strings.Replace(args, `"k"`, `"other"`, 1)); !r.IsError {
		t.Error("a proof of another proposal is accepted")
	}
	if r := propose(proof, args); r.IsError {
		t.Errorf("%v", r.StructuredContent)
	}
	if c := n.caller(); c.Proof != proof || c.Target == nil || c.Target.Body != digest {
		t.Errorf("%+v", c)
	}
	if r := propose(proof, args); !r.IsError {
		t.Error("a proof is accepted twice")
	}
}
