package tsa

import (
	"context"
	"crypto"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"

	"vaultmesh.org/vaultmesh"
)

// Bounds of the server.
const (
	maxQuery  = 4 << 10 // bytes; a query with an extension or two has under 200
	maxNonce  = 160     // bits
	grace     = 5 * time.Second
	ioTimeout = 10 * time.Second
)

// ServeHTTP answers POST with an RFC 3161 query over a SHA-256 digest. What is wrong with HTTP is an HTTP status; what is
// wrong with the query is a response with status rejection and the failure of RFC 3161 section 2.4.2.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send an RFC 3161 query by POST", http.StatusMethodNotAllowed)
		return
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != queryType {
		http.Error(w, "the media type must be "+queryType, http.StatusUnsupportedMediaType)
		return
	}
	query, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "the query cannot be read", status)
		return
	}
	reply, err := a.answer(query)
	if err != nil {
		http.Error(w, "the response cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", replyType)
	// A client that went away is not our concern.
	_, _ = w.Write(reply)
}

// answer returns the response to a query, which may be a refusal; an error means that none could be made.
func (a *Authority) answer(query []byte) ([]byte, error) {
	req, err := timestamp.ParseRequest(query)
	switch {
	case err != nil:
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.BadDataFormat)
	case req.HashAlgorithm != crypto.SHA256:
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.BadAlgorithm)
	case len(req.HashedMessage) != crypto.SHA256.Size() || req.Nonce != nil && (req.Nonce.Sign() < 0 || req.Nonce.BitLen() > maxNonce):
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.BadDataFormat)
	case len(req.TSAPolicyOID) > 0 && !req.TSAPolicyOID.Equal(policyOID):
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.UnacceptedPolicy)
	case len(req.Extensions) > 0:
		return timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.UnacceptedExtension)
	}
	stamp := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: req.HashedMessage, Time: a.now().UTC(), Accuracy: a.accuracy,
		Nonce: req.Nonce, Policy: policyOID, AddTSACertificate: req.Certificates,
	}
	return stamp.CreateResponseWithOpts(a.signer, a.key, crypto.SHA256)
}

// Serve answers on l until ctx ends, lets requests under way finish for up to 5 s, and returns when nothing of it runs
// any more. It closes l. It returns nil after ctx has ended, else why it could not go on.
func Serve(ctx context.Context, l net.Listener, a *Authority) error {
	mux := http.NewServeMux()
	mux.Handle("/", a)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: ioTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, IdleTimeout: ioTimeout, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return vaultmesh.Errorf(vaultmesh.Unavailable, "tsa.serve", l.Addr().String(), "the server stopped").Because(err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		// Requests did not end in time: cut them off, so that nothing outlives this call.
		server.Close()
	}
	<-served
	return nil
}
