// Package gate owns the decision whether a command may reach an asset: the stages, their order, and the reasons of a
// refusal. It is on floor 3.
//
// It must not know how a command is stored, counted or dispatched (control does), which protocol asked, or which
// profile (energy, fintech) the twins belong to: profiles pass in their hard limits as data, their policy as files
// and their physics as a whatif.Simulator.
//
// The stages are, in this order: capability, limits, policy, what-if, approval. The first no ends the assessment.
// Whatever goes wrong inside a stage (an error, a panic, time running out, a result of the wrong shape) is a no.
package gate

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/whatif"
)

// Options configure a [Gate]. Zero fields take the defaults stated.
type Options struct {
	// Domain is named in every challenge. Required.
	Domain vaultmesh.Domain
	// Limits are the hard limits, checked as [ParseLimits] does; nil refuses every command.
	Limits *Limits
	// Policy is the first policy, whose tests must pass; nil takes [DefaultPolicy].
	Policy PolicyFiles
	// Ancestors returns the models that a model extends, directly or not; nil: no model extends another.
	Ancestors func(model string) []string
	// Simulator predicts effects; nil: nothing can be simulated, so a command runs only where the policy accepts that.
	Simulator whatif.Simulator
	// Operators may approve; nil: nobody may.
	Operators *Operators
	// Revoked reports whether a block of a capability was revoked. Required, and safe for concurrent use.
	Revoked func(block vaultmesh.Digest) bool
	// PolicyTimeout bounds one policy decision, default 250 ms.
	PolicyTimeout time.Duration
	// SimulationTimeout bounds one simulation, default 5 s.
	SimulationTimeout time.Duration
	// MaxSimulations run at the same time, also those that overran their time; default 4. One more waits for its turn
	// within SimulationTimeout.
	MaxSimulations int
	// MaxViewAge is how old the cut of the twins may be, default 10 s.
	MaxViewAge time.Duration
	// Rand gives the nonces of challenges; default crypto/rand.Reader.
	Rand io.Reader
	// Log receives panics of stages; default: they are not logged. It never gets arguments or tokens.
	Log *slog.Logger
}

// Gate assesses commands. It is safe for concurrent use.
type Gate struct {
	opt    Options // fixed at creation
	policy atomic.Pointer[compiled]
	slots  chan struct{}  // one for each running simulation
	sims   sync.WaitGroup // the simulations that Close waits for
}

// New makes a gate. It fails where the limits are malformed, the policy does not compile or its tests do not pass.
func New(opt Options) (*Gate, error) {
	const op = "gate.new"
	if err := vaultmesh.CheckID("gate.new domain", string(opt.Domain)); err != nil {
		return nil, err
	}
	if opt.Revoked == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "revoked", "no way to ask for revocations").WithFix("set Options.Revoked")
	}
	if opt.Limits != nil {
		l := *opt.Limits // limits that a program built have not been through ParseLimits
		if err := l.check(); err != nil {
			return nil, err
		}
		opt.Limits = &l
	}
	opt.PolicyTimeout = orDefault(opt.PolicyTimeout, 250*time.Millisecond)
	opt.SimulationTimeout = orDefault(opt.SimulationTimeout, 5*time.Second)
	opt.MaxViewAge = orDefault(opt.MaxViewAge, 10*time.Second)
	opt.MaxSimulations = orDefault(opt.MaxSimulations, 4)
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	if opt.Operators == nil {
		opt.Operators = NewOperators()
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{opt: opt, slots: make(chan struct{}, opt.MaxSimulations)}
	if opt.Policy == nil {
		// The shipped policy cannot differ from the one whose tests the build ran, and a start is not the place to wait.
		p, err := compilePolicy(context.Background(), DefaultPolicy())
		if err != nil {
			return nil, vaultmesh.Wrap(err, op, "policy")
		}
		g.policy.Store(p)
		return g, nil
	}
	if err := g.SetPolicy(context.Background(), opt.Policy); err != nil {
		return nil, vaultmesh.Wrap(err, op, "policy")
	}
	return g, nil
}

func orDefault[T time.Duration | int](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Close waits for simulations that overran their time. No assessment may run or follow.
func (g *Gate) Close() { g.sims.Wait() }
