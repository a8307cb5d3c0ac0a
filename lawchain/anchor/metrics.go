package anchor

import (
	"math/big"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descReceipts = desc("anchor_receipts", "Receipts under a verified anchor.", "target")
	descShare    = desc("anchor_share", "Share of the log's receipts under a verified anchor, 0 to 1.", "target")
	descOldest   = desc("anchor_oldest_unanchored_seconds", "Age of the oldest receipt under no verified anchor, anchors' own receipts left out; 0 where there is none.", "target")
	descCadence  = desc("anchor_cadence_seconds", "Least time between two jobs of the schedule; 0: on demand only.", "target")
	descJobs     = desc("anchor_jobs", "Anchor jobs, by state.", "target", "state")
	descLost     = desc("anchor_lost_total", "Verified anchors that were taken back.", "target")
	descSteps    = desc("anchor_attempts_total", "Steps of jobs that were tried since the start.", "target")
	descFailures = desc("anchor_failures_total", "Steps of jobs that failed since the start.", "target")
	descRefused  = desc("anchor_refused_proofs_total", "Anchors that a target claimed and whose proof did not verify, since the start.", "target")
	descSpent    = desc("anchor_fees", "Fees of all jobs, in the target's smallest unit; of those under way the most that they may cost.", "target", "unit")
	descToday    = desc("anchor_fees_today", "Fees of this UTC day, in the target's smallest unit.", "target", "unit")
	descBudget   = desc("anchor_fees_day_budget", "Most that the jobs of a UTC day may cost; absent where there is no limit.", "target", "unit")
	descLate     = desc("anchor_late", "1 where receipts wait for an anchor much longer than the cadence: alert on it.", "target")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vaultmesh_"+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (e *Engine) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReceipts, descShare, descOldest, descCadence, descJobs, descLost, descSteps, descFailures, descRefused, descSpent, descToday, descBudget, descLate} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. It reads a few values of the journal for each target.
func (e *Engine) Collect(ch chan<- prometheus.Metric) {
	all, err := e.Coverage()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descShare, err)
		return
	}
	for _, c := range all {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{c.Target}, labels...)...)
		}
		count := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, append([]string{c.Target}, labels...)...)
		}
		gauge(descReceipts, float64(c.Anchored))
		gauge(descShare, c.Share)
		age := 0.0
		if !c.Oldest.IsZero() {
			age = max(0, e.o.Now().Sub(c.Oldest).Seconds())
		}
		gauge(descOldest, age)
		gauge(descCadence, c.Every.Seconds())
		late := 0.0
		if c.Warning != "" {
			late = 1
		}
		gauge(descLate, late)
		for state, n := range c.Jobs {
			gauge(descJobs, float64(n), string(state))
		}
		count(descLost, float64(c.Lost))
		count(descSteps, float64(c.counts.steps))
		count(descFailures, float64(c.counts.failures))
		count(descRefused, float64(c.counts.refused))
		if c.Unit != "" {
			gauge(descSpent, decimal(c.Spent), c.Unit) // a gauge: it sinks when a job costs less than it might have
			gauge(descToday, decimal(c.Today), c.Unit)
			if c.Budget != "" {
				gauge(descBudget, decimal(c.Budget), c.Unit)
			}
		}
	}
}

func decimal(s string) float64 {
	n, ok := amount(s)
	if !ok {
		return 0
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}
