package client

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"vaultmesh.org/vaultmesh"
)

// maxAnswered bounds the answered commands that the client remembers.
const maxAnswered = 1024

// memory keeps the answers of commands until they expire, so that a command that comes again acts once.
type memory struct {
	limit   int
	answers map[vaultmesh.CommandID]remembered
	order   []vaultmesh.CommandID // oldest first
}

type remembered struct {
	payload []byte
	expires time.Time
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, answers: map[vaultmesh.CommandID]remembered{}}
}

// put remembers an answer and forgets the oldest ones that have expired, and the oldest at all beyond the limit.
func (m *memory) put(id vaultmesh.CommandID, payload []byte, expires, now time.Time) {
	for len(m.order) > 0 && (len(m.order) >= m.limit || now.After(m.answers[m.order[0]].expires)) {
		delete(m.answers, m.order[0])
		m.order = m.order[1:]
	}
	m.answers[id] = remembered{payload, expires}
	m.order = append(m.order, id)
}

// order of a command as it is on the wire; see the contract in package device.
type wireCommand struct {
	ID      vaultmesh.CommandID `json:"id"`
	Command string              `json:"command"`
	Args    json.RawMessage     `json:"args"`
	Expires time.Time           `json:"expires"`
}

type wireResponse struct {
	ID     vaultmesh.CommandID `json:"id"`
	OK     bool                `json:"ok"`
	Code   string              `json:"code"`
	Detail string              `json:"detail,omitempty"`
	Time   string              `json:"t"`
	Body   json.RawMessage     `json:"body,omitempty"`
}

// received takes a command off the connection; it blocks the reader while too many wait to be answered, until the
// connection is given up: the node then hands the command out again.
func (c *Client) received(p paho.PublishReceived, gone <-chan struct{}) bool {
	twin, ok := strings.CutPrefix(p.Packet.Topic, "vm/"+string(c.cfg.DeviceID)+"/cmd/")
	if !ok {
		return false
	}
	var w wireCommand
	if err := json.Unmarshal(p.Packet.Payload, &w); err != nil || w.ID == "" {
		c.cfg.Logger.Warn("device got a command that it cannot read", "device", c.cfg.DeviceID, "twin", twin)
		return true
	}
	select {
	case c.commands <- Command{ID: w.ID, Twin: vaultmesh.TwinID(twin), Name: w.Command, Args: w.Args, Expires: w.Expires}:
	case <-gone:
	}
	return true
}

// answer handles commands one at a time until the client is closed.
func (c *Client) answer() {
	for {
		var cmd Command
		select {
		case cmd = <-c.commands:
		case <-c.ctx.Done():
			return
		}
		known, ok := c.answered.answers[cmd.ID]
		if !ok {
			now := c.cfg.Now()
			if !now.Before(cmd.Expires) {
				c.cfg.Logger.Warn("device got an expired command", "device", c.cfg.DeviceID, "command", cmd.ID)
				continue
			}
			c.mu.Lock()
			fn := c.handler
			c.mu.Unlock()
			r := fn(cmd)
			if r.Time.IsZero() {
				r.Time = c.cfg.Now()
			}
			b, err := json.Marshal(wireResponse{cmd.ID, r.OK, r.Code, r.Detail, r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), r.Body})
			if err != nil {
				c.cfg.Logger.Error("device cannot encode its answer", "device", c.cfg.DeviceID, "command", cmd.ID, "error", err)
				b, _ = json.Marshal(wireResponse{ID: cmd.ID, Code: "internal", Detail: "the device could not encode its answer", Time: r.Time.UTC().Format("2006-01-02T15:04:05.000000Z")})
			}
			known = remembered{b, cmd.Expires}
			c.answered.put(cmd.ID, b, cmd.Expires, now)
		}
		err := c.publish(c.ctx, "vm/"+string(c.cfg.DeviceID)+"/rsp", known.payload, func(err error) {
			if err != nil {
				c.cfg.Logger.Warn("the answer to a command was not taken", "device", c.cfg.DeviceID, "command", cmd.ID, "error", err)
			}
		})
		if err != nil {
			return
		}
	}
}
