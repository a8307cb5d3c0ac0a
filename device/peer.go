package device

import (
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
)

// peer is what the broker knows of one device, across its connections.
type peer struct {
	device vaultmesh.DeviceID
	logs   limiter

	stateMu sync.Mutex // held while OnState is called, so that events come in order; taken before mu

	mu       sync.Mutex
	conn     *conn // the established connection; nil while there is none
	online   bool  // what OnState was told last
	seen     time.Time
	remote   string
	protocol byte
	refusals []Refusal // ring of at most maxRefusals
	refused  uint64    // how many were put into the ring, ever

	filters  map[string]struct{} // command filters of the session
	wantErrs bool                // the session is subscribed to err messages

	// Commands. A command is in at most one of waiting, flight and settling.
	waiting  []Outbound // to be sent on this connection, ascending Seq
	flight   map[uint16]Outbound
	resume   []resumed // of an earlier connection of the same session, to be sent first
	settling map[vaultmesh.CommandID]struct{}
	sent     ledger // written to a connection, see [Broker.Dispatch] and [Broker.Withdraw]
	held     ledger // withdrawn: never to be sent
	more     bool   // the source may hold commands that are not in waiting
	draining bool   // a drain event is on its way to the settler
}

// resumed is a command in flight of a session whose connection was lost; MQTT demands its old identifier.
type resumed struct {
	id uint16
	o  Outbound
}

// Presence is what the broker knows about a device's connection.
type Presence struct {
	Device   vaultmesh.DeviceID `json:"device"`
	Online   bool               `json:"online"`
	Seen     time.Time          `json:"seen"`               // the last message or connection, by the node's clock
	Remote   string             `json:"remote,omitempty"`   // of the present or last connection
	Protocol byte               `json:"protocol,omitempty"` // 4 is MQTT 3.1.1, 5 is MQTT 5
	Refused  uint64             `json:"refused"`            // messages refused since the node's start
	InFlight int                `json:"in_flight"`          // commands without a PUBACK
}

func (p *peer) presence() Presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Presence{Device: p.device, Online: p.online, Seen: p.seen, Remote: p.remote, Protocol: p.protocol, Refused: p.refused, InFlight: len(p.flight) + len(p.resume)}
}

func (p *peer) saw(now time.Time) {
	p.mu.Lock()
	p.seen = now
	p.mu.Unlock()
}

func (p *peer) wantsErrors(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn == c && p.wantErrs
}

// refuse keeps r and forgets the oldest one beyond the limit.
func (p *peer) refuse(r Refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refusals) < maxRefusals {
		p.refusals = append(p.refusals, r)
	} else {
		p.refusals[p.refused%maxRefusals] = r
	}
	p.refused++
}

// newestRefusals returns the kept refusals, newest first.
func (p *peer) newestRefusals() []Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Refusal, 0, len(p.refusals))
	for i := range len(p.refusals) {
		out = append(out, p.refusals[(p.refused-1-uint64(i))%uint64(len(p.refusals))])
	}
	return out
}

// peer returns the record of device, which is made for a device that was admitted; so there are at most as many as
// enrolled devices.
func (b *Broker) peer(device vaultmesh.DeviceID) *peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peers[device]
	if p == nil {
		p = &peer{device: device, flight: map[uint16]Outbound{}, settling: map[vaultmesh.CommandID]struct{}{}, filters: map[string]struct{}{}}
		b.peers[device] = p
	}
	return p
}

func (b *Broker) knownPeer(device vaultmesh.DeviceID) *peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.peers[device]
}

// record keeps a refusal for the operator, counts it, and logs it now and then.
func (b *Broker) record(p *peer, topic string, v verdict) {
	now := b.o.Now()
	b.count.refused[v.cause].Add(1)
	p.refuse(Refusal{Time: now, Topic: clip(topic, maxTopicText), Reason: v.reason, Code: v.code})
	if n, ok := p.logs.allow(now); ok {
		b.o.Logger.Warn("message of a device refused", "device", p.device, "topic", clip(topic, maxTopicText), "cause", causeNames[v.cause], "suppressed", n)
	}
}
