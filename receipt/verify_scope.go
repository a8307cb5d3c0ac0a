package receipt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/state"
)

// Completeness is something that a bundle was proved to show all of.
type Completeness struct {
	What  string    `json:"what"`          // "command/…" or another subject, or "12-40" for receipts by their indexes
	Size  uint64    `json:"size,string"`   // of the log as of which it is complete
	Time  time.Time `json:"time,omitzero"` // of the receipt on which that rests, by its own word
	Basis string    `json:"basis"`         // why, in a sentence
	Count int       `json:"count"`         // receipts
	// From and Until are the time by which a range was asked for, as far as proofs of time show that it holds every receipt
	// that was written in it: From where all that is before the range was written before it, Until where all that is after
	// the range was written after it. From alone: all that was written from then on, as of Size.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// aboutWhat reads the scope and checks that the bundle holds what it names.
func (j *judge) aboutWhat() {
	const name = "bundle.scope"
	parts := j.byType[PartScope]
	if len(parts) == 0 {
		j.empty(name, "the bundle does not say what it is about: it claims to show all of its commands, and of nothing else")
		return
	}
	var err error
	if j.scope, err = OpenScope(parts[0].Data); err != nil {
		j.fail(name, "%v", err)
		return
	}
	j.scoped = true
	for _, id := range j.scope.Commands {
		if len(j.subjects[CommandSubject(id)]) == 0 {
			j.fail(name, "it is about command %s, of which it has no receipt", id)
		}
	}
	for _, r := range j.scope.Ranges {
		if err := j.whole(r); err != nil {
			j.fail(name, "%v", err)
		}
	}
	if j.held(name) {
		j.pass(name, "it is about %s", j.scope.words())
	}
}

func (s *Scope) words() string {
	var list []string
	if n := len(s.Commands); n > 0 {
		list = append(list, counted(n, "command"))
	}
	if n := len(s.Subjects); n > 0 {
		list = append(list, counted(n, "subject"))
	}
	for _, r := range s.Ranges {
		list = append(list, r.words())
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func (r Range) words() string {
	text := fmt.Sprintf("receipts %d to %d", r.First, r.Last)
	if r.First == r.Last {
		text = fmt.Sprintf("receipt %d", r.First)
	}
	if !r.From.IsZero() {
		text += " (from " + r.From.Format(time.RFC3339) + " until " + r.Until.Format(time.RFC3339) + ")"
	}
	return text
}

// whole checks that every receipt of a range is there, and that its ends claim times outside of the one that was asked for.
// What the rest of the log claims they do not show: see wholeRange.
func (j *judge) whole(r Range) error {
	const op = "bundle.scope"
	if uint64(r.Last-r.First) >= MaxParts {
		return vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "a range of %d receipts", uint64(r.Last-r.First)+1)
	}
	for i := r.First; i <= r.Last; i++ {
		if j.entries[i] == nil {
			return vaultmesh.Errorf(vaultmesh.NotFound, op, "", "it is about receipts %d to %d, and lacks receipt %d", r.First, r.Last, i)
		}
	}
	if r.From.IsZero() {
		return nil
	}
	if first := j.entries[r.First]; r.First > 0 && !first.Time.Before(r.From.Add(-ClockSlack)) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the range begins with a receipt of %s: since times may run back by %s, it does not show that none before it is from %s on", first.Time.Format(TimeFormat), ClockSlack, r.From.Format(TimeFormat))
	}
	if last, end := j.entries[r.Last], j.named(); last.Time.Before(r.Until.Add(ClockSlack)) && uint64(r.Last)+1 < end {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the range ends with a receipt of %s, and the log is known to have size %d: since times may run back by %s, it does not show that none after it is before %s", last.Time.Format(TimeFormat), end, ClockSlack, r.Until.Format(TimeFormat))
	}
	return nil
}

// chains checks that the history of every subject is complete from its first receipt, or, of a stream and of what lies in
// a range of the scope, that neighbours are linked. Where the history of a command ends, its states tell; where that of
// another subject does, see completeness.
func (j *judge) chains() {
	subjects := make([]string, 0, len(j.subjects))
	for s := range j.subjects {
		subjects = append(subjects, s)
	}
	slices.Sort(subjects)
	defer func() { j.about = nil }()
	for _, subject := range subjects {
		j.about = nil
		j.chain("subject.chain["+subject+"]", j.subjects[subject])
	}
}

// names reports whether the bundle is about the subject as such, or the auditor asks for it: then it is no excerpt,
// wherever its receipts lie.
func (j *judge) names(subject string) bool {
	id, isCommand := strings.CutPrefix(subject, CommandSubject(""))
	return slices.Contains(j.demand.Subjects, subject) || slices.Contains(j.scope.Subjects, subject) || isCommand && slices.Contains(j.scope.Commands, vaultmesh.CommandID(id))
}

// excerpt reports whether what the bundle has of a subject lies in its ranges by chance: then it may begin anywhere and have
// gaps.
func (j *judge) excerpt(chain []*entry) bool {
	return len(chain) > 0 && !j.names(chain[0].Subject) && !slices.ContainsFunc(chain, func(e *entry) bool { return !j.scope.covers(e.index) })
}

func (j *judge) chain(name string, chain []*entry) {
	excerpt := j.excerpt(chain)
	if err := j.chainError(chain, excerpt); err != nil {
		j.fail(name, "%v", err)
		return
	}
	first, last := chain[0], chain[len(chain)-1]
	if state, isCommand := CommandState(last.Kind); isCommand {
		l := &life{chain: chain}
		next, _ := NextCommandStates(state)
		switch whole := first.Seq == 0 && last.Seq == uint64(len(chain)-1) && len(next) == 0; {
		case !whole && excerpt:
			j.pass(name, "%s, seq %d to %d, within a range of the log; neighbours are linked; the command is not judged", counted(len(chain), "receipt"), first.Seq, last.Seq)
		case len(next) > 0:
			j.commands, j.about = append(j.commands, l), l
			j.fail(name, "the history ends in state %q, after which something must follow: the end is missing", state)
		default:
			j.commands, j.about = append(j.commands, l), l
			j.pass(name, "%s, seq 0 to %d, each holds the leaf of the one before, and the last state %q is final", counted(len(chain), "receipt"), last.Seq, state)
		}
		return
	}
	switch {
	case kinds[first.Kind].stream || first.Seq != 0:
		j.pass(name, "an excerpt of %s, seq %d to %d; neighbours are linked", counted(len(chain), "receipt"), first.Seq, last.Seq)
	default:
		j.pass(name, "%s, seq 0 to %d, each holds the leaf of the one before", counted(len(chain), "receipt"), last.Seq)
	}
}

// chainError checks the links. An excerpt may begin anywhere and have gaps, but none within one range.
func (j *judge) chainError(chain []*entry, excerpt bool) error {
	const op = "subject.chain"
	stream := kinds[chain[0].Kind].stream
	_, isCommand := CommandState(chain[0].Kind)
	for i, e := range chain {
		if _, c := CommandState(e.Kind); c != isCommand || kinds[e.Kind].stream != stream {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "kinds %s and %s do not belong to one subject", chain[0].Kind, e.Kind)
		}
		if i == 0 {
			if e.Seq != 0 && !stream && !excerpt {
				return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the history begins with seq %d: its beginning is missing", e.Seq)
			}
			continue
		}
		before := chain[i-1]
		if e.Seq != before.Seq+1 {
			if (stream || excerpt) && e.Seq > before.Seq && !j.scope.joins(before.index, e.index) {
				continue
			}
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "seq %d follows seq %d: a receipt is missing or out of order", e.Seq, before.Seq)
		}
		if *e.Prev != before.ref() {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "seq %d names %s at index %d as its predecessor, which is %s at index %d", e.Seq, e.Prev.Leaf, e.Prev.Index, before.Leaf, before.index)
		}
	}
	return nil
}

// joins reports whether both indexes lie in one range.
func (s *Scope) joins(a, b vaultmesh.LogIndex) bool {
	for _, r := range s.Ranges {
		if r.First <= a && b <= r.Last {
			return true
		}
	}
	return false
}

// completeness says of what the bundle shows all, and as of which size of the log.
func (j *judge) completeness() {
	const family = "history.complete"
	if j.known == "" {
		if h := j.witnessedHead(); h != nil {
			j.known = fmt.Sprintf("the pinned witnesses, at size %d", h.size)
		}
	}
	if j.demand.Complete && j.known == "" {
		j.fail(family, unjudged+": completeness needs a head of the log that the auditor knows or that pinned witnesses signed, since whoever keeps the log could have cut it short or written it anew: %s", j.headWanted())
		return
	}
	if size := j.knownSize(); size > 0 {
		j.keysHistory(size)
	}
	subjects := slices.Clone(j.demand.Subjects)
	for _, id := range j.scope.Commands {
		subjects = append(subjects, CommandSubject(id))
	}
	if !j.scoped {
		for _, l := range j.commands {
			subjects = append(subjects, l.chain[0].Subject)
		}
	}
	subjects = append(subjects, j.scope.Subjects...)
	slices.Sort(subjects)
	for _, s := range slices.Compact(subjects) {
		j.wholeSubject(family+"["+s+"]", s, j.demand.Complete || slices.Contains(j.demand.Subjects, s))
	}
	for _, r := range j.scope.Ranges {
		j.wholeRange(r)
	}
	if j.demand.Complete && len(j.complete) == 0 && j.held(family) {
		j.fail(family, unjudged+": the bundle does not say what it shows completely")
		return
	}
	if len(subjects) == 0 && len(j.scope.Ranges) == 0 {
		j.empty(family, "the bundle claims to show nothing completely")
	}
}

// headWanted says what an auditor must pass who named no head that could be used.
func (j *judge) headWanted() string {
	const pass = "pass --head FILE with a signed checkpoint of this log that you got by another way than this bundle, or --expect-size N with --expect-root sha256:…"
	switch {
	case j.demand.Size > 0 || len(j.demand.Head) > 0:
		return "the head that you gave does not hold (see log.head)"
	case j.pins.witnesses != nil && j.pins.witnesses.Asks():
		return "no checkpoint of the bundle satisfies the witness policy of your trust file (see log.witness): ask for the bundle anew, or " + pass
	}
	return pass + ", or a trust file with a witness_policy that the bundle's checkpoint satisfies"
}

func (j *judge) witnessedHead() *head {
	for _, h := range slices.Backward(j.headList()) {
		if h.witnessed {
			return h
		}
	}
	return nil
}

func (j *judge) claim(name string, c Completeness) {
	j.complete = append(j.complete, c)
	j.pass(name, "complete as of size %d: %s", c.Size, c.Basis)
}

// judged reports whether every check about a command was made.
func (j *judge) judged(subject string) bool {
	return slices.ContainsFunc(j.commands, func(l *life) bool { return l.judged && l.chain[0].Subject == subject })
}

// wholeSubject judges whether the bundle shows every receipt of the subject.
func (j *judge) wholeSubject(name, subject string, demanded bool) {
	chain := j.subjects[subject]
	if strings.HasPrefix(subject, CommandSubject("")) {
		if n := len(chain); n > 0 {
			state, isCommand := CommandState(chain[n-1].Kind)
			if next, ok := NextCommandStates(state); isCommand && ok && len(next) == 0 && chain[0].Seq == 0 && chain[n-1].Seq == uint64(n-1) && j.judged(subject) {
				j.claim(name, Completeness{What: subject, Size: j.main.size, Time: utc(chain[n-1].Time), Count: n, Basis: fmt.Sprintf("%s from the proposal to the state %q, which is final: nothing can follow", counted(n, "receipt"), state)})
				return
			}
		}
		if demanded {
			j.fail(name, "the bundle does not hold the command's whole life, or it could not be judged")
		}
		return
	}
	h, ok := j.newestState(state.SubjectKey(subject))
	if !ok {
		switch {
		case !state.InStateTree(subject) && demanded:
			j.fail(name, unjudged+": the state tree does not hold such subjects, so nothing says how many receipts it has; a range of the log shows all of them in it")
		case !state.InStateTree(subject):
			j.empty(name, "%s; that there are no more is not proved: the state tree does not hold such subjects", counted(len(chain), "receipt"))
		case len(chain) == 0:
			j.fail(name, "the bundle holds no receipt of it, and no proof that there is none")
		case demanded:
			j.fail(name, unjudged+": no state proof says how many receipts it has")
		default:
			j.empty(name, "%s from the first; that there are no more is not proved: no state proof says how many there are", counted(len(chain), "receipt"))
		}
		return
	}
	if err := h.matches(chain); err != nil {
		j.fail(name, "%v", err)
		return
	}
	size, by := j.reach(h)
	if known := j.knownSize(); demanded && size < known {
		j.fail(name, "complete as of size %d only, and the auditor knows the log at size %d: what lies between the two may hold more; ask for the bundle anew", size, known)
		return
	}
	basis := fmt.Sprintf("the state of the log at size %d, whose root is in receipt %d, says that it has %s", h.size, h.by.index, counted(h.count(), "receipt"))
	if by != "" {
		basis += "; " + by
	}
	j.claim(name, Completeness{What: subject, Size: size, Time: utc(h.by.Time), Count: len(chain), Basis: basis})
}

// reach extends a state by the receipts after it that the bundle holds without a gap.
func (j *judge) reach(h held) (size uint64, why string) {
	size = h.size
	for j.entries[vaultmesh.LogIndex(size)] != nil {
		size++
	}
	if size > h.size {
		why = fmt.Sprintf("receipts %d to %d are all in the bundle", h.size, size-1)
	}
	return size, why
}
