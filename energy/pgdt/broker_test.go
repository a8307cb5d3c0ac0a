package pgdt

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh/device/pki"
	"vaultmesh.org/vaultmesh/energy/grid"
)

type published struct {
	topic   string
	qos     byte
	payload string
}

// startBroker starts a bare MQTT broker with TLS and a subscriber to everything that devices say.
func startBroker(t *testing.T, store *pki.Store) (*mqtt.Server, string, <-chan published) {
	t.Helper()
	server := mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0", TLSConfig: store.ServerTLS()})
	if err := server.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	all := make(chan published, 100_000)
	heard := func(_ *mqtt.Client, _ packets.Subscription, pk packets.Packet) {
		all <- published{pk.TopicName, pk.FixedHeader.Qos, string(pk.Payload)}
	}
	for i, filter := range []string{"vm/+/tel/+", "vm/+/rsp"} {
		if err := server.Subscribe(filter, i+1, heard); err != nil {
			t.Fatal(err)
		}
	}
	return server, l.Address(), all
}

// The fleet as it runs: certificates, TLS, MQTT 5 and a broker, with one command from end to end.
func TestFleetOverMQTT(t *testing.T) {
	dir := t.TempDir()
	store, err := pki.Open(dir, pki.Options{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, "ieee14").Case
	for _, d := range grid.Twins(c) {
		if _, err := store.Device(d.Device); err != nil {
			t.Fatal(err)
		}
	}
	server, addr, all := startBroker(t, store)
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()

	ctx, stop := context.WithCancel(t.Context())
	ready := make(chan Ready, 1)
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Case: c, Addr: addr, CertDir: dir, Step: 50 * time.Millisecond, Seed: 1, Ready: func(r Ready) { ready <- r }})
	}()
	select {
	case r := <-ready:
		if r.Devices != 15 {
			t.Errorf("%+v", r)
		}
	case err := <-done:
		t.Fatal(err)
	}
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	seen := map[string]bool{}
	for len(seen) < len(grid.Twins(c)) {
		m := <-all
		device, twin := topicOf(t, m.topic)
		if m.qos != 1 {
			t.Fatalf("%s came with QoS %d", m.topic, m.qos)
		}
		if want := deviceOf(twin); device != want {
			t.Fatalf("%s speaks for %s, which is %s's", device, twin, want)
		}
		seen[twin] = true
	}

	id := "01-open"
	payload := fmt.Sprintf(`{"id":%q,"command":"openBreaker","args":{},"expires":%q}`, id, time.Now().Add(time.Minute).UTC().Format(time.RFC3339Nano))
	for range 2 { // the node sends at least once
		if err := server.Publish("vm/sub-1/cmd/line-1-2", []byte(payload), false, 1); err != nil {
			t.Fatal(err)
		}
	}
	answers, open := 0, false
	for answers < 2 || !open {
		m := <-all
		switch {
		case m.topic == "vm/sub-1/rsp":
			var r struct {
				ID   string `json:"id"`
				OK   bool   `json:"ok"`
				Code string `json:"code"`
			}
			if err := json.Unmarshal([]byte(m.payload), &r); err != nil || r.ID != id || !r.OK || r.Code != codeDone {
				t.Fatalf("%s: %v", m.payload, err)
			}
			answers++
		case m.topic == "vm/sub-1/tel/line-1-2":
			open = open || strings.Contains(m.payload, `"closed":false`)
		}
	}
}

func topicOf(t *testing.T, topic string) (device, twin string) {
	t.Helper()
	part := strings.Split(topic, "/")
	if len(part) != 4 || part[0] != "vm" || part[2] != "tel" {
		t.Fatalf("topic %s", topic)
	}
	return part[1], part[3]
}

// deviceOf is the device that the contract names for a twin: the substation of its first bus.
func deviceOf(twin string) string {
	if twin == string(grid.TwinGrid) {
		return string(grid.ControlCenter)
	}
	return "sub-" + strings.Split(twin, "-")[1]
}
