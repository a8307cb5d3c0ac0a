package device_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho/session/state"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
)

// command makes one that expires in an hour.
func command(seq uint64, dev vaultmesh.DeviceID) device.Outbound {
	return device.Outbound{Seq: seq, Device: dev, Twin: "line-8-9", Command: vaultmesh.CommandID(fmt.Sprintf("cmd-%d", seq)), Name: "openBreaker", Args: json.RawMessage(`{"a":1}`), Expires: time.Now().Add(time.Hour)}
}

func TestCommandRoundTrip(t *testing.T) {
	n := start(t, nil)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	c.subscribe(t, "vm/sub-8/cmd/#")
	o := n.source.add(command(1, "sub-8"))
	n.Dispatch(o)
	m := receive(t, "command", c.got)
	var w struct {
		ID, Command, Expires string
		Args                 json.RawMessage
	}
	if err := json.Unmarshal(m.Payload, &w); err != nil {
		t.Fatal(err)
	}
	if m.Topic != "vm/sub-8/cmd/line-8-9" || m.QoS != 1 || w.ID != "cmd-1" || w.Command != "openBreaker" || string(w.Args) != `{"a":1}` || w.Expires == "" {
		t.Errorf("command: %s %s", m.Topic, m.Payload)
	}
	if p := m.Properties; p.ResponseTopic != "vm/sub-8/rsp" || string(p.CorrelationData) != "cmd-1" || p.MessageExpiry == nil || *p.MessageExpiry < 3500 || *p.MessageExpiry > 3600 {
		t.Errorf("properties: %+v", p)
	}
	if id := receive(t, "delivery", n.source.delivered); id != "cmd-1" {
		t.Errorf("delivered %s", id)
	}
	n.Dispatch(o) // late: it is settled already
	if r, err := c.publish("vm/sub-8/rsp", []byte(`{"id":"cmd-1","ok":true,"code":"done","detail":"caf\u00e9","t":"2026-01-02T03:04:05.5Z","body":{"x":[1]}}`)); err != nil || r.ReasonCode != 0 {
		t.Fatalf("response: %+v %v", r, err)
	}
	r := receive(t, "response", n.source.answered)
	if r.Command != "cmd-1" || r.Device != "sub-8" || !r.OK || r.Code != "done" || r.Detail != "café" || string(r.Body) != `{"x":[1]}` {
		t.Errorf("response: %+v", r)
	}
	if s := n.Stats(); s.CommandsSent != 1 || s.CommandsAcked != 1 || s.Responses != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestResponseIsAcknowledgedOnlyWhenDurable(t *testing.T) {
	answer := []byte(`{"id":"cmd-1","ok":false,"code":"blocked","t":"2026-01-02T03:04:05Z"}`)
	for _, tc := range []struct {
		err  error
		code byte
	}{
		{vaultmesh.Errorf(vaultmesh.Denied, "control.respond", "cmd-1", "it is a command of another device"), 0x87},
		{vaultmesh.Errorf(vaultmesh.NotFound, "control.respond", "cmd-1", "no such command"), 0x90},
		{vaultmesh.Errorf(vaultmesh.Unavailable, "control.respond", "cmd-1", "halted"), 0x97},
	} {
		n := start(t, nil)
		n.source.respond = func(device.Response) error { return tc.err }
		c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
		if r, _ := c.publish("vm/sub-8/rsp", answer); r == nil || r.ReasonCode != tc.code {
			t.Errorf("%v: %+v", tc.err, r)
		}
	}
	// What the node cannot record is not acknowledged at all; the device sends it again later.
	n := start(t, nil)
	n.source.respond = func(device.Response) error { return errors.New("disk") }
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	c.publishing("vm/sub-8/rsp", answer)
	if d := receive(t, "DISCONNECT", c.gone); d == nil || d.ReasonCode != 0x89 {
		t.Errorf("DISCONNECT: %+v", d)
	}
}

func TestOfflineDeviceGetsItsCommandsOnceInOrder(t *testing.T) {
	n := start(t, nil)
	for i := range 100 {
		n.Dispatch(n.source.add(command(uint64(100-i), "sub-8")))
	}
	n.source.add(command(200, "sub-9"))
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	c.subscribe(t, "vm/sub-8/cmd/#")
	c.subscribe(t, "vm/sub-8/cmd/+") // asks again while they are on their way
	for i := range 100 {
		if m := receive(t, "command", c.got); string(m.Properties.CorrelationData) != fmt.Sprintf("cmd-%d", i+1) {
			t.Fatalf("command %d: %s", i+1, m.Payload)
		}
		receive(t, "delivery", n.source.delivered)
	}
	n.Dispatch(n.source.add(command(300, "sub-8")))
	if m := receive(t, "next command", c.got); string(m.Properties.CorrelationData) != "cmd-300" {
		t.Errorf("sent twice: %s", m.Payload)
	}
}

func TestUnacknowledgedCommandsComeAgainInTheSession(t *testing.T) {
	var ahead atomic.Int64 // of the node's clock
	n := start(t, func(o *device.Options, _ *node) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	keep := state.NewInMemory()
	defer keep.Close()
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{resume: keep, expiry: 600, manual: true})
	c.subscribe(t, "vm/sub-8/cmd/#")
	for i := range 5 {
		o := command(uint64(i+1), "sub-8")
		if i == 2 {
			o.Expires = time.Now().Add(20 * time.Minute)
		}
		n.Dispatch(n.source.add(o))
		receive(t, "command", c.got)
	}
	c.TerminateConnectionForTest()
	receive(t, "end of the connection", c.gone)
	<-c.Done()
	receive(t, "online", n.states)
	receive(t, "offline", n.states)
	ahead.Store(int64(30 * time.Minute)) // the third expires
	n.Dispatch(n.source.add(command(6, "sub-8")))
	c = dial5(t, n.InsecureAddr(), "sub-8", v5options{resume: keep, expiry: 600})
	for _, want := range []string{"cmd-1", "cmd-2", "cmd-4", "cmd-5", "cmd-6"} {
		if m := receive(t, "command", c.got); string(m.Properties.CorrelationData) != want {
			t.Errorf("got %s, want %s", m.Properties.CorrelationData, want)
		}
		receive(t, "delivery", n.source.delivered)
	}
	if s := n.Stats(); s.CommandsResent != 4 || s.CommandsSent != 6 || s.CommandsExpired != 1 {
		t.Errorf("sent %d, again %d, expired %d", s.CommandsSent, s.CommandsResent, s.CommandsExpired)
	}
}

func TestRestartSendsUndeliveredOnly(t *testing.T) {
	source := newFakeSource()
	first := start(t, func(o *device.Options, n *node) { n.source = source; o.Source = source })
	c := dial5(t, first.InsecureAddr(), "sub-8", v5options{manual: true})
	c.subscribe(t, "vm/sub-8/cmd/#")
	for i := range 3 {
		first.Dispatch(source.add(command(uint64(i+1), "sub-8")))
	}
	for range 3 {
		m := receive(t, "command", c.got)
		if string(m.Properties.CorrelationData) == "cmd-1" {
			if err := c.Ack(m); err != nil {
				t.Fatal(err)
			}
			receive(t, "delivery", source.delivered)
		}
	}
	first.Close()
	second := start(t, func(o *device.Options, n *node) { n.source = source; o.Source = source })
	c = dial5(t, second.InsecureAddr(), "sub-8", v5options{})
	c.subscribe(t, "vm/sub-8/cmd/#")
	for _, want := range []string{"cmd-2", "cmd-3"} {
		if m := receive(t, "command", c.got); string(m.Properties.CorrelationData) != want {
			t.Errorf("got %s, want %s", m.Properties.CorrelationData, want)
		}
	}
}

// The packet identifiers of the two directions are independent: a device that has not acknowledged command 1 uses 1 itself.
func TestPacketIdentifiersAreIndependent(t *testing.T) {
	n := start(t, nil)
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	filter := "vm/sub-8/cmd/#"
	subscribe := append(append([]byte{0, 1, 0, byte(len(filter))}, filter...), 1)
	w.send(0x82, subscribe)
	if typ, body := w.next(); typ != 0x90 || body[2] != 1 {
		t.Fatalf("SUBACK %x %x", typ, body)
	}
	n.Dispatch(n.source.add(command(1, "sub-8")))
	typ, body := w.next()
	at := 2 + int(body[1])
	if typ != 0x32 || body[at] != 0 || body[at+1] != 1 {
		t.Fatalf("command %x %q", typ, body)
	}
	w.send(0x82, subscribe)
	if typ, body := w.next(); typ != 0x90 || body[2] != 1 {
		t.Fatalf("SUBACK %x %x", typ, body)
	}
	if _, err := w.Write(publishFrame("vm/sub-8/tel/bus-8", 1, payload(1))); err != nil {
		t.Fatal(err)
	}
	if typ, body := w.next(); typ != 0x40 || body[1] != 1 {
		t.Fatalf("PUBACK %x %x", typ, body)
	}
	w.send(0x40, []byte{0, 1})
	receive(t, "delivery", n.source.delivered)
}

func TestExpiredCommandIsNeverSent(t *testing.T) {
	n := start(t, nil)
	late := command(1, "sub-8")
	late.Expires = time.Now().Add(-time.Millisecond)
	n.source.add(late)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	c.subscribe(t, "vm/sub-8/cmd/line-8-9")
	n.Dispatch(late)
	other := command(2, "sub-8")
	other.Twin = "bus-8" // not subscribed
	n.Dispatch(n.source.add(other))
	n.Dispatch(n.source.add(command(3, "sub-8")))
	if m := receive(t, "command", c.got); string(m.Properties.CorrelationData) != "cmd-3" {
		t.Errorf("sent: %s", m.Payload)
	}
}

func TestCommandMQTT3(t *testing.T) {
	n := start(t, nil)
	n.source.add(command(1, "sub-8"))
	c := dial3(t, n.InsecureAddr(), "sub-8", nil)
	got := make(chan mqtt3.Message, 10)
	if tok := c.Subscribe("vm/sub-8/cmd/#", 1, func(_ mqtt3.Client, m mqtt3.Message) { got <- m }); !tok.WaitTimeout(wait) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	if m := receive(t, "command", got); m.Topic() != "vm/sub-8/cmd/line-8-9" || m.Qos() != 1 {
		t.Errorf("%s QoS %d", m.Topic(), m.Qos())
	}
	receive(t, "delivery", n.source.delivered)
	tok := c.Publish("vm/sub-8/rsp", 1, false, `{"id":"cmd-1","ok":true,"code":"done","t":"2026-01-02T03:04:05Z"}`)
	if !tok.WaitTimeout(wait) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	receive(t, "response", n.source.answered)
}

func TestWithdraw(t *testing.T) {
	n := start(t, nil)
	old, offline, sent := command(1, "sub-8"), command(11, "sub-8"), command(12, "sub-9")
	n.source.add(old) // from before the start
	c9 := dial5(t, n.InsecureAddr(), "sub-9", v5options{manual: true})
	c9.subscribe(t, "vm/sub-9/cmd/#")
	n.Dispatch(n.source.add(command(10, "sub-9")))
	receive(t, "command", c9.got)
	n.Dispatch(n.source.add(sent))
	receive(t, "command", c9.got)
	n.Dispatch(n.source.add(offline))
	if !n.Withdraw(offline) {
		t.Error("a command of a device that was never there did not count as kept back")
	}
	if n.Withdraw(sent) {
		t.Error("a command in flight counted as kept back")
	}
	if n.Withdraw(old) {
		t.Error("a command from before the start counted as kept back")
	}
	n.source.add(command(13, "sub-8"))
	c8 := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	c8.subscribe(t, "vm/sub-8/cmd/#")
	if m := receive(t, "command", c8.got); string(m.Properties.CorrelationData) != "cmd-13" {
		t.Errorf("sent after it was withdrawn: %s", m.Payload)
	}
}
