// Package energy owns the profile of a power grid: it answers "what would this command do?" for the twins of package
// grid with the power flow of package powerflow, names the hard limits of their commands, and how closely an asset must
// report what it was told. It is on floor 4.
//
// It must not know how values arrive, who may act, or how a command is decided and sent; it reads one consistent cut of
// the live twins and returns a verdict. It must not know the simulated fleet (package pgdt) either: the fleet is an
// asset like any other.
//
// What is judged, and on what. Structure (impedances, ratings, limits, who is connected where) comes from the
// nameplates and relationships of the twins; switch positions, taps and set-points from what the devices report;
// demand from the measured loads. Generators are taken at their set-points: the verdict is about the steady state that
// the command leads to, not about the ramp towards it. A reported property is as fresh as the newest message about its
// twin, since devices report properties only when they change; a measurement is as fresh as itself.
//
// The verdict depends on nothing but the view, the query and the options: the same cut gives the same verdict, bit for
// bit, on any node of the same build.
package energy

import (
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/whatif"
)

// Model names this simulator in its verdicts. It changes whenever the same cut could give another verdict.
const Model = "vaultmesh-energy-acpf/1"

// Options of a [Simulator]. A zero field means its default.
type Options struct {
	// MaxAge is the largest age of an input at the time of the view; default 10 s.
	MaxAge time.Duration
	// IsA reports whether model is or extends base, both DTMIs; default: they are equal. It must be pure and safe
	// for concurrent use: answers are remembered.
	IsA func(model, base string) bool
	// Worsen says from where on a violation that is there already counts as worse.
	Worsen Worsen
	// MaxClosingAngle is the largest angle across a breaker that may be closed, in degrees; default 30.
	MaxClosingAngle float64
	// MaxNew and MaxPresent bound the lists of a verdict; default 64 and 32. The worst are kept.
	MaxNew, MaxPresent int
}

// Worsen are the smallest differences that count. Below them a difference is numerical or without consequence; they
// are small beside what measurement can resolve, and every command is judged against the state before it, so many
// small steps remain bounded by the rate limits of the gate, not by these.
type Worsen struct {
	Voltage float64 // pu; default 0.001
	Loading float64 // fraction of the rating; default 0.005
	Active  float64 // MW; default 0.1
}

func (o Options) withDefaults() Options {
	if o.MaxAge <= 0 {
		o.MaxAge = 10 * time.Second
	}
	if o.IsA == nil {
		o.IsA = func(model, base string) bool { return model == base }
	}
	if o.Worsen.Voltage <= 0 {
		o.Worsen.Voltage = 1e-3
	}
	if o.Worsen.Loading <= 0 {
		o.Worsen.Loading = 5e-3
	}
	if o.Worsen.Active <= 0 {
		o.Worsen.Active = 0.1
	}
	if o.MaxClosingAngle <= 0 {
		o.MaxClosingAngle = 30
	}
	if o.MaxNew <= 0 {
		o.MaxNew = 64
	}
	if o.MaxPresent <= 0 {
		o.MaxPresent = 32
	}
	return o
}

// Profile is what a node plugs in to govern a power grid.
type Profile struct {
	Name      string
	Models    []string // the DTMIs that it judges; package grid holds their documents
	Simulator whatif.Simulator
	Limits    gate.Limits
	// Tolerance is the largest difference between what a command should make a twin of the model report and what it
	// reports; ok is false where the profile expects nothing of that name.
	Tolerance func(model, name string) (tolerance float64, ok bool)
}

// NewProfile returns the profile of a power grid.
func NewProfile(o Options) Profile {
	s := NewSimulator(o)
	return Profile{Name: "energy", Models: models(), Simulator: s, Limits: Limits(), Tolerance: s.Tolerance}
}

// refusal is why a command could not be judged: the text of a Refused verdict.
type refusal string

// invalidDefinition is a twin whose nameplate or relationships do not describe a grid element.
func invalidDefinition(id vaultmesh.TwinID, format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "energy.structure", string(id), format, args...).
		WithFix("define the twin again with the nameplate of its model")
}
