package tiles

import (
	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
)

// metrics of a publisher.
type metrics struct {
	size, behind               prometheus.GaugeFunc
	refused, at                prometheus.Gauge
	failures, bytes, collected prometheus.Counter
}

func (m *metrics) init(p *Publisher) {
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Name: "vaultmesh_log_" + name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "vaultmesh_log_" + name, Help: help})
	}
	m.size = prometheus.NewGaugeFunc(gauge("published_size", "Receipts in the published tree."), func() float64 { return float64(p.Published()) })
	m.behind = prometheus.NewGaugeFunc(gauge("unpublished_receipts", "Durable receipts that are not published yet."), func() float64 {
		cp := p.o.Log.Checkpoint()
		if cp == nil {
			return 0
		}
		return float64(cp.Size) - float64(min(cp.Size, p.Published()))
	})
	m.at = prometheus.NewGauge(gauge("published_timestamp_seconds", "When the newest checkpoint was published."))
	m.refused = prometheus.NewGauge(gauge("publish_refused", "1 while the bucket holds what this log does not extend: an alarm."))
	m.failures = counter("publish_failures_total", "Attempts to publish or to collect that failed and are tried again.")
	m.bytes = counter("published_bytes_total", "Bytes written to the bucket.")
	m.collected = counter("partials_collected_total", "Superseded partial tiles deleted.")
}

// done counts the end of an attempt.
func (m *metrics) done(err error) {
	m.refused.Set(0)
	if err != nil {
		m.failures.Inc()
		if vaultmesh.KindOf(err) == vaultmesh.Corrupt {
			m.refused.Set(1)
		}
	}
}

// Collectors returns the metrics for a Prometheus registry.
func (p *Publisher) Collectors() []prometheus.Collector {
	m := &p.metrics
	return []prometheus.Collector{m.size, m.behind, m.at, m.refused, m.failures, m.bytes, m.collected}
}
