package twin

import (
	"slices"

	"vaultmesh.org/vaultmesh"
)

// Direction of a relationship as seen from one twin.
type Direction uint8

// The directions.
const (
	Outgoing Direction = iota // relationships that the twin holds
	Incoming                  // relationships of others that have it as their target
	Both
)

type inboundEdge struct {
	source vaultmesh.TwinID
	name   string
}

// Neighbours returns the twins that relationships of the given name (all where empty) connect to id, in ascending order
// and each once, as of the last applied commit. The error is of kind NotFound where there is no such twin.
func (s *Store) Neighbours(id vaultmesh.TwinID, name string, d Direction) ([]vaultmesh.TwinID, error) {
	st := s.published(id)
	if st == nil {
		return nil, notFound("twin.neighbours", id)
	}
	var out []vaultmesh.TwinID
	if d == Outgoing || d == Both {
		for _, r := range st.def.Relationships {
			if name == "" || r.Name == name {
				out = append(out, r.Target)
			}
		}
	}
	if d == Incoming || d == Both {
		s.mu.RLock()
		for e := range s.inbound[id] {
			if name == "" || e.name == name {
				out = append(out, e.source)
			}
		}
		s.mu.RUnlock()
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// relate brings the index of incoming relationships up to date; s.mu is held.
func (s *Store) relate(c *change) {
	if c.prev != nil {
		for _, r := range c.prev.def.Relationships {
			from := s.inbound[r.Target]
			e := inboundEdge{c.id, r.Name}
			if from[e]--; from[e] == 0 {
				delete(from, e)
			}
			if len(from) == 0 {
				delete(s.inbound, r.Target)
			}
		}
	}
	for _, r := range c.next.def.Relationships {
		from := s.inbound[r.Target]
		if from == nil {
			from = map[inboundEdge]uint32{}
			s.inbound[r.Target] = from
		}
		from[inboundEdge{c.id, r.Name}]++
	}
}

func notFound(op string, id vaultmesh.TwinID) error {
	return vaultmesh.Errorf(vaultmesh.NotFound, op, clip(string(id)), "there is no such twin").WithFix("list the twins, or define it first")
}
