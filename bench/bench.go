// Package bench owns the measurements of VaultMesh: what it does, each beside a floor or a peer that is measured in the
// same run on the same machine, with a check that the work was really done. It is on floor 7.
//
// It must not know anything that only a benchmark could use: it drives the parts through the interfaces that a node
// uses. Everything happens in temporary folders, which are removed, and on loopback, which nobody else reaches.
//
// Machines and neighbours change, so a figure alone says little: each is printed with its ratio to the floor.
package bench

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Options of a run. The zero value measures as `vaultmesh bench` does.
type Options struct {
	Dir string        // where the temporary folders are made, which decides the disk; default os.TempDir
	For time.Duration // length of each measured section, 50 ms..10 min; default 5 s

	Connections int     // of ingest, 1..4000; default 100
	Window      int     // unacknowledged messages of each connection of ingest, 1..256; default 16
	Rate        float64 // telemetry messages a second under the control loop, 1..50,000; default 1000
	Submitters  int     // of receipts, 1..4096; default 1024

	Binary    string // the vaultmesh program, for a simulated grid of its own process; empty: in this process
	Mosquitto string // the peer of ingest; empty: looked up on PATH
	Tessera   string // the peer of receipts; empty: bench-tessera beside this program, else built from source in the working folder
	Profile   string // folder that gets a CPU profile of each measured section; empty: none
	Log       *slog.Logger
}

// runner measures one thing in a folder of its own.
type runner func(ctx context.Context, o Options) (*Result, error)

// runners by name, in the order of "all".
var runners = []struct {
	name string
	run  runner
}{
	{"powerflow", powerFlow},
	{"receipts", receipts},
	{"ingest", ingest},
	{"loop", loop},
}

// Names returns what can be measured, in the order in which all of them are.
func Names() []string {
	var out []string
	for _, r := range runners {
		out = append(out, r.name)
	}
	return out
}

// Run measures one thing. An error means that there is no figure: Invalid for the name or an option, Corrupt where the
// check after the load finds that something acknowledged is missing, the context's error where it ended.
func Run(ctx context.Context, name string, o Options) (*Result, error) {
	const op = "bench"
	i := slices.Index(Names(), name)
	if i < 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, name, "no such benchmark").WithFix("use one of %s", strings.Join(Names(), ", "))
	}
	if err := o.normalise(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "vaultmesh-bench-*")
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, o.Dir, "cannot make a temporary folder").Because(err)
	}
	defer os.RemoveAll(dir)
	o.Dir = dir
	r, err := runners[i].run(ctx, o)
	if cause := ctx.Err(); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, name)
	}
	r.Machine = thisMachine()
	return r, nil
}

func (o *Options) normalise() error {
	if o.For == 0 {
		o.For = 5 * time.Second
	}
	if o.Connections == 0 {
		o.Connections = 100
	}
	if o.Window == 0 {
		o.Window = 16
	}
	if o.Rate == 0 {
		o.Rate = 1000
	}
	if o.Submitters == 0 {
		o.Submitters = 1024
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, b := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"seconds", o.For.Seconds(), 0.05, 600}, {"connections", float64(o.Connections), 1, 4000}, {"window", float64(o.Window), 1, 256},
		{"rate", o.Rate, 1, 50_000}, {"submitters", float64(o.Submitters), 1, 4096},
	} {
		if !(b.v >= b.lo && b.v <= b.hi) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "bench", b.name, "%g is outside %g..%g", b.v, b.lo, b.hi)
		}
	}
	return nil
}

// warmup is how long a section runs before it is measured.
func (o *Options) warmup() time.Duration { return min(o.For/4, 2*time.Second) }

// folder makes a folder for one part of a measurement.
func (o *Options) folder(name string) (string, error) {
	dir := filepath.Join(o.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, "bench", dir, "cannot make a folder").Because(err)
	}
	return dir, nil
}

// profiled runs f, with a CPU profile in <Profile>/<name>.cpu.pprof where one is asked for.
func (o *Options) profiled(name string, f func() error) error {
	if o.Profile == "" {
		return f()
	}
	path := filepath.Join(o.Profile, name+".cpu.pprof")
	file, err := os.Create(path)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "bench.profile", path, "cannot create").Because(err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(vaultmesh.Errorf(vaultmesh.Conflict, "bench.profile", path, "cannot profile").Because(err), file.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}
