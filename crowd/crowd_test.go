package crowd_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"vaultmesh.org/vaultmesh/crowd"
)

// pipe is a connection from an address; it remembers that it was closed.
type pipe struct {
	net.Conn
	from   string
	mu     sync.Mutex
	closed bool
}

type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) }

func (p *pipe) RemoteAddr() net.Addr { return addr(p.from) }

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

func (p *pipe) gone() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.closed }

func enter(t *testing.T, c *crowd.Crowd, from string) (*crowd.Conn, *pipe) {
	t.Helper()
	p := &pipe{from: from}
	m, ok := c.Enter(p)
	if !ok {
		t.Fatalf("%s is not let in", from)
	}
	return m, p
}

// Who opens many connections displaces their own, oldest first.
func TestManyDisplaceTheirOwn(t *testing.T) {
	c := crowd.New(10)
	_, quiet := enter(t, c, "192.0.2.1:1")
	var many []*pipe
	for i := range 200 {
		_, p := enter(t, c, fmt.Sprintf("192.0.2.2:%d", i+1))
		many = append(many, p)
	}
	if quiet.gone() {
		t.Error("the one connection of another was let go")
	}
	for i, p := range many {
		if want := i < 200-9; p.gone() != want {
			t.Errorf("connection %d: gone %v", i, p.gone())
		}
	}
	if s := c.Stats(); s.Open != 10 || s.LetGo != 191 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	// Addresses of one IPv6 network count as one.
	for i := range 20 {
		enter(t, c, fmt.Sprintf("[2001:db8::%x]:1", i+1))
	}
	if quiet.gone() {
		t.Error("the one connection of another was let go for those of one network")
	}
}

// What is at work for somebody known stays; what was comes after what never was; when all are at work, nobody else gets in.
func TestWorkStays(t *testing.T) {
	c := crowd.New(4)
	type job struct {
		p   *pipe
		end context.CancelFunc
		m   *crowd.Conn
	}
	var jobs []job
	for i := range 3 {
		m, p := enter(t, c, fmt.Sprintf("192.0.2.1:%d", i+1))
		ctx, end := context.WithCancel(t.Context())
		m.Work(ctx)
		jobs = append(jobs, job{p, end, m})
	}
	var stranger *pipe
	for i := range 50 {
		_, stranger = enter(t, c, fmt.Sprintf("198.51.100.%d:1", i+1))
	}
	for i, j := range jobs {
		if j.p.gone() {
			t.Fatalf("job %d was let go", i)
		}
	}
	last, p := enter(t, c, "192.0.2.1:9")
	if !stranger.gone() {
		t.Fatal("the stranger stays")
	}
	last.Work(t.Context())
	if _, ok := c.Enter(&pipe{from: "192.0.2.7:1"}); ok || c.Stats().Refused != 1 {
		t.Fatal("another got in while all are at work")
	}
	// Two jobs come to rest: the one that did so first goes first, and only where no stranger is there.
	done := func(i int) {
		jobs[i].end()
		for { // the end is told by another goroutine
			if m, ok := c.Enter(&pipe{from: "203.0.113.1:1"}); ok {
				_ = m.Close()
				return
			}
		}
	}
	done(1)
	if !jobs[1].p.gone() || jobs[0].p.gone() || jobs[2].p.gone() || p.gone() {
		t.Error("another than the one at rest was let go")
	}
	if err := jobs[0].m.Close(); err != nil || c.Stats().Open != 2 {
		t.Errorf("%v %+v", err, c.Stats())
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1:80": "192.0.2.1/32", "[::ffff:192.0.2.1]:80": "192.0.2.1/32", "[2001:db8::1]:80": "2001:db8::/64", "[fe80::1%eth0]:80": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix"} {
		if got := crowd.Network(in).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
