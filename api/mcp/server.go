package mcpapi

import (
	"context"
	"io"
	"net/http"
	"sync"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
)

// Server is the MCP face of one node. Its methods are safe for concurrent use.
type Server struct {
	opts      Options // fixed at creation, as are all fields but those that mu guards
	limits    Limits
	backend   Backend // authorises reads: for callers over HTTP
	tools     []registered
	rates     *buckets
	slots     *slots
	replays   *capability.ReplayCache
	verifying chan struct{} // one for each verification at work
	origins   *http.CrossOriginProtection

	mu     sync.Mutex // guards what follows
	faces  []*httpFace
	closed bool
}

// maxVerifying bounds the verifications at work, which are the one tool that costs this process much time.
const maxVerifying = 2

// NewServer checks the options and builds the server. The error is Invalid and names the option.
func NewServer(o Options) (*Server, error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Server{
		opts: o, limits: o.Limits, backend: guarded{o.Backend, o.Now},
		rates: newBuckets(o.Limits.Rate, o.Limits.Burst, o.Now), slots: newSlots(o.Limits.Concurrent),
		// One holder may take half, so that it cannot lock the others out.
		replays:   capability.NewReplayCache(maxReplays, maxReplays/2, 2*proofSkew),
		verifying: make(chan struct{}, maxVerifying), origins: http.NewCrossOriginProtection(),
	}
	for _, origin := range o.Origins {
		if err := s.origins.AddTrustedOrigin(origin); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "mcp.options", "Origins", "%s is no origin", quoted(origin)).WithFix("write scheme, host and port: https://console.example")
		}
	}
	var err error
	s.tools, err = register(tools())
	return s, err
}

// Handler serves MCP over streamable HTTP on one path, for clients of every revision. Its sessions end with
// [Server.Close]. The error is Invalid where Options.Authenticate is missing.
func (s *Server) Handler() (http.Handler, error) {
	if s.opts.Authenticate == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "mcp.options", "Authenticate", "it is missing").WithFix("give the function that proves who calls")
	}
	f := s.newFace()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faces = append(s.faces, f)
	return f, nil
}

// ServeStdio speaks MCP with one client, one JSON message a line, until the input ends (nil) or ctx is done (its
// error). The backend is not touched before the first tool call or resource read. It closes in and out where they are
// io.Closers; a reader that cannot be interrupted by its Close keeps one goroutine until it returns.
func (s *Server) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	return s.serveLines(ctx, in, out)
}

// Close ends the sessions of all handlers, which answer 503 from now on.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	faces := s.faces
	s.mu.Unlock()
	for _, f := range faces {
		f.sessions.closeAll()
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// callOf makes the call of a caller: remote where it came over HTTP.
func (s *Server) callOf(caller control.Caller, remote bool) call {
	if remote {
		return call{backend: s.backend, caller: caller, remote: true}
	}
	return call{backend: s.opts.Backend, caller: caller}
}
