package node

import (
	"time"

	"vaultmesh.org/vaultmesh"
)

// WitnessConfig says who cosigns this log, and which other logs this node cosigns.
type WitnessConfig struct {
	Policy     string        `yaml:"policy"`      // file in the form of C2SP tlog-policy, each witness with its URL; empty: no witnesses
	Interval   time.Duration `yaml:"interval"`    // between two requests to each witness while the log grows
	Timeout    time.Duration `yaml:"timeout"`     // of one request
	AlarmAfter time.Duration `yaml:"alarm_after"` // how long a checkpoint may wait for its quorum
	CA         string        `yaml:"ca"`          // PEM file of the roots of the witnesses' certificates; empty: the system's
	Serve      WitnessServe  `yaml:"serve"`
}

// WitnessServe makes the node a witness of others.
type WitnessServe struct {
	Logs []string `yaml:"logs"` // verifier keys of the logs; none: this node is no witness
	Name string   `yaml:"name"` // of the witness's key, made at the first start; default vaultmesh.org/witness/<domain>
	// Recover takes what was cosigned from the record beside the key where <data>/witness lost it: for one start, by who
	// knows that the record was not put back itself.
	Recover bool `yaml:"recover"`
}

func (c WitnessConfig) check() error {
	for key, d := range map[string]time.Duration{"witness.interval": c.Interval, "witness.timeout": c.Timeout, "witness.alarm_after": c.AlarmAfter} {
		if d <= 0 {
			return vaultmesh.Errorf(vaultmesh.Invalid, "config", key, "%s", d).WithFix("want a positive duration such as 30s")
		}
	}
	return nil
}
