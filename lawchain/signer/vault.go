package signer

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

// transit is a key of Vault's transit engine, of the one version that was the latest when it was opened: a rotation in
// Vault does not silently change who signs.
type transit struct {
	c       Config
	http    *http.Client
	public  ed25519.PublicKey
	version int
}

func openVault(ctx context.Context, c Config) (Key, error) {
	const op = "vault.open"
	if c.Mount == "" {
		c.Mount = "transit"
	}
	if strings.ContainsAny(c.Key, "/?#% ") || c.Key == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.Key, "not the name of a transit key")
	}
	u, err := url.Parse(c.Address)
	if err == nil && (u.User != nil || u.RawQuery != "") {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, remote.Place(c.Address), "the address holds a user, a password or a query").WithFix("write https://host:port alone; the token stands in the token file")
	}
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, remote.Place(c.Address), "not an https address; http is for this machine only, since a token would travel in the clear")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, c.CA, "no PEM file with the roots of the server").Because(err)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	t := &transit{c: c, http: &http.Client{Transport: direct{transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	return t, t.find(ctx)
}

// direct takes a redirect for a failure: it is not followed, and it is no answer.
type direct struct{ http.RoundTripper }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := d.RoundTripper.RoundTrip(r)
	if err == nil && answer.StatusCode/100 == 3 {
		_ = answer.Body.Close()
		return nil, errors.New("the server points to another address, which is not asked")
	}
	return answer, err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// find reads the public key.
func (t *transit) find(ctx context.Context) error {
	const op = "vault.open"
	client, err := t.authorised()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.c.Timeout)
	defer cancel()
	s, err := client.Logical().ReadWithContext(ctx, t.c.Mount+"/keys/"+t.c.Key)
	if err != nil {
		return t.failed(op, err)
	}
	if s == nil {
		return vaultmesh.Errorf(vaultmesh.NotFound, op, t.Where(), "there is no such key").WithFix("vault write -f %s/keys/%s type=ed25519", t.c.Mount, t.c.Key)
	}
	if kind, _ := s.Data["type"].(string); kind != "ed25519" {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, t.Where(), "its type is %.32q, want ed25519", kind)
	}
	if derived, _ := s.Data["derived"].(bool); derived {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, t.Where(), "it is a derived key: it has no one public key")
	}
	version, ok := number(s.Data["latest_version"])
	versions, _ := s.Data["keys"].(map[string]any)
	entry, _ := versions[strconv.Itoa(version)].(map[string]any)
	text, _ := entry["public_key"].(string)
	public, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(public) != ed25519.PublicKeySize {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, t.Where(), "the answer has no ed25519 public key of the latest version")
	}
	t.public, t.version = public, version
	return nil
}

func number(v any) (int, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(n.String())
	return i, err == nil && i > 0
}

// authorised returns a client with the token as it is now: an agent may renew the file.
func (t *transit) authorised() (*api.Client, error) {
	secret, err := ReadSecret(t.c.TokenFile)
	if err != nil {
		return nil, err
	}
	// Made anew each time, and of the configuration alone: what the VAULT_ environment says (another address, no
	// verification) must not decide where a root key is asked. Nor does a redirect: the token
	// would go along.
	client, err := api.NewClient(&api.Config{Address: t.c.Address, HttpClient: t.http, DisableRedirects: true, Timeout: t.c.Timeout, MaxRetries: 1, MinRetryWait: 200 * time.Millisecond, MaxRetryWait: time.Second})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "vault.open", t.Where(), "no client can be made for it").Because(err)
	}
	client.ClearNamespace()
	if t.c.Namespace != "" {
		client.SetNamespace(t.c.Namespace)
	}
	client.SetToken(secret)
	return client, nil
}

// failed gives an error of the API its kind. The library's text may hold the host and the path that was asked, never the token.
func (t *transit) failed(op string, err error) error {
	kind := vaultmesh.Unavailable
	var r *api.ResponseError
	if errors.As(err, &r) {
		switch r.StatusCode {
		case http.StatusForbidden, http.StatusUnauthorized:
			kind = vaultmesh.Denied
		case http.StatusBadRequest, http.StatusNotFound:
			kind = vaultmesh.Invalid
		}
	}
	return vaultmesh.Errorf(kind, op, t.Where(), "Vault refused or did not answer").Because(remote.Cause(err)).WithFix("the token needs read on %s/keys/%s and update on %s/sign/%s", t.c.Mount, t.c.Key, t.c.Mount, t.c.Key)
}

func (t *transit) Public() ed25519.PublicKey { return t.public }

func (t *transit) Where() string {
	return "Vault " + remote.Place(t.c.Address) + ", " + t.c.Mount + "/" + t.c.Key
}

func (t *transit) Close() error {
	t.http.CloseIdleConnections()
	return nil
}

func (t *transit) Sign(ctx context.Context, message []byte) ([]byte, error) {
	const op = "key.sign"
	client, err := t.authorised()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.c.Timeout)
	defer cancel()
	s, err := client.Logical().WriteWithContext(ctx, t.c.Mount+"/sign/"+t.c.Key, map[string]any{"input": base64.StdEncoding.EncodeToString(message), "key_version": t.version})
	if err != nil {
		return nil, t.failed(op, err)
	}
	text := ""
	if s != nil {
		text, _ = s.Data["signature"].(string)
	}
	rest, ok := strings.CutPrefix(text, "vault:v"+strconv.Itoa(t.version)+":")
	signature, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, t.Where(), "the answer is no signature by version %d of the key", t.version)
	}
	return checked(t, message, signature)
}
