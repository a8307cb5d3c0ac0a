package receipt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// summarize adds what is proved and what is not, in words.
func (j *judge) summarize(r *Report) {
	r.Families = groupFamilies(r.Checks)
	if j.main == nil || j.wholeFailed() {
		r.NotProved = []string{"anything about this file beyond what the checks below say"}
		r.Anchors, r.Complete, r.Known, r.Disclosed = nil, nil, "", nil
		r.Stamped = time.Time{}
		return
	}
	r.Existed = j.existence()
	say := func(format string, args ...any) { r.Proved = append(r.Proved, fmt.Sprintf(format, args...)) }
	lack := func(format string, args ...any) { r.NotProved = append(r.NotProved, fmt.Sprintf(format, args...)) }
	say("%s of domain %s, unaltered and signed by keys that you trust, in the log %s as it was at size %d", counted(len(j.order), "receipt"), j.trust.Domain, j.trust.Log.Origin, j.main.size)
	if j.known != "" {
		say("the log agrees with %s: it was not cut short before that, nor written anew", j.known)
	} else {
		lack("that the log was not cut short or written anew by whoever holds its key: you named no head of it (--head), and no pinned witness signed one")
	}
	if j.keysOpen != "" {
		lack("%s", j.keysOpen)
	}
	j.sayTimes(r, say, lack)
	lives := 0
	for _, c := range r.Complete {
		switch {
		case strings.HasPrefix(c.What, CommandSubject("")):
			lives++
		case c.Time.IsZero():
			say("all of %s is shown as of size %d of the log: %s", c.What, c.Size, c.Basis)
		default:
			say("all of %s is shown as of size %d of the log, at %s: %s", c.What, c.Size, c.Time.Format(time.RFC3339), c.Basis)
		}
	}
	if lives > 0 {
		say("the whole life of %s is shown, to a final state that nothing can follow", counted(lives, "command"))
	}
	for _, text := range j.rangesOpen {
		lack("%s", text)
	}
	for _, s := range j.scope.Subjects {
		if !slices.ContainsFunc(r.Complete, func(c Completeness) bool { return c.What == s }) {
			lack("that %s has no further receipts", s)
		}
	}
	j.sayPossession(lack)
	j.sayHalts(lack)
	j.sayRevocations(r, say, lack)
}

// sayHalts says of how many commands nothing shows that the domain was not halted.
func (j *judge) sayHalts(lack func(string, ...any)) {
	n := 0
	for _, l := range j.commands {
		if l.judged && !l.ranFree {
			n++
		}
	}
	if n > 0 {
		lack("that the domain was not halted when %s went out: the bundle does not show all of %s with a state proof", counted(n, "command"), HaltSubject(j.trust.Domain))
	}
}

// sayPossession says of how many commands nobody but the domain says that the capability's holder asked for them.
func (j *judge) sayPossession(lack func(string, ...any)) {
	n := 0
	for _, l := range j.commands {
		if l.judged && l.proposed.Proof == "" {
			n++
		}
	}
	if n > 0 {
		lack("that the holders of the capabilities asked for %s themselves: the domain says that mTLS proved possession of their keys, and no signature shows it", counted(n, "command"))
	}
}

// wholeFailed reports whether a check about the bundle as a whole does not hold.
func (j *judge) wholeFailed() bool {
	return slices.ContainsFunc(j.checks, func(c finding) bool { return !c.OK && c.about == nil })
}

// kindWords names a kind of proof of time for people.
var kindWords = map[string]string{AnchorRFC3161: "a time-stamping authority", AnchorBitcoin: "Bitcoin (within some two hours)", AnchorEthereum: "Ethereum", AnchorWitness: "witnesses"}

func (j *judge) sayTimes(r *Report, say, lack func(string, ...any)) {
	for _, text := range j.unpinned {
		lack("%s", text)
	}
	missing := slices.DeleteFunc(slices.Clone(anchorKinds), func(kind string) bool {
		return slices.ContainsFunc(r.Anchors, func(a ProvedAnchor) bool { return a.Kind == kind })
	})
	if len(missing) == len(anchorKinds) {
		lack("when anything happened: no proof of time that the trust file can judge is in the bundle, and the times are the domain's own word")
		return
	}
	for _, group := range groupTimes(r.Existed) {
		if group.when == "" {
			lack("when %s existed: no proof of time covers all of them", group.who)
		} else {
			say("%s existed at the latest at %s", group.who, group.when)
		}
	}
	var words []string
	for _, kind := range missing {
		words = append(words, kindWords[kind])
	}
	if len(words) > 0 {
		lack("the time by %s: the bundle has no such proof, or you pinned nothing to judge it by", strings.Join(words, ", by "))
	}
}

// sameTimes are classes of receipts with the same proved times.
type sameTimes struct{ who, when string }

func groupTimes(list []Existence) (groups []sameTimes) {
	for _, x := range list {
		var by []string
		for _, kind := range anchorKinds {
			if t, ok := x.By[kind]; ok {
				by = append(by, t.Format(time.RFC3339)+" by "+kindWords[kind])
			}
		}
		when, who := strings.Join(by, ", and at "), counted(x.Receipts, x.Class+" receipt")
		i := slices.IndexFunc(groups, func(g sameTimes) bool { return g.when == when })
		if i < 0 {
			groups = append(groups, sameTimes{who, when})
		} else {
			groups[i].who += ", " + who
		}
	}
	return groups
}

func (j *judge) sayRevocations(r *Report, say, lack func(string, ...any)) {
	at, before, open, oldest := 0, 0, 0, uint64(0)
	for _, l := range j.commands {
		switch {
		case !l.judged:
		case l.unrevoked == 0:
			open++
		case l.unrevoked > uint64(l.decided().index):
			at++
		default:
			before++
			if oldest == 0 || l.unrevoked < oldest {
				oldest = l.unrevoked
			}
		}
	}
	all := counted(at+before+open, "command")
	of := func(n int) string {
		if n == at+before+open {
			return all
		}
		return fmt.Sprintf("%d of %s", n, all)
	}
	if at > 0 {
		say("the capabilities of %s were not revoked when they were decided", of(at))
	}
	if before > 0 {
		lack("that the capabilities of %s were not revoked just before they were decided: that is known up to size %d of the log only", of(before), oldest)
	}
	if open > 0 {
		lack("that the capabilities of %s were not revoked before they were decided: no state proof is about them", of(open))
	}
}

// existence returns by class when the receipts existed.
func (j *judge) existence() []Existence {
	classes := map[string]*Existence{}
	for _, e := range j.order {
		class, _, _ := strings.Cut(e.Subject, "/")
		x := classes[class]
		if x == nil {
			x = &Existence{Class: class, By: map[string]time.Time{}}
			for _, kind := range anchorKinds {
				x.By[kind] = time.Time{}
			}
			classes[class] = x
		}
		x.Receipts++
		for kind, latest := range x.By {
			t := existed(j.proved, kind, uint64(e.index))
			switch {
			case t.IsZero():
				delete(x.By, kind)
			case t.After(latest):
				x.By[kind] = t
			}
		}
	}
	var list []Existence
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		list = append(list, *classes[class])
	}
	return list
}

func groupFamilies(checks []Check) []Family {
	var list []Family
	for _, c := range checks {
		if n := len(list); n == 0 || list[n-1].Name != familyOf(c.Name) {
			list = append(list, Family{Name: familyOf(c.Name), OK: true})
		}
		f := &list[len(list)-1]
		f.Checks++
		if c.Empty {
			f.Empty++
		}
		if c.Partial {
			f.Partial++
		}
		if !c.OK {
			f.OK = false
			f.Failed++
			if !c.Judged() {
				f.Unjudged++
			}
		}
	}
	return list
}
