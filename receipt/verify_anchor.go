package receipt

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/proof/ethereum"
)

// Kinds of proofs of time.
const (
	AnchorRFC3161  = "rfc3161"  // a time-stamping authority
	AnchorBitcoin  = "bitcoin"  // a block's time, within some two hours
	AnchorEthereum = "ethereum" // a block's time
	AnchorWitness  = "witness"  // the cosignature that completed the pinned quorum
)

var anchorKinds = []string{AnchorRFC3161, AnchorBitcoin, AnchorEthereum, AnchorWitness}

// ProvedAnchor is a verified proof that the first Size receipts of the log existed at Time.
type ProvedAnchor struct {
	Kind   string    `json:"kind"` // AnchorRFC3161 or one of its neighbours
	Size   uint64    `json:"size,string"`
	Time   time.Time `json:"time"`
	Source string    `json:"source"`                  // who states the time
	Height uint64    `json:"height,omitempty,string"` // of the block; 0 where there is none
	Block  string    `json:"block,omitempty"`
	slack  time.Duration
	proof  vaultmesh.Digest // of the proof's bytes
	digest vaultmesh.Digest // of the checkpoint's body
}

// ClockSlack is how far before an earlier receipt's time a receipt's may lie, and how far after a proof of time that of a
// receipt under it: clocks differ. A range by time shows so much more at both of its ends.
const ClockSlack = time.Minute

// bitcoinSlack is the second of these for Bitcoin: a miner's clock may differ by hours.
const bitcoinSlack = 2 * time.Hour

// anchors judges every proof of time, each over the body of the checkpoint of the size that its name has.
func (j *judge) anchors() {
	j.anchorsOf(PartTimestamp, "timestamp.rfc3161", func(p Part, d vaultmesh.Digest) (ProvedAnchor, string, error) {
		if j.pins.tsa == nil {
			return ProvedAnchor{}, "", unpinned("root of a time-stamping authority", "tsa_roots")
		}
		ts, err := VerifyTimestamp(p.Data, d, j.pins.tsa)
		return ProvedAnchor{Kind: AnchorRFC3161, Time: utc(ts.Time), Source: ts.Signer, slack: ClockSlack + ts.Accuracy}, within(ts.Accuracy) + "its chain leads to a pinned root and was valid then", err
	})
	j.anchorsOf(PartBitcoin, "anchor.bitcoin", func(p Part, d vaultmesh.Digest) (ProvedAnchor, string, error) {
		if j.trust.Bitcoin == nil {
			return ProvedAnchor{}, "", unpinned("chain of Bitcoin", "bitcoin")
		}
		r, err := bitcoin.Verify(p.Data, d, *j.trust.Bitcoin)
		how := counted(int(min(r.Confirmations, 1<<31)), "header") + " of proof of work from there on"
		if r.Pinned {
			how = "its headers lead to a pinned block"
		}
		return ProvedAnchor{Kind: AnchorBitcoin, Time: utc(r.Time), Source: "bitcoin " + j.trust.Bitcoin.Network, Height: r.Height, Block: r.Block.String(), slack: bitcoinSlack}, how, err
	})
	j.anchorsOf(PartEthereum, "anchor.ethereum", func(p Part, d vaultmesh.Digest) (ProvedAnchor, string, error) {
		if j.trust.Ethereum == nil {
			return ProvedAnchor{}, "", unpinned("chain of Ethereum", "ethereum")
		}
		r, err := ethereum.Verify(p.Data, d, *j.trust.Ethereum)
		return ProvedAnchor{Kind: AnchorEthereum, Time: utc(r.Time), Source: r.Source(), Height: r.Height, Block: r.Block.String(), slack: ClockSlack}, "it leads to a pinned block", err
	})
	if j.pins.tsa != nil || slices.Contains(j.demand.Anchors, AnchorRFC3161) {
		j.demandAnchor(AnchorRFC3161, "timestamp.rfc3161")
	}
	for kind, family := range map[string]string{AnchorBitcoin: "anchor.bitcoin", AnchorEthereum: "anchor.ethereum"} {
		if slices.Contains(j.demand.Anchors, kind) {
			j.demandAnchor(kind, family)
		}
	}
}

// within tells an authority's own word for how far its time may be off.
func within(accuracy time.Duration) string {
	if accuracy == 0 {
		return ""
	}
	return fmt.Sprintf("give or take %s, as it says itself; ", accuracy)
}

func unpinned(what, member string) error {
	return vaultmesh.Errorf(vaultmesh.Denied, "anchor", member, "the trust file pins no %s: its time cannot be judged", what)
}

// anchorsOf judges the proofs of one kind.
func (j *judge) anchorsOf(kind, family string, verify func(p Part, digest vaultmesh.Digest) (ProvedAnchor, string, error)) {
	parts := j.byType[kind]
	if len(parts) == 0 {
		j.empty(family, "the bundle has no proof of this kind")
		return
	}
	perSize := map[uint64]int{}
	for _, p := range parts {
		size, file, _ := anchorSize(p.Name)
		name := fmt.Sprintf("%s[%d %s]", family, size, file)
		h := j.heads[size]
		if h == nil {
			j.fail(name, unjudged+": the bundle has no trusted and consistent checkpoint of size %d", size)
			continue
		}
		if perSize[size]++; perSize[size] > MaxStamps {
			j.fail(name, "more than %d proofs for one checkpoint", MaxStamps)
			continue
		}
		a, how, err := verify(p, h.digest)
		a.Size, a.proof, a.digest = size, p.Sum(), h.digest
		if vaultmesh.KindOf(err) == vaultmesh.Denied {
			// It may hold, and the auditor pinned nothing that says so: then it proves nothing, and is no reason to refuse.
			j.empty(name, "it proves nothing to you: %v", err)
			j.unpinned = append(j.unpinned, fmt.Sprintf("the time by the %s proof for size %d: %v", kind, size, err))
			continue
		}
		if err == nil {
			err = j.noneLater(a)
		}
		if j.settle(name, err, "%s dates the checkpoint of size %d at %s%s; %s; no receipt under it claims to be later", a.Source, size, a.Time.Format(time.RFC3339), a.block(), how) {
			j.proved = append(j.proved, a)
		}
	}
}

func (a ProvedAnchor) block() string {
	if a.Block == "" {
		return ""
	}
	return fmt.Sprintf(" in block %d %.16s…", a.Height, a.Block)
}

// demandAnchor fails where a receipt is under no verified proof of the kind.
func (j *judge) demandAnchor(kind, family string) {
	covered := uint64(0)
	for _, a := range j.proved {
		if a.Kind == kind {
			covered = max(covered, a.Size)
		}
	}
	if last := j.lastIndex(); len(j.order) > 0 && covered <= last {
		j.fail(family, "a proof of this kind is demanded for every receipt, and none holds for the receipts from index %d on", covered)
	}
}

// noneLater checks that no receipt under an anchor claims a time after it.
func (j *judge) noneLater(a ProvedAnchor) error {
	if j.latest == nil {
		for i, e := range j.order {
			if i > 0 && !e.Time.After(j.latest[i-1].Time) {
				e = j.latest[i-1]
			}
			j.latest = append(j.latest, e)
		}
	}
	under, _ := slices.BinarySearchFunc(j.order, a.Size, func(e *entry, size uint64) int { return cmp.Compare(uint64(e.index), size) })
	if under > 0 {
		if e := j.latest[under-1]; e.Time.After(a.Time.Add(a.slack)) {
			return vaultmesh.Errorf(vaultmesh.Corrupt, "timestamp", e.Subject, "the receipt at index %d claims %s, the checkpoint that holds it existed at %s already", e.index, e.Time.Format(TimeFormat), a.Time.Format(time.RFC3339))
		}
	}
	return nil
}

// times checks the receipts' own times against each other, against the anchors that the log itself reports, and against
// the auditor's clock.
func (j *judge) times() {
	const family = "receipt.time"
	if len(j.order) == 0 {
		return
	}
	latest := j.order[0]
	for _, e := range j.order {
		if e.Time.Before(latest.Time.Add(-ClockSlack)) {
			j.fail(numbered(family, e.index), "times run backwards: it claims %s, the earlier receipt at index %d claims %s", e.Time.Format(TimeFormat), latest.index, latest.Time.Format(TimeFormat))
		}
		if e.Time.After(latest.Time) {
			latest = e
		}
	}
	j.notBefore()
	if now := j.demand.Now; !now.IsZero() {
		if latest.Time.After(now.Add(ClockSlack)) {
			j.fail(numbered(family, latest.index), "it claims %s, which is in the future: it is %s now", latest.Time.Format(TimeFormat), now.UTC().Format(time.RFC3339))
		}
		for _, a := range j.proved {
			if a.Time.After(now.Add(max(a.slack, ClockSlack))) {
				j.fail(family, "the %s proof for size %d claims %s, which is in the future: it is %s now", a.Kind, a.Size, a.Time.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
			}
		}
	}
	if j.held(family) {
		j.pass(family, "the times of %s run forward, from %s to %s, with a minute's slack", counted(len(j.order), "receipt"), j.order[0].Time.Format(TimeFormat), latest.Time.Format(TimeFormat))
	}
}

// notBefore uses receipts that report an anchor: what comes after such a receipt in the log was written after the
// anchor's time, since its proof did not exist before.
func (j *judge) notBefore() {
	const family = "receipt.time"
	var known ProvedAnchor // with the latest time so far
	var by *entry
	for _, e := range j.order {
		if by != nil && e.Time.Before(known.Time.Add(-known.slack)) {
			j.fail(numbered(family, e.index), "back-dated: it claims %s, and the log reports before it, at index %d, a proof of %s that was made at %s", e.Time.Format(TimeFormat), by.index, known.Kind, known.Time.Format(time.RFC3339))
		}
		if e.Kind != AnchorVerified {
			continue
		}
		b, err := ReadBody[AnchorBody](&e.Receipt)
		if err != nil {
			j.fail(numbered(family, e.index), "%v", err)
			continue
		}
		if b.Kind == AnchorWitness || b.Proof.IsZero() {
			// What names no bytes that did not exist before can be foretold.
			j.fail(numbered(family, e.index), "it reports a proof by %s without naming its bytes", b.Kind)
			continue
		}
		for _, a := range j.proved {
			if a.Kind != b.Kind || a.Size != b.Size || a.digest != b.Checkpoint || a.proof != b.Proof {
				continue
			}
			if !a.Time.Truncate(time.Microsecond).Equal(b.Time) {
				j.fail(numbered(family, e.index), "it reports that the %s proof for size %d is of %s; the proof says %s", a.Kind, a.Size, b.Time.Format(TimeFormat), a.Time.Format(TimeFormat))
				continue
			}
			j.wroteAfter = append(j.wroteAfter, wroteAfter{e, a})
			if by == nil || a.Time.After(known.Time) {
				known, by = a, e
			}
		}
	}
}

// earliest returns the earliest proved time of a kind, zero where there is none.
func earliest(list []ProvedAnchor, kind string) (t time.Time) {
	for _, a := range list {
		if a.Kind == kind && (t.IsZero() || a.Time.Before(t)) {
			t = a.Time
		}
	}
	return t
}

// existed returns when the receipt at the index existed at the latest, by the proofs of one kind; zero where none covers
// it.
func existed(list []ProvedAnchor, kind string, index uint64) (t time.Time) {
	for _, a := range list {
		if a.Kind == kind && index < a.Size && (t.IsZero() || a.Time.Before(t)) {
			t = a.Time
		}
	}
	return t
}
