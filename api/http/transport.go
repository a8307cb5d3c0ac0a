package httpapi

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"net/http"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// Transport is an [http.RoundTripper] that adds the token and the proof of possession to each request. It reads the
// whole body first, since the proof covers it. It is safe for concurrent use; its fields are fixed at creation.
type Transport struct {
	Base   http.RoundTripper // sends the signed requests
	Domain vaultmesh.Domain  // of the node that is asked
	Token  string
	Key    ed25519.PrivateKey // of the token's last holder; nil where a TLS client certificate proves possession
	Host   string             // the only host, with its port, that is sent the token
	Now    func() time.Time
	Random io.Reader
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	const op = "client"
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		if closed := r.Body.Close(); err != nil || closed != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "body", "it cannot be read").Because(err)
		}
	}
	if r.URL.Host != t.Host {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, r.URL.Host, "the token is for %s only", t.Host)
	}
	signed := r.Clone(r.Context())
	if r.Body != nil {
		signed.Body = io.NopCloser(bytes.NewReader(body))
		signed.ContentLength = int64(len(body))
		signed.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if t.Token != "" {
		signed.Header.Set(CapabilityHeader, t.Token)
	}
	if t.Key != nil {
		nonce := make([]byte, 18)
		if _, err := io.ReadFull(t.Random, nonce); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "no randomness").Because(err)
		}
		target := capability.Target{Domain: t.Domain, Method: r.Method, Path: r.URL.RequestURI(), Body: vaultmesh.Sum(body)}
		signed.Header.Set(ProofHeader, capability.SignProof(t.Key, target, t.Now(), base64.RawURLEncoding.EncodeToString(nonce)))
	}
	return t.Base.RoundTrip(signed)
}
