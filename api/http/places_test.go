package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
)

// deafListener gives connections of which the first ones belong to clients that never read: no write to them returns
// before they are closed.
type deafListener struct {
	net.Listener
	mu      sync.Mutex
	left    int
	writing chan struct{} // one for each connection that is written to
}

func (l *deafListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == 0 {
		return c, nil
	}
	l.left--
	return &deafConn{Conn: c, l: l, closed: make(chan struct{})}, nil
}

type deafConn struct {
	net.Conn
	l      *deafListener
	once   sync.Once
	closed chan struct{}
}

func (c *deafConn) Write([]byte) (int, error) {
	c.l.writing <- struct{}{}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Clients without a token that ask and never read keep nobody from the halt switch, nor from the contract.
func TestSlowReadersKeepNobodyFromHalting(t *testing.T) {
	const many = 16
	o := options(t, newWorld(t))
	o.Limits.Concurrent = many
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewUnstartedServer(s.Handler())
	ln := &deafListener{Listener: hs.Listener, left: many, writing: make(chan struct{}, many)}
	hs.Listener = ln
	hs.Start()
	defer hs.Close()
	for range many {
		c, err := net.Dial("tcp", hs.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /v1/openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for range many { // until every answer waits for its reader
		select {
		case <-ln.writing:
		case <-late.C:
			t.Fatal("they were never answered")
		}
	}
	c := client(t, hs.URL, "operator")
	if _, err := c.Halt(context.Background(), "smoke"); err != nil {
		t.Errorf("halt: %v", err)
	}
	resp, err := c.HTTP().Get(hs.URL + "/v1/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != 200 {
		t.Errorf("the contract: %d %v", resp.StatusCode, err)
	}
	hs.CloseClientConnections()
}

// The places of requests without a token are of no use to others, nor the other way round.
func TestOpenPlacesAreTheirOwn(t *testing.T) {
	o := options(t, newWorld(t))
	o.Limits.Concurrent, o.Limits.Open = 1, 1
	s, base := serve(t, o)
	c := client(t, base, "operator")
	status := func(path string) int {
		t.Helper()
		resp, err := c.HTTP().Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		return resp.StatusCode
	}
	s.places.open <- struct{}{}
	if n := status("/v1/openapi.yaml"); n != 503 {
		t.Errorf("no open place is left: %d", n)
	}
	if n := status("/nowhere"); n != 503 {
		t.Errorf("a path without a route: %d", n)
	}
	if _, err := c.Twin(t.Context(), "bus-1"); err != nil {
		t.Error("with a token:", err)
	}
	<-s.places.open
	s.places.common <- struct{}{}
	if n := status("/v1/openapi.yaml"); n != 200 {
		t.Errorf("no common place is left: %d", n)
	}
	if _, err := c.Twin(t.Context(), "bus-1"); err == nil {
		t.Error("no common place is left")
	}
}

// Whatever holders of tokens do, there are places for those who stop the plant, and for no other request.
func TestReservedPlaces(t *testing.T) {
	w := newWorld(t)
	o := options(t, w)
	o.Limits.Concurrent, o.Limits.Reserved = 1, 1
	s, base := serve(t, o)
	c := client(t, base, "operator")
	cmd, err := c.Propose(t.Context(), control.Proposal{Twin: "bus-1", Command: "x", IdempotencyKey: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	w.proposing = func(context.Context) error { entered <- struct{}{}; <-leave; return nil }
	first := make(chan error, 1)
	go func() {
		_, err := c.Propose(t.Context(), control.Proposal{Twin: "bus-1", Command: "x", IdempotencyKey: "k2"})
		first <- err
	}()
	<-entered
	if _, err := c.Halt(t.Context(), "smoke"); err != nil {
		t.Error("halt:", err)
	}
	if _, err := c.Reject(t.Context(), cmd.ID, "no"); err != nil {
		t.Error("reject:", err)
	}
	if _, err := c.Revoke(t.Context(), vaultmesh.Sum(nil), "lost"); err != nil {
		t.Error("revoke:", err)
	}
	if _, err := c.Resume(t.Context(), "over"); err != nil {
		t.Error("resume:", err)
	}
	_, err = c.Twin(t.Context(), "bus-1")
	wantError(t, err, vaultmesh.Unavailable, "all 1 places")
	s.places.reserved <- struct{}{}
	_, err = c.Halt(t.Context(), "again")
	wantError(t, err, vaultmesh.Unavailable)
	<-s.places.reserved
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	for _, r := range table {
		if word := r.path[strings.LastIndexByte(r.path, '/')+1:]; r.method != "GET" && (word == "halt" || word == "approve" || word == "reject" || word == "revoke") != (r.room == reserved) {
			t.Errorf("%s: room %d", r.pattern(), r.room)
		}
	}
}

// An answer that is large to hold keeps its place until it is written, unless the place is a reserved one's.
func TestPlacesOfLargeAnswers(t *testing.T) {
	p := newPlaces(Limits{Concurrent: 1, Open: 1, Reserved: 1})
	for _, x := range []struct {
		size  int
		small bool
		kept  int
	}{{smallAnswer, false, 0}, {smallAnswer + 1, false, 1}, {smallAnswer + 1, true, 0}} {
		p.common <- struct{}{}
		w := &recorder{ResponseWriter: httptest.NewRecorder(), place: &place{of: p.common, small: x.small}}
		answering(w, x.size)
		if len(p.common) != x.kept {
			t.Errorf("%+v: %d places are taken", x, len(p.common))
		}
		w.place.leave()
		w.place.leave() // twice does no harm
		if len(p.common) != 0 {
			t.Errorf("%+v: the place is not free again", x)
		}
	}
}

// Who proved nothing must take the answer soon.
func TestOpenAnswersAreCutOff(t *testing.T) {
	o := options(t, newWorld(t))
	o.Limits.OpenWrite = 7 * time.Second
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		path string
		set  bool
	}{{"/v1/openapi.yaml", true}, {"/nowhere", true}, {"/log/checkpoint", false}} {
		w := &lastWrite{ResponseRecorder: httptest.NewRecorder()}
		before := time.Now()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", x.path, nil))
		if x.set && (w.write.Before(before.Add(o.Limits.OpenWrite)) || w.write.After(time.Now().Add(o.Limits.OpenWrite))) || !x.set && !w.write.IsZero() {
			t.Errorf("%s: %d with the limit %v", x.path, w.Code, w.write)
		}
	}
}

type lastWrite struct {
	*httptest.ResponseRecorder
	write time.Time
}

func (d *lastWrite) SetWriteDeadline(t time.Time) error { d.write = t; return nil }
