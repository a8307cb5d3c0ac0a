package bucket

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

// web is a [Bucket] behind a web server, to read only.
type web struct {
	base   string
	where  string
	client *http.Client
}

// NewHTTP returns what a web server holds below the URL, to read only. A nil client has bounded times, follows no
// redirect and uses the system's roots.
func NewHTTP(address string, client *http.Client) (Bucket, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bucket.open", "", "not the address of a published log").WithFix("write https://host/log/")
	}
	if client == nil {
		client = &http.Client{Timeout: time.Minute}
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &web{base: strings.TrimSuffix(u.String(), "/") + "/", where: place(u), client: &c}, nil
}

// String implements [Bucket].
func (h *web) String() string { return h.where }

// Close implements [Bucket].
func (h *web) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

// object names an object without what the address holds of users and passwords.
func (h *web) object(name string) string { return strings.TrimSuffix(h.where, "/") + "/" + name }

// Get implements [Bucket].
func (h *web) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	const op = "bucket.get"
	if err := check(op, name); err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+name, nil)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, name, "not a name of an object")
	}
	a, err := h.client.Do(q)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, h.where, "the server does not answer").Because(remote.Cause(err))
	}
	defer func() { _ = a.Body.Close() }()
	switch a.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, op, h.object(name), "no such object")
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, h.object(name), "the server answers %s", a.Status)
	default:
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, h.object(name), "the server answers %s", a.Status)
	}
	b, err := io.ReadAll(io.LimitReader(a.Body, limit+1))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, h.object(name), "the answer breaks off").Because(remote.Cause(err))
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(h.object(name), limit)
	}
	return b, nil
}

func (h *web) readOnly(op string) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, op, h.where, "a web server can only be read")
}

// Create implements [Bucket].
func (h *web) Create(context.Context, string, []byte, Retention) error {
	return h.readOnly("bucket.create")
}

// Replace implements [Bucket].
func (h *web) Replace(context.Context, string, []byte) error { return h.readOnly("bucket.replace") }

// Delete implements [Bucket].
func (h *web) Delete(context.Context, string) error { return h.readOnly("bucket.delete") }

// List implements [Bucket].
func (h *web) List(context.Context, string, func(Object) (bool, error)) error {
	return h.readOnly("bucket.list")
}
