package bench

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/bench/pace"
	"vaultmesh.org/vaultmesh/device/client"
)

// echoTopic is where the device of the floor hears commands.
const echoTopic = "vm/echo/cmd/asset"

// askRate is how often the floor of the loop is measured in a second: seldom enough to find the machine as a command
// of the loop finds it, busy with telemetry.
const askRate = 50

// roundTrip measures the floor of the loop: a command through a bare broker to the reference device and its answer back,
// QoS 1 both ways, then one write and fsync of 1 KiB, one at a time. It is called while the telemetry of the loop runs,
// so that both find the same machine.
func roundTrip(ctx context.Context, o Options) (*Figure, error) {
	const op = "bench.roundtrip"
	heard := &subscribed{once: make(chan struct{}, 1)}
	s, addr, err := newMochi(true, heard)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	answered := make(chan struct{}, 1)
	err = s.Subscribe("vm/echo/rsp", 1, func(*mqtt.Client, packets.Subscription, packets.Packet) { answered <- struct{}{} })
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot subscribe").Because(err)
	}
	dial, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := client.Dial(dial, client.Config{Addr: addr, DeviceID: "echo", Token: token})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.Handle(func(client.Command) client.Response { return client.Response{OK: true, Code: "done"} })
	select {
	case <-heard.once:
	case <-dial.Done():
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, "echo", "the device did not subscribe").Because(dial.Err())
	}
	f, err := os.Create(filepath.Join(o.Dir, "roundtrip"))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, o.Dir, "cannot create a file").Because(err)
	}
	defer f.Close()
	record := make([]byte, 1024)
	t := &pace.Times{}
	d := min(o.For, 2*time.Second)
	var failed error
	start := time.Now()
	err = pace.OnSchedule(ctx, askRate, d, func(n int, _ time.Time) {
		began := time.Now()
		err := ask(ctx, s, n, answered)
		if err == nil {
			_, err = f.Write(record)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil && failed == nil {
			failed = vaultmesh.Errorf(vaultmesh.Unavailable, op, "echo", "round trip %d failed", n).Because(err)
		}
		t.Add(time.Since(began))
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	figure := figureOf(t, "bare MQTT round trip and one fsync, beside the same telemetry", time.Since(start))
	return &figure, nil
}

// ask sends one command and waits for its answer; it returns the error of what kept it from coming.
func ask(ctx context.Context, s *mqtt.Server, n int, answered <-chan struct{}) error {
	const op = "bench.roundtrip"
	payload, err := json.Marshal(map[string]any{"id": "echo-" + strconv.Itoa(n), "command": "echo", "expires": time.Now().Add(time.Minute).UTC()})
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot encode").Because(err)
	}
	if err := s.Publish(echoTopic, payload, false, 1); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, "echo", "cannot publish").Because(err)
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-answered:
		return nil
	case <-limit.C:
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, "echo", "the device did not answer command %d", n)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// subscribed notes the moment from which the device hears what is published.
type subscribed struct {
	mqtt.HookBase
	once chan struct{} // capacity 1
}

// ID implements [mqtt.Hook].
func (*subscribed) ID() string { return "bench-subscribed" }

// Provides implements [mqtt.Hook].
func (*subscribed) Provides(k byte) bool { return k == mqtt.OnSubscribed }

// OnSubscribed implements [mqtt.Hook]; the broker's own subscriptions come here too.
func (h *subscribed) OnSubscribed(c *mqtt.Client, _ packets.Packet, _ []byte) {
	if c.ID != "echo" {
		return
	}
	select {
	case h.once <- struct{}{}:
	default:
	}
}
