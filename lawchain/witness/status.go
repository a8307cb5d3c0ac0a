package witness

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Status is the state of witnessing for people and programs.
type Status struct {
	Size     uint64        `json:"size,string"`        // of the newest checkpoint that satisfies the policy
	Unmet    time.Time     `json:"unmet,omitzero"`     // since when a newer checkpoint waits for its quorum
	Alarm    bool          `json:"alarm"`              // it has waited for longer than the limit, or a witness holds another tree
	Peers    []PeerStatus  `json:"witnesses"`          // in the order of the policy
	Overdue  time.Duration `json:"-"`                  // the limit
	Conflict string        `json:"conflict,omitempty"` // of the first witness whose last answer was a conflict
}

// PeerStatus is the state of one witness.
type PeerStatus struct {
	Name     string    `json:"name"`
	URL      string    `json:"url"`
	Cosigned uint64    `json:"cosigned,string"` // largest size since the start of this process
	At       time.Time `json:"at,omitzero"`     // of that
	Failures int       `json:"failures"`        // in a row
	Error    string    `json:"error,omitempty"`
	Conflict string    `json:"conflict,omitempty"` // equivocation, fork or rollback
}

// Status returns the present state.
func (f *Feeder) Status() Status {
	f.mu.Lock()
	s := Status{Size: f.latest.Size, Unmet: f.since, Alarm: f.alarm, Overdue: f.o.AlarmAfter}
	f.mu.Unlock()
	for _, p := range f.peers {
		p.mu.Lock()
		x := PeerStatus{Name: p.name, URL: p.client.URL, Cosigned: p.cosigned, At: p.at, Failures: p.failures, Conflict: p.conflict}
		if p.err != nil {
			x.Error = p.err.Error()
		}
		p.mu.Unlock()
		if x.Conflict != "" && s.Conflict == "" {
			s.Conflict, s.Alarm = x.Conflict, true
		}
		s.Peers = append(s.Peers, x)
	}
	return s
}

type metrics struct {
	size, unmet, alarm  prometheus.Gauge
	requests, conflicts *prometheus.CounterVec
}

func newMetrics() metrics {
	return metrics{
		size:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_witnessed_receipts", Help: "Receipts under a checkpoint that satisfies the witness policy."}),
		unmet:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_witness_unmet_seconds", Help: "For how long a checkpoint has waited for the quorum of witnesses."}),
		alarm:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_witness_overdue", Help: "1 where that is longer than the limit."}),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vaultmesh_witness_requests_total", Help: "Requests for a cosignature, by witness and result."}, []string{"witness", "result"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vaultmesh_witness_conflicts_total", Help: "Answers of a witness that holds another tree of this log, by witness and finding."}, []string{"witness", "found"}),
	}
}

// Collectors returns the feeder's metrics.
func (f *Feeder) Collectors() []prometheus.Collector {
	return []prometheus.Collector{f.m.size, f.m.unmet, f.m.alarm, f.m.requests, f.m.conflicts}
}
