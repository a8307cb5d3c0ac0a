package device

import (
	"errors"
	"net"
	"sync"
	"time"
)

// acceptRetry is the pause after a failed accept, such as for want of file descriptors.
const acceptRetry = 100 * time.Millisecond

// listener bounds the open connections of a listener and the time until their CONNECT, both of which mochi leaves
// open, and can close them all.
type listener struct {
	net.Listener
	limit   int
	timeout time.Duration
	refused func()

	mu     sync.Mutex
	open   map[*socket]struct{}
	closed chan struct{}
	once   sync.Once
}

func newListener(l net.Listener, limit int, timeout time.Duration, refused func()) *listener {
	return &listener{Listener: l, limit: limit, timeout: timeout, refused: refused, open: map[*socket]struct{}{}, closed: make(chan struct{})}
}

// socket is one connection; the first Close frees its place.
type socket struct {
	net.Conn
	l *listener
}

// Close implements [net.Conn].
func (s *socket) Close() error {
	s.l.mu.Lock()
	delete(s.l.open, s)
	s.l.mu.Unlock()
	return s.Conn.Close()
}

// Accept implements [net.Listener]. It returns an error only after Close, since mochi would stop serving at the first.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			t := time.NewTimer(acceptRetry)
			select {
			case <-t.C:
				continue
			case <-l.closed:
				t.Stop()
				return nil, net.ErrClosed
			}
		}
		s := &socket{Conn: c, l: l}
		l.mu.Lock()
		full := len(l.open) >= l.limit
		if !full {
			l.open[s] = struct{}{}
		}
		l.mu.Unlock()
		if full {
			l.refused()
			_ = c.Close()
			continue
		}
		// Until mochi sets the deadlines of the keep-alive: it covers the TLS handshake too.
		_ = c.SetDeadline(time.Now().Add(l.timeout))
		return s, nil
	}
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return errors.Join(l.Listener.Close(), l.closeAll())
}

// closeAll closes every open connection.
func (l *listener) closeAll() error {
	l.mu.Lock()
	all := make([]*socket, 0, len(l.open))
	for s := range l.open {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		_ = s.Close()
	}
	return nil
}
