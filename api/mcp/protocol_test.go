package mcpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh/constitution"
)

// A real client of every era sees the same server over every transport.
func TestClientsOfBothEras(t *testing.T) {
	for _, transport := range []string{"memory", "stdio", "http"} {
		for _, version := range []string{oldest, newestOld, modern} {
			t.Run(transport+"/"+version, func(t *testing.T) {
				n := sample(t)
				s := newServer(t, n, nil)
				cs := connect(t, s, transport, version)
				ctx := t.Context()
				if got := cs.InitializeResult().ProtocolVersion; version != modern && got != version {
					t.Errorf("the revision is %s", got)
				}
				if !strings.Contains(cs.InitializeResult().Instructions, "vaultmesh approve") {
					t.Error("the instructions do not say who approves")
				}
				list, err := cs.ListTools(ctx, nil)
				must(t, err)
				if len(list.Tools) != len(tools()) {
					t.Errorf("%d tools", len(list.Tools))
				}
				all, err := cs.ListResources(ctx, nil)
				must(t, err)
				templates, err := cs.ListResourceTemplates(ctx, nil)
				must(t, err)
				if len(all.Resources) != 1 || len(templates.ResourceTemplates) != 3 {
					t.Errorf("%d resources, %d templates", len(all.Resources), len(templates.ResourceTemplates))
				}
				if n.count() != 0 {
					t.Error("the backend was touched before a call")
				}
				for name, args := range validArgs {
					r, err := cs.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: json.RawMessage(args)})
					if err != nil || r.IsError || r.StructuredContent == nil || len(r.Content) < 2 {
						t.Errorf("%s: %+v %v", name, r, err)
					}
				}
				r, err := cs.CallTool(ctx, &mcp.CallToolParams{Name: "get_twin", Arguments: json.RawMessage(`{"twin":"nobody"}`)})
				must(t, err)
				if said, _ := r.StructuredContent.(map[string]any); !r.IsError || said["kind"] != "not_found" || len(said["next"].([]any)) == 0 {
					t.Errorf("%+v", r.StructuredContent)
				}
				var wrong *jsonrpc.Error
				if _, err := cs.CallTool(ctx, &mcp.CallToolParams{Name: "approve_command"}); !errors.As(err, &wrong) || wrong.Code != jsonrpc.CodeInvalidParams {
					t.Errorf("an unknown tool: %v", err)
				}
				readResources(t, cs, n)
			})
		}
	}
}

func readResources(t *testing.T, cs *mcp.ClientSession, n *node) {
	t.Helper()
	for uri, want := range map[string]struct{ mime, text string }{
		constitution.URI:               {"application/yaml", constitution.Text()},
		"twin://line-1-2":              {"application/json", `"twin":"line-1-2"`},
		"twin://bus:1":                 {"application/json", `"twin":"bus:1"`},
		"twin://bus%3A1":               {"application/json", `"twin":"bus:1"`},
		"twin://bus:1/history/voltage": {"application/json", `"points":[`},
		"bundle://cmd-03":              {"application/json", string(n.bundle)},
	} {
		r, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
		if err != nil || len(r.Contents) != 1 || r.Contents[0].MIMEType != want.mime || !strings.Contains(r.Contents[0].Text, want.text) {
			t.Errorf("%s: %+v %v", uri, r, err)
		}
	}
	for _, uri := range []string{"twin://nobody", "twin://bus:1/history/colour", "twin://bus:1/other/x", "bundle://nobody", "file:///etc/passwd", "twin://" + strings.Repeat("a", 4000), "twin://a\"b", "x"} {
		var wrong *jsonrpc.Error
		if _, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); !errors.As(err, &wrong) || wrong.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%.60s: %v", uri, err)
		}
	}
}

// A resource that fails for another reason says so without its cause.
func TestResourceErrorsTeach(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, func(o *Options) { o.Limits.Bundle = 10 })
	cs := connect(t, s, "memory", modern)
	var wrong *jsonrpc.Error
	if _, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "bundle://cmd-03"}); !errors.As(err, &wrong) || !strings.Contains(wrong.Message, "vaultmesh bundle cmd-03") {
		t.Errorf("%v", err)
	}
	n.mu.Lock()
	n.err = errors.New("disk /dev/sda1 is gone")
	n.mu.Unlock()
	if _, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "twin://bus:1"}); !errors.As(err, &wrong) || wrong.Code != jsonrpc.CodeInternalError || strings.Contains(wrong.Message, "sda1") {
		t.Errorf("%v", err)
	}
}

// A script may send its messages and close: every request is answered, and a line that cannot be read does not end
// the conversation.
func TestStdioAnswersScripts(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, func(o *Options) { o.Limits.Body = 4 << 10 })
	script := strings.Join([]string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"sh","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`this is no JSON`,
		`{"jsonrpc":"2.0","id":"huge","method":"tools/call","params":{"name":"halt_status","arguments":{"x":"` + strings.Repeat("x", 8<<10) + `"}}}`,
		"{\"jsonrpc\":\"2.0\",\"id\":\"bytes\",\"method\":\"\xff\"}",
		"",
		`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`,
		`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"halt_status"}}`,
		`{"jsonrpc":"2.0","id":4,"method":"no/such/method"}`,
		`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"propose_command","arguments":` + validArgs["propose_command"] + `}}`,
	}, "\n")
	script += "\n" + `{"jsonrpc":"2.0","id":6.0,"method":"ping"}` // one id in another spelling
	for range 20 {                                                // the order of the end of input and of the answers must not matter
		var out bytes.Buffer
		must(t, s.ServeStdio(t.Context(), strings.NewReader(script), &out))
		answers, unread := map[string]map[string]any{}, 0
		lines := bufio.NewScanner(&out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var m map[string]any
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			if m["id"] == nil {
				unread++
			} else {
				answers[fmt.Sprint(m["id"])] = m
			}
		}
		for _, id := range []string{"1", "2", "3", "5"} {
			if answers[id]["result"] == nil {
				t.Fatalf("request %s has no result: %v", id, answers[id])
			}
		}
		if answers["4"]["error"] == nil || unread != 3 {
			t.Fatalf("%d lines were refused; an unknown method: %v", unread, answers["4"])
		}
	}
}

func TestStdioEndsWithItsContext(t *testing.T) {
	s := newServer(t, sample(t), nil)
	ctx, cancel := context.WithCancel(context.Background())
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.ServeStdio(ctx, in, io.Discard) }()
	_, err := io.WriteString(feed, `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n")
	must(t, err)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// Messages that no client of good will sends are refused, and the server goes on.
func TestHostileMessages(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, func(o *Options) { o.Limits.Body = 64 << 10 })
	url := serveHTTP(t, s)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	call := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
	}
	for _, body := range []string{
		"", "null", "{}", "[]", "[[]]", "1", "{", "\xff\xfe", `{"jsonrpc":"2.0"}`, `{"jsonrpc":"1.0","id":1,"method":"ping"}`, deep,
		`{"jsonrpc":"2.0","id":{},"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
		call(`null`), call(`[]`), call(`{"name":1}`), call(`{"name":"halt_status","arguments":[]}`), call(`{"name":"halt_status","arguments":` + deep + `}`),
		call(`{"name":"halt_status","arguments":"\ud800"}`), call(`{"name":"` + strings.Repeat("x", 70<<10) + `"}`),
		call(`{"name":"get_twin","arguments":{"twin":"` + "\xc3\x28" + `"}}`), call(`{"name":"halt_status","_meta":7}`),
		`[` + strings.Repeat(call(`{"name":"halt_status"}`)+",", 50) + call(`{"name":"halt_status"}`) + `]`,
	} {
		for _, version := range []string{"", oldest, newestOld, modern, "2999-01-01", "zzz", "\x7f"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
			must(t, err)
			r.Header = http.Header{"X-Test-Principal": {"agent:a"}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
				"Mcp-Method": {"tools/call"}, "Mcp-Name": {"halt_status"}}
			if version != "" {
				r.Header.Set("MCP-Protocol-Version", version)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				continue // the client itself refuses such a header
			}
			answer, err := io.ReadAll(resp.Body)
			must(t, err)
			must(t, resp.Body.Close())
			if resp.StatusCode >= 500 || bytes.Contains(answer, []byte("panic")) {
				t.Errorf("%.60q with %q: %d %.200s", body, version, resp.StatusCode, answer)
			}
		}
	}
	cs := connect(t, s, "http", modern)
	_, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: "halt_status"})
	must(t, err)
}

func FuzzDecodeArgs(f *testing.F) {
	for _, args := range validArgs {
		f.Add([]byte(args))
	}
	f.Add([]byte(`{"twin":"a","args":{"x":1},"idempotency_key":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p proposeIn
		if decodeArgs(raw, 1<<16, &p) == nil && (p.Key == "" || p.Twin == "" || len(p.Args.RawMessage) > 0 && p.Args.RawMessage[0] != '{') {
			t.Errorf("%q is accepted as %+v", raw, p)
		}
		var l listTwinsIn
		if decodeArgs(raw, 1<<16, &l) == nil && (l.Limit < 1 || l.Limit > 200) {
			t.Errorf("%q is accepted as %+v", raw, l)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("{}\nx\n\n{\"a\":1}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newLineReader(bytes.NewReader(raw), 64, 0, newLineWriter(io.Discard))
		out, err := io.ReadAll(r)
		must(t, err)
		for line := range bytes.Lines(out) {
			if len(line) > 65 || !json.Valid(line) {
				t.Errorf("%q is let through", line)
			}
		}
	})
}

// The backend learns who calls; the proof of the HTTP request does not reach it, because no receipt could hold it.
func TestCallerReachesTheBackend(t *testing.T) {
	n := sample(t)
	s := newServer(t, n, nil)
	cs := connect(t, s, "http", modern)
	_, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: "propose_command", Arguments: json.RawMessage(validArgs["propose_command"])})
	must(t, err)
	if c := n.caller(); c.Principal != "agent:a" || c.Proof != "" || c.Target != nil || c.Token == "" {
		t.Errorf("%+v", c)
	}
}
