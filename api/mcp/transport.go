package mcpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh"
)

// callerExtra is where the SDK carries the caller of a request to its handler.
const callerExtra = "caller"

// newFace makes the endpoint: one SDK server for each era, because a server with sessions cannot serve the revision
// without them.
func (s *Server) newFace() *httpFace {
	old, modern := s.protocol(true), s.protocol(true)
	f := &httpFace{s: s, sessions: &sessions{server: old, most: s.limits.Sessions, each: s.limits.SessionsPerCaller, owners: map[string]vaultmesh.Principal{}}}
	old.AddReceivingMiddleware(f.sessions.own)
	wrap := func(p *mcp.Server, o mcp.StreamableHTTPOptions) http.Handler {
		o.JSONResponse, o.MaxRequestBodyBytes = true, s.limits.Body
		return asBearer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return p }, &o))
	}
	f.old = wrap(old, mcp.StreamableHTTPOptions{SessionTimeout: s.limits.SessionIdle})
	f.modern = wrap(modern, mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
	return f
}

// asBearer hands the authenticated caller to the SDK in the only form that it takes, a verified bearer token. The SDK
// then ties a session to the principal and each request to its own caller. The placeholder also keeps whatever the
// client sent as Authorization from the handlers.
func asBearer(h http.Handler) http.Handler {
	verified := auth.RequireBearerToken(func(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
		caller, ok := callerOf(ctx)
		if !ok || caller.Principal == "" {
			return nil, auth.ErrInvalidToken
		}
		return &auth.TokenInfo{UserID: string(caller.Principal), Extra: map[string]any{callerExtra: caller}}, nil
	}, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(h) // the caller was authenticated for this request
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer authenticated")
		verified.ServeHTTP(w, r)
	})
}

// sessions bounds the sessions of the old era. The SDK keeps them; this knows whose they are.
type sessions struct {
	server     *mcp.Server
	most, each int // fixed at creation

	mu      sync.Mutex // guards what follows
	owners  map[string]vaultmesh.Principal
	opening []vaultmesh.Principal // requests at work that may each become a session
}

// admit reserves a place for a session until done is called, by which time it is counted as one, or is none.
func (x *sessions) admit(p vaultmesh.Principal) (done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	live := map[string]bool{}
	for ss := range x.server.Sessions() {
		live[ss.ID()] = true
	}
	all, mine := len(x.opening), 0
	for _, o := range x.opening {
		if o == p {
			mine++
		}
	}
	for id, owner := range x.owners {
		switch {
		case !live[id]:
			delete(x.owners, id)
			continue
		case owner == p:
			mine++
		}
		all++
	}
	if all >= x.most || mine >= x.each {
		return nil, vaultmesh.Errorf(vaultmesh.RateLimited, "mcp.session", string(p), "%d sessions are open, %d of them yours; the limits are %d and %d", all, mine, x.most, x.each).
			WithFix("end sessions with DELETE, or speak revision 2026-07-28, which has none")
	}
	x.opening = append(x.opening, p)
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		for i, o := range x.opening {
			if o == p {
				x.opening = append(x.opening[:i], x.opening[i+1:]...)
				return
			}
		}
	}, nil
}

// own is the middleware that notes whose a new session is.
func (x *sessions) own(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, q mcp.Request) (mcp.Result, error) {
		if method == "initialize" {
			if e := q.GetExtra(); e != nil && e.TokenInfo != nil {
				x.mu.Lock()
				x.owners[q.GetSession().ID()] = vaultmesh.Principal(e.TokenInfo.UserID)
				x.mu.Unlock()
			}
		}
		return next(ctx, method, q)
	}
}

func (x *sessions) closeAll() {
	for ss := range x.server.Sessions() {
		_ = ss.Close() // what it reports is about a client that is gone
	}
}

// serveLines speaks with one client over lines of JSON.
func (s *Server) serveLines(ctx context.Context, in io.Reader, out io.Writer) error {
	w := newLineWriter(out)
	t := &mcp.IOTransport{Reader: newLineReader(in, int(s.limits.Body), s.limits.CallTime+maxWait, w), Writer: w, MaxLineLength: -1} // the reader bounds lines
	err := s.protocol(false).Run(ctx, t)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
