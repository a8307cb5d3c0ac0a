// Package whatif owns the question "what would this command do?": the verdict, its binding to the exact command
// and to the topology it was computed on, and its expiry. It is on floor 3.
//
// It must not know any physics: a profile (energy, fintech) plugs in a [Simulator].
package whatif

import (
	"context"
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/twin"
)

// Query is one hypothetical command on a snapshot of the live twins.
type Query struct {
	Twin    vaultmesh.TwinID `json:"twin"`
	Command string           `json:"command"`
	Args    json.RawMessage  `json:"args"` // canonical JSON (RFC 8785)
	// N1 asks for the N-1 check after the command: every single branch outage in turn.
	N1 bool `json:"n1,omitempty"`
}

// View is the consistent cut of the live twins that a simulation reads.
type View interface {
	// Get returns one twin. The result is immutable.
	Get(id vaultmesh.TwinID) (twin.Twin, bool)
	// Each calls fn for every twin in ascending order of its identifier until fn returns false.
	Each(fn func(twin.Twin) bool)
	// Time is the node's time at which the cut was taken.
	Time() time.Time
}

// Simulator predicts the effect of a command. It refuses (Outcome Refused) rather than guesses: on data older than
// its limit, on values that are missing, on non-convergence. It must be safe for concurrent use.
type Simulator interface {
	// Handles reports whether the command can be simulated at all; where it cannot, the gate asks the policy
	// whether it may run unsimulated.
	Handles(model, command string) bool
	Simulate(ctx context.Context, view View, q Query) (Verdict, error)
	// Topology returns a digest of everything in the view that a verdict's structure rests on (switch positions,
	// elements in service). A verdict expires when it changes.
	Topology(view View) vaultmesh.Digest
}

// Outcome of a simulation.
type Outcome string

// The outcomes.
const (
	Safe    Outcome = "safe"    // converged, and no new or worsened violation
	Unsafe  Outcome = "unsafe"  // converged, with new or worsened violations, or load or generation lost in an island
	Refused Outcome = "refused" // could not be judged: stale data, missing data, non-convergence
)

// Violation is one limit that does not hold.
type Violation struct {
	Element string `json:"element"` // a twin
	// Limit is "voltage_max", "voltage_min", "loading", "active_max", "active_min", "reactive_max", "reactive_min",
	// "angle", "synchronism", "islanded", or "unsolved" (an outage without a solution).
	Limit  string  `json:"limit"`
	Value  float64 `json:"value"`
	Bound  float64 `json:"bound"`
	Unit   string  `json:"unit"`             // "pu", "MVA", "MW", "MVAr", "deg", "buses"
	Outage string  `json:"outage,omitempty"` // the branch whose loss causes it, for N-1
	Worse  bool    `json:"worse,omitempty"`  // it existed before and the command makes it worse
	// Warning marks what people should know but what does not make a command unsafe by itself.
	Warning bool `json:"warning,omitempty"`
}

// Summary describes one state of the system, before or after.
type Summary struct {
	Converged  bool    `json:"converged"`
	Iterations int     `json:"iterations"`
	MinVoltage float64 `json:"min_voltage_pu"`
	MaxVoltage float64 `json:"max_voltage_pu"`
	MaxLoading float64 `json:"max_loading"` // fraction of rating, 0 where nothing is rated
	LossesMW   float64 `json:"losses_mw"`
	LoadMW     float64 `json:"load_mw"`
	Islands    int     `json:"islands"` // number of energised islands
	DeadBuses  int     `json:"dead_buses"`
	LoadLostMW float64 `json:"load_lost_mw"`
}

// Verdict is what a simulation predicted. Its digest covers every field but ID.
type Verdict struct {
	ID         vaultmesh.Digest `json:"id"`
	Query      Query            `json:"query"`
	Outcome    Outcome          `json:"outcome"`
	Reason     string           `json:"reason"` // one sentence for people and agents
	Taken      time.Time        `json:"taken"`  // when the snapshot was taken
	OldestData time.Duration    `json:"oldest_data_ns"`
	Topology   vaultmesh.Digest `json:"topology"`
	Model      string           `json:"model"` // name and version of the simulator
	Before     Summary          `json:"before"`
	After      Summary          `json:"after"`
	New        []Violation      `json:"new,omitempty"`       // violations that the command causes or worsens, the worst first (bounded); none where Safe
	NewTotal   int              `json:"new_total,omitempty"` // how many there are, those beyond the bound of New counted too
	Warnings   []Violation      `json:"warnings,omitempty"`  // what it causes or worsens without being unsafe by that alone
	Present    []Violation      `json:"present,omitempty"`   // violations that existed before (bounded)
	Checked    int              `json:"n1_checked,omitempty"`
	// Expect is what the command should make the asset report: property or telemetry name to value.
	Expect map[string]float64 `json:"expect,omitempty"`
}
