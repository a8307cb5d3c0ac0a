package audit

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/peers"
	"vaultmesh.org/vaultmesh/test/sample"
)

// extracted takes the sample's bundle, or some of its parts, apart into a new folder.
func extracted(t *testing.T, trusted bool, without ...string) string {
	t.Helper()
	w := sample.New(t)
	parts := slices.DeleteFunc(w.Everything(), func(p receipt.Part) bool { return slices.Contains(without, p.Type) })
	b, err := receipt.DecodeBundle(w.Pack(parts))
	if err != nil {
		t.Fatal(err)
	}
	var trust *receipt.Trust
	if trusted {
		trust = w.Trust()
	}
	dir := t.TempDir()
	if err := Extract(b, trust, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sections returns what README.txt has under each title: the commands, which are all that is indented.
func sections(t *testing.T, dir string) (titles []string, scripts map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "README.txt"))
	if err != nil {
		t.Fatal(err)
	}
	scripts = map[string]string{}
	for line := range strings.Lines(string(text)) {
		if number, title, ok := strings.Cut(line, ". "); ok && number == strconv.Itoa(len(titles)+1) {
			titles = append(titles, strings.TrimSpace(title))
		} else if strings.HasPrefix(line, "    ") {
			scripts[titles[len(titles)-1]] += line
		}
	}
	return titles, scripts
}

// section returns the commands under the one title that begins so.
func section(t *testing.T, dir, begins string) string {
	t.Helper()
	titles, scripts := sections(t, dir)
	for _, title := range titles {
		if strings.HasPrefix(title, begins) {
			return scripts[title]
		}
	}
	t.Fatalf("README.txt has no section %s in %q", begins, titles)
	return ""
}

// foreign is a check of README.txt by a tool that is not ours, and the files whose every change it must notice.
type foreign struct {
	title string                                         // how its section begins
	tool  func(t *testing.T) (path string, env []string) // skips where it is absent
	count int                                            // lines that say that it holds
	says  string
	files []string
}

func onPath(name string) func(*testing.T) (string, []string) {
	return func(t *testing.T) (string, []string) {
		return peers.Tool(t, name, name), nil
	}
}

// run executes a section's commands; ok is whether the tool accepted, as often as it must.
func (f foreign) run(t *testing.T, dir, script string, env []string) (out string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	b, err := cmd.CombinedOutput()
	return string(b), err == nil && strings.Count(string(b), f.says) == f.count
}

// foreigners are the checks of the sample: one for each section that README.txt has.
func foreigners(first, main string) []foreign {
	python := func(pkg, module string) func(*testing.T) (string, []string) {
		return func(t *testing.T) (string, []string) { return peers.Python(t, pkg, module), nil }
	}
	ethereumJS := func(t *testing.T) (string, []string) {
		node, _ := onPath("node")(t)
		return node, []string{"MODULES=" + filepath.Join(peers.EthereumMPT(t), "node_modules")}
	}
	const verified, stamped = "Signature Verified Successfully", "Verification: OK"
	return []foreign{
		{title: "The manifest", tool: onPath("openssl"), says: verified, count: 1, files: []string{"manifest.message", "manifest.sig"}},
		{title: "The log's checkpoint", tool: onPath("openssl"), says: verified, count: 2, files: []string{"checkpoint.body", first + "/checkpoint.body"}},
		{title: "The witnesses' cosignatures", tool: onPath("openssl"), says: verified, count: 4, files: []string{"checkpoint.*.cosig.message", first + "/checkpoint.*.cosig"}},
		{title: "Each receipt's own signature", tool: onPath("openssl"), says: verified, count: 18, files: []string{"receipts/0000000005.message", "receipts/0000000013.sig"}},
		{title: "That the log holds each receipt", tool: onPath("python3"), says: "of size 22 with root", count: 1, files: []string{"receipts/0000000005.dsse.json", "receipts/0000000013.tlog-proof"}},
		{title: "That the checkpoints are of one log", tool: onPath("python3"), says: "are of one log", count: 1, files: []string{first + "/consistency"}},
		{title: "RFC 3161", tool: onPath("openssl"), says: stamped, count: 2, files: []string{"checkpoint.body", first + "/checkpoint.body", main + "/rfc3161-0.tsr"}},
		{title: "Bitcoin", tool: python("python3-opentimestamps", "opentimestamps"), says: "block ", count: 2, files: []string{first + "/checkpoint.body", first + "/bitcoin.ots", first + "/bitcoin.json"}},
		{title: "Ethereum", tool: ethereumJS, says: "in block 0x", count: 1, files: []string{first + "/checkpoint.body", first + "/ethereum.json"}},
	}
}

// TestForeignTools runs the commands of README.txt as they stand: tools that VaultMesh did not write accept every part of a
// bundle, and notice one changed byte of each.
func TestForeignTools(t *testing.T) {
	first, main := "anchors/0000000020", "anchors/0000000022"
	for _, f := range foreigners(first, main) {
		t.Run(f.title, func(t *testing.T) {
			tool, env := f.tool(t)
			dir := extracted(t, true)
			for _, e := range env {
				if modules, ok := strings.CutPrefix(e, "MODULES="); ok {
					if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
						t.Fatal(err)
					}
				}
			}
			script := section(t, dir, f.title)
			if strings.HasSuffix(filepath.Base(tool), "python3") {
				script = strings.ReplaceAll(script, "python3 tools", tool+" tools")
			}
			if out, ok := f.run(t, dir, script, env); !ok {
				t.Fatalf("refused:\n%s\n%s", script, out)
			}
			for _, file := range f.files {
				f.tamper(t, dir, file, script, env)
			}
		})
	}
}

// tamper changes one byte of a file at three places; the tool must notice each.
func (f foreign) tamper(t *testing.T, dir, file, script string, env []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(file)))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file %s (%v)", file, err)
	}
	path := paths[0]
	honest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	places := []int{len(honest) / 3, len(honest) * 4 / 5}
	if strings.HasSuffix(file, ".json") && !strings.HasPrefix(file, "receipts/") { // a digit of a value, not a name that a reader skips
		places = places[:0]
		for _, member := range []string{`"header":"`, `"tx":"`, `"nodes":["`} {
			if i := bytes.Index(honest, []byte(member)); i >= 0 {
				places = append(places, i+len(member)+30)
			}
		}
	}
	if file == "receipts/0000000013.tlog-proof" || strings.HasSuffix(file, "/consistency") {
		places = []int{len(honest) / 8, bytes.IndexByte(honest, '\n') + 5}
	}
	if strings.HasPrefix(f.title, "Each receipt") { // each run is one process of openssl for each receipt
		places = places[:1]
	}
	for _, i := range places {
		bad := bytes.Clone(honest)
		if bad[i] == '0' {
			bad[i] = '1'
		} else {
			bad[i] = bad[i]&^1 | ^bad[i]&1
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, ok := f.run(t, dir, script, env); ok {
			t.Errorf("byte %d of %s may be changed from %q to %q:\n%s", i, file, honest[i], bad[i], out)
		}
	}
	if err := os.WriteFile(path, honest, 0o600); err != nil {
		t.Fatal(err)
	}
}

// README.txt has commands for what is there, each of which is run by TestForeignTools, and none for what is not.
func TestReadme(t *testing.T) {
	titles, scripts := sections(t, extracted(t, true))
	known := foreigners("", "")
	if len(titles) != len(known) {
		t.Fatalf("sections %q", titles)
	}
	for i, f := range known {
		if !strings.HasPrefix(titles[i], f.title) || scripts[titles[i]] == "" {
			t.Errorf("section %d: %s:\n%s", i+1, titles[i], scripts[titles[i]])
		}
	}
	for _, c := range []struct {
		name    string
		trusted bool
		without []string
		titles  int
		no      []string
		says    string
	}{
		{"no chains", true, []string{receipt.PartBitcoin, receipt.PartEthereum}, 7, []string{"Bitcoin", "Ethereum"}, ""},
		{"nothing dated", true, []string{receipt.PartBitcoin, receipt.PartEthereum, receipt.PartTimestamp, receipt.PartAnchored, receipt.PartConsistency}, 5, []string{"openssl ts", "consistency.py"}, ""},
		{"no trust file", false, nil, 5, []string{"-inkey", "-CAfile"}, "THERE IS NO FOLDER keys/"},
	} {
		dir := extracted(t, c.trusted, c.without...)
		text, err := os.ReadFile(filepath.Join(dir, "README.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if titles, _ := sections(t, dir); len(titles) != c.titles || !strings.Contains(string(text), c.says) {
			t.Errorf("%s: sections %q:\n%s", c.name, titles, text)
		}
		for _, word := range c.no {
			if strings.Contains(string(text), word) {
				t.Errorf("%s: README.txt says %q:\n%s", c.name, word, text)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "keys")); (err == nil) != c.trusted {
			t.Errorf("%s: keys: %v", c.name, err)
		}
	}
}

// A second bundle never joins the first in its folder.
func TestExtractIntoOneFolder(t *testing.T) {
	dir := extracted(t, true)
	before, err := os.ReadFile(filepath.Join(dir, "manifest.message"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := receipt.DecodeBundle(sample.New(t).Pack(sample.New(t).Everything()))
	if err != nil {
		t.Fatal(err)
	}
	if err := Extract(other, nil, dir); vaultmesh.KindOf(err) != vaultmesh.Conflict || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a full folder: %v", err)
	}
	file := filepath.Join(dir, "manifest.message")
	if err := Extract(other, nil, file); vaultmesh.KindOf(err) != vaultmesh.Invalid {
		t.Errorf("into a file: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it was changed: %v", err)
	}
	if err := Extract(other, nil, filepath.Join(dir, "new", "folder")); err != nil {
		t.Error(err)
	}
}
