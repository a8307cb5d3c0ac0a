package receipt

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

// ProvedState is what a verified state proof shows: what the state of the domain held under a key when the log had a size.
type ProvedState struct {
	Key     string             `json:"key"`     // "twin/<id>" or "subject/<subject>", see package proof/state
	Present bool               `json:"present"` // false: the key did not exist
	Size    uint64             `json:"size,string"`
	Receipt vaultmesh.LogIndex `json:"receipt,string"` // that commits to the root of the state
	Time    time.Time          `json:"time"`           // of that receipt, by its own word
	// Document is what was under the key, as package proof/state describes it; nil where there is nothing, or where the
	// proof holds its digest alone.
	Document json.RawMessage `json:"document,omitempty"`
}

// provedStates returns what the state proofs show, by key; none where anything about the bundle as a whole failed.
func (j *judge) provedStates() (list []ProvedState) {
	if j.main == nil || j.wholeFailed() {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(j.states)) {
		for _, h := range j.states[key] {
			list = append(list, ProvedState{Key: key, Present: h.present, Size: h.size, Receipt: h.by.index, Time: h.by.Time, Document: h.document})
		}
	}
	return list
}
