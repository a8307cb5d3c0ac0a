package bitcoin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

// Bounds of one exchange with the node.
const (
	maxReply     = 1 << 20  // bytes of most answers
	maxBulkReply = 48 << 20 // of a block, or of a page of transactions, in hexadecimal
	maxSecret    = 4096     // of a credentials or key file
)

// rpc speaks JSON-RPC over HTTP with a Bitcoin node. It is safe for concurrent use. Errors never hold the credentials, nor
// what is behind the host in the URL; and of the node's own words only a bounded part.
type rpc struct {
	url         string
	credentials string // file with "user:password"; empty: none
	client      *http.Client
	timeout     time.Duration

	mu   sync.Mutex
	user string // as last read from credentials
	pass string
	next uint64
}

func newRPC(o *Options) (*rpc, error) {
	const op = "bitcoin.node"
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "url", "not an address of the form https://host:port").WithFix("user and password stand in the credentials file")
	}
	transport := &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: false, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, o.CA, "cannot read the node's certificate").Because(err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, o.CA, "it holds no PEM certificate").WithFix("btcd writes its own to rpc.cert")
		}
	}
	c := &rpc{url: o.URL, credentials: o.Credentials, timeout: o.Timeout, client: &http.Client{Transport: transport,
		// An answer that leads elsewhere would take the credentials along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if o.Credentials != "" {
		if err := c.login(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// readSecret reads a small file that its owner alone may read, without white space around its content.
func readSecret(path string) (string, error) {
	const op = "bitcoin.secret"
	f, err := os.Open(path)
	if err != nil {
		kind := vaultmesh.Unavailable
		if errors.Is(err, fs.ErrNotExist) {
			kind = vaultmesh.NotFound
		}
		return "", vaultmesh.Errorf(kind, op, path, "cannot read").Because(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() > maxSecret {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, op, path, "not a regular file of at most %d bytes", maxSecret)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", vaultmesh.Errorf(vaultmesh.Denied, op, path, "others than its owner may read it (mode %o)", st.Mode().Perm()).WithFix("chmod 600 %s", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Unavailable, op, path, "cannot read").Because(err)
	}
	return strings.TrimSpace(string(b)), nil
}

// login reads the credentials. It is done again after a refusal: Bitcoin Core writes a new cookie at each start.
func (c *rpc) login() error {
	text, err := readSecret(c.credentials)
	if err != nil {
		return err
	}
	user, pass, ok := strings.Cut(text, ":")
	if !ok || user == "" || strings.ContainsAny(text, "\r\n") {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.node", c.credentials, "it does not hold one line of the form user:password")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user, c.pass = user, pass
	return nil
}

// nodeError is an error that the node itself answered with.
type nodeError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *nodeError) Error() string {
	return fmt.Sprintf("the node says %.200q (%d)", e.Message, e.Code)
}

// Codes that both dialects use.
const (
	codeNoMethod = -32601
	codeNoTx     = -5 // no such transaction, block, address
)

// refusedBy returns what the node said, where err is its own refusal and not a failure to reach it.
func refusedBy(err error) *nodeError {
	var e *nodeError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// call asks and decodes the result into out, which may be nil. The node's own refusals are of kind Conflict and hold a
// *nodeError; everything else is Unavailable (retry), Denied (credentials), TooLarge or Corrupt (not an answer).
func (c *rpc) call(ctx context.Context, out any, limit int64, method string, params ...any) error {
	raw, err := c.exchange(ctx, limit, method, params)
	if vaultmesh.KindOf(err) == vaultmesh.Denied && c.credentials != "" && c.login() == nil {
		raw, err = c.exchange(ctx, limit, method, params)
	}
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "bitcoin.node", method, "the answer is not of the documented form").Because(err)
	}
	return nil
}

func (c *rpc) exchange(ctx context.Context, limit int64, method string, params []any) (json.RawMessage, error) {
	const op = "bitcoin.node"
	c.mu.Lock()
	c.next++
	id, user, pass := c.next, c.user, c.pass
	c.mu.Unlock()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": id, "method": method, "params": params})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, method, "the question cannot be encoded").Because(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, method, "not the address of a node")
	}
	req.Header.Set("Content-Type", "application/json")
	if user != "" {
		req.SetBasicAuth(user, pass)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, method, "the node does not answer").Because(remote.Cause(err)).WithFix("check that it runs, and its address and certificate")
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, op, method, "the answer has more than %d bytes", limit)
	}
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, method, "the answer broke off").Because(remote.Cause(err))
	}
	return answer(resp.StatusCode, text, id, method)
}

// answer reads the envelope of an answer. Bitcoin Core gives refusals with HTTP status 404 and 500, btcd with 200.
func answer(status int, text []byte, id uint64, method string) (json.RawMessage, error) {
	const op = "bitcoin.node"
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, method, "the node refuses the credentials (HTTP status %d)", status).WithFix("write user:password of the node's RPC into the credentials file")
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, method, "the node is busy (HTTP status %d)", status)
	}
	var envelope struct {
		Result json.RawMessage `json:"result"`
		Error  *nodeError      `json:"error"`
		ID     *uint64         `json:"id"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, method, "the answer (HTTP status %d) is not JSON-RPC", status).WithFix("is this the address of a Bitcoin node's RPC?")
	}
	if envelope.Error != nil {
		if envelope.Error.Code == -28 { // starting: Bitcoin Core
			return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, method, "the node is starting").Because(envelope.Error)
		}
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, method, "refused").Because(envelope.Error)
	}
	if status != http.StatusOK {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, method, "HTTP status %d", status)
	}
	if envelope.ID == nil || *envelope.ID != id {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, method, "the answer is not that to the question")
	}
	return envelope.Result, nil
}

func (c *rpc) close() { c.client.CloseIdleConnections() }
