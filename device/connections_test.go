package device_test

import (
	"net"
	"testing"

	"vaultmesh.org/vaultmesh/device"
)

// Hundreds of connections that never say CONNECT keep no device out, and end none that is connected.
func TestSilentConnectionsKeepNoDeviceOut(t *testing.T) {
	n := start(t, func(o *device.Options, _ *node) { o.MaxConnections = 16 })
	first, _, err := connack(t, n.TLSAddr(), "sub-8", v5options{tls: clientTLS(t, n.pki, "sub-8")})
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	for i := range 400 {
		c, err := net.Dial("tcp", n.TLSAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%150 != 100 {
			continue
		}
		late, ack, err := connack(t, n.TLSAddr(), "sub-9", v5options{tls: clientTLS(t, n.pki, "sub-9")})
		if err != nil {
			t.Fatalf("after %d connections: %+v %v", i, ack, err)
		}
		late.close()
	}
	if r, err := first.publish("vm/sub-8/tel/bus-8", payload(1)); err != nil || r.ReasonCode != 0 {
		t.Errorf("the first: %+v %v", r, err)
	}
	if s := n.Stats(); s.Refused["connections"] < 200 {
		t.Errorf("%d are counted", s.Refused["connections"])
	}
}
