package receipt

import (
	"fmt"
	"strings"

	"vaultmesh.org/vaultmesh/proof/state"
)

// knownSize is the size of the log that the auditor knows: what they named, or else the largest that pinned witnesses
// signed. It is for after expectedHead; 0 where they know none.
func (j *judge) knownSize() uint64 {
	if j.known == "" {
		return 0
	}
	if j.demand.Size > 0 {
		return j.demand.Size
	}
	if h := j.witnessedHead(); h != nil {
		return h.size
	}
	return 0
}

// named is the size of the head that the auditor names; 0 where they name none. It is judged later: until then it can only
// make the judgement stricter.
func (j *judge) named() uint64 {
	claimed, err := claimedSize(j.demand.Head)
	if err != nil {
		claimed = 0
	}
	return max(j.demand.Size, claimed)
}

// keysHistory judges, where more than one key of a purpose counts, that no retirement of one of them was left out: the
// history of the keys must be whole up to the size that the auditor knows.
func (j *judge) keysHistory(size uint64) {
	name := "history.complete[keys]"
	several, newest := j.severalKeys(size)
	if len(several) == 0 {
		return
	}
	subject := KeySubject(j.trust.Domain)
	h, ok := j.newestState(state.SubjectKey(subject))
	why := ""
	if !ok {
		why = "no state proof says how many statements about keys there are"
	} else if err := h.matches(j.subjects[subject]); err != nil {
		j.fail(name, "%v", err)
		return
	} else if reached, _ := j.reach(h); reached < size {
		why = fmt.Sprintf("the statements about keys are complete as of size %d only, and you know the log at size %d", reached, size)
	} else if newest != "" && uint64(h.by.index) >= size && h.by.KeyID != newest {
		why = fmt.Sprintf("the root at index %d, which lies beyond what you know, is signed by an older key than %s", h.by.index, newest)
	}
	if why == "" {
		j.pass(name, "several keys of %s count, and none of them was retired as of size %d", strings.Join(several, ", "), h.size)
		return
	}
	j.keysOpen = fmt.Sprintf("that each of the several keys that count for %s was not retired: %s", strings.Join(several, ", "), why)
	if j.demand.Complete {
		j.fail(name, "%s: %s", unjudged, "the bundle does not show "+j.keysOpen)
		return
	}
	j.empty(name, "not proved: %s", j.keysOpen)
}

// severalKeys returns the purposes of which more than one key may sign beyond a size, and of the receipts' keys the newest
// where they are several.
func (j *judge) severalKeys(size uint64) (purposes []string, newest string) {
	for _, purpose := range []string{PurposeLog, PurposeReceipt, PurposeCapability} {
		n, last := 0, ""
		for _, k := range j.keys.Keys(purpose) {
			if j.accepts(k) && k.counts(size) {
				n, last = n+1, KeyID(k.Public)
			}
		}
		if n > 1 {
			purposes = append(purposes, purpose)
			if purpose == PurposeReceipt {
				newest = last
			}
		}
	}
	return purposes, newest
}
