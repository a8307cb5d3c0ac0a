// Package governance reads a folder of signed JSON files in which an older implementation kept its governance (charters,
// proposals, releases, incidents, capabilities, hash manifests, anchor receipts), verifies what can be verified, and says
// what cannot. It is on floor 2.
//
// It imports nothing into a log: such files prove no order and no completeness, and their keys are their own. It must not
// follow, open or believe anything that a hostile folder holds: only regular files below it are read, bounded in number,
// size and depth.
//
// # The format
//
// An entry is a JSON object with an ed25519 signature in base64 ("signature") over the object without the members
// "signature" and "publicKeyPem", written with sorted names and no white space; "publicKeyPem" is the key itself. A
// capability is signed over its member "cap" alone. Approving a proposal adds a name to payload.ratified_by and a member
// "ratifiedAt" to the signed file.
package governance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// Options of an import.
type Options struct {
	// Keys are the auditor's: a signature under another key is reported.
	Keys []ed25519.PublicKey
}

// Import reads the folder, which is the project's (with governance, capabilities, manifests and specs in it) or its
// governance folder alone, and returns what it found. An error means that it could not be judged: NotFound, Invalid where
// it is no such folder, TooLarge, Unavailable.
func Import(dir string, o Options) (*Report, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.root.Close()
	m := newImporter(f, dir)
	for _, k := range o.Keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "governance.import", "keys", "a key has %d bytes, want 32", len(k))
		}
		m.pinned[receipt.KeyID(k)] = true
	}
	if st, err := f.root.Lstat("governance"); err != nil || !st.IsDir() {
		if st, err := f.root.Lstat("lawchain"); err != nil || !st.IsDir() {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "governance.import", dir, "it holds neither a folder governance nor a folder lawchain").WithFix("name the project's folder, or the governance folder in it")
		}
		m.base = "."
	}
	if err := f.walk(m.dir("lawchain"), m.dir("anchor-receipts"), m.dir("incidents"), m.dir("drafts"), "capabilities", "manifests"); err != nil {
		return nil, err
	}
	if err := m.judge(); err != nil {
		return nil, err
	}
	m.leftOut()
	if r := m.report; len(m.files) == 0 && r.NotRead > 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "governance.import", dir, "%d files, such as %.100q, and none where such files belong", r.NotRead, r.NotReadNames[0]).WithFix("%s", layout)
	}
	return m.report, nil
}

// layout is where files are looked for.
const layout = "entries belong in governance/lawchain, governance/incidents and governance/drafts, receipts of anchors in governance/anchor-receipts, capabilities and manifests in folders of those names beside governance"

// leftOut notes the files of the governance folder, and of the folders that were judged, that nobody looked into. Where
// there is more than the bounds allow, it notes what it found.
func (m *importer) leftOut() {
	all := &folder{root: m.root, files: map[string]fs.FileMode{}}
	if err := all.walk(m.base); err != nil {
		m.report.NotReadMore = true
	}
	for name, mode := range m.files {
		all.files[name] = mode
	}
	refused := map[string]bool{}
	for _, f := range m.report.Findings {
		refused[f.Path] = true
	}
	for _, name := range all.names() {
		if m.got[name] || refused[name] {
			continue
		}
		if m.report.NotRead++; len(m.report.NotReadNames) < maxNotRead {
			m.report.NotReadNames = append(m.report.NotReadNames, name)
		}
	}
}

// importer is one import at work.
type importer struct {
	*folder
	base       string
	pinned     map[string]bool
	report     *Report
	keys       map[string]*Key
	signatures map[string]string // path by signature
	roots      map[string]bool   // hashes that an anchor may be about
	proposals  map[string]object // by identifier
	charters   []charter
	receipts   []anchorReceipt
}

func newImporter(f *folder, dir string) *importer {
	return &importer{folder: f, base: "governance", pinned: map[string]bool{}, keys: map[string]*Key{}, signatures: map[string]string{}, roots: map[string]bool{}, proposals: map[string]object{},
		report: &Report{Folder: dir, Entries: []Entry{}, Keys: []Key{}, Charters: []Charter{}, NotReadNames: []string{}, Findings: []Finding{}, Limits: limits}}
}

// charter is an entry about a specification.
type charter struct {
	path, time, spec, root, proposal, key string
	holds                                 bool
}

// anchorReceipt waits until all roots are known.
type anchorReceipt struct {
	path string
	o    object
}

func (m *importer) dir(name string) string { return path.Join(m.base, name) }

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// isHash reports whether s is a SHA-256 in hexadecimal.
func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// text is a member that is a string, cut to what a report may hold.
func text(o object, name string) string {
	s, _ := o[name].(string)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

func inner(o object, name string) object {
	x, _ := o[name].(object)
	return x
}

// judge reads every file once, then compares what belongs together.
func (m *importer) judge() error {
	for _, name := range m.folder.names() {
		if path.Ext(name) != ".json" {
			if mode := m.files[name]; !mode.IsRegular() {
				m.report.find(FileRefused, name, "it is no regular file (%s)", mode.Type())
			}
			continue
		}
		data, err := m.get(name, maxFile)
		if err == nil {
			err = m.file(name, data)
		}
		if err != nil {
			if kind := vaultmesh.KindOf(err); kind == vaultmesh.Unavailable || m.read > maxTotal {
				return err
			}
			m.report.find(FileRefused, name, "%s", detail(err))
		}
	}
	m.compare()
	return nil
}

// compare judges what several files say together, and closes the report.
func (m *importer) compare() {
	m.judgeCharters()
	m.judgeReceipts()
	for _, k := range slices.Collect(maps.Values(m.keys)) {
		m.report.Keys = append(m.report.Keys, *k)
		if !k.Pinned {
			m.report.find(KeyUnpinned, "", "%s made %d of the signatures, and is not among the keys that you pin", k.ID, k.Files)
		}
	}
	m.report.order()
}

// detail is an error's own words, without the path that the finding has already.
func detail(err error) string {
	if e, ok := err.(*vaultmesh.Error); ok && e.Detail != "" {
		return e.Detail
	}
	return err.Error()
}

// file judges one JSON file by where it lies.
func (m *importer) file(name string, data []byte) error {
	o, err := parse(data)
	if err != nil {
		return err
	}
	in := func(dir string) bool { return strings.HasPrefix(name, dir+"/") }
	switch {
	case in(m.dir("anchor-receipts")):
		m.report.Entries = append(m.report.Entries, Entry{Path: name, Type: "anchor receipt", Time: text(o, "timestamp"), Signature: Missing})
		m.receipts = append(m.receipts, anchorReceipt{name, o})
	case in("manifests"):
		m.manifest(name, o)
	case in("capabilities"):
		m.signed(name, "capability", o, inner(o, "cap"))
	case in(m.dir("lawchain/proposals")):
		m.proposal(name, o)
	case in(m.dir("lawchain")):
		m.entry(name, o, data)
	default: // incidents and drafts, which that implementation never signed
		m.report.Entries = append(m.report.Entries, Entry{Path: name, Type: kindOf(o), Time: text(o, "timestamp"), Signature: Missing})
		m.report.find(SignatureMissing, name, "%s is not signed: anybody can have written or changed it", kindOf(o))
	}
	return nil
}

func kindOf(o object) string {
	if t := text(o, "type"); t != "" {
		return t
	}
	return "file without a type"
}

// entry judges a file of the folder lawchain.
func (m *importer) entry(name string, o object, data []byte) {
	e := m.signed(name, kindOf(o), o, bare(o))
	m.roots[sum(data)] = true
	root, _ := o["merkle_root"].(string)
	if root != "" {
		m.roots[root] = true
		if !isHash(root) {
			m.report.find(RootNoHash, name, "merkle_root is %.80q, which is no SHA-256: it commits to nothing", root)
		}
	}
	m.attestors(name, "attestors", o["attestors"])
	payload := inner(o, "payload")
	m.attestors(name, "payload.ratified_by", payload["ratified_by"])
	if text(o, "type") == "charter" {
		m.charters = append(m.charters, charter{path: name, time: text(o, "timestamp"), spec: text(payload, "specPath"), root: root,
			// Where keys are pinned, nobody else's charter is one.
			proposal: text(payload, "proposal_id"), key: e.Key, holds: e.Signature == Holds && (e.Pinned || len(m.pinned) == 0)})
	}
}

// attestors reports names that stand where signatures should.
func (m *importer) attestors(name, member string, v any) {
	list, _ := v.([]any)
	if len(list) == 0 {
		return
	}
	var who []string
	for _, x := range list[:min(len(list), 10)] {
		who = append(who, fmt.Sprintf("%.40q", fmt.Sprint(x)))
	}
	m.report.find(ApprovalUnsigned, name, "%s names who approved, and %d of them did not sign: %s", member, len(list), strings.Join(who, ", "))
}

// proposal judges a proposed charter, which its approval changes after it was signed.
func (m *importer) proposal(name string, o object) {
	body := bare(o)
	e := m.verify(o, body)
	if e.Signature == Broken {
		if undone := m.verify(o, unratified(body)); undone.Signature == Holds {
			e, e.Signature = undone, Ratified
			m.report.find(EditedAfter, name, "its approval was written into the signed file: the signature holds only without it")
		}
	}
	m.note(name, kindOf(o), o, e)
	m.attestors(name, "payload.ratified_by", inner(o, "payload")["ratified_by"])
	full, _ := o["replacement_yaml"].(string)
	if want := text(o, "proposed_merkle_root"); want != sum([]byte(full)) {
		m.report.find(ProposalMismatch, name, "proposed_merkle_root is %.80q, its text has %s", want, sum([]byte(full)))
	}
	if id := text(o, "id"); id != "" {
		if _, twice := m.proposals[id]; twice {
			m.report.find(ProposalMismatch, name, "another file has the identifier %.80q", id)
		}
		m.proposals[id] = o
	}
}

// bare is what was signed: the object without its signature and key.
func bare(o object) object {
	b := maps.Clone(o)
	delete(b, "signature")
	delete(b, "publicKeyPem")
	return b
}

// unratified undoes what an approval writes into a proposal.
func unratified(o object) object {
	o = maps.Clone(o)
	delete(o, "ratifiedAt")
	payload := maps.Clone(inner(o, "payload"))
	if list, ok := payload["ratified_by"].([]any); ok && len(list) > 0 {
		payload["ratified_by"] = []any{} // a proposal is signed before anybody approved
		o["payload"] = payload
	}
	return o
}

// signed judges and notes one signed file.
func (m *importer) signed(name, kind string, o, body object) Entry {
	return m.note(name, kind, o, m.verify(o, body))
}

// verify judges the signature in o over body.
func (m *importer) verify(o, body object) Entry {
	signature, _ := o["signature"].(string)
	pemText, _ := o["publicKeyPem"].(string)
	if signature == "" {
		return Entry{Signature: Missing}
	}
	key, err := readKey(pemText)
	if err != nil || body == nil {
		return Entry{Signature: Broken}
	}
	e := Entry{Signature: Broken, Key: receipt.KeyID(key)}
	e.Pinned = m.pinned[e.Key]
	sig, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil {
		return e
	}
	message, err := sorted(body)
	if err == nil && ed25519.Verify(key, message, sig) {
		e.Signature = Holds
	}
	return e
}

func readKey(text string) (ed25519.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "governance.key", "", "not one PEM public key")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := k.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "governance.key", "", "not an ed25519 key")
	}
	return key, nil
}

// note adds a file to the report, with what its signature is worth.
func (m *importer) note(name, kind string, o object, e Entry) Entry {
	e.Path, e.Type, e.Time = name, kind, text(o, "timestamp")
	switch e.Signature {
	case Missing:
		m.report.find(SignatureMissing, name, "%s is not signed: anybody can have written or changed it", kind)
	case Broken:
		m.report.find(SignatureBroken, name, "its signature does not hold under the key that stands beside it: it was changed, or never signed so")
	default:
		k := m.keys[e.Key]
		if k == nil {
			k = &Key{ID: e.Key, Pinned: e.Pinned}
			m.keys[e.Key] = k
		}
		k.Files++
		signature, _ := o["signature"].(string)
		if other, twice := m.signatures[signature]; twice {
			m.report.find(SignatureRepeated, name, "it has the signature of %s: one of them is a copy", other)
		}
		m.signatures[signature] = name
	}
	m.report.Entries = append(m.report.Entries, e)
	return e
}

// judgeCharters compares each specification with the newest charter that signs it.
func (m *importer) judgeCharters() {
	newest := map[string]charter{}
	for _, c := range m.charters {
		if c.proposal != "" {
			m.judgeProposal(c)
		}
		if old, ok := newest[c.spec]; c.holds && (!ok || c.time >= old.time) {
			newest[c.spec] = c
		}
	}
	for spec, c := range newest {
		x := Charter{Spec: spec, Entry: c.path, Signed: c.root, Signer: c.key}
		data, err := []byte(nil), error(vaultmesh.Errorf(vaultmesh.Denied, "governance.read", spec, "the path leads out of the folder"))
		if filepath.IsLocal(spec) && !strings.Contains(spec, `\`) {
			data, err = m.get(spec, maxOther)
		}
		if err != nil {
			m.report.find(CharterMissing, c.path, "the specification %.80q that it signs cannot be read: %s", spec, detail(err))
			m.report.Charters = append(m.report.Charters, x)
			continue
		}
		x.Found = sum(data)
		if x.Drift = x.Found != x.Signed; x.Drift {
			for _, o := range m.charters {
				if o.holds && o.spec == spec && o.root == x.Found {
					x.Older = o.path
				}
			}
			m.report.find(CharterDrift, c.path, "it signs %.80s, the specification %.80q has %s: it was changed without a charter", x.Signed, spec, x.Found)
		}
		m.report.Charters = append(m.report.Charters, x)
	}
	if len(newest) == 0 {
		m.report.find(CharterMissing, "", "no charter whose signature holds (under a pinned key, where some are pinned): nothing says which specification is in force")
	}
}

// judgeProposal compares a charter with the proposal that it names.
func (m *importer) judgeProposal(c charter) {
	p, ok := m.proposals[c.proposal]
	if !ok {
		m.report.find(ProposalMissing, c.path, "it approves proposal %.80q, which is not there", c.proposal)
		return
	}
	if root := text(p, "proposed_merkle_root"); root != c.root {
		m.report.find(ProposalMismatch, c.path, "it signs %.80s, its proposal proposed %.80s", c.root, root)
	}
}

// judgeReceipts says what the claims of anchors are worth: the format has no place for a proof.
func (m *importer) judgeReceipts() {
	for _, r := range m.receipts {
		m.report.Anchors.Receipts++
		root := text(r.o, "merkle_root")
		if !isHash(root) {
			m.report.find(RootNoHash, r.path, "merkle_root is %.80q, which is no SHA-256: it commits to nothing", root)
		} else if !m.roots[root] {
			m.report.find(AnchorUnknownRoot, r.path, "the root %s is that of no manifest or entry that is here", root)
		}
		anchors := inner(r.o, "anchors")
		byState := map[string][]string{}
		for _, target := range names(anchors) {
			state := text(inner(anchors, target), "status")
			code := AnchorUnproved
			switch {
			case state == "simulated" || r.o["dry_run"] == true:
				code = AnchorSimulated
				m.report.Anchors.Simulated++
			case state == "pending":
				code = AnchorPending
				m.report.Anchors.Pending++
			default:
				m.report.Anchors.Unproved++
			}
			if len(byState[code]) < 10 {
				byState[code] = append(byState[code], fmt.Sprintf("%.40s %.40q", target, state))
			}
		}
		for code, claims := range byState {
			say := map[string]string{AnchorSimulated: "nothing was anchored, it was a dry run", AnchorPending: "nothing was anchored yet", AnchorUnproved: "there is no proof of it"}[code]
			m.report.find(code, r.path, "%s: %s", strings.Join(claims, ", "), say)
		}
		if len(anchors) == 0 {
			m.report.find(AnchorUnproved, r.path, "it names no anchor")
		}
	}
}
