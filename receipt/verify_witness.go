package receipt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	fwitness "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
)

// cosignature is a witness's valid signature on a checkpoint.
type cosignature struct {
	PolicyWitness
	at time.Time
}

// cosignatures returns the valid ones of the policy's witnesses, in the order of their times.
func (p *WitnessPolicy) cosignatures(signed []byte) []cosignature {
	var out []cosignature
	for _, w := range p.Witnesses {
		n, err := note.Open(signed, note.VerifierList(w.Verifier)) // one by one: a bad line of one witness says nothing about others
		if err != nil || len(n.Sigs) != 1 {
			continue
		}
		at, err := fnote.CoSigV1Timestamp(n.Sigs[0])
		if err != nil || at.Unix() <= 0 {
			continue
		}
		out = append(out, cosignature{w, utc(at)})
	}
	slices.SortStableFunc(out, func(a, b cosignature) int { return cmp.Compare(a.at.Unix(), b.at.Unix()) })
	return out
}

// completed returns when the cosignatures satisfied the policy: the time of the one that completed the quorum.
func (p *WitnessPolicy) completed(sigs []cosignature) (at time.Time, ok bool) {
	for i := range sigs {
		if counts(p.group, sigs[:i+1]) {
			return sigs[i].at, true
		}
	}
	return time.Time{}, false
}

func counts(g fwitness.Group, sigs []cosignature) bool {
	n := 0
	for _, c := range g.Components {
		switch c := c.(type) {
		case fwitness.Witness:
			if slices.ContainsFunc(sigs, func(s cosignature) bool { return s.Verifier == c.Key }) {
				n++
			}
		case fwitness.Group:
			if counts(c, sigs) {
				n++
			}
		}
	}
	return g.N > 0 && n >= g.N
}

// witnessed judges which checkpoints satisfy the pinned policy, and that one of them covers all receipts.
func (j *judge) witnessed() {
	const family = "log.witness"
	policy := j.pins.witnesses
	if policy == nil || !policy.Asks() {
		if slices.Contains(j.demand.Anchors, AnchorWitness) {
			j.fail(family, "witnesses are demanded and the trust file pins no policy that asks for any")
			return
		}
		j.empty(family, "the trust file asks for no witness: that the domain shows everybody the same log is not proved")
		return
	}
	covered, best := false, "no trusted checkpoint"
	for _, h := range j.headList() {
		sigs := policy.cosignatures(h.note)
		at, ok := policy.completed(sigs)
		if !covered {
			best = fmt.Sprintf("at size %d %s", h.size, cosigners(sigs, len(policy.Witnesses)))
		}
		if !ok {
			continue
		}
		h.witnessed, h.witnessedAt = true, at
		j.proved = append(j.proved, ProvedAnchor{Kind: AnchorWitness, Size: h.size, Time: at, Source: cosigners(sigs, len(policy.Witnesses)), slack: ClockSlack, digest: h.digest})
		covered = covered || h.size > j.lastIndex()
	}
	if !covered {
		j.fail(family, "no checkpoint that covers all receipts satisfies the pinned policy: %s", best)
		return
	}
	j.pass(family, "the pinned policy is satisfied: %s", best)
}

func cosigners(sigs []cosignature, of int) string {
	if len(sigs) == 0 {
		return "no pinned witness cosigned"
	}
	var names []string
	for _, s := range sigs {
		names = append(names, s.Name)
	}
	return fmt.Sprintf("%d of %d pinned witnesses cosigned: %s", len(sigs), of, strings.Join(names, ", "))
}
