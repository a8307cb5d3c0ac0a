package httpapi

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Whoever has nothing but the text of a token, which is public, cannot take the places of those who have the key.
func TestSlowBodiesKeepNobodyFromHalting(t *testing.T) {
	o := options(t, newWorld(t))
	o.Limits.Concurrent = 2
	s, address := serve(t, o)
	for range 3 {
		c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/simulations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n%s: %s\r\n%s: x\r\n\r\n{", CapabilityHeader, token(t, "operator"), ProofHeader)
	}
	full := time.NewTimer(10 * time.Second)
	defer full.Stop()
	for len(s.reading) < 2 { // the first two are waiting for the rest of their bodies
		select {
		case <-full.C:
			t.Fatal("they never came")
		default:
			runtime.Gosched()
		}
	}
	if _, err := client(t, address, "operator").Halt(context.Background(), "smoke"); err != nil {
		t.Fatalf("halt: %v", err)
	}
}
