package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/device"
	"vaultmesh.org/vaultmesh/device/pki"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// caseName is the grid of the loop.
const caseName = "ieee118"

// world is a node's parts on the grid of 118 buses, with the simulated fleet at its MQTT edge.
type world struct {
	*truth
	root    ed25519.PrivateKey
	models  *dtdl.Set
	twins   *twin.Store
	gate    *gate.Gate
	control *control.Service
	broker  *device.Broker
	fleet   *fleet
	where   string // the fleet runs, for the reader
}

// newWorld wires the parts as a node does, and starts the fleet.
func newWorld(ctx context.Context, o Options) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	dir, err := o.folder("loop")
	if err != nil {
		return nil, err
	}
	if w.truth, err = openTruth(filepath.Join(dir, "journal"), false, o.Log); err != nil {
		return nil, err
	}
	if w.root, err = newKey(); err != nil {
		return nil, err
	}
	if w.models, err = dtdl.Parse(grid.Models(), dtdl.Options{}); err != nil {
		return nil, err
	}
	w.twins = twin.NewStore(twin.Options{Models: w.models, Now: time.Now})
	kase, err := grid.Load(caseName)
	if err != nil {
		return nil, err
	}
	defs := grid.Twins(kase)
	if err := w.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error { return w.twins.DefineAll(tx, defs) }); err != nil {
		return nil, err
	}
	if err := w.openControl(o); err != nil {
		return nil, err
	}
	store, err := pki.Open(filepath.Join(dir, "pki"), pki.Options{Rand: rand.Reader})
	if err != nil {
		return nil, err
	}
	for _, d := range defs {
		if _, err := store.Device(d.Device); err != nil {
			return nil, err
		}
	}
	w.broker, err = device.New(device.Options{TLSAddr: "127.0.0.1:0", TLS: store.ServerTLS(), Journal: w.journal, Log: w.log, Twins: w.twins,
		Source: node.Source{Control: w.control}, Devices: anyDevice{}, Domain: domain, Actor: "node:bench", Logger: o.Log})
	if err != nil {
		return nil, err
	}
	w.control.SetDispatcher(node.Dispatcher{Broker: w.broker})
	w.control.Start(context.WithoutCancel(ctx))
	w.fleet, w.where, err = startFleet(ctx, o, kase, w.broker.TLSAddr(), filepath.Join(dir, "pki"))
	return w, err
}

// openControl opens the gate with the shipped policy and the profile's limits, and the life of commands.
func (w *world) openControl(o Options) (err error) {
	isA := func(model, base string) bool { return w.models.IsA(model, base) }
	profile := energy.NewProfile(energy.Options{IsA: isA})
	w.gate, err = gate.New(gate.Options{Domain: domain, Limits: &profile.Limits, Ancestors: w.ancestors, Simulator: profile.Simulator, Operators: gate.NewOperators(),
		Revoked: func(b vaultmesh.Digest) bool { return control.Revoked(w.journal, b) }, Log: o.Log})
	if err != nil {
		return err
	}
	w.control, err = control.NewService(control.Options{
		Machine: &control.Machine{Domain: domain, Node: "node:bench", Log: w.log, Desired: w.twins, MaxOpen: 256},
		Journal: w.journal, Twins: w.twins, Gate: w.gate, CapabilityRoot: w.root.Public().(ed25519.PublicKey), Simulator: profile.Simulator,
		CheckArgs: w.checkArgs,
		Tolerance: func(model, name string, _ float64) float64 { t, _ := profile.Tolerance(model, name); return t },
		Now:       time.Now, Rand: rand.Reader, Log: o.Log,
	})
	return err
}

// ancestors returns the models that a model extends, directly or not.
func (w *world) ancestors(model string) []string {
	i, ok := w.models.Interface(model)
	if !ok {
		return nil
	}
	var out []string
	for _, e := range i.Extends() {
		out = append(append(out, e.ID()), w.ancestors(e.ID())...)
	}
	return out
}

func (w *world) checkArgs(model, name string, args json.RawMessage) error {
	if i, ok := w.models.Interface(model); ok {
		if c, ok := i.Command(name); ok && c.Request() != nil {
			return c.Request().Validate(args)
		}
	}
	return vaultmesh.Errorf(vaultmesh.Invalid, "bench.args", name, "the model %s has no such command with arguments", model)
}

// close stops everything in the order of a node, as far as it was started.
func (w *world) close() {
	if w.fleet != nil {
		w.fleet.stop()
	}
	if w.broker != nil {
		w.broker.Close()
	}
	if w.control != nil {
		w.control.Close()
	}
	if w.gate != nil {
		w.gate.Close()
	}
	if w.twins != nil {
		w.twins.Close()
	}
	if w.truth != nil {
		w.truth.close()
	}
}

// ready waits until every twin has reported, and returns who proposes and what can be moved.
func (w *world) ready(ctx context.Context) (control.Caller, []unit, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	watch := w.twins.Watch(1 << 14)
	defer watch.Close()
	for {
		units, missing := w.movable()
		if missing == "" && len(units) > 0 {
			agent, err := newHolder(w.root, "agent:bench", time.Now(), capability.Read, capability.Simulate, capability.Command)
			if err != nil {
				return control.Caller{}, nil, err
			}
			return control.Caller{Principal: agent.verified.Principal, Capability: &agent.verified, Token: agent.token, Key: agent.verified.Holder}, units, nil
		}
		if _, err := watch.Next(ctx); err != nil {
			return control.Caller{}, nil, vaultmesh.Errorf(vaultmesh.Unavailable, "bench.loop", missing, "the fleet has not reported it").Because(err)
		}
	}
}

// movable returns the generators that can be moved by a little, and a twin that has not reported yet.
func (w *world) movable() (units []unit, missing string) {
	w.twins.Snapshot().Each(func(t twin.Twin) bool {
		if len(t.Telemetry) == 0 { // a verdict needs every measured load
			missing = string(t.ID)
			return false
		}
		if t.Model != grid.ModelGenerator {
			return true
		}
		now, err := strconv.ParseFloat(string(t.Reported[grid.ActivePowerSetpoint].V), 64)
		most, err2 := strconv.ParseFloat(string(t.Nameplate[grid.PMax]), 64)
		if err != nil || err2 != nil {
			missing = string(t.ID)
			return false
		}
		step := min(1, most/100)
		if string(t.Nameplate[grid.SlackUnit]) == "true" || step <= 0 || now+step > most {
			return true
		}
		units = append(units, unit{twin: t.ID, at: [2]float64{now, now + step}})
		return true
	})
	return units, missing
}

// audit checks that each aligned command has its six receipts, in order and under the checkpoint.
func (w *world) audit(ctx context.Context, ids []vaultmesh.CommandID) (uint64, error) {
	n := uint64(0)
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		at, err := w.log.Subject(receipt.CommandSubject(id), 0, 2*len(steps))
		if err != nil {
			return 0, err
		}
		if len(at) != len(steps) {
			return 0, vaultmesh.Errorf(vaultmesh.Corrupt, "bench.audit", string(id), "%d receipts, want %d", len(at), len(steps))
		}
		for i, index := range at {
			envelope, err := w.log.Receipt(index)
			if err != nil {
				return 0, err
			}
			r, err := receipt.Open(envelope)
			if err == nil {
				err = r.CheckSignature(w.receipts.Public().(ed25519.PublicKey))
			}
			if err == nil && r.Kind != steps[i] {
				err = vaultmesh.Errorf(vaultmesh.Corrupt, "bench.audit", string(id), "receipt %d is %s, want %s", i, r.Kind, steps[i])
			}
			if err != nil {
				return 0, err
			}
			n++
		}
	}
	return n, nil
}
