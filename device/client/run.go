package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"vaultmesh.org/vaultmesh"
)

// receiveMaximum bounds the commands that the node may have in flight to this device.
const receiveMaximum = 64

// link is one live connection.
type link struct {
	mqtt  *paho.Client
	state *exchange
	limit int           // publishes in flight: the smaller of the window and the node's receive maximum
	size  int           // bytes of the largest packet that the node takes; 0 where it names none
	down  chan error    // capacity 1: why the connection ended
	ready chan struct{} // capacity 1: an acknowledgement made room
	quota chan *entry   // refused for want of quota, to be sent again; capacity Window
	gone  chan struct{} // closed when the client gives the connection up
}

// run keeps the client connected until it is closed. The outcome of the first connection goes to first; until then
// ctx bounds the attempts.
func (c *Client) run(ctx context.Context, first chan<- error) {
	connected := false
	var last error
	for failures := 0; ; failures++ {
		if failures > 0 && !c.pause(ctx, connected, failures) {
			if !connected {
				first <- vaultmesh.Errorf(vaultmesh.Unavailable, "device.dial", c.cfg.Addr, "no connection after %d attempts", failures).Because(last)
			}
			return
		}
		dial := c.ctx
		if !connected {
			dial = ctx
		}
		l, err := c.connect(dial)
		if last = err; err != nil {
			c.cfg.Logger.Debug("device cannot connect", "device", c.cfg.DeviceID, "error", err)
			if !connected && vaultmesh.KindOf(err) == vaultmesh.Denied {
				first <- err
				return
			}
			continue
		}
		if !connected {
			connected = true
			first <- nil
		}
		failures = 0
		c.cfg.OnState(true, nil)
		err = c.serve(l)
		c.requeue(l)
		c.cfg.OnState(false, err)
		if c.ctx.Err() != nil {
			return
		}
		c.cfg.Logger.Debug("device lost its connection", "device", c.cfg.DeviceID, "error", err)
	}
}

// pause waits before the next attempt: exponential with jitter in [0.5, 1). It reports whether to go on.
func (c *Client) pause(ctx context.Context, connected bool, failures int) bool {
	d := c.cfg.MaxBackoff
	if n := failures - 1; n < 20 {
		d = min(d, c.cfg.MinBackoff<<n)
	}
	d = time.Duration(float64(d) * (0.5 + c.cfg.Rand()/2))
	t := time.NewTimer(d)
	defer t.Stop()
	var dialing <-chan struct{}
	if !connected {
		dialing = ctx.Done()
	}
	select {
	case <-t.C:
		return true
	case <-dialing:
		return false
	case <-c.ctx.Done():
		return false
	}
}

// conn reads through a buffer, since paho reads byte by byte, and locks writes, since a packet is several of them.
type conn struct {
	net.Conn
	sync.Mutex
	r *bufio.Reader
}

func (c *conn) Read(b []byte) (int, error) { return c.r.Read(b) }

// connect opens one connection and waits for the node's CONNACK.
func (c *Client) connect(ctx context.Context) (*link, error) {
	const op = "device.connect"
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var raw net.Conn
	var err error
	if c.cfg.TLS != nil {
		raw, err = (&tls.Dialer{Config: c.cfg.TLS}).DialContext(ctx, "tcp", c.cfg.Addr)
	} else {
		raw, err = (&net.Dialer{}).DialContext(ctx, "tcp", c.cfg.Addr)
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.cfg.Addr, "cannot reach the node").Because(err)
	}
	l := &link{down: make(chan error, 1), ready: make(chan struct{}, 1), quota: make(chan *entry, c.cfg.Window), gone: make(chan struct{}), limit: c.cfg.Window}
	l.state = newExchange(func(e *entry, code byte, reason string) { c.acknowledged(l, e, code, reason) })
	fail := func(err error) {
		select {
		case l.down <- err:
		default:
		}
	}
	l.mqtt = paho.NewClient(paho.ClientConfig{
		ClientID:      string(c.cfg.DeviceID),
		Conn:          &conn{Conn: raw, r: bufio.NewReaderSize(raw, 4096)},
		Session:       l.state,
		PacketTimeout: c.cfg.Timeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { return c.received(p, l.gone), nil },
		},
		OnClientError: fail,
		OnServerDisconnect: func(d *paho.Disconnect) {
			reason := ""
			if d.Properties != nil {
				reason = d.Properties.ReasonString
			}
			fail(vaultmesh.Errorf(vaultmesh.Unavailable, op, c.cfg.Addr, "the node disconnected with code 0x%02x: %s", d.ReasonCode, reason))
		},
	})
	recvMax := uint16(receiveMaximum)
	connect := &paho.Connect{
		ClientID:   string(c.cfg.DeviceID),
		KeepAlive:  uint16(max(1, c.cfg.Keepalive/time.Second)),
		CleanStart: true,
		Properties: &paho.ConnectProperties{ReceiveMaximum: &recvMax, RequestProblemInfo: true},
	}
	if c.cfg.TLS == nil && c.cfg.Token != "" {
		connect.Username, connect.UsernameFlag = string(c.cfg.DeviceID), true
		connect.Password, connect.PasswordFlag = []byte(c.cfg.Token), true
	}
	ack, err := l.mqtt.Connect(ctx, connect)
	if err != nil {
		_ = raw.Close()
		if ack != nil && ack.ReasonCode >= packets.ConnackUnsupportedProtocolVersion && ack.ReasonCode <= packets.ConnackNotAuthorized {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, op, string(c.cfg.DeviceID), "the node refused the device with code 0x%02x", ack.ReasonCode).Because(err)
		}
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.cfg.Addr, "no connection").Because(err)
	}
	if ack.Properties != nil && ack.Properties.ReceiveMaximum != nil {
		l.limit = min(l.limit, int(*ack.Properties.ReceiveMaximum))
	}
	if ack.Properties != nil && ack.Properties.MaximumPacketSize != nil {
		l.size = int(*ack.Properties.MaximumPacketSize)
	}
	return l, nil
}

// serve sends what is ready until the connection ends; it returns why.
func (c *Client) serve(l *link) error {
	subscribed := false
	var retry <-chan time.Time
	var refused []*entry
	for {
		c.mu.Lock()
		want := c.handler != nil && !subscribed
		c.mu.Unlock()
		if want {
			if _, err := l.mqtt.Subscribe(c.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "vm/" + string(c.cfg.DeviceID) + "/cmd/#", QoS: 1}}}); err != nil {
				return c.leave(l, err)
			}
			subscribed = true
		}
		if err := c.send(l); err != nil {
			return c.leave(l, err)
		}
		select {
		case <-c.wake:
		case <-l.ready:
		case e := <-l.quota:
			refused = append(refused, e)
			if retry == nil {
				retry = time.After(time.Duration(float64(c.cfg.MinBackoff) * (0.5 + c.cfg.Rand()/2)))
			}
		case <-retry:
			c.putBack(refused)
			refused, retry = nil, nil
		case err := <-l.down:
			c.putBack(refused)
			return c.leave(l, err)
		case <-c.ctx.Done():
			c.putBack(refused)
			return c.leave(l, nil)
		}
	}
}

// leave ends the connection and waits for its goroutines.
func (c *Client) leave(l *link, err error) error {
	close(l.gone)
	_ = l.mqtt.Disconnect(&paho.Disconnect{})
	<-l.mqtt.Done()
	return err
}

// send publishes ready entries up to the limit.
func (c *Client) send(l *link) error {
	for room := l.limit - l.state.outstanding(); room > 0; room-- {
		c.mu.Lock()
		if len(c.ready) == 0 {
			c.ready = nil
			c.mu.Unlock()
			return nil
		}
		e := c.ready[0]
		c.ready = c.ready[1:]
		c.mu.Unlock()
		if n := e.size(); l.size > 0 && n > l.size {
			// The node would close the connection, and so again each time that it is sent.
			c.finish(e, vaultmesh.Errorf(vaultmesh.TooLarge, "device.publish", e.topic, "the packet has %d bytes, the node takes %d", n, l.size).WithFix("send fewer values in one message"))
			continue
		}
		l.state.begin(e)
		_, err := l.mqtt.PublishWithOptions(c.ctx, &paho.Publish{QoS: 1, Topic: e.topic, Payload: e.payload}, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
		if err == nil {
			continue
		}
		if !errors.Is(err, paho.ErrNetworkErrorAfterStored) {
			c.putBack([]*entry{e}) // it never got a packet identifier
		}
		return err
	}
	return nil
}

// acknowledged is called by the connection's reader for each PUBACK.
func (c *Client) acknowledged(l *link, e *entry, code byte, reason string) {
	if code == packets.PubackQuotaExceeded {
		l.quota <- e // has room for every entry of the window
	} else {
		c.finish(e, refusal(e.topic, code, reason))
	}
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// requeue puts what the ended connection left unacknowledged in front of the queue.
func (c *Client) requeue(l *link) {
	var rest []*entry
	for {
		select {
		case e := <-l.quota:
			rest = append(rest, e)
			continue
		default:
		}
		break
	}
	c.putBack(append(rest, l.state.unacked()...))
}

func (c *Client) putBack(es []*entry) {
	if len(es) == 0 {
		return
	}
	c.mu.Lock()
	c.ready = append(es, c.ready...)
	c.mu.Unlock()
	c.poke()
}
