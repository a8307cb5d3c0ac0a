package witness_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh/lawchain/witness"
)

// half sends the beginning of a POST from an address of this machine, and no more.
func half(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Skipf("this machine has no address %s: %v", from, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprintf(c, "POST /add-checkpoint HTTP/1.1\r\nHost: witness\r\nContent-Length: 1000\r\n\r\nold 0\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// status reads the status of an answer.
func status(c net.Conn) (int, error) {
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	return r.StatusCode, r.Body.Close()
}

// Callers who do not finish what they send keep nobody else out, and one of them has few places.
func TestSlowCallers(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	x.grow(5, "main")
	s := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify}, BodyTimeout: time.Minute})
	var arrived atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close) // after the connections, which are made later
	address := web.Listener.Addr().String()
	const each, callers, places = 40, 5, 16
	var open []net.Conn
	answers := make(chan int, each*callers)
	for i := range callers {
		for range each {
			c := half(t, fmt.Sprintf("127.0.0.%d", 2+i), address)
			open = append(open, c)
			go func() {
				code, _ := status(c)
				answers <- code
			}()
		}
	}
	for range callers * (each - places) {
		select {
		case code := <-answers:
			if code != http.StatusTooManyRequests {
				t.Fatalf("status %d, want 429", code)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("of %d unfinished requests too few were refused", arrived.Load())
		}
	}
	// 80 requests are unfinished now.
	r, err := web.Client().Post(web.URL+"/add-checkpoint", "", bytes.NewReader(x.request(0, 5).Marshal()))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("beside %d unfinished requests: status %d", callers*places, r.StatusCode)
	}
	select {
	case code := <-answers:
		t.Errorf("a request that had a place ended with %d", code)
	default:
	}
	for _, c := range open {
		_ = c.Close()
	}
	for range callers * places {
		<-answers
	}
	// The places are free again, which takes the server a moment to see.
	for {
		c := half(t, "127.0.0.2", address)
		if _, err := fmt.Fprint(c, strings.Repeat("x", 1000)); err != nil {
			continue
		}
		code, err := status(c)
		_ = c.Close()
		if err == nil && code == http.StatusBadRequest {
			break
		}
		if err == nil && code != http.StatusTooManyRequests || t.Context().Err() != nil {
			t.Fatalf("status %d", code)
		}
	}
}

// A body that does not come ends the request, and the connection.
func TestBodyTimeout(t *testing.T) {
	x := newTree(t, "example.com/log", "1")
	s := serve(t, witness.ServerOptions{Logs: []note.Verifier{x.verify}, BodyTimeout: 20 * time.Millisecond})
	web := httptest.NewServer(s)
	defer web.Close()
	c := half(t, "127.0.0.1", web.Listener.Addr().String())
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != http.StatusRequestTimeout || !r.Close {
		t.Fatalf("%+v %v", r, err)
	}
	if _, err := io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(in); err != nil || len(b) > 0 {
		t.Errorf("the connection goes on: %q %v", b, err)
	}
}
