package main

import (
	"os"

	"vaultmesh.org/vaultmesh/gate"
)

type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Compile a folder of policy and run its tests."`
}

type policyTestCmd struct {
	Dir string `arg:"" optional:"" help:"Folder of .rego and data files; none: the shipped policy." type:"existingdir"`
}

// Run tests a policy as the node would before it loads it.
func (c *policyTestCmd) Run(a *app) error {
	files, name := gate.DefaultPolicy(), "the shipped policy"
	if c.Dir != "" {
		var err error
		if files, err = gate.ReadPolicy(os.DirFS(c.Dir)); err != nil {
			return err
		}
		name = c.Dir
	}
	report, err := gate.TestPolicy(a.ctx, files)
	if err != nil {
		return err
	}
	failed := report.Failed()
	s := newSheet(a.out)
	for _, t := range failed {
		s.painted(red, "FAIL", "%s", t.Name)
	}
	s.say("", "%s: %s, %d failed, digest %s", name, counted(len(report.Tests), "test"), len(failed), files.Digest())
	if err := s.flush(); err != nil {
		return err
	}
	if len(failed) > 0 {
		return status(exitNo)
	}
	return nil
}
