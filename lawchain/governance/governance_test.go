package governance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/peers"
)

// keeper writes folders as the older implementation did.
type keeper struct {
	testing.TB
	dir string
	key ed25519.PrivateKey
}

func newKeeper(t testing.TB) *keeper {
	return &keeper{t, t.TempDir(), seeded(1)}
}

func seeded(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func (k *keeper) public() ed25519.PublicKey { return k.key.Public().(ed25519.PublicKey) }

func (k *keeper) write(name string, data []byte) {
	k.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		k.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		k.Fatal(err)
	}
}

func (k *keeper) put(name string, o object) []byte {
	k.Helper()
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		k.Fatal(err)
	}
	k.write(name, data)
	return data
}

// seal signs body and returns the members of the file.
func (k *keeper) seal(body object) (signature, key string) {
	k.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		k.Fatal(err)
	}
	o, err := parse(raw)
	if err != nil {
		k.Fatal(err)
	}
	message, err := sorted(o)
	if err != nil {
		k.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.public())
	if err != nil {
		k.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(ed25519.Sign(k.key, message)), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (k *keeper) sealed(body object) object {
	o := maps.Clone(body)
	o["signature"], o["publicKeyPem"] = k.seal(body)
	return o
}

func (k *keeper) charter(at, spec, text string) object {
	return k.sealed(object{"type": "charter", "timestamp": at, "merkle_root": sum([]byte(text)), "attestors": []any{}, "payload": object{"specPath": spec, "note": nil}})
}

const (
	specPath = "specs/twin.yaml"
	specText = "name: twin\nversion: 1\n"
)

// clean is a folder in which there is nothing to complain of, if the key is pinned.
func clean(t testing.TB) *keeper {
	k := newKeeper(t)
	k.write(specPath, []byte(specText))
	k.put("governance/lawchain/1-charter.json", k.charter("2025-01-01T00:00:00.000Z", specPath, specText))
	k.put("governance/lawchain/2-release.json", k.sealed(object{"type": "release", "timestamp": "2025-01-02T00:00:00.000Z", "payload": object{"realm": "global", "from": "Nigredo", "to": "Albedo", "w": 0.642}}))
	capability := object{"jti": "ab", "sub": "dispatcher", "iat": 1, "exp": 2, "scopes": []any{"read"}}
	o := object{"cap": capability}
	o["signature"], o["publicKeyPem"] = k.seal(capability)
	k.put("capabilities/dispatcher/ab.json", o)
	return k
}

func codes(r *Report) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Code)
	}
	return slices.Compact(out)
}

func (k *keeper) read(pinned ...ed25519.PublicKey) *Report {
	k.Helper()
	r, err := Import(k.dir, Options{Keys: pinned})
	if err != nil {
		k.Fatal(err)
	}
	return r
}

func TestClean(t *testing.T) {
	k := clean(t)
	r := k.read(k.public())
	if !r.Clean || len(r.Entries) != 3 || len(r.Keys) != 1 || r.Keys[0] != (Key{receipt.KeyID(k.public()), true, 3}) || len(r.Charters) != 1 || r.Charters[0].Drift {
		t.Errorf("%+v", r)
	}
	// The same without the project around it, which has the specification.
	r, err := Import(filepath.Join(k.dir, "governance"), Options{Keys: []ed25519.PublicKey{k.public()}})
	if err != nil || !slices.Equal(codes(r), []string{CharterMissing}) || len(r.Entries) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if r := k.read(); !slices.Equal(codes(r), []string{KeyUnpinned}) || r.Clean {
		t.Errorf("without a pinned key: %v", r.Findings)
	}
	if r := k.read(seeded(9).Public().(ed25519.PublicKey)); !slices.Equal(codes(r), []string{CharterMissing, KeyUnpinned}) {
		t.Errorf("with another pinned key: %v", r.Findings)
	}
}

// TestFindings changes a clean folder in one way each.
func TestFindings(t *testing.T) {
	const root = "governance/"
	hash := sum([]byte("something"))
	receiptOf := func(root string, dry bool, states ...string) object {
		anchors := object{}
		for i, s := range states {
			anchors[fmt.Sprintf("t%d", i)] = object{"status": s}
		}
		return object{"merkle_root": root, "timestamp": "2025-01-03T00:00:00.000Z", "dry_run": dry, "anchors": anchors}
	}
	charterRoot := sum([]byte(specText))
	proposal := func(k *keeper, text string) object {
		return object{"type": "charter_proposal", "id": "17-ab", "timestamp": "2025-01-04T00:00:00.000Z", "current_merkle_root": charterRoot, "proposed_merkle_root": sum([]byte(text)),
			"payload": object{"specPath": specPath, "requiresApproval": true, "ratified_by": []any{}}, "replacement_yaml": text}
	}
	for name, c := range map[string]struct {
		change func(k *keeper)
		want   []string
		says   string
	}{
		"changed entry": {func(k *keeper) {
			o := k.sealed(object{"type": "audit", "timestamp": "x", "payload": object{"a": 1}})
			o["payload"] = object{"a": 2}
			k.put(root+"lawchain/3.json", o)
		}, []string{SignatureBroken}, "was changed"},
		"member added": {func(k *keeper) {
			o := k.sealed(object{"type": "audit", "payload": object{}})
			o["more"] = true
			k.put(root+"lawchain/3.json", o)
		}, []string{SignatureBroken}, ""},
		"key exchanged": {func(k *keeper) {
			o := k.sealed(object{"type": "audit", "payload": object{}})
			k.key = seeded(7)
			_, o["publicKeyPem"] = k.seal(object{})
			k.put(root+"lawchain/3.json", o)
		}, []string{SignatureBroken}, ""},
		"unsigned entry":    {func(k *keeper) { k.put(root+"lawchain/audit_1.json", object{"type": "audit", "timestamp": "x"}) }, []string{SignatureMissing}, "audit is not signed"},
		"unsigned accident": {func(k *keeper) { k.put(root+"incidents/1.json", object{"type": "incident"}) }, []string{SignatureMissing}, ""},
		"copy": {func(k *keeper) {
			raw, err := os.ReadFile(filepath.Join(k.dir, root, "lawchain/2-release.json"))
			if err != nil {
				k.Fatal(err)
			}
			k.write(root+"lawchain/9-release.json", raw)
		}, []string{SignatureRepeated}, "2-release.json"},
		"specification changed": {func(k *keeper) { k.write(specPath, []byte(specText+"evil: true\n")) }, []string{CharterDrift}, "changed without a charter"},
		"older specification restored": {func(k *keeper) {
			k.put(root+"lawchain/4-charter.json", k.charter("2025-02-01T00:00:00.000Z", specPath, "newer"))
		}, []string{CharterDrift}, ""},
		"specification gone": {func(k *keeper) { _ = os.Remove(filepath.Join(k.dir, specPath)) }, []string{CharterMissing}, "not there"},
		"specification elsewhere": {func(k *keeper) {
			k.put(root+"lawchain/4-charter.json", k.charter("2025-02-01T00:00:00.000Z", "../../../../etc/passwd", "x"))
		}, []string{CharterMissing}, "leads out"},
		"no charter": {func(k *keeper) { _ = os.Remove(filepath.Join(k.dir, root, "lawchain/1-charter.json")) }, []string{CharterMissing}, "which specification is in force"},
		"names instead of signatures": {func(k *keeper) {
			k.put(root+"lawchain/3.json", k.sealed(object{"type": "audit", "attestors": []any{"alice", "bob"}, "payload": object{}}))
		}, []string{ApprovalUnsigned}, `"alice", "bob"`},
		"root that is none": {func(k *keeper) {
			k.put(root+"lawchain/3.json", k.sealed(object{"type": "audit", "merkle_root": "b3:wonderful", "payload": object{}}))
		}, []string{RootNoHash}, "b3:wonderful"},
		"proposal": {func(k *keeper) { k.put(root+"lawchain/proposals/17.json", k.sealed(proposal(k, "new"))) }, nil, ""},
		"approved proposal": {func(k *keeper) {
			o := k.sealed(proposal(k, "new"))
			o["ratifiedAt"] = "2025-01-05T00:00:00.000Z"
			o["payload"] = object{"specPath": specPath, "requiresApproval": true, "ratified_by": []any{"dao:anyone"}}
			k.put(root+"lawchain/proposals/17.json", o)
		}, []string{ApprovalUnsigned, EditedAfter}, "dao:anyone"},
		"proposal's text exchanged": {func(k *keeper) {
			o := k.sealed(proposal(k, "new"))
			o["replacement_yaml"] = "evil"
			k.put(root+"lawchain/proposals/17.json", o)
		}, []string{ProposalMismatch, SignatureBroken}, ""},
		"charter of another text than proposed": {func(k *keeper) {
			k.put(root+"lawchain/proposals/17.json", k.sealed(proposal(k, "new")))
			k.put(root+"lawchain/4.json", k.sealed(object{"type": "charter", "timestamp": "2024", "merkle_root": hash, "payload": object{"specPath": specPath, "proposal_id": "17-ab"}}))
		}, []string{ProposalMismatch}, "its proposal proposed"},
		"charter without its proposal": {func(k *keeper) {
			k.put(root+"lawchain/4.json", k.sealed(object{"type": "charter", "timestamp": "2024", "merkle_root": hash, "payload": object{"specPath": specPath, "proposal_id": "99"}}))
		}, []string{ProposalMissing}, "99"},
		"simulated anchor": {func(k *keeper) {
			k.put(root+"anchor-receipts/1.json", receiptOf(charterRoot, true, "simulated", "simulated"))
		}, []string{AnchorSimulated}, "dry run"},
		"dry run that says otherwise": {func(k *keeper) { k.put(root+"anchor-receipts/1.json", receiptOf(charterRoot, true, "confirmed")) }, []string{AnchorSimulated}, ""},
		"pending anchor":              {func(k *keeper) { k.put(root+"anchor-receipts/1.json", receiptOf(charterRoot, false, "pending")) }, []string{AnchorPending}, ""},
		"claimed anchor":              {func(k *keeper) { k.put(root+"anchor-receipts/1.json", receiptOf(charterRoot, false, "confirmed")) }, []string{AnchorUnproved}, "no proof"},
		"no anchor":                   {func(k *keeper) { k.put(root+"anchor-receipts/1.json", receiptOf(charterRoot, false)) }, []string{AnchorUnproved}, ""},
		"anchor of nothing":           {func(k *keeper) { k.put(root+"anchor-receipts/1.json", receiptOf(hash, false, "pending")) }, []string{AnchorPending, AnchorUnknownRoot}, ""},
		"anchor of no hash":           {func(k *keeper) { k.put(root+"anchor-receipts/1.json", receiptOf("root", false, "pending")) }, []string{AnchorPending, RootNoHash}, ""},
		"manifest":                    {func(k *keeper) { k.manifest("manifests/m.json", false) }, nil, ""},
		"manifest's root":             {func(k *keeper) { k.manifest("manifests/m.json", true) }, []string{ManifestBroken}, "does not follow"},
		"listed file changed and gone": {func(k *keeper) {
			k.manifest("manifests/m.json", false)
			k.write("data/a", []byte("changed"))
			_ = os.Remove(filepath.Join(k.dir, "data/b"))
		}, []string{ManifestDrift}, "1 are as listed, 1 were changed, 1 are gone"},
		"listed file elsewhere": {func(k *keeper) {
			k.put("manifests/m.json", object{"root": "", "merkleRoot": hash, "files": []any{object{"path": "../x", "hash": hash}}})
		}, []string{ManifestDrift}, "1 cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			k := clean(t)
			pinned := k.public()
			c.change(k)
			r := k.read(pinned)
			if !slices.Equal(codes(r), c.want) || r.Clean != (len(c.want) == 0) {
				t.Fatalf("%v, want %v", r.Findings, c.want)
			}
			if c.says != "" && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.Detail, c.says) }) {
				t.Errorf("%v do not say %q", r.Findings, c.says)
			}
			if name == "older specification restored" && r.Charters[0].Older == "" {
				t.Error("the older charter is not named")
			}
		})
	}
}

// manifest lists three files; wrong gives it a root that does not follow.
func (k *keeper) manifest(name string, wrong bool) {
	var files []any
	var hashes []string
	for _, f := range []string{"a", "b", "c"} {
		k.write("data/"+f, []byte(f))
		h := fmt.Sprintf("%x", sha256.Sum256([]byte(f)))
		hashes, files = append(hashes, h), append(files, object{"path": "data/" + f, "hash": h})
	}
	slices.Sort(hashes)
	pair := func(a, b string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(a+b))) }
	root := pair(pair(hashes[0], hashes[1]), pair(hashes[2], hashes[2]))
	if wrong {
		root = hashes[0]
	}
	k.put(name, object{"root": "", "algorithm": "sha256", "merkleRoot": root, "files": files})
}

// TestHostile: links, pipes, floods and ambiguous files are named, and nothing outside is read.
func TestHostile(t *testing.T) {
	outside := newKeeper(t)
	outside.put("secret.json", object{"type": "audit"})
	for name, c := range map[string]struct {
		change func(k *keeper)
		want   []string
	}{
		"link out": {func(k *keeper) {
			_ = os.Symlink(filepath.Join(outside.dir, "secret.json"), filepath.Join(k.dir, "governance/lawchain/link.json"))
		}, []string{FileRefused}},
		"link within": {func(k *keeper) {
			_ = os.Symlink("2-release.json", filepath.Join(k.dir, "governance/lawchain/link.json"))
		}, []string{FileRefused}},
		"linked folder": {func(k *keeper) { _ = os.Symlink(outside.dir, filepath.Join(k.dir, "governance/incidents")) }, []string{FileRefused}},
		"linked spec": {func(k *keeper) {
			_ = os.Remove(filepath.Join(k.dir, specPath))
			_ = os.Symlink("/etc/passwd", filepath.Join(k.dir, specPath))
		}, []string{CharterMissing}},
		"pipe":          {func(k *keeper) { _ = syscall.Mkfifo(filepath.Join(k.dir, "governance/lawchain/p.json"), 0o600) }, []string{FileRefused}},
		"huge":          {func(k *keeper) { k.write("governance/lawchain/h.json", make([]byte, maxFile+1)) }, []string{FileRefused}},
		"deep":          {func(k *keeper) { k.write("governance/lawchain/d.json", bytes.Repeat([]byte("["), 100_000)) }, []string{FileRefused}},
		"repeated name": {func(k *keeper) { k.write("governance/lawchain/d.json", []byte(`{"type":"audit","type":"charter"}`)) }, []string{FileRefused}},
		"large number":  {func(k *keeper) { k.write("governance/lawchain/d.json", []byte(`{"n":9007199254740993}`)) }, []string{FileRefused}},
		"not JSON":      {func(k *keeper) { k.write("governance/lawchain/d.json", []byte("\xff{")) }, []string{FileRefused}},
		"an array":      {func(k *keeper) { k.write("governance/lawchain/d.json", []byte("[]")) }, []string{FileRefused}},
		"strange types": {func(k *keeper) {
			k.write("governance/lawchain/d.json", []byte(`{"type":7,"signature":{},"publicKeyPem":[],"payload":3,"attestors":{}}`))
			k.write("governance/anchor-receipts/d.json", []byte(`{"anchors":7,"merkle_root":[]}`))
			k.write("manifests/d.json", []byte(`{"files":[7]}`))
		}, []string{AnchorUnproved, ManifestBroken, RootNoHash, SignatureMissing}},
	} {
		t.Run(name, func(t *testing.T) {
			k := clean(t)
			c.change(k)
			r := k.read(k.public())
			if !slices.Equal(codes(r), c.want) {
				t.Errorf("%v, want %v", r.Findings, c.want)
			}
			if raw, _ := json.Marshal(r); bytes.Contains(raw, []byte("secret.json")) && name != "link out" {
				t.Errorf("something outside was read: %s", raw)
			}
		})
	}
	deep := clean(t)
	deep.write("capabilities/"+strings.Repeat("d/", maxDepth+1)+"x.json", []byte("{}"))
	if _, err := Import(deep.dir, Options{}); vaultmesh.KindOf(err) != vaultmesh.TooLarge {
		t.Errorf("deep folders: %v", err)
	}
	empty := newKeeper(t)
	if _, err := Import(empty.dir, Options{}); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Import(filepath.Join(empty.dir, "none"), Options{}); vaultmesh.KindOf(err) != vaultmesh.NotFound {
		t.Errorf("no folder: %v", err)
	}
}

// TestAsJavaScriptWrites compares the signed text and signatures with Node's.
func TestAsJavaScriptWrites(t *testing.T) {
	node := peers.Tool(t, "nodejs", "node")
	values := []string{
		`{"b":1,"a":{"z":[1,2,{"y":null,"x":true}],"10":1,"9":2,"01":3,"-1":4,"4294967294":5,"4294967295":6}}`,
		`{"numbers":[0,-0,1e-7,0.1,123456789012345,1.0,5e-324,-1.5,0.000001,1e15,0.642,0.8499948734029134],"n":9007199254740991}`,
		`{"strings":["\u0000\u001f\b\t\n\f\r\"\\/","\u2028\u2029\u007f","é😀","→"],"\u20ac":1,"\ud83d\ude00":2,"\ufb33":3,"1":4,"é":5,"":6}`,
		`{"type":"release","timestamp":"2025-10-28T01:47:13.832Z","payload":{"realm":"global","from":"Nigredo","to":"Albedo"}}`,
		`{}`,
	}
	cmd := exec.CommandContext(t.Context(), node, "testdata/sign.mjs")
	cmd.Stdin = strings.NewReader(strings.Join(values, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(values) {
		t.Fatalf("%d answers to %d values", len(lines), len(values))
	}
	for i, v := range values {
		var a struct{ Text, Signature, Key string }
		if err := json.Unmarshal([]byte(lines[i]), &a); err != nil {
			t.Fatal(err)
		}
		o, err := parse([]byte(v))
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		got, err := sorted(o)
		if err != nil || string(got) != a.Text {
			t.Errorf("we write %s\nNode writes %s (%v)", got, a.Text, err)
		}
		m := &importer{}
		o["signature"], o["publicKeyPem"] = a.Signature, a.Key
		if e := m.verify(o, bare(o)); e.Signature != Holds {
			t.Errorf("Node's signature over %s: %s", v, e.Signature)
		}
	}
}

// FuzzFile reads any file in any place: no panic, and what holds was signed.
func FuzzFile(f *testing.F) {
	k := clean(f)
	for _, name := range []string{"governance/lawchain/1-charter.json", "capabilities/dispatcher/ab.json"} {
		raw, err := os.ReadFile(filepath.Join(k.dir, name))
		if err != nil {
			f.Fatal(err)
		}
		for place := range byte(6) {
			f.Add(place, raw)
		}
	}
	f.Add(byte(4), []byte(`{"root":"","merkleRoot":"","files":[{"path":"a","hash":"b"}]}`))
	f.Add(byte(3), []byte(`{"merkle_root":"x","anchors":{"btc":{"status":"pending"}}}`))
	dir := k.dir
	f.Fuzz(func(t *testing.T, place byte, data []byte) {
		folder, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer folder.root.Close()
		m := newImporter(folder, dir)
		name := []string{"governance/lawchain/x.json", "governance/lawchain/proposals/x.json", "governance/incidents/x.json", "governance/anchor-receipts/x.json", "manifests/x.json", "capabilities/x.json"}[place%6]
		if m.file(name, data) != nil {
			return
		}
		m.compare()
		for _, e := range m.report.Entries {
			if e.Signature == Holds && !bytes.Contains(data, []byte("PUBLIC KEY")) {
				t.Fatal("a signature holds without a key")
			}
		}
		if m.report.Clean { // no key is pinned
			t.Fatal("a file that nobody vouches for is clean")
		}
		if _, err := json.Marshal(m.report); err != nil {
			t.Fatal(err)
		}
	})
}
