package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/bench/pace"
)

// patience bounds the wait for one acknowledgement, and for the connection.
const patience = 30 * time.Second

// token authenticates every device of a benchmark over plain TCP on loopback.
const token = "bench"

// traffic is what one load brought.
type traffic struct {
	publishers []*publisher
	acked      []uint64   // messages of each publisher that were acknowledged: the first so many
	times      pace.Times //  from the write of a PUBLISH to its PUBACK, of those acknowledged after the warm-up
}

func (t *traffic) total() (n uint64) {
	for _, a := range t.acked {
		n += a
	}
	return n
}

// drive connects o.Connections devices to addr and has each publish with o.Window messages unacknowledged, as fast as
// the broker acknowledges, then waits for what is still unacknowledged. It is MQTT 3.1.1 by hand, one goroutine a
// connection and one write for all that is due, since it shares the processor with what it measures.
func drive(ctx context.Context, addr string, o Options) (*traffic, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &traffic{acked: make([]uint64, o.Connections)}
	base := time.Now().UTC().Truncate(time.Second)
	conns := make([]*conn, o.Connections)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.net.Close()
			}
		}
	}()
	for i := range conns {
		t.publishers = append(t.publishers, newPublisher(i, base))
		c, err := connect(ctx, addr, string(t.publishers[i].device))
		if err != nil {
			return nil, err
		}
		conns[i] = c
	}
	from := time.Now().Add(o.warmup())
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, c := range conns {
		stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		wg.Go(func() {
			mine := &pace.Times{}
			acked, err := c.publish(t.publishers[i], o.Window, from, from.Add(o.For), mine)
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			defer mu.Unlock()
			t.acked[i] = acked
			t.times.Merge(mine)
		})
	}
	wg.Wait()
	return t, context.Cause(ctx)
}

// conn is one MQTT connection.
type conn struct {
	net net.Conn
}

// connect sends CONNECT and waits for CONNACK.
func connect(ctx context.Context, addr, id string) (*conn, error) {
	const op = "bench.connect"
	dialer := net.Dialer{Timeout: patience}
	n, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, addr, "cannot connect").Because(err)
	}
	// Protocol level 4, user name, password and clean session, keep-alive of 120 s; MQTT 3.1.1 section 3.1.
	body := []byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 120}
	for _, s := range []string{id, id, token} {
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(s))), s...)
	}
	answer := make([]byte, 4)
	err = n.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = n.Write(append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))), body...))
	}
	if err == nil {
		_, err = io.ReadFull(n, answer)
	}
	if err == nil && (answer[0] != 0x20 || answer[3] != 0) {
		err = vaultmesh.Errorf(vaultmesh.Denied, op, id, "the broker answered % x", answer)
	}
	if err != nil {
		_ = n.Close()
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, id, "no session").Because(err)
	}
	return &conn{net: n}, nil
}

// publish sends messages until the given moment and then collects the acknowledgements that are still due. It returns how
// many came; they must come in order, as MQTT demands, so those are the first so many.
func (c *conn) publish(p *publisher, window int, from, until time.Time, t *pace.Times) (acked uint64, err error) {
	const op = "bench.publish"
	var (
		sent    uint64
		sentAt  = make([]time.Time, window)
		out, in = make([]byte, 0, window*512), make([]byte, 4096)
		have    = 0
	)
	for {
		now := time.Now()
		out = out[:0]
		for ; sent-acked < uint64(window) && now.Before(until); sent++ {
			out = append(out, p.next(sent)...)
			sentAt[sent%uint64(window)] = now
		}
		if sent == acked {
			return acked, nil
		}
		if err := c.net.SetDeadline(now.Add(patience)); err != nil {
			return acked, vaultmesh.Errorf(vaultmesh.Unavailable, op, string(p.device), "the connection is gone").Because(err)
		}
		if len(out) > 0 {
			if _, err := c.net.Write(out); err != nil {
				return acked, vaultmesh.Errorf(vaultmesh.Unavailable, op, string(p.device), "cannot write").Because(err)
			}
		}
		n, err := c.net.Read(in[have:])
		if err != nil {
			return acked, vaultmesh.Errorf(vaultmesh.Unavailable, op, string(p.device), "%d messages were not acknowledged", sent-acked).Because(err)
		}
		have += n
		now = time.Now()
		rest := in[:have]
		for ; len(rest) >= 4; rest = rest[4:] {
			if rest[0] != 0x40 || rest[1] != 2 || binary.BigEndian.Uint16(rest[2:]) != packetID(acked) || acked == sent {
				return acked, vaultmesh.Errorf(vaultmesh.Corrupt, op, string(p.device), "want the PUBACK of message %d, got % x", acked, rest[:4]).Because(errors.New("unexpected packet"))
			}
			if now.After(from) && now.Before(until) {
				t.Add(now.Sub(sentAt[acked%uint64(window)]))
			}
			acked++
		}
		have = copy(in, rest)
	}
}
