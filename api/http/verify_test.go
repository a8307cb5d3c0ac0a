package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/api/http/page"
)

// The page is served with the policy that it states itself, and where it was not built the answer says how to.
func TestVerifyPage(t *testing.T) {
	w := httptest.NewRecorder()
	err := (&Server{}).getVerify(w, nil)
	p, ok := page.Verify()
	if !ok {
		if vaultmesh.KindOf(err) != vaultmesh.NotFound || !strings.Contains(err.Error(), "make verify-page") {
			t.Errorf("without the page: %v", err)
		}
		t.Skip("the page was not built: make verify-page")
	}
	policy := w.Header().Get("Content-Security-Policy")
	if err != nil || w.Code != http.StatusOK || w.Body.Len() != len(p.HTML) || !strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-") || !strings.HasSuffix(policy, "; frame-ancestors 'none'") {
		t.Errorf("%v %d %q", err, w.Code, policy)
	}
}
