package control

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Event is a durable change: exactly one field is set.
type Event struct {
	Command *Command
	Halt    *HaltState
}

// subscribers are those who watch commands. A slow one loses events and sees that it did.
type subscribers struct {
	mu   sync.Mutex
	subs map[*Subscription]struct{}
}

// Subscription is a bounded feed of events.
type Subscription struct {
	C    <-chan Event
	c    chan Event
	lost atomic.Uint64
	s    *subscribers
}

// Lost returns how many events were dropped because the reader was slow, and starts counting again.
func (s *Subscription) Lost() uint64 { return s.lost.Swap(0) }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.s.mu.Lock()
	delete(s.s.subs, s)
	s.s.mu.Unlock()
}

// Subscribe returns a feed of the events from now on, with room for buffer of them.
func (s *Service) Subscribe(buffer int) *Subscription {
	c := make(chan Event, max(buffer, 1))
	sub := &Subscription{C: c, c: c, s: &s.events}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if s.events.subs == nil {
		s.events.subs = map[*Subscription]struct{}{}
	}
	s.events.subs[sub] = struct{}{}
	return sub
}

func (s *subscribers) publish(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs {
		select {
		case sub.c <- e:
		default:
			sub.lost.Add(1)
		}
	}
}

// metrics of the command's life.
type metrics struct {
	states *prometheus.CounterVec
	decide prometheus.Histogram
	align  prometheus.Histogram
}

func newMetrics() *metrics {
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	return &metrics{
		states: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vaultmesh_commands_total", Help: "Commands that entered a state in which they stay or wait."}, []string{"state"}),
		decide: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vaultmesh_command_decision_seconds", Help: "Time from proposal to durable decision.", Buckets: buckets}),
		align:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vaultmesh_command_alignment_seconds", Help: "Time from dispatch to aligned.", Buckets: buckets}),
	}
}

func (m *metrics) transition(s State)      { m.states.WithLabelValues(string(s)).Inc() }
func (m *metrics) decided(d time.Duration) { m.decide.Observe(d.Seconds()) }
func (m *metrics) aligned(d time.Duration) { m.align.Observe(d.Seconds()) }

// Collectors returns the metrics for a Prometheus registry.
func (s *Service) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.m.states, s.m.decide, s.m.align}
}
