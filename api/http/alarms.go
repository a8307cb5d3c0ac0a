package httpapi

import (
	"net/http"
	"time"
)

// The codes of alarms.
const (
	AlarmRolledBack      = "log_rolled_back"     // a witness has seen a larger tree of this log
	AlarmConflict        = "witness_conflict"    // a witness holds another tree under this log's name
	AlarmUnwitnessed     = "witness_overdue"     // the policy has not been met for too long
	AlarmAnchorOverdue   = "anchor_overdue"      // receipts wait for an anchor much longer than its cadence
	AlarmPublication     = "publication_failing" // the published log falls behind
	AlarmPublishRefused  = "publication_refused" // the place of the published log holds what this log does not extend
	AlarmArchive         = "archive_failing"     // the archive falls behind
	AlarmArchiveRefused  = "archive_refused"     // the archive holds what this log does not extend
	AlarmDelegationsEnds = "key_delegation_ends" // the root's delegation of a key ends soon and was not renewed
)

// Alarm is something that a person must look at.
type Alarm struct {
	Code    string    `json:"code"`
	Subject string    `json:"subject,omitempty"` // which witness, target or place
	Since   time.Time `json:"since,omitzero"`
	Detail  string    `json:"detail"`
	Fix     string    `json:"fix"` // what to do
}

// AlarmList is everything that a person must look at, the gravest first; empty where all is well.
type AlarmList struct {
	Alarms []Alarm `json:"alarms"`
}

// getAlarms shows what a person must look at. It is about the whole domain.
func (s *Server) getAlarms(w http.ResponseWriter, q *request) error {
	if err := mayRead(q.caller, ""); err != nil {
		return err
	}
	list := AlarmList{Alarms: []Alarm{}}
	if s.opts.Alarms != nil {
		list.Alarms = append(list.Alarms, s.opts.Alarms()...)
	}
	return writeJSON(w, http.StatusOK, list)
}
