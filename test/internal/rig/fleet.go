package rig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/node"
)

// Message is one telemetry message that the node acknowledged.
type Message struct {
	Twin   vaultmesh.TwinID
	Time   time.Time
	Values map[string]string // by name, the exact JSON
}

// Execution is one command that a device carried out.
type Execution struct {
	Command   vaultmesh.CommandID
	Twin      vaultmesh.TwinID
	Name      string
	Code      string
	Delivered int // times that it crossed the wire
	Executed  int // times that the device's own logic was asked to act
}

// Fleet plays the devices of a grid: they publish every twin at a steady rate, each over its own connection, and carry
// out commands. It records what was acknowledged. It is safe for concurrent use.
type Fleet struct {
	devices map[vaultmesh.DeviceID]*client.Client
	taps    map[vaultmesh.DeviceID]*tap
	twins   map[vaultmesh.DeviceID][]vaultmesh.TwinID

	Sent    atomic.Int64 // messages handed to the clients
	Acked   atomic.Int64
	Refused atomic.Int64

	mu       sync.Mutex
	world    *World
	messages []Message
	commands map[vaultmesh.CommandID]*Execution
	refusals []string

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Enrol makes certificates for the devices with the CA of a dev node's data folder; they are kept below out.
func Enrol(t testing.TB, data, out string, devices ...vaultmesh.DeviceID) {
	t.Helper()
	set := map[vaultmesh.DeviceID]bool{}
	for _, d := range devices {
		set[d] = true
	}
	if err := node.EnrolDevices(data, out, set); err != nil {
		t.Fatal(err)
	}
}

// DeviceTLS is the configuration with which a device of the folder connects.
func DeviceTLS(t testing.TB, certs string, d vaultmesh.DeviceID) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(certs, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "device-"+string(d)+".crt"), filepath.Join(certs, "device-"+string(d)+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: ca, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// StartFleet connects all devices of the grid to the broker at addr and publishes every twin once in each period until
// Close. The certificates are made from data.
func StartFleet(t testing.TB, grid, data, dir, addr string, period time.Duration) *Fleet {
	t.Helper()
	w, err := NewWorld(grid)
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{world: w, devices: map[vaultmesh.DeviceID]*client.Client{}, taps: map[vaultmesh.DeviceID]*tap{}, twins: map[vaultmesh.DeviceID][]vaultmesh.TwinID{},
		commands: map[vaultmesh.CommandID]*Execution{}}
	for _, d := range w.Twins {
		f.twins[d.Device] = append(f.twins[d.Device], d.ID)
	}
	all := slices.Sorted(maps.Keys(f.twins))
	certs := filepath.Join(dir, "certs")
	Enrol(t, data, certs, all...)
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	t.Cleanup(f.Close)
	for _, id := range all {
		if f.taps[id], err = newTap(addr, DeviceTLS(t, certs, id), f.crossed); err != nil {
			t.Fatal(err)
		}
	}
	dial, cancel := context.WithTimeout(ctx, Within)
	defer cancel()
	for _, id := range all {
		c, err := client.Dial(dial, client.Config{Addr: f.taps[id].l.Addr().String(), DeviceID: id, Window: 256, MinBackoff: 20 * time.Millisecond, MaxBackoff: 150 * time.Millisecond})
		if err != nil {
			t.Fatalf("%s cannot connect: %v", id, err)
		}
		f.devices[id] = c
		c.Handle(f.execute)
	}
	for _, id := range all {
		f.wg.Go(func() { f.publish(ctx, id, period) })
	}
	return f
}

// crossed counts a command on the wire. The line breaks after the first delivery of every sixth command.
func (f *Fleet) crossed(id vaultmesh.CommandID) (cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.execution(id)
	x.Delivered++
	return x.Delivered == 1 && len(f.commands)%6 == 0
}

// execution returns the record of a command; f.mu is held.
func (f *Fleet) execution(id vaultmesh.CommandID) *Execution {
	x := f.commands[id]
	if x == nil {
		x = &Execution{Command: id}
		f.commands[id] = x
	}
	return x
}

// execute is the devices' own logic. The client asks it once for each command that it has not answered before.
func (f *Fleet) execute(cmd client.Command) client.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.world.Apply(cmd)
	x := f.execution(cmd.ID)
	x.Twin, x.Name, x.Code = cmd.Twin, cmd.Name, r.Code
	x.Executed++
	return r
}

// publish sends every twin of a device once in each period.
func (f *Fleet) publish(ctx context.Context, d vaultmesh.DeviceID, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	var last time.Time
	for {
		for _, id := range f.twins[d] {
			// One time is one message: the source's clock must move on.
			now := time.Now().UTC().Truncate(time.Microsecond)
			if !now.After(last) {
				now = last.Add(time.Microsecond)
			}
			last = now
			if f.Publish(ctx, d, id, now) != nil {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Publish sends the present values of one twin and records the acknowledgement.
func (f *Fleet) Publish(ctx context.Context, d vaultmesh.DeviceID, id vaultmesh.TwinID, at time.Time) error {
	f.mu.Lock()
	v := f.world.Measure(id)
	f.mu.Unlock()
	payload, err := json.Marshal(struct {
		T string `json:"t"`
		Values
	}{at.Format("2006-01-02T15:04:05.000000Z"), v})
	if err != nil {
		return err
	}
	m := Message{Twin: id, Time: at, Values: make(map[string]string, len(v.Telemetry)+len(v.Properties))}
	for _, values := range []map[string]json.RawMessage{v.Telemetry, v.Properties} {
		for name, raw := range values {
			m.Values[name] = string(raw)
		}
	}
	f.Sent.Add(1)
	err = f.devices[d].Publish(ctx, id, payload, func(err error) {
		switch {
		case err == nil:
			f.mu.Lock()
			f.messages = append(f.messages, m)
			f.mu.Unlock()
			f.Acked.Add(1)
		case vaultmesh.KindOf(err) == vaultmesh.Unavailable: // the client was closed: nobody knows
			f.Sent.Add(-1)
		default:
			f.Refused.Add(1)
			f.mu.Lock()
			f.refusals = append(f.refusals, fmt.Sprintf("%s: %v", id, err))
			f.mu.Unlock()
		}
	})
	if err != nil {
		f.Sent.Add(-1)
	}
	return err
}

// Cut drops the connection of a device as a network would.
func (f *Fleet) Cut(d vaultmesh.DeviceID) { f.taps[d].cut() }

// Devices are the identifiers of the fleet, in order.
func (f *Fleet) Devices() []vaultmesh.DeviceID { return slices.Sorted(maps.Keys(f.twins)) }

// Messages returns the acknowledged messages from the given one on, in order of their acknowledgement.
func (f *Fleet) Messages(from int) []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.messages[from:])
}

// Executions returns what is known of each command that crossed the wire.
func (f *Fleet) Executions() []Execution {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Execution, 0, len(f.commands))
	for _, x := range f.commands {
		out = append(out, *x)
	}
	return out
}

// Refusals are the reasons of refused messages.
func (f *Fleet) Refusals() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.refusals)
}

// World calls fn with the grid as it is now.
func (f *Fleet) World(fn func(*World)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(f.world)
}

// Quiet stops publishing and waits until no message is without an answer.
func (f *Fleet) Quiet(t testing.TB) {
	t.Helper()
	f.stop()
	f.wg.Wait()
	Eventually(t, "every message is answered", func() bool { return f.Acked.Load()+f.Refused.Load() == f.Sent.Load() })
}

// Close stops publishing and disconnects the devices.
func (f *Fleet) Close() {
	f.stop()
	f.wg.Wait()
	for _, c := range f.devices {
		c.Close()
	}
	for _, p := range f.taps {
		if p != nil {
			p.close()
		}
	}
}
