// Package tsa owns trusted time-stamps (RFC 3161): a client that accepts a response only after it has verified it, and
// a small authority for development and tests. It is on floor 2.
//
// It must not know what is stamped (a digest is a digest), nor when and how often: that is the caller's.
package tsa

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"mime"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
	"vaultmesh.org/vaultmesh/receipt"
)

// Media types of RFC 3161 section 3.4.
const (
	queryType = "application/timestamp-query"
	replyType = "application/timestamp-reply"
)

// maxReply bounds a response in bytes; a token with its chain has 1 to 8 KiB.
const maxReply = 16 << 10

// Client asks one authority. Its fields must not change while it is used; it is safe for concurrent use.
type Client struct {
	URL     string         // of the authority, http or https; what is behind its host may be secret and shows in no error
	Roots   *x509.CertPool // the chain of a response must lead to one of these; required
	HTTP    *http.Client   // nil means http.DefaultClient
	Timeout time.Duration  // for one request; 0 means 10 s
	Random  io.Reader      // source of nonces; nil means crypto/rand
}

// Request has digest stamped and returns the response as received (DER, at most 16 KiB) once its status, message
// imprint, nonce, signature and certificate chain are verified, with what it says. Errors: Unavailable where the
// authority cannot be reached or is busy (retry later), Denied where it refuses, Corrupt or Invalid where its
// response does not hold, TooLarge. Nothing is retried here.
func (c *Client) Request(ctx context.Context, digest vaultmesh.Digest) ([]byte, receipt.Timestamp, error) {
	const op = "tsa.request"
	random := c.Random
	if random == nil {
		random = rand.Reader
	}
	nonce, err := rand.Int(random, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, receipt.Timestamp{}, vaultmesh.Errorf(vaultmesh.Internal, op, c.where(), "no nonce").Because(err)
	}
	query, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true, Nonce: nonce}).Marshal()
	if err != nil {
		return nil, receipt.Timestamp{}, vaultmesh.Errorf(vaultmesh.Internal, op, c.where(), "the query cannot be encoded").Because(err)
	}
	reply, err := c.post(ctx, query)
	if err != nil {
		return nil, receipt.Timestamp{}, err
	}
	ts, err := receipt.VerifyTimestamp(reply, digest, c.Roots)
	if err != nil {
		return nil, receipt.Timestamp{}, vaultmesh.Wrap(err, op, c.where())
	}
	if ts.Nonce == nil || ts.Nonce.Cmp(nonce) != 0 {
		return nil, receipt.Timestamp{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, c.where(), "the response does not hold the nonce of the request: it may be an old one")
	}
	return reply, ts, nil
}

// where names the authority in errors.
func (c *Client) where() string { return remote.Place(c.URL) }

func (c *Client) post(ctx context.Context, query []byte) ([]byte, error) {
	const op = "tsa.request"
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(query))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.where(), "not the URL of an authority")
	}
	req.Header.Set("Content-Type", queryType)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.where(), "the authority does not answer").Because(remote.Cause(err)).WithFix("check the URL and the network; retry later")
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, maxReply))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, c.where(), "the response has more than %d bytes", maxReply)
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.where(), "the response broke off").Because(remote.Cause(err))
	}
	switch media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.where(), "HTTP status %d", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, c.where(), "HTTP status %d", resp.StatusCode)
	case media != replyType:
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.where(), "the response has media type %.80q, not %s", media, replyType).WithFix("is the URL that of a time-stamping authority?")
	}
	return reply, nil
}
