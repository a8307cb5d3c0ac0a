package mcpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh/control"
)

// BenchmarkPropose measures a proposal with a backend that answers at once, beside a bare echo tool of the same SDK
// over the same transport, call by call in turn, and prints the ratio of the medians.
func BenchmarkPropose(b *testing.B) {
	for _, version := range []string{newestOld, modern} {
		b.Run(version, func(b *testing.B) {
			bare := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
			type echo struct {
				Twin    string         `json:"twin"`
				Command string         `json:"command"`
				Args    map[string]any `json:"args"`
				Key     string         `json:"idempotency_key"`
			}
			mcp.AddTool(bare, &mcp.Tool{Name: "echo"}, func(_ context.Context, _ *mcp.CallToolRequest, in echo) (*mcp.CallToolResult, echo, error) {
				return nil, in, nil
			})
			floor := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return bare }, &mcp.StreamableHTTPOptions{JSONResponse: true, Stateless: version == modern}))
			defer floor.Close()
			s := newServer(b, sample(b), func(o *Options) {
				who := caller(b, "agent:a") // once: what authentication costs is measured where it is
				o.Limits.Rate, o.Limits.Burst = 1e9, 1<<30
				o.Authenticate = func(r *http.Request) (control.Caller, *http.Request, error) { return who, r, nil }
			})
			open := func(url string) *mcp.ClientSession {
				cs, err := mcp.NewClient(&mcp.Implementation{Name: "b", Version: "1"}, nil).Connect(b.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: as("agent:a")}}, &mcp.ClientSessionOptions{ProtocolVersion: version})
				must(b, err)
				return cs
			}
			ours, theirs := open(serveHTTP(b, s)), open(floor.URL)
			defer ours.Close()
			defer theirs.Close()
			args := json.RawMessage(`{"twin":"line-1-2","command":"setTap","args":{"ratio":1.01},"idempotency_key":"k-1"}`)
			var mine, floors []time.Duration
			call := func(cs *mcp.ClientSession, tool string) time.Duration {
				t := time.Now()
				r, err := cs.CallTool(b.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
				if err != nil || r.IsError {
					b.Fatal(err, r)
				}
				return time.Since(t)
			}
			for b.Loop() {
				floors = append(floors, call(theirs, "echo"))
				mine = append(mine, call(ours, "propose_command"))
			}
			slices.Sort(mine)
			slices.Sort(floors)
			m, f := mine[len(mine)/2], floors[len(floors)/2]
			b.ReportMetric(float64(m.Microseconds()), "propose-p50-µs")
			b.ReportMetric(float64(f.Microseconds()), "bare-p50-µs")
			b.ReportMetric(float64(m)/float64(f), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}
