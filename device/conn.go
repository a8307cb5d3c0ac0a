package device

import (
	"bytes"
	"errors"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Reasons for which the broker ends a connection, with their MQTT 5 codes.
var (
	disconnectBusy    = packets.Code{Code: packets.ErrServerBusy.Code, Reason: "the node cannot take messages now; try again later"}
	disconnectStalled = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "no room for the message in time"}
	disconnectQoS     = packets.Code{Code: packets.ErrQosNotSupported.Code, Reason: "QoS 2 is not supported; publish with QoS 1"}
	disconnectRetain  = packets.Code{Code: packets.ErrRetainNotSupported.Code, Reason: "retained messages are not supported"}
	disconnectSubID   = packets.ErrSubscriptionIdentifiersNotSupported
)

var errSuperseded = errors.New("device: a newer connection of the same device took over")

// maxErrs bounds the err messages that wait for a connection's writer; more are dropped, since they only inform.
const maxErrs = 16

// slot is one QoS 1 PUBLISH of the device that is not acknowledged yet.
type slot struct {
	id     uint16
	done   bool
	code   byte
	reason string
}

// conn is one established connection. Three goroutines serve it: mochi's reader, which calls the hooks; the writer,
// which sends acknowledgements and commands, many in one system call; and the settler, which makes the durable calls
// for acknowledged and answered commands, one at a time in their order. The reader starts the others and waits for
// them.
type conn struct {
	b    *Broker
	p    *peer
	cl   *mqtt.Client
	v5   bool
	wake chan struct{} // capacity 1: the writer has work
	room chan struct{} // capacity 1: a slot became free
	dead chan struct{} // closed when the connection is given up
	once sync.Once     // closes dead

	events  chan event // to the settler; closed by the reader
	writer  sync.WaitGroup
	settler sync.WaitGroup

	mu    sync.Mutex
	slots []slot // ring of MaxOutstanding
	head  uint64 // the oldest unacknowledged slot
	tail  uint64 // the next slot
	errs  [][]byte
	kicks *packets.Code

	denied        map[string]bool // filters of the SUBSCRIBE at hand that are refused; used by the reader only
	refusedFilter string          // why, for its SUBACK

	lastID uint16       // packet identifier of the last command; used by the writer only
	buf    bytes.Buffer // used by the writer only
}

func newConn(b *Broker, p *peer, cl *mqtt.Client) *conn {
	return &conn{
		b: b, p: p, cl: cl, v5: cl.Properties.ProtocolVersion == 5,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), dead: make(chan struct{}),
		events: make(chan event, b.o.MaxOutstanding+b.o.MaxCommands+1),
		slots:  make([]slot, b.o.MaxOutstanding),
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// reserve gives the PUBLISH with packet identifier id its place in the order of acknowledgements. It blocks the reader
// while MaxOutstanding are unacknowledged, which is the back-pressure on a device that publishes faster than the
// journal syncs; false means that the connection is at its end.
func (c *conn) reserve(id uint16) (uint64, bool) {
	var stall <-chan time.Time
	for {
		c.mu.Lock()
		if n := c.tail; n-c.head < uint64(len(c.slots)) {
			c.slots[n%uint64(len(c.slots))] = slot{id: id}
			c.tail++
			c.mu.Unlock()
			return n, true
		}
		c.mu.Unlock()
		if stall == nil {
			t := time.NewTimer(c.b.o.MaxStall)
			defer t.Stop()
			stall = t.C
		}
		select {
		case <-c.room:
		case <-c.dead:
			return 0, false
		case <-c.b.stopping:
			return 0, false
		case <-stall:
			c.b.count.refused[causeStalled].Add(1)
			c.kick(disconnectStalled)
			return 0, false
		}
	}
}

// complete decides a slot; its PUBACK is sent when all earlier ones are decided (MQTT-4.6.0-2).
func (c *conn) complete(n uint64, code byte, reason string) {
	c.mu.Lock()
	s := &c.slots[n%uint64(len(c.slots))]
	s.done, s.code, s.reason = true, code, reason
	first := n == c.head
	c.mu.Unlock()
	if first {
		poke(c.wake)
	}
}

// refuse records and answers a refused message: by the PUBACK's reason code where there is one, else by an err message.
func (c *conn) refuse(topic string, n uint64, acked bool, v verdict) {
	c.b.record(c.p, topic, v)
	if !c.v5 || !acked {
		c.mu.Lock()
		if len(c.errs) < maxErrs {
			c.errs = append(c.errs, errPayload(topic, v))
		}
		c.mu.Unlock()
		poke(c.wake)
	}
	if acked {
		c.complete(n, v.code, v.reason)
	}
}

// kick ends the connection with a DISCONNECT where the protocol has one. It does not block.
func (c *conn) kick(code packets.Code) {
	c.mu.Lock()
	if c.kicks == nil {
		c.kicks = &code
	}
	c.mu.Unlock()
	c.giveUp()
	// A writer that waits for a peer who does not read must not outlive the decision.
	_ = c.cl.Net.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	poke(c.wake)
}

// kicked returns why the node ended the connection; nil where it did not.
func (c *conn) kicked() *packets.Code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kicks
}

func (c *conn) giveUp() { c.once.Do(func() { close(c.dead) }) }

// write is the writer.
func (c *conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.dead:
		}
		if err := c.flush(); err != nil {
			c.giveUp()
			c.cl.Stop(err) // closes the connection, which ends the reader
			return
		}
	}
}

// flush writes all that is ready. An error ends the connection.
func (c *conn) flush() error {
	c.buf.Reset()
	ended := c.ended() // looked at first: an end by a kick comes after the kick is there to be seen
	c.mu.Lock()
	kick := c.kicks
	from := c.head
	for c.head < c.tail {
		s := &c.slots[c.head%uint64(len(c.slots))]
		if !s.done {
			break
		}
		c.puback(s)
		c.head++
	}
	freed := c.head != from
	errs := c.errs
	c.errs = nil
	c.mu.Unlock()
	if freed {
		poke(c.room)
	}
	if kick != nil {
		if c.v5 {
			c.encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: kick.Code, Properties: packets.Properties{ReasonString: kick.Reason}})
		}
		_ = c.send()
		return *kick
	}
	if ended {
		return errSuperseded
	}
	for _, payload := range errs {
		c.errMessage(payload)
	}
	c.commands()
	return c.send()
}

func (c *conn) ended() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// send writes the buffer in one go, under the lock that mochi's own writes take.
func (c *conn) send() error {
	if c.buf.Len() == 0 {
		return nil
	}
	c.cl.Lock()
	defer c.cl.Unlock()
	if err := c.cl.Net.Conn.SetWriteDeadline(time.Now().Add(c.b.o.MaxStall)); err != nil {
		return err
	}
	_, err := c.cl.Net.Conn.Write(c.buf.Bytes())
	return err
}

// puback appends the acknowledgement of s: four bytes for success in both protocols; MQTT 3.1.1 knows no other.
func (c *conn) puback(s *slot) {
	if s.code == 0 || !c.v5 {
		c.buf.Write([]byte{packets.Puback << 4, 2, byte(s.id >> 8), byte(s.id)})
		return
	}
	c.encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: s.id, ReasonCode: s.code, Properties: packets.Properties{ReasonString: s.reason}})
}

// encode appends a packet and reports whether it fits what the device accepts; its reason string is left out
// where that makes it fit (MQTT-3.4.2-2), or where the device asked for none.
func (c *conn) encode(pk packets.Packet) bool {
	props := &c.cl.Properties.Props
	pk.ProtocolVersion = c.cl.Properties.ProtocolVersion
	pk.Mods = packets.Mods{MaxSize: props.MaximumPacketSize, AllowResponseInfo: true, DisallowProblemInfo: props.RequestProblemInfoFlag && props.RequestProblemInfo == 0}
	from := c.buf.Len()
	var err error
	switch pk.FixedHeader.Type {
	case packets.Publish:
		err = pk.PublishEncode(&c.buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&c.buf)
	default:
		err = pk.PubackEncode(&c.buf)
	}
	if err == nil && (props.MaximumPacketSize == 0 || c.buf.Len()-from <= int(props.MaximumPacketSize)) {
		return true
	}
	c.buf.Truncate(from)
	if err == nil && pk.Properties.ReasonString != "" {
		pk.Properties.ReasonString = ""
		return c.encode(pk)
	}
	return false
}

// errMessage appends an err message if the device subscribed to them.
func (c *conn) errMessage(payload []byte) {
	if c.p.wantsErrors(c) {
		c.encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: root + string(c.p.device) + "/err", Payload: payload})
	}
}
