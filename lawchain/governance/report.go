package governance

import (
	"cmp"
	"slices"
)

// Signature is what became of a file's signature.
type Signature string

// The verdicts on signatures. One that holds was made by the owner of the key in the file, whoever that is.
const (
	Holds    Signature = "holds"
	Ratified Signature = "holds without the ratification" // which was written into the file afterwards
	Broken   Signature = "broken"
	Missing  Signature = "missing"
)

// Entry is one file that was read.
type Entry struct {
	Path      string    `json:"path"`
	Type      string    `json:"type"`
	Time      string    `json:"time,omitempty"` // as the file says
	Signature Signature `json:"signature"`
	Key       string    `json:"key,omitempty"` // identifier of the key in the file
	Pinned    bool      `json:"pinned"`
}

// Key is one key that was found in files.
type Key struct {
	ID     string `json:"id"`
	Pinned bool   `json:"pinned"`
	Files  int    `json:"files"` // whose signatures hold under it
}

// Charter is one specification file and what was signed about it.
type Charter struct {
	Spec   string `json:"spec"`
	Entry  string `json:"entry"`            // the newest charter entry whose signature holds
	Signed string `json:"signed"`           // SHA-256 that it signs
	Found  string `json:"found,omitempty"`  // SHA-256 of the file now; empty: it is not there
	Drift  bool   `json:"drift"`            // they differ
	Older  string `json:"older,omitempty"`  // an earlier charter that signs what is there now
	Signer string `json:"signer,omitempty"` // key of the entry
}

// Anchors counts the claims of anchors, by state.
type Anchors struct {
	Receipts  int `json:"receipts"`
	Simulated int `json:"simulated"`
	Pending   int `json:"pending"`
	Unproved  int `json:"unproved"` // some other word, and no proof that could be verified
}

// Finding is something that an auditor must know.
type Finding struct {
	Code   string `json:"code"`
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail"`
}

// The codes of findings.
const (
	KeyUnpinned       = "key.unpinned"        // a signature holds under a key that nobody vouches for
	SignatureBroken   = "signature.broken"    // it does not hold under the key beside it
	SignatureMissing  = "signature.missing"   // nothing is signed
	SignatureRepeated = "signature.repeated"  // two files have one signature
	EditedAfter       = "edited.after"        // the ratification was written into a signed file
	ApprovalUnsigned  = "approval.unsigned"   // who approved or attested is a text, not a signature
	CharterDrift      = "charter.drift"       // the specification is not what the newest charter signs
	CharterMissing    = "charter.missing"     // the specification, or the charter of it, is not there
	ProposalMismatch  = "proposal.mismatch"   // a proposal's text is not what it or its charter signs
	ProposalMissing   = "proposal.missing"    // a charter names a proposal that is not there
	RootNoHash        = "root.no_hash"        // a root that is no SHA-256
	ManifestBroken    = "manifest.broken"     // the root does not follow from the hashes that are listed
	ManifestDrift     = "manifest.drift"      // listed files were changed, or are gone
	AnchorSimulated   = "anchor.simulated"    // nothing was anchored
	AnchorPending     = "anchor.pending"      // nothing was anchored yet
	AnchorUnproved    = "anchor.unproved"     // said to be anchored, without a proof
	AnchorUnknownRoot = "anchor.unknown_root" // the root is that of no manifest or entry here
	FileRefused       = "file.refused"        // a link, a special file, too large, or not one meaning
)

// Report is what an import found.
type Report struct {
	Folder   string    `json:"folder"`
	Clean    bool      `json:"clean"`
	Entries  []Entry   `json:"entries"`
	Keys     []Key     `json:"keys"`
	Charters []Charter `json:"charters"`
	Anchors  Anchors   `json:"anchors"`
	Findings []Finding `json:"findings"`
	// NotRead is the number of files in the governance folder, and in those beside it, into which nobody looked: they lie
	// where nothing belongs, or are no JSON. NotReadNames are the first of them. Clean says nothing about them.
	NotRead      int      `json:"not_read"`
	NotReadNames []string `json:"not_read_names"`
	NotReadMore  bool     `json:"not_read_more,omitempty"` // there are more, beyond the bounds
	// Limits is what cannot be verified about any such folder, however it looks.
	Limits []string `json:"limits"`
}

// maxNotRead bounds the names of files that were not read.
const maxNotRead = 20

// limits hold for every folder of this format.
var limits = []string{
	"entries have no number and no link to one another: one that was deleted leaves no trace, and their order and times are claims",
	"a key stands in the file that it signs: without keys that you pin, anybody can have made any of them",
	"the manifest's tree sorts its leaves and has no place for names: files can be exchanged, and the last repeated, under one root",
}

func (r *Report) find(code, path, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{code, path, sprintf(format, args...)})
}

// order makes the same folder give the same report.
func (r *Report) order() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Detail, b.Detail))
	})
	slices.SortFunc(r.Keys, func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(r.Charters, func(a, b Charter) int { return cmp.Compare(a.Spec, b.Spec) })
	r.Clean = len(r.Findings) == 0
}
