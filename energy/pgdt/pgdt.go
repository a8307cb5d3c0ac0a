// Package pgdt owns the simulated fleet: the physical truth of a power grid that nobody governs but its own devices.
// It runs as a process of its own, solves the grid step by step, and speaks to a node as a fleet of real substations
// would: MQTT 5 only, one connection for each substation and one for the control center, each with its own identity.
// It is on floor 4.
//
// It must not know the node: not its store, not its gate, not the simulator that judges commands (package energy). The
// two share the names of package grid and the power flow, never a state.
//
// The physics, and where it is simple on purpose:
//
//   - Steps of quasi-steady state (default 500 ms): AC power flow by package powerflow; no electromagnetic transients.
//   - Demand follows a daily curve with a small mean-reverting random walk for each load; see [Demand].
//   - Generators move to their set-point at a ramp rate; the slack unit gives what is missing, as long as it takes.
//   - Frequency follows the imbalance by one equivalent machine with droop and slow secondary control; see frequency.
//   - A part without a generator in service is dead and reports zero voltage and zero flows.
//   - Where a step has no solution, the last one stays, every measurement is marked questionable, and the log says so.
//   - Measurements carry Gaussian noise, clipped at four standard deviations; see [Noise].
//
// Positions and set-points change at once when commanded and are reported at once; only power ramps.
package pgdt

import (
	"context"
	"log/slog"
	"math"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device/client"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// Demand describes how the load of the grid moves. A zero field means its default; a negative one means none.
//
// The factor on every nominal load is 1 + Amplitude·(s(h) - s(StartHour)), s(h) = -0.7·cos(2π(h-4)/24) -
// 0.3·cos(4π(h-2)/24): a night valley at about 3 h, a plateau by day, an evening peak; so a run starts at the
// nominal state. On it comes a walk for each load, an Ornstein-Uhlenbeck process.
type Demand struct {
	Amplitude float64       // of the daily curve, fraction of the nominal load; default 0.05
	StartHour float64       // hour of the day at which a run starts, 0..24; default 10
	Speed     float64       // simulated seconds of the daily curve in a second; default 1
	Walk      float64       // standard deviation of the walk, fraction; default 0.005
	WalkTime  time.Duration // its correlation time; default 60 s
}

// Noise is the standard deviation of measurements; clipped at four of them. A zero field means its default; a negative
// one means none.
type Noise struct {
	Power     float64 // fraction of the value; default 0.002
	Voltage   float64 // fraction of the value; default 0.0005
	Angle     float64 // degrees; default 0.01
	Frequency float64 // Hz; default 0.001
}

// Config of a fleet. Case, Addr and either CertDir or Tokens are required.
type Config struct {
	Case *powerflow.Case // the truth at the start; package grid ships some
	Addr string          // host:port of the node's MQTT listener

	// CertDir holds ca.crt and, for each device, device-<id>.crt and device-<id>.key, in PEM: MQTT over TLS.
	CertDir string
	// Tokens authenticate the devices over plain TCP, for the dev profile; unused where CertDir is set.
	Tokens map[vaultmesh.DeviceID]string

	Step time.Duration // of the physics; default 500 ms, 10 ms..1 min
	// Rate is the number of telemetry messages a second over all twins, for benchmarks, up to 100,000; 0 means each
	// twin once a step. A twin that waits for an acknowledgement is passed over, so a slow node gets fewer. Below one
	// message for each twin in ten seconds a node takes the data for stale.
	Rate float64
	// Seed of demand and noise. The truth of step n follows from it alone; which reading gets which noise depends on
	// the order in which the twins happen to speak.
	Seed   uint64
	Demand Demand
	Noise  Noise
	// Ramp is the rate at which generators move, as a fraction of pMax in a second, at least 1 MW/s; default 0.02.
	Ramp float64
	// NominalHz is the nominal frequency; default 60, since the IEEE cases are American.
	NominalHz float64
	// StateFile keeps positions, set-points and answered commands over a restart; "" means that they are forgotten,
	// and a command that is repeated after a restart acts again.
	StateFile string

	// Ready is called once when every device is connected; the command prints it as one line of JSON.
	Ready  func(Ready)
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard

	// dial replaces the connection in tests.
	dial dialer
}

// Ready is what a fleet says when all of its devices are connected.
type Ready struct {
	Ready   bool    `json:"ready"`
	Case    string  `json:"case"`
	Devices int     `json:"devices"`
	Twins   int     `json:"twins"`
	StepMS  float64 `json:"step_ms"`
	Rate    float64 `json:"rate"` // telemetry messages a second
}

// link is one device's connection; *client.Client is one.
type link interface {
	Publish(ctx context.Context, twin vaultmesh.TwinID, payload []byte, acked func(error)) error
	Handle(func(client.Command) client.Response)
	Close()
}

// dialer connects one device; onState is told when the connection comes and goes.
type dialer func(ctx context.Context, device vaultmesh.DeviceID, window int, onState func(up bool, err error)) (link, error)

func orDefault(v, def float64) float64 {
	switch {
	case v == 0:
		return def
	case v < 0:
		return 0
	}
	return v
}

// normalise fills the defaults and checks the ranges.
func (c *Config) normalise() error {
	const op = "pgdt.config"
	if c.Case == nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "case", "there is no case").WithFix("name one of the shipped cases")
	}
	if c.Step == 0 {
		c.Step = 500 * time.Millisecond
	}
	if c.Step < 10*time.Millisecond || c.Step > time.Minute {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "step", "%s is outside 10ms..1m", c.Step)
	}
	c.Demand.Amplitude = orDefault(c.Demand.Amplitude, 0.05)
	c.Demand.StartHour = orDefault(c.Demand.StartHour, 10)
	c.Demand.Speed = orDefault(c.Demand.Speed, 1)
	c.Demand.Walk = orDefault(c.Demand.Walk, 0.005)
	if c.Demand.WalkTime <= 0 {
		c.Demand.WalkTime = time.Minute
	}
	c.Noise.Power = orDefault(c.Noise.Power, 0.002)
	c.Noise.Voltage = orDefault(c.Noise.Voltage, 0.0005)
	c.Noise.Angle = orDefault(c.Noise.Angle, 0.01)
	c.Noise.Frequency = orDefault(c.Noise.Frequency, 0.001)
	c.Ramp = orDefault(c.Ramp, 0.02)
	c.NominalHz = orDefault(c.NominalHz, 60)
	for _, b := range []struct {
		name   string
		v      float64
		lo, hi float64
	}{
		{"rate", c.Rate, 0, 100_000}, {"amplitude", c.Demand.Amplitude, 0, 1}, {"start hour", c.Demand.StartHour, 0, 24},
		{"speed", c.Demand.Speed, 0, 1e6}, {"walk", c.Demand.Walk, 0, 0.2}, {"power noise", c.Noise.Power, 0, 0.2},
		{"voltage noise", c.Noise.Voltage, 0, 0.1}, {"angle noise", c.Noise.Angle, 0, 10}, {"frequency noise", c.Noise.Frequency, 0, 1},
		{"ramp", c.Ramp, 0, 100}, {"nominal frequency", c.NominalHz, 1, 1000},
	} {
		if math.IsNaN(b.v) || b.v < b.lo || b.v > b.hi {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, b.name, "%g is outside %g..%g", b.v, b.lo, b.hi)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Ready == nil {
		c.Ready = func(Ready) {}
	}
	if c.dial == nil {
		if c.Addr == "" {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "addr", "the node's MQTT address is missing").WithFix("give host:port")
		}
		if c.CertDir == "" && len(c.Tokens) == 0 {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "certificates", "there are neither certificates nor tokens for the devices").
				WithFix("give the folder of the device certificates, or tokens in the dev profile")
		}
		c.dial = c.connect
	}
	return nil
}
