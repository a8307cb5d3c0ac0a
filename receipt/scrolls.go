package receipt

import (
	"slices"
	"strings"
)

// Scroll is a view of the log by the kinds of its receipts, under a word that the users of the domain know. It has no tree
// and no root of its own: what is proved is proved by the log and by the chains of the subjects.
type Scroll struct {
	Name    string   // lower case
	About   string   // what is in it, in a few words
	Classes []string // what the kinds begin with, before the dot
}

// scrolls holds every class of kinds exactly once.
var scrolls = []Scroll{
	{"automation", "what was commanded, how it was decided and what came of it; stops of the domain", []string{"command", "halt"}},
	{"compliance", "how the domain is constituted: its beginning, its charters, what was erased", []string{"domain", "charter", "data", "governance"}},
	{"guardian", "what guards the log itself: anchors, witnesses, keys, roots of the state", []string{"anchor", "witness", "key", "state"}},
	{"identity", "who may act: capabilities and operators", []string{"capability", "operator"}},
	{"mesh", "the twins of the domain", []string{"twin"}},
	{"observability", "what was observed: telemetry, and the runs of the nodes", []string{"telemetry", "node"}},
}

// Scrolls returns all scrolls by name.
func Scrolls() []Scroll { return slices.Clone(scrolls) }

// ScrollOf returns the name of the scroll in which receipts of a kind are; empty for what is no kind.
func ScrollOf(kind string) string {
	class, _, _ := strings.Cut(kind, ".")
	for _, s := range scrolls {
		if _, known := kinds[kind]; known && slices.Contains(s.Classes, class) {
			return s.Name
		}
	}
	return ""
}

// ScrollKinds returns the kinds of a scroll in alphabetical order, none where there is no such scroll.
func ScrollKinds(name string) []string {
	var out []string
	for _, k := range Kinds() {
		if ScrollOf(k) == name {
			out = append(out, k)
		}
	}
	return out
}
