package rig

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/eclipse/paho.golang/packets"

	"vaultmesh.org/vaultmesh"
)

// tap stands between one device and the node: the device speaks plain TCP to it, and it speaks TLS with the device's
// certificate to the node. It sees each command as it crosses the wire, also those that the device's client answers by
// itself because they came before, and it can cut the line: at any time, or right after a command, so that the device
// acts and the node does not hear of it.
type tap struct {
	l         net.Listener
	node      string
	tls       *tls.Config
	delivered func(vaultmesh.CommandID) (cut bool)

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	wg    sync.WaitGroup
}

func newTap(node string, c *tls.Config, delivered func(vaultmesh.CommandID) (cut bool)) (*tap, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{l: l, node: node, tls: c, delivered: delivered, conns: map[net.Conn]struct{}{}}
	t.wg.Go(t.accept)
	return t, nil
}

func (t *tap) accept() {
	for {
		c, err := t.l.Accept()
		if err != nil {
			return
		}
		t.wg.Go(func() { t.carry(c) })
	}
}

func (t *tap) carry(device net.Conn) {
	defer device.Close()
	node, err := tls.Dial("tcp", t.node, t.tls)
	if err != nil {
		return // the node is down: the device sees a closed connection and tries again
	}
	defer node.Close()
	t.mu.Lock()
	t.conns[device], t.conns[node] = struct{}{}, struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.conns, device)
		delete(t.conns, node)
		t.mu.Unlock()
	}()
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(node, device)
		_ = node.Close()
	}()
	t.down(device, node)
	_ = node.Close()
	_ = device.Close()
	<-up
}

// down carries packets from the node to the device.
func (t *tap) down(device io.Writer, node io.Reader) {
	r, w := bufio.NewReader(node), bufio.NewWriter(device)
	for {
		p, err := packets.ReadPacket(io.TeeReader(r, w))
		if err != nil {
			return
		}
		if pub, ok := p.Content.(*packets.Publish); ok && strings.Contains(pub.Topic, "/cmd/") {
			var head struct {
				ID vaultmesh.CommandID `json:"id"`
			}
			if json.Unmarshal(pub.Payload, &head) == nil && t.delivered(head.ID) {
				_ = w.Flush()
				return
			}
		}
		if r.Buffered() == 0 {
			if w.Flush() != nil {
				return
			}
		}
	}
}

// cut drops the present connection on both sides.
func (t *tap) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Close()
	}
}

func (t *tap) close() {
	_ = t.l.Close()
	t.cut()
	t.wg.Wait()
}
