package node

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	rootkey "vaultmesh.org/vaultmesh/lawchain/signer"
	"vaultmesh.org/vaultmesh/receipt"
)

// root is the domain's key that is kept outside of the node (a token, a key management service, a medium that is
// mounted now and then). It vouches for the keys that the node holds, for a time. It is never asked in a commit: what is
// signed there is signed by a key in memory, and a node whose delegation has ended stops instead of going on.
type root struct {
	n      *Node
	public ed25519.PublicKey // nil: the domain has no root, or it was never reached
	key    rootkey.Key       // nil while it is out of reach
	denied error             // the token refused the PIN: not asked again before the next start, since tokens lock

	expires    prometheus.Gauge
	failed     prometheus.Counter
	introduced prometheus.GaugeFunc
}

// rootFile remembers the root's public key, so that a start without the root can follow what it said.
const rootFile = "root.pub"

// openRoot opens the configured root. A root that is out of reach is no error here: whether it is needed, renew decides.
func (n *Node) openRoot(ctx context.Context) error {
	r := &root{n: n,
		expires: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vaultmesh_key_delegation_expires_seconds", Help: "Unix time at which the first delegation of the node's keys by the domain's root ends; 0 where there is no root."}),
		failed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "vaultmesh_key_delegation_failures_total", Help: "Attempts to renew a delegation that failed."}),
		introduced: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vaultmesh_keys_introduced", Help: fmt.Sprintf("Keys that the log has introduced since its first receipt. At %d it takes no further one; renewed delegations do not count.", receipt.MaxKeys)}, func() float64 {
			if n.log == nil || n.log.Keys() == nil {
				return 0
			}
			return float64(n.log.Keys().Introduced())
		}),
	}
	n.root = r
	path := filepath.Join(n.cfg.Data, "keys", rootFile)
	text, err := os.ReadFile(path)
	if err == nil {
		if r.public, err = parsePublic(strings.TrimSpace(string(text))); err != nil {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "keys.root", path, "it does not hold the root's public key").Because(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "keys.root", path, "cannot read").Because(err)
	}
	if n.cfg.Keys.Root.Provider == "" {
		return nil
	}
	return r.reach(ctx)
}

// reach opens the root where it is not open. A root that cannot be asked now, whose key is known, is no error: key stays
// nil. Anything else (another key in its place, a wrong configuration) is.
func (r *root) reach(ctx context.Context) error {
	if r.key != nil || r.denied != nil {
		return r.denied
	}
	key, err := rootkey.Open(ctx, r.n.cfg.Keys.Root.signer())
	if err != nil {
		r.failed.Inc()
		kind := vaultmesh.KindOf(err)
		if kind == vaultmesh.Denied && r.n.cfg.Keys.Root.Provider == "pkcs11" {
			r.denied = err
		}
		if r.public != nil && (kind == vaultmesh.Unavailable || kind == vaultmesh.Denied) {
			r.n.l.Warn("the domain's root key is out of reach; what it delegated holds until it ends", "root", r.n.cfg.Keys.Root.Provider, "error", err)
			return nil
		}
		return err
	}
	if r.public == nil {
		if err := writeFile(filepath.Join(r.n.cfg.Data, "keys", rootFile), []byte(base64.StdEncoding.EncodeToString(key.Public())+"\n"), 0o644); err != nil {
			return errors.Join(err, key.Close())
		}
		r.public = key.Public()
	}
	if !r.public.Equal(key.Public()) {
		return errors.Join(vaultmesh.Errorf(vaultmesh.Conflict, "keys.root", key.Where(), "it holds %s, the domain's root is %s", receipt.KeyID(key.Public()), receipt.KeyID(r.public)).
			WithFix("configure the root that auditors pinned; to take up another on purpose, remove %s and give auditors the new one", filepath.Join(r.n.cfg.Data, "keys", rootFile)), key.Close())
	}
	r.key = key
	return nil
}

// roots are the keys that may delegate.
func (r *root) roots() []ed25519.PublicKey {
	if r == nil || r.public == nil {
		return nil
	}
	return []ed25519.PublicKey{r.public}
}

// delegation is how long the root still vouches for the present key of a purpose.
func (n *Node) delegation(h *receipt.KeyHistory, purpose string) (k receipt.Key, ends time.Time) {
	live := h.Live(purpose)
	k = live[len(live)-1]
	return k, k.Expires
}

// renew has the root vouch for every key whose delegation is missing or half over. Where it fails while all delegations
// hold, that is a warning; where one has ended or was never made, an error.
func (n *Node) renew(ctx context.Context) error {
	if n.cfg.Keys.Root.Provider == "" {
		return nil
	}
	h, err := lawchain.ReadKeys(n.journal, n.cfg.Domain, n.root.roots())
	if err != nil {
		return err
	}
	now := n.now().UTC().Truncate(time.Microsecond)
	var due []receipt.Key
	first := time.Time{}
	for _, purpose := range purposes {
		k, ends := n.delegation(h, purpose)
		if ends.Sub(now) < n.cfg.Keys.Validity/2 {
			due = append(due, k)
		}
		if first.IsZero() || ends.Before(first) {
			first = ends
		}
	}
	n.root.expires.Set(float64(max(first.Unix(), 0)))
	if len(due) == 0 {
		return nil
	}
	ends, err := n.delegate(ctx, due, now)
	if err == nil {
		n.root.expires.Set(float64(ends.Unix()))
		n.l.Info("the domain's root vouches for the node's keys", "until", ends)
		return nil
	}
	if first.After(now) {
		n.l.Error("the domain's root did not renew its delegation; it is tried again until it ends", "ends", first, "error", err)
		return nil
	}
	return n.unvouched(err)
}

// unvouched is the error of a node for whose keys nobody vouches.
func (n *Node) unvouched(err error) error {
	return vaultmesh.Errorf(vaultmesh.Unavailable, "keys.root", string(n.cfg.Domain), "the domain's root does not vouch for the node's keys").Because(err).
		WithFix("make the root reachable, then start the node again; without it nobody who pinned the root can verify what follows")
}

// firstDelegations has the root vouch for the keys of a domain that begins; none where it has no root.
func (n *Node) firstDelegations(ctx context.Context) ([]receipt.KeyBody, error) {
	if n.cfg.Keys.Root.Provider == "" {
		return nil, nil
	}
	var due []receipt.Key
	for _, purpose := range purposes {
		k, _ := n.delegation(n.log.Keys(), purpose)
		due = append(due, k)
	}
	bodies, ends, err := n.vouch(ctx, due, n.now().UTC().Truncate(time.Microsecond))
	if err != nil {
		n.root.failed.Inc()
		return nil, n.unvouched(err)
	}
	n.root.expires.Set(float64(ends.Unix()))
	return bodies, nil
}

// delegate signs and logs delegations. The root is asked before the journal's operation, not in it.
func (n *Node) delegate(ctx context.Context, due []receipt.Key, now time.Time) (time.Time, error) {
	bodies, ends, err := n.vouch(ctx, due, now)
	if err == nil {
		err = n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
			_, err := n.log.ChangeKeys(tx, n.actor, now, bodies, n.root.roots(), n.keys.signers)
			return err
		})
	}
	if err != nil {
		n.root.failed.Inc()
	}
	return ends, err
}

// vouch has the root sign that it vouches for keys, and until when.
func (n *Node) vouch(ctx context.Context, due []receipt.Key, now time.Time) (bodies []receipt.KeyBody, ends time.Time, err error) {
	if err := n.root.reach(ctx); err != nil {
		return nil, ends, err
	}
	if n.root.key == nil {
		return nil, ends, vaultmesh.Errorf(vaultmesh.Unavailable, "keys.root", n.cfg.Keys.Root.Provider, "the root is out of reach")
	}
	ends = now.Add(n.cfg.Keys.Validity)
	for _, k := range due {
		held, ok := n.keys.find(k.Purpose, k.Public)
		if !ok {
			return nil, ends, vaultmesh.Errorf(vaultmesh.Internal, "keys.root", k.Purpose, "the node does not hold its key")
		}
		b, err := receipt.SignKey(receipt.KeyStatement{Act: vouching(k), Domain: n.cfg.Domain, Purpose: k.Purpose, Origin: k.Origin, Key: k.Public, By: n.root.public, Time: now, Expires: ends},
			func(m []byte) ([]byte, error) { return n.root.key.Sign(ctx, m) },
			func(m []byte) ([]byte, error) { return ed25519.Sign(held.private, m), nil })
		if err != nil {
			return nil, ends, err
		}
		bodies = append(bodies, b)
	}
	return bodies, ends, nil
}

// vouching is what the root says of a key: that it vouches for it, or does so again. What it says again is apart in the log,
// since there is no end to it.
func vouching(k receipt.Key) string {
	if _, before := k.Vouched(); before {
		return receipt.KeyRenewed
	}
	return receipt.KeyDelegated
}

// renewEvery is how often a running node looks at its delegations.
const renewEvery = time.Minute

// watch renews delegations until ctx ends, and stops the node where one has ended: nothing is signed by a key for which
// nobody vouches any more.
func (r *root) watch(ctx context.Context) {
	if r.n.cfg.Keys.Root.Provider == "" {
		return
	}
	t := time.NewTicker(renewEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.n.renew(ctx); err != nil && ctx.Err() == nil {
			select {
			case r.n.fail <- err:
			default:
			}
			return
		}
	}
}

func (r *root) close() error {
	if r == nil || r.key == nil {
		return nil
	}
	return r.key.Close()
}

// Describe implements [prometheus.Collector].
func (r *root) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{r.expires, r.failed, r.introduced} {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (r *root) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{r.expires, r.failed, r.introduced} {
		c.Collect(ch)
	}
}
