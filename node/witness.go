package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
)

// witnessing is both sides of the witness protocol; a nil field: this side is not configured.
type witnessing struct {
	feeder *witness.Feeder        // gets this log cosigned
	policy *receipt.WitnessPolicy // of the feeder
	server *witness.Server        // cosigns others
	key    string                 // verifier key of the server
}

// keepCosigned is how many cosigned checkpoints are kept: at one in ten seconds, those of half a day. Bundles and
// readers use the newest.
const keepCosigned = 4096

// openWitness opens the sides that are configured.
func (n *Node) openWitness() error {
	if n.cfg.Witness.Policy != "" {
		if err := n.openFeeder(); err != nil {
			return err
		}
	}
	if len(n.cfg.Witness.Serve.Logs) > 0 {
		return n.openWitnessServer()
	}
	return nil
}

func (n *Node) openFeeder() error {
	policy, client, err := n.witnessPolicy()
	if err != nil {
		return err
	}
	last, _, err := n.log.LatestCosigned()
	if err != nil {
		return err
	}
	if !policy.Satisfied(last.Note) {
		last = lawchain.Checkpoint{} // the policy changed since
	}
	o := witness.FeederOptions{Origin: n.log.Origin(), Log: headSource{n.log}, Policy: policy, Keep: n.keepCosigned, Report: n.reportConflict, Cleared: n.clearConflicts,
		Own:      func(signed []byte) error { _, err := n.log.Open(signed); return err },
		Interval: n.cfg.Witness.Interval, Timeout: n.cfg.Witness.Timeout, AlarmAfter: n.cfg.Witness.AlarmAfter, HTTP: client, Now: n.now, Logger: n.l}
	if n.witness.feeder, err = witness.NewFeeder(o, witness.Head{Size: last.Size, Root: last.Root, Note: last.Note}); err != nil {
		return err
	}
	n.witness.policy = policy
	if policy.Asks() {
		n.log.ShowOnly(n.shown)
	}
	return nil
}

// witnessPolicy reads the policy, and makes the client that asks its witnesses.
func (n *Node) witnessPolicy() (*receipt.WitnessPolicy, *http.Client, error) {
	path := n.cfg.Witness.Policy
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, vaultmesh.Errorf(vaultmesh.Invalid, "witness.policy", path, "cannot read").Because(err)
	}
	policy, err := receipt.ParseWitnessPolicy(text)
	if err != nil {
		return nil, nil, vaultmesh.Wrap(err, "witness.policy", path)
	}
	client, err := n.witnessClient()
	return policy, client, err
}

// witnessClient follows no redirect: a witness is the address in the policy.
func (n *Node) witnessClient() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if path := n.cfg.Witness.CA; path != "" {
		pem, err := os.ReadFile(path)
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "witness.ca", path, "no PEM file with roots").Because(err)
		}
		t.TLSClientConfig.RootCAs = roots
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// shown is the checkpoint up to which the log is published: the newest that satisfies the policy, so that readers see
// witnessed trees only. Where the policy has not been met for longer than the limit, which is an alarm of its own, the
// log is published without: that nobody sees it would be worse.
func (n *Node) shown(newest *lawchain.Checkpoint) *lawchain.Checkpoint {
	h, ok := n.witness.feeder.Latest()
	switch {
	case ok && (h.Size == newest.Size || !n.witness.feeder.Overdue()):
		return &lawchain.Checkpoint{Size: h.Size, Root: h.Root, Note: h.Note}
	case n.witness.feeder.Overdue():
		return newest
	}
	return nil
}

// headSource shows the log's durable checkpoints to the feeder.
type headSource struct{ *lawchain.Log }

func (s headSource) Head() (witness.Head, bool) {
	cp := s.Checkpoint()
	if cp == nil {
		return witness.Head{}, false
	}
	return witness.Head{Size: cp.Size, Root: cp.Root, Note: cp.Note}, true
}

// keepCosigned stores a witnessed checkpoint. It leaves no receipt: a receipt would need to be witnessed again.
func (n *Node) keepCosigned(ctx context.Context, h witness.Head) error {
	old, err := n.log.OldCosigned(keepCosigned)
	if err != nil {
		return err
	}
	err = n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
		lawchain.PutCosigned(tx, lawchain.Checkpoint{Size: h.Size, Root: h.Root, Note: h.Note})
		for _, size := range old {
			lawchain.DropCosigned(tx, size)
		}
		return nil
	})
	if err == nil {
		n.log.Wake()
	}
	return err
}

// openWitnessServer makes this node a witness, with a key and a folder of its own.
func (n *Node) openWitnessServer() error {
	name := n.cfg.Witness.Serve.Name
	if name == "" {
		name = "vaultmesh.org/witness/" + string(n.cfg.Domain)
	}
	var logs []note.Verifier
	for i, text := range n.cfg.Witness.Serve.Logs {
		v, err := note.NewVerifier(text)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "witness.serve.logs", text, "entry %d is not the verifier key of a log", i).Because(err)
		}
		logs = append(logs, v)
	}
	dir := filepath.Join(n.cfg.Data, "witness")
	path := filepath.Join(n.cfg.Data, "keys", "witness.key")
	record := path + ".record"
	switch held, kept, recorded := exists(path), exists(dir), exists(record); {
	case !held && (kept || recorded):
		return vaultmesh.Errorf(vaultmesh.Corrupt, "witness.open", path, "the node was a witness, and its key is missing").
			WithFix("restore the key; for a witness with a new key move %s and %s away, and tell the new key to those who trust the old one", dir, record)
	case held && !kept && !recorded:
		return vaultmesh.Errorf(vaultmesh.Corrupt, "witness.open", dir, "the node was a witness, and what it cosigned is missing").
			WithFix("restore %s and %s from a backup that is certainly the newest; otherwise, or if the key was never used, remove %s: a new one is made, which those who trust the old one must be told", dir, record, path)
	}
	secret, err := readSecret(path, func() (string, error) {
		sk, _, err := witness.GenerateKey(name)
		return sk, err
	})
	if err != nil {
		return err
	}
	s, vkey, err := witness.LoadKey(secret)
	if err != nil {
		return vaultmesh.Wrap(err, "witness.open", path)
	}
	n.witness.key = vkey
	n.witness.server, err = witness.NewServer(witness.ServerOptions{Dir: dir, Record: record, Recover: n.cfg.Witness.Serve.Recover, Signer: s, Logs: logs, Now: n.now, Log: n.l})
	return err
}

// exists reports whether there is something at the path; what cannot be told counts as there, and is found out on use.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// run feeds the witnesses until ctx ends.
func (w *witnessing) run(ctx context.Context) {
	if w.feeder != nil {
		w.feeder.Run(ctx)
	}
}

func (w *witnessing) collectors() (out []prometheus.Collector) {
	if w.feeder != nil {
		out = append(out, w.feeder.Collectors()...)
	}
	if w.server != nil {
		out = append(out, w.server.Collectors()...)
	}
	return out
}

func (w *witnessing) close() error {
	if w.server == nil {
		return nil
	}
	return w.server.Close()
}
