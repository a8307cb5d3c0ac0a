package node

import (
	"time"

	"vaultmesh.org/vaultmesh"
)

// StateConfig is about the roots of the state that the log commits to.
type StateConfig struct {
	Interval time.Duration `yaml:"interval"` // between two roots while anything changes; 0: no roots, and no proofs of state
	Window   time.Duration `yaml:"window"`   // how long the state at a root can be proved; 0: telemetry.history
	MaxMB    int           `yaml:"max_mb"`   // MiB that are kept for all roots, at most; where it is reached, the window has gaps and is shorter
}

// minStateInterval keeps a root from costing more than what it proves.
const minStateInterval = 100 * time.Millisecond

// maxStateMB is a petabyte.
const maxStateMB = 1 << 30

func (c *StateConfig) check() error {
	if c.Interval != 0 && c.Interval < minStateInterval {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", "state.interval", "%s", c.Interval).WithFix("give at least %s, or 0 for none", minStateInterval)
	}
	if c.Window < 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", "state.window", "%s", c.Window).WithFix("give a duration, for example 24h, or 0 for that of telemetry.history")
	}
	if c.MaxMB < 1 || c.MaxMB > maxStateMB {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", "state.max_mb", "%d", c.MaxMB).WithFix("give 1 to %d MiB", maxStateMB)
	}
	return nil
}
