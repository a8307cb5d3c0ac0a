package twin

import (
	"encoding/json"

	"vaultmesh.org/vaultmesh"
)

// payload is the JSON form of the values of a message.
type payload struct {
	Properties map[string]json.RawMessage `json:"properties"`
	Telemetry  map[string]json.RawMessage `json:"telemetry"`
	Quality    map[string]Quality         `json:"q"`
}

// DecodePayload returns the Properties, Telemetry and Quality of a raw message in the JSON form
//
//	{"telemetry":{"voltage":1.01},"properties":{"closed":true},"q":{"voltage":"questionable"}}
//
// and ignores other members: who accepted the message has checked it. The error is of kind Corrupt.
func DecodePayload(raw []byte) (*Message, error) {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "twin.history", "", "a stored message cannot be read").Because(err)
	}
	return &Message{Properties: p.Properties, Telemetry: p.Telemetry, Quality: p.Quality, Raw: raw}, nil
}
