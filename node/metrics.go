package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh/device"
)

// brokerCollector shows the broker's counters to Prometheus.
type brokerCollector struct {
	b *device.Broker

	connections, queue, queueBytes              *prometheus.Desc
	messages, commands, refused, batch, latency *prometheus.Desc
}

func newBrokerCollector(b *device.Broker) *brokerCollector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("vaultmesh_mqtt_"+name, help, labels, nil)
	}
	return &brokerCollector{
		b:           b,
		connections: d("connections", "Devices connected now."),
		queue:       d("queue_messages", "Messages that wait for the committer."),
		queueBytes:  d("queue_bytes", "Bytes that wait for the committer."),
		messages:    d("messages_total", "Messages acknowledged, by what became of them.", "result"),
		commands:    d("commands_total", "Commands to devices, by step.", "step"),
		refused:     d("refused_total", "Messages and requests of devices that were refused, by cause.", "cause"),
		batch:       d("batch_messages", "Messages of one telemetry batch."),
		latency:     d("commit_seconds", "Time from the receipt of a message to its durability."),
	}
}

// Describe implements [prometheus.Collector].
func (c *brokerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connections, c.queue, c.queueBytes, c.messages, c.commands, c.refused, c.batch, c.latency} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *brokerCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.b.Stats()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, v uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	gauge(c.connections, float64(s.Connections))
	gauge(c.queue, float64(s.QueueMessages))
	gauge(c.queueBytes, float64(s.QueueBytes))
	count(c.messages, s.Accepted, "accepted")
	count(c.messages, s.Duplicates, "duplicate")
	count(c.messages, s.Responses, "response")
	count(c.commands, s.CommandsSent, "sent")
	count(c.commands, s.CommandsResent, "resent")
	count(c.commands, s.CommandsAcked, "acknowledged")
	count(c.commands, s.CommandsExpired, "expired")
	for cause, v := range s.Refused {
		count(c.refused, v, cause)
	}
	ch <- histogram(c.batch, s.BatchSize)
	ch <- histogram(c.latency, s.CommitLatency)
}

func histogram(d *prometheus.Desc, h device.Histogram) prometheus.Metric {
	buckets, sum := make(map[float64]uint64, len(h.Bounds)), uint64(0)
	for i, bound := range h.Bounds {
		sum += h.Counts[i]
		buckets[bound] = sum
	}
	return prometheus.MustNewConstHistogram(d, h.Count, h.Sum, buckets)
}
