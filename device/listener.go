package device

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
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
	limit   int
	timeout time.Duration
	refused func()

	mu     sync.Mutex
	open   map[*socket]struct{}
	closed chan struct{}
	once   sync.Once
	serve  sync.WaitGroup // of the connections' goroutines
}

var _ listeners.Listener = (*listener)(nil)

func newListener(l net.Listener, id string, conf *tls.Config, limit int, timeout time.Duration, refused func()) *listener {
	return &listener{Listener: l, id: id, conf: conf, limit: limit, timeout: timeout, refused: refused, open: map[*socket]struct{}{}, closed: make(chan struct{})}
}

// socket is one connection; the first Close frees its place.
type socket struct {
	net.Conn
	l           *listener
	established atomic.Bool // its CONNECT was accepted
}

// Close implements [net.Conn].
func (s *socket) Close() error {
	s.l.mu.Lock()
	delete(s.l.open, s)
	s.l.mu.Unlock()
	return s.Conn.Close()
}

// establish marks the socket below c.
func establish(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if s, ok := c.(*socket); ok {
		s.established.Store(true)
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

// admit starts the goroutine of a connection, or closes it beyond the limit.
func (l *listener) admit(c net.Conn, handle listeners.EstablishFn) {
	s := &socket{Conn: c, l: l}
	l.mu.Lock()
	full := len(l.open) >= l.limit
	gone := false
	select {
	case <-l.closed: // shut may be waiting for the goroutines already
		gone = true
	default:
	}
	if !full && !gone {
		l.open[s] = struct{}{}
		l.serve.Add(1)
	}
	l.mu.Unlock()
	if full || gone {
		if full {
			l.refused()
		}
		_ = c.Close()
		return
	}
	// Until mochi sets the deadlines of the keep-alive: it covers the TLS handshake too.
	_ = c.SetDeadline(time.Now().Add(l.timeout))
	var conn net.Conn = s
	if l.conf != nil {
		conn = tls.Server(s, l.conf)
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
	l.mu.Lock()
	open := make([]*socket, 0, len(l.open))
	for s := range l.open {
		if all || !s.established.Load() {
			open = append(open, s)
		}
	}
	l.mu.Unlock()
	for _, s := range open {
		_ = s.Close()
	}
}

// address is empty for no listener.
func (l *listener) address() string {
	if l == nil {
		return ""
	}
	return l.Address()
}
