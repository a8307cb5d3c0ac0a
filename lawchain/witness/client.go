package witness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

// maxAhead is how far the time of a cosignature may lie in the future: the clocks of witnesses are not ours. maxBehind is how
// far it may lie before the request: a witness may answer with a cosignature that it made before, and one of another day dates
// nothing and tells of a clock that is wrong.
const (
	maxAhead  = 10 * time.Minute
	maxBehind = 24 * time.Hour
)

// Client asks one witness. It is safe for concurrent use.
type Client struct {
	URL      string        // prefix of the witness's interface, without a final slash
	Verifier note.Verifier // of its cosignatures
	HTTP     *http.Client  // must not follow redirects; nil: a client of its own
	Now      func() time.Time
}

// SizeError is a 409: the witness holds a checkpoint of another size than the caller believes, or, where it is the very
// size of Old, another root.
type SizeError struct{ Old, Held uint64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the witness holds size %d, it was asked with old size %d", e.Held, e.Old)
}

// errProof is a 422: for the witness, the checkpoint does not extend what it holds.
var errProof = vaultmesh.Errorf(vaultmesh.Conflict, "witness.ask", "", "the witness says that the checkpoint does not extend the one that it holds")

// plainClient follows no redirect: a witness is the address that the policy names.
var plainClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Add submits a checkpoint and returns the witness's signatures over it, verified: unknown keys are ignored, and a
// cosignature that does not verify, or whose time lies in the future or long before the request, is an error of kind Corrupt. A 409 is a
// [*SizeError].
func (c *Client) Add(ctx context.Context, r Request) ([]note.Signature, error) {
	const op = "witness.ask"
	asked := c.now()
	status, kind, body, err := c.do(ctx, http.MethodPost, c.URL+"/add-checkpoint", r.Marshal())
	if err != nil {
		return nil, err
	}
	switch status {
	case http.StatusOK:
		return c.open(r.Checkpoint, body, asked)
	case http.StatusConflict:
		held, ok := decimal(bytes.TrimSuffix(body, []byte("\n")))
		if kind != sizeType || !ok {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, remote.Place(c.URL), "the answer 409 does not tell a size")
		}
		return nil, &SizeError{Old: r.Old, Held: held}
	case http.StatusUnprocessableEntity:
		return nil, errProof
	case http.StatusNotFound:
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, remote.Place(c.URL), "the witness does not know this log").WithFix("give its operator the log's verifier key, and check the URL in the policy")
	case http.StatusForbidden:
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, remote.Place(c.URL), "the witness does not know the key that signed").WithFix("give its operator the log's present verifier key; after a rotation, before the old one is retired")
	}
	return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, remote.Place(c.URL), "the witness answered with status %d", status)
}

// Held asks for the checkpoint that the witness holds. Not every witness has this route; what it gives is not verified.
func (c *Client) Held(ctx context.Context, origin string) ([]byte, error) {
	status, _, body, err := c.do(ctx, http.MethodGet, c.URL+"/log/"+originName(origin)+"/checkpoint", nil)
	if err == nil && status != http.StatusOK {
		err = vaultmesh.Errorf(vaultmesh.NotFound, "witness.held", remote.Place(c.URL), "the witness answered with status %d", status)
	}
	return body, err
}

func (c *Client) do(ctx context.Context, method, url string, body []byte) (status int, kind string, answer []byte, err error) {
	const op = "witness.ask"
	q, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, vaultmesh.Errorf(vaultmesh.Invalid, op, remote.Place(c.URL), "not an address")
	}
	client := c.HTTP
	if client == nil {
		client = plainClient
	}
	r, err := client.Do(q)
	if err != nil {
		return 0, "", nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, remote.Place(c.URL), "the witness cannot be reached").Because(remote.Cause(err))
	}
	defer r.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(r.Body, MaxRequest+1)); err != nil {
		return 0, "", nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, remote.Place(c.URL), "the answer was cut off").Because(remote.Cause(err))
	}
	if len(answer) > MaxRequest {
		return 0, "", nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, remote.Place(c.URL), "an answer of more than %d bytes", MaxRequest)
	}
	return r.StatusCode, r.Header.Get("Content-Type"), answer, nil
}

// open verifies the signature lines of an answer over the checkpoint, for which was asked at that time.
func (c *Client) open(checkpoint, lines []byte, asked time.Time) ([]note.Signature, error) {
	const op = "witness.ask"
	// Only the text and the witness's own lines: signatures that the checkpoint had before are not its answer.
	_, text, err := parseText(checkpoint)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(append(append(bytes.Clone(text), '\n'), lines...), note.VerifierList(c.Verifier))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, remote.Place(c.URL), "its answer has no cosignature by %s that verifies", c.Verifier.Name()).Because(err)
	}
	at, err := fnote.CoSigV1Timestamp(n.Sigs[0])
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, remote.Place(c.URL), "the cosignature has no time").Because(err)
	}
	if now := c.now(); at.After(now.Add(maxAhead)) || at.Before(asked.Add(-maxBehind)) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, remote.Place(c.URL), "the cosignature is dated %s, now is %s: its time would prove nothing", at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).
			WithFix("let the witness's operator set its clock, or look at this machine's")
	}
	return n.Sigs, nil
}

func (c *Client) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
