package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"vaultmesh.org/vaultmesh"
)

// newMochi starts a broker that admits everyone and has the given hook, if any.
func newMochi(inline bool, hook mqtt.Hook) (*mqtt.Server, string, error) {
	const op = "bench.mochi"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", vaultmesh.Errorf(vaultmesh.Unavailable, op, "127.0.0.1", "cannot listen").Because(err)
	}
	s := mqtt.New(&mqtt.Options{InlineClient: inline, Logger: slog.New(slog.DiscardHandler), SysTopicResendInterval: 1 << 24})
	err = s.AddHook(new(auth.AllowHook), nil)
	if err == nil && hook != nil {
		err = s.AddHook(hook, nil)
	}
	if err == nil {
		err = s.AddListener(listeners.NewNet("tcp", l))
	}
	if err != nil {
		_ = l.Close()
		return nil, "", vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot set up").Because(err)
	}
	if err := s.Serve(); err != nil {
		return nil, "", errors.Join(vaultmesh.Errorf(vaultmesh.Internal, op, "", "cannot serve").Because(err), s.Close())
	}
	return s, l.Addr().String(), nil
}

// storing is the least that makes a broker durable: mochi calls OnPublish before it acknowledges, and Pebble lets the
// commits of concurrent connections share a sync.
type storing struct {
	mqtt.HookBase
	db   *pebble.DB
	next atomic.Uint64
}

// ID implements [mqtt.Hook].
func (*storing) ID() string { return "bench" }

// Provides implements [mqtt.Hook].
func (*storing) Provides(k byte) bool { return k == mqtt.OnPublish }

// OnPublish implements [mqtt.Hook].
func (h *storing) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	key := binary.BigEndian.AppendUint64(nil, h.next.Add(1))
	if err := h.db.Set(key, pk.Payload, pebble.Sync); err != nil {
		return pk, packets.ErrRejectPacket
	}
	return pk, nil
}

// bareBroker drives the floor of ingest with the same client.
func bareBroker(ctx context.Context, o Options) (*traffic, error) {
	dir, err := o.folder("ingest-floor")
	if err != nil {
		return nil, err
	}
	db, err := openPebble(dir)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	s, addr, err := newMochi(false, &storing{db: db})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return drive(ctx, addr, o)
}

// mosquitto drives the peer of ingest: a process of its own, on a free port, that keeps nothing on disk.
func mosquitto(ctx context.Context, o Options, path string) (*traffic, error) {
	const op = "bench.mosquitto"
	dir, err := o.folder("mosquitto")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, "127.0.0.1", "no free port").Because(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nmax_inflight_messages 0\nset_tcp_nodelay true\nlog_type error\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, conf, "cannot write").Because(err)
	}
	p, err := start(ctx, path, "-c", conf)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.listening(ctx, addr); err != nil {
		return nil, err
	}
	return drive(ctx, addr, o)
}
