package rig

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/node"
)

// Client signs requests by itself, after the documented form and without the product's own client, so that the two
// cannot agree on a mistake. It is safe for concurrent use.
type Client struct {
	Domain    vaultmesh.Domain
	Principal vaultmesh.Principal
	Token     string
	Key       ed25519.PrivateKey
	URL       string
	http      *http.Client
}

// NewClient speaks for a credential.
func NewClient(c *node.Credential) *Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.CA))
	return &Client{Domain: c.Domain, Principal: c.Principal, Token: c.Token, Key: c.PrivateKey(), URL: c.URL, http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 8},
	}}
}

// LoadClient speaks for a credential that a dev node made.
func LoadClient(data, name string) (*Client, error) {
	c, err := node.LoadCredential(node.CredentialPath(data, name))
	if err != nil {
		return nil, err
	}
	return NewClient(c), nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Problem is an answer that is not 2xx.
type Problem struct {
	Status  int    `json:"status"`
	Kind    string `json:"kind"`
	Detail  string `json:"detail"`
	Fix     string `json:"fix"`
	Op      string `json:"op"`
	Subject string `json:"subject"`
	Header  http.Header
}

// Error implements error.
func (p *Problem) Error() string {
	return fmt.Sprintf("%d %s: %s %s: %s (%s)", p.Status, p.Kind, p.Op, p.Subject, p.Detail, p.Fix)
}

// StatusOf returns the HTTP status of an error, 0 where there was no answer.
func StatusOf(err error) int {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// Request returns a signed request.
func (c *Client) Request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	target := capability.Target{Domain: c.Domain, Method: method, Path: r.URL.RequestURI(), Body: vaultmesh.Sum(body)}
	r.Header.Set("VaultMesh-Capability", c.Token)
	r.Header.Set("VaultMesh-Proof", capability.SignProof(c.Key, target, time.Now(), rand.Text()))
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// Send sends a request and returns the body of a 2xx answer; any other answer is a *[Problem].
func (c *Client) Send(r *http.Request) ([]byte, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return b, nil
	}
	p := &Problem{Header: resp.Header}
	if err := json.Unmarshal(b, p); err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		p.Detail = fmt.Sprintf("not a problem document: %.200q", b)
	}
	p.Status = resp.StatusCode
	return nil, p
}

// Call sends in as JSON (nil for no body) and decodes the answer into out (nil to ignore it).
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := c.Request(ctx, method, path, body)
	if err != nil {
		return err
	}
	b, err := c.Send(r)
	if err != nil || out == nil {
		return err
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	return json.Unmarshal(b, out)
}

// Insist is Call, repeated with the same body while there is no answer or one that says to try later, until ctx ends.
func (c *Client) Insist(ctx context.Context, method, path string, in, out any) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Call(ctx, method, path, in, out)
		switch StatusOf(err) {
		case 0, http.StatusTooManyRequests, http.StatusServiceUnavailable:
			if err == nil {
				return nil
			}
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
