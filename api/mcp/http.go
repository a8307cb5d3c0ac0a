package mcpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
)

// versionHeader names the revision of the protocol, of which stateless is the first without sessions.
const (
	versionHeader = "MCP-Protocol-Version"
	sessionHeader = "Mcp-Session-Id"
	stateless     = "2026-07-28"
)

// httpFace is the MCP endpoint. What is done before a message is read is here: limits, origin, authentication, and
// the choice of the era.
type httpFace struct {
	s           *Server
	old, modern http.Handler // with sessions, and without
	sessions    *sessions    // of old
}

type callerKey struct{}

// ServeHTTP implements [http.Handler].
func (f *httpFace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := f.s
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		// This server sends nothing unasked, so it offers no stream to GET, as the specification allows.
		w.Header().Set("Allow", "POST, DELETE")
		refuse(w, http.StatusMethodNotAllowed, vaultmesh.Errorf(vaultmesh.Invalid, "mcp", "", "the method %.16q is not served here", r.Method).WithFix("send messages by POST"))
		return
	}
	if s.isClosed() {
		refuse(w, http.StatusServiceUnavailable, vaultmesh.Errorf(vaultmesh.Unavailable, "mcp", "", "the node is stopping"))
		return
	}
	if err := s.origins.Check(r); err != nil {
		refuse(w, http.StatusForbidden, vaultmesh.Errorf(vaultmesh.Denied, "mcp", "Origin", "this origin may not call").WithFix("list it in the node's configuration"))
		return
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, s.limits.Body)
	}
	caller, authenticated, err := s.opts.Authenticate(r)
	if err != nil {
		f.unauthenticated(w, r, err)
		return
	}
	r = authenticated
	leave, ok := s.slots.enter(caller.Principal)
	if !ok {
		refuse(w, http.StatusTooManyRequests, vaultmesh.Errorf(vaultmesh.RateLimited, "mcp", string(caller.Principal), "%d requests are at work, which is the limit", s.limits.Concurrent))
		return
	}
	defer leave()
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
	// Revisions are dates, so that they compare as text.
	if r.Header.Get(versionHeader) >= stateless {
		f.modern.ServeHTTP(w, r)
		return
	}
	if r.Method == http.MethodPost && r.Header.Get(sessionHeader) == "" {
		done, err := f.sessions.admit(caller.Principal)
		if err != nil {
			refuse(w, http.StatusTooManyRequests, err)
			return
		}
		defer done()
	}
	f.old.ServeHTTP(w, r)
}

func (f *httpFace) unauthenticated(w http.ResponseWriter, r *http.Request, err error) {
	switch vaultmesh.KindOf(err) {
	case vaultmesh.RateLimited:
		refuse(w, http.StatusTooManyRequests, err)
	case vaultmesh.Unavailable:
		refuse(w, http.StatusServiceUnavailable, err)
	case vaultmesh.TooLarge:
		refuse(w, http.StatusRequestEntityTooLarge, err)
	case vaultmesh.Internal:
		f.s.opts.Log.ErrorContext(r.Context(), "authentication failed", slog.Any("error", err))
		refuse(w, http.StatusInternalServerError, err)
	default:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("VaultMesh realm=%q", f.s.opts.Domain))
		refuse(w, http.StatusUnauthorized, err)
	}
}

// refuse answers a request before its message was read: a JSON-RPC error without an id, whose data is a [failure].
func refuse(w http.ResponseWriter, status int, err error) {
	x := explain(err)
	if x.Retry {
		w.Header().Set("Retry-After", strconv.Itoa(1))
	}
	doc, err := encode(map[string]any{"jsonrpc": "2.0", "id": nil, "error": map[string]any{"code": codeRefused, "message": x.text(), "data": x}})
	if err != nil {
		doc = json.RawMessage(`{}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(doc) // a client that is gone cannot be told
}

// codeRefused is this server's JSON-RPC error code for what was refused before or beside a tool.
const codeRefused = -32001

// callerOf returns the caller that was authenticated for this request.
func callerOf(ctx context.Context) (control.Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(control.Caller)
	return c, ok
}
