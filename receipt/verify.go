package receipt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/formats/proof"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
)

// families is every kind of check in the order of the report; each occurs at least once in every report.
var families = []string{
	"bundle.format", "trust.keys", "bundle.manifest", "log.checkpoint", "receipt.signature", "receipt.inclusion", "subject.chain", "receipt.causes",
	"command.transitions", "command.binding", "policy.accepted", "approval.signature", "capability.chain", "timestamp.rfc3161", "telemetry.proof",
}

// What details say of checks that are told apart in the summary.
const (
	unjudged   = "not judged" // begins the detail of every check that could not be made
	notJudged  = unjudged + ": an earlier check does not hold"
	noApproval = "no approval was asked for"
)

// Verify judges a bundle with the keys that t pins and nothing else: no network, no clock, no key from the bundle. The
// report lists every check; one that could not be made counts as not holding and says why. It tells of a command only
// what was verified.
func Verify(bundle []byte, t *Trust) Report {
	j := &judge{trust: t, entries: map[vaultmesh.LogIndex]*entry{}}
	j.run(bundle)
	return j.report()
}

// judge holds the state of one verification. The families run in their order; a later one relies on what earlier ones
// found, and is not judged where that is missing.
type judge struct {
	trust  *Trust
	pins   *pins
	bundle *Bundle
	checks []finding
	about  *life // the command that is being judged; nil for what concerns the bundle as a whole

	byType     map[string][]Part
	checkpoint log.Checkpoint
	noted      bool      // the checkpoint is signed by the pinned log
	stamped    time.Time // the earliest proved time-stamp of the checkpoint; zero where there is none
	entries    map[vaultmesh.LogIndex]*entry
	order      []*entry                                // by log index
	commands   []*life                                 // by subject
	messages   map[string]MessageProof                 // verified, by part name
	revoked    map[vaultmesh.Digest]vaultmesh.LogIndex // capability blocks, with the first receipt that revokes each
}

// finding is a check with the command that it is about.
type finding struct {
	Check
	about *life
}

// entry is a receipt with its place.
type entry struct {
	Receipt
	index vaultmesh.LogIndex
}

func (e *entry) ref() Ref { return Ref{Index: e.index, Leaf: e.Leaf} }

func (j *judge) pass(name, format string, args ...any) { j.add(name, true, format, args...) }

func (j *judge) fail(name, format string, args ...any) { j.add(name, false, format, args...) }

func (j *judge) add(name string, ok bool, format string, args ...any) {
	j.checks = append(j.checks, finding{Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)}, j.about})
}

// settle passes or fails by err; detail says what was compared.
func (j *judge) settle(name string, err error, format string, args ...any) bool {
	if err != nil {
		j.fail(name, "%v", err)
	} else {
		j.pass(name, format, args...)
	}
	return err == nil
}

// held reports whether every check of the families made so far holds.
func (j *judge) held(names ...string) bool {
	for _, c := range j.checks {
		if !c.OK && slices.Contains(names, familyOf(c.Name)) {
			return false
		}
	}
	return true
}

func (j *judge) run(data []byte) {
	var err error
	if j.bundle, err = DecodeBundle(data); !j.settle("bundle.format", err, "the %d bytes are the one form of a %s with the digests of its parts", len(data), BundleFormat) {
		return
	}
	j.byType = map[string][]Part{}
	for _, p := range j.bundle.Parts {
		j.byType[p.Type] = append(j.byType[p.Type], p)
	}
	j.pins, err = j.trust.pin()
	if err == nil && j.bundle.Domain != j.trust.Domain {
		err = vaultmesh.Errorf(vaultmesh.Denied, "trust", "", "the bundle is of domain %s, the trust file is for %s", j.bundle.Domain, j.trust.Domain)
	}
	if err != nil {
		j.fail("trust.keys", "%v", err)
		return
	}
	j.pass("trust.keys", "domain %s, %d receipt keys, %d capability roots, %d operators' keys are pinned", j.trust.Domain, len(j.pins.receipts), len(j.pins.roots), len(j.pins.operators))
	j.manifest()
	j.note()
	j.receipts()
	if j.held("receipt.signature", "receipt.inclusion") {
		j.chains()
		j.causes()
		if j.held("subject.chain") {
			j.telemetry()
			j.judgeCommands()
		}
	}
	j.timestamps()
}

// report puts the checks in the order of the families and adds those that were not made.
func (j *judge) report() Report {
	r := Report{OK: true}
	for _, family := range families {
		n := len(r.Checks)
		for _, c := range j.checks {
			if familyOf(c.Name) == family {
				r.Checks = append(r.Checks, c.Check)
			}
		}
		if len(r.Checks) == n {
			r.Checks = append(r.Checks, Check{Name: family, Detail: notJudged})
		}
		for _, c := range r.Checks[n:] {
			r.OK = r.OK && c.OK
		}
	}
	r.Commands = j.statements()
	if j.noted {
		r.LogSize = j.checkpoint.Size
	}
	r.Stamped = j.stamped
	return r
}

func (j *judge) manifest() {
	pub, ok := j.pins.receipts[j.bundle.KeyID]
	if !ok {
		j.fail("bundle.manifest", "signed with key %s, which the trust file does not pin", j.bundle.KeyID)
		return
	}
	j.settle("bundle.manifest", j.bundle.CheckSignature(pub), "the pinned key %s signed the names, types and digests of all %d parts", j.bundle.KeyID, len(j.bundle.Parts))
}

func (j *judge) note() {
	parts := j.byType[PartCheckpoint]
	if len(parts) != 1 {
		j.fail("log.checkpoint", "the bundle has no checkpoint")
		return
	}
	signed, err := note.Open(parts[0].Data, note.VerifierList(j.pins.log))
	if err != nil {
		j.fail("log.checkpoint", "not signed by the pinned log key of %s: %v", j.trust.Log.Origin, err)
		return
	}
	if _, err := j.checkpoint.Unmarshal([]byte(signed.Text)); err != nil {
		j.fail("log.checkpoint", "%v", err)
		return
	}
	if j.checkpoint.Origin != j.trust.Log.Origin || len(j.checkpoint.Hash) != rfc6962.DefaultHasher.Size() {
		j.fail("log.checkpoint", "it is of log %.80q, the trust file pins %.80q", j.checkpoint.Origin, j.trust.Log.Origin)
		return
	}
	j.noted = true
	j.pass("log.checkpoint", "%s signed size %d with root sha256:%x", j.checkpoint.Origin, j.checkpoint.Size, j.checkpoint.Hash)
}

// receipts opens every envelope, checks its signature and that the log holds it at its index.
func (j *judge) receipts() {
	if len(j.byType[PartReceipt]) == 0 {
		j.fail("receipt.signature", "the bundle has no receipt")
		j.fail("receipt.inclusion", "the bundle has no receipt")
		return
	}
	proofs := map[string][]byte{}
	for _, p := range j.byType[PartInclusion] {
		proofs[p.Name] = p.Data
	}
	for _, p := range j.byType[PartReceipt] {
		index, err := partIndex(p.Name)
		if err != nil || ReceiptPart(index, nil).Name != p.Name {
			j.fail("receipt.signature["+p.Name+"]", "the name is not that of a log index")
			continue
		}
		r, err := Open(p.Data)
		if err == nil && r.Domain != j.trust.Domain {
			err = vaultmesh.Errorf(vaultmesh.Denied, "receipt.verify", "", "the receipt is of domain %s", r.Domain)
		}
		if err != nil {
			j.fail(numbered("receipt.signature", index), "%v", err)
			continue
		}
		e := &entry{Receipt: r, index: index}
		j.entries[index] = e
		j.order = append(j.order, e)
		j.signature(e)
		name := InclusionPart(index, nil, nil).Name
		j.inclusion(e, proofs[name])
		delete(proofs, name)
	}
	for _, name := range slices.Sorted(maps.Keys(proofs)) {
		j.fail("receipt.inclusion["+name+"]", "a proof without its receipt")
	}
	slices.SortFunc(j.order, func(a, b *entry) int {
		if a.index < b.index {
			return -1
		}
		return 1
	})
}

func (j *judge) signature(e *entry) {
	name := numbered("receipt.signature", e.index)
	if !e.Signed() {
		if !kinds[e.Kind].unsigned {
			j.fail(name, "a receipt of kind %s must carry a signature of its own", e.Kind)
			return
		}
		j.pass(name, "%s %s is covered by the checkpoint, as its kind may be", e.Kind, e.Subject)
		return
	}
	pub, ok := j.pins.receipts[e.KeyID]
	if !ok {
		j.fail(name, "signed with key %s, which the trust file does not pin", e.KeyID)
		return
	}
	j.settle(name, e.CheckSignature(pub), "the pinned key %s signed %s %s", e.KeyID, e.Kind, e.Subject)
}

func (j *judge) inclusion(e *entry, data []byte) {
	name := numbered("receipt.inclusion", e.index)
	var p proof.TLogProof
	switch err := p.Unmarshal(data); {
	case data == nil:
		j.fail(name, "the bundle has no inclusion proof for it")
	case !j.noted:
		j.fail(name, unjudged+": there is no trusted checkpoint")
	case err != nil:
		j.fail(name, "%v", err)
	case string(p.Marshal()) != string(data) || p.ExtraData != nil:
		j.fail(name, "the proof is not in the one form in which it may be written")
	case string(p.Checkpoint) != string(j.byType[PartCheckpoint][0].Data):
		j.fail(name, "the proof leads to another checkpoint than the bundle's")
	case p.Index != uint64(e.index):
		j.fail(name, "the proof is for index %d", p.Index)
	default:
		path := make([][]byte, len(p.Hashes))
		for i := range p.Hashes {
			path[i] = p.Hashes[i][:]
		}
		err := merkle.VerifyInclusion(rfc6962.DefaultHasher, p.Index, j.checkpoint.Size, e.Leaf[:], path, j.checkpoint.Hash)
		j.settle(name, err, "leaf %s is entry %d of the %d under the checkpoint's root, by %d hashes", e.Leaf, e.index, j.checkpoint.Size, len(path))
	}
}

// chains checks that the history of every subject is complete from its first receipt, or, of a stream, that
// neighbours are linked. The later end of a history can be judged for commands only: see life.
func (j *judge) chains() {
	bySubject := map[string][]*entry{}
	for _, e := range j.order {
		bySubject[e.Subject] = append(bySubject[e.Subject], e)
	}
	subjects := make([]string, 0, len(bySubject))
	for s := range bySubject {
		subjects = append(subjects, s)
	}
	slices.Sort(subjects)
	defer func() { j.about = nil }()
	for _, subject := range subjects {
		name, chain := "subject.chain["+subject+"]", bySubject[subject]
		j.about = nil
		if err := chainError(chain); err != nil {
			j.fail(name, "%v", err)
			continue
		}
		first, last := chain[0], chain[len(chain)-1]
		_, isCommand := CommandState(first.Kind)
		switch {
		case isCommand:
			l := &life{chain: chain}
			j.commands, j.about = append(j.commands, l), l
			if next, _ := NextCommandStates(l.last()); len(next) > 0 {
				j.fail(name, "the history ends in state %q, after which something must follow: the end is missing", l.last())
				continue
			}
			j.pass(name, "%d receipts, seq 0 to %d, each holds the leaf of the one before, and the last state %q is final", len(chain), last.Seq, l.last())
		case kinds[first.Kind].stream:
			j.pass(name, "an excerpt of %d receipts of a stream, seq %d to %d; neighbours are linked", len(chain), first.Seq, last.Seq)
		default:
			j.pass(name, "%d receipts, seq 0 to %d, each holds the leaf of the one before; what came later is not claimed", len(chain), last.Seq)
		}
	}
}

func chainError(chain []*entry) error {
	const op = "subject.chain"
	stream := kinds[chain[0].Kind].stream
	_, isCommand := CommandState(chain[0].Kind)
	for i, e := range chain {
		if _, c := CommandState(e.Kind); c != isCommand || kinds[e.Kind].stream != stream {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "kinds %s and %s do not belong to one subject", chain[0].Kind, e.Kind)
		}
		if i == 0 {
			if e.Seq != 0 && !stream {
				return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the history begins with seq %d: its beginning is missing", e.Seq)
			}
			continue
		}
		before := chain[i-1]
		if e.Seq != before.Seq+1 {
			if stream && e.Seq > before.Seq {
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

// causes checks that a receipt was caused by earlier ones only, and by the very ones that the bundle holds.
func (j *judge) causes() {
	inside, outside := 0, 0
	for _, e := range j.order {
		for _, c := range e.Causes {
			cause, ok := j.entries[c.Index]
			if c.Index >= e.index || ok && cause.Leaf != c.Leaf {
				j.fail(numbered("receipt.causes", e.index), "it names %s at index %d as a cause, which is not an earlier receipt of the log", c.Leaf, c.Index)
				return
			}
			if ok {
				inside++
			} else {
				outside++
			}
		}
	}
	j.pass("receipt.causes", "%d causes are receipts of this bundle with the leaf that is named; %d lie outside it", inside, outside)
}

func numbered(family string, index vaultmesh.LogIndex) string {
	return fmt.Sprintf("%s[%d]", family, index)
}

// partIndex returns the log index in a part's name.
func partIndex(name string) (vaultmesh.LogIndex, error) {
	_, stem, _ := strings.Cut(name, "/")
	stem, _, _ = strings.Cut(stem, ".")
	r := reader{data: []byte(stem)}
	index := r.uint(r.data)
	return vaultmesh.LogIndex(index), r.err
}
