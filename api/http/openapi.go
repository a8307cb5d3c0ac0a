package httpapi

import (
	_ "embed"
	"net/http"
)

// OpenAPI is the contract of this face, OpenAPI 3.1 in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (s *Server) getOpenAPI(w http.ResponseWriter, _ *request) error {
	writeBytes(w, http.StatusOK, "application/yaml", OpenAPI)
	return nil
}
