package ethereum

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

// Bounds of one call.
const (
	smallReply = 1 << 20   // bytes; of a block without its transactions' bodies some 200 KiB
	largeReply = 128 << 20 // the receipts of a whole block: some 10 MiB on the main network, and much more where somebody fills one with logs
	callTime   = 8 * time.Second
	maxMessage = 300 // bytes of a node's error text that are kept
)

// Endpoint is one node's JSON-RPC over HTTP. The URL often holds the key of an account with a provider: it is never
// logged and never part of an error, which name the endpoint by its Name.
type Endpoint struct {
	Name string // for people; empty: the URL's host
	URL  string // http or https
}

// client speaks to one endpoint. It is safe for concurrent use.
type client struct {
	name string
	url  string
	http *http.Client
	time time.Duration
	id   atomic.Uint64

	checked atomic.Int64 // when the endpoint last said that it is on the right chain, in Unix seconds
	failed  atomic.Bool  // the last call got no answer: others are asked first
}

func newClient(e Endpoint, transport http.RoundTripper, timeout time.Duration) (*client, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.endpoint", e.Name, "not an http or https URL").WithFix("give an endpoint as https://host/path")
	}
	if e.Name == "" {
		e.Name = u.Host
	}
	if timeout <= 0 {
		timeout = callTime
	}
	return &client{name: e.Name, url: e.URL, time: timeout, http: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// remoteError is what a node answered instead of a result.
type remoteError struct {
	Code    int64  `json:"code"`
	Message string `json:"message"`
}

func (e *remoteError) Error() string { return plain(e.Message) }

// plain makes a foreign text fit to be shown: one line, bounded.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s[:min(len(s), maxMessage)])
	return strings.ToValidUTF8(s, "?")
}

// noMethod is JSON-RPC's code for a method that a node does not have.
const noMethod = -32601

// call asks one thing; result gets what the node answered and may be nil. limit bounds the reply in bytes. Errors are of
// kind Unavailable, RateLimited, TooLarge or Invalid; where the node itself refused, the cause is a *remoteError.
func (c *client) call(ctx context.Context, result any, limit int64, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	id := c.id.Add(1)
	query, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      uint64 `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"2.0", id, method, params})
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "ethereum."+method, c.name, "the query cannot be encoded").Because(err)
	}
	reply, err := c.post(ctx, query, limit, method)
	if err != nil {
		return err
	}
	var answer struct {
		ID     *uint64         `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *remoteError    `json:"error"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum."+method, c.name, "the answer is not JSON-RPC")
	}
	if answer.Error != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "ethereum."+method, c.name, "the node refuses (code %d)", answer.Error.Code).Because(answer.Error)
	}
	if answer.ID == nil || *answer.ID != id || answer.Result == nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum."+method, c.name, "the answer is to another question")
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum."+method, c.name, "the answer has another form than asked for").Because(err)
	}
	return nil
}

func (c *client) post(ctx context.Context, query []byte, limit int64, method string) ([]byte, error) {
	op := "ethereum." + method
	ctx, cancel := context.WithTimeout(ctx, c.time)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(query))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.name, "not the URL of a node")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	c.failed.Store(err != nil)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.name, "the node does not answer").Because(remote.Cause(err)).WithFix("check the endpoint and the network; it is tried again")
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, c.name, "the answer has more than %d bytes", limit)
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.name, "the answer broke off").Because(remote.Cause(err))
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return nil, vaultmesh.Errorf(vaultmesh.RateLimited, op, c.name, "HTTP status %d", resp.StatusCode)
	case resp.StatusCode != http.StatusOK && !bytes.Contains(reply, []byte(`"jsonrpc"`)): // some nodes send errors with another status
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.name, "HTTP status %d", resp.StatusCode)
	}
	return reply, nil
}

// refusal returns what a node answered instead of a result, and nil for any other error.
func refusal(err error) *remoteError {
	var r *remoteError
	if errors.As(err, &r) {
		return r
	}
	return nil
}
