package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// OpeningHeader carries, in base64url without padding, the opening (receipt.Opening) of a proposal's reason. The body of
// the request, which the caller signs and the log keeps, then holds the reference to it and not the words.
const OpeningHeader = "VaultMesh-Opening"

// readOpening reads the header; nil where there is none.
func readOpening(r *http.Request) (*receipt.Opening, error) {
	h := r.Header.Values(OpeningHeader)
	if len(h) == 0 {
		return nil, nil
	}
	doc, err := base64.RawURLEncoding.DecodeString(h[0])
	if err != nil || len(h) > 1 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "command", OpeningHeader, "want it once, in base64url without padding")
	}
	o, err := receipt.DecodeOpening(doc)
	return &o, err
}

func openingHeader(o *receipt.Opening) http.Header {
	if o == nil {
		return nil
	}
	return http.Header{OpeningHeader: {EncodeOpening(o)}}
}

// EraseRequest is the body of POST /v1/private/erase.
type EraseRequest struct {
	Principal vaultmesh.Principal `json:"principal"`
	Reason    string              `json:"reason"` // 1 to 1024 bytes, recorded in the clear: say nothing personal
}

func (s *Server) postErase(w http.ResponseWriter, q *request) error {
	var in EraseRequest
	if err := s.decode(q, &in); err != nil {
		return err
	}
	if err := vaultmesh.CheckID("principal", string(in.Principal)); err != nil {
		return err
	}
	ref, err := s.opts.Capabilities.Erase(q.Context(), q.caller, in.Principal, in.Reason)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Erasure{Principal: in.Principal, Receipt: ref})
}

// Erase destroys the key of a principal's private texts, for ever.
func (c *Client) Erase(ctx context.Context, p vaultmesh.Principal, reason string) (Erasure, error) {
	return get[Erasure](ctx, c, call{method: "POST", path: "/v1/private/erase", body: EraseRequest{p, reason}})
}

// EncodeOpening is the value of [OpeningHeader].
func EncodeOpening(o *receipt.Opening) string {
	return base64.RawURLEncoding.EncodeToString(o.Encode())
}
