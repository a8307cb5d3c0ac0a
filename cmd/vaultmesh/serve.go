package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/pgdt"
	"vaultmesh.org/vaultmesh/lawchain/anchor/tsa"
	"vaultmesh.org/vaultmesh/node"
)

type serveCmd struct {
	Config  string `help:"Configuration file (docs/configuration.md)." type:"existingfile" env:"VAULTMESH_CONFIG"`
	Profile string `help:"Profile where the file names none: dev or prod." default:"prod" enum:"dev,prod"`
	Data    string `help:"Data folder, over the file and the environment."`
	HTTP    string `name:"http" help:"HTTP address, over the file and the environment." placeholder:"HOST:PORT"`
	MQTT    string `name:"mqtt" help:"MQTT address, over the file and the environment." placeholder:"HOST:PORT"`
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(a *app) error {
	cfg, err := node.LoadConfig(c.Config, c.Profile, os.Environ())
	if err != nil {
		return err
	}
	for _, o := range []struct {
		flag string
		key  *string
	}{{c.Data, &cfg.Data}, {c.HTTP, &cfg.HTTP.Listen}, {c.MQTT, &cfg.MQTT.Listen}} {
		if o.flag != "" {
			*o.key = o.flag
		}
	}
	n, err := node.Start(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	ready, err := json.Marshal(map[string]any{"ready": true, "domain": cfg.Domain, "http": n.URL(), "mqtt": n.MQTTAddr(), "data": cfg.Data})
	if err == nil {
		_, err = fmt.Fprintln(a.out, string(ready))
	}
	if err != nil {
		_ = n.Close()
		return err
	}
	select {
	case <-a.ctx.Done():
		return n.Close()
	case err := <-n.Failed():
		_ = n.Close()
		return err
	}
}

type tsaCmd struct {
	Listen string `help:"Address." default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	Dir    string `help:"Folder that keeps the authority's keys and root." required:"" type:"path"`
}

// Run answers timestamp requests until it is told to stop. The authority is for development: its root vouches for
// nobody but its owner.
func (c *tsaCmd) Run(a *app) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "tsa", c.Dir, "cannot create the folder").Because(err)
	}
	authority, err := c.authority()
	if err != nil {
		return err
	}
	roots := filepath.Join(c.Dir, "roots.pem")
	if err := os.WriteFile(roots, authority.RootPEM(), 0o644); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "tsa", roots, "cannot write").Because(err)
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "tsa", c.Listen, "cannot listen").Because(err)
	}
	if err := ready(a, map[string]any{"ready": true, "url": "http://" + l.Addr().String(), "roots": roots}); err != nil {
		return err
	}
	return tsa.Serve(a.ctx, l, authority)
}

func (c *tsaCmd) authority() (*tsa.Authority, error) {
	path := filepath.Join(c.Dir, "authority.pem")
	if b, err := os.ReadFile(path); err == nil {
		return tsa.ParseAuthority(b, time.Now)
	}
	authority, err := tsa.NewAuthority(time.Now)
	if err != nil {
		return nil, err
	}
	b, err := authority.PEM()
	if err != nil {
		return nil, err
	}
	return authority, node.WriteSecret(path, b)
}

// ready prints the one line by which a process says that it works.
func ready(a *app, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, string(b))
	return err
}

type gridCmd struct {
	Case      string        `help:"Grid: ${enum}." enum:"ieee14,ieee30,ieee118" default:"ieee118"`
	Addr      string        `help:"The node's MQTT address." required:"" placeholder:"HOST:PORT"`
	Certs     string        `help:"Folder with ca.crt and a certificate for each device." required:"" type:"existingdir"`
	Step      time.Duration `help:"Time between two steps of the physics." default:"500ms"`
	Rate      float64       `help:"Telemetry messages a second over all twins; 0: each twin once a step."`
	Speed     float64       `help:"Seconds of the daily load curve in a second." default:"1"`
	Seed      uint64        `help:"Seed of load and measurement noise." default:"1"`
	StateFile string        `help:"File that keeps switch positions and answered commands over a restart." type:"path"`
}

// Run simulates the grid until it is told to stop.
func (c *gridCmd) Run(a *app) error {
	kase, err := grid.Load(c.Case)
	if err != nil {
		return err
	}
	return pgdt.Run(a.ctx, pgdt.Config{Case: kase, Addr: c.Addr, CertDir: c.Certs, Step: c.Step, Rate: c.Rate, Seed: c.Seed, StateFile: c.StateFile,
		Demand: pgdt.Demand{Speed: c.Speed}, Logger: a.log, Ready: func(r pgdt.Ready) { _ = ready(a, r) }})
}

type enrolCmd struct {
	Data    string   `help:"Data folder of a dev node." required:"" type:"path"`
	Out     string   `help:"Folder that gets ca.crt and device-<id>.crt and .key." required:"" type:"path"`
	Devices []string `arg:"" help:"Devices; with --case, all devices of a grid." optional:""`
	Case    string   `help:"All devices of a grid."`
}

// Run makes certificates with the dev node's CA and copies them, without the CA's key, to where the devices are.
func (c *enrolCmd) Run(a *app) error {
	devices := map[vaultmesh.DeviceID]bool{}
	for _, d := range c.Devices {
		devices[vaultmesh.DeviceID(d)] = true
	}
	if c.Case != "" {
		kase, err := grid.Load(c.Case)
		if err != nil {
			return err
		}
		for _, d := range grid.Twins(kase) {
			devices[d.Device] = true
		}
	}
	if len(devices) == 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "enrol", "", "no device is named").WithFix("name devices, or a grid with --case")
	}
	if err := node.EnrolDevices(c.Data, c.Out, devices); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%d certificates in %s\n", len(devices), strings.TrimSuffix(c.Out, "/"))
	return err
}
