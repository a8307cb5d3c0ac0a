// Package bitcoin owns the anchoring of checkpoints in Bitcoin: the transaction that commits to a digest (OP_RETURN), what
// it costs, its way into a block, and the proof that it is there. It is on floor 2 and implements [anchor.Target].
//
// It keeps no wallet: one private key pays, and its coins are looked up at the node each time. It must not know when and
// how often an anchor is made. The node is asked, not believed: a job is confirmed only where the proof that was built from
// the node's blocks holds under the offline verification of proof/bitcoin.
//
// # How nothing is paid twice
//
// A transaction is signed in one step and sent in a later one, after the caller made the first durable. All transactions
// that are signed for one job spend a coin in common; therefore at most one of them is ever mined, whatever crashes between and
// whatever the node says. A job whose coin was spent by a stranger is given up.
package bitcoin

import (
	"context"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// Options of a target. Network, URL and Key are required; zero fields take their default.
type Options struct {
	Network     string // "mainnet", "testnet4", "signet", "regtest"
	URL         string // of the node's JSON-RPC, http or https
	CA          string // PEM file that signs the node's certificate; empty: the system's authorities
	Credentials string // file with "user:password", readable by its owner alone; Bitcoin Core's .cookie is one
	Key         string // file with the private key (WIF), readable by its owner alone

	FeeFloor  int64 // sat/vB, the least that is paid; default 1
	FeeCap    int64 // sat/vB, the most that is paid; default 50
	FeeTarget int   // blocks within which an anchor should be mined, for the node's estimate; default 6
	MaxFee    int64 // satoshi for one anchor; default 20,000
	DayFee    int64 // satoshi for all anchors of a UTC day; default 100,000

	Confirmations int           // from which on an anchor counts as confirmed; default 1
	Final         int           // from which on it counts as final; default 6
	MaxBits       spv.Bits      // the easiest proof of work that is believed; default: that of proof/bitcoin for the network
	StuckAfter    time.Duration // after which a transaction that is not mined is replaced by one that pays more; default 2 h
	Poll          time.Duration // how often a transaction is looked after; default 1 min

	Timeout time.Duration // of one question to the node; default 20 s
	Now     func() time.Time
}

// Check sets the defaults and reports the first thing that is wrong, as Invalid. It does not look at files.
func (o *Options) Check() error {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.FeeFloor, 1)
	set(&o.FeeCap, 50)
	set(&o.MaxFee, 20_000)
	set(&o.DayFee, 100_000)
	if o.FeeTarget == 0 {
		o.FeeTarget = 6
	}
	if o.Confirmations == 0 {
		o.Confirmations = 1
	}
	if o.Final == 0 {
		o.Final = max(6, o.Confirmations)
	}
	if o.StuckAfter == 0 {
		o.StuckAfter = 2 * time.Hour
	}
	if o.Poll == 0 {
		o.Poll = time.Minute
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	bad := func(field, format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.options", field, format, args...)
	}
	switch {
	case o.FeeFloor < 1 || o.FeeCap < o.FeeFloor || o.FeeCap > 100_000:
		return bad("fee_cap", "rates from %d to %d sat/vB", o.FeeFloor, o.FeeCap).WithFix("use 1 <= fee_floor <= fee_cap <= 100000")
	case o.MaxFee < 1 || o.MaxFee > 100_000_000 || o.DayFee < 1:
		return bad("max_fee", "%d satoshi for one anchor and %d for a day", o.MaxFee, o.DayFee).WithFix("use 1 to 100000000, and at least 1")
	case o.Confirmations < 1 || o.Final < o.Confirmations || o.Final > spv.MaxFollowing:
		return bad("final", "%d confirmations and %d for final", o.Confirmations, o.Final).WithFix("use 1 <= confirmations <= final <= %d", spv.MaxFollowing)
	case o.FeeTarget < 1 || o.FeeTarget > 1008:
		return bad("fee_target", "%d blocks", o.FeeTarget).WithFix("use 1 to 1008")
	case o.StuckAfter < 0 || o.Poll < 0 || o.Timeout < 0:
		return bad("stuck_after", "a duration is negative")
	}
	return (&spv.Params{Network: o.Network, MaxBits: o.MaxBits}).Check()
}

// Target anchors in Bitcoin. Its methods are called by one goroutine at a time.
type Target struct {
	o       Options
	key     *key
	node    *node
	genesis spv.Hash
	checked bool // the node was seen to be on the right network
}

var _ anchor.Payer = (*Target)(nil)

// New reads key and credentials. It does not ask the node: that may come up later.
func New(o Options) (*Target, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	net, err := network(o.Network)
	if err != nil {
		return nil, err
	}
	t := &Target{o: o, genesis: hashOf(*net.GenesisHash)}
	if t.key, err = readKey(o.Key, net); err != nil {
		return nil, err
	}
	r, err := newRPC(&o)
	if err != nil {
		return nil, err
	}
	t.node = &node{rpc: r}
	return t, nil
}

// Close lets go of idle connections.
func (t *Target) Close() { t.node.rpc.close() }

// Address is where coins for anchors are to be sent.
func (t *Target) Address() string { return t.key.address }

// Name implements [anchor.Target].
func (t *Target) Name() string { return "bitcoin" }

// Kind implements [anchor.Target].
func (t *Target) Kind() string { return "bitcoin" }

// Budget implements [anchor.Payer].
func (t *Target) Budget() (*big.Int, string) { return big.NewInt(t.o.DayFee), "satoshi" }

// maxBehind is how old the node's best block may be: on a network where blocks take ten minutes, an older one means that
// the node has not caught up, or is cut off and shown a chain of somebody's making.
const maxBehind = 24 * time.Hour

// ready checks that the node is on our network, which is remembered, and not far behind.
func (t *Target) ready(ctx context.Context) (height uint64, err error) {
	const op = "bitcoin.node"
	if !t.checked {
		first, ok, err := t.node.blockAt(ctx, 0)
		if err != nil {
			return 0, err
		}
		if !ok || first != t.genesis {
			return 0, vaultmesh.Errorf(vaultmesh.Invalid, op, remote.Place(t.o.URL), "the node is not on %s: its first block is %s", t.o.Network, first).WithFix("correct network or url")
		}
		t.checked = true
	}
	if height, err = t.node.height(ctx); err != nil || t.o.Network == spv.Regtest {
		return height, err
	}
	tip, ok, err := t.node.blockAt(ctx, height)
	if err != nil || !ok {
		return 0, notNow(err, "the best block changed while it was asked for")
	}
	h, err := t.node.header(ctx, tip)
	if err != nil {
		return 0, err
	}
	if behind := t.o.Now().Sub(h.Time()); behind > maxBehind {
		return 0, vaultmesh.Errorf(vaultmesh.Unavailable, op, remote.Place(t.o.URL), "the node's best block is %s old: it is not in step with the network", behind.Round(time.Minute)).WithFix("wait until it has caught up, and check its connections")
	}
	return height, nil
}

// notNow is err, or where there is none that the chain moved under the question.
func notNow(err error, why string) error {
	if err != nil {
		return err
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, "bitcoin.node", "", "%s", why)
}

// Advance implements [anchor.Target].
func (t *Target) Advance(ctx context.Context, j anchor.Job) (anchor.Job, error) {
	m, err := readMemo(j.Memo)
	if err != nil {
		return j, err
	}
	tip, err := t.ready(ctx)
	if err != nil {
		return j, err
	}
	switch {
	case j.State.Anchored():
		return t.deepen(ctx, j, m, tip)
	case m.newest() == nil:
		return t.begin(ctx, j, m)
	}
	return t.follow(ctx, j, m, tip)
}

// begin signs the first transaction of a job. It is sent in the next step.
func (t *Target) begin(ctx context.Context, j anchor.Job, m memo) (anchor.Job, error) {
	v, err := t.build(ctx, j.Digest)
	if err != nil {
		return j, err
	}
	m.Address = t.key.address
	return t.keep(j, m, v, anchor.Queued)
}

// keep adds a signed transaction to the job.
func (t *Target) keep(j anchor.Job, m memo, v version, state anchor.State) (anchor.Job, error) {
	m.Versions = append(m.Versions, v)
	return t.store(j, m, state, fmt.Sprintf("transaction %s is signed, %d satoshi, and will be sent", v.Txid, v.Fee))
}

// store writes the memo back.
func (t *Target) store(j anchor.Job, m memo, state anchor.State, detail string) (anchor.Job, error) {
	raw, err := m.write()
	if err != nil {
		return j, err
	}
	j.Memo, j.State, j.Detail, j.Fee = raw, state, detail, strconv.FormatInt(m.fee(), 10)
	return j, nil
}

// follow looks where the job's transactions are, and sends, waits, replaces or proves accordingly.
func (t *Target) follow(ctx context.Context, j anchor.Job, m memo, tip uint64) (anchor.Job, error) {
	pooled := -1 // newest version in the node's memory pool
	for i := len(m.Versions) - 1; i >= 0; i-- {
		w, err := t.node.find(ctx, m.Versions[i].Txid)
		if err != nil {
			return j, err
		}
		if w.block != nil {
			height, best, err := t.node.heightOf(ctx, *w.block)
			if err != nil {
				return j, err
			}
			if best {
				return t.mined(ctx, j, &m.Versions[i], *w.block, height, tip)
			}
		}
		if w.known && pooled < 0 {
			pooled = i
		}
	}
	v := m.newest()
	if pooled != len(m.Versions)-1 {
		return t.send(ctx, j, m, tip, pooled >= 0)
	}
	detail := fmt.Sprintf("transaction %s waits to be mined, %d satoshi (%.1f sat/vB)", v.Txid, v.Fee, float64(v.rate())/1000)
	if t.o.Now().Sub(later(v.Signed, m.Since)) >= t.o.StuckAfter && m.Address == t.key.address {
		if len(m.Versions) < maxVersions {
			next, ok, err := t.bump(ctx, j.Digest, v, v.rate()*5/4)
			if err != nil {
				return j, err
			}
			if ok {
				return t.keep(j, m, next, anchor.Submitted)
			}
		}
		detail += "; it is not replaced by one that pays more: the caps or the coins do not allow it"
	}
	if m.Address != t.key.address {
		detail += "; the key was changed, so it cannot be replaced"
	}
	m.Gone = 0
	j.NotBefore = t.o.Now().Add(t.o.Poll)
	return t.store(j, m, anchor.Submitted, detail)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// send gives the newest transaction to the node. earlier: an earlier version of it is in the node's memory pool.
func (t *Target) send(ctx context.Context, j anchor.Job, m memo, tip uint64, earlier bool) (anchor.Job, error) {
	const op = "bitcoin.send"
	v := m.newest()
	refusal := t.node.send(ctx, v.Tx)
	switch {
	case refusal == nil:
		m.Gone, m.Since = 0, t.o.Now().UTC().Truncate(time.Second)
		j.NotBefore = t.o.Now().Add(t.o.Poll)
		return t.store(j, m, anchor.Submitted, fmt.Sprintf("transaction %s was sent, %d satoshi", v.Txid, v.Fee))
	case refusedBy(refusal) == nil:
		return j, refusal // whether it was sent is open; sending it again is harmless
	case feeRefused(refusal) && m.Address == t.key.address && len(m.Versions) < maxVersions:
		next, ok, err := t.bump(ctx, j.Digest, v, v.rate()*2)
		if err != nil {
			return j, err
		}
		if ok {
			return t.keep(j, m, next, j.State)
		}
	}
	if earlier {
		j.NotBefore = t.o.Now().Add(t.o.Poll)
		return t.store(j, m, anchor.Submitted, fmt.Sprintf("an earlier version of transaction %s waits to be mined; the node does not take the newer one", v.Txid))
	}
	what, gone, err := t.gone(ctx, v)
	switch {
	case err != nil:
		return j, err
	case !gone:
		return j, vaultmesh.Errorf(vaultmesh.Unavailable, op, v.Txid, "the node does not take the transaction").Because(refusedBy(refusal)).
			WithFix("if it wants a higher fee, raise fee_cap and max_fee; if a coin is spent by an unconfirmed transaction that is not ours, somebody else uses the key")
	}
	return t.lost(j, m, what, tip)
}

// lost waits until a stranger's transaction that spent one of the job's coins is final, and then gives the job up. It does
// not begin anew with another coin: that the coin was spent is the word of one node, and a node that hides the anchor itself
// would have it paid again. The schedule makes a new job, for a newer checkpoint.
func (t *Target) lost(j anchor.Job, m memo, what string, tip uint64) (anchor.Job, error) {
	if m.Gone == 0 {
		m.Gone = max(tip, 1)
	}
	if left := int64(m.Gone) + int64(t.o.Final) - int64(tip); left > 0 {
		j.NotBefore = t.o.Now().Add(t.o.Poll)
		return t.store(j, m, j.State, fmt.Sprintf("coin %s was spent by a transaction that is not this job's; in %d blocks, when that is final, the job is given up", what, left))
	}
	return t.store(j, m, anchor.Failed, fmt.Sprintf("its coin %s was spent by another transaction, as the node says: does somebody else use the key of %s?", what, m.Address))
}

// mined proves a transaction that is in a block, once it has the confirmations.
func (t *Target) mined(ctx context.Context, j anchor.Job, v *version, block spv.Hash, height, tip uint64) (anchor.Job, error) {
	if tip < height {
		return j, notNow(nil, "the chain became shorter while it was asked for")
	}
	j.NotBefore = t.o.Now().Add(t.o.Poll)
	have := int(min(tip-height+1, uint64(t.o.Final)))
	detail := fmt.Sprintf("in block %d, %d of %d confirmations", height, have, t.o.Final)
	if have < t.o.Confirmations {
		j.State, j.Detail = anchor.Submitted, detail
		return j, nil
	}
	proof, err := t.prove(ctx, j.Digest, v.Txid, block, height, have-1)
	if err != nil {
		return j, err
	}
	j.Proof, j.State, j.Detail, j.Fee = proof, anchor.Confirmed, detail, strconv.FormatInt(v.Fee, 10)
	if have == t.o.Final {
		j.State, j.NotBefore = anchor.Final, time.Time{}
	}
	return j, nil
}

// shorter says that the node's chain does not reach an anchor's block: it is being built anew, or is cut off. A
// re-organisation gives a chain that reaches it, with another block there.
func shorter(height uint64) error {
	return vaultmesh.Errorf(vaultmesh.Unavailable, "bitcoin.node", "", "the node's chain does not reach height %d, where the anchor is", height).WithFix("wait until the node has caught up")
}

// deepen looks whether the block of an anchored job is still in the chain, and makes the job final when it is deep enough.
func (t *Target) deepen(ctx context.Context, j anchor.Job, m memo, tip uint64) (anchor.Job, error) {
	p, err := spv.Decode(j.Proof)
	if err != nil {
		return j, vaultmesh.Wrap(err, "bitcoin.proof", j.ID)
	}
	block := p.Header.Hash()
	at, ok, err := t.node.blockAt(ctx, p.Height)
	if err != nil {
		return j, err
	}
	if !ok {
		return j, shorter(p.Height)
	}
	if at != block {
		j.Proof, j.NotBefore = nil, time.Time{}
		m.Since = t.o.Now().UTC().Truncate(time.Second)
		return t.store(j, m, anchor.Submitted, fmt.Sprintf("block %s at height %d is in the chain no more: a re-organisation", block, p.Height))
	}
	if j.State == anchor.Final {
		return j, nil
	}
	j.NotBefore = t.o.Now().Add(t.o.Poll)
	have := int(min(max(tip, p.Height)-p.Height+1, uint64(t.o.Final)))
	j.Detail = fmt.Sprintf("in block %d, %d of %d confirmations", p.Height, have, t.o.Final)
	if have < t.o.Final {
		return j, nil
	}
	if j.Proof, err = t.prove(ctx, j.Digest, spv.Sum2(p.Tx).String(), block, p.Height, have-1); err != nil {
		return j, err
	}
	j.State, j.NotBefore = anchor.Final, time.Time{}
	return j, nil
}
