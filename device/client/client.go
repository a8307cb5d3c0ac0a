// Package client is the reference device: it speaks MQTT 5 to a node's device broker, publishes telemetry at least
// once within a bounded window, and answers commands exactly once each. It is on floor 3; simulators and tests use it.
//
// It owns the connection, its re-establishment and the memory of answered commands. It must not know models or values:
// payloads are the caller's bytes. It keeps nothing on disk: messages that were not acknowledged when [Client.Close]
// is called are reported as such.
package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Config of a [Client]. Addr and DeviceID are required.
type Config struct {
	Addr     string             // host:port of the node
	DeviceID vaultmesh.DeviceID // identity: certificate CN, MQTT client id, topic level
	TLS      *tls.Config        // with the device's certificate; nil means plain TCP (dev profile)
	Token    string             // authenticates over plain TCP; unused with TLS

	Window     int                      // publishes that may wait for their acknowledgement, default 64, most 65535
	Keepalive  time.Duration            // default 30 s, whole seconds
	Timeout    time.Duration            // of connecting and of each request, default 10 s
	MinBackoff time.Duration            // before the first reconnection, default 100 ms; doubles up to MaxBackoff
	MaxBackoff time.Duration            // default 10 s
	Rand       func() float64           // jitter in [0,1), called from one goroutine; default math/rand/v2
	Now        func() time.Time         // default time.Now
	OnState    func(up bool, err error) // connection came or went; called from one goroutine, must not block
	Logger     *slog.Logger             // default: discard
}

// Command is one order from the node.
type Command struct {
	ID      vaultmesh.CommandID
	Twin    vaultmesh.TwinID
	Name    string
	Args    json.RawMessage
	Expires time.Time
}

// Response is the device's answer. The zero Time means now.
type Response struct {
	OK     bool
	Code   string // 1..64 bytes: "done", "blocked"
	Detail string // at most 512 bytes
	Body   json.RawMessage
	Time   time.Time
}

// Client is one device's connection. It is safe for concurrent use.
type Client struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // capacity 1: there is something to send, or the handler was set
	slots  chan struct{} // capacity Window: one for each entry that is not finished

	mu      sync.Mutex
	ready   []*entry // to be sent, in order
	closed  bool
	handler func(Command) Response

	commands chan Command
	answered *memory // owned by the goroutine of answer
}

// entry is one publish on its way. acked is called once, with nil after the node's acknowledgement.
type entry struct {
	seq     uint64
	topic   string
	payload []byte
	acked   func(error)
}

// size returns the bytes of the entry's PUBLISH packet, at most: fixed header, topic, identifier, no properties, payload.
func (e *entry) size() int { return 5 + 2 + len(e.topic) + 2 + 1 + len(e.payload) }

// Dial connects and returns after the node has accepted the device. It retries until ctx ends, except where the node
// refuses the identity, the token or the protocol for good (kind Denied). ctx bounds only the first connection.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if err := vaultmesh.CheckID("device", string(cfg.DeviceID)); err != nil {
		return nil, err
	}
	if cfg.Window <= 0 {
		cfg.Window = 64
	}
	cfg.Window = min(cfg.Window, 65535)
	if cfg.Keepalive <= 0 {
		cfg.Keepalive = 30 * time.Second
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.MinBackoff <= 0 {
		cfg.MinBackoff = 100 * time.Millisecond
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = 10 * time.Second
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnState == nil {
		cfg.OnState = func(bool, error) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg:      cfg,
		wake:     make(chan struct{}, 1),
		slots:    make(chan struct{}, cfg.Window),
		commands: make(chan Command, receiveMaximum),
		answered: newMemory(maxAnswered),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	first := make(chan error, 1)
	c.wg.Go(func() { c.run(ctx, first) })
	if err := <-first; err != nil {
		c.cancel()
		c.wg.Wait()
		return nil, err
	}
	c.wg.Go(c.answer)
	return c, nil
}

// Publish queues one telemetry message about twin and returns; it blocks while the window is full. acked is called
// once, from a goroutine of the client that it must not block: with nil after the node has made the message durable,
// with an error where the node refused it for good (kinds Invalid, Denied, TooLarge) or the client was closed (Unavailable).
// A lost connection or an overloaded node is not an error: the message is sent again. acked may be nil.
func (c *Client) Publish(ctx context.Context, twin vaultmesh.TwinID, payload []byte, acked func(error)) error {
	if err := vaultmesh.CheckID("twin", string(twin)); err != nil {
		return err
	}
	return c.publish(ctx, "vm/"+string(c.cfg.DeviceID)+"/tel/"+string(twin), payload, acked)
}

func (c *Client) publish(ctx context.Context, topic string, payload []byte, acked func(error)) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return errClosed(topic)
	}
	if acked == nil {
		acked = func(error) {}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.slots
		return errClosed(topic)
	}
	c.ready = append(c.ready, &entry{topic: topic, payload: payload, acked: acked})
	c.mu.Unlock()
	c.poke()
	return nil
}

// finish ends e and frees its slot.
func (c *Client) finish(e *entry, err error) {
	<-c.slots
	e.acked(err)
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Handle sets the handler of commands and subscribes to them; it is to be called once. Commands come one at a time, in
// the order of the node. A command that was answered before is answered alike without the handler; an expired one is
// not handled.
func (c *Client) Handle(fn func(Command) Response) {
	c.mu.Lock()
	c.handler = fn
	c.mu.Unlock()
	c.poke()
}

// Close disconnects, waits for the goroutines of the client, and reports unacknowledged messages to their callers. It
// must not be called from a handler or a callback.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	c.mu.Lock()
	rest := c.ready
	c.ready = nil
	c.mu.Unlock()
	for _, e := range rest {
		c.finish(e, errClosed(e.topic))
	}
}

func errClosed(topic string) error {
	return vaultmesh.Errorf(vaultmesh.Unavailable, "device.publish", topic, "the client is closed; the message may or may not have reached the node")
}
