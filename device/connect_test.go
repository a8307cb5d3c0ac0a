package device_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/device/pki"
)

func clientTLS(t testing.TB, s *pki.Store, dev vaultmesh.DeviceID) *tls.Config {
	t.Helper()
	cert, err := s.Device(dev)
	if err != nil {
		t.Fatal(err)
	}
	return s.ClientTLS(cert)
}

func TestConnectIdentity(t *testing.T) {
	n := start(t, nil)
	foreign, err := pki.Open(t.TempDir(), pki.Options{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	stranger := clientTLS(t, foreign, "sub-8")
	stranger.RootCAs = n.pki.Pool()
	old := clientTLS(t, n.pki, "sub-8")
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	n.devices.revoke("sub-7")
	for _, tc := range []struct {
		name string
		dev  vaultmesh.DeviceID
		o    v5options
		code byte // 0: no CONNACK at all; 1: accepted
		text string
	}{
		{"certificate", "sub-8", v5options{tls: clientTLS(t, n.pki, "sub-8")}, 1, ""},
		{"certificate of another device", "sub-8", v5options{tls: clientTLS(t, n.pki, "sub-9")}, 0x85, "common name"},
		{"certificate of a foreign CA", "sub-8", v5options{tls: stranger}, 0, ""},
		{"no certificate", "sub-8", v5options{tls: n.pki.ClientTLS(tls.Certificate{})}, 0, ""},
		{"TLS 1.1", "sub-8", v5options{tls: old}, 0, ""},
		{"revoked, with certificate", "sub-7", v5options{tls: clientTLS(t, n.pki, "sub-7")}, 0x87, "revoked"},
		{"token", "sub-8", v5options{}, 1, ""},
		{"wrong token", "sub-8", v5options{token: "token-sub-9"}, 0x86, "token"},
		{"user is another device", "sub-8", v5options{user: "sub-9"}, 0x86, "token"},
		{"no token enrolled", "stranger", v5options{}, 0x86, "token"},
		{"revoked", "sub-7", v5options{}, 0x87, "revoked"},
		{"client id not a device id", "sub-8", v5options{clientID: "a/b"}, 0x85, "client id"},
		{"will", "sub-8", v5options{will: true}, 0x87, "will"},
	} {
		addr := n.InsecureAddr()
		if tc.o.tls != nil {
			addr = n.TLSAddr()
		}
		c, ack, err := connack(t, addr, tc.dev, tc.o)
		switch {
		case tc.code == 1 && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.code == 1:
			if p := ack.Properties; *p.MaximumQoS != 1 || p.RetainAvailable || p.SharedSubAvailable || p.SubIDAvailable || *p.MaximumPacketSize != 65536 || *p.ReceiveMaximum != 256 {
				t.Errorf("%s: the CONNACK says %+v", tc.name, p)
			}
			if r, err := c.publish("vm/sub-8/tel/bus-8", payload(1)); err != nil || r.ReasonCode != 0 {
				t.Errorf("%s: publish %+v %v", tc.name, r, err)
			}
			c.close()
		case tc.code == 0 && (err == nil || ack != nil):
			t.Errorf("%s: %+v, want a refused handshake", tc.name, ack)
		case tc.code > 1 && (ack == nil || ack.ReasonCode != tc.code || !strings.Contains(ack.Properties.ReasonString, tc.text)):
			t.Errorf("%s: %+v %v, want 0x%x", tc.name, ack, err, tc.code)
		}
	}
}

func TestConnectRefusedMQTT3(t *testing.T) {
	n := start(t, nil)
	n.devices.revoke("sub-7")
	for _, tc := range []struct {
		name, id, user, token string
		code                  byte
	}{
		{"token", "sub-8", "sub-8", "wrong", 4},
		{"anonymous", "sub-8", "", "", 4},
		{"no client id", "", "sub-8", "token-sub-8", 2},
		{"revoked", "sub-7", "sub-7", "token-sub-7", 5},
	} {
		o := mqtt3.NewClientOptions().AddBroker("tcp://" + n.InsecureAddr()).SetClientID(tc.id).SetUsername(tc.user).SetPassword(tc.token).SetProtocolVersion(4).SetConnectRetry(false)
		tok := mqtt3.NewClient(o).Connect().(*mqtt3.ConnectToken)
		if !tok.WaitTimeout(wait) || tok.ReturnCode() != tc.code {
			t.Errorf("%s: return code %d, want %d", tc.name, tok.ReturnCode(), tc.code)
		}
	}
}

func TestSubscribeACL(t *testing.T) {
	n := start(t, nil)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	for filter, ok := range map[string]bool{
		"vm/sub-8/cmd/#": true, "vm/sub-8/cmd/+": true, "vm/sub-8/cmd/line-8-9": true, "vm/sub-8/err": true,
		"#": false, "vm/#": false, "vm/+/cmd/#": false, "vm/sub-9/cmd/#": false, "vm/sub-8/#": false, "vm/sub-8/tel/#": false,
		"vm/sub-8/cmd": false, "vm/sub-80/cmd/#": false, "$SYS/#": false, "vm/sub-8/cmd/+/x": false,
	} {
		r, err := c.Subscribe(context.Background(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		if ok != (err == nil) {
			t.Errorf("%s: %v", filter, err)
		}
		if !ok && (r == nil || r.Reasons[0] != 0x87 || r.Properties == nil || r.Properties.ReasonString == "") {
			t.Errorf("%s: %+v", filter, r)
		}
	}
	if _, err := c.Subscribe(context.Background(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "vm/sub-8/cmd/#", QoS: 0}}}); err == nil {
		t.Error("commands with QoS 0")
	}
}

func TestQoS2AndRetainAreRefused(t *testing.T) {
	n := start(t, nil)
	for _, tc := range []struct {
		first byte
		cause string
	}{{0x34, "qos"}, {0x33, "retain"}} {
		w := dialWire(t, n.InsecureAddr(), "sub-8")
		f := publishFrame("vm/sub-8/tel/bus-8", 1, payload(1))
		f[0] = tc.first
		if _, err := w.Write(f); err != nil {
			t.Fatal(err)
		}
		if b, err := w.r.ReadByte(); err == nil {
			t.Errorf("%s: answered by 0x%x, want the end of the connection", tc.cause, b)
		}
		if got := n.Stats().Refused[tc.cause]; got != 1 {
			t.Errorf("%s: counted %d", tc.cause, got)
		}
	}
	if n.twins.len() != 0 {
		t.Error("merged")
	}
}

func TestRevokedDeviceIsDisconnected(t *testing.T) {
	n := start(t, nil)
	c := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	if s := receive(t, "online", n.states); !s.Online || s.Device != "sub-8" || s.Protocol != 5 {
		t.Errorf("state %+v", s)
	}
	n.devices.revoke("sub-8")
	n.Disconnect("sub-8", "the device was revoked")
	if d := receive(t, "DISCONNECT", c.gone); d == nil || d.ReasonCode != 0x98 || d.Properties.ReasonString != "the device was revoked" {
		t.Errorf("DISCONNECT %+v", d)
	}
	if s := receive(t, "offline", n.states); s.Online || s.Reason != "the device was revoked" {
		t.Errorf("state %+v", s)
	}
	if _, ack, _ := connack(t, n.InsecureAddr(), "sub-8", v5options{}); ack == nil || ack.ReasonCode != 0x87 {
		t.Errorf("came back: %+v", ack)
	}
}

func TestTakeover(t *testing.T) {
	n := start(t, nil)
	old := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	next := dial5(t, n.InsecureAddr(), "sub-8", v5options{})
	if d := receive(t, "DISCONNECT", old.gone); d == nil || d.ReasonCode != 0x8e {
		t.Errorf("DISCONNECT %+v", d)
	}
	next.subscribe(t, "vm/sub-8/cmd/#")
	n.Dispatch(n.source.add(command(1, "sub-8")))
	receive(t, "command on the new connection", next.got)
}

func TestBounds(t *testing.T) {
	n := start(t, func(o *device.Options, _ *node) { o.MaxPacket, o.MaxConnections, o.ConnectTimeout = 1024, 1, 30e6 })
	w := dialWire(t, n.InsecureAddr(), "sub-8")
	if _, ack, _ := connack(t, n.InsecureAddr(), "sub-9", v5options{}); ack == nil || ack.ReasonCode != 0x89 {
		t.Errorf("second connection: %+v", ack)
	}
	silent := rawDial(t, n.InsecureAddr()) // never sends its CONNECT
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("answered")
	}
	w.Write(publishFrame("vm/sub-8/tel/bus-8", 1, make([]byte, 2000)))
	if _, err := w.r.ReadByte(); err == nil {
		t.Error("an oversized packet was answered")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := func() device.Options {
		return device.Options{InsecureAddr: "127.0.0.1:0", Insecure: true, Journal: &fakeJournal{}, Log: &fakeLog{}, Twins: newFakeTwins(), Source: newFakeSource(), Devices: &fakeDevices{}, Domain: "d", Actor: "node:d"}
	}
	for name, change := range map[string]func(*device.Options){
		"plain TCP without the dev profile": func(o *device.Options) { o.Insecure = false },
		"plain TCP beyond loopback":         func(o *device.Options) { o.InsecureAddr = "0.0.0.0:0" },
		"plain TCP on every interface":      func(o *device.Options) { o.InsecureAddr = ":0" },
		"plain TCP on a name":               func(o *device.Options) { o.InsecureAddr = "example.org:1883" },
		"TLS without a certificate":         func(o *device.Options) { o.TLSAddr, o.TLS = "127.0.0.1:0", &tls.Config{} },
		"no listener":                       func(o *device.Options) { o.InsecureAddr = "" },
		"no journal":                        func(o *device.Options) { o.Journal = nil },
		"no domain":                         func(o *device.Options) { o.Domain = "" },
		"packet too small":                  func(o *device.Options) { o.MaxPacket = 10 },
		"receive maximum too large":         func(o *device.Options) { o.MaxOutstanding = 1 << 20 },
	} {
		o := good()
		change(&o)
		if b, err := device.New(o); err == nil {
			b.Close()
			t.Errorf("%s was accepted", name)
		} else if vaultmesh.KindOf(err) != vaultmesh.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMosquittoClients(t *testing.T) {
	pub, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("mosquitto_pub is not installed (Debian package mosquitto-clients)")
	}
	n := start(t, nil)
	if _, err := n.pki.Device("sub-8"); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(n.TLSAddr(), ":")
	dir := strings.TrimSuffix(n.pki.CAFile(), "ca.crt")
	for _, version := range []string{"mqttv311", "mqttv5"} {
		out, err := exec.Command(pub, "-h", "localhost", "-p", port, "-V", version, "-i", "sub-8", "-q", "1", "--cafile", n.pki.CAFile(),
			"--cert", dir+"device-sub-8.crt", "--key", dir+"device-sub-8.key", "-t", "vm/sub-8/tel/bus-8", "-m", string(payload(1))).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", version, err, out)
		}
	}
	if s := n.Stats(); s.Accepted != 1 || s.Duplicates != 1 {
		t.Errorf("stats %s", fmt.Sprint(s))
	}
}

// mochi's own way to close its clients dead-locks when a device leaves at the same moment.
func TestCloseWhileDevicesLeave(t *testing.T) {
	for range 20 {
		n := start(t, nil)
		left := make(chan struct{})
		wires := make([]*wire, 30)
		for i := range wires {
			wires[i] = dialWire(t, n.InsecureAddr(), vaultmesh.DeviceID(fmt.Sprintf("sub-%d", i)))
		}
		rawDial(t, n.TLSAddr()) // never shakes hands
		go func() {
			defer close(left)
			for _, w := range wires {
				w.Close()
			}
		}()
		closed := make(chan struct{})
		go func() { n.Close(); close(closed) }()
		receive(t, "end of the leaving", left)
		receive(t, "end of Close", closed)
	}
}

func TestCloseTellsTheDevices(t *testing.T) {
	n := start(t, nil)
	w := dialVersion(t, n.InsecureAddr(), "sub-8", 5)
	receive(t, "online", n.states)
	n.Close()
	if typ, body := w.next(); typ != 0xe0 || len(body) == 0 || body[0] != 0x8b {
		t.Errorf("packet %x %x, want DISCONNECT with reason 0x8b", typ, body)
	}
}
