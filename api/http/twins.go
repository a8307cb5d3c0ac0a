package httpapi

import (
	"net/http"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/twin"
)

func (s *Server) getTwins(w http.ResponseWriter, q *request) error {
	p := params(q, "model", "device", "prefix", "after", "limit")
	model, device, prefix := p.text("model", 2048), vaultmesh.DeviceID(p.id("device")), p.id("prefix")
	after, limit := vaultmesh.TwinID(p.id("after")), p.limit(100, s.limits.Page)
	if p.err != nil {
		return p.err
	}
	page := TwinPage{Twins: []twin.Twin{}}
	var readable bool
	var refused error
	seen := 0
	s.opts.Twins.Each(after, func(t twin.Twin) bool {
		if seen++; seen%1024 == 0 && q.Context().Err() != nil {
			return false
		}
		if model != "" && t.Model != model || device != "" && t.Device != device || !strings.HasPrefix(string(t.ID), prefix) {
			return true
		}
		if err := mayRead(q.caller, t.ID); err != nil {
			refused = err
			return true
		}
		readable = true
		if len(page.Twins) == limit {
			page.Next = page.Twins[limit-1].ID
			return false
		}
		page.Twins = append(page.Twins, t)
		return true
	})
	if err := q.Context().Err(); err != nil {
		return err
	}
	if !readable && refused != nil {
		return refused // an empty page would look like an empty domain
	}
	return writeJSON(w, http.StatusOK, page)
}

func (s *Server) getTwin(w http.ResponseWriter, q *request) error {
	t, err := s.twin(q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

// twin returns the twin of the path, after it has asked whether the caller may read it, so that the answer does not
// tell whether an unreadable twin exists.
func (s *Server) twin(q *request) (twin.Twin, error) {
	id, err := pathID(q, "twin")
	if err != nil {
		return twin.Twin{}, err
	}
	if err := mayRead(q.caller, vaultmesh.TwinID(id)); err != nil {
		return twin.Twin{}, err
	}
	t, ok := s.opts.Twins.Get(vaultmesh.TwinID(id))
	if !ok {
		return twin.Twin{}, vaultmesh.Errorf(vaultmesh.NotFound, "twin", id, "there is no such twin").WithFix("list the twins to see their identifiers")
	}
	return t, nil
}

func (s *Server) getHistory(w http.ResponseWriter, q *request) error {
	p := params(q, "name", "from", "to", "limit")
	name := p.text("name", vaultmesh.MaxID)
	to := p.time("to", q.now)
	from := p.time("from", to.Add(-time.Hour))
	limit := p.limit(1000, min(10*s.limits.Page, twin.MaxPoints-1)) // one more is read, to know whether more follow
	switch {
	case p.err != nil:
		return p.err
	case name == "":
		return vaultmesh.Errorf(vaultmesh.Invalid, "query", "name", "it is missing").WithFix("give the name of a property or telemetry")
	case from.After(to):
		return vaultmesh.Errorf(vaultmesh.Invalid, "query", "from", "it is after to").WithFix("leave out both for the last hour")
	}
	t, err := s.twin(q)
	if err != nil {
		return err
	}
	points, err := s.opts.Twins.History(q.Context(), t.ID, name, from, to, limit+1)
	if err != nil {
		return err
	}
	h := History{Twin: t.ID, Name: name, Points: points, More: len(points) > limit}
	if h.More {
		h.Points = points[:limit]
	}
	if h.Points == nil {
		h.Points = []twin.Point{}
	}
	return writeJSON(w, http.StatusOK, h)
}
