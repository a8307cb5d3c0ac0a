// Package twin owns the State of the domain: which twins exist, what they report, how they relate, and their
// history. It is on floor 2: it stores through the journal and validates through dtdl.
//
// It must not know how a value arrived (MQTT, HTTP) nor what a command may do.
package twin

import (
	"encoding/json"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Quality says how far a value can be trusted, after IEC 61850-7-3 (validity good, questionable, invalid).
type Quality uint8

// The qualities; the zero value is Good.
const (
	Good Quality = iota
	Questionable
	Invalid
)

// Value is one reported property or telemetry value with its quality and the time at its source.
type Value struct {
	V json.RawMessage `json:"v"`
	Q Quality         `json:"q"`
	T time.Time       `json:"t"` // microsecond resolution, UTC
}

// Relationship is a directed edge from the twin that holds it to Target, named by the model.
type Relationship struct {
	Name   string           `json:"name"`
	Target vaultmesh.TwinID `json:"target"`
}

// Definition creates or replaces a twin: its model, the device that speaks for it, its nameplate
// (properties fixed at definition), and its relationships.
type Definition struct {
	ID            vaultmesh.TwinID           `json:"id"`
	Model         string                     `json:"model"` // a DTMI
	Device        vaultmesh.DeviceID         `json:"device,omitempty"`
	Nameplate     map[string]json.RawMessage `json:"nameplate,omitempty"`
	Relationships []Relationship             `json:"relationships,omitempty"`
}

// Twin is an immutable view of one twin. Maps and slices must not be changed.
type Twin struct {
	Definition
	Reported  map[string]Value           `json:"reported,omitempty"`  // properties as the device says they are
	Telemetry map[string]Value           `json:"telemetry,omitempty"` // the latest of each telemetry
	Desired   map[string]json.RawMessage `json:"desired,omitempty"`   // set by authorized commands only
	Version   uint64                     `json:"version,string"`      // grows by one with each merge that changed something
	Seen      time.Time                  `json:"seen"`                // source time of the newest accepted message; zero if none
}

// Message is one device message about one twin, already authenticated: the unit of merging, history and proof.
type Message struct {
	Twin       vaultmesh.TwinID
	Device     vaultmesh.DeviceID
	Time       time.Time                  // default time of the values, from the device
	Seq        uint16                     // orders messages with the same Time
	Properties map[string]json.RawMessage // reported properties
	Telemetry  map[string]json.RawMessage
	Quality    map[string]Quality // by name; absent means Good
	Raw        []byte             // the exact bytes as received: what a proof of this message commits to
}

// Point is one value of a history.
type Point struct {
	T time.Time       `json:"t"`
	V json.RawMessage `json:"v"`
	Q Quality         `json:"q"`
	// Key names the message that brought the value; [Store.Record] returns it for a proof.
	Key RecordKey `json:"key"`
}
