package node

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	mcpapi "vaultmesh.org/vaultmesh/api/mcp"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/twin"
)

// peers are the words by which the configuration says who needs no token.
var peers = map[string][]netip.Prefix{"loopback": httpapi.Loopback(), "anyone": httpapi.Anywhere(), "nobody": nil}

// openHTTP opens the face for people and programs.
func (n *Node) openHTTP(t *certificates) error {
	registry := n.registry()
	o := httpapi.Options{
		Addr: n.cfg.HTTP.Listen, TLS: t.http, Domain: n.cfg.Domain, Root: public(n.keys.capability), Revoked: n.revoked,
		Commands: n.control, Twins: twins{n}, Evidence: evidence{n}, Devices: devices{n}, Capabilities: n.control, Anchors: n.anchors,
		Feed: n.feed, Ready: (&readiness{n: n}).ready, Gatherer: registry, Registerer: registry, Now: n.now, Log: n.l,
		MetricsFrom: peers[n.cfg.HTTP.Metrics], LogFrom: peers[n.cfg.HTTP.Log],
		Alarms: n.alarms,
		Limits: httpapi.Limits{Connections: n.cfg.HTTP.Connections, Concurrent: n.cfg.HTTP.Requests, Reserved: n.cfg.HTTP.Reserved, Open: n.cfg.HTTP.Open, Feeds: n.cfg.HTTP.Feeds},
	}
	var err error
	n.mcp, err = mcpapi.NewServer(mcpapi.Options{Backend: local{n.control, n}, Domain: n.cfg.Domain, Version: Version, Commands: commandDocs(n.models), Now: n.now, Log: n.l,
		Authenticate: func(r *http.Request) (control.Caller, *http.Request, error) { return n.http.Authenticate(r) }})
	if err != nil {
		return err
	}
	mcp, err := n.mcp.Handler()
	if err != nil {
		return err
	}
	o.Mount = map[string]http.Handler{"/mcp": mcp}
	if n.witness.server != nil {
		o.Mount["/witness/"] = http.StripPrefix("/witness", n.witness.server)
	}
	if n.witness.feeder != nil {
		o.Witnesses = n.witness.feeder.Status
	}
	if n.http, err = httpapi.New(o); err != nil {
		return err
	}
	n.listener, err = n.http.Listen()
	return err
}

// readiness shares one answer for a moment, so that probes cannot load the disk.
type readiness struct {
	n *Node

	mu  sync.Mutex // held while a commit is tried, so that others wait for its answer
	at  time.Time
	err error
}

// readyFor is how long an answer is shared.
const readyFor = 250 * time.Millisecond

func (r *readiness) ready(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.n.now(); now.Sub(r.at) > readyFor {
		r.err, r.at = r.n.Ready(ctx), now
	}
	return r.err
}

// twins answers what the faces ask of the state.
type twins struct{ n *Node }

func (t twins) Get(id vaultmesh.TwinID) (twin.Twin, bool) {
	x, ok := t.n.twins.Get(id)
	t.n.settle()
	return x, ok
}

func (t twins) Each(after vaultmesh.TwinID, fn func(twin.Twin) bool) {
	s := t.n.twins.Snapshot()
	t.n.settle()
	s.Each(func(x twin.Twin) bool { return x.ID <= after || fn(x) })
}

func (t twins) History(ctx context.Context, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]twin.Point, error) {
	s := t.n.journal.Snapshot()
	defer s.Close()
	points, err := t.n.twins.History(s, id, name, from, to, limit)
	if err != nil {
		return nil, err
	}
	return points, t.n.journal.Settle(ctx)
}

// settleWithin bounds how long a reader waits for the disk; a node whose disk takes longer is not ready anyway.
const settleWithin = 5 * time.Second

// settle waits until what was just read is durable, so that nobody is shown what a crash would undo.
func (n *Node) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), settleWithin)
	defer cancel()
	if err := n.journal.Settle(ctx); err != nil {
		n.l.Warn("the disk is slow: a reader saw what is not durable yet", "error", err)
	}
}

// devices answers what the faces ask of the broker.
type devices struct{ n *Node }

func (d devices) List(context.Context) ([]httpapi.Device, error) {
	known := newFleet(d.n.twins, nil).known
	out := make([]httpapi.Device, 0, len(known))
	for id := range known {
		p, _ := d.n.broker.Presence(id)
		out = append(out, httpapi.Device{ID: id, Online: p.Online, Since: p.Seen, Refused: p.Refused})
	}
	slices.SortFunc(out, func(a, b httpapi.Device) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, nil
}

func (d devices) Refusals(_ context.Context, id vaultmesh.DeviceID, limit int) ([]httpapi.Refusal, error) {
	if !newFleet(d.n.twins, nil).known[id] {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "device", string(id), "no twin names this device")
	}
	return refusals(d.n.broker.Refusals(id), limit), nil
}

func refusals(newest []device.Refusal, limit int) []httpapi.Refusal {
	out := make([]httpapi.Refusal, 0, min(limit, len(newest)))
	for _, r := range newest[:min(limit, len(newest))] {
		out = append(out, httpapi.Refusal{Time: r.Time, Topic: r.Topic, Code: fmt.Sprintf("mqtt_0x%02x", r.Code), Reason: r.Reason})
	}
	return out
}
