package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/device/pki"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/test/internal/rig"
)

// wire is a device that speaks MQTT 5 packet by packet, so that it may do what no client would.
type wire struct {
	t    *testing.T
	conn net.Conn
	id   uint16
}

// dialWire connects and returns the CONNACK.
func dialWire(t *testing.T, addr, clientID string, c *tls.Config) (*wire, *packets.Connack) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(rig.Within))
	w := &wire{t: t, conn: conn}
	p := packets.NewControlPacket(packets.CONNECT)
	m := p.Content.(*packets.Connect)
	m.ClientID, m.CleanStart, m.KeepAlive = clientID, true, 30
	w.send(p)
	ack, ok := w.read().Content.(*packets.Connack)
	if !ok {
		t.Fatal("the answer to CONNECT is no CONNACK")
	}
	return w, ack
}

func (w *wire) send(p *packets.ControlPacket) {
	w.t.Helper()
	if _, err := p.WriteTo(w.conn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) read() *packets.ControlPacket {
	w.t.Helper()
	p, err := packets.ReadPacket(w.conn)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// publish sends a message with QoS 1 and returns the code and the reason of its acknowledgement, or of the disconnection.
func (w *wire) publish(topic string, payload []byte) (byte, string) {
	w.t.Helper()
	w.id++
	p := packets.NewControlPacket(packets.PUBLISH)
	m := p.Content.(*packets.Publish)
	m.Topic, m.Payload, m.QoS, m.PacketID = topic, payload, 1, w.id
	w.send(p)
	switch a := w.read().Content.(type) {
	case *packets.Puback:
		return a.ReasonCode, a.Properties.ReasonString
	case *packets.Disconnect:
		return a.ReasonCode, a.Properties.ReasonString
	default:
		w.t.Fatalf("the answer to PUBLISH is %T", a)
		return 0, ""
	}
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z") }

// refusalsOf is what the operator is shown.
func refusalsOf(t *testing.T, c *rig.Client, d vaultmesh.DeviceID) []string {
	t.Helper()
	var list struct {
		Refusals []struct{ Topic, Reason string }
	}
	if err := c.Call(bounded(t), "GET", "/v1/devices/"+string(d)+"/refusals", nil, &list); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range list.Refusals {
		out = append(out, r.Reason)
	}
	return out
}

// A message that cannot be taken gets a reason, and the operator reads the same one.
func TestRefusedTelemetry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	operator := s.client(node.DevOperator)
	certs := filepath.Join(s.dir, "certs")
	rig.Enrol(t, s.cfg.Data, certs, "sub-1")
	c := rig.DeviceTLS(t, certs, "sub-1")
	tests := []struct {
		name, topic, payload, word string
	}{
		{"not JSON", "bus-1", `voltage=1`, "device.payload"},
		{"deeply nested", "bus-1", `{"t":"NOW","telemetry":{"voltage":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`, "deep"},
		{"invalid UTF-8", "bus-1", "{\"t\":\"NOW\",\"telemetry\":{\"volt\xff\":1}}", "UTF-8"},
		{"NaN", "bus-1", `{"t":"NOW","telemetry":{"voltage":NaN}}`, "'N' cannot begin a value"},
		{"infinity", "bus-1", `{"t":"NOW","telemetry":{"voltage":1e999}}`, "voltage"},
		{"duplicate key", "bus-1", `{"t":"NOW","telemetry":{"voltage":1,"voltage":2}}`, "voltage"},
		{"duplicate member", "bus-1", `{"t":"NOW","t":"NOW","telemetry":{"voltage":1}}`, "twice"},
		{"unknown member", "bus-1", `{"t":"NOW","telemetri":{"voltage":1}}`, "telemetri"},
		{"no time", "bus-1", `{"telemetry":{"voltage":1}}`, "the time is missing"},
		{"the future", "bus-1", `{"t":"2999-01-01T00:00:00Z","telemetry":{"voltage":1}}`, "ahead of this node's clock"},
		{"no value", "bus-1", `{"t":"NOW"}`, "no value"},
		{"unknown name", "bus-1", `{"t":"NOW","telemetry":{"temperature":1}}`, "temperature"},
		{"wrong type", "bus-1", `{"t":"NOW","telemetry":{"voltage":"high"}}`, "voltage"},
		{"trailing bytes", "bus-1", `{"t":"NOW","telemetry":{"voltage":1}} {}`, "device.payload"},
		{"unknown twin", "bus-99", `{"t":"NOW","telemetry":{"voltage":1}}`, "bus-99"},
		{"twin of another device", "bus-2", `{"t":"NOW","telemetry":{"voltage":1}}`, "bus-2"},
	}
	w, ack := dialWire(t, s.cfg.MQTT.Listen, "sub-1", c)
	if ack.ReasonCode != 0 {
		t.Fatalf("CONNACK 0x%02x", ack.ReasonCode)
	}
	for _, tt := range tests {
		code, reason := w.publish("vm/sub-1/tel/"+tt.topic, []byte(strings.ReplaceAll(tt.payload, "NOW", now())))
		if code < 0x80 || !strings.Contains(reason, tt.word) {
			t.Errorf("%s: 0x%02x %q, want a reason with %q", tt.name, code, reason, tt.word)
		}
		if all := refusalsOf(t, operator, "sub-1"); len(all) == 0 || all[0] != reason {
			t.Errorf("%s: the device was told %q, the operator is shown %q", tt.name, reason, all)
		}
	}
	for name, topic := range map[string]string{"topic of another device": "vm/sub-2/tel/bus-2", "topic of the system": "$SYS/broker", "no topic of ours": "telemetry"} {
		code, reason := w.publish(topic, []byte(`{"t":"`+now()+`","telemetry":{"voltage":1}}`))
		if code < 0x80 || reason == "" {
			t.Errorf("%s: 0x%02x %q, want a refusal with a reason", name, code, reason)
		}
	}
	if code, reason := w.publish("vm/sub-1/tel/bus-1", []byte(`{"t":"`+now()+`","telemetry":{"voltage":1.01}}`)); code >= 0x80 {
		t.Errorf("after all that a good message is refused: 0x%02x %q", code, reason)
	}
	// What exceeds the largest packet, which the CONNACK names, ends the connection: MQTT has no other answer to it.
	if size := ack.Properties.MaximumPacketSize; size == nil || *size != 65536 {
		t.Errorf("the CONNACK names the largest packet %v, want 65536", size)
	}
	w.id++
	p := packets.NewControlPacket(packets.PUBLISH)
	m := p.Content.(*packets.Publish)
	m.Topic, m.QoS, m.PacketID = "vm/sub-1/tel/bus-1", 1, w.id
	m.Payload = []byte(fmt.Sprintf(`{"t":"%s","telemetry":{"voltage":1.%s1}}`, now(), strings.Repeat("0", 70_000)))
	_, _ = p.WriteTo(w.conn) // the node may close before it has read all
	rig.Eventually(t, "the operator sees that a packet was too large", func() bool {
		all := refusalsOf(t, operator, "sub-1")
		return len(all) > 0 && strings.Contains(all[0], "65536")
	})
	if _, ack := dialWire(t, s.cfg.MQTT.Listen, "sub-1", c); ack.ReasonCode != 0 {
		t.Errorf("the device cannot come back: 0x%02x", ack.ReasonCode)
	}
}

// A message that is too large for the node does not stop those that come after it.
func TestPoisonMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	certs := filepath.Join(s.dir, "certs")
	rig.Enrol(t, s.cfg.Data, certs, "sub-1")
	c, err := client.Dial(bounded(t), client.Config{Addr: s.cfg.MQTT.Listen, DeviceID: "sub-1", TLS: rig.DeviceTLS(t, certs, "sub-1"), MinBackoff: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := make(chan error, 2)
	for _, zeros := range []int{70_000, 1} {
		payload := fmt.Sprintf(`{"t":"%s","telemetry":{"voltage":1.%s1}}`, now(), strings.Repeat("0", zeros))
		if err := c.Publish(bounded(t), "bus-1", []byte(payload), func(err error) { answers <- err }); err != nil {
			answers <- err
		}
	}
	for _, want := range []string{"65536", ""} {
		select {
		case err := <-answers:
			if (err == nil) != (want == "") || err != nil && (vaultmesh.KindOf(err) != vaultmesh.TooLarge || !strings.Contains(err.Error(), want)) {
				t.Errorf("the answer is %v, want %q", err, want)
			}
		case <-bounded(t).Done():
			t.Fatal("no answer: the device sends the same message for ever")
		}
	}
}

// Only the device itself is let in.
func TestDeviceIdentity(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cfg.MQTT.Revoked = []string{"sub-3"}
	s.write()
	s.start()
	certs := filepath.Join(s.dir, "certs")
	rig.Enrol(t, s.cfg.Data, certs, "sub-1", "sub-2", "sub-3", "sub-99")
	good := rig.DeviceTLS(t, certs, "sub-1")

	foreign, err := pki.Open(t.TempDir(), pki.Options{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	fake, err := foreign.Device("sub-1")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		pair []tls.Certificate
		word string
	}{
		"foreign CA":     {[]tls.Certificate{fake}, "unknown certificate authority"},
		"no certificate": {nil, "certificate required"},
	} {
		c := good.Clone()
		c.Certificates = tt.pair
		conn, err := tls.Dial("tcp", s.cfg.MQTT.Listen, c)
		if err == nil { // TLS 1.3 tells a client about its certificate after the handshake
			_ = conn.SetDeadline(time.Now().Add(rig.Within))
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.word) {
			t.Errorf("%s: %v, want %q", name, err, tt.word)
		}
	}

	tests := []struct{ name, cert, client, word string }{
		{"certificate of another device", "sub-2", "sub-1", "certificate"},
		{"device that no twin names", "sub-99", "sub-99", "no twin names this device"},
		{"revoked device", "sub-3", "sub-3", "revoked"},
	}
	for _, tt := range tests {
		_, ack := dialWire(t, s.cfg.MQTT.Listen, tt.client, rig.DeviceTLS(t, certs, vaultmesh.DeviceID(tt.cert)))
		if ack.ReasonCode < 0x80 || !strings.Contains(ack.Properties.ReasonString, tt.word) {
			t.Errorf("%s: CONNACK 0x%02x %q, want a reason with %q", tt.name, ack.ReasonCode, ack.Properties.ReasonString, tt.word)
		}
	}
	w, ack := dialWire(t, s.cfg.MQTT.Listen, "sub-1", good)
	if ack.ReasonCode != 0 {
		t.Fatalf("the right device: CONNACK 0x%02x %q", ack.ReasonCode, ack.Properties.ReasonString)
	}
	sub := packets.NewControlPacket(packets.SUBSCRIBE)
	m := sub.Content.(*packets.Subscribe)
	m.PacketID = 1
	m.Subscriptions = []packets.SubOptions{{Topic: "vm/sub-2/cmd/#", QoS: 1}, {Topic: "#", QoS: 1}, {Topic: "vm/sub-1/cmd/#", QoS: 1}}
	w.send(sub)
	answer, ok := w.read().Content.(*packets.Suback)
	if !ok || len(answer.Reasons) != 3 || answer.Reasons[0] < 0x80 || answer.Reasons[1] < 0x80 || answer.Reasons[2] >= 0x80 {
		t.Errorf("SUBACK %v, want only the own commands", answer)
	}
}
