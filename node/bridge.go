package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	mcpapi "vaultmesh.org/vaultmesh/api/mcp"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// Client returns a client of the node that the credential names, which signs every request with the holder's key.
func (c *Credential) Client() (*httpapi.Client, error) {
	o := httpapi.Config{BaseURL: c.URL, Domain: c.Domain, Token: c.Token, Key: c.PrivateKey()}
	if c.CA != "" {
		o.CA = x509.NewCertPool()
		if !o.CA.AppendCertsFromPEM([]byte(c.CA)) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "credential", string(c.Principal), "ca holds no PEM certificate")
		}
	}
	return httpapi.NewClient(o)
}

// Bridge is a node elsewhere as MCP tools see it: every call becomes a request signed with the credential's key, so
// that an MCP client which knows nothing of capabilities can use one. Connect is called at the first use, and again
// after it failed.
type Bridge struct {
	Connect func(ctx context.Context) (*httpapi.Client, *receipt.Trust, error)

	mu     chan struct{} // held while connecting
	client *httpapi.Client
	trust  *receipt.Trust
}

// NewBridge returns a bridge that is not connected yet.
func NewBridge(connect func(ctx context.Context) (*httpapi.Client, *receipt.Trust, error)) *Bridge {
	return &Bridge{Connect: connect, mu: make(chan struct{}, 1)}
}

func (b *Bridge) connected(ctx context.Context) (*httpapi.Client, error) {
	select {
	case b.mu <- struct{}{}:
		defer func() { <-b.mu }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.client == nil {
		c, t, err := b.Connect(ctx)
		if err != nil {
			return nil, err
		}
		b.client, b.trust = c, t
	}
	return b.client, nil
}

// ask runs f with the client.
func ask[T any](ctx context.Context, b *Bridge, f func(*httpapi.Client) (T, error)) (T, error) {
	c, err := b.connected(ctx)
	if err != nil {
		var zero T
		return zero, err
	}
	out, err := f(c)
	if vaultmesh.KindOf(err) != vaultmesh.Unavailable || err == nil || c.Health(ctx) == nil {
		return out, err
	}
	// The node is gone, and may be back elsewhere. Every call may be repeated: a proposal has its idempotency key.
	b.forget(c)
	if c, err = b.connected(ctx); err != nil {
		return out, err
	}
	return f(c)
}

// forget drops a client whose node does not answer, so that the next call connects again.
func (b *Bridge) forget(c *httpapi.Client) {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	if b.client == c {
		c.Close()
		b.client = nil
	}
}

// Twins implements [mcpapi.Backend]; so do the methods that follow.
func (b *Bridge) Twins(ctx context.Context, _ control.Caller, f mcpapi.TwinFilter) (mcpapi.TwinPage, error) {
	return ask(ctx, b, func(c *httpapi.Client) (mcpapi.TwinPage, error) {
		p, err := c.Twins(ctx, httpapi.TwinQuery{Model: f.Model, Device: f.Device, Prefix: f.Prefix, After: f.After, Limit: f.Limit})
		return mcpapi.TwinPage(p), err
	})
}

func (b *Bridge) Twin(ctx context.Context, _ control.Caller, id vaultmesh.TwinID) (twin.Twin, error) {
	return ask(ctx, b, func(c *httpapi.Client) (twin.Twin, error) { return c.Twin(ctx, id) })
}

func (b *Bridge) History(ctx context.Context, _ control.Caller, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]twin.Point, error) {
	return ask(ctx, b, func(c *httpapi.Client) ([]twin.Point, error) {
		h, err := c.History(ctx, id, httpapi.HistoryQuery{Name: name, From: from, To: to, Limit: limit})
		return h.Points, err
	})
}

func (b *Bridge) Simulate(ctx context.Context, _ control.Caller, p control.Proposal, n1 bool) (whatif.Verdict, error) {
	return ask(ctx, b, func(c *httpapi.Client) (whatif.Verdict, error) { return c.Simulate(ctx, p, n1) })
}

// Propose sends the agent's own words beside the request that is signed, so that they can be erased.
func (b *Bridge) Propose(ctx context.Context, _ control.Caller, p control.Proposal) (control.Command, error) {
	p, err := p.Withheld(rand.Reader)
	if err != nil {
		return control.Command{}, err
	}
	return ask(ctx, b, func(c *httpapi.Client) (control.Command, error) { return c.Propose(ctx, p) })
}

func (b *Bridge) Command(ctx context.Context, _ control.Caller, id vaultmesh.CommandID) (control.Command, error) {
	return ask(ctx, b, func(c *httpapi.Client) (control.Command, error) { return c.Command(ctx, id) })
}

func (b *Bridge) Commands(ctx context.Context, _ control.Caller, f control.Filter) ([]control.Command, error) {
	return ask(ctx, b, func(c *httpapi.Client) ([]control.Command, error) { return c.List(ctx, f) })
}

func (b *Bridge) HaltState(ctx context.Context, _ control.Caller) (control.HaltState, error) {
	return ask(ctx, b, func(c *httpapi.Client) (control.HaltState, error) { return c.HaltState(ctx) })
}

func (b *Bridge) Bundle(ctx context.Context, _ control.Caller, ids []vaultmesh.CommandID) ([]byte, error) {
	return ask(ctx, b, func(c *httpapi.Client) ([]byte, error) { return c.Bundle(ctx, ids...) })
}

func (b *Bridge) Search(ctx context.Context, _ control.Caller, q lawchain.Search) (lawchain.Answer, error) {
	command, _ := strings.CutPrefix(q.Subject, receipt.CommandSubject(""))
	page, err := ask(ctx, b, func(c *httpapi.Client) (httpapi.SearchPage, error) {
		return c.Search(ctx, vaultmesh.CommandID(command), "", q)
	})
	a := lawchain.Answer{Next: page.Next, Unindexed: page.Unindexed}
	for i := 0; err == nil && i < len(page.Receipts); i++ {
		f := lawchain.Found{Index: page.Receipts[i].Index, Envelope: page.Receipts[i].Envelope}
		f.Receipt, err = receipt.Open(f.Envelope)
		a.Found = append(a.Found, f)
	}
	return a, err
}

func (b *Bridge) State(ctx context.Context, _ control.Caller, key string, size uint64) (mcpapi.StateProof, error) {
	p, err := ask(ctx, b, func(c *httpapi.Client) (httpapi.StateProof, error) {
		if id, ok := strings.CutPrefix(key, state.TwinKey("")); ok {
			return c.TwinState(ctx, vaultmesh.TwinID(id), "", size)
		}
		return c.SubjectState(ctx, strings.TrimPrefix(key, state.SubjectKey("")), size)
	})
	return stateProof(p), err
}

func (b *Bridge) AnchorNow(ctx context.Context, _ control.Caller, q anchor.Request) ([]anchor.Job, error) {
	return ask(ctx, b, func(c *httpapi.Client) ([]anchor.Job, error) { return c.AnchorNow(ctx, q) })
}

func (b *Bridge) Anchor(ctx context.Context, _ control.Caller, id string) (anchor.Job, error) {
	return ask(ctx, b, func(c *httpapi.Client) (anchor.Job, error) { return c.Anchor(ctx, id) })
}

func (b *Bridge) Anchors(ctx context.Context, _ control.Caller, f anchor.Filter) ([]anchor.Job, []anchor.Coverage, error) {
	p, err := ask(ctx, b, func(c *httpapi.Client) (httpapi.AnchorPage, error) { return c.Anchors(ctx, f) })
	return p.Jobs, p.Targets, err
}

// Trust returns what Connect found beside the credential.
func (b *Bridge) Trust(ctx context.Context) (*receipt.Trust, error) {
	if _, err := b.connected(ctx); err != nil {
		return nil, err
	}
	if b.trust == nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "trust", "", "no trust file is known here").WithFix("verify the bundle with `vaultmesh verify BUNDLE --trust FILE` and a file that you pinned")
	}
	return b.trust, nil
}

// Close lets go of the connection.
func (b *Bridge) Close() {
	if b.client != nil {
		b.client.Close()
	}
}

// LoadTrustBeside reads the trust file of the data folder to which a dev credential belongs; nil where there is none.
func LoadTrustBeside(credential string) *receipt.Trust {
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(credential)), "trust.json"))
	if err != nil || len(raw) > receipt.MaxTrust {
		return nil
	}
	t, err := receipt.LoadTrust(raw)
	if err != nil {
		return nil
	}
	return t
}
