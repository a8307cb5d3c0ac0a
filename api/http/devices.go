package httpapi

import (
	"net/http"

	"vaultmesh.org/vaultmesh"
)

// A device speaks for twins of any kind, so that its connection belongs to the whole domain.

func (s *Server) getDevices(w http.ResponseWriter, q *request) error {
	if err := mayRead(q.caller, ""); err != nil {
		return err
	}
	list, err := s.opts.Devices.List(q.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, DeviceList{Devices: notNil(list)})
}

func (s *Server) getRefusals(w http.ResponseWriter, q *request) error {
	if err := mayRead(q.caller, ""); err != nil {
		return err
	}
	id, err := pathID(q, "device")
	if err != nil {
		return err
	}
	p := params(q, "limit")
	limit := p.limit(100, s.limits.Page)
	if p.err != nil {
		return p.err
	}
	list, err := s.opts.Devices.Refusals(q.Context(), vaultmesh.DeviceID(id), limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, RefusalList{Device: vaultmesh.DeviceID(id), Refusals: notNil(list)})
}
