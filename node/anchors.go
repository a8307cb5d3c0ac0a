package node

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/anchor/tsa"
	"vaultmesh.org/vaultmesh/receipt"
)

// anchors has checkpoints dated by an RFC 3161 authority: on a schedule while the log grows, and when a bundle needs
// one. What is stored was verified; "anchored" never means "sent".
type anchors struct {
	n      *Node
	client *tsa.Client // nil: no authority is configured
	ask    chan chan error

	verified prometheus.Gauge
	failed   prometheus.Counter
}

// anchorTimeout bounds one request to the authority.
const anchorTimeout = 5 * time.Second

func newAnchors(n *Node, t *receipt.Trust) (*anchors, error) {
	a := &anchors{n: n, ask: make(chan chan error),
		verified: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_anchored_receipts", Help: "Receipts under a verified RFC 3161 timestamp."}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "vaultmesh_anchor_failures_total", Help: "Requests to the timestamp authority that gave no verified timestamp."})}
	if n.cfg.Timestamps.URL == "" {
		return a, nil
	}
	roots := x509.NewCertPool()
	for _, pem := range t.TSARoots {
		if !roots.AppendCertsFromPEM([]byte(pem)) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "timestamps.roots", n.cfg.Timestamps.Roots, "it holds no PEM certificate")
		}
	}
	a.client = &tsa.Client{URL: n.cfg.Timestamps.URL, Roots: roots, Timeout: anchorTimeout}
	return a, nil
}

// Describe implements [prometheus.Collector].
func (a *anchors) Describe(ch chan<- *prometheus.Desc) {
	a.verified.Describe(ch)
	a.failed.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (a *anchors) Collect(ch chan<- prometheus.Metric) { a.verified.Collect(ch); a.failed.Collect(ch) }

// run anchors until ctx ends. It is the only goroutine that asks the authority.
func (a *anchors) run(ctx context.Context) {
	if a.client == nil {
		return
	}
	t := time.NewTicker(a.n.cfg.Timestamps.Interval)
	defer t.Stop()
	var last uint64
	for {
		var answer chan error
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case answer = <-a.ask:
		}
		cp := a.n.log.Checkpoint()
		// The receipt of an anchor is itself a receipt: a log that grew by no more than that is not anchored again.
		if answer == nil && (cp == nil || cp.Size <= last+1) {
			continue
		}
		err := a.anchor(ctx, cp)
		if err != nil {
			a.failed.Inc()
			a.n.l.Warn("no timestamp for the checkpoint; it is tried again", "url", a.client.URL, "error", err)
		} else {
			last = cp.Size
			a.verified.Set(float64(cp.Size))
		}
		if answer != nil {
			answer <- err
		}
	}
}

// anchor asks for a timestamp over the checkpoint, verifies it, and stores it with its receipt.
func (a *anchors) anchor(ctx context.Context, cp *lawchain.Checkpoint) error {
	digest := vaultmesh.Sum(cp.Note)
	response, ts, err := a.client.Request(ctx, digest)
	if err != nil {
		return err
	}
	body, err := receipt.Body(receipt.AnchorBody{Target: "rfc3161", Checkpoint: digest, Size: cp.Size, Time: ts.Time.UTC().Truncate(time.Microsecond), Proof: vaultmesh.Sum(response), Source: ts.Signer})
	if err != nil {
		return err
	}
	return a.n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
		lawchain.PutAnchor(tx, lawchain.Anchored{Checkpoint: *cp, Timestamp: response})
		_, _, err := a.n.log.Append(tx, receipt.Draft{Kind: receipt.AnchorVerified, Subject: receipt.AnchorSubject("rfc3161"), Actor: a.n.actor, Time: a.n.now().UTC(), Outcome: "verified", Body: body})
		return err
	})
}

// covering returns an anchored checkpoint that covers the receipt. Where there is none yet, it asks the authority for
// one; where no authority is configured, it returns the newest checkpoint without a timestamp.
func (a *anchors) covering(ctx context.Context, i vaultmesh.LogIndex) (lawchain.Anchored, error) {
	if a.client == nil {
		return lawchain.Anchored{Checkpoint: *a.n.log.Checkpoint()}, nil
	}
	for range 2 {
		found, ok, err := a.n.log.AnchorCovering(i)
		if err != nil || ok {
			return found, err
		}
		answer := make(chan error, 1)
		select {
		case a.ask <- answer:
		case <-ctx.Done():
			return lawchain.Anchored{}, ctx.Err()
		}
		select {
		case err := <-answer:
			if err != nil {
				return lawchain.Anchored{}, vaultmesh.Errorf(vaultmesh.Unavailable, "bundle", "", "the timestamp authority gave no timestamp").Because(err).WithFix("retry, or repair the authority at %s", a.client.URL)
			}
		case <-ctx.Done():
			return lawchain.Anchored{}, ctx.Err()
		}
	}
	return lawchain.Anchored{}, vaultmesh.Errorf(vaultmesh.Internal, "bundle", "", "the anchor just made does not cover receipt %d", i)
}
