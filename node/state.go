package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	httpapi "vaultmesh.org/vaultmesh/api/http"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/statetree"

	"vaultmesh.org/vaultmesh"
)

// openState opens the tree whose roots the log commits to.
func (n *Node) openState() error {
	if n.cfg.State.Interval == 0 {
		return nil
	}
	window := n.cfg.State.Window
	if window == 0 {
		window = n.cfg.Telemetry.History
	}
	var err error
	n.state, err = statetree.Open(statetree.Options{Domain: n.cfg.Domain, Actor: n.actor, Journal: n.journal, Log: n.log, Twins: n.twins, Models: modelsDigest(),
		Interval: n.cfg.State.Interval, Window: window, MaxBytes: int64(n.cfg.State.MaxMB) << 20, Now: n.now, Logger: n.l})
	return err
}

// modelsDigest names the models that the program ships.
func modelsDigest() vaultmesh.Digest {
	var all []byte
	for _, d := range grid.Models() {
		sum := vaultmesh.Sum(d.Data)
		all = append(all, sum[:]...)
	}
	return vaultmesh.Sum(all)
}

// indexOlder makes a log searchable that is older than the search index.
func (n *Node) indexOlder(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		op, left, err := n.log.IndexOlder()
		if err == nil && op != nil {
			err = n.journal.Submit(ctx, journal.Telemetry, op)
		}
		switch {
		case err == nil:
			more = left
		case vaultmesh.KindOf(err).Retryable():
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		default:
			n.l.Warn("the search index of the older receipts cannot be made; they are found by subject only", "error", err)
			return
		}
	}
}

// State implements [httpapi.Evidence].
func (e evidence) State(_ context.Context, key string, size uint64) (httpapi.StateProof, error) {
	if e.n.state == nil {
		return httpapi.StateProof{}, vaultmesh.Errorf(vaultmesh.NotFound, "state.prove", key, "this node keeps no roots of the state").WithFix("set state.interval in its configuration")
	}
	if err := e.n.reached(key, size); err != nil {
		return httpapi.StateProof{}, err
	}
	p, root, err := e.n.state.Prove(key, size)
	if err != nil {
		return httpapi.StateProof{}, err
	}
	return httpapi.StateProof{Key: key, Present: p.Present(), Size: root.Size, Receipt: root.Receipt, Root: root.Hash, Entries: root.Entries, Time: root.Time, Proof: p.Encode()}, nil
}

// reached refuses a size that the log does not have: what is asked about has not happened.
func (n *Node) reached(key string, size uint64) error {
	cp := n.log.Checkpoint()
	if cp == nil || size > cp.Size {
		has := uint64(0)
		if cp != nil {
			has = cp.Size
		}
		return vaultmesh.Errorf(vaultmesh.NotFound, "state.prove", key, "the log has size %d, you ask for its state at size %d", has, size).WithFix("give a size that the log has had, or none for the newest root")
	}
	return nil
}

// Search implements [httpapi.Evidence].
func (e evidence) Search(_ context.Context, q lawchain.Search) (lawchain.Answer, error) {
	return e.n.log.Search(q)
}

// stateCollectors are the metrics of the state tree.
func (n *Node) stateCollectors() []prometheus.Collector {
	if n.state == nil {
		return nil
	}
	gauge := func(name, help string, f func(statetree.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(n.state.Stats()) })
	}
	return []prometheus.Collector{
		gauge("vaultmesh_state_root_size", "Size of the log of which the newest root shows the state.", func(s statetree.Stats) float64 { return float64(s.Root.Size) }),
		gauge("vaultmesh_state_entries", "Keys under the newest root of the state.", func(s statetree.Stats) float64 { return float64(s.Root.Entries) }),
		gauge("vaultmesh_state_roots", "Roots of the state that can be proved against.", func(s statetree.Stats) float64 { return float64(s.Roots) }),
		gauge("vaultmesh_state_changed", "Keys that the newest root brought or changed.", func(s statetree.Stats) float64 { return float64(s.Changed) }),
		gauge("vaultmesh_state_kept_bytes", "Bytes of the journal, before compression, for all roots of the state that can be proved against.", func(s statetree.Stats) float64 { return float64(s.Kept) }),
		gauge("vaultmesh_state_update_seconds", "What the newest root took.", func(s statetree.Stats) float64 { return s.Duration.Seconds() }),
	}
}

// stateAt adds what the state tree held under the keys at the newest root below size; 0: at the newest.
func (b *collection) stateAt(keys []string, size uint64) error {
	if len(keys) == 0 {
		return nil
	}
	if err := b.n.reached(keys[0], size); err != nil {
		return err
	}
	if size != 0 {
		if b.root != 0 && b.root != size {
			return vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "at", "commands and subjects need the newest state, and all state proofs of a bundle are about one root").WithFix("ask for two bundles")
		}
		b.root = size
	}
	for _, key := range keys {
		ok, err := b.state(key)
		if err == nil && !ok {
			_, err = evidence{b.n}.State(b.ctx, key, b.root) // says why
		}
		if err != nil {
			return err
		}
	}
	return nil
}
