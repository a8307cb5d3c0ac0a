package httpapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Config says which node a [Client] asks, and as whom.
type Config struct {
	BaseURL string           // "https://node:8443"; "http" for loopback only
	Domain  vaultmesh.Domain // of the node; the proof names it
	CA      *x509.CertPool   // who signs the node's certificate; nil means the system's roots
	Token   string           // a capability; may be empty for the open routes
	Key     ed25519.PrivateKey
	// Certificate is a TLS client certificate. If it is for the token's holder key, Key may be nil.
	Certificate *tls.Certificate
	Now         func() time.Time // default time.Now
	Random      io.Reader        // of nonces; default crypto/rand
	Timeout     time.Duration    // of one request, feeds excepted; default 1 min
}

// Client asks one node. Its methods return errors of the node as *vaultmesh.Error with the kind, operation, subject,
// detail and fix that the node said; a node that cannot be reached is Unavailable. It never retries by itself. It is
// safe for concurrent use. Call [Client.Close] at the end.
type Client struct {
	base    *url.URL
	http    *http.Client
	pool    *http.Transport
	timeout time.Duration
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// NewClient checks the configuration; it does not connect.
func NewClient(c Config) (*Client, error) {
	const op = "client"
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.User != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "BaseURL", "it is no http or https address").WithFix("write it as https://node:8443")
	}
	if base.Scheme == "http" && !loopbackHost(base.Hostname()) {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, "BaseURL", "a token is sent over TLS only").WithFix("use https, or loopback")
	}
	if c.Token != "" && c.Key == nil && c.Certificate == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "Key", "a token needs the key of its holder").WithFix("give the key, or its TLS client certificate")
	}
	if c.Key != nil {
		if len(c.Key) != ed25519.PrivateKeySize {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "Key", "it has %d bytes, want %d", len(c.Key), ed25519.PrivateKeySize)
		}
		if err := vaultmesh.CheckID("domain", string(c.Domain)); err != nil {
			return nil, vaultmesh.Wrap(err, op, "Domain")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	set(&c.Timeout, time.Minute)
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.CA}
	if c.Certificate != nil {
		config.Certificates = []tls.Certificate{*c.Certificate}
	}
	pool := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	return &Client{
		base: base, pool: pool, timeout: c.Timeout,
		http: &http.Client{
			Transport:     &Transport{Base: pool, Domain: c.Domain, Token: c.Token, Key: c.Key, Host: base.Host, Now: c.Now, Random: c.Random},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// HTTP returns the signing HTTP client, for routes that a node mounts beside this package's.
func (c *Client) HTTP() *http.Client { return c.http }

// Close lets go of the idle connections.
func (c *Client) Close() { c.pool.CloseIdleConnections() }

// call is one request of the typed methods.
type call struct {
	method, path string
	query        url.Values
	body         any // nil for none
	header       http.Header
}

// do sends and returns the body of a 2xx answer.
func (c *Client) do(ctx context.Context, k call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body io.Reader
	if k.body != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(k.body); err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "client", k.path, "the body cannot be encoded").Because(err)
		}
		body = &b
	}
	r, err := http.NewRequestWithContext(ctx, k.method, c.url(k.path, k.query), body)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "client", k.path, "no such request").Because(err)
	}
	for name, values := range k.header {
		r.Header[name] = values
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(c.base.Host, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "client", c.base.Host, "the answer broke off").Because(err)
	case len(b) > maxAnswer:
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "client", c.base.Host, "the answer has more than %d bytes", maxAnswer).WithFix("ask for less with limit")
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, problem(resp, b)
	}
	return b, nil
}

func (c *Client) url(path string, query url.Values) string {
	u := *c.base
	u.RawPath = u.EscapedPath() + path // path is escaped already
	u.Path, _ = url.PathUnescape(u.RawPath)
	u.RawQuery = query.Encode()
	return u.String()
}

// get sends k and decodes the answer.
func get[T any](ctx context.Context, c *Client, k call) (T, error) {
	var v T
	b, err := c.do(ctx, k)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, vaultmesh.Errorf(vaultmesh.Corrupt, "client", k.path, "the answer cannot be read").
			WithFix("check that BaseURL is a VaultMesh node of this version").Because(err)
	}
	return v, nil
}

func unreachable(host string, err error) error {
	return vaultmesh.Errorf(vaultmesh.Unavailable, "client", host, "the node cannot be asked").
		WithFix("check the address, that the node runs, and its certificate").Because(err)
}

// problem makes an error answer the error that the node had.
func problem(resp *http.Response, b []byte) error {
	var p Problem
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), problemType) || json.Unmarshal(b, &p) != nil {
		// What stands between may answer in its own words: only the status can be trusted.
		kind := vaultmesh.Invalid
		if resp.StatusCode >= 500 {
			kind = vaultmesh.Unavailable
		}
		for k, s := range statuses {
			if s.status == resp.StatusCode && s.status < 500 && k != vaultmesh.Stale {
				kind = k
			}
		}
		if resp.StatusCode == http.StatusUnauthorized {
			kind = vaultmesh.Denied
		}
		return vaultmesh.Errorf(kind, "client", resp.Request.URL.Path, "status %d without a problem document", resp.StatusCode).
			WithFix("check that BaseURL is a VaultMesh node, and what stands between")
	}
	e := &vaultmesh.Error{Kind: vaultmesh.Internal, Op: p.Op, Subject: p.Subject, Detail: p.Detail, Fix: p.Fix}
	for k := range statuses {
		if k.String() == p.Kind {
			e.Kind = k
		}
	}
	if e.Op == "" {
		e.Op = "node"
	}
	return e
}
