package receipt

import (
	"bytes"
	"fmt"
	"slices"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/proof/state"
)

// held is what a state proof proves: what was under a key when the log had a size.
type held struct {
	size     uint64
	by       *entry // the state.root receipt
	present  bool
	document []byte
	subject  state.Subject // of keys "subject/…"
}

// state verifies the state proofs by the roots in the bundle's state.root receipts.
func (j *judge) state() {
	const family = "state.proof"
	j.states = map[string][]held{}
	for _, p := range j.byType[PartState] {
		name := family + "[" + p.Name + "]"
		key, h, err := j.openState(p.Data)
		if !j.settle(name, err, "%s", h.words(key)) {
			continue
		}
		j.states[key] = append(j.states[key], h)
	}
	if len(j.byType[PartState]) == 0 {
		j.empty(family, "the bundle has no state proof")
	}
}

func (j *judge) openState(data []byte) (key string, h held, err error) {
	const op = "state.proof"
	p, err := state.Open(data)
	if err != nil {
		return "", h, err
	}
	h.by = j.entries[p.Receipt]
	if h.by == nil || h.by.Kind != StateRoot || h.by.Subject != StateSubject(j.trust.Domain) {
		return p.Key, h, vaultmesh.Errorf(vaultmesh.NotFound, op, p.Key, "the bundle has no %s receipt at index %d", StateRoot, p.Receipt)
	}
	body, err := ReadBody[StateBody](&h.by.Receipt)
	if err != nil {
		return p.Key, h, err
	}
	if h.size = body.Size; h.size > uint64(h.by.index) {
		return p.Key, h, vaultmesh.Errorf(vaultmesh.Corrupt, op, p.Key, "the receipt at index %d has the root of the state at size %d, which lies after it", h.by.index, h.size)
	}
	h.document, h.present, err = state.Verify(body.Root, p.Key, &p)
	if err != nil || !h.present || !bytes.HasPrefix([]byte(p.Key), []byte(state.SubjectKey(""))) {
		return p.Key, h, err
	}
	if h.document == nil {
		return p.Key, h, vaultmesh.Errorf(vaultmesh.Invalid, op, p.Key, "the proof does not hold the document")
	}
	h.subject, err = state.OpenSubject(h.document)
	return p.Key, h, err
}

func (h held) words(key string) string {
	if h.by == nil {
		return ""
	}
	switch {
	case !h.present:
		return fmt.Sprintf("the state at size %d, whose root is in receipt %d, has no %s", h.size, h.by.index, key)
	case h.subject.Count > 0:
		return fmt.Sprintf("the state at size %d, whose root is in receipt %d, has %s with %s, the last at index %d", h.size, h.by.index, key, counted(h.count(), "receipt"), h.subject.Index)
	default:
		return fmt.Sprintf("the state at size %d, whose root is in receipt %d, has %s", h.size, h.by.index, key)
	}
}

// newestState returns the state of the greatest size under a key.
func (j *judge) newestState(key string) (h held, ok bool) {
	for _, x := range j.states[key] {
		if !ok || x.size > h.size {
			h, ok = x, true
		}
	}
	return h, ok
}

func (h held) count() int { return int(min(h.subject.Count, 1<<31)) }

// matches compares the head of a subject's chain with the receipts of the bundle: every one up to the head must be
// there.
func (h held) matches(chain []*entry) error {
	const op = "history.complete"
	n := slices.IndexFunc(chain, func(e *entry) bool { return uint64(e.index) >= h.size })
	if n < 0 {
		n = len(chain)
	}
	if uint64(n) != h.subject.Count || n > 0 && chain[0].Seq != 0 {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "receipts are missing: the state at size %d has %d of them, the bundle %d", h.size, h.subject.Count, n)
	}
	if n > 0 && (chain[n-1].Leaf != h.subject.Leaf || chain[n-1].index != h.subject.Index) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the last receipt at size %d is %s at index %d, the bundle has %s at %d", h.size, h.subject.Leaf, h.subject.Index, chain[n-1].Leaf, chain[n-1].index)
	}
	return nil
}

// revocation says whether it is proved that no block of the command's capability was revoked when it was decided. That
// a revocation in the bundle is obeyed is checked with the capability itself. For an auditor who asks for a command's
// completeness, it must be.
func (j *judge) revocation(l *life, v capability.Verified) {
	name := l.name("capability.revocation")
	decided := l.decided()
	asOf, open, later := uint64(0), 0, false
	all := j.demand.Complete && (!j.scoped || j.names(l.chain[0].Subject)) // what lies in a range by chance need not be shown to its end
	for _, block := range v.Blocks {
		subject := CapabilitySubject(block)
		h, ok := j.newestState(state.SubjectKey(subject))
		if !ok || h.matches(j.subjects[subject]) != nil {
			open++
			continue
		}
		size := h.size
		if at, revoked := j.revoked[block]; revoked { // later, or the capability's own check refuses it
			size, later = min(size, uint64(at)), true
		}
		if asOf == 0 || size < asOf {
			asOf = size
		}
	}
	switch {
	case (open > 0 || len(v.Blocks) == 0) && all:
		j.fail(name, unjudged+": for %d of %s the bundle holds no revocation, and no state proof says that there is none", open, counted(len(v.Blocks), "block"))
	case open > 0 || len(v.Blocks) == 0:
		j.empty(name, "not proved for %d of %s: the bundle holds no revocation, and no state proof says that there is none", open, counted(len(v.Blocks), "block"))
	case asOf <= uint64(decided.index) && all:
		j.fail(name, unjudged+": no block was revoked as of size %d of the log; between there and the decision at index %d nothing is proved: ask for the bundle anew", asOf, decided.index)
	case asOf <= uint64(decided.index):
		l.unrevoked = asOf
		j.part(name, "no block was revoked as of size %d of the log; between there and the decision at index %d nothing is proved: ask for the bundle anew", asOf, decided.index)
	default:
		l.unrevoked = asOf
		text := ""
		if later {
			text = "; one was revoked later"
		}
		j.pass(name, "no block was revoked when it was decided at index %d, by the state of the log at size %d%s", decided.index, asOf, text)
	}
}

// decided is the receipt with which the command was authorized, or else ended.
func (l *life) decided() *entry {
	if e := l.at["authorized"]; e != nil {
		return e
	}
	return l.chain[len(l.chain)-1]
}
