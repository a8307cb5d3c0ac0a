package main

import (
	"fmt"
	"os"
	"path/filepath"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/demo"
)

type demoCmd struct {
	Out  string `help:"Folder of the story: bundle, trust file, data, logs." default:"vaultmesh-demo" type:"path"`
	JSON bool   `help:"End with one JSON object."`
}

// Run tells the story. Status 0 only if every step was observed.
func (c *demoCmd) Run(a *app) error {
	bin, err := os.Executable()
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "demo", "", "this program cannot find itself").Because(err)
	}
	progress := a.out
	if c.JSON {
		progress = a.errOut
	}
	dir, err := filepath.Abs(c.Out)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "demo", c.Out, "not a path").Because(err)
	}
	r, err := demo.Tell(a.ctx, bin, dir, progress)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = fmt.Fprintln(a.out, r.JSON())
	} else {
		if err = r.Table(a.out); err == nil && r.OK {
			_, err = fmt.Fprintf(a.out, "\nVerify it yourself, with nothing but these two files:\n  %s verify %s --trust %s\n", bin, r.Bundle, r.Trust)
		}
	}
	if err != nil {
		return err
	}
	if !r.OK {
		fmt.Fprintf(a.errOut, "vaultmesh: the story did not hold; the logs of the processes are in %s\n", dir)
		return status(exitNo)
	}
	return nil
}
