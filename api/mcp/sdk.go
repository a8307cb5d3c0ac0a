package mcpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/errgroup"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/constitution"
	"vaultmesh.org/vaultmesh/control"
)

// registered is a tool with its protocol form, made once.
type registered struct {
	tool
	wire *mcp.Tool
}

// register makes the tools' schemas, several at a time: it is most of what a client on standard input waits for.
func register(list []tool) ([]registered, error) {
	out := make([]registered, len(list))
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for i, t := range list {
		all.Go(func() error {
			in, err := schemaText(inputSchema(t.in))
			if err != nil {
				return err
			}
			result, err := schemaText(outputSchema(t.out))
			if err != nil {
				return err
			}
			destructive, open := t.hints.destructive, t.hints.openWorld
			out[i] = registered{t, &mcp.Tool{Name: t.name, Title: t.title, Description: t.description, InputSchema: in, OutputSchema: result,
				Annotations: &mcp.ToolAnnotations{Title: t.title, ReadOnlyHint: t.hints.readOnly, IdempotentHint: t.hints.idempotent, DestructiveHint: &destructive, OpenWorldHint: &open}}}
			return nil
		})
	}
	return out, all.Wait()
}

// schemaText encodes a schema once: the SDK reads it on every call.
func schemaText(s *jsonschema.Schema, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return encode(s)
}

// protocol makes an SDK server for callers over HTTP (remote) or for one client on standard input.
func (s *Server) protocol(remote bool) *mcp.Server {
	p := mcp.NewServer(&mcp.Implementation{Name: "vaultmesh", Title: "VaultMesh", Version: s.opts.Version}, &mcp.ServerOptions{
		Instructions: instructions,
		Logger:       slog.New(slog.DiscardHandler), // it would log every request, and payloads that it cannot read
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}, Resources: &mcp.ResourceCapabilities{}},
		SetCacheable: cacheable,
	})
	for _, t := range s.tools {
		p.AddTool(t.wire, func(ctx context.Context, q *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			c, err := s.called(q.Extra, remote)
			if err != nil {
				return nil, err
			}
			c.args = q.Params.Arguments
			c.proof, _ = q.Params.Meta[ProofMeta].(string)
			if token := q.Params.GetProgressToken(); token != nil {
				step := 0
				c.progress = func(ctx context.Context, done, of int, message string) {
					step++ // the protocol wants a number that rises each time
					// A client that does not take it misses nothing but this.
					_ = q.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Message: fmt.Sprintf("%s (%d of %d are as far as asked)", message, done, of), Progress: float64(step)})
				}
			}
			return wireResult(s.invoke(ctx, t.tool, c)), nil
		})
	}
	handler := func(ctx context.Context, q *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		c, err := s.called(q.Extra, remote)
		if err != nil {
			return nil, err
		}
		text, err := s.read(ctx, c, q.Params.URI)
		if errors.Is(err, errNoResource) {
			return nil, mcp.ResourceNotFoundError(q.Params.URI)
		}
		if err != nil {
			if vaultmesh.KindOf(err) == vaultmesh.Internal {
				s.opts.Log.ErrorContext(ctx, "resource failed", slog.String("principal", string(c.caller.Principal)), slog.Any("error", err))
			}
			return nil, protocolError(err)
		}
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: q.Params.URI, Text: text}}}, nil
	}
	for _, r := range resources {
		if strings.Contains(r.uri, "{") {
			p.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: r.uri, Name: r.name, Title: r.title, Description: r.description, MIMEType: r.mime}, handler)
		} else {
			p.AddResource(&mcp.Resource{URI: r.uri, Name: r.name, Title: r.title, Description: r.description, MIMEType: r.mime}, handler)
		}
	}
	p.AddReceivingMiddleware(s.admission(remote))
	return p
}

// called makes the call of a request: over HTTP, of the caller that was authenticated for exactly this request.
func (s *Server) called(x *mcp.RequestExtra, remote bool) (call, error) {
	if !remote {
		return s.callOf(s.opts.Caller, false), nil
	}
	if x != nil && x.TokenInfo != nil {
		if caller, ok := x.TokenInfo.Extra[callerExtra].(control.Caller); ok {
			return s.callOf(caller, true), nil
		}
	}
	return call{}, protocolError(vaultmesh.Errorf(vaultmesh.Denied, "mcp", "", "the request was not authenticated"))
}

// admission bounds what every request may cost, and keeps from the SDK what it cannot answer well.
func (s *Server) admission(remote bool) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, q mcp.Request) (mcp.Result, error) {
			if strings.HasPrefix(method, "notifications/") {
				return next(ctx, method, q)
			}
			c, err := s.called(q.GetExtra(), remote)
			if err != nil {
				return nil, err
			}
			if err := s.rates.take(c.caller.Principal); err != nil {
				if method == "tools/call" {
					return wireResult(failed(err)), nil
				}
				return nil, protocolError(err)
			}
			if p, ok := q.GetParams().(*mcp.ReadResourceParams); ok {
				// Identifiers may hold : and @, which the SDK matches to a template only in their escaped form.
				if p.URI, ok = tidy(p.URI); !ok {
					return nil, mcp.ResourceNotFoundError("")
				}
			}
			return next(ctx, method, q)
		}
	}
}

// tidy escapes the identifiers of a URI; ok is false where it is too long or holds what no URI holds (RFC 3986).
func tidy(uri string) (string, bool) {
	if len(uri) > maxURI {
		return "", false
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return "", false
		}
	}
	scheme, rest, _ := strings.Cut(uri, "://")
	if scheme != "twin" && scheme != "bundle" {
		return uri, true
	}
	return scheme + "://" + strings.NewReplacer(":", "%3A", "@", "%40").Replace(rest), true
}

// wireResult puts the words first and the structured answer behind them as text too, for clients that show an agent
// nothing but text.
func wireResult(r result) *mcp.CallToolResult {
	out := &mcp.CallToolResult{IsError: r.failed, StructuredContent: r.structured, Content: []mcp.Content{
		&mcp.TextContent{Text: r.text}, &mcp.TextContent{Text: string(r.structured)}}}
	for _, l := range r.links {
		x := &mcp.ResourceLink{URI: l.uri, Name: l.name, Description: l.description, MIMEType: l.mime}
		if l.size > 0 {
			x.Size = &l.size
		}
		out.Content = append(out.Content, x)
	}
	for _, b := range r.blobs {
		out.Content = append(out.Content, &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: b.uri, MIMEType: b.mime, Text: b.text}})
	}
	return out
}

// protocolError tells err outside of a tool.
func protocolError(err error) error {
	f := explain(err)
	code := int64(codeRefused)
	switch vaultmesh.KindOf(err) {
	case vaultmesh.Internal, vaultmesh.Corrupt:
		code = jsonrpc.CodeInternalError
	case vaultmesh.Invalid, vaultmesh.NotFound:
		code = jsonrpc.CodeInvalidParams
	}
	doc, encodeErr := encode(f)
	if encodeErr != nil {
		doc = nil
	}
	return &jsonrpc.Error{Code: code, Message: f.text(), Data: doc}
}

// cacheable says how long an answer may be kept: lists do not change while the process lives, the constitution does
// not change at all, everything else is only true now and for this caller.
func cacheable(_ context.Context, q mcp.Request, c *mcp.Cacheable) {
	c.TTLMs, c.CacheScope = 0, "private"
	if q == nil {
		return
	}
	if p, ok := q.GetParams().(*mcp.ReadResourceParams); ok {
		if p != nil && p.URI == constitution.URI {
			c.TTLMs, c.CacheScope = 3_600_000, "public"
		}
		return
	}
	c.TTLMs = 300_000
}
