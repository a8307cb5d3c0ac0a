package device

import (
	"sync"
	"sync/atomic"
	"time"
)

// cause says why a message or a connection was refused; it names a counter.
type cause uint8

const (
	causeTopic        cause = iota // no such topic
	causeDenied                    // outside the device's own topics, or not the twin's device
	causePayload                   // not well-formed, or not what the model says
	causeUnknown                   // no such twin or command
	causeOverload                  // the queue is full
	causeUnavailable               // the node cannot take it now
	causeInternal                  // a fault of the node
	causeQoS                       // QoS 2
	causeRetain                    // retained publish
	causeStalled                   // no room, or the peer did not read, for too long
	causeConnect                   // identity, credentials, revocation or will of a CONNECT
	causeConnections               // too many connections
	causeSubscription              // filter outside the device's own topics
	causeCommandSize               // a command is larger than the device's maximum packet size
	causes
)

var causeNames = [causes]string{"topic", "not_authorized", "payload", "unknown", "overload", "unavailable", "internal", "qos", "retain", "stalled", "connect", "connections", "subscription", "command_size"}

// Stats is a snapshot of a broker's counters since its start and of its present load. Counters of one snapshot may
// be a few messages apart.
type Stats struct {
	Connections     int               `json:"connections"`      // established now
	Connects        uint64            `json:"connects"`         // accepted
	Accepted        uint64            `json:"accepted"`         // telemetry messages made durable, duplicates not counted
	Duplicates      uint64            `json:"duplicates"`       // acknowledged, merged before
	Responses       uint64            `json:"responses"`        // answers to commands made durable
	Refused         map[string]uint64 `json:"refused"`          // by cause
	CommandsSent    uint64            `json:"commands_sent"`    // first transmissions
	CommandsResent  uint64            `json:"commands_resent"`  // in a resumed session
	CommandsAcked   uint64            `json:"commands_acked"`   // acknowledged by the device
	CommandsExpired uint64            `json:"commands_expired"` // not sent, or no longer awaited, since too late
	QueueMessages   int               `json:"queue_messages"`   // wait for the committer
	QueueBytes      int               `json:"queue_bytes"`
	BatchesInFlight int               `json:"batches_in_flight"` // handed to the journal, not yet durable
	BatchSize       Histogram         `json:"batch_size"`        // messages
	CommitLatency   Histogram         `json:"commit_latency"`    // seconds from the receipt of a message to its durability
}

// Histogram counts observations by upper bound; the last count is for what exceeds all bounds.
type Histogram struct {
	Bounds []float64 `json:"bounds"`
	Counts []uint64  `json:"counts"` // one more than bounds, not cumulative
	Count  uint64    `json:"count"`
	Sum    float64   `json:"sum"`
}

func (h *Histogram) observe(v float64) {
	i := 0
	for i < len(h.Bounds) && v > h.Bounds[i] {
		i++
	}
	h.Counts[i]++
	h.Count++
	h.Sum += v
}

func (h *Histogram) clone() Histogram {
	c := *h
	c.Counts = append([]uint64(nil), h.Counts...)
	return c
}

func newHistogram(bounds ...float64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

// counters are those of the whole broker.
type counters struct {
	connections, inFlight                                   atomic.Int64
	connects, accepted, duplicates, responses               atomic.Uint64
	commandsSent, commandsResent, commandsAcked, cmdExpired atomic.Uint64
	refused                                                 [causes]atomic.Uint64

	mu      sync.Mutex
	batch   Histogram
	latency Histogram
}

func newCounters() *counters {
	return &counters{
		batch:   newHistogram(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
		latency: newHistogram(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
	}
}

func (c *counters) snapshot() Stats {
	s := Stats{
		Connections: int(c.connections.Load()), Connects: c.connects.Load(), Accepted: c.accepted.Load(), Duplicates: c.duplicates.Load(),
		Responses: c.responses.Load(), Refused: make(map[string]uint64, causes), CommandsSent: c.commandsSent.Load(),
		CommandsResent: c.commandsResent.Load(), CommandsAcked: c.commandsAcked.Load(), CommandsExpired: c.cmdExpired.Load(),
		BatchesInFlight: int(c.inFlight.Load()),
	}
	for i := range c.refused {
		s.Refused[causeNames[i]] = c.refused[i].Load()
	}
	c.mu.Lock()
	s.BatchSize, s.CommitLatency = c.batch.clone(), c.latency.clone()
	c.mu.Unlock()
	return s
}

// limiter lets one log line through in an interval and counts the rest.
type limiter struct {
	mu         sync.Mutex
	next       time.Time
	suppressed uint64
}

// logInterval is the shortest time between two log lines about refusals of one device, or of connections.
const logInterval = 10 * time.Second

// allow reports whether to log now, and how many lines were suppressed before.
func (l *limiter) allow(now time.Time) (suppressed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed = l.suppressed, 0
	l.next = now.Add(logInterval)
	return suppressed, true
}
