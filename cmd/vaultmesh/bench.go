package main

import (
	"fmt"
	"os"
	"time"

	"vaultmesh.org/vaultmesh/bench"
)

type benchCmd struct {
	What        string  `arg:"" help:"What to measure: ${enum}." enum:"all,loop,ingest,receipts,powerflow" default:"all"`
	JSON        bool    `name:"json" help:"One JSON object a line instead of tables."`
	Seconds     float64 `help:"Length of each measured section." default:"5"`
	Rate        float64 `help:"Telemetry messages a second beside the control loop." default:"1000"`
	Connections int     `help:"Connections of ingest." default:"100"`
	Window      int     `help:"Unacknowledged messages of each connection of ingest." default:"16"`
	Dir         string  `help:"Where the temporary folders are made, which decides the disk; default: the system's." type:"existingdir"`
	Tessera     string  `help:"Program of the peer log; default: bench-tessera beside this program, else built from the source in the working folder." type:"existingfile"`
	CPUProfile  string  `name:"cpu-profile" help:"Folder that gets a CPU profile of each measured section." type:"existingdir"`
}

// Run measures and prints; a target that is not met is a figure, not a failure.
func (c *benchCmd) Run(a *app) error {
	o := bench.Options{Dir: c.Dir, For: time.Duration(c.Seconds * float64(time.Second)), Connections: c.Connections, Window: c.Window, Rate: c.Rate, Tessera: c.Tessera, Profile: c.CPUProfile, Log: a.log}
	// The simulated grid is a process of its own, as it would be beside a real node; without a path it runs in this one.
	o.Binary, _ = os.Executable()
	names := []string{c.What}
	if c.What == "all" {
		names = bench.Names()
	}
	for i, name := range names {
		r, err := bench.Run(a.ctx, name, o)
		if err != nil {
			return err
		}
		if c.JSON {
			err = r.WriteJSON(a.out)
		} else {
			if i > 0 {
				_, _ = fmt.Fprintln(a.out)
			}
			err = r.WriteText(a.out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
