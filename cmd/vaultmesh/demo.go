package main

import (
	"context"
	"errors"
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
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.errOut, "\nvaultmesh: interrupted; every process of the demo was stopped")
		return status(130)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = fmt.Fprintln(a.out, r.JSON())
	} else {
		if err = r.Table(a.out, newScreen(a.out).width); err == nil && r.OK {
			_, err = fmt.Fprintf(a.out, "\nVerify it yourself, with nothing but these two files:\n\n  %s verify %s \\\n    --trust %s\n", program, nearer(r.Bundle), nearer(r.Trust))
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

// nearer writes a path relative to the working folder where that is shorter.
func nearer(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}
