package device_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"

	"vaultmesh.org/vaultmesh"
)

// v5 is a paho MQTT 5 client of one device.
type v5 struct {
	*paho.Client
	got  chan *paho.Publish
	gone chan *paho.Disconnect // the node's DISCONNECT, or nil for a lost connection
	ctx  context.Context       // ends with the test, since paho does not end a publish with its connection
}

type v5options struct {
	clientID string // default: the device
	user     string // default: the device
	token    string // default: the right one
	tls      *tls.Config
	resume   *state.State // keep the session
	will     bool
	manual   bool // acknowledge commands by hand
	expiry   uint32
}

// connack dials and sends the CONNECT.
func connack(t testing.TB, addr string, dev vaultmesh.DeviceID, o v5options) (*v5, *paho.Connack, error) {
	t.Helper()
	var conn net.Conn
	var err error
	if o.tls != nil {
		conn, err = tls.Dial("tcp", addr, o.tls)
	} else {
		conn, err = net.Dial("tcp", addr)
	}
	if err != nil {
		return nil, nil, err
	}
	c := &v5{got: make(chan *paho.Publish, 4096), gone: make(chan *paho.Disconnect, 8), ctx: t.Context()}
	cfg := paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.got <- p.Packet
			return true, nil
		}},
		OnServerDisconnect:         func(d *paho.Disconnect) { c.gone <- d },
		OnClientError:              func(error) { c.gone <- nil },
		EnableManualAcknowledgment: o.manual,
		PacketTimeout:              wait,
	}
	if o.resume != nil {
		cfg.Session = o.resume
	}
	c.Client = paho.NewClient(cfg)
	if o.clientID == "" {
		o.clientID = string(dev)
	}
	cp := &paho.Connect{ClientID: o.clientID, KeepAlive: 60, CleanStart: o.resume == nil, Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if o.expiry > 0 {
		cp.Properties.SessionExpiryInterval = &o.expiry
	}
	if o.tls == nil {
		if o.user == "" {
			o.user = string(dev)
		}
		if o.token == "" {
			o.token = "token-" + string(dev)
		}
		cp.Username, cp.UsernameFlag, cp.Password, cp.PasswordFlag = o.user, true, []byte(o.token), true
	}
	if o.will {
		cp.WillMessage = &paho.WillMessage{Topic: "vm/other/cmd/x", Payload: []byte("boo")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	ack, err := c.Connect(ctx, cp)
	if err == nil {
		t.Cleanup(func() { c.close() })
	} else {
		conn.Close()
	}
	return c, ack, err
}

func (c *v5) close() {
	_ = c.Disconnect(&paho.Disconnect{})
	<-c.Done()
}

// dial5 connects or fails the test.
func dial5(t testing.TB, addr string, dev vaultmesh.DeviceID, o v5options) *v5 {
	t.Helper()
	c, _, err := connack(t, addr, dev, o)
	if err != nil {
		t.Fatalf("connect %s: %v", dev, err)
	}
	return c
}

func (c *v5) subscribe(t testing.TB, filter string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}}); err != nil {
		t.Fatalf("subscribe %s: %v", filter, err)
	}
}

// publish sends with QoS 1 and returns what the PUBACK said.
func (c *v5) publish(topic string, payload []byte) (*paho.PublishResponse, error) {
	ctx, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	return c.Publish(ctx, &paho.Publish{QoS: 1, Topic: topic, Payload: payload})
}

// publishing sends in the background.
func (c *v5) publishing(topic string, payload []byte) <-chan *paho.PublishResponse {
	ch := make(chan *paho.PublishResponse, 1)
	go func() {
		r, _ := c.publish(topic, payload)
		ch <- r
	}()
	return ch
}

// dial3 connects a paho MQTT 3.1.1 client.
func dial3(t testing.TB, addr string, dev vaultmesh.DeviceID, change func(*mqtt3.ClientOptions)) mqtt3.Client {
	t.Helper()
	o := mqtt3.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(string(dev)).SetUsername(string(dev)).SetPassword("token-" + string(dev)).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true).SetWriteTimeout(wait)
	if change != nil {
		change(o)
	}
	c := mqtt3.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(wait) || tok.Error() != nil {
		t.Fatalf("connect %s: %v", dev, tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// wire is a client of bare packets: it sees each acknowledgement in its order.
type wire struct {
	net.Conn
	r *bufio.Reader
	t testing.TB
}

// dialWire connects with MQTT 3.1.1.
func dialWire(t testing.TB, addr string, dev vaultmesh.DeviceID) *wire {
	return dialVersion(t, addr, dev, 4)
}

func dialVersion(t testing.TB, addr string, dev vaultmesh.DeviceID, version byte) *wire {
	t.Helper()
	w := &wire{Conn: rawDial(t, addr), t: t}
	w.r = bufio.NewReader(w.Conn)
	b := []byte{0, 4, 'M', 'Q', 'T', 'T', version, 0xc2, 0, 60}
	if version == 5 {
		b = append(b, 0) // no properties
	}
	for _, s := range []string{string(dev), string(dev), "token-" + string(dev)} {
		b = append(append(b, byte(len(s)>>8), byte(len(s))), s...)
	}
	w.send(0x10, b)
	if typ, body := w.next(); typ != 0x20 || body[1] != 0 {
		t.Fatalf("CONNACK: %x %x", typ, body)
	}
	return w
}

// send writes one packet of at most 127+128*127 bytes.
func (w *wire) send(first byte, body []byte) {
	w.t.Helper()
	if _, err := w.Write(frame(first, body)); err != nil {
		w.t.Fatal(err)
	}
}

func frame(first byte, body []byte) []byte {
	b := []byte{first}
	for n := len(body); ; {
		d := byte(n & 127)
		if n >>= 7; n > 0 {
			b = append(b, d|128)
			continue
		}
		b = append(b, d)
		break
	}
	return append(b, body...)
}

// publishFrame is a QoS 1 PUBLISH of MQTT 3.1.1.
func publishFrame(topic string, id uint16, payload []byte) []byte {
	b := append([]byte{byte(len(topic) >> 8), byte(len(topic))}, topic...)
	return frame(0x32, append(append(b, byte(id>>8), byte(id)), payload...))
}

// next reads one packet.
func (w *wire) next() (byte, []byte) {
	w.t.Helper()
	first, err := w.r.ReadByte()
	if err != nil {
		w.t.Fatal(err)
	}
	n, shift := 0, 0
	for {
		d, err := w.r.ReadByte()
		if err != nil {
			w.t.Fatal(err)
		}
		n |= int(d&127) << shift
		if shift += 7; d < 128 {
			break
		}
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.r, body); err != nil {
		w.t.Fatal(err)
	}
	return first, body
}
