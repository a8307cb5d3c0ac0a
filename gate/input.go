package gate

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/twin"
)

const timeFormat = "2006-01-02T15:04:05.000000Z"

var qualityNames = map[twin.Quality]string{twin.Good: "good", twin.Questionable: "questionable", twin.Invalid: "invalid"}

// kindOf returns the kind in front of a principal's name, empty where there is none.
func kindOf(p vaultmesh.Principal) string {
	kind, _, ok := strings.Cut(string(p), ":")
	if !ok {
		return ""
	}
	return kind
}

// policyInput builds the input document of the policy:
//
//	principal          {id, kind, roles}: roles of the capability and, for an enrolled operator, of the registry
//	capability         {id, actions}: the digest of the last block; what all its blocks grant
//	twin               {id, model, version, nameplate, reported, telemetry, relationships}; a value is {v, q, t}, q one
//	                   of good, questionable, invalid, t RFC 3339 with microseconds
//	model_ancestors    the models that the twin's model extends
//	command, args      the name and the arguments
//	now                RFC 3339 with microseconds
//	simulation         {available}: whether the effect can be simulated
//
// A policy that compares should ask for the type first: in Rego a string is greater than every number, and a rule over
// a member that is missing does not apply. The hard limits have been asked by then.
func (g *Gate) policyInput(j *judged, simulable bool) (map[string]any, error) {
	roles := j.Capability.Roles()
	if o, ok := g.opt.Operators.Get(j.Principal); ok {
		roles = append(roles, o.Roles...)
	}
	slices.Sort(roles)
	args, err := decodeAny(j.args)
	if err != nil {
		return nil, err
	}
	nameplate := make(map[string]any, len(j.twin.Nameplate))
	for name, raw := range j.twin.Nameplate {
		if nameplate[name], err = decodeAny(raw); err != nil {
			return nil, err
		}
	}
	reported, err := values(j.twin.Reported)
	if err != nil {
		return nil, err
	}
	telemetry, err := values(j.twin.Telemetry)
	if err != nil {
		return nil, err
	}
	relationships := make([]any, len(j.twin.Relationships))
	for i, r := range j.twin.Relationships {
		relationships[i] = map[string]any{"name": r.Name, "target": string(r.Target)}
	}
	return map[string]any{
		"principal":  map[string]any{"id": string(j.Principal), "kind": kindOf(j.Principal), "roles": texts(slices.Compact(roles))},
		"capability": map[string]any{"id": j.Capability.Digest().String(), "actions": texts(j.Capability.Verbs())},
		"twin": map[string]any{
			"id": string(j.twin.ID), "model": j.twin.Model, "version": strconv.FormatUint(j.twin.Version, 10), "nameplate": nameplate,
			"reported": reported, "telemetry": telemetry, "relationships": relationships,
		},
		"model_ancestors": texts(j.ancestors),
		"command":         j.Command,
		"args":            args,
		"now":             j.Now.UTC().Format(timeFormat),
		"simulation":      map[string]any{"available": simulable},
	}, nil
}

func values(in map[string]twin.Value) (map[string]any, error) {
	out := make(map[string]any, len(in))
	for name, v := range in {
		value, err := decodeAny(v.V)
		if err != nil {
			return nil, err
		}
		q, ok := qualityNames[v.Q]
		if !ok {
			q = "invalid"
		}
		out[name] = map[string]any{"v": value, "q": q, "t": v.T.UTC().Format(timeFormat)}
	}
	return out, nil
}

// decodeAny keeps numbers as they were written.
func decodeAny(raw json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "gate.input", "", "a value is not JSON").Because(err)
	}
	return v, nil
}

func texts(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}
