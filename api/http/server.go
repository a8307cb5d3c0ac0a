package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crowd"
)

// Server is the HTTP face of one node. Its methods are safe for concurrent use.
type Server struct {
	opts    Options // fixed at creation
	limits  Limits
	mux     *http.ServeMux
	http    *http.Server
	auth    *authenticator
	metrics *metrics
	prefix  string // of request identifiers
	places  places
	crowd   *crowd.Crowd
	reading chan struct{} // one for each request with a large body that is not authenticated yet

	requests atomic.Uint64 // numbers the requests

	// stop ends the feeds; feeds counts them.
	ctx  context.Context
	stop context.CancelFunc

	mu      sync.Mutex // guards what follows
	closed  bool
	open    int            // feed connections
	feeds   sync.WaitGroup // added to under mu and only while not closed
	address net.Addr
}

// New checks the options and builds the server; it listens only when told to. The error is Invalid and names the
// option that is missing or wrong.
func New(o Options) (*Server, error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	var seed [8]byte
	if _, err := io.ReadFull(o.Random, seed[:]); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "http.new", "", "no randomness").Because(err)
	}
	s := &Server{
		opts:    o,
		limits:  o.Limits,
		auth:    newAuthenticator(o),
		prefix:  hex.EncodeToString(seed[:]),
		places:  newPlaces(o.Limits),
		crowd:   crowd.New(o.Limits.Connections),
		reading: make(chan struct{}, o.Limits.Concurrent),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	var err error
	if s.metrics, err = newMetrics(o.Registerer, s.crowd); err != nil {
		return nil, err
	}
	if s.mux, err = s.routes(); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Addr:              o.Addr,
		Handler:           s.mux,
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: o.Limits.HeaderTimeout,
		ReadTimeout:       o.Limits.ReadTimeout,
		WriteTimeout:      o.Limits.WriteTimeout, // lifted by the hijack of a feed, which bounds each write itself
		IdleTimeout:       o.Limits.IdleTimeout,
		MaxHeaderBytes:    o.Limits.Header,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, memberKey{}, crowd.Of(c))
		},
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Handler returns the whole face as a handler, for tests and for a node with a listener of its own. Feeds that it
// served end with [Server.Shutdown].
func (s *Server) Handler() http.Handler { return s.mux }

// Listen opens the address of the options. It refuses plain HTTP on an address that is not loopback.
func (s *Server) Listen() (net.Listener, error) {
	const op = "http.listen"
	host, _, err := net.SplitHostPort(s.opts.Addr)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, s.opts.Addr, "not host:port").WithFix(`write it as "127.0.0.1:8443" or "[::1]:8443"`).Because(err)
	}
	if s.opts.TLS == nil && !loopbackHost(host) {
		return nil, refusePlain(op, s.opts.Addr)
	}
	ln, err := net.Listen("tcp", s.opts.Addr)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, s.opts.Addr, "cannot listen").
			WithFix("stop what uses the port or choose another address").Because(err)
	}
	return ln, nil
}

// Serve answers on ln until [Server.Shutdown], after which it returns nil. It closes ln. Plain HTTP is refused on a
// listener that is not loopback.
func (s *Server) Serve(ln net.Listener) error {
	const op = "http.serve"
	if s.opts.TLS == nil {
		if a, err := netip.ParseAddrPort(ln.Addr().String()); ln.Addr().Network() != "unix" && (err != nil || !a.Addr().Unmap().IsLoopback()) {
			return errors.Join(refusePlain(op, ln.Addr().String()), ln.Close())
		}
	}
	s.mu.Lock()
	s.address = ln.Addr()
	s.mu.Unlock()
	var err error
	ln = s.crowd.Listen(ln)
	if s.opts.TLS != nil {
		err = s.http.ServeTLS(ln, "", "")
	} else {
		err = s.http.Serve(ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return vaultmesh.Errorf(vaultmesh.Internal, op, ln.Addr().String(), "the server stopped").Because(err)
}

// memberKey is the context key of a request's connection, a *crowd.Conn that may be nil.
type memberKey struct{}

// known says that the sender of r has proved who they are: its connection is not closed for another until r has ended or
// rest is called.
func known(r *http.Request) (rest context.CancelFunc) {
	ctx, rest := context.WithCancel(r.Context())
	if m, _ := r.Context().Value(memberKey{}).(*crowd.Conn); m != nil {
		m.Work(ctx)
	}
	return rest
}

// Addr returns the address of the last [Server.Serve], nil before it.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Shutdown stops listening, tells the feeds that the node goes away, and waits for the requests at work until ctx
// ends, when it cuts them off. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.feeds.Wait() // bounded: each write and each close handshake has its own limit
	return vaultmesh.Wrap(err, "http.shutdown", "")
}

// admitFeed counts a feed in, unless the server stops or has as many as it may have.
func (s *Server) admitFeed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return vaultmesh.Errorf(vaultmesh.Unavailable, "feed", "", "the node goes away").WithFix("connect again in a moment")
	case s.open >= s.limits.Feeds:
		return vaultmesh.Errorf(vaultmesh.Unavailable, "feed", "", "all %d feed connections are in use", s.limits.Feeds).
			WithFix("close one, share one, or raise the limit of feeds")
	}
	s.open++
	s.feeds.Add(1)
	return nil
}

func (s *Server) releaseFeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.feeds.Done()
}

func (s *Server) now() time.Time { return s.opts.Now().UTC() }

func loopbackHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

func refusePlain(op, addr string) error {
	return vaultmesh.Errorf(vaultmesh.Denied, op, addr, "plain HTTP is served on loopback only").
		WithFix("configure a TLS certificate, or listen on 127.0.0.1")
}
