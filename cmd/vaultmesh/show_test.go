package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/receipt"
)

// What people said at each step is shown, and where their words are withheld, that they said something.
func TestCommandShowsWhatPeopleSaid(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	withheld := receipt.PrivateRef(vaultmesh.Sum([]byte("words")))
	c := control.Command{ID: "c-1", Twin: "shunt-110", Name: "disconnect", Args: json.RawMessage(`{}`), Principal: "agent:a", State: control.Rejected, Reason: "not now: a crew is on site",
		Reasons: []gate.Reason{{Code: "x.y", Text: "another text", Fix: "ask again"}},
		History: []control.Transition{
			{State: control.Proposed, Time: at, Actor: "agent:a", Reason: "voltage is too high at bus 110", Receipt: 7},
			{State: control.Approved, Time: at, Actor: "operator:grace", Reason: withheld, Receipt: 8},
			{State: control.Rejected, Time: at, Actor: "operator:ada", Reason: "not now: a crew is on site", Receipt: 9},
		}}
	for _, width := range []int{0, 60, 100} {
		got := strings.Join(strings.Fields(laid(t, width, func(s *sheet) { tellCommand(&app{}, s, c) })), " ")
		for _, want := range []string{"rejected: not now: a crew is on site", "voltage is", "too high at", "(withheld:", "another text (x.y)", "what to do ask again"} {
			if !strings.Contains(got, want) {
				t.Errorf("at %d columns it lacks %q:\n%s", width, want, got)
			}
		}
		if strings.Contains(got, "private:") || strings.Count(got, "a crew is on site") != 1 {
			t.Errorf("at %d columns: %s", width, got)
		}
	}
}

// Values are rounded in tables, and only there: JSON, and what is not a number, stay as they are.
func TestFiguresAreRounded(t *testing.T) {
	for in, want := range map[string]string{
		`0.30000000000000004`: "0.3", `-51.0319335`: "-51.0319", `440`: "440", `9007199254740993`: "9007199254740993", `true`: "true", `"1.23456789"`: `"1.23456789"`, `{"a":1.23456789}`: `{"a":1.23456789}`, ``: "",
	} {
		if got := figures(json.RawMessage(in)); got != want {
			t.Errorf("%s is shown as %q, want %q", in, got, want)
		}
	}
}

// An alarm says what, where and what to do, and nothing that a witness sends moves the cursor.
func TestStatusShowsAlarms(t *testing.T) {
	alarms := []httpapi.Alarm{{Code: httpapi.AlarmRolledBack, Subject: "witness.example/\x1b[2J", Detail: "this witness has seen a larger tree", Fix: "stop the node"}, {Code: httpapi.AlarmArchive, Detail: "it cannot be written", Fix: "read the log"}}
	for _, width := range []int{0, 60, 100} {
		got := strings.Join(strings.Fields(laid(t, width, func(s *sheet) { tellAlarms(s, alarms) })), " ")
		for _, want := range []string{"ALARM log_rolled_back witness.example/", "a larger tree", "stop the node", "ALARM archive_failing: it cannot be written", "read the log"} {
			if !strings.Contains(got, want) {
				t.Errorf("at %d columns it lacks %q:\n%s", width, want, got)
			}
		}
		if strings.Contains(got, "\x1b") {
			t.Errorf("an escape sequence got through: %q", got)
		}
	}
}
