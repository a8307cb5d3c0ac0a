package energy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"sync"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/energy/powerflow"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// entry is one twin of the grid: its definition as the frame was built on it, and where it went.
type entry struct {
	def   twin.Definition
	kind  grid.ElementKind
	index int // in the frame's list of that kind
}

// attached is a load or a shunt, which the case knows only as part of a bus.
type attached struct {
	entry int // in frame.entries
	bus   int // in the case's Buses
	// Of a load: its nominal demand, in MW and MVAr, which stands in where the demand cannot be measured: while its bus
	// is dead or all of it is shed. nominal is false where the nameplate does not tell.
	nominalP, nominalQ float64
	nominal            bool
	// Of a shunt: MW consumed and MVAr injected at 1 pu.
	conductance, susceptance float64
}

// tapRange is the nameplate of a tap changer; step is 0 where any ratio can be set.
type tapRange struct{ min, max, step float64 }

// frame is everything that rests on the definitions of the twins alone: the compiled case and the way from twins to
// its elements. Immutable and safe for concurrent use, but for the pool.
type frame struct {
	entries []entry // ascending by identifier: the order of whatif.View.Each
	byID    map[vaultmesh.TwinID]int
	digest  vaultmesh.Digest // of all definitions

	network *powerflow.Network
	c       *powerflow.Case
	slack   int // index of the slack bus
	// Twins of the case's elements, parallel to its lists.
	bus, branch, gen []vaultmesh.TwinID
	taps             []tapRange // parallel to Branches
	genBus           []int      // index of the bus, parallel to Gens
	from, to         []int      // indices of the buses, parallel to Branches
	loads, shunts    []attached

	benches sync.Pool // of *bench
}

// matches reports whether d is the definition that e was built on. The store shares the maps of a definition between
// all views, so the comparison of their identity nearly always suffices; e keeps them alive, so that an address
// cannot be that of another map.
func (e *entry) matches(d *twin.Definition) bool {
	if e.def.ID != d.ID || e.def.Model != d.Model {
		return false
	}
	return sameNameplate(e.def.Nameplate, d.Nameplate) && slices.Equal(e.def.Relationships, d.Relationships)
}

func sameNameplate(a, b map[string]json.RawMessage) bool {
	if reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer() {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	for name, v := range a {
		if w, ok := b[name]; !ok || !bytes.Equal(v, w) {
			return false
		}
	}
	return true
}

// buildFrame reads the definitions of all grid twins in the view. Errors are of kind Invalid (a definition that does
// not describe an element), NotFound (no grid in the view), or those of powerflow.Compile.
func (s *Simulator) buildFrame(view whatif.View) (*frame, error) {
	f := &frame{byID: map[vaultmesh.TwinID]int{}}
	each(view, func(t source) bool {
		d := t.Definition()
		if kind, ok := s.kindOf(d.Model); ok {
			f.byID[d.ID] = len(f.entries)
			f.entries = append(f.entries, entry{def: *d, kind: kind})
		}
		return true
	})
	f.digest = digestDefinitions(f.entries)
	c, err := f.assemble()
	if err != nil {
		return nil, err
	}
	network, err := powerflow.Compile(c)
	if err != nil {
		return nil, vaultmesh.Wrap(err, "energy.structure", c.Name)
	}
	f.network, f.c = network, network.Case()
	return f, nil
}

// digestDefinitions commits to every definition in order, each field with its length, so that no two sets of
// definitions share an encoding.
func digestDefinitions(entries []entry) vaultmesh.Digest {
	h := sha256.New()
	var n [8]byte
	put := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	put([]byte("vaultmesh energy definitions/1"))
	for i := range entries {
		d := &entries[i].def
		put([]byte(d.ID))
		put([]byte(d.Model))
		names := make([]string, 0, len(d.Nameplate))
		for name := range d.Nameplate {
			names = append(names, name)
		}
		sort.Strings(names)
		binary.BigEndian.PutUint64(n[:], uint64(len(names)))
		h.Write(n[:])
		for _, name := range names {
			put([]byte(name))
			put(d.Nameplate[name])
		}
		binary.BigEndian.PutUint64(n[:], uint64(len(d.Relationships)))
		h.Write(n[:])
		for _, r := range d.Relationships {
			put([]byte(r.Name))
			put([]byte(r.Target))
		}
	}
	var d vaultmesh.Digest
	h.Sum(d[:0])
	return d
}

// nameplate reads the numbers of one definition and keeps the first error.
type nameplate struct {
	def *twin.Definition
	err error
}

func (n *nameplate) required(name string) float64 {
	v, ok := n.optional(name)
	if !ok && n.err == nil {
		n.err = invalidDefinition(n.def.ID, "the nameplate has no %q", name)
	}
	return v
}

func (n *nameplate) optional(name string) (float64, bool) {
	raw, ok := n.def.Nameplate[name]
	if !ok {
		return 0, false
	}
	v, ok := number(raw)
	if !ok {
		if n.err == nil {
			n.err = invalidDefinition(n.def.ID, "%q of the nameplate is not a finite number", name)
		}
		return 0, false
	}
	return v, true
}

// target returns the bus at the far end of the one relationship with the given name.
func (n *nameplate) target(name string, buses map[vaultmesh.TwinID]int) int {
	found := -1
	for _, r := range n.def.Relationships {
		if r.Name != name {
			continue
		}
		i, ok := buses[r.Target]
		if !ok || found >= 0 {
			if n.err == nil {
				n.err = invalidDefinition(n.def.ID, "relationship %q must name exactly one bus, %q is not it", name, r.Target)
			}
			return 0
		}
		found = i
	}
	if found < 0 {
		if n.err == nil {
			n.err = invalidDefinition(n.def.ID, "relationship %q to a bus is missing", name)
		}
		return 0
	}
	return found
}

// number parses a JSON number strictly; a string, a boolean, null or an infinite value is none.
func number(raw []byte) (float64, bool) {
	if len(raw) == 0 || len(raw) > 32 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	for _, c := range raw {
		// Keeps out what ParseFloat knows and JSON does not: hexadecimal, underscores, "Inf".
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, false
	}
	return v, true
}

// boolean parses a JSON boolean.
func boolean(raw []byte) (value, ok bool) {
	switch string(raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}
