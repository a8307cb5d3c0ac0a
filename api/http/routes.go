package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
)

// access says what a route asks of a request before its handler runs.
type access uint8

const (
	byToken   access = iota // a capability and proof of its holder
	byAnyone                // nothing
	byMetrics               // a peer of Options.MetricsFrom, else byToken
	byLog                   // a peer of Options.LogFrom, else byToken
)

// room says how a route's requests are counted.
type room uint8

const (
	counted   room = iota // among the requests at work, and ended by a time limit
	uncounted             // neither
	reserved              // counted, and there are places that no other route can take
)

// route is one line of the table that the mux, the metrics' labels and the test of openapi.yaml share.
type route struct {
	method, path string
	access       access
	room         room
	handle       func(s *Server, w http.ResponseWriter, q *request) error
}

func (r route) pattern() string { return r.method + " " + r.path }

var table = []route{
	{"GET", "/healthz", byAnyone, uncounted, (*Server).getHealth},
	{"GET", "/readyz", byAnyone, counted, (*Server).getReady},
	{"GET", "/metrics", byMetrics, counted, (*Server).getMetrics},

	{"GET", "/verify", byAnyone, counted, (*Server).getVerify},
	{"GET", "/v1/openapi.yaml", byAnyone, counted, (*Server).getOpenAPI},
	{"GET", "/v1/alarms", byToken, counted, (*Server).getAlarms},
	{"GET", "/v1/twins", byToken, counted, (*Server).getTwins},
	{"GET", "/v1/twins/{id}", byToken, counted, (*Server).getTwin},
	{"GET", "/v1/twins/{id}/history", byToken, counted, (*Server).getHistory},

	{"POST", "/v1/commands", byToken, counted, (*Server).postCommand},
	{"GET", "/v1/commands", byToken, counted, (*Server).getCommands},
	{"GET", "/v1/commands/{id}", byToken, counted, (*Server).getCommand},
	{"GET", "/v1/commands/{id}/challenge", byToken, counted, (*Server).getChallenge},
	{"POST", "/v1/commands/{id}/approve", byToken, reserved, (*Server).postApprove},
	{"POST", "/v1/commands/{id}/reject", byToken, reserved, (*Server).postReject},
	{"POST", "/v1/commands/{id}/cancel", byToken, counted, (*Server).postCancel},
	{"GET", "/v1/commands/{id}/bundle", byToken, counted, (*Server).getBundle},
	{"POST", "/v1/simulations", byToken, counted, (*Server).postSimulation},
	{"GET", "/v1/halt", byToken, counted, (*Server).getHalt},
	{"POST", "/v1/halt", byToken, reserved, (*Server).postHalt},
	{"DELETE", "/v1/halt", byToken, reserved, (*Server).deleteHalt},

	{"GET", "/v1/receipts", byToken, counted, (*Server).getReceipts},
	{"GET", "/v1/receipts/{index}", byToken, counted, (*Server).getReceipt},
	{"GET", "/v1/state/proof", byToken, counted, (*Server).getStateProof},
	{"GET", "/v1/bundles", byToken, counted, (*Server).getBundles},
	{"GET", "/v1/log/checkpoint", byToken, counted, (*Server).getCheckpoint},
	{"GET", "/v1/log/inclusion", byToken, counted, (*Server).getInclusion},
	{"GET", "/v1/log/witnesses", byToken, counted, (*Server).getWitnesses},
	{"GET", "/v1/log/consistency", byToken, counted, (*Server).getConsistency},
	{"GET", "/log/checkpoint", byLog, counted, (*Server).getPublished},
	{"GET", "/log/tile/{path...}", byLog, counted, (*Server).getTile},

	{"GET", "/v1/anchors", byToken, counted, (*Server).getAnchors},
	{"POST", "/v1/anchors", byToken, counted, (*Server).postAnchors},
	{"GET", "/v1/anchors/{id}", byToken, counted, (*Server).getAnchor},

	{"GET", "/v1/devices", byToken, counted, (*Server).getDevices},
	{"GET", "/v1/devices/{id}/refusals", byToken, counted, (*Server).getRefusals},
	{"POST", "/v1/capabilities/revoke", byToken, reserved, (*Server).postRevoke},
	{"POST", "/v1/private/erase", byToken, counted, (*Server).postErase},
	{"GET", "/v1/feed", byToken, uncounted, (*Server).getFeed},
}

// request is one request on its way through a handler.
type request struct {
	*http.Request
	id     string // names the request in answers and in the node's log
	now    time.Time
	caller control.Caller // zero where the route was open to the peer
	body   []byte         // whole, at most Limits.Body
	rest   func()         // says that the connection may be closed for another from now on; nil where it always may
}

func (s *Server) routes() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	methods := map[string]bool{}
	for _, r := range table {
		mux.Handle(r.pattern(), s.serve(r))
		methods[r.method] = true
	}
	known := make([]string, 0, len(methods)+1)
	for m := range methods {
		known = append(known, m)
	}
	slices.Sort(known)
	for pattern, h := range s.opts.Mount {
		if err := mount(mux, pattern, s.serve(route{path: pattern, access: byAnyone, room: uncounted, handle: mounted(h)})); err != nil {
			return nil, err
		}
	}
	if _, taken := s.opts.Mount["/"]; !taken {
		mux.Handle("/", s.serve(route{path: "none", access: byAnyone, handle: func(_ *Server, w http.ResponseWriter, q *request) error {
			return noRoute(mux, known, w, q)
		}}))
	}
	return mux, nil
}

// noRoute answers a path that no route has (404) or that exists with other methods only (405).
func noRoute(mux *http.ServeMux, methods []string, w http.ResponseWriter, q *request) error {
	var allow []string
	for _, m := range methods {
		probe := &http.Request{Method: m, URL: q.URL, Host: q.Host}
		if _, pattern := mux.Handler(probe); pattern != "/" && pattern != "" {
			allow = append(allow, m)
		}
	}
	if allow == nil {
		return vaultmesh.Errorf(vaultmesh.NotFound, "http", q.URL.Path, "there is no such route").WithFix("see /v1/openapi.yaml for the routes")
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return &statusError{http.StatusMethodNotAllowed, vaultmesh.Errorf(vaultmesh.Invalid, "http", q.URL.Path, "the method %.16q is not served here", q.Method).
		WithFix("use %s", strings.Join(allow, " or "))}
}

// serve does for every route what does not depend on it: headers, limits, authentication, errors and metrics.
func (s *Server) serve(rt route) http.Handler {
	observe := s.metrics.route(rt)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now() // latency is measured on the monotonic clock, whatever Options.Now says
		w := &recorder{ResponseWriter: rw}
		defer func() { observe(w.status, time.Since(start)) }()
		q := &request{Request: r, now: s.now(), id: s.prefix + "-" + strconv.FormatUint(s.requests.Add(1), 10)}
		s.setHeaders(w.Header(), q)
		if rt.access != byAnyone {
			if err := s.read(rt, w, q); err != nil {
				s.fail(w, q, err)
				return
			}
			readOn(http.NewResponseController(w)) // the whole request is there
		}
		// A request takes a place only once all of it is there and whoever sent it is known: neither who sends slowly, nor
		// who reads slowly, nor who proves nothing takes the places of the halt switch.
		if rt.room != uncounted {
			if q.caller.Capability == nil {
				s.hurry(w)
			}
			place, err := s.places.take(rt, q)
			if err != nil {
				if q.rest != nil {
					q.rest()
				}
				s.fail(w, q, err)
				return
			}
			place.rest = q.rest
			w.place = place
			defer place.leave()
			ctx, cancel := context.WithTimeout(r.Context(), s.limits.RequestTimeout)
			defer cancel()
			q.Request = r.WithContext(ctx)
		}
		if err := rt.handle(s, w, q); err != nil {
			s.fail(w, q, err)
		}
	})
}

// smallBody is the size in bytes up to which a body is read without a place: a halt, an approval, most proposals.
const smallBody = 4 << 10

// read admits the request; of those with a large body, which may come slowly and is held in memory before it can be
// authenticated, only so many at once.
func (s *Server) read(rt route, w http.ResponseWriter, q *request) error {
	if q.ContentLength < 0 || q.ContentLength > smallBody {
		select {
		case s.reading <- struct{}{}:
			defer func() { <-s.reading }()
		default:
			return vaultmesh.Errorf(vaultmesh.Unavailable, "http", "", "%d large requests are being read, which is the limit", cap(s.reading)).
				WithFix("wait as long as Retry-After says, or send a body of at most %d bytes", smallBody)
		}
	}
	return s.admit(rt, w, q)
}

// admit authenticates the request where its route asks for it, and reads its body.
func (s *Server) admit(rt route, w http.ResponseWriter, q *request) error {
	switch {
	case rt.access == byAnyone:
		return nil
	case rt.access == byMetrics && peerIn(q.RemoteAddr, s.opts.MetricsFrom), rt.access == byLog && peerIn(q.RemoteAddr, s.opts.LogFrom):
		return nil
	}
	who, err := s.auth.token(q.Request, q.now)
	if err != nil {
		return s.unauthenticated(w, err)
	}
	// The body is read only for a holder of a valid token, and before the proof, which covers it.
	if q.body, err = readBody(w, q.Request, s.limits.Body); err != nil {
		return err
	}
	if err = s.auth.possession(q.Request, q.body, &who, q.now); err != nil {
		return s.unauthenticated(w, err)
	}
	q.caller = who
	q.rest = known(q.Request)
	return nil
}

// unauthenticated makes err a 401, unless it says that the same request may be sent again later.
func (s *Server) unauthenticated(w http.ResponseWriter, err error) error {
	if vaultmesh.KindOf(err).Retryable() {
		return err
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("VaultMesh realm=%q", s.opts.Domain))
	return &statusError{http.StatusUnauthorized, err}
}

// setHeaders says what a browser must not do with an answer. A mounted handler may replace them.
func (s *Server) setHeaders(h http.Header, q *request) {
	h.Set("VaultMesh-Request", q.id)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if s.opts.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// recorder remembers the status for the metrics, and the place of the request. Unwrap lets the WebSocket upgrade reach the connection.
type recorder struct {
	http.ResponseWriter
	status int
	place  *place // nil where the route needs none
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
