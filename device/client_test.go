package device_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/device/client"
)

// reference connects the reference client; its reconnections do not wait.
func reference(t testing.TB, n *node, change func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{Addr: n.InsecureAddr(), DeviceID: "sub-8", Token: "token-sub-8", MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, Rand: func() float64 { return 0 }}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClientPublishes(t *testing.T) {
	n := start(t, refusingTwins)
	c := reference(t, n, func(cfg *client.Config) { cfg.Addr, cfg.TLS, cfg.Window = n.TLSAddr(), clientTLS(t, n.pki, "sub-8"), 8 })
	acked := make(chan error, 1000)
	for i := range 500 {
		if err := c.Publish(t.Context(), "bus-8", payload(i), func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		if err := receive(t, "acknowledgement", acked); err != nil {
			t.Fatal(err)
		}
	}
	if n.twins.len() != 500 {
		t.Errorf("%d merged", n.twins.len())
	}
	for twin, kind := range map[vaultmesh.TwinID]vaultmesh.Kind{"nobody": vaultmesh.Invalid, "theirs": vaultmesh.Denied} {
		if err := c.Publish(t.Context(), twin, payload(1), func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, "refusal", acked); vaultmesh.KindOf(err) != kind {
			t.Errorf("%s: %v", twin, err)
		}
	}
}

func TestClientSendsAgainAfterReconnectAndQuota(t *testing.T) {
	n := start(t, func(o *device.Options, _ *node) { o.MaxQueue = 2 })
	release := n.journal.hold()
	c := reference(t, n, nil)
	acked := make(chan error, 64)
	for i := range 50 {
		if err := c.Publish(t.Context(), "bus-8", payload(i), func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, "submission", n.journal.sent)
	receive(t, "online", n.states)
	n.Disconnect("sub-8", "test")
	for s := receive(t, "offline", n.states); s.Online; s = receive(t, "offline", n.states) {
	}
	receive(t, "online again", n.states)
	release(100000)
	for range 50 {
		if err := receive(t, "acknowledgement", acked); err != nil {
			t.Fatal(err)
		}
	}
	if n.twins.len() != 50 {
		t.Errorf("%d merged", n.twins.len())
	}
}

func TestClientAnswersEachCommandOnce(t *testing.T) {
	n := start(t, nil)
	c := reference(t, n, nil)
	handled := make(chan client.Command, 10)
	c.Handle(func(cmd client.Command) client.Response {
		handled <- cmd
		return client.Response{OK: true, Code: "done", Body: json.RawMessage(`{"tap":1}`)}
	})
	n.source.deliver = func(vaultmesh.CommandID) error { return fmt.Errorf("the node forgets the delivery") }
	n.Dispatch(n.source.add(command(1, "sub-8")))
	n.source.add(command(1, "sub-8"))
	first := receive(t, "response", n.source.answered)
	if cmd := receive(t, "command", handled); cmd.ID != "cmd-1" || cmd.Twin != "line-8-9" || cmd.Name != "openBreaker" || string(cmd.Args) != `{"a":1}` {
		t.Errorf("%+v", cmd)
	}
	// The node sends it again, as after a crash: the device answers alike and does not act.
	receive(t, "online", n.states)
	n.Disconnect("sub-8", "test")
	again := receive(t, "second response", n.source.answered)
	if first.Command != again.Command || !first.Time.Equal(again.Time) || string(again.Body) != `{"tap":1}` {
		t.Errorf("answers differ: %+v %+v", first, again)
	}
	select {
	case cmd := <-handled:
		t.Errorf("acted twice: %+v", cmd)
	default:
	}
}

func TestClientRefusedForGood(t *testing.T) {
	n := start(t, nil)
	_, err := client.Dial(t.Context(), client.Config{Addr: n.InsecureAddr(), DeviceID: "sub-8", Token: "wrong"})
	if vaultmesh.KindOf(err) != vaultmesh.Denied {
		t.Errorf("wrong token: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Dial(ctx, client.Config{Addr: "127.0.0.1:1", DeviceID: "sub-8"}); err == nil {
		t.Error("connected to nothing")
	}
	c := reference(t, n, nil)
	n.journal.hold()
	acked := make(chan error, 1)
	if err := c.Publish(t.Context(), "bus-8", payload(1), func(err error) { acked <- err }); err != nil {
		t.Fatal(err)
	}
	receive(t, "submission", n.journal.sent)
	c.Close()
	if err := receive(t, "outcome", acked); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("closed: %v", err)
	}
	if err := c.Publish(t.Context(), "bus-8", payload(1), nil); vaultmesh.KindOf(err) != vaultmesh.Unavailable {
		t.Errorf("publish after close: %v", err)
	}
	n.journal.open()
}
