package archive

import (
	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
)

// metrics of an archiver.
type metrics struct {
	size, refused, at         prometheus.Gauge
	failures, segments, bytes prometheus.Counter
}

func (m *metrics) init() {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_archive_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "vaultmesh_archive_" + name, Help: help})
	}
	m.size = gauge("size", "Receipts in the archive.")
	m.refused = gauge("refused", "1 while the archive holds what this log does not extend: an alarm.")
	m.at = gauge("timestamp_seconds", "When the archive was last found or brought up to date.")
	m.failures = counter("failures_total", "Attempts to archive that failed and are tried again.")
	m.segments = counter("segments_total", "Segments written.")
	m.bytes = counter("bytes_total", "Bytes written to the archive.")
}

func (m *metrics) done(err error, size uint64) {
	m.size.Set(float64(size))
	m.refused.Set(0)
	if err == nil {
		m.at.SetToCurrentTime()
		return
	}
	m.failures.Inc()
	if vaultmesh.KindOf(err) == vaultmesh.Corrupt {
		m.refused.Set(1)
	}
}

// Collectors returns the metrics for a Prometheus registry.
func (a *Archiver) Collectors() []prometheus.Collector {
	m := &a.metrics
	return []prometheus.Collector{m.size, m.refused, m.at, m.failures, m.segments, m.bytes}
}
