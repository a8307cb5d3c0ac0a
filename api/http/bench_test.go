package httpapi

import (
	"net/http/httptest"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// BenchmarkAuthenticatedRead is what the face costs beside its services: token, proof, replay cache, answer. Its floor
// is the check of two ed25519 signatures, one of the token and one of the proof. Signing is not counted.
func BenchmarkAuthenticatedRead(b *testing.B) {
	o := options(b, newWorld(b))
	o.Limits.Replays = 2*b.N + 2
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	tok := token(b, "operator")
	target := capability.Target{Domain: domain, Method: "GET", Path: "/v1/twins/bus-1", Body: vaultmesh.Sum(nil)}
	proofs := make([]string, b.N)
	for i := range proofs {
		proofs[i] = proof(key("operator"), target, epoch)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range proofs {
		r := httptest.NewRequest("GET", "/v1/twins/bus-1", nil)
		r.Header.Set(CapabilityHeader, tok)
		r.Header.Set(ProofHeader, proofs[i])
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
