package receipt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/transparency-dev/formats/proof"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"vaultmesh.org/vaultmesh"
)

// families is every kind of check in the order of the report; each occurs at least once in every report.
var families = []string{
	"bundle.format", "trust.keys", "bundle.manifest", "bundle.scope",
	"log.checkpoint", "log.consistency", "log.witness", "log.head",
	"receipt.signature", "receipt.inclusion", "receipt.time", "subject.chain", "receipt.causes",
	"command.transitions", "command.binding", "command.halt", "input.binding", "policy.accepted", "approval.signature", "capability.chain", "capability.revocation", "telemetry.proof",
	"timestamp.rfc3161", "anchor.bitcoin", "anchor.ethereum", "state.proof", "history.complete",
}

// What details say of checks that are told apart in the summary.
const (
	unjudged   = "not judged" // begins the detail of every check that could not be made
	notJudged  = unjudged + ": an earlier check does not hold"
	noApproval = "no approval was asked for"
)

// Demand is what an auditor asks beyond that everything in the bundle holds. The zero value asks no more.
type Demand struct {
	// Complete asks that the bundle shows all of what its scope names, and refuses to judge that without a head of the
	// log that the auditor knows (Size and Root, or Head) or that the pinned witnesses signed: whoever keeps the log
	// could otherwise have cut it short or written it anew. A subject must be shown up to the end of that head; of a
	// command it must be shown as well that no block of its capability was revoked when it was decided.
	Complete bool
	// Subjects must be shown completely, whatever the scope says: "command/…", "twin/…", "capability/…".
	Subjects []string
	// Size and Root are a head of the log that the auditor knows by another way than the bundle; Size 0 means none.
	// The bundle's log must be that log, as long or longer.
	Size uint64
	Root vaultmesh.Digest
	// Head is a signed checkpoint, instead of Size and Root.
	Head []byte
	// Anchors are the kinds of proofs of time that must cover every receipt: AnchorRFC3161 and its neighbours.
	Anchors []string
	// Possession asks that the holder of each command's capability signed the request: the node's word for it does not suffice.
	Possession bool
	// Now is the auditor's clock; what claims to be later is refused. Zero: there is none.
	Now time.Time
}

// Verify judges a bundle with the keys that t pins and nothing else: no network, no clock, no key from the bundle. The
// report lists every check; one that could not be made counts as not holding and says why. It tells of a command only
// what was verified. It needs memory of a few times the bundle's size.
func Verify(bundle []byte, t *Trust) Report { return Demand{}.Verify(bundle, t) }

// Verify judges a bundle as the function of this name does, and by what d demands.
func (d Demand) Verify(bundle []byte, t *Trust) Report {
	j := &judge{trust: t, demand: d, entries: map[vaultmesh.LogIndex]*entry{}}
	j.run(bundle)
	return j.report()
}

// judge holds the state of one verification. The families run in their order; a later one relies on what earlier ones
// found, and is not judged where that is missing.
type judge struct {
	trust  *Trust
	demand Demand
	pins   *pins
	keys   *KeyHistory
	bundle *Bundle
	scope  Scope
	scoped bool // the bundle says what it is about
	checks []finding
	failed map[string]bool // families of which a check does not hold
	about  *life           // the command that is being judged; nil for what concerns the bundle as a whole

	byType   map[string][]Part
	main     *head            // the main checkpoint; nil where it is not signed by a pinned log
	heads    map[uint64]*head // the main one and those that are consistent with it, by size
	known    string           // how the auditor knows the log's head; empty where not
	keysOpen string           // what is not proved about the keys; empty where there is nothing
	proved   []ProvedAnchor
	unpinned []string // proofs of time that the trust file cannot judge
	complete []Completeness
	// wroteAfter are the receipts that report verified proofs of time, in the order of the log.
	wroteAfter []wroteAfter
	rangesOpen []string // what is not proved about ranges by time
	entries    map[vaultmesh.LogIndex]*entry
	order      []*entry                       // by log index
	latest     []*entry                       // of each of them and those before it the one that claims the latest time; nil until it is asked for
	subjects   map[string][]*entry            // the same by subject
	states     map[string][]held              // what state proofs prove, by key
	openings   map[vaultmesh.Digest]Opening   // private texts that the bundle discloses, by their commitments
	words      []DisclosedText                // the same, as they are told
	commands   []*life                        // by subject
	lives      map[string]*life               // those of which all checks were made, by subject; nil until it is asked for
	nonces     map[string]vaultmesh.CommandID // of the requests that holders signed, by holder and nonce
	messages   map[string]MessageProof
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

// empty notes a check that holds because there was nothing to compare.
func (j *judge) empty(name, format string, args ...any) {
	j.add(name, true, format, args...)
	j.checks[len(j.checks)-1].Empty = true
}

// part notes a check that holds for a part of what it is about.
func (j *judge) part(name, format string, args ...any) {
	j.add(name, true, format, args...)
	j.checks[len(j.checks)-1].Partial = true
}

func (j *judge) fail(name, format string, args ...any) { j.add(name, false, format, args...) }

func (j *judge) add(name string, ok bool, format string, args ...any) {
	if !ok {
		if j.failed == nil {
			j.failed = map[string]bool{}
		}
		j.failed[familyOf(name)] = true
	}
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
	return !slices.ContainsFunc(names, func(name string) bool { return j.failed[name] })
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
	j.open()
	if err = j.trusted(); err != nil {
		j.fail("trust.keys", "%v", err)
		return
	}
	j.pass("trust.keys", "what is pinned of domain %s: %s of its log and its receipts, %s, %s of operators", j.trust.Domain, counted(len(j.pins.keys)-len(j.pins.roots), "key"), counted(len(j.pins.roots), "capability root"), counted(len(j.pins.operators), "key"))
	j.checkpoints()
	j.manifest()
	j.receipts()
	j.aboutWhat()
	if j.held("receipt.signature", "receipt.inclusion") {
		j.chains()
		j.causes()
		j.state()
		if j.held("subject.chain") {
			j.telemetry()
			j.judgeCommands()
			j.inputs()
		}
	}
	j.anchors()
	j.witnessed()
	j.expectedHead()
	j.times()
	if j.held("receipt.signature", "receipt.inclusion", "subject.chain", "state.proof", "log.checkpoint", "bundle.scope") {
		j.completeness()
	}
}

// trusted makes the trust file ready, and follows the keys from there.
func (j *judge) trusted() (err error) {
	if j.pins, err = j.trust.pin(); err != nil {
		return err
	}
	if j.bundle.Domain != j.trust.Domain {
		return vaultmesh.Errorf(vaultmesh.Denied, "trust", "", "the bundle is of domain %s, the trust file is for %s", j.bundle.Domain, j.trust.Domain)
	}
	var chain []KeyEntry
	for _, e := range j.order {
		if e.Subject == KeySubject(j.trust.Domain) || e.Subject == RenewalSubject(j.trust.Domain) {
			chain = append(chain, KeyEntry{Index: e.index, Receipt: e.Receipt})
		}
	}
	j.keys, err = FollowKeys(j.trust.Domain, j.pins.keys, j.pins.keyRoots, chain)
	return err
}

// accepts reports whether the trust file lets a key of the history count.
func (j *judge) accepts(k Key) bool { return k.Pinned || j.trust.FollowKeys }

// report puts the checks in the order of the families and adds those that were not made.
func (j *judge) report() Report {
	r := Report{OK: true}
	made := make(map[string][]Check, len(families))
	for _, c := range j.checks {
		made[familyOf(c.Name)] = append(made[familyOf(c.Name)], c.Check)
	}
	for _, family := range families {
		if len(made[family]) == 0 {
			made[family] = []Check{{Name: family, Detail: notJudged}}
		}
		for _, c := range made[family] {
			r.OK = r.OK && c.OK
		}
		r.Checks = append(r.Checks, made[family]...)
	}
	if j.bundle != nil {
		r.Domain = j.bundle.Domain
	}
	r.Commands = j.statements()
	if j.main != nil {
		r.LogSize, r.LogRoot = j.main.size, j.main.root
	}
	r.Anchors, r.Complete, r.Known = j.proved, j.complete, j.known
	r.Stamped = earliest(j.proved, AnchorRFC3161)
	r.States, r.Disclosed = j.provedStates(), j.words
	j.summarize(&r)
	return r
}

// manifest checks that a key signed the list of parts that signs receipts at the size of the main checkpoint: not one that
// is retired by then, nor one that had handed over, since the node signs with the new one from there on.
func (j *judge) manifest() {
	const name = "bundle.manifest"
	for _, k := range j.keys.Keys(PurposeReceipt) {
		switch {
		case KeyID(k.Public) != j.bundle.KeyID || !j.accepts(k):
			continue
		case j.main != nil && !k.countsAtSize(j.main.size):
			j.fail(name, "signed with key %s, which counts from size %d until size %d of the log, and the main checkpoint is of size %d", j.bundle.KeyID, k.From, k.Until, j.main.size)
		case j.main != nil && k.handed && j.main.size > k.handedAt:
			j.fail(name, "signed with key %s, which handed over to another at index %d, and the main checkpoint is of size %d", j.bundle.KeyID, k.handedAt, j.main.size)
		default:
			j.settle(name, j.bundle.CheckSignature(k.Public), "the trusted key %s signed the names, types and digests of its %s", j.bundle.KeyID, counted(len(j.bundle.Parts), "part"))
		}
		return
	}
	j.fail(name, "signed with key %s, which the trust file does not pin", j.bundle.KeyID)
}

// open reads every envelope. That it is of this domain and well-formed counts as part of its signature's check.
func (j *judge) open() {
	j.subjects = map[string][]*entry{}
	for _, p := range j.byType[PartReceipt] {
		index, err := partIndex(p.Name)
		if err != nil || ReceiptPart(index, nil).Name != p.Name {
			j.fail("receipt.signature["+p.Name+"]", "the name is not that of a log index")
			continue
		}
		r, err := Open(p.Data)
		if err == nil && r.Domain != j.bundle.Domain {
			err = vaultmesh.Errorf(vaultmesh.Denied, "receipt.verify", "", "the receipt is of domain %s", r.Domain)
		}
		if err != nil {
			j.fail(numbered("receipt.signature", index), "%v", err)
			continue
		}
		e := &entry{Receipt: r, index: index}
		j.entries[index] = e
		j.order = append(j.order, e)
	}
	slices.SortFunc(j.order, func(a, b *entry) int {
		if a.index < b.index {
			return -1
		}
		return 1
	})
	for _, e := range j.order {
		j.subjects[e.Subject] = append(j.subjects[e.Subject], e)
	}
}

// lastIndex is the largest index of a receipt in the bundle.
func (j *judge) lastIndex() uint64 {
	if len(j.order) == 0 {
		return 0
	}
	return uint64(j.order[len(j.order)-1].index)
}

// receipts checks of every envelope its signature and that the log holds it at its index.
func (j *judge) receipts() {
	if len(j.byType[PartReceipt]) == 0 {
		j.fail("receipt.signature", "the bundle has no receipt")
		j.fail("receipt.inclusion", "the bundle has no receipt")
		return
	}
	proofs := make(map[string][]byte, len(j.byType[PartInclusion]))
	for _, p := range j.byType[PartInclusion] {
		proofs[p.Name] = p.Data
	}
	for _, e := range j.order {
		j.signature(e)
		name := inclusionName(e.index)
		j.inclusion(e, proofs[name])
		delete(proofs, name)
	}
	for _, name := range slices.Sorted(maps.Keys(proofs)) {
		j.fail("receipt.inclusion["+name+"]", "a proof without its receipt")
	}
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
	k, err := j.keys.ReceiptKey(e.KeyID, e.index, e.Time)
	if err == nil && !j.accepts(k) {
		err = vaultmesh.Errorf(vaultmesh.Denied, "receipt.key", e.KeyID, "the trust file does not pin it, nor does it follow keys").
			WithFix("pin the key, or set follow_keys in the trust file")
	}
	if err != nil && !j.keys.knows(PurposeReceipt, e.KeyID) {
		j.fail(name, "signed with key %s, which the trust file does not pin", e.KeyID)
		return
	}
	if err != nil {
		j.fail(name, "%v", err)
		return
	}
	j.settle(name, e.CheckSignature(k.Public), "the trusted key %s signed %s %s", e.KeyID, e.Kind, e.Subject)
}

func (h *KeyHistory) knows(purpose, keyID string) bool {
	return slices.ContainsFunc(h.ids[keyID], func(i int) bool { return h.keys[i].Purpose == purpose })
}

func (j *judge) inclusion(e *entry, data []byte) {
	name := numbered("receipt.inclusion", e.index)
	var p proof.TLogProof
	if data == nil {
		j.fail(name, "the bundle has no inclusion proof for it")
		return
	}
	if j.main == nil {
		j.fail(name, unjudged+": there is no trusted checkpoint")
		return
	}
	switch err := p.Unmarshal(data); {
	case err != nil:
		j.fail(name, "%v", err)
	case string(p.Marshal()) != string(data) || p.ExtraData != nil:
		j.fail(name, "the proof is not in the one form in which it may be written")
	case string(p.Checkpoint) != string(j.main.note):
		j.fail(name, "the proof leads to another checkpoint than the bundle's")
	case p.Index != uint64(e.index):
		j.fail(name, "the proof is for index %d", p.Index)
	default:
		path := make([][]byte, len(p.Hashes))
		for i := range p.Hashes {
			path[i] = p.Hashes[i][:]
		}
		err := merkle.VerifyInclusion(rfc6962.DefaultHasher, p.Index, j.main.size, e.Leaf[:], path, j.main.root[:])
		j.settle(name, err, "leaf %s is entry %d of the %d under the checkpoint's root, by %s", e.Leaf, e.index, j.main.size, counted(len(path), "hash"))
	}
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
	j.pass("receipt.causes", "of %s, those in this bundle (%d) have the leaf that is named; the others (%d) are not in it", counted(inside+outside, "cause"), inside, outside)
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
