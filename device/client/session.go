package client

import (
	"context"
	"io"
	"sort"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"

	"vaultmesh.org/vaultmesh"
)

// exchange is the session state of one connection: which packet identifiers are in use and who waits for them. It does
// not outlive the connection, since the client itself sends again what was not acknowledged, and the node hands
// out missed commands at each subscription; so nothing depends on what the node remembers of a session.
type exchange struct {
	mu    sync.Mutex
	conn  io.Writer
	last  uint16
	seq   uint64
	next  *entry // the entry that the sender is about to publish
	sent  map[uint16]*entry
	waits map[uint16]chan<- packets.ControlPacket
	acked func(e *entry, code byte, reason string)
}

func newExchange(acked func(e *entry, code byte, reason string)) *exchange {
	return &exchange{sent: map[uint16]*entry{}, waits: map[uint16]chan<- packets.ControlPacket{}, acked: acked}
}

// outstanding returns how many publishes wait for their acknowledgement.
func (x *exchange) outstanding() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.sent)
}

// begin names the entry that the next PUBLISH belongs to.
func (x *exchange) begin(e *entry) {
	x.mu.Lock()
	x.next = e
	x.mu.Unlock()
}

// unacked removes and returns the entries without an acknowledgement, in the order in which they were sent.
func (x *exchange) unacked() []*entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := make([]*entry, 0, len(x.sent))
	for _, e := range x.sent {
		rest = append(rest, e)
	}
	clear(x.sent)
	sort.Slice(rest, func(i, j int) bool { return rest[i].seq < rest[j].seq })
	return rest
}

// ConAckReceived implements [session.SessionManager].
func (x *exchange) ConAckReceived(conn io.Writer, _ *packets.Connect, _ *packets.Connack) error {
	x.mu.Lock()
	x.conn = conn
	x.mu.Unlock()
	return nil
}

// ConnectionLost implements [session.SessionManager]: it releases the requests that wait for an answer.
func (x *exchange) ConnectionLost(*packets.Disconnect) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn = nil
	for id, ch := range x.waits {
		ch <- packets.ControlPacket{}
		delete(x.waits, id)
	}
	return nil
}

// AddToSession implements [session.SessionManager]. resp has room for one packet, by the contract of paho.
func (x *exchange) AddToSession(_ context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn == nil {
		return session.ErrNoConnection
	}
	for range 65536 {
		x.last++
		if x.last == 0 {
			continue
		}
		if _, used := x.sent[x.last]; used {
			continue
		}
		if _, used := x.waits[x.last]; used {
			continue
		}
		p.SetIdentifier(x.last)
		if p.Type() == packets.PUBLISH && x.next != nil {
			x.seq++
			x.next.seq = x.seq
			x.sent[x.last], x.next = x.next, nil
		} else {
			x.waits[x.last] = resp
		}
		return nil
	}
	return session.ErrPacketIdentifiersExhausted
}

// PacketReceived implements [session.SessionManager].
func (x *exchange) PacketReceived(recv *packets.ControlPacket, pub chan<- *packets.Publish) error {
	switch p := recv.Content.(type) {
	case *packets.Publish:
		pub <- p
	case *packets.Puback:
		x.mu.Lock()
		e := x.sent[p.PacketID]
		delete(x.sent, p.PacketID)
		x.mu.Unlock()
		if e != nil {
			reason := ""
			if p.Properties != nil {
				reason = p.Properties.ReasonString
			}
			x.acked(e, p.ReasonCode, reason)
		}
	case *packets.Suback, *packets.Unsuback:
		x.mu.Lock()
		ch := x.waits[recv.PacketID()]
		delete(x.waits, recv.PacketID())
		x.mu.Unlock()
		if ch != nil {
			ch <- *recv
		}
	}
	return nil
}

// Ack implements [session.SessionManager] for QoS 1, the highest that the node offers.
func (x *exchange) Ack(pb *packets.Publish) error {
	x.mu.Lock()
	conn := x.conn
	x.mu.Unlock()
	if conn == nil || pb.QoS != 1 {
		return nil
	}
	_, err := (&packets.Puback{Properties: &packets.Properties{}, PacketID: pb.PacketID}).WriteTo(conn)
	return err
}

// Close implements [session.SessionManager].
func (x *exchange) Close() error { return nil }

// SetErrorLogger implements [session.SessionManager]; errors of this state are returned, not logged.
func (x *exchange) SetErrorLogger(log.Logger) {}

// SetDebugLogger implements [session.SessionManager].
func (x *exchange) SetDebugLogger(log.Logger) {}

// refusal turns a PUBACK's reason code into an error; nil below 0x80.
func refusal(topic string, code byte, reason string) error {
	if code < 0x80 {
		return nil
	}
	kind := vaultmesh.Internal
	switch code {
	case packets.PubackNotAuthorized:
		kind = vaultmesh.Denied
	case packets.PubackTopicNameInvalid, packets.PubackPayloadFormatInvalid:
		kind = vaultmesh.Invalid
	case packets.PubackQuotaExceeded:
		kind = vaultmesh.RateLimited
	}
	return vaultmesh.Errorf(kind, "device.publish", topic, "the node refused the message with code 0x%02x: %s", code, reason)
}
