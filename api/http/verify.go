package httpapi

import (
	"net/http"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/api/http/page"
)

// getVerify serves the page with which a browser verifies bundles. Whoever distrusts this node takes the page from
// elsewhere: it is one file.
func (s *Server) getVerify(w http.ResponseWriter, _ *request) error {
	p, ok := page.Verify()
	if !ok {
		return vaultmesh.Errorf(vaultmesh.NotFound, "verify", "", "this program was built without the page").WithFix("build it with `make verify-page build`, or verify with `vaultmesh verify`")
	}
	w.Header().Set("Content-Security-Policy", p.Policy+"; frame-ancestors 'none'")
	answering(w, 0) // the page is in memory once, for all
	writeBytes(w, http.StatusOK, "text/html; charset=utf-8", p.HTML)
	return nil
}
