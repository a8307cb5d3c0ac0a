package receipt

import (
	"encoding/json"
	"strings"
	"time"
)

// Check is one comparison of [Verify]: its name, whether it holds, and in a sentence what was compared.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Judged reports whether the comparison was made. One that could not be made does not hold either.
func (c Check) Judged() bool { return c.OK || !strings.HasPrefix(c.Detail, unjudged) }

// Report is the judgement over a bundle. OK only where every check holds. Two reports of the same bundle and trust file
// are equal.
type Report struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
	// Commands says what happened: one statement for each command of the bundle, in the order of their proposals.
	Commands []Statement `json:"commands,omitempty"`
	LogSize  uint64      `json:"log_size,omitempty,string"` // receipts under the checkpoint that the pinned log signed; 0 where none is
	Stamped  time.Time   `json:"stamped,omitzero"`          // the earliest proved time-stamp of that checkpoint; zero where none is
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
