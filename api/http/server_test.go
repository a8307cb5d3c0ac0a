package httpapi

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
)

func TestOptionsAreChecked(t *testing.T) {
	for field, spoil := range map[string]func(*Options){
		"Commands":     func(o *Options) { o.Commands = nil },
		"Twins":        func(o *Options) { o.Twins = nil },
		"Evidence":     func(o *Options) { o.Evidence = nil },
		"Devices":      func(o *Options) { o.Devices = nil },
		"Capabilities": func(o *Options) { o.Capabilities = nil },
		"Root":         func(o *Options) { o.Root = o.Root[:31] },
		"Domain":       func(o *Options) { o.Domain = "" },
		"Limits":       func(o *Options) { o.Limits.FeedPing = -1 },
		"Mount":        func(o *Options) { o.Mount = map[string]http.Handler{"GET /v1/twins": http.NotFoundHandler()} },
	} {
		o := options(t, newWorld(t))
		spoil(&o)
		_, err := New(o)
		wantError(t, err, vaultmesh.Invalid, field)
	}
	o := options(t, newWorld(t))
	o.Limits.Body = -1
	_, err := New(o)
	wantError(t, err, vaultmesh.Invalid, "Limits")
	o = options(t, newWorld(t))
	o.Random = strings.NewReader("")
	_, err = New(o)
	wantError(t, err, vaultmesh.Internal)
	o = options(t, newWorld(t))
	if _, err = New(o); err != nil {
		t.Fatal(err)
	}
	_, err = New(o) // the same registry
	wantError(t, err, vaultmesh.Conflict)
}

// A client that sends or reads slowly is bounded by the configuration of net/http, whose own tests time it.
func TestServerBounds(t *testing.T) {
	s, err := New(options(t, newWorld(t)))
	if err != nil {
		t.Fatal(err)
	}
	h := s.http
	if h.ReadHeaderTimeout != 5*time.Second || h.ReadTimeout != 15*time.Second || h.WriteTimeout != time.Minute || h.IdleTimeout != 2*time.Minute || h.MaxHeaderBytes != 32<<10 {
		t.Errorf("the server is bounded by %v %v %v %v %d", h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout, h.IdleTimeout, h.MaxHeaderBytes)
	}
	if h.ReadHeaderTimeout >= h.ReadTimeout || s.limits.RequestTimeout >= h.WriteTimeout {
		t.Error("a limit of time is cut off by another")
	}
}

func TestPlainHTTPStaysOnLoopback(t *testing.T) {
	for addr, want := range map[string]vaultmesh.Kind{"0.0.0.0:0": vaultmesh.Denied, ":0": vaultmesh.Denied, "node.example:0": vaultmesh.Denied, "nowhere": vaultmesh.Invalid} {
		o := options(t, newWorld(t))
		o.Addr = addr
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Listen()
		wantError(t, err, want)
	}
	s, err := New(options(t, newWorld(t)))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Serve(ln), vaultmesh.Denied, "loopback only")
}

// certificate makes a self-signed one for the key.
func certificate(t *testing.T, k ed25519.PrivateKey) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k, Leaf: leaf}
}

// The whole way over TLS: listen, serve, ask with a client certificate in place of a proof, shut down.
// listening runs a server until its Shutdown, of which done tells.
func listening(t *testing.T, o Options) (s *Server, ln net.Listener, done <-chan error) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if ln, err = s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	return s, ln, served
}

func TestServeTLS(t *testing.T) {
	o := options(t, newWorld(t))
	cert := certificate(t, key("server"))
	o.Addr = "127.0.0.1:0"
	o.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	s, ln, done := listening(t, o)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	own, other := certificate(t, key("operator")), certificate(t, key("thief"))
	config := Config{BaseURL: "https://" + ln.Addr().String(), Domain: domain, CA: pool, Token: token(t, "operator"), Certificate: &own, Now: o.Now}
	c, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Twin(t.Context(), "bus-1"); err != nil {
		t.Error("the certificate of the holder's key:", err)
	}
	config.Certificate = &other
	thief, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = thief.Twin(t.Context(), "bus-1")
	wantError(t, err, vaultmesh.Denied, ProofHeader)
	config.Key = key("operator") // a proof does, whatever the certificate
	signed, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = signed.Twin(t.Context(), "bus-1"); err != nil {
		t.Error(err)
	}
	f, err := signed.Feed(t.Context(), FeedQuery{})
	if err != nil {
		t.Fatal("a feed over TLS:", err)
	}
	resp, err := signed.HTTP().Get(config.BaseURL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%v, protocol %s, header %v", err, resp.Proto, resp.Header)
	}
	if s.Addr().String() != ln.Addr().String() {
		t.Error("another address", s.Addr())
	}
	ended := make(chan error, 1)
	go func() { _, err := f.Next(t.Context()); ended <- err }()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	wantError(t, <-ended, vaultmesh.Unavailable, "the node goes away")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range []*Client{c, thief, signed} {
		c.Close()
	}
	wantError(t, s.admitFeed(), vaultmesh.Unavailable)
}

func TestConcurrentRequestsAreBounded(t *testing.T) {
	w := newWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.proposing = func(context.Context) error { entered <- struct{}{}; <-leave; return nil }
	o := options(t, w)
	o.Limits.Concurrent = 1
	_, base := serve(t, o)
	c := client(t, base, "operator")
	first := make(chan error, 1)
	go func() {
		_, err := c.Propose(t.Context(), control.Proposal{Twin: "bus-1", Command: "x", IdempotencyKey: "k"})
		first <- err
	}()
	<-entered
	_, err := c.Twin(t.Context(), "bus-1")
	wantError(t, err, vaultmesh.Unavailable, "all 1 places")
	resp, err := c.HTTP().Get(base + "/v1/twins")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.Header.Get("Retry-After") != "1" {
		t.Error(err, resp.Header)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Error("liveness needs no place:", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := c.Twin(t.Context(), "bus-1"); err != nil {
		t.Error("the place is free again:", err)
	}
}

func TestTimeoutOfAService(t *testing.T) {
	w := newWorld(t)
	w.proposing = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	o := options(t, w)
	o.Limits.RequestTimeout = time.Millisecond
	_, base := serve(t, o)
	_, err := client(t, base, "operator").Propose(t.Context(), control.Proposal{Twin: "bus-1", Command: "x", IdempotencyKey: "k"})
	wantError(t, err, vaultmesh.Unavailable, "longer than 1ms", "same Idempotency-Key")
}

func TestNotReady(t *testing.T) {
	w := newWorld(t)
	w.notReady = errors.New("disk /secret is full")
	_, base := serve(t, options(t, w))
	err := client(t, base, "operator").Ready(t.Context())
	wantError(t, err, vaultmesh.Unavailable, "cannot commit")
	if strings.Contains(err.Error(), "secret") {
		t.Error("it tells the cause:", err)
	}
}

func TestEveryKindHasAStatus(t *testing.T) {
	s, err := New(options(t, newWorld(t)))
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[vaultmesh.Kind]int{vaultmesh.Internal: 500, vaultmesh.Invalid: 400, vaultmesh.NotFound: 404, vaultmesh.Denied: 403, vaultmesh.Conflict: 409, vaultmesh.Stale: 409,
		vaultmesh.Expired: 410, vaultmesh.TooLarge: 413, vaultmesh.RateLimited: 429, vaultmesh.Unavailable: 503, vaultmesh.Corrupt: 500, vaultmesh.Kind(99): 500} {
		w := httptest.NewRecorder()
		cause := vaultmesh.Errorf(k, "inner", "thing", "cause").Because(errors.New("/secret")).WithFix("do it")
		s.fail(w, &request{Request: httptest.NewRequest("GET", "/", nil), id: "x-1"}, vaultmesh.Wrap(cause, "outer", "subject"))
		if w.Code != want || w.Header().Get("Content-Type") != problemType || (w.Header().Get("Retry-After") != "") != k.Retryable() {
			t.Errorf("%v: %d %v", k, w.Code, w.Header())
		}
		if body := w.Body.String(); strings.Contains(body, "secret") || want != 500 && !strings.Contains(body, `"detail":"inner thing: cause"`) || want == 500 && strings.Contains(body, "cause\"") {
			t.Errorf("%v: %s", k, body)
		}
		// The client makes it the same error again.
		resp := w.Result()
		resp.Request = httptest.NewRequest("GET", "/", nil)
		if back := problem(resp, w.Body.Bytes()); want != 500 && vaultmesh.KindOf(back) != k {
			t.Errorf("%v came back as %v", k, back)
		}
	}
}

// No request can make the metrics grow: labels come from the table of routes.
func TestMetricsAreBounded(t *testing.T) {
	o := options(t, newWorld(t))
	reg := o.Gatherer.(*prometheus.Registry)
	o.MetricsFrom = Loopback()
	o.Mount = map[string]http.Handler{"/odd": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) })}
	_, base := serve(t, o)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ask := func(method, path string) string {
		r, err := http.NewRequest(method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err := errorsOf(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	count := func() int {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			if f.GetName() == "vaultmesh_http_requests_total" {
				n = len(f.GetMetric())
			}
		}
		return n
	}
	ask("GET", "/v1/twins/a")
	ask("GET", "/nowhere")
	ask("GET", "/odd")
	before := count()
	for _, path := range []string{"/v1/twins/b", "/v1/twins/c?x=1", "/elsewhere", "/odd", "/%00"} {
		ask("GET", path)
		ask("BREW", path)
	}
	// 404 and 405 for no route, and one line each for the rest.
	if after := count(); after > before+2 {
		t.Errorf("%d series became %d", before, after)
	}
	if text := ask("GET", "/metrics"); !strings.Contains(text, `vaultmesh_http_requests_total{route="GET /v1/twins/{id}",status="401"} 3`) || !strings.Contains(text, `route="/odd",status="0"`) {
		t.Error(text)
	}
}

// A mounted face authenticates with the same headers and streams without an end.
func TestMount(t *testing.T) {
	var s *Server
	o := options(t, newWorld(t))
	o.Mount = map[string]http.Handler{"/mcp": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, r, err := s.Authenticate(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if _, err := w.Write([]byte(string(who.Principal) + " " + string(b))); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error("a stream:", err)
		}
	})}
	s, base := serve(t, o)
	c := client(t, base, "operator")
	post := func(c *Client) (int, string) {
		resp, err := c.HTTP().Post(base+"/mcp", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err := errorsOf(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := post(c); code != 200 || body != "operator:operator hello" {
		t.Error(code, body)
	}
	if code, body := post(client(t, base, "revoked")); code != http.StatusTeapot {
		t.Error(code, body)
	}
}

// deadlines records what is asked of a connection.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = append(d.read, t); return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }

func TestDeadlinesOfAStream(t *testing.T) {
	s := &Server{limits: Limits{WriteTimeout: time.Minute}}
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	h := mounted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}))
	if err := h(s, w, &request{Request: httptest.NewRequest("POST", "/mcp", strings.NewReader("x"))}); err != nil {
		t.Fatal(err)
	}
	if len(w.read) == 0 || !w.read[0].IsZero() {
		t.Error("reading is still limited after the body:", w.read)
	}
	if len(w.write) != 3 || !w.write[0].IsZero() || w.write[1].IsZero() || !w.write[2].IsZero() {
		t.Error("a write is limited, the stream is not:", w.write)
	}
}

// An authenticated request stays usable for longer than the time in which it had to be sent.
func TestReadLimitEndsWithTheRequest(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	o := options(t, newWorld(t))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/v1/halt", nil)
	r.Header.Set(CapabilityHeader, token(t, "operator"))
	r.Header.Set(ProofHeader, proof(key("operator"), capability.Target{Domain: domain, Method: "GET", Path: "/v1/halt", Body: vaultmesh.Sum(nil)}, epoch))
	s.Handler().ServeHTTP(w, r)
	if w.Code != 200 || len(w.read) != 1 || !w.read[0].IsZero() {
		t.Error(w.Code, w.read)
	}
}
