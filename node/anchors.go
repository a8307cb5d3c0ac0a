package node

import (
	"context"
	"crypto/x509"
	"math/rand/v2"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/lawchain/anchor/bitcoin"
	"vaultmesh.org/vaultmesh/lawchain/anchor/ethereum"
	"vaultmesh.org/vaultmesh/lawchain/anchor/tsa"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/receipt"
)

// anchors are the configured targets and the engine that works them. It answers what the faces ask: it is an
// [httpapi.Anchors].
type anchors struct {
	n *Node
	*anchor.Engine
	settled chan struct{} // capacity 1: an anchor became final, or was lost
	close   func()
}

// maxRoots bounds a file of root certificates.
const maxRoots = 1 << 20

// newAnchors opens the configured targets. None of them is asked anything yet.
func newAnchors(n *Node) (*anchors, error) {
	o := anchor.Options{Log: n.log, Journal: n.journal, Actor: n.actor, Now: n.now, Logger: n.l, Seed: rand.Uint64()}
	a := &anchors{n: n, settled: make(chan struct{}, 1), close: func() {}}
	o.Settled = func(j anchor.Job) {
		if j.Kind != receipt.AnchorEthereum {
			return
		}
		select {
		case a.settled <- struct{}{}:
		default:
		}
	}
	for _, c := range n.cfg.authorities() {
		pem, err := readRoots(c)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "anchors.rfc3161", c.Roots, "it holds no PEM certificate")
		}
		client := &tsa.Client{URL: c.URL, Roots: roots, Timeout: c.Timeout}
		o.Plans = append(o.Plans, anchor.Plan{Target: &tsa.Target{Authority: c.Name, Client: client, Drift: c.Drift, Accuracy: c.Accuracy, Now: n.now}, Every: c.Every})
	}
	if c := &n.cfg.Anchors.Bitcoin; c.URL != "" {
		options, err := c.options()
		if err != nil {
			return nil, err
		}
		options.Now = n.now
		target, err := bitcoin.New(options)
		if err != nil {
			return nil, err
		}
		a.close = target.Close
		n.l.Info("anchors in Bitcoin are paid by", "address", target.Address(), "network", c.Network)
		o.Plans = append(o.Plans, anchor.Plan{Target: target, Every: c.Every})
	}
	if c := &n.cfg.Anchors.Ethereum; c.Enabled() {
		options, err := c.Options(n.now, n.l)
		if err != nil {
			return nil, err
		}
		target, err := ethereum.New(options)
		if err != nil {
			return nil, err
		}
		o.Plans = append(o.Plans, anchor.Plan{Target: target, Every: c.Every})
	}
	var err error
	a.Engine, err = anchor.New(o)
	return a, err
}

func readRoots(c AuthorityConfig) ([]byte, error) {
	pem, err := os.ReadFile(c.Roots)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "anchors.rfc3161", c.Roots, "the roots of the authority %s cannot be read", c.Name).Because(err)
	}
	if len(pem) > maxRoots {
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "anchors.rfc3161", c.Roots, "more than %d bytes", maxRoots)
	}
	return pem, nil
}

func (a *anchors) run(ctx context.Context) {
	defer a.close()
	a.n.loop(func() { a.keepTrust(ctx) })
	a.Run(ctx)
}

// keepTrust writes the trust file anew when there is another block of Ethereum to pin.
func (a *anchors) keepTrust(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.settled:
		}
		if err := a.n.writeTrust(); err != nil {
			a.n.l.Warn("cannot write the trust file", "error", err)
		}
	}
}

// maxBlocks bounds the blocks that the node's own trust file pins.
const maxBlocks = 10_000

// trusted is what the node itself says that an auditor may pin. A block of Ethereum does not prove itself, so the node names
// those that its nodes called final; an auditor asks others.
func (n *Node) trusted() (*receipt.Trust, error) {
	t := *n.pinned
	if t.Ethereum == nil {
		return &t, nil
	}
	blocks, err := anchor.Blocks(n.journal, receipt.AnchorEthereum, maxBlocks)
	if err != nil {
		return nil, err
	}
	p := *t.Ethereum
	p.Blocks = make([]eth.Hash, len(blocks))
	for i, b := range blocks {
		if err := p.Blocks[i].UnmarshalText([]byte(b)); err != nil {
			return nil, vaultmesh.Wrap(err, "trust", "ethereum.blocks")
		}
	}
	t.Ethereum = &p
	return &t, nil
}

func (a *anchors) collectors() []prometheus.Collector { return []prometheus.Collector{a.Engine} }

// Request implements [httpapi.Anchors]: whoever may anchor may spend what the caps of the targets allow.
func (a *anchors) Request(ctx context.Context, caller control.Caller, q anchor.Request) ([]anchor.Job, error) {
	const op = "anchor.request"
	if caller.Capability == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, "", "no capability was presented").WithFix("send a capability token and a proof of possession")
	}
	if err := caller.Capability.ValidAt(a.n.now()); err != nil {
		return nil, err
	}
	if err := caller.Capability.Allows(capability.Action{Verb: capability.Anchor}); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, op, string(caller.Principal), "the capability does not allow to anchor").Because(err).
			WithFix("ask for a token with the action %s on all twins (*); the schedule anchors without being asked", capability.Anchor)
	}
	q.By, q.Capability = caller.Principal, caller.Capability.Digest()
	return a.Engine.Request(ctx, q)
}

// covering returns the final anchors of checkpoints that cover the receipt, and of a target that has none yet its newest.
// Where authorities are configured and none has stamped such a checkpoint yet, one is asked now.
func (a *anchors) covering(ctx context.Context, i vaultmesh.LogIndex) ([]anchor.Anchored, error) {
	if err := a.Cover(ctx, i); err != nil {
		return nil, vaultmesh.Wrap(err, "bundle", "")
	}
	return a.AnchorsFor(i)
}
