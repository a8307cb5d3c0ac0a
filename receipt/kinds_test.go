package receipt

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryCommandKindIsAState(t *testing.T) {
	states := map[string]bool{}
	for _, k := range Kinds() {
		if state, ok := CommandState(k); ok {
			states[state] = true
			if _, ok := NextCommandStates(state); !ok {
				t.Errorf("%s is a kind and %q no state", k, state)
			}
		}
	}
	reached := map[string]bool{}
	for from := range transitions {
		next, _ := NextCommandStates(from)
		for _, to := range next {
			reached[to] = true
			if !states[to] {
				t.Errorf("%q leads to %q, which has no kind", from, to)
			}
		}
		if from != "" && !states[from] {
			t.Errorf("state %q has no kind", from)
		}
	}
	for s := range states {
		if !reached[s] {
			t.Errorf("state %q cannot be reached", s)
		}
	}
	if _, ok := NextCommandStates("sent"); ok {
		t.Error("sent is taken for a state")
	}
	next, _ := NextCommandStates("dispatched")
	next[0] = "aligned"
	if again, _ := NextCommandStates("dispatched"); slices.Contains(again, "aligned") {
		t.Error("a caller can change the table")
	}
}

func TestSubjectsCanBeEncoded(t *testing.T) {
	for _, s := range []string{CommandSubject("01J"), TwinSubject("line-1-2"), DomainSubject("dev"), HaltSubject("dev"), TelemetrySubject("dev"),
		NodeSubject("node:dev"), OperatorSubject("operator:a"), CapabilitySubject([32]byte{1}), AnchorSubject("rfc3161"), CommandSubject("01" + "J")} {
		if err := checkSubject(s); err != nil {
			t.Error(err)
		}
	}
	if checkSubject(strings.Repeat("x", 257)) == nil {
		t.Error("a subject of 257 bytes passes")
	}
}
