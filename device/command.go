package device

import (
	"context"
	"encoding/json"
	"sort"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
)

// maxWaiting bounds the commands of one device that wait here for room on its connection; the source keeps the rest.
const maxWaiting = 256

// settleTimeout bounds one durable call of the settler.
const settleTimeout = 10 * time.Second

// event is work for a connection's settler, in the order in which the device caused it.
type event struct {
	delivered *Outbound // the device acknowledged it, with code
	code      byte
	response  *Response // the device answered, by the PUBLISH in slot
	slot      uint64
	acked     bool
	drain     bool // fetch what the source holds
}

// Dispatch sends o to its device if it is connected and subscribed; call it after the commit that handed o out. It does
// not block, and it need not succeed: what it does not send is found by [Source.Pending] when the device subscribes.
func (b *Broker) Dispatch(o Outbound) {
	for first := b.firstSeq.Load(); o.Seq < first && !b.firstSeq.CompareAndSwap(first, o.Seq); first = b.firstSeq.Load() {
	}
	p := b.knownPeer(o.Device)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// The settler may have fetched o before this call: then it was sent, and may even be settled by now.
	if !p.sent.has(o.Command) {
		p.offer(o)
	}
}

// offer queues o for the present connection unless it is on its way already; p.mu is held.
func (p *peer) offer(o Outbound) {
	if p.conn == nil || len(p.filters) == 0 || p.has(o.Command) || p.held.has(o.Command) {
		return
	}
	if len(p.waiting) >= maxWaiting {
		p.more = true
		return
	}
	i := sort.Search(len(p.waiting), func(i int) bool { return p.waiting[i].Seq > o.Seq })
	p.waiting = append(p.waiting, Outbound{})
	copy(p.waiting[i+1:], p.waiting[i:])
	p.waiting[i] = o
	poke(p.conn.wake)
}

// has reports whether the command is waiting, in flight or being settled; p.mu is held.
func (p *peer) has(id vaultmesh.CommandID) bool {
	if _, ok := p.settling[id]; ok {
		return true
	}
	for _, o := range p.flight {
		if o.Command == id {
			return true
		}
	}
	for i := range p.resume {
		if p.resume[i].o.Command == id {
			return true
		}
	}
	for i := range p.waiting {
		if p.waiting[i].Command == id {
			return true
		}
	}
	return false
}

// onTheWay returns the commands that are waiting, in flight or being settled; p.mu is held.
func (p *peer) onTheWay() map[vaultmesh.CommandID]struct{} {
	ids := make(map[vaultmesh.CommandID]struct{}, len(p.settling)+len(p.flight)+len(p.waiting)+len(p.resume))
	for id := range p.settling {
		ids[id] = struct{}{}
	}
	for _, o := range p.flight {
		ids[o.Command] = struct{}{}
	}
	for i := range p.waiting {
		ids[p.waiting[i].Command] = struct{}{}
	}
	for i := range p.resume {
		ids[p.resume[i].o.Command] = struct{}{}
	}
	return ids
}

// commands appends what may be sent to the writer's buffer: first what an earlier connection of the session left in
// flight, then what waits, in order.
func (c *conn) commands() {
	p := c.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != c {
		return
	}
	now := c.b.o.Now()
	for _, r := range p.resume {
		if !p.held.has(r.o.Command) {
			c.sendCommand(r.o, r.id, true, now)
		}
	}
	p.resume = nil
	limit := c.b.o.MaxCommands
	if m := c.cl.Properties.Props.ReceiveMaximum; m > 0 {
		limit = min(limit, int(m))
	}
	n := 0
	for ; n < len(p.waiting); n++ {
		if len(p.flight)+len(p.settling) >= limit && !c.forgetExpired(now) {
			break
		}
		o := p.waiting[n]
		if !p.subscribed(o.Twin) {
			continue // stays with the source until the device asks for it
		}
		c.sendCommand(o, c.nextID(), false, now)
	}
	p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	if len(p.waiting) == 0 && p.more && len(p.flight)+len(p.settling) < limit {
		p.more = false
		c.wantDrain()
	}
}

func (p *peer) subscribed(twin vaultmesh.TwinID) bool {
	for f := range p.filters {
		if covers(p.device, f, twin) {
			return true
		}
	}
	return false
}

// forgetExpired gives up waiting for acknowledgements of expired commands; it reports whether that made room.
func (c *conn) forgetExpired(now time.Time) bool {
	freed := false
	for id, o := range c.p.flight {
		if !now.Before(o.Expires) {
			delete(c.p.flight, id)
			c.b.count.cmdExpired.Add(1)
			freed = true
		}
	}
	return freed
}

// nextID returns a packet identifier that no command in flight has; p.mu is held. There are far fewer commands in flight
// than identifiers.
func (c *conn) nextID() uint16 {
	for {
		c.lastID++
		if _, used := c.p.flight[c.lastID]; !used && c.lastID != 0 {
			return c.lastID
		}
	}
}

// wireCommand is the payload of a cmd message.
type wireCommand struct {
	ID      vaultmesh.CommandID `json:"id"`
	Command string              `json:"command"`
	Args    json.RawMessage     `json:"args,omitempty"`
	Expires string              `json:"expires"`
}

// timeFormat is the form of times on the wire: RFC 3339, UTC, microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// sendCommand appends o as a PUBLISH with identifier id and counts it as in flight; p.mu is held. An expired command is
// left out.
func (c *conn) sendCommand(o Outbound, id uint16, again bool, now time.Time) {
	count := c.b.count
	left := o.Expires.Sub(now)
	if left <= 0 {
		count.cmdExpired.Add(1)
		return
	}
	payload, err := json.Marshal(wireCommand{o.Command, o.Name, o.Args, o.Expires.UTC().Format(timeFormat)})
	if err != nil {
		c.b.o.Logger.Error("a command cannot be encoded", "device", o.Device, "command", o.Command, "error", err)
		return
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Dup: again},
		TopicName:   root + string(o.Device) + "/cmd/" + string(o.Twin),
		Payload:     payload,
		PacketID:    id,
		Properties: packets.Properties{
			ResponseTopic:   root + string(o.Device) + "/rsp",
			CorrelationData: []byte(o.Command),
			// Whole seconds, rounded up: the expiry in the payload is the exact one.
			MessageExpiryInterval: uint32(min((left+time.Second-1)/time.Second, 1<<32-1)),
			PayloadFormat:         1, PayloadFormatFlag: true,
			ContentType: "application/json",
		},
	}
	if !c.encode(pk) {
		count.refused[causeCommandSize].Add(1)
		c.b.o.Logger.Error("a command is larger than the device accepts", "device", o.Device, "command", o.Command)
		return
	}
	c.p.flight[id] = o
	if again {
		count.commandsResent.Add(1)
		return
	}
	count.commandsSent.Add(1)
	c.p.sent.put(o, now)
}

// acknowledged is called by the reader for the PUBACK of a command.
func (c *conn) acknowledged(id uint16, code byte) {
	p := c.p
	p.mu.Lock()
	o, ok := p.flight[id]
	if ok = ok && p.conn == c; ok {
		delete(p.flight, id)
		p.settling[o.Command] = struct{}{}
	}
	p.mu.Unlock()
	if ok {
		c.b.count.commandsAcked.Add(1)
		c.events <- event{delivered: &o, code: code}
	}
}

// wantDrain asks the settler to fetch from the source; p.mu is held.
func (c *conn) wantDrain() {
	if c.p.draining {
		return
	}
	select {
	case c.events <- event{drain: true}:
		c.p.draining = true
	default:
		c.p.more = true // the settler is busy; the writer asks again
	}
}

// settle is the settler. It works off all events even when the connection is lost, so that no acknowledgement is.
func (c *conn) settle() {
	for e := range c.events {
		switch {
		case e.delivered != nil:
			c.delivered(e.delivered, e.code)
		case e.response != nil:
			c.respond(e)
		case e.drain:
			c.drain()
		}
	}
}

func (c *conn) delivered(o *Outbound, code byte) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	now := c.b.o.Now()
	err := c.b.o.Source.Delivered(ctx, o.Command, now)
	if err == nil && code >= packets.ErrUnspecifiedError.Code {
		err = c.b.o.Source.Respond(ctx, Response{Command: o.Command, Device: o.Device, Code: "refused", Detail: "the device refused the message itself (MQTT reason code " + hexByte(code) + ")", Time: now.UTC()})
	}
	if err != nil {
		c.b.o.Logger.Error("a delivery could not be recorded; the command may be sent once more", "device", o.Device, "command", o.Command, "error", err)
	}
	c.p.mu.Lock()
	delete(c.p.settling, o.Command)
	c.p.mu.Unlock()
	poke(c.wake)
}

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return "0x" + string([]byte{digits[b>>4], digits[b&15]})
}

func (c *conn) respond(e event) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	err := c.b.o.Source.Respond(ctx, *e.response)
	if err == nil {
		c.b.count.responses.Add(1)
		if e.acked {
			c.complete(e.slot, 0, "")
		}
		return
	}
	v := judge(err)
	if v.final() || c.v5 && v.cause != causeInternal {
		c.refuse(root+string(c.p.device)+"/rsp", e.slot, e.acked, v)
		return
	}
	// Without an acknowledgement the device sends its answer again, on its next connection.
	c.b.record(c.p, root+string(c.p.device)+"/rsp", v)
	c.kick(disconnectBusy)
}

// drain offers what the source holds. What was held before or after the source was asked is left out: it is on its way,
// or became delivered in between.
func (c *conn) drain() {
	p := c.p
	p.mu.Lock()
	p.draining, p.more = false, false
	before := p.onTheWay()
	p.mu.Unlock()
	pending, err := c.b.o.Source.Pending(p.device)
	if err != nil {
		c.b.o.Logger.Error("the commands of a device could not be read", "device", p.device, "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != c {
		return
	}
	p.more = p.more || err != nil
	now := c.b.o.Now()
	for _, o := range pending {
		if _, held := before[o.Command]; held || !now.Before(o.Expires) || o.Device != p.device {
			continue
		}
		p.offer(o)
	}
}
