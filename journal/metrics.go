package journal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var laneNames = [2]string{"commands", "telemetry"}

// metrics counts what the lanes do.
type metrics struct {
	ops     *prometheus.CounterVec
	refusal *prometheus.CounterVec
	commits *prometheus.HistogramVec
}

func (m *metrics) init() {
	m.ops = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vaultmesh_journal_operations_total", Help: "Operations committed, by lane."}, []string{"lane"})
	m.refusal = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vaultmesh_journal_refused_total", Help: "Operations refused by admission control, by lane."}, []string{"lane"})
	m.commits = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vaultmesh_journal_commit_seconds", Help: "Time from apply to durable, by lane.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14)}, []string{"lane"})
}

func (m *metrics) refused(l Lane) { m.refusal.WithLabelValues(laneNames[l]).Inc() }

func (m *metrics) committed(l Lane, ops int, d time.Duration) {
	m.ops.WithLabelValues(laneNames[l]).Add(float64(ops))
	m.commits.WithLabelValues(laneNames[l]).Observe(d.Seconds())
}

// Collectors returns the journal's metrics for a Prometheus registry.
func (j *Journal) Collectors() []prometheus.Collector {
	return []prometheus.Collector{j.metrics.ops, j.metrics.refusal, j.metrics.commits,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vaultmesh_journal_commit", Help: "Number of the last durable commit."}, func() float64 { return float64(j.Commits()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vaultmesh_journal_disk_full", Help: "1 where writes are refused because the disk is full."}, func() float64 {
			if j.full.Load() {
				return 1
			}
			return 0
		}),
	}
}
