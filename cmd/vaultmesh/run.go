package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/demo"
	"vaultmesh.org/vaultmesh/node"
)

type runCmd struct {
	Dir   string        `help:"Folder that keeps this world." type:"path"`
	Case  string        `help:"Grid: ${enum}." enum:"ieee14,ieee30,ieee118" default:"ieee118"`
	Step  time.Duration `help:"Time between two steps of the grid's physics." default:"500ms"`
	Speed float64       `help:"Seconds of the daily load curve in a second; 240: a day in six minutes." default:"60"`
	HTTP  string        `name:"http" help:"Address of the node." default:"127.0.0.1:8443" placeholder:"HOST:PORT"`
	MQTT  string        `name:"mqtt" help:"Address of the broker." default:"127.0.0.1:8883" placeholder:"HOST:PORT"`
}

// Run keeps a world running until Ctrl-C.
func (c *runCmd) Run(a *app) error {
	bin, err := os.Executable()
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "run", "", "this program cannot find itself").Because(err)
	}
	if c.Dir == "" {
		if c.Dir, err = node.DefaultDevData(); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "Starting a node, a time-stamp authority and the %s grid in %s …\n", c.Case, c.Dir)
	w, err := demo.Start(a.ctx, demo.Options{Bin: bin, Dir: c.Dir, Data: filepath.Join(c.Dir, "data"), Case: c.Case, Step: c.Step, Speed: c.Speed, HTTP: c.HTTP, MQTT: c.MQTT})
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := c.welcome(a, bin, w); err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-a.ctx.Done():
			fmt.Fprintln(a.out, "\nStopping; everything acknowledged is in", w.Data())
			return nil
		case <-ticker.C:
			if name := w.Ended(); name != "" {
				return vaultmesh.Errorf(vaultmesh.Unavailable, "run", "", "a process has ended: %s", name).WithFix("see the logs in %s", c.Dir)
			}
		}
	}
}

func (c *runCmd) welcome(a *app, bin string, w *demo.World) error {
	snippet, err := json.MarshalIndent(map[string]any{"mcpServers": map[string]any{"vaultmesh": map[string]any{
		"command": bin, "args": []string{"mcp", "--as", w.Credential(node.DevAgent)}}}}, "", "  ")
	if err != nil {
		return err
	}
	s := newSheet(a.out)
	s.space()
	s.fact("node", "%s (HTTPS, WebSocket, MCP at /mcp)", w.Node.HTTP)
	s.fact("devices", "%s (MQTT 3.1.1 and 5 over TLS; %d devices, %d twins)", w.Node.MQTT, w.Grid.Devices, w.Grid.Twins)
	s.fact("time stamps", "%s", w.TSA.URL)
	s.fact("data", "%s", w.Data())
	s.fact("operator", "%s (the key of operator:ada; keep it)", w.Credential(node.DevOperator))
	s.fact("trust file", "%s", filepath.Join(w.Data(), "trust.json"))
	s.space()
	s.say(bold, "For a stock MCP client:")
	s.space()
	for line := range strings.Lines(string(snippet)) {
		s.line("  ", strings.TrimRight(line, "\n"))
	}
	s.space()
	s.say(bold, "Try, in another terminal:")
	s.space()
	s.verbatim("export VAULTMESH_AS=" + quoted(w.Credential(node.DevOperator)))
	s.verbatim(a.hint("twins --prefix gen"))
	s.verbatim(a.hint(`propose gen-10 setActivePower '{"megawatts": 440}'`))
	s.verbatim(a.hint("commands"))
	s.space()
	s.say("", "Ctrl-C stops everything.")
	return s.flush()
}
