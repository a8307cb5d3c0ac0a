package device

import (
	"errors"
	"fmt"
	"sort"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// hook ties a [Broker] to mochi. Its methods run in the goroutine of the connection that they are about.
//
// mochi parses packets, keeps sessions and subscriptions and answers CONNECT, SUBSCRIBE and PINGREQ. What it would
// do for a PUBLISH is taken from it in two places: OnPublish refuses every message with ErrRejectPacket, upon which
// mochi neither acknowledges nor forwards it; and commands are written by [conn], since mochi's own way forgets the
// order and the expiry of what it resends, drops the acknowledgement of what it delayed for want of quota, and confuses
// the packet identifiers of the two directions: a PUBLISH of the device would end a command with the same identifier.
type hook struct {
	mqtt.HookBase
	b *Broker
}

// ID implements [mqtt.Hook].
func (h *hook) ID() string { return "vaultmesh" }

// Provides implements [mqtt.Hook].
func (h *hook) Provides(k byte) bool {
	switch k {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnDisconnect,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPacketProcessed, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribed,
		mqtt.OnPublish, mqtt.OnClientExpired:
		return true
	}
	return false
}

func (h *hook) conn(cl *mqtt.Client) *conn {
	if c, ok := h.b.conns.Load(cl); ok {
		return c.(*conn)
	}
	return nil
}

// OnConnect judges a CONNECT and answers a refusal itself, with a reason.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	if r := h.b.admit(cl, pk); r != nil {
		h.b.count.refused[causeConnect].Add(1)
		if n, ok := h.b.logs.allow(h.b.o.Now()); ok {
			h.b.o.Logger.Warn("connection refused", "client", clip(cl.ID, 64), "remote", cl.Net.Remote, "reason", r.reason, "suppressed", n)
		}
		code := packets.Code{Code: r.code, Reason: r.reason}
		if cl.Properties.ProtocolVersion < 5 {
			code = packets.Code{Code: r.code3}
		}
		_ = h.b.server.SendConnack(cl, code, false, nil)
		return code
	}
	cl.Properties.Props.TopicAliasMaximum = 0 // an alias would not outlive the connection, a message in flight does
	limit := uint16(h.b.o.MaxKeepalive / time.Second)
	if k := cl.State.Keepalive; k == 0 || k > limit {
		cl.State.Keepalive, cl.State.ServerKeepalive = limit, true
	}
	return nil
}

// OnConnectAuthenticate agrees, since OnConnect has judged.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck judges subscriptions by what OnSubscribe has found. Publishes are judged by OnPublish, which can say why.
func (h *hook) OnACLCheck(cl *mqtt.Client, filter string, write bool) bool {
	if write {
		return true
	}
	c := h.conn(cl)
	return c != nil && !c.denied[filter]
}

// OnSessionEstablish decides what the new connection goes on with: the commands in flight and the subscriptions of the
// session if mochi will resume it, nothing otherwise.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, pk packets.Packet) {
	p := h.b.peer(vaultmesh.DeviceID(cl.ID))
	establish(cl.Net.Conn) // before the CONNACK: from then on the device is told why a connection ends
	old, known := h.b.server.Clients.Get(cl.ID)
	resumes := known && !pk.Connect.Clean && (!old.Properties.Clean || old.Properties.ProtocolVersion == 5)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		// mochi writes a DISCONNECT to the old connection; a peer that does not read must not delay the new one.
		_ = p.conn.cl.Net.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	}
	p.conn, p.waiting = nil, nil
	for id, o := range p.flight {
		p.resume = append(p.resume, resumed{id, o})
	}
	clear(p.flight)
	if !resumes {
		p.endSession()
	}
	sort.Slice(p.resume, func(i, j int) bool { return p.resume[i].o.Seq < p.resume[j].o.Seq })
}

// endSession forgets what belongs to a session; p.mu is held.
func (p *peer) endSession() {
	p.resume, p.wantErrs = nil, false
	clear(p.flight)
	clear(p.filters)
}

// OnSessionEstablished starts the goroutines of an accepted connection.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if now, _ := h.b.server.Clients.Get(cl.ID); now != cl {
		cl.Stop(errSuperseded)
		return
	}
	p := h.b.peer(vaultmesh.DeviceID(cl.ID))
	c := newConn(h.b, p, cl)
	h.b.conns.Store(cl, c)
	h.b.count.connections.Add(1)
	h.b.count.connects.Add(1)
	h.b.setState(p, "", func() {
		p.conn, p.remote, p.protocol, p.seen = c, cl.Net.Remote, cl.Properties.ProtocolVersion, h.b.o.Now()
		p.draining = false
		if len(p.filters) > 0 {
			c.wantDrain()
		}
	})
	c.settler.Go(c.settle)
	c.writer.Go(c.write)
	poke(c.wake)
	select {
	case <-h.b.stopping: // Close may have looked before the connection was there to be seen
		c.kick(packets.ErrServerShuttingDown)
	default:
	}
	// The device may have been revoked between OnConnect and the moment from which Disconnect finds it.
	if err := h.b.o.Devices.Admit(p.device); err != nil {
		c.kick(packets.Code{Code: packets.ErrNotAuthorized.Code, Reason: clip(err.Error(), maxReasonText)})
	}
}

// OnDisconnect ends a connection's goroutines.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, expire bool) {
	c := h.conn(cl)
	if c == nil {
		return
	}
	h.b.conns.Delete(cl)
	h.b.count.connections.Add(-1)
	c.giveUp()
	c.writer.Wait()
	reason := "the device disconnected"
	if errors.Is(err, packets.ErrPacketTooLarge) {
		// mochi has closed the connection by now: the device knows the limit from the CONNACK, the operator learns it here.
		h.b.record(c.p, "", verdict{causePayload, packets.ErrPacketTooLarge.Code, fmt.Sprintf("a packet has more than %d bytes, the limit that the CONNACK names", h.b.o.MaxPacket)})
	}
	if kick := c.kicked(); kick != nil {
		reason = kick.Error() // our own word, though the device may have closed first
	} else if stop := cl.StopCause(); stop != nil && stop != error(packets.CodeDisconnect) {
		reason = stop.Error()
	} else if err != nil {
		reason = err.Error()
	}
	h.b.setState(c.p, reason, func() {
		if c.p.conn == c {
			c.p.conn, c.p.waiting = nil, nil
			if expire {
				c.p.endSession()
			}
		}
	})
	close(c.events)
	c.settler.Wait()
}

// setState applies change to p and tells OnState if the device came or went by it.
func (b *Broker) setState(p *peer, reason string, change func()) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	p.mu.Lock()
	change()
	was := p.online
	p.online = p.conn != nil
	s := State{Device: p.device, Online: p.online, Time: b.o.Now(), Remote: p.remote, Protocol: p.protocol}
	if !s.Online {
		s.Reason = clip(reason, maxReasonText)
	}
	p.mu.Unlock()
	if s.Online != was {
		b.o.OnState(s)
	}
}

// OnClientExpired removes the subscriptions of an expired session, which mochi leaves in its index.
func (h *hook) OnClientExpired(cl *mqtt.Client) { h.b.server.UnsubscribeClient(cl) }

// OnPacketRead takes the PUBACKs of commands, and refuses what the CONNACK has ruled out, before mochi would lower the
// QoS silently. The connection ends: MQTT 5 is told why (MQTT-3.2.2-11, MQTT-3.2.2-14), MQTT 3.1.1 cannot be told.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Puback {
		if c := h.conn(cl); c != nil {
			c.acknowledged(pk.PacketID, pk.ReasonCode)
		}
		return pk, nil
	}
	if pk.FixedHeader.Type != packets.Publish {
		return pk, nil
	}
	if pk.FixedHeader.Qos < 2 && !pk.FixedHeader.Retain {
		// mochi drops these without a word to anyone; the device would wait for its acknowledgement for ever.
		if c := h.conn(cl); c != nil && !mqtt.IsValidFilter(pk.TopicName, true) {
			c.publish(&pk)
		}
		return pk, nil
	}
	code, why := disconnectQoS, causeQoS
	if pk.FixedHeader.Qos < 2 {
		code, why = disconnectRetain, causeRetain
	}
	if c := h.conn(cl); c != nil {
		h.b.record(c.p, pk.TopicName, verdict{why, code.Code, code.Reason})
	}
	if cl.Properties.ProtocolVersion == 5 {
		_ = h.b.server.DisconnectClient(cl, code)
	}
	return pk, packets.ErrRejectPacket
}

// OnPacketEncode completes what mochi says: the limits in a CONNACK, the reason in a SUBACK.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	switch pk.FixedHeader.Type {
	case packets.Connack:
		if pk.ReasonCode == packets.ErrServerBusy.Code || pk.ReasonCode == packets.Err3ServerUnavailable.Code {
			h.b.count.refused[causeConnections].Add(1)
		}
		if pk.ReasonCode == 0 {
			p := &pk.Properties
			p.RetainAvailable, p.RetainAvailableFlag = 0, true
			p.SubIDAvailable, p.SubIDAvailableFlag = 0, true
			p.SharedSubAvailable, p.SharedSubAvailableFlag = 0, true
			p.MaximumPacketSize = uint32(h.b.o.MaxPacket)
		}
	case packets.Suback:
		if c := h.conn(cl); c != nil && c.refusedFilter != "" {
			pk.Properties.ReasonString = c.refusedFilter
		}
	}
	return pk
}

// OnSubscribe judges the filters; OnACLCheck then refuses those in denied.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := h.conn(cl)
	if c == nil {
		return pk
	}
	c.denied, c.refusedFilter = nil, ""
	for i := range pk.Filters {
		f := &pk.Filters[i]
		if f.Identifier > 0 {
			c.kick(disconnectSubID)
		}
		err := subscribeFilter(c.p.device, f.Filter, f.Qos)
		if err == nil {
			continue
		}
		if c.denied == nil {
			c.denied = map[string]bool{}
		}
		c.denied[f.Filter] = true
		v := judge(err)
		v.cause = causeSubscription
		h.b.record(c.p, f.Filter, v)
		c.refusedFilter = v.reason
	}
	return pk
}

// OnSubscribed notes which messages the session wants.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	c := h.conn(cl)
	if c == nil {
		return
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.p.conn != c {
		return
	}
	for i, f := range pk.Filters {
		switch {
		case codes[i] >= packets.ErrUnspecifiedError.Code:
		case f.Filter == root+string(c.p.device)+"/err":
			c.p.wantErrs = true
		default:
			c.p.filters[f.Filter] = struct{}{}
		}
	}
}

// OnUnsubscribed notes which messages the session no longer wants.
func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	c := h.conn(cl)
	if c == nil {
		return
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.p.conn != c {
		return
	}
	for _, f := range pk.Filters {
		delete(c.p.filters, f.Filter)
		if f.Filter == root+string(c.p.device)+"/err" {
			c.p.wantErrs = false
		}
	}
}

// OnPacketProcessed hands out what the device missed, after the SUBACK.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, err error) {
	if pk.FixedHeader.Type != packets.Subscribe || err != nil {
		return
	}
	if c := h.conn(cl); c != nil {
		c.p.mu.Lock()
		if c.p.conn == c && len(c.p.filters) > 0 {
			c.wantDrain()
		}
		c.p.mu.Unlock()
	}
}

// OnPublish takes every message of a device.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if c := h.conn(cl); c != nil {
		c.publish(&pk)
	}
	return pk, packets.ErrRejectPacket
}

// publish checks one message and queues it, or refuses it. It runs in the reader, and blocks it for want of room.
func (c *conn) publish(pk *packets.Packet) {
	now := c.b.o.Now()
	c.p.saw(now)
	acked := pk.FixedHeader.Qos > 0
	var n uint64
	if acked {
		var ok bool
		if n, ok = c.reserve(pk.PacketID); !ok {
			return
		}
	}
	what, id, err := publishTopic(c.p.device, pk.TopicName)
	if err != nil {
		c.refuse(pk.TopicName, n, acked, judgeTopic(err))
		return
	}
	if what == forResponse {
		r, err := parseResponse(pk.Payload)
		if err != nil {
			c.refuse(pk.TopicName, n, acked, judge(err))
			return
		}
		r.Device = c.p.device
		c.events <- event{response: &r, slot: n, acked: acked}
		return
	}
	it := &item{topic: pk.TopicName, size: len(pk.TopicName) + len(pk.Payload), at: now, conn: c, slot: n, acked: acked}
	it.msg.Twin, it.msg.Device = id, c.p.device
	if err := parseTelemetry(pk.Payload, &it.msg); err != nil {
		c.refuse(pk.TopicName, n, acked, judge(err))
		return
	}
	if err := c.b.o.Twins.Check(&it.msg); err != nil {
		c.refuse(pk.TopicName, n, acked, judge(err))
		return
	}
	it.leaf = receipt.MessageLeaf(pk.TopicName, pk.Payload)
	c.enqueue(it)
}

// overloaded is the verdict on a message for which the queue has no room.
var overloaded = verdict{causeOverload, packets.ErrQuotaExceeded.Code, "the node is overloaded; send again later"}

// enqueue queues it. Without room, MQTT 5 and QoS 0 are refused at once; an MQTT 3.1.1 device cannot be told, so its
// reader waits, and after MaxStall the connection ends with the message unacknowledged.
func (c *conn) enqueue(it *item) {
	if c.b.ingest.put(it) {
		return
	}
	if c.v5 || !it.acked {
		c.refuse(it.topic, it.slot, it.acked, overloaded)
		return
	}
	t := time.NewTimer(c.b.o.MaxStall)
	defer t.Stop()
	for {
		room := c.b.ingest.hasRoom()
		if c.b.ingest.put(it) {
			return
		}
		select {
		case <-room:
		case <-c.dead:
			return
		case <-c.b.stopping:
			return
		case <-t.C:
			c.b.record(c.p, it.topic, verdict{causeStalled, disconnectStalled.Code, disconnectStalled.Reason})
			c.kick(disconnectStalled)
			return
		}
	}
}
