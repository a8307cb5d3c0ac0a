// Package demo owns the small world that `vaultmesh run` keeps and `vaultmesh demo` tells a story in: a node, a
// time-stamp authority and a simulated grid, each a process of its own, on loopback. It is on floor 7.
//
// It must not know anything that an outside user could not know: it speaks to the node through its public faces only.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/pgdt"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/whatif"
)

// Options of a world.
type Options struct {
	Bin   string        // the vaultmesh program
	Dir   string        // everything is kept below it: data, logs of the processes, certificates of the grid
	Data  string        // data folder of the node; default <Dir>/data
	Case  string        // grid; default ieee118
	Step  time.Duration // of the grid's physics; default 500 ms
	Rate  float64       // telemetry messages a second; 0: each twin once a step
	Speed float64       // of the daily load curve; default 1
	HTTP  string        // address of the node; default a free port of 127.0.0.1
	MQTT  string        // address of the broker; default a free port of 127.0.0.1
	Env   []string      // more environment of the node
	Log   string        // least level of the processes' log lines; default info
}

// World is a running world. Its methods are for one goroutine.
type World struct {
	o         Options
	config    string
	tsa, grid *process
	node      *process
	Node      NodeReady
	Grid      pgdt.Ready
	TSA       TSAReady
}

// NodeReady is the first line of `vaultmesh serve`.
type NodeReady struct {
	Ready  bool             `json:"ready"`
	Domain vaultmesh.Domain `json:"domain"`
	HTTP   string           `json:"http"`
	MQTT   string           `json:"mqtt"`
	Data   string           `json:"data"`
}

// TSAReady is the first line of `vaultmesh tsa`.
type TSAReady struct {
	Ready bool   `json:"ready"`
	URL   string `json:"url"`
	Roots string `json:"roots"`
}

// startWithin bounds the start of one process.
const startWithin = 30 * time.Second

// Start starts the three processes in their order. On an error everything that was started is stopped again.
func Start(ctx context.Context, o Options) (_ *World, err error) {
	if o.Case == "" {
		o.Case = "ieee118"
	}
	if o.Step <= 0 {
		o.Step = 500 * time.Millisecond
	}
	if o.Speed <= 0 {
		o.Speed = 1
	}
	if o.Log == "" {
		o.Log = "info"
	}
	if o.Data == "" {
		o.Data = filepath.Join(o.Dir, "data")
	}
	w := &World{o: o}
	defer func() {
		if err != nil {
			w.Stop()
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "demo.start", o.Dir, "cannot create the folder").Because(err)
	}
	if err := w.launch(ctx, &w.tsa, "tsa", nil, &w.TSA, "tsa", "--dir", filepath.Join(o.Dir, "tsa")); err != nil {
		return nil, err
	}
	if w.config, err = w.writeConfig(); err != nil {
		return nil, err
	}
	if err := w.StartNode(ctx); err != nil {
		return nil, err
	}
	certs, err := w.enrol()
	if err != nil {
		return nil, err
	}
	args := []string{"--log-level", o.Log, "grid", "--case", o.Case, "--addr", w.Node.MQTT, "--certs", certs, "--step", o.Step.String(),
		"--speed", fmt.Sprint(o.Speed), "--rate", fmt.Sprint(o.Rate), "--state-file", filepath.Join(o.Dir, "grid.json")}
	return w, w.launch(ctx, &w.grid, "grid", nil, &w.Grid, args...)
}

func (w *World) launch(ctx context.Context, p **process, name string, env []string, ready any, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var err error
	*p, err = launch(ctx, w.o.Dir, w.o.Bin, name, env, ready, args...)
	return err
}

// writeConfig writes the node's configuration file with addresses that stay the same over restarts.
func (w *World) writeConfig() (string, error) {
	c := node.Defaults("dev")
	c.Data, c.Grid.Case = w.o.Data, w.o.Case
	c.HTTP.Listen, c.MQTT.Listen = w.o.HTTP, w.o.MQTT
	for _, addr := range []*string{&c.HTTP.Listen, &c.MQTT.Listen} {
		if *addr != "" {
			continue
		}
		free, err := freeAddr()
		if err != nil {
			return "", err
		}
		*addr = free
	}
	c.Timestamps.URL, c.Timestamps.Roots = w.TSA.URL, w.TSA.Roots
	b, err := yaml.Marshal(c)
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Internal, "demo.config", "", "cannot encode").Because(err)
	}
	path := filepath.Join(w.o.Dir, "vaultmesh.yaml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, "demo.config", path, "cannot write").Because(err)
	}
	return path, nil
}

// freeAddr returns a port of 127.0.0.1 that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, "demo.config", "127.0.0.1", "no free port").Because(err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// enrol makes the certificates of the grid's devices.
func (w *World) enrol() (string, error) {
	kase, err := grid.Load(w.o.Case)
	if err != nil {
		return "", err
	}
	devices := map[vaultmesh.DeviceID]bool{}
	for _, d := range grid.Twins(kase) {
		devices[d.Device] = true
	}
	certs := filepath.Join(w.o.Dir, "grid-certs")
	return certs, node.EnrolDevices(w.o.Data, certs, devices)
}

// StartNode starts the node, or starts it again after [World.KillNode].
func (w *World) StartNode(ctx context.Context) error {
	return w.launch(ctx, &w.node, "node", w.o.Env, &w.Node, "--log-level", w.o.Log, "serve", "--config", w.config)
}

// KillNode ends the node as a crash would (SIGKILL).
func (w *World) KillNode() { w.node.kill() }

// Ended returns the name of a process that has ended, or "".
func (w *World) Ended() string {
	for _, p := range []*process{w.tsa, w.node, w.grid} {
		select {
		case <-p.done:
			return p.name + ": " + p.lastWords()
		default:
		}
	}
	return ""
}

// Measured waits until every part of the grid has reported, which a simulation needs.
func (w *World) Measured(ctx context.Context, c *httpapi.Client) error {
	kase, err := grid.Load(w.o.Case)
	if err != nil {
		return err
	}
	ask := control.Proposal{Twin: grid.GenID(kase.Gens[0].Bus, 0), Command: grid.Connect}
	return poll(ctx, func() (bool, error) {
		v, err := c.Simulate(ctx, ask, false)
		return err == nil && v.Outcome != whatif.Refused, err
	})
}

// poll asks until done, twenty times a second, as long as ctx holds.
func poll(ctx context.Context, done func() (bool, error)) error {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		ok, err := done()
		if err != nil && !vaultmesh.KindOf(err).Retryable() {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-t.C:
		}
	}
}

// Credential is the path of one of the dev profile's credentials.
func (w *World) Credential(name string) string { return node.CredentialPath(w.o.Data, name) }

// Data is the node's data folder.
func (w *World) Data() string { return w.o.Data }

// Stop stops the processes in the reverse order of their start.
func (w *World) Stop() {
	w.grid.stop()
	w.node.stop()
	w.tsa.stop()
}
