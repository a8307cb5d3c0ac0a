package gate

import (
	"encoding/json"
	"time"
)

// Limits are the hard limits of a profile or a site, as data: no policy can loosen them. Build one with [ParseLimits],
// which checks it. See [Rule] for what a missing, mistyped, non-finite or out-of-date value does.
type Limits struct {
	// Undeclared says what becomes of a command that no entry names: "refuse" (the default) or "allow".
	Undeclared string         `json:"undeclared,omitempty"`
	Commands   []CommandLimit `json:"commands"`
}

// CommandLimit declares one command of one model and of the models that extend it. All entries that name a command
// hold together. An entry without rules declares the command and bounds nothing.
type CommandLimit struct {
	Model   string `json:"model"` // a DTMI
	Command string `json:"command"`
	Rules   []Rule `json:"rules"`
}

// Rule is one hard limit: exactly one of its kinds is set. A value that it needs and that is missing, of another JSON
// type, not finite, of a quality other than good, or older than the rule accepts, is a refusal.
type Rule struct {
	Name      string     `json:"name"` // a-z, 0-9 and -, unique within the entry; part of the reason's text
	Range     *Range     `json:"range,omitempty"`
	Ramp      *Ramp      `json:"ramp,omitempty"`
	Interlock *Interlock `json:"interlock,omitempty"`
	Rate      *Rate      `json:"rate,omitempty"`
}

// Range: Min <= argument <= Max; at least one of the bounds is given.
type Range struct {
	Arg string `json:"arg"`
	Min *Bound `json:"min,omitempty"`
	Max *Bound `json:"max,omitempty"`
}

// Bound is a number: a constant, or Scale (default 1) times a nameplate property of the twin. Unit: the argument's.
type Bound struct {
	Const     *float64 `json:"const,omitempty"`
	Nameplate string   `json:"nameplate,omitempty"`
	Scale     *float64 `json:"scale,omitempty"`
}

// Ramp: |argument - reported property| <= Max.
type Ramp struct {
	Arg      string `json:"arg"`
	Property string `json:"property"`
	Max      Bound  `json:"max"`
	Fresh
}

// Interlock: the reported property must be there, good and fresh, and, where Equals is given, equal this JSON boolean,
// number or string of the same type.
type Interlock struct {
	Property string          `json:"property"`
	Equals   json.RawMessage `json:"equals,omitempty"`
	Fresh
}

// Fresh bounds the age of a reported value.
type Fresh struct {
	MaxAge Duration `json:"max_age"` // required
	// AgeOf says whose age counts: "value" (the default) is the value's own source time; "twin" is the newest message
	// about the twin, for devices that report a property only when it changes.
	AgeOf string `json:"age_of,omitempty"`
}

// Rate: at most Max commands within Window, counted for each twin or for each principal. Control's ordered machine
// counts; the gate evaluates the count that the request brings.
type Rate struct {
	Per    string   `json:"per"` // "twin" or "principal"
	Max    uint64   `json:"max"`
	Window Duration `json:"window"`
}

// RateLimit is a declared rate with its identity, for whoever counts.
type RateLimit struct {
	ID     string // "<model>/<command>/<rule>", the key of the count together with the twin or the principal
	Per    string // "twin" or "principal"
	Max    uint64
	Window time.Duration
}

// Duration is a time.Duration that is written as text, for example "90s".
type Duration time.Duration
