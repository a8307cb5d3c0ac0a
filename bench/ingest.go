package bench

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/twin"
)

// Targets of ingest at 100 connections.
const (
	targetIngest = 60_000 // messages a second
	targetBare   = 0.9    // of the rate of bare mochi and Pebble
)

// ingest measures telemetry from PUBLISH to a PUBACK that means durable.
func ingest(ctx context.Context, o Options) (*Result, error) {
	r := &Result{Counts: map[string]uint64{}}
	var ours *traffic
	err := o.profiled("ingest", func() (err error) {
		ours, err = ingestBroker(ctx, o, r.Counts)
		return err
	})
	if err != nil {
		return nil, err
	}
	var bare *traffic
	err = o.profiled("ingest-floor", func() (err error) {
		bare, err = bareBroker(ctx, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	floor := figureOf(&bare.times, "bare mochi, one synced Pebble put for each message", o.For)
	f := figureOf(&ours.times, "", o.For)
	r.Measurement = Measurement{Name: "ingest", P50: f.P50, P99: f.P99, Rate: f.Rate, Floor: &floor, Ratio: over(f.Rate, floor.Rate), RatioOf: "messages a second over bare mochi with Pebble (more is better)",
		Target: fmt.Sprintf(">= %d/s and ratio >= %g", targetIngest, targetBare), Met: f.Rate >= targetIngest && f.Rate >= targetBare*floor.Rate}
	r.Compared = fmt.Sprintf("%d connections with %d unacknowledged QoS 1 messages of %d B each, validated, merged, receipted and durable before PUBACK, beside a bare broker that stores each message durably and does nothing else.", o.Connections, o.Window, len(payloadText))
	r.Counts["floor_acknowledged"] = bare.total()
	path := o.Mosquitto
	if path == "" {
		if path, err = exec.LookPath("mosquitto"); err != nil {
			r.Notes = append(r.Notes, "no peer: mosquitto is not on PATH")
			return r, nil
		}
	}
	peer, err := mosquitto(ctx, o, path)
	if err != nil {
		return nil, err
	}
	p := figureOf(&peer.times, "mosquitto, which keeps nothing", o.For)
	r.Peer = &p
	r.Counts["peer_acknowledged"] = peer.total()
	return r, nil
}

// ingestBroker drives a real broker on a real journal, then looks for every acknowledged message.
func ingestBroker(ctx context.Context, o Options, counts map[string]uint64) (*traffic, error) {
	dir, err := o.folder("ingest")
	if err != nil {
		return nil, err
	}
	t, err := openTruth(dir, false, o.Log)
	if err != nil {
		return nil, err
	}
	defer t.close()
	models, err := dtdl.Parse(grid.Models(), dtdl.Options{})
	if err != nil {
		return nil, err
	}
	twins := twin.NewStore(twin.Options{Models: models, Now: time.Now})
	defer twins.Close()
	if err := defineLines(ctx, t, twins, o.Connections); err != nil {
		return nil, err
	}
	b, err := device.New(device.Options{InsecureAddr: "127.0.0.1:0", Insecure: true, Journal: t.journal, Log: t.log, Twins: twins, Source: noCommands{}, Devices: anyDevice{},
		Domain: domain, Actor: "node:bench", Logger: o.Log})
	if err != nil {
		return nil, err
	}
	load, err := drive(ctx, b.InsecureAddr(), o)
	stats := b.Stats()
	b.Close()
	if err != nil {
		return nil, err
	}
	counts["acknowledged"], counts["accepted"] = load.total(), stats.Accepted
	if stats.Accepted != load.total() {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "bench.ingest", "", "%d messages were acknowledged, the broker accepted %d; refused: %v", load.total(), stats.Accepted, stats.Refused)
	}
	counts["found"], counts["batches"], err = load.find(ctx, t, twins)
	return load, err
}

// defineLines defines the twins that the publishers speak about.
func defineLines(ctx context.Context, t *truth, twins *twin.Store, connections int) error {
	var defs []twin.Definition
	for i := range connections {
		p := newPublisher(i, time.Unix(0, 0))
		for _, id := range p.twins {
			defs = append(defs, twin.Definition{ID: id, Model: grid.ModelLine, Device: p.device})
		}
	}
	return t.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error { return twins.DefineAll(tx, defs) })
}

// noCommands is a source of no commands.
type noCommands struct{}

func (noCommands) Pending(vaultmesh.DeviceID) ([]device.Outbound, error) { return nil, nil }

func (noCommands) Delivered(context.Context, vaultmesh.CommandID, time.Time) error { return nil }

func (noCommands) Respond(_ context.Context, r device.Response) error {
	return vaultmesh.Errorf(vaultmesh.NotFound, "bench.respond", string(r.Command), "there are no commands")
}

// anyDevice admits everyone who has the benchmark's token.
type anyDevice struct{}

func (anyDevice) Admit(vaultmesh.DeviceID) error { return nil }

func (anyDevice) TokenDigest(vaultmesh.DeviceID) (vaultmesh.Digest, bool) {
	return vaultmesh.Sum([]byte(token)), true
}
