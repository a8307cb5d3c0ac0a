// Package diff owns the comparison of two versions of a set of DTDL models: what was added, removed, narrowed and
// widened, and whom that breaks. It must not read files nor print. It is on floor 1.
//
// Values flow from writers to readers. A device that emits telemetry, a program that sets a property, and a caller
// that sends the request of a command write; whoever takes these values reads, a device that takes a request
// too. Of programs that were made for the old models, a change breaks
//
//   - writers, if what they write may be refused now: the model has become narrower, or lost what they write to;
//   - readers, if what they get may be what they were never told of: the model has become wider, or lost what they read.
//
// An addition that nobody must know of breaks nobody: readers pass over contents and fields that they do not know. A
// reader that validates by the old models refuses a new field of an object, though: it needs the new models first.
package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh/dtdl"
)

// MaxChanges bounds the changes of a report; further ones are counted.
const MaxChanges = 10_000

// Kind says in which direction a change goes.
type Kind string

// The kinds.
const (
	Added    Kind = "added"    // something is new
	Removed  Kind = "removed"  // something is gone
	Narrowed Kind = "narrowed" // fewer values or uses are valid than before
	Widened  Kind = "widened"  // more values or uses are valid than before
	Changed  Kind = "changed"  // it is something else: neither holds all that the other one does
	Noted    Kind = "noted"    // only what people or extensions read: texts, meanings, identifiers
)

// Change is one difference.
type Change struct {
	Kind          Kind   `json:"kind"`
	Interface     string `json:"interface"`         // of the new set; of the old one where it is gone
	Element       string `json:"element,omitempty"` // the content or reusable schema, for example "Telemetry power"; empty for the interface itself
	Path          string `json:"path,omitempty"`    // within the element, for example "request/schema/fields/speed"
	Old           string `json:"old,omitempty"`
	New           string `json:"new,omitempty"`
	What          string `json:"what"` // for people
	Why           string `json:"why"`  // whom it breaks and for what reason, or why it breaks nobody
	BreaksReaders bool   `json:"breaksReaders"`
	BreaksWriters bool   `json:"breaksWriters"`
}

// Breaking reports whether the change breaks anybody.
func (c *Change) Breaking() bool { return c.BreaksReaders || c.BreaksWriters }

// Advice says which version an interface should have had after the language's rules: another major version for a
// breaking change, and another minor one for one that is compatible.
type Advice struct {
	Interface string `json:"interface"` // the identifier that both sets use
	Want      string `json:"want"`      // the one that the new content should have
	Why       string `json:"why"`
}

// Report is everything that differs, interface by interface in the order of their identifiers.
type Report struct {
	Breaking      bool     `json:"breaking"`
	BreaksReaders bool     `json:"breaksReaders"`
	BreaksWriters bool     `json:"breaksWriters"`
	Changes       []Change `json:"changes"`
	Advice        []Advice `json:"advice"`
	Omitted       int      `json:"omitted,omitempty"` // changes beyond MaxChanges; they count for Breaking
}

// Compare compares two sets. An interface of one is the version of that of the other with the same identifier, or
// else with the same one but for its version. Neither set may be nil.
func Compare(before, after *dtdl.Set) *Report {
	c := &comparison{before: before, after: after, schemas: map[schemaPair]bool{},
		broken: map[string]bool{}, changed: map[string]bool{}, report: &Report{Changes: []Change{}, Advice: []Advice{}}}
	olds, news := pair(before.Interfaces(), after.Interfaces())
	c.pairs, c.origins = olds, news
	for _, old := range before.Interfaces() {
		if _, ok := olds[old.ID()]; !ok {
			c.at(old.ID(), "")
			c.add(Removed, "", old.ID(), "", "the interface is gone", both("twins of it have no model, and what refers to it cannot be resolved"))
		}
	}
	for _, now := range after.Interfaces() {
		if old, ok := news[now.ID()]; ok {
			c.reusable(old, now)
		}
	}
	for _, now := range after.Interfaces() {
		if old, ok := news[now.ID()]; ok {
			c.interfaces(old, now)
			continue
		}
		c.at(now.ID(), "")
		c.add(Added, "", "", now.ID(), "the interface is new", nobody("no twin is one of it yet"))
	}
	slices.SortStableFunc(c.report.Changes, func(a, b Change) int { return cmp.Compare(a.Interface, b.Interface) })
	c.report.Breaking = c.report.BreaksReaders || c.report.BreaksWriters
	return c.report
}

// pair finds the versions of the same interface: by old identifier the new one, and back.
func pair(before, after []*dtdl.Interface) (olds, news map[string]*dtdl.Interface) {
	olds, news = map[string]*dtdl.Interface{}, map[string]*dtdl.Interface{}
	byID, byName := map[string]*dtdl.Interface{}, map[string][]*dtdl.Interface{}
	for _, now := range after {
		byID[now.ID()] = now
	}
	for _, old := range before {
		if now, ok := byID[old.ID()]; ok {
			olds[old.ID()], news[now.ID()] = now, old
		}
	}
	for _, now := range after {
		if news[now.ID()] == nil {
			byName[versionless(now.ID())] = append(byName[versionless(now.ID())], now)
		}
	}
	rest := slices.Clone(before) // the newest version of the old set is the one that was gone on from
	slices.SortStableFunc(rest, func(a, b *dtdl.Interface) int { return -compareVersions(a.ID(), b.ID()) })
	for _, old := range rest {
		name := versionless(old.ID())
		if olds[old.ID()] != nil || len(byName[name]) == 0 {
			continue
		}
		now := slices.MaxFunc(byName[name], func(a, b *dtdl.Interface) int { return compareVersions(a.ID(), b.ID()) })
		olds[old.ID()], news[now.ID()] = now, old
		delete(byName, name)
	}
	return olds, news
}

func versionless(id string) string {
	d, err := dtdl.ParseDTMI(id)
	if err != nil {
		return id
	}
	return d.Versionless()
}

func compareVersions(a, b string) int {
	x, err := dtdl.ParseDTMI(a)
	if err != nil {
		return 0
	}
	y, err := dtdl.ParseDTMI(b)
	if err != nil {
		return 0
	}
	return cmp.Or(cmp.Compare(x.Major(), y.Major()), cmp.Compare(x.Minor(), y.Minor()))
}

type schemaPair struct{ old, now *dtdl.Schema }

type comparison struct {
	before, after   *dtdl.Set
	pairs           map[string]*dtdl.Interface // old identifier → its version in the new set
	origins         map[string]*dtdl.Interface // and back
	schemas         map[schemaPair]bool        // compared already, or being compared: they may contain themselves
	iface, within   string                     // where the comparison is
	report          *Report
	broken, changed map[string]bool // by interface of the new set
}

func (c *comparison) at(iface, element string) { c.iface, c.within = iface, element }

// effect says whom a change breaks, and why.
type effect struct {
	readers, writers bool
	why              string
}

func nobody(why string) effect  { return effect{why: "breaks nobody: " + why} }
func readers(why string) effect { return effect{readers: true, why: "breaks readers: " + why} }
func writers(why string) effect { return effect{writers: true, why: "breaks writers: " + why} }
func both(why string) effect {
	return effect{readers: true, writers: true, why: "breaks readers and writers: " + why}
}

func (c *comparison) add(kind Kind, path, old, now, what string, e effect) {
	r := c.report
	r.BreaksReaders, r.BreaksWriters = r.BreaksReaders || e.readers, r.BreaksWriters || e.writers
	c.changed[c.iface] = c.changed[c.iface] || path != "@id" // another version alone wants no other one
	c.broken[c.iface] = c.broken[c.iface] || e.readers || e.writers
	if len(r.Changes) == MaxChanges {
		r.Omitted++
		return
	}
	r.Changes = append(r.Changes, Change{Kind: kind, Interface: c.iface, Element: c.within, Path: path, Old: old, New: now,
		What: what, Why: e.why, BreaksReaders: e.readers, BreaksWriters: e.writers})
}

// advise compares how the identifier has changed with how it should have.
func (c *comparison) advise(old, now *dtdl.Interface) {
	id, err := dtdl.ParseDTMI(now.ID())
	if err != nil || !c.changed[now.ID()] {
		return
	}
	same := old.ID() == now.ID()
	was, err := dtdl.ParseDTMI(old.ID())
	if err != nil {
		return
	}
	broken := c.broken[now.ID()]
	if broken && was.Major() == id.Major() {
		c.report.Advice = append(c.report.Advice, Advice{Interface: now.ID(), Want: fmt.Sprintf("%s;%d", id.Versionless(), was.Major()+1),
			Why: "it breaks what was made for " + old.ID() + ": give it another major version"})
	} else if same && !broken {
		c.report.Advice = append(c.report.Advice, Advice{Interface: now.ID(), Want: fmt.Sprintf("%s;%d.%d", id.Versionless(), id.Major(), id.Minor()+1),
			Why: "it says more than before under the same identifier: give it another minor version"})
	}
}

// same reports whether two interfaces, each of its own set, are versions of each other.
func (c *comparison) same(old, now *dtdl.Interface) bool {
	if old == nil || now == nil {
		return old == nil && now == nil
	}
	return c.pairs[old.ID()] == now
}

// join writes a path.
func join(path, name string) string { return strings.TrimPrefix(path+"/"+name, "/") }
