package httpapi

import (
	"bytes"
	"io"
	"net/http"

	"vaultmesh.org/vaultmesh/control"
)

// Authenticate proves who sends r, for a face that is mounted beside the routes: the capability token, and the proof of
// possession over this very request or the TLS client certificate of the same key. The returned request has the body,
// which was read in full and is bounded by Limits.Body; the caller has what came in [OpeningHeader]. Errors are of kind
// Denied, Expired, Invalid, TooLarge or a retryable one.
func (s *Server) Authenticate(r *http.Request) (control.Caller, *http.Request, error) {
	now := s.now()
	who, err := s.auth.token(r, now)
	if err != nil {
		return control.Caller{}, nil, err
	}
	var body []byte
	if r.Body != nil {
		if body, err = readBody(nil, r, s.limits.Body); err != nil {
			return control.Caller{}, nil, err
		}
	}
	if err := s.auth.possession(r, body, &who, now); err != nil {
		return control.Caller{}, nil, err
	}
	if who.Opening, err = readOpening(r); err != nil {
		return control.Caller{}, nil, err
	}
	known(r)
	if who.Target != nil {
		who.Target.Request = body
	}
	out := r.Clone(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	return who, out, nil
}
