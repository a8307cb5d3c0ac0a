package receipt

import (
	"fmt"
	"strings"
	"time"
)

// wroteAfter is a receipt that reports a verified proof of time: what follows it in the log was written after that time,
// since the proof did not exist before.
type wroteAfter struct {
	by     *entry
	anchor ProvedAnchor
}

// wholeRange says what is shown of a range: every receipt by its index, and of a range that was asked for by time also
// whether all that lies outside of it was written before or after that time. What receipts claim of their own times does not
// show that, and nothing in a bundle says what those claim that are not in it.
func (j *judge) wholeRange(r Range) {
	c := Completeness{What: fmt.Sprintf("%d-%d", r.First, r.Last), Size: j.main.size, Time: utc(j.entries[r.Last].Time), Count: int(r.Last-r.First) + 1,
		Basis: "every index from the first to the last is there"}
	name := "history.complete[" + c.What + "]"
	if r.From.IsZero() {
		j.claim(name, c)
		return
	}
	before, lacksBefore := j.allBefore(r)
	after, lacksAfter := j.allAfter(r)
	asOf := uint64(0)
	if lacksAfter != "" {
		if asOf, after = j.endsIn(r); asOf > 0 {
			lacksAfter = ""
		}
	}
	if lacks := strings.Join(nonEmpty(lacksBefore, lacksAfter), ", and "); lacks != "" {
		open := fmt.Sprintf("that no receipt outside of %d to %d was written from %s until %s, whatever time it claims: %s", r.First, r.Last, r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339), lacks)
		j.rangesOpen = append(j.rangesOpen, open)
		if j.demand.Complete {
			j.fail(name, "%s: every index from %d to %d is there; the bundle does not show %s. Ask for the range by its indexes (--first %d --last %d), and of all others vaultmesh fsck shows what they claim", unjudged, r.First, r.Last, open, r.First, r.Last)
			return
		}
	} else {
		c.From = utc(r.From)
		if asOf == 0 {
			c.Until = utc(r.Until)
			c.Basis += fmt.Sprintf("; no other was written from %s until %s: %s, and %s", r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339), before, after)
		} else {
			c.Size = min(c.Size, asOf)
			c.Basis += fmt.Sprintf("; of the first %s of the log no other was written from %s on: %s, and %s; what came later, until %s too, is not shown", counted(int(min(asOf, 1<<31)), "receipt"), r.From.Format(time.RFC3339), before, after, r.Until.Format(time.RFC3339))
		}
	}
	j.claim(name, c)
}

// allBefore says why everything before a range was written before the time that was asked for, or what lacks for that.
func (j *judge) allBefore(r Range) (why, lacks string) {
	if r.First == 0 {
		return "the range begins with the first receipt of the log", ""
	}
	for _, a := range j.proved {
		if a.Size >= uint64(r.First) && !a.Time.Add(a.slack).After(r.From) {
			return fmt.Sprintf("what is before it existed at %s by %s", a.Time.Format(time.RFC3339), kindWords[a.Kind]), ""
		}
	}
	return "", fmt.Sprintf("no proof of time of %s or earlier covers what is before it", r.From.Format(time.RFC3339))
}

// allAfter says why everything after a range was written after the time that was asked for, or what lacks for that.
func (j *judge) allAfter(r Range) (why, lacks string) {
	for _, w := range j.wroteAfter {
		if w.by.index <= r.Last && !w.anchor.Time.Add(-w.anchor.slack).Before(r.Until) {
			return fmt.Sprintf("what is after it was written after %s, of which receipt %d reports a proof by %s", w.anchor.Time.Format(time.RFC3339), w.by.index, kindWords[w.anchor.Kind]), ""
		}
	}
	return "", fmt.Sprintf("no receipt up to its end reports a proof of time of %s or later", r.Until.Format(time.RFC3339))
}

// endsIn says that the log as the auditor knows it ends in the range, and at which size; 0 where it does not: a head from
// before the range says nothing of it. What the log got
// after that is not shown. Of a head that only the witnesses name, nobody knows how old it is but by their own times.
func (j *judge) endsIn(r Range) (size uint64, why string) {
	end := uint64(r.Last) + 1
	if n := j.demand.Size; n > uint64(r.First) && j.known != "" && n <= end {
		return n, fmt.Sprintf("the log ends in it at the head that you named, of size %d", n)
	}
	if h := j.witnessedHead(); j.demand.Size == 0 && h != nil && h.size > uint64(r.First) && h.size <= end && !h.witnessedAt.Add(-ClockSlack).Before(r.Until) {
		return h.size, fmt.Sprintf("the pinned witnesses saw the log end in it, with size %d, at %s", h.size, h.witnessedAt.Format(time.RFC3339))
	}
	return 0, ""
}

func nonEmpty(texts ...string) (out []string) {
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}
