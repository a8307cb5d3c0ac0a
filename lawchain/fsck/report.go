// Package fsck owns the check of a whole log: of what was published, of a node's journal, of an archive. It reads
// everything, believes nothing but pinned keys, reads of a stranger no more than they stand behind, needs little memory
// however large the log is, and always ends with a verdict. It is on floor 2.
//
// It must not repair anything, and it must not know what a receipt's body means, except that of key.rotated and its
// neighbours, which say whose signatures count.
package fsck

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Verdict of a check.
type Verdict string

// The verdicts. A check that could not be finished and found no damage so far is Unusable.
const (
	Sound    Verdict = "sound"
	Damaged  Verdict = "damaged"
	Unusable Verdict = "unusable"
)

// Problem is one finding of damage.
type Problem struct {
	Check string `json:"check"`           // which check found it
	Where string `json:"where"`           // an object, a record or a subject
	Index *int64 `json:"index,omitempty"` // log index of the receipt, where it is about one
	What  string `json:"what"`
}

func (p Problem) String() string {
	if p.Index != nil {
		return fmt.Sprintf("receipt %d (%s): %s", *p.Index, p.Where, p.What)
	}
	return p.Where + ": " + p.What
}

// The checks.
const (
	checkCheckpoint = "checkpoint" // signed by a pinned key
	checkObjects    = "objects"    // every tile and bundle is there and holds what it should
	checkEntries    = "entries"    // every envelope opens and belongs to the domain
	checkTree       = "tree"       // the receipts have the root that was signed, and extend what was seen before
	checkChains     = "chains"     // the history of every subject is complete and in order
	checkTimes      = "times"      // no receipt is back-dated or from the future
	checkSignatures = "signatures" // every receipt that needs a signature has a good one
	checkJournal    = "journal"    // the journal's own records agree with the receipts
	checkArchive    = "archive"    // segments follow one another, and their manifests are signed
)

// ofReceipts are the checks of which nothing is known where the receipts were not read.
var ofReceipts = map[string]bool{checkEntries: true, checkTree: true, checkChains: true, checkTimes: true, checkSignatures: true}

// Check is one thing that was looked at in the whole log.
type Check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`     // judged, to the end, and without a problem
	Judged   bool   `json:"judged"` // what it is about was read
	Problems uint64 `json:"problems,omitempty"`
}

// Report is the result of a check.
type Report struct {
	Verdict  Verdict          `json:"verdict"`
	Place    string           `json:"place"`
	Kind     string           `json:"kind"` // "published", "journal" or "archive"
	Origin   string           `json:"origin,omitempty"`
	Size     uint64           `json:"size"` // receipts in the checkpoint
	Root     vaultmesh.Digest `json:"root"`
	Receipts uint64           `json:"receipts"` // receipts read
	Subjects int              `json:"subjects"`
	Signed   uint64           `json:"signed"` // receipts with a good signature of their own
	Checks   []Check          `json:"checks"`
	Problems []Problem        `json:"problems"`       // the first ones
	More     uint64           `json:"more,omitempty"` // problems beyond those
	Notes    []string         `json:"notes,omitempty"`
	Reason   string           `json:"reason,omitempty"` // why it could not be finished
	Seconds  float64          `json:"seconds"`
}

// maxProblems are kept; the check ends early when far more were found, since the verdict is clear.
const (
	maxProblems = 50
	maxOfCheck  = 10 // of each check, so that one kind of problem does not hide the others
	endProblems = 10_000
	maxNotes    = 20
)

// findings collects problems from several goroutines.
type findings struct {
	mu       sync.Mutex
	problems []Problem
	more     uint64
	counts   map[string]uint64 // by check
	notes    []string
}

func (f *findings) add(p Problem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[string]uint64{}
	}
	f.counts[p.Check]++
	if len(f.problems) < maxProblems && f.counts[p.Check] <= maxOfCheck {
		f.problems = append(f.problems, p)
	} else {
		f.more++
	}
}

func (f *findings) damage(check, where, format string, args ...any) {
	f.add(Problem{Check: check, Where: where, What: fmt.Sprintf(format, args...)})
}

func (f *findings) receipt(check string, index uint64, subject, format string, args ...any) {
	i := int64(index)
	f.add(Problem{Check: check, Where: subject, Index: &i, What: fmt.Sprintf(format, args...)})
}

func (f *findings) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.notes) < maxNotes {
		f.notes = append(f.notes, fmt.Sprintf(format, args...))
	}
}

func (f *findings) count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.problems)) + f.more
}

// finish gives the verdict. failure is why the check could not go to its end; nil where it did.
func (r *Report) finish(f *findings, failure error, began time.Time, checks ...string) *Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	unread := r.Receipts < r.Size || r.Receipts == 0 && len(f.problems) > 0
	r.Checks = []Check{}
	rank := map[string]int{}
	for i, name := range checks {
		rank[name] = i
		judged := f.counts[name] > 0 || failure == nil && !(unread && ofReceipts[name])
		r.Checks = append(r.Checks, Check{Name: name, OK: judged && f.counts[name] == 0 && failure == nil, Judged: judged, Problems: f.counts[name]})
	}
	slices.SortStableFunc(f.problems, func(a, b Problem) int { return rank[a.Check] - rank[b.Check] })
	if r.Signed == 0 && f.counts[checkSignatures] > 0 {
		f.notes = append(f.notes, "no receipt has a good signature by a pinned key: is this the trust file of this log?")
	}
	r.Problems, r.More, r.Notes = f.problems, f.more, f.notes
	if r.Problems == nil {
		r.Problems = []Problem{}
	}
	if failure != nil {
		r.Reason = failure.Error()
	}
	switch {
	case len(r.Problems) > 0:
		r.Verdict = Damaged
	case failure != nil:
		r.Verdict = Unusable
	default:
		r.Verdict = Sound
	}
	r.Seconds = time.Since(began).Seconds()
	return r
}

// Status is the exit status of a command: 0 sound, 1 damaged, 2 unusable.
func (r *Report) Status() int {
	switch r.Verdict {
	case Sound:
		return 0
	case Damaged:
		return 1
	}
	return 2
}
