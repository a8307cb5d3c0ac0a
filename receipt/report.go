package receipt

import (
	"encoding/json"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Check is one comparison of [Verify]: its name, whether it holds, and in a sentence what was compared.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Empty says that it holds because there was nothing to compare: neither the bundle nor the auditor asks for it.
	Empty bool `json:"empty,omitempty"`
	// Partial says that it holds for a part of what it is about; the detail says for which. Of a command whose completeness
	// is demanded, such a check does not hold.
	Partial bool `json:"partial,omitempty"`
}

// Judged reports whether the comparison was made. One that could not be made does not hold either.
func (c Check) Judged() bool { return c.OK || !strings.HasPrefix(c.Detail, unjudged) }

// Family is a group of checks of one subject: the level of the tree above [Check], whose names begin with the family's.
type Family struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`                // every check of it holds
	Checks   int    `json:"checks"`            // how many there are
	Failed   int    `json:"failed"`            // of them do not hold
	Unjudged int    `json:"unjudged"`          // of those that do not hold could not be made
	Empty    int    `json:"empty"`             // of those that hold compared nothing
	Partial  int    `json:"partial,omitempty"` // of those that hold do so for a part
}

// Report is the judgement over a bundle. OK only where every check holds. Two reports of the same bundle, trust file and
// demand are equal.
type Report struct {
	OK     bool             `json:"ok"`
	Domain vaultmesh.Domain `json:"domain,omitempty"` // as the bundle claims
	// Proved says in sentences what was proved, NotProved what was not, which an auditor might have expected. Where the
	// bundle is refused, Proved holds nothing but what does not depend on what failed.
	Proved    []string `json:"proved,omitempty"`
	NotProved []string `json:"not_proved,omitempty"`
	Families  []Family `json:"families"`
	Checks    []Check  `json:"checks"`
	// Commands says what happened: one statement for each command of the bundle, in the order of their proposals.
	Commands []Statement      `json:"commands,omitempty"`
	LogSize  uint64           `json:"log_size,omitempty,string"` // receipts under the main checkpoint that a pinned key of the log signed; 0 where none is
	LogRoot  vaultmesh.Digest `json:"log_root,omitzero"`
	Known    string           `json:"known_head,omitempty"` // how the auditor knows the log's head; empty where not
	Anchors  []ProvedAnchor   `json:"anchors,omitempty"`    // verified proofs of time
	Existed  []Existence      `json:"existed,omitempty"`    // by when the receipts existed, by class
	Complete []Completeness   `json:"complete,omitempty"`   // what the bundle was proved to show all of
	States   []ProvedState    `json:"states,omitempty"`     // what state proofs show
	// Disclosed are people's own words that the bundle holds, each of which is what a receipt commits to, in the order of
	// the log.
	Disclosed []DisclosedText `json:"disclosed,omitempty"`
	Stamped   time.Time       `json:"stamped,omitzero"` // the earliest verified RFC 3161 time-stamp; zero where none is
}

// DisclosedText is a private text whose commitment the receipt at the index holds.
type DisclosedText struct {
	Index   vaultmesh.LogIndex  `json:"index,string"`
	Kind    string              `json:"kind"`
	Subject string              `json:"subject"`
	Actor   vaultmesh.Principal `json:"actor"`
	Text    string              `json:"text"`
}

// Existence says by when all receipts of a class in the bundle existed, by each kind of proof of time.
type Existence struct {
	Class    string               `json:"class"` // the first word of their subjects: "command", "telemetry", …
	Receipts int                  `json:"receipts"`
	By       map[string]time.Time `json:"by,omitempty"` // kind of proof to the latest of the receipts' earliest proved times; absent where a receipt has none
}

// JSON returns the report as one line.
func (r Report) JSON() []byte {
	b, err := json.Marshal(r)
	if err != nil { // the values of a statement were JSON before, and its times are within what JSON can say
		return nil
	}
	return b
}

// Failed returns the checks that do not hold, those that could not be judged among them.
func (r Report) Failed() []Check {
	var failed []Check
	for _, c := range r.Checks {
		if !c.OK {
			failed = append(failed, c)
		}
	}
	return failed
}
