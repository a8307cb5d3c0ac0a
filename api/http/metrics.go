package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crowd"
)

// metrics are this package's own. Labels come from the route table and from the statuses that the package answers,
// never from a request, so that no client can make them grow.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	feeds    prometheus.Gauge
	messages *prometheus.CounterVec
	slow     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, c *crowd.Crowd) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vaultmesh_http_requests_total", Help: "Answered requests by route and status; a feed counts when it ends.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vaultmesh_http_request_seconds", Help: "Time from the parsed header to the end of the handler, feeds excepted.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"route"}),
		feeds: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_http_feeds", Help: "Open feed connections."}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vaultmesh_http_feed_messages_total", Help: "Messages sent to feed clients by type.",
		}, []string{"type"}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vaultmesh_http_feeds_closed_slow_total", Help: "Feeds closed because the client did not keep up.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	counts := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vaultmesh_http_connections", Help: "Open connections."}, func() float64 { return float64(c.Stats().Open) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "vaultmesh_http_connections_let_go_total", Help: "Connections at work for nobody known that were closed for a newer one, since there were too many."}, func() float64 { return float64(c.Stats().LetGo) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "vaultmesh_http_connections_refused_total", Help: "Connections closed at once, since there were too many and all were at work."}, func() float64 { return float64(c.Stats().Refused) }),
	}
	for _, c := range append(counts, m.requests, m.seconds, m.feeds, m.messages, m.slow) {
		if err := reg.Register(c); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Conflict, "http.metrics", "", "a metric is registered already").Because(err)
		}
	}
	return m, nil
}

// route returns the observer of one route. Statuses outside 100 to 599, which only a mounted handler can write, and
// a missing one are counted as "0".
func (m *metrics) route(rt route) func(status int, took time.Duration) {
	label := rt.path
	if rt.method != "" {
		label = rt.pattern()
	}
	seconds := m.seconds.WithLabelValues(label)
	return func(status int, took time.Duration) {
		if status < 100 || status > 599 {
			status = 0
		}
		m.requests.WithLabelValues(label, strconv.Itoa(status)).Inc()
		if status != http.StatusSwitchingProtocols {
			seconds.Observe(took.Seconds())
		}
	}
}

func (s *Server) getMetrics(w http.ResponseWriter, q *request) error {
	if q.caller.Capability != nil {
		if err := mayRead(q.caller, ""); err != nil {
			return err
		}
	}
	if s.opts.Gatherer == nil {
		return vaultmesh.Errorf(vaultmesh.NotFound, "metrics", "", "this node shows no metrics here")
	}
	promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{}).ServeHTTP(w, q.Request)
	return nil
}

func (s *Server) getHealth(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, Health{Status: "ok"})
}

func (s *Server) getReady(w http.ResponseWriter, q *request) error {
	if err := s.opts.Ready(q.Context()); err != nil {
		// What hinders the node is for its log: this route is open to anyone.
		s.opts.Log.WarnContext(q.Context(), "not ready", "request", q.id, "error", err)
		return vaultmesh.Errorf(vaultmesh.Unavailable, "ready", "", "the node cannot commit now")
	}
	return writeJSON(w, http.StatusOK, Health{Status: "ready"})
}
