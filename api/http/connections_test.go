package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// Hundreds of connections that say nothing, say half of a request, or ask without a token and never come back, keep nobody
// who has a token out, and a feed that was there before stays.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	const limit, many = 64, 600
	o := options(t, newWorld(t))
	o.Addr = "127.0.0.1:0"
	o.Limits.Connections = limit
	s, ln, served := listening(t, o)
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	base := "http://" + ln.Addr().String()
	operator := client(t, base, "operator")
	feed, err := operator.Feed(t.Context(), FeedQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 { // a write to one that was let go already fails, which is no matter
		case 1:
			_, _ = io.WriteString(c, "POST /v1/halt HTTP/1.1\r\nHost: x\r\n")
		case 2:
			_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		if i%100 == 50 {
			fresh := client(t, base, "operator")
			if _, err := fresh.Halt(t.Context(), fmt.Sprintf("smoke %d", i)); err != nil {
				t.Fatalf("after %d connections: %v", i, err)
			}
		}
	}
	if _, err := client(t, base, "operator").Halt(t.Context(), "smoke"); err != nil {
		t.Fatal(err)
	}
	if err := feed.Close(); err != nil { // a closing handshake
		t.Errorf("the feed is gone: %v", err)
	}
	have := map[string]float64{}
	families, err := o.Gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		have[f.GetName()] = value(f.GetMetric()[0])
	}
	if n := have["vaultmesh_http_connections"]; n < 2 || n > limit {
		t.Errorf("%g connections are open", n)
	}
	if n := have["vaultmesh_http_connections_let_go_total"]; n < many-limit {
		t.Errorf("%g were let go", n)
	}
	if n := have["vaultmesh_http_connections_refused_total"]; n != 0 {
		t.Errorf("%g were refused", n)
	}
}

func value(m *dto.Metric) float64 { return m.GetGauge().GetValue() + m.GetCounter().GetValue() }

// Nor do holders of tokens who ask and do not read: their connections are of no account once their places are given back.
func TestHoldersWhoDoNotReadKeepNobodyOut(t *testing.T) {
	const limit = 8
	w := newWorld(t)
	big := w.twins["line-1-2"]
	big.Nameplate = map[string]json.RawMessage{"note": json.RawMessage(`"` + strings.Repeat("x", smallAnswer/2) + `"`)}
	w.twins["line-1-2"] = big
	o := options(t, w)
	o.Limits.Connections, o.Limits.WriteTimeout = limit, time.Hour
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &deafListener{Listener: inner, left: limit, writing: make(chan struct{}, 4*limit)}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	base := "http://" + inner.Addr().String()
	asking, stop := context.WithCancel(t.Context())
	var holders sync.WaitGroup
	for range limit {
		c := client(t, base, "operator")
		holders.Go(func() { _, _ = c.Twin(asking, "line-1-2") })
	}
	for range limit {
		<-ln.writing
	}
	if _, err := client(t, base, "operator").Halt(t.Context(), "smoke"); err != nil {
		t.Errorf("halt: %v", err)
	}
	stop()
	holders.Wait()
	over, now := context.WithCancel(context.Background())
	now()
	_ = s.Shutdown(over) // those who do not read are cut off
	if err := <-served; err != nil {
		t.Error(err)
	}
}
