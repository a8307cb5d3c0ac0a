package receipt

import (
	"slices"

	"vaultmesh.org/vaultmesh/proof/state"
)

// halt judges whether the domain's stop switch stood when a command was authorized or dispatched. A halt in the bundle must
// have been obeyed; that there was none is proved only where the state of the log says how many receipts the switch has.
func (j *judge) halt(l *life) {
	name := l.name("command.halt")
	last := l.at["authorized"]
	if e := l.at["dispatched"]; e != nil {
		last = e
	}
	if last == nil {
		j.empty(name, "nothing was authorized")
		l.ranFree = true
		return
	}
	subject := HaltSubject(j.trust.Domain)
	chain := j.subjects[subject]
	for _, state := range []string{"authorized", "dispatched"} {
		if e := l.at[state]; e != nil {
			if h := j.standing(chain, e); h != nil {
				j.fail(name, "it was %s at index %d, and the domain had been halted at index %d by %s", state, e.index, h.index, h.Actor)
				return
			}
		}
	}
	h, ok := j.newestState(state.SubjectKey(subject))
	if ok && h.matches(chain) == nil {
		if size, _ := j.reach(h); size > uint64(last.index) {
			l.ranFree = true
			j.pass(name, "the domain was not halted when it was %s at index %d, by the state of the log at size %d", lastState(last), last.index, size)
			return
		}
	}
	const lacks = "the bundle does not show all that happened to the domain's stop switch up to index %d"
	if j.demand.Complete && (!j.scoped || j.names(l.chain[0].Subject)) {
		j.fail(name, unjudged+": "+lacks, last.index)
		return
	}
	j.empty(name, "not proved: "+lacks, last.index)
}

func lastState(e *entry) string {
	state, _ := CommandState(e.Kind)
	return state
}

// standing returns the halt that stands at a receipt by what the bundle shows of the switch; nil where none stands, or where
// it may have been cleared in a part of the log that is not shown.
func (j *judge) standing(chain []*entry, at *entry) *entry {
	n := len(chain)
	if i := slices.IndexFunc(chain, func(e *entry) bool { return e.index > at.index }); i >= 0 {
		n = i
	}
	if n == 0 || chain[n-1].Kind != HaltSet {
		return nil
	}
	h := chain[n-1]
	if j.excerpt(chain) && !j.scope.joins(h.index, at.index) && (n == len(chain) || chain[n].Seq != h.Seq+1) {
		return nil
	}
	return h
}
