// Package crowd owns who is let go when a listener has as many connections as it may hold, so that connections which show
// nothing keep nobody out who can show who they are. It is on floor 1.
//
// It must not know a protocol: its users say when a connection is at work for somebody whom they know.
package crowd

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// Crowd is the connections of one listener. It is safe for concurrent use.
//
// A new connection always gets in as long as one can be let go. The first to go are those that never belonged to anybody
// known, then those that are known and idle; of these the oldest of the network that has the most of them, so that who
// opens many displaces their own. What is at work for somebody known is never let go.
type Crowd struct {
	limit int

	mu      sync.Mutex // guards what follows, and the fields of the members
	members map[*Conn]struct{}
	next    uint64
	stats   Stats
}

// Stats counts what happened to connections.
type Stats struct {
	Open    int    // now
	LetGo   uint64 // closed for a newer one
	Refused uint64 // closed at once, since all others were at work
}

// New returns a crowd of at most limit connections, at least 1.
func New(limit int) *Crowd {
	return &Crowd{limit: max(1, limit), members: map[*Conn]struct{}{}}
}

// Conn is one connection of a crowd. The first Close frees its place.
type Conn struct {
	net.Conn
	of      *Crowd
	peer    netip.Prefix
	number  uint64 // rises with each connection, and each time that one comes to rest
	working int    // things at work on it for somebody known
	known   bool   // it has been at work
}

// Enter takes a connection in, and closes another where there is no place left. Where none can be let go, it closes c and
// ok is false.
func (c *Crowd) Enter(conn net.Conn) (_ *Conn, ok bool) {
	m := &Conn{Conn: conn, of: c, peer: Network(conn.RemoteAddr().String())}
	c.mu.Lock()
	var gone *Conn
	if len(c.members) >= c.limit {
		if gone = c.expendable(); gone == nil {
			c.stats.Refused++
			c.mu.Unlock()
			_ = conn.Close()
			return nil, false
		}
		delete(c.members, gone)
		c.stats.LetGo++
	}
	c.next++
	m.number = c.next
	c.members[m] = struct{}{}
	c.mu.Unlock()
	if gone != nil {
		_ = gone.Conn.Close()
	}
	return m, true
}

// expendable finds the member that is let go first, nil where all are at work; mu is held.
func (c *Crowd) expendable() *Conn {
	type class struct {
		known bool
		peer  netip.Prefix
	}
	count := map[class]int{}
	for m := range c.members {
		if m.working == 0 {
			count[class{m.known, m.peer}]++
		}
	}
	var worst *Conn
	for m := range c.members {
		if m.working > 0 {
			continue
		}
		if worst == nil {
			worst = m
			continue
		}
		mine, theirs := count[class{m.known, m.peer}], count[class{worst.known, worst.peer}]
		switch {
		case m.known != worst.known:
			if !m.known {
				worst = m
			}
		case mine != theirs:
			if mine > theirs {
				worst = m
			}
		case m.number < worst.number:
			worst = m
		}
	}
	return worst
}

// Close implements [net.Conn].
func (m *Conn) Close() error {
	m.of.mu.Lock()
	delete(m.of.members, m)
	m.of.mu.Unlock()
	return m.Conn.Close()
}

// Work says that the connection is at work for somebody known until ctx ends.
func (m *Conn) Work(ctx context.Context) {
	m.of.mu.Lock()
	m.working, m.known = m.working+1, true
	m.of.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.of.mu.Lock()
		defer m.of.mu.Unlock()
		m.of.next++
		m.working, m.number = m.working-1, m.of.next
	})
}

// Each calls fn for every connection and whether it has ever been at work; fn may close it.
func (c *Crowd) Each(fn func(m *Conn, known bool)) {
	c.mu.Lock()
	all := make(map[*Conn]bool, len(c.members))
	for m := range c.members {
		all[m] = m.known
	}
	c.mu.Unlock()
	for m, known := range all {
		fn(m, known)
	}
}

// Stats returns the present counts.
func (c *Crowd) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Open = len(c.members)
	return s
}

// Listen returns a listener whose connections are members of the crowd.
func (c *Crowd) Listen(l net.Listener) net.Listener { return &listener{l, c} }

type listener struct {
	net.Listener
	of *Crowd
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if m, ok := l.of.Enter(c); ok {
			return m, nil
		}
	}
}

// Of finds the member below c, such as below a connection of TLS; nil where there is none.
func Of(c net.Conn) *Conn {
	for {
		switch x := c.(type) {
		case *Conn:
			return x
		case interface{ NetConn() net.Conn }:
			c = x.NetConn()
		default:
			return nil
		}
	}
}

// Network is what a remote address counts as: one address of IPv4, and of IPv6 what one customer is given (/64). All that
// have no such address count as one.
func Network(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	a, bits := a.Unmap().WithZone(""), 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}
