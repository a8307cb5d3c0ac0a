package device

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"

	"vaultmesh.org/vaultmesh/crowd"
)

// acceptRetry is the pause after a failed accept, such as for want of file descriptors.
const acceptRetry = 100 * time.Millisecond

// listener is a listener of mochi's that bounds the open connections and the time until their CONNECT, goes on after
// a failed accept, and owns the goroutines of its connections; mochi's own does none of it. It never calls mochi's
// function to close the clients either, which can deadlock: it takes a read lock twice, and a device that leaves in
// between waits for the write lock. [Broker.Close] ends the connections itself.
type listener struct {
	net.Listener
	id      string
	conf    *tls.Config // nil: plain TCP
	crowd   *crowd.Crowd
	timeout time.Duration

	mu     sync.Mutex // held while a connection is added to serve, and when closed is closed
	closed chan struct{}
	once   sync.Once
	serve  sync.WaitGroup // of the connections' goroutines
}

var _ listeners.Listener = (*listener)(nil)

func newListener(l net.Listener, id string, conf *tls.Config, limit int, timeout time.Duration) *listener {
	return &listener{Listener: l, id: id, conf: conf, crowd: crowd.New(limit), timeout: timeout, closed: make(chan struct{})}
}

// establish says of the connection below c that its CONNECT was accepted: it is not closed for a newer one any more.
func establish(c net.Conn) {
	if m := crowd.Of(c); m != nil {
		m.Work(context.Background())
	}
}

// Init implements [listeners.Listener]; the address is open already.
func (l *listener) Init(*slog.Logger) error { return nil }

// ID implements [listeners.Listener].
func (l *listener) ID() string { return l.id }

// Address implements [listeners.Listener].
func (l *listener) Address() string { return l.Addr().String() }

// Protocol implements [listeners.Listener].
func (l *listener) Protocol() string { return l.id }

// Serve implements [listeners.Listener].
func (l *listener) Serve(handle listeners.EstablishFn) {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			l.admit(c, handle)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			t := time.NewTimer(acceptRetry)
			select {
			case <-t.C:
			case <-l.closed:
				t.Stop()
				return
			}
		}
	}
}

// admit starts the goroutine of a connection. Where there are too many, one that was not established is closed for it, or
// else the new one.
func (l *listener) admit(c net.Conn, handle listeners.EstablishFn) {
	l.mu.Lock()
	select {
	case <-l.closed: // shut may be waiting for the goroutines already
		l.mu.Unlock()
		_ = c.Close()
		return
	default:
	}
	m, ok := l.crowd.Enter(c)
	if ok {
		l.serve.Add(1)
	}
	l.mu.Unlock()
	if !ok {
		return
	}
	// Until mochi sets the deadlines of the keep-alive: it covers the TLS handshake too.
	_ = c.SetDeadline(time.Now().Add(l.timeout))
	var conn net.Conn = m
	if l.conf != nil {
		conn = tls.Server(m, l.conf)
	}
	go func() {
		defer l.serve.Done()
		_ = handle(l.id, conn) // what is worth a line is logged by the hook
	}()
}

// Close implements [listeners.Listener].
func (l *listener) Close(listeners.CloseFn) { l.shut() }

// shut ends the accepting.
func (l *listener) shut() {
	l.once.Do(func() {
		l.mu.Lock()
		close(l.closed)
		l.mu.Unlock()
		_ = l.Listener.Close()
	})
}

// drop closes the open connections, or only those that were not established.
func (l *listener) drop(all bool) {
	l.crowd.Each(func(m *crowd.Conn, established bool) {
		if all || !established {
			_ = m.Close()
		}
	})
}

// address is empty for no listener.
func (l *listener) address() string {
	if l == nil {
		return ""
	}
	return l.Address()
}
