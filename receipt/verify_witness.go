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

// cosignatures returns the valid ones of the policy's witnesses, in the order of their times. One without a time is none
// (C2SP tlog-cosignature), for a node as for whoever audits it.
func (p *WitnessPolicy) cosignatures(signed []byte) []cosignature {
	var out []cosignature
	if len(signed) > maxNote {
		return nil
	}
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
	covered, dated, best := false, false, "no trusted checkpoint"
	for _, h := range j.headList() {
		sigs := policy.cosignatures(h.note)
		_, ok := policy.completed(sigs)
		if !covered {
			best = fmt.Sprintf("at size %d %s", h.size, cosigners(sigs, len(policy.Witnesses)))
		}
		if !ok {
			continue
		}
		h.witnessed = true
		covered = covered || h.size > j.lastIndex()
		sound := j.timely(h, sigs)
		at, ok := policy.completed(sound)
		if !ok {
			continue
		}
		h.witnessedAt = at
		j.proved = append(j.proved, ProvedAnchor{Kind: AnchorWitness, Size: h.size, Time: at, Source: cosigners(sound, len(policy.Witnesses)), slack: ClockSlack, digest: h.digest})
		dated = dated || h.size > j.lastIndex()
	}
	if !covered {
		j.fail(family, "no checkpoint that covers all receipts satisfies the pinned policy: %s", best)
		return
	}
	if !dated && slices.Contains(j.demand.Anchors, AnchorWitness) {
		j.fail(family, "a time by witnesses is demanded for every receipt, and too few of their clocks agree with the receipts (see what is not proved): %s", best)
		return
	}
	j.pass(family, "the pinned policy is satisfied: %s", best)
}

// timely returns the cosignatures whose times can be right: no receipt under the checkpoint claims to be later. Another counts
// for the quorum, since its witness did remember the checkpoint, and dates nothing.
func (j *judge) timely(h *head, sigs []cosignature) (sound []cosignature) {
	for _, s := range sigs {
		if err := j.noneLater(ProvedAnchor{Size: h.size, Time: s.at, slack: ClockSlack}); err != nil {
			j.unpinned = append(j.unpinned, fmt.Sprintf("the time by the witness %s for size %d, whose clock disagrees: %v", s.Name, h.size, err))
			continue
		}
		sound = append(sound, s)
	}
	return sound
}

func cosigners(sigs []cosignature, of int) string {
	if len(sigs) == 0 {
		return "no pinned witness cosigned"
	}
	var names []string
	for _, s := range sigs {
		names = append(names, s.Name)
	}
	return fmt.Sprintf("%d of %s cosigned: %s", len(sigs), counted(of, "pinned witness"), strings.Join(names, ", "))
}
