package pgdt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
)

// fleet is the world and the stations around it.
type fleet struct {
	cfg      *Config
	stations []*station    // ascending by device
	at       []*station    // parallel to world.points
	acked    atomic.Uint64 // messages that the node acknowledged

	mu     sync.Mutex // guards world (but its points, which never change) and memory
	world  *world
	memory memory
	dead   int  // buses that were dead after the last step
	lost   bool // the last step had no solution
}

// Run simulates until ctx ends, and then returns nil. An error means that the fleet could not start: Invalid (the
// configuration), Corrupt (the state file), Denied (a device is not admitted), or those of powerflow. A node that is
// away is no error: the stations come back when it does.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.normalise(); err != nil {
		return err
	}
	f, err := newFleet(&cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer f.close()
	if err := f.connect(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	cfg.Ready(Ready{Ready: true, Case: cfg.Case.Name, Devices: len(f.stations), Twins: len(f.world.points),
		StepMS: float64(cfg.Step) / float64(time.Millisecond), Rate: f.rate()})
	var wg sync.WaitGroup
	for _, s := range f.stations {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Go(func() { f.pace(ctx) })
	f.physics(ctx)
	wg.Wait()
	cfg.Logger.Info("the fleet stopped", "acknowledged", f.acked.Load())
	return nil
}

func newFleet(cfg *Config) (*fleet, error) {
	w, err := newWorld(cfg)
	if err != nil {
		return nil, err
	}
	f := &fleet{cfg: cfg, world: w, memory: memory{limit: maxRemembered, commands: map[vaultmesh.CommandID]answered{}}}
	if err := f.load(); err != nil {
		return nil, err
	}
	f.dead = w.sol.DeadBuses
	byDevice := map[vaultmesh.DeviceID]*station{}
	f.at = make([]*station, len(w.points))
	for i, p := range w.points {
		s := byDevice[p.device]
		if s == nil {
			s = &station{fleet: f, device: p.device, wake: make(chan struct{}, 1), byPt: map[int]int{}}
			byDevice[p.device] = s
			f.stations = append(f.stations, s)
		}
		s.byPt[i] = len(s.slots)
		s.slots = append(s.slots, slot{point: i})
		f.at[i] = s
	}
	sort.Slice(f.stations, func(i, k int) bool { return f.stations[i].device < f.stations[k].device })
	return f, nil
}

// dialAtOnce bounds the connections that are opened side by side: each is a TLS handshake.
const dialAtOnce = 16

// connect opens all connections; the first failure ends the others.
func (f *fleet) connect(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	room := make(chan struct{}, dialAtOnce)
	for _, s := range f.stations {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			// One message for each twin and the answers to commands: a publish never waits for room.
			l, err := f.cfg.dial(ctx, s.device, len(s.slots)+answerWindow, s.connection)
			if err != nil {
				once.Do(func() { first = err; stop() })
				return
			}
			s.link = l
			l.Handle(s.command)
		})
	}
	wg.Wait()
	return first
}

const answerWindow = 64

func (f *fleet) close() {
	var wg sync.WaitGroup
	for _, s := range f.stations {
		if s.link != nil {
			wg.Go(s.link.Close)
		}
	}
	wg.Wait()
}

// physics steps the world until ctx ends.
func (f *fleet) physics(ctx context.Context) {
	t := time.NewTicker(f.cfg.Step)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f.step(f.cfg.Step)
		}
	}
}

// step moves the world on by dt, and tells when it lost or found its solution and when buses died or came back.
func (f *fleet) step(dt time.Duration) {
	f.mu.Lock()
	err := f.world.step(dt)
	dead, was := f.world.sol.DeadBuses, f.dead
	lost := err != nil
	turned := lost != f.lost
	f.dead, f.lost = dead, lost
	f.mu.Unlock()
	if turned && lost {
		f.cfg.Logger.Error("the grid has no solution: the last state is kept and measurements are questionable", "error", err)
	} else if turned {
		f.cfg.Logger.Info("the grid has a solution again")
	}
	if dead != was {
		f.cfg.Logger.Warn("the number of dead buses changed", "before", was, "now", dead)
		f.at[0].changed(0)
	}
}

// rate returns the number of telemetry messages a second.
func (f *fleet) rate() float64 {
	if f.cfg.Rate > 0 {
		return f.cfg.Rate
	}
	return float64(len(f.world.points)) / f.cfg.Step.Seconds()
}

// paceEvery is how finely the messages are spread over time.
const paceEvery = 10 * time.Millisecond

// pace lets each twin speak in turn, evenly over time rather than all at once at each step.
func (f *fleet) pace(ctx context.Context) {
	t := time.NewTicker(paceEvery)
	defer t.Stop()
	rate, started, done, next := f.rate(), f.cfg.Now(), 0.0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		owed := f.cfg.Now().Sub(started).Seconds()*rate - done
		n := min(int(owed), len(f.world.points))
		if n <= 0 {
			continue
		}
		done += float64(n)
		if owed > 2*float64(len(f.world.points)) {
			// After a pause of the process there is no use in saying everything several times.
			done += owed - float64(n)
		}
		for range n {
			f.at[next].due(next)
			next = (next + 1) % len(f.world.points)
		}
	}
}

// message makes the message of a point from the state of this moment.
func (f *fleet) message(point int, at time.Time, seq uint16, telemetry, properties bool) (vaultmesh.TwinID, []byte) {
	var readings [8]reading
	var props [4]property
	f.mu.Lock()
	defer f.mu.Unlock()
	r, p := readings[:0], props[:0]
	if telemetry {
		r = f.world.measure(point, r)
	}
	if properties {
		p = f.world.report(point, p)
	}
	return f.world.points[point].id, encode(at, seq, r, p, f.world.stale != nil)
}

// command carries out one command for a device, at most once for each identifier: it is remembered, with its answer,
// before the answer goes out, and on disk where a state file is configured.
func (f *fleet) command(device vaultmesh.DeviceID, cmd client.Command) client.Response {
	now := f.cfg.Now()
	f.mu.Lock()
	r, moved := f.commandLocked(device, cmd, now)
	f.mu.Unlock()
	f.cfg.Logger.Info("command", "device", device, "twin", cmd.Twin, "command", cmd.Name, "id", cmd.ID, "ok", r.OK, "code", r.Code)
	for _, i := range moved {
		f.at[i].changed(i)
		f.at[i].due(i)
	}
	return r
}

func (f *fleet) commandLocked(device vaultmesh.DeviceID, cmd client.Command, now time.Time) (client.Response, []int) {
	if r, ok := f.memory.find(cmd.ID, device); ok {
		return r, nil
	}
	if !now.Before(cmd.Expires) {
		return client.Response{Code: codeExpired, Detail: "the command has expired", Time: now}, nil
	}
	if !f.memory.room(now) {
		return client.Response{Code: codeBusy, Detail: "too many commands wait for their expiry", Time: now}, nil
	}
	o := f.world.apply(device, cmd)
	r := o.response()
	r.Time = now
	f.memory.commands[cmd.ID] = answered{Device: device, Expires: cmd.Expires, OK: r.OK, Code: r.Code, Detail: r.Detail, Time: now}
	if err := f.save(); err != nil {
		o.undo()
		delete(f.memory.commands, cmd.ID)
		f.cfg.Logger.Error("a command was not carried out: it could not be remembered", "id", cmd.ID, "error", err)
		return client.Response{Code: codeStorage, Detail: "the device cannot keep its state; nothing was done", Time: now}, nil
	}
	return r, o.moved
}

// connect is the dialer of a real fleet.
func (c *Config) connect(ctx context.Context, device vaultmesh.DeviceID, window int, onState func(bool, error)) (link, error) {
	cc := client.Config{Addr: c.Addr, DeviceID: device, Window: window, OnState: onState, Logger: c.Logger, Now: c.Now}
	if c.CertDir != "" {
		conf, err := c.identity(device)
		if err != nil {
			return nil, err
		}
		cc.TLS = conf
	} else {
		token, ok := c.Tokens[device]
		if !ok {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, "pgdt.connect", string(device), "there is no token for this device").WithFix("enrol it")
		}
		cc.Token = token
	}
	l, err := client.Dial(ctx, cc)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// identity reads the certificate of a device and the authority that it trusts for the node.
func (c *Config) identity(device vaultmesh.DeviceID) (*tls.Config, error) {
	const op = "pgdt.identity"
	ca, err := os.ReadFile(filepath.Join(c.CertDir, "ca.crt"))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.CertDir, "cannot read ca.crt").Because(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.CertDir, "ca.crt holds no certificate")
	}
	base := filepath.Join(c.CertDir, "device-"+string(device))
	cert, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, string(device), "cannot read %s.crt and .key", base).Because(err).WithFix("enrol the device at the node")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{cert}, Time: c.Now}, nil
}
